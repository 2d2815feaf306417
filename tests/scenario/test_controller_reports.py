"""Reports in batches: one that cannot be taken takes no other with it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fabric_world import World

from weft.controller.reports import BindingKey, Reporter
from weft.model.ids import Epoch, Revision, SwitchName
from weft.model.intent import RealizationState, Realizer
from weft.protocol.node import RealizationReport, StepReport
from weft.store.views import SwitchState, SwitchStatus


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path / "weft.db")
    yield made
    await made.close()


def up(port: str, *steps: str, epoch: int = 1) -> RealizationReport:
    told = tuple(StepReport(step=step, at=1.0) for step in steps)
    return RealizationReport(port_id=port, epoch=epoch, state=RealizationState.UP, realizer=Realizer.FABRIC, steps=told)


async def test_a_report_that_cannot_be_taken_takes_no_other_with_it(world: World) -> None:
    heard: list[tuple[BindingKey, bool]] = []

    def written(keys: object, revision: Revision, *, well: bool) -> None:
        heard.extend((key, well) for key in keys)  # type: ignore[attr-defined]

    net = await world.network("web", "10.0.1.0/24")
    first, second = await world.spawn(net, ("web-1", "node1"), ("web-2", "node1"))
    reporter = Reporter(world.store, world.clock)
    reporter.written = written
    running = asyncio.create_task(reporter.run())
    reporter.tell("fabric/leaf1", up(first, "no such step"))
    reporter.tell("fabric/leaf1", up(second))
    status = SwitchStatus(switch=SwitchName("leaf1"), state=SwitchState.IN_SYNC, since=1.0)
    reporter.tell_status(SwitchName("leaf1"), status)
    assert reporter.holds((first, Epoch(1)))
    await reporter.idle()
    running.cancel()
    assert not reporter.holds((first, Epoch(1)))
    assert heard == [((first, 1), False), ((second, 1), True)]
    assert (await world.fabric_of(first))[0] is RealizationState.PENDING
    assert (await world.fabric_of(second))[0] is RealizationState.UP
    assert await world.status("leaf1") == (SwitchState.IN_SYNC, "")


async def test_of_two_reports_of_an_epoch_the_last_state_counts_and_all_steps(world: World) -> None:
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    reporter = Reporter(world.store, world.clock)
    before = world.store.revision
    reporter.tell("fabric/leaf1", up(port, "sent"))
    reporter.tell("fabric/leaf1", up(port, "leaf_found", "leaf_configured"))
    running = asyncio.create_task(reporter.run())
    await reporter.idle()
    running.cancel()
    assert await world.fabric_steps(port) == ["sent", "leaf_found", "leaf_configured"]
    assert world.store.revision == before + 1
