"""Every story of the fabric controller again, with a fault at each of its points of input and output.

A story is told once to learn its points, then once for each point with a fault there. Whatever the fault, time alone
has to bring all switches and ports to where they shall be.
"""

import asyncio
import contextlib
import logging
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import structlog
from fabric_world import World, small_dc
from fake_switch import Fault, Faults
from msgspec.structs import replace
from tests.thorough import some

from weft.model.errors import Conflict, Transient
from weft.model.ids import NodeName, SwitchName
from weft.ports.lifecycle import check
from weft.ports.machine import State

Story = Callable[[World], Awaitable[None]]
Opener = Callable[..., Awaitable[World]]
ATTEMPTS = 20
"""Times that a human asks for a roll-out."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Drop logs: rendering thousands of foreseen tracebacks takes longer than all the rest."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the inventory in it, made once."""
    database = tmp_path_factory.mktemp("prepared") / "weft.db"

    async def make() -> None:
        await (await World.open(database)).close()

    asyncio.run(make())
    return database


@pytest.fixture
def fresh(prepared: Path, tmp_path: Path) -> Opener:
    """Opens worlds that know nothing of each other."""
    numbers = count()

    async def make(faults: Faults | None = None, *, garble: bool = False) -> World:
        database = tmp_path / f"{next(numbers)}.db"
        shutil.copy(prepared, database)
        return await World.open(database, faults, garble=garble)

    return make


async def first_ports(world: World) -> None:
    """Two tenants with the same addresses, virtual machines and bare metal."""
    world.start()
    red = await world.network("red", "10.0.1.0/24", routed_by="r1")
    blue = await world.network("blue", "10.0.1.0/24", routed_by="r2")
    await world.spawn(red, ("red-1", "node1"), ("red-2", "node2"), ("red-3", "bm1"))
    await world.spawn(blue, ("blue-1", "node1"))
    await world.settle()


async def moves(world: World) -> None:
    """A port moves to another leaf and back."""
    world.start()
    net = await world.network("web", "10.0.1.0/24", routed_by="r1")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.converge()
    for node in ("node2", "node1"):
        await world.bind(port, node)
        await world.host_up(port)
        await world.converge()
    assert await world.state(port) is State.ACTIVE


async def comes_and_goes(world: World) -> None:
    """Everything is made and taken away; the VLAN and the number go to nobody yet."""
    world.start()
    net = await world.network("web", "10.0.1.0/24", routed_by="r1")
    ports = await world.spawn(net, ("web-1", "node1"), ("web-2", "node1"))
    await world.settle()
    await world.delete(*ports)
    await world.settle()


async def dies_in_the_middle(world: World) -> None:
    """The server is killed as soon as it works, and started again."""
    net = await world.network("web", "10.0.1.0/24", routed_by="r1")
    await world.spawn(net, ("web-1", "node1"), ("web-2", "node3"))
    world.start()
    reached = asyncio.create_task(world.faults.reached(12))
    settled = asyncio.create_task(world.settle())
    await asyncio.wait({reached, settled}, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    settled.cancel()
    await world.kill()
    await world.spawn(net, ("web-3", "node2"))
    world.start()
    await world.settle()


async def grows(world: World) -> None:
    """A third spine comes while ports are bound."""
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    await world.spawn(net, ("web-1", "node1"))
    dc = small_dc()
    spine3 = replace(dc.switches[0], name=SwitchName("spine3"), management="192.168.0.13")
    link = dc.links[0]
    cable = replace(link, a=replace(link.a, interface="eth3"), b=replace(link.b, device="spine3"))
    await world.put_inventory(replace(dc, switches=(*dc.switches, spine3), links=(*dc.links, cable)))
    for _ in range(ATTEMPTS):
        await world.settle()
        if not await world.wrong():
            return
        with contextlib.suppress(Transient, Conflict, ZeroDivisionError):  # as a human would: try again
            await world.roll_out()
        world.clock.advance_to_next()


STORIES: list[Story] = [first_ports, moves, comes_and_goes, dies_in_the_middle, grows]


def _can_happen(fault: Fault, point: str) -> bool:
    """Tell whether a fault makes a difference at a point: a store is not wiped, and reading it has one way to fail."""
    if point == "store read":
        return fault is Fault.BEFORE
    return point != "store write" or fault not in {Fault.WIPED, Fault.REFUSED}


async def ends_well(world: World, told: str) -> None:
    """Check that all is as it shall be, and that no port's life broke an invariant."""
    try:
        await world.converge()
    except AssertionError as error:
        raise AssertionError(f"{told}: {error}") from error
    for view in await world.store.read(lambda snapshot: snapshot.ports()):
        assert check(view.life) == [], told
    await world.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_a_story_without_faults_ends_well(story: Story, fresh: Opener) -> None:
    world = await fresh()
    await story(world)
    await ends_well(world, story.__name__)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_a_story_whose_changes_come_doubled_and_reversed_ends_well(story: Story, fresh: Opener) -> None:
    world = await fresh(garble=True)
    await story(world)
    await ends_well(world, story.__name__)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("fault", Fault)
async def test_a_story_with_a_fault_at_any_point_ends_well(story: Story, fault: Fault, fresh: Opener) -> None:
    world = await fresh()
    await story(world)
    points = [at for at, point in enumerate(world.faults.points) if _can_happen(fault, point)]
    await world.close()
    assert len(points) > 10
    for at in some(points):
        world = await fresh(Faults(fault, at))
        await story(world)
        struck = world.faults.points[at] if at < len(world.faults.points) else "nothing"
        await ends_well(world, f"{story.__name__}, {fault} at point {at} ({struck})")


@pytest.mark.parametrize("seed", range(6))
async def test_any_mixture_of_work_and_trouble_ends_well(seed: int, fresh: Opener) -> None:
    chance = random.Random(seed)
    world = await fresh()
    world.start()
    nets = [await world.network(f"net-{i}", "10.0.1.0/24", routed_by=f"r{i}" if i else None) for i in range(3)]
    ports = []
    names = count()
    for _ in range(40):
        deed = chance.choice(
            ["spawn", "spawn", "delete", "unbind", "move", "off", "on", "wipe", "fault", "kill", "time"]
        )
        device = world.switch(chance.choice(["spine1", "leaf1", "leaf2", "leaf3"]))
        if deed == "spawn":
            node = chance.choice(["node1", "node2", "node3"])
            ports += await world.spawn(chance.choice(nets), (f"p-{next(names)}", node))
        elif deed == "delete" and ports:
            await world.delete(ports.pop(chance.randrange(len(ports))))
        elif deed == "unbind" and ports:
            await world.unbind(chance.choice(ports))
        elif deed == "move" and ports:
            await world.rebind(chance.choice(ports), NodeName(chance.choice(["node1", "node2", "node3"])))
        elif deed in {"off", "on"}:
            device.reachable = deed == "on"
        elif deed == "wipe":
            device.wipe()
        elif deed == "fault":
            world.faults.fault = chance.choice(list(Fault))
            world.faults.at = len(world.faults.points) + chance.randrange(5)
        elif deed == "kill":
            await world.kill()
            world.start()
        elif deed == "time":
            world.clock.advance(chance.choice([0.3, 2.0, 20.0, 61.0]))
        if chance.random() < 0.5:
            await world.settle()
    for device in world.switches.values():
        device.reachable = True
    world.clock.advance(61.0)
    await world.settle()
    for port in ports:
        await world.host_up(port)
    await ends_well(world, f"seed {seed}")
