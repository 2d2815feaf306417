"""What the server tells of ports' states, and who waits for that."""

import asyncio

from weft.agent.cni.states import MAX_TAKEN_BACK, States
from weft.protocol.node import NodeChange, NodeDesired, PortDesired


def port(id_: str, state: str, epoch: int = 1) -> PortDesired:
    return PortDesired(port_id=id_, epoch=epoch, network_id="n", vlan=100, mac="fa:16:3e:00:00:01", state=state)


def snapshot(*ports: PortDesired) -> NodeDesired:
    return NodeDesired(node="node1", revision=1, ports=ports)


def change(*ports: PortDesired, gone: tuple[str, ...] = ()) -> NodeChange:
    return NodeChange(revision=2, ports=ports, gone=gone)


async def waiting(states: States, id_: str, epoch: int = 1, timeout_s: float = 60.0) -> "asyncio.Task[bool]":
    task = asyncio.create_task(states.until_active(id_, epoch, timeout_s))
    await asyncio.sleep(0)
    return task


async def test_who_waits_goes_on_when_the_port_is_active() -> None:
    states = States()
    task = await waiting(states, "a")
    states.follow(snapshot(port("a", "BINDING"), port("b", "ACTIVE")))
    await asyncio.sleep(0)
    assert not task.done()
    states.follow(change(port("a", "ACTIVE")))
    assert await task
    assert await states.until_active("b", 1, 60.0), "what is so already is not waited for"


async def test_another_epoch_is_not_what_was_waited_for() -> None:
    states = States()
    states.follow(snapshot(port("a", "ACTIVE", epoch=1)))
    task = await waiting(states, "a", epoch=2)
    states.follow(change(port("a", "MOVING", epoch=2)))
    await asyncio.sleep(0)
    assert not task.done(), "active in an older epoch is not active"
    states.follow(change(port("a", "ACTIVE", epoch=3)))
    assert not await task, "somebody has taken it over"


async def test_time_that_is_over_is_said() -> None:
    states = States()
    assert not await states.until_active("a", 1, 0.0)
    assert states._waiting == {}


async def test_what_the_server_took_is_known_whether_by_a_change_or_between_two_snapshots() -> None:
    states = States()
    assert not states.complete
    states.follow(snapshot(port("a", "ACTIVE"), port("b", "ACTIVE"), port("c", "ACTIVE")))
    assert states.complete
    states.follow(change(gone=("a",)))
    states.follow(snapshot(port("c", "ACTIVE")))
    assert [each for each in "abc" if states.is_taken_back(each)] == ["a", "b"]
    states.follow(change(gone=("c",)))
    states.follow(change(port("c", "BINDING", epoch=2)))
    assert not states.is_taken_back("c"), "it has come back"
    states.follow(change(gone=tuple(f"d{number}" for number in range(MAX_TAKEN_BACK - 1))))
    assert [each for each in "abc" if states.is_taken_back(each)] == ["b"], "the oldest is forgotten"
    assert states.state("c", 2) == "BINDING"
    assert states.state("c", 1) is None
