"""Who leads: one at a time, the next when a lease has ended, and nobody on a lease that cannot be renewed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fake_clock import FakeClock

from weft.controller.leadership import LEASE_S, MARGIN_S, RENEW_S, Leadership, lease_of
from weft.model.errors import Transient
from weft.store import Store, Transaction

T = TypeVar("T")
STEP_S = 1.0


class ShakyStore:
    """A store whose writes can be made to fail, or never to end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails = False
        self.hangs = False

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise Transient("the disk is full", retry_after_s=1.0)
        return await self._store.transact(work)


class Process:
    """One of those who want to lead: what it reaches, and when its work began and ended."""

    def __init__(self, race: "Race", name: str) -> None:
        self.store = ShakyStore(race.store)
        self.leadership = Leadership(self.store, "what", holder=name, clock=race.clock)  # type: ignore[arg-type]
        self.began: list[float] = []
        self.ended: list[float] = []
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._race = race
        self.task = asyncio.create_task(self.leadership.run(self._work))

    @property
    def works(self) -> bool:
        return len(self.began) > len(self.ended)

    async def die(self) -> None:
        """End as a killed process does: nothing more is written."""
        self.store.fails = True
        await self.end()

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def _work(self) -> None:
        self.began.append(self._race.clock.now())
        assert [each for each in self._race.processes if each.works] == [self], "two work at once"
        try:
            await asyncio.shield(self.outcome)
        finally:
            self.ended.append(self._race.clock.now())


class Race:
    """Processes on one database, and the clock they share."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.processes: list[Process] = []

    async def enter(self, name: str) -> Process:
        process = Process(self, name)
        self.processes.append(process)
        await self.settle()
        return process

    async def settle(self) -> None:
        """Return when everybody has done what there is to do: the store writes in the order in which it is asked."""
        for _ in range(2):
            for _ in range(10):
                await asyncio.sleep(0)
            await self.store.transact(lambda _: None)
        for _ in range(10):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.clock.advance(STEP_S)
            await self.settle()
            assert sum(each.works for each in self.processes) <= 1

    async def term(self) -> int:
        lease = await self.store.read(lambda snapshot: lease_of(snapshot, "what"))
        assert lease is not None
        return lease.term


@asynccontextmanager
async def racing(folder: Path) -> AsyncIterator[Race]:
    store = await Store.open(f"sqlite:///{folder}/weft.db")
    race = Race(store)
    try:
        yield race
    finally:
        for process in race.processes:
            process.task.cancel()
        await asyncio.gather(*(process.task for process in race.processes), return_exceptions=True)
        await store.close()


@pytest.fixture
async def race(tmp_path: Path) -> AsyncIterator[Race]:
    async with racing(tmp_path) as running:
        yield running


async def test_one_leads_for_as_long_as_it_lives(race: Race) -> None:
    first, second, third = [await race.enter(name) for name in "abc"]
    await race.pass_time(10 * LEASE_S)
    assert (first.leadership.leads, second.leadership.leads, third.leadership.leads) == (True, False, False)
    assert (first.works, second.began, third.began) == (True, [], [])
    assert await race.term() == 1


async def test_another_one_leads_when_the_lease_of_a_dead_one_has_ended(race: Race) -> None:
    first, second, third = [await race.enter(name) for name in "abc"]
    await race.pass_time(LEASE_S + 0.5 * RENEW_S)
    died = race.clock.now()
    await first.die()
    await race.pass_time(LEASE_S - RENEW_S)
    assert not second.works
    assert not third.works
    await race.pass_time(RENEW_S + MARGIN_S)
    assert second.works != third.works
    new = second if second.works else third
    assert LEASE_S - RENEW_S + MARGIN_S <= new.began[0] - died <= LEASE_S + MARGIN_S
    assert await race.term() == 2


async def test_a_leader_that_ends_in_order_leaves_at_once(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    await first.end()
    assert not first.leadership.leads
    assert first.ended == [race.clock.now()]
    await race.pass_time(RENEW_S)
    assert second.works
    assert await race.term() == 2


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_a_leader_that_cannot_write_stops_before_its_lease_ends(race: Race, trouble: str) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    await race.pass_time(RENEW_S)
    renewed = race.clock.now()
    setattr(first.store, trouble, True)
    await race.pass_time(LEASE_S - MARGIN_S)
    assert first.ended == [renewed + LEASE_S - MARGIN_S]
    assert not first.leadership.leads
    assert not second.works, "the first might be slow to stop"
    await race.pass_time(2 * MARGIN_S)
    assert second.began == [renewed + LEASE_S + MARGIN_S]


async def test_a_leader_that_can_write_again_in_time_has_led_all_along(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    first.store.fails = True
    await race.pass_time(LEASE_S - MARGIN_S - RENEW_S)
    first.store.fails = False
    await race.pass_time(3 * LEASE_S)
    assert first.works
    assert first.ended == []
    assert second.began == []


async def test_a_leader_that_could_not_write_for_a_while_leads_again(race: Race) -> None:
    only = await race.enter("a")
    only.store.fails = True
    await race.pass_time(2 * LEASE_S)
    assert not only.works
    only.store.fails = False
    await race.pass_time(RENEW_S)
    assert only.works
    assert len(only.began) == 2


async def test_a_leader_that_slept_through_its_lease_stops(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    first.store.hangs = True  # the second comes first
    race.clock.advance(3 * LEASE_S)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not first.works
    first.store.hangs = False
    await race.settle()
    await race.pass_time(2 * RENEW_S)
    assert second.works
    assert not first.works


@pytest.mark.parametrize("meanwhile", ["", "fails", "hangs"])
async def test_what_the_work_raises_is_raised(race: Race, meanwhile: str) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    if meanwhile:  # while it is being renewed, too
        setattr(first.store, meanwhile, True)
        await race.pass_time(RENEW_S)
        setattr(first.store, meanwhile, False)
    first.outcome.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await first.task
    assert not first.leadership.leads
    await race.pass_time(RENEW_S)
    assert second.works


async def test_work_that_fails_as_the_lease_ends_is_not_lost(race: Race) -> None:
    first = await race.enter("a")
    first.store.hangs = True
    await race.pass_time(LEASE_S - MARGIN_S - STEP_S)
    race.clock.advance(STEP_S)
    first.outcome.set_exception(ValueError("broken"))
    first.store.hangs = False
    with pytest.raises(ValueError, match="broken"):
        await first.task


async def test_work_that_ends_ends_the_leadership(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    first.outcome.set_result(None)
    await first.task
    await race.pass_time(RENEW_S)
    assert second.works


async def test_a_leader_that_is_cancelled_while_it_renews_gives_up_its_lease(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    race.clock.advance(RENEW_S)
    await asyncio.sleep(0)  # awake; asks
    await first.end()
    assert not first.works
    await race.pass_time(RENEW_S)
    assert second.works
    assert await race.term() == 2


async def test_what_fails_while_it_is_stopped_does_not_end_the_process(race: Race) -> None:
    began: list[float] = []

    async def work() -> None:
        began.append(race.clock.now())
        try:
            await asyncio.Event().wait()
        finally:
            raise Transient("nothing can be written", retry_after_s=1.0)

    store: Any = ShakyStore(race.store)
    task = asyncio.create_task(Leadership(store, "what", holder="a", clock=race.clock).run(work))
    await race.settle()
    store.fails = True
    await race.pass_time(LEASE_S)
    store.fails = False
    await race.pass_time(RENEW_S)
    assert len(began) == 2
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
