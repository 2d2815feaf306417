"""What is told of bindings, and what is not told twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fabric_world import World

from weft.controller.bindings import FabricBindings
from weft.controller.reports import BindingKey, Reporter
from weft.controller.rows import feed, read_all
from weft.controller.switch import SwitchReconciler
from weft.controller.worker import SwitchWorker
from weft.fabric.carriage import Carried
from weft.model.ids import Epoch, PortId, Revision, SwitchName
from weft.model.intent import RealizationState
from weft.protocol.node import RealizationReport
from weft.store import PortView

LEAF1 = SwitchName("leaf1")


class _Told(Reporter):
    """Takes reports and keeps them."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store, world.clock)
        self.reports: list[RealizationReport] = []
        self.held: set[BindingKey] = set()

    def tell(self, actor: str, told: RealizationReport) -> None:
        self.reports.append(told)

    def holds(self, key: BindingKey) -> bool:
        return key in self.held

    def states(self) -> list[str]:
        states = [told.state.value for told in self.reports]
        self.reports.clear()
        return states


class _Around:
    """A leaf that carries what it shall, one port on it, and what the fabric tells of that."""

    def __init__(self, world: World, view: PortView) -> None:
        unused: object = None
        self.worker = SwitchWorker(SwitchReconciler(LEAF1, unused), unused, world.clock, unused)  # type: ignore[arg-type]
        self.told = _Told(world)
        self.bindings = FabricBindings({LEAF1: self.worker}, self.told, world.clock)
        self.view = view
        self.key = (view.port.id, Epoch(1))

    def take(self, view: PortView | None, revision: int) -> list[BindingKey]:
        """Take the port's row as of a revision, and judge what is to be judged."""
        life = view.life if view is not None else None
        keys = self.bindings.take(PortId(self.view.port.id), life, Revision(revision), Revision(revision))
        self.bindings.judge(keys)
        return keys


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[_Around]:
    world = await World.open(tmp_path / "weft.db")
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    made = _Around(world, await world.port(port))
    feed(made.bindings.intent, await world.store.read(read_all))
    yield made
    await world.close()


def look(around: _Around) -> None:
    """Have the leaf looked at, and found right."""
    around.worker.carried = Carried(around.bindings.intent.desired(LEAF1))
    around.bindings.judge_waiting(LEAF1)


async def test_rows_older_than_what_was_told_tell_nothing_new(around: _Around) -> None:
    around.take(around.view, 5)
    look(around)
    assert around.told.states() == ["pending", "up"]
    around.told.held = {around.key}
    assert around.take(around.view, 6) == []
    around.told.held = set()
    around.bindings.written([around.key], Revision(7), well=True)
    assert around.take(around.view, 6) == []
    assert around.told.states() == []
    # A row of that revision or later that knows nothing of it: somebody took it back.
    assert around.take(around.view, 7) == [around.key]
    assert around.told.states() == ["up"]


async def test_what_could_not_be_written_is_told_again(around: _Around) -> None:
    around.take(around.view, 5)
    look(around)
    around.told.states()
    around.bindings.written([around.key], Revision(5), well=False)
    around.bindings.judge_waiting(LEAF1)
    assert around.told.reports[0].state is RealizationState.UP
    assert [step.step for step in around.told.reports[0].steps] == ["sent", "leaf_found", "leaf_configured"]


async def test_a_port_that_is_gone_is_told_nothing_of(around: _Around) -> None:
    around.take(around.view, 5)
    assert around.told.states() == ["pending"]
    around.take(None, 6)
    look(around)
    assert around.told.states() == []


async def test_ports_that_are_not_among_all_rows_are_forgotten(around: _Around) -> None:
    around.take(around.view, 5)
    around.told.states()
    around.bindings.forget_all_but([])
    look(around)
    assert around.told.states() == []
