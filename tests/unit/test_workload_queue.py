"""How much of containers' work is let in at once, who waits, and who is told to come again, and when."""

import asyncio
import contextlib

import pytest

from weft.api.native.workload_queue import IN_WORK, MAX_IN_ALL, MAX_OF_NODE, USUAL_PER_S, WorkloadQueue
from weft.model.errors import Transient
from weft.model.ids import NodeName


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Crowd:
    """Turns that are taken and held until a test lets them end."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.queue = WorkloadQueue(self.clock)
        self.let_in: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, items: int, node: str = "") -> None:
        """Ask for a turn, and see how far that goes by itself."""
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._take(name, items, node or name))
        await turns()
        if self._tasks[name].done():
            await self._tasks[name]

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await turns()

    async def leave(self, name: str) -> None:
        """Go away without waiting any longer."""
        self._tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[name]
        await turns()

    async def _take(self, name: str, items: int, node: str) -> None:
        async with self.queue.turn(NodeName(node), items):
            self.let_in.append(name)
            await self._ends[name].wait()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def crowd() -> Crowd:
    return Crowd()


async def test_what_fits_is_let_in_and_the_rest_waits_in_order(crowd: Crowd) -> None:
    await crowd.come("a", IN_WORK - 1)
    await crowd.come("b", 2)
    await crowd.come("c", 1)
    assert crowd.let_in == ["a"], "c would fit, but b was first"
    await crowd.end("a")
    assert crowd.let_in == ["a", "b", "c"]


async def test_who_asks_for_more_than_there_is_has_it_alone(crowd: Crowd) -> None:
    await crowd.come("a", 1)
    await crowd.come("b", IN_WORK + 1)
    assert crowd.let_in == ["a"]
    await crowd.end("a")
    await crowd.come("c", 1)
    assert crowd.let_in == ["a", "b"]
    await crowd.end("b")
    assert crowd.let_in == ["a", "b", "c"]


async def test_a_node_may_have_so_much_and_others_their_own(crowd: Crowd) -> None:
    for number in range(4):
        await crowd.come(f"a{number}", MAX_OF_NODE // 4, "a")
    with pytest.raises(Transient, match=f"node 'a' has {MAX_OF_NODE} ports in work") as refused:
        await crowd.come("a4", 1, "a")
    assert (refused.value.kind, refused.value.retry_after_s) == ("TooManyRequests", 1)
    await crowd.come("b", 1)
    await crowd.end("a0")
    await crowd.come("a5", 1, "a")


async def test_all_nodes_together_are_told_when_there_will_be_room(crowd: Crowd) -> None:
    for number in range(MAX_IN_ALL // 256):
        await crowd.come(f"n{number}", 256)
    with pytest.raises(Transient, match=f"the server has {MAX_IN_ALL} ports of containers in work") as refused:
        await crowd.come("late", 1)
    assert refused.value.kind == "ServiceUnavailable"
    assert refused.value.retry_after_s == -(-MAX_IN_ALL // USUAL_PER_S)


async def test_how_long_it_takes_is_learnt(crowd: Crowd) -> None:
    await crowd.come("first", 1)
    await crowd.end("first")  # from here on it is counted
    for number in range(8):
        await crowd.come(f"a{number}", 250)
        crowd.clock.now += 0.25
        await crowd.end(f"a{number}")
    for number in range(4):
        await crowd.come(f"b{number}", 256, "b")
    with pytest.raises(Transient, match="try again in 1 s"):
        await crowd.come("b4", 1, "b")
    for number in range(4):
        crowd.clock.now += 0.4
        await crowd.end(f"b{number}")
    for number in range(40):  # ten a second
        await crowd.come(f"c{number}", 1)
        crowd.clock.now += 0.1
        await crowd.end(f"c{number}")
    for number in range(4):
        await crowd.come(f"d{number}", 256, "d")
    with pytest.raises(Transient, match=r"try again in \d\d? s") as refused:
        await crowd.come("d4", 1, "d")
    assert refused.value.retry_after_s > 5


async def test_who_goes_away_leaves_no_trace(crowd: Crowd) -> None:
    await crowd.come("a", IN_WORK)
    await crowd.come("b", 100)
    await crowd.come("c", 1)
    await crowd.leave("b")
    assert crowd.let_in == ["a"]
    await crowd.leave("a")
    assert crowd.let_in == ["a", "c"]
    await crowd.end("c")
    for number in range(MAX_IN_ALL // 256):
        await crowd.come(f"n{number}", 256)
    assert crowd.let_in[2:4] == ["n0", "n1"], "all room is there again"
