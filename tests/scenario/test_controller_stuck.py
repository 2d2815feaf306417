"""Ports that stay too long where they should not stay."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fabric_world import World

from weft.controller.stuck import SWEEP_S, StuckPorts
from weft.model import steps
from weft.model.ids import NodeName, PortId
from weft.ports.machine import STUCK_AFTER_S, State


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path / "weft.db")
    yield made
    await made.close()


async def marks(world: World, port: PortId) -> list[str]:
    return [entry.detail for entry in await world.history(port) if entry.step == steps.STUCK]


async def test_a_port_whose_switch_stays_away_is_marked_once_and_its_leaf_looked_at_again(world: World) -> None:
    looked: list[NodeName] = []
    sweeper = StuckPorts(world.store, looked.append, clock=world.clock)
    world.switch("leaf1").reachable = False
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    world.clock.advance(STUCK_AFTER_S[State.BINDING])
    await world.settle()
    assert await sweeper.sweep() == []
    world.clock.advance(1.0)
    await world.settle()
    assert [view.port.id for view in await sweeper.sweep()] == [port]
    assert await marks(world, port) == ["BINDING for 61 s, waits for fabric (switch leaf1: leaf1 does not answer)"]
    assert looked == ["node1"]
    await StuckPorts(world.store, looked.append, clock=world.clock).sweep()
    assert len(await marks(world, port)) == 1
    assert looked == ["node1", "node1"]


async def test_a_port_that_waits_for_its_host_is_marked_and_no_leaf_is_troubled(world: World) -> None:
    looked: list[NodeName] = []
    sweeper = StuckPorts(world.store, looked.append, clock=world.clock)
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"), host=False)
    await world.settle()
    world.clock.advance(75.0)
    await sweeper.sweep()
    assert await marks(world, port) == ["BINDING for 75 s, waits for host"]
    assert looked == []


async def test_a_port_that_recovers_and_gets_stuck_again_is_marked_again(world: World) -> None:
    sweeper = StuckPorts(world.store, lambda _: None, clock=world.clock)
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    world.clock.advance(61.0)
    await sweeper.sweep()
    world.start()
    await world.converge()
    assert await world.state(port) is State.ACTIVE
    assert await sweeper.sweep() == []
    await world.bind(port, "node2")
    world.clock.advance(61.0)
    await sweeper.sweep()
    assert len(await marks(world, port)) == 2


async def test_it_sweeps_by_itself(world: World) -> None:
    looked: asyncio.Queue[NodeName] = asyncio.Queue()
    net = await world.network("web", "10.0.1.0/24")
    await world.spawn(net, ("web-1", "node1"))
    world.clock.advance(61.0)
    sweeping = asyncio.create_task(StuckPorts(world.store, looked.put_nowait, clock=world.clock).run())
    for _ in range(2):
        await asyncio.sleep(0)
        world.clock.advance(SWEEP_S)
        assert await looked.get() == "node1"
    sweeping.cancel()
