"""Who leads a shard: one at a time, the next when a lease has ended, and nobody on a lease that cannot be renewed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from fake_clock import FakeClock
from structlog.testing import capture_logs

from weft.controller.election import LEASE_S, MARGIN_S, RENEW_S, SETTLE_S
from weft.controller.leadership import FORMER, MAX_RETRY_S, RETRY_S, Leadership, standing_of
from weft.model.errors import Transient
from weft.store import Kind, Store, Transaction

T = TypeVar("T")
STEP_S = 1.0
WHAT = "what"
"""The shard of those tests that need one only."""


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
    """One of those who want to lead: what it reaches, and when its work on each shard began and ended."""

    def __init__(self, race: "Race", name: str, shards: Sequence[str]) -> None:
        self.store = ShakyStore(race.store)
        self._race = race
        self.began: dict[str, list[float]] = {shard: [] for shard in shards}
        self.ended: dict[str, list[float]] = {shard: [] for shard in shards}
        self.terms: dict[str, list[int]] = {shard: [] for shard in shards}
        self.outcome: dict[str, asyncio.Future[None]] = {}
        """By shard: the end of the work that runs."""
        self.leadership = Leadership(
            self.store,  # type: ignore[arg-type]
            {shard: partial(self._work, shard) for shard in shards},
            holder=name,
            clock=race.clock,
        )
        self.task = asyncio.create_task(self.leadership.run())

    def works(self, shard: str = WHAT) -> bool:
        return len(self.began[shard]) > len(self.ended[shard])

    async def die(self) -> None:
        """End as a killed process does: nothing more is written."""
        self.store.fails = True
        await self.end()

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def _work(self, shard: str, term: int) -> None:
        self.began[shard].append(self._race.clock.now())
        self.terms[shard].append(term)
        self.outcome[shard] = asyncio.get_running_loop().create_future()
        assert [each for each in self._race.processes if each.works(shard)] == [self], "two work at once"
        try:
            await asyncio.shield(self.outcome[shard])
        finally:
            self.ended[shard].append(self._race.clock.now())


class Race:
    """Processes on one database, and the clock they share."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.shards: Sequence[str] = (WHAT,)
        self.processes: list[Process] = []

    async def enter(self, name: str) -> Process:
        process = Process(self, name, self.shards)
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
            for shard in self.shards:
                assert sum(each.works(shard) for each in self.processes) <= 1

    async def term(self, shard: str = WHAT) -> int:
        return (await self.store.read(standing_of)).leases[shard].term


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
    assert [each.leadership.leads for each in (first, second, third)] == [{WHAT: 1}, {}, {}]
    assert (first.works(), second.began[WHAT], third.began[WHAT]) == (True, [], [])
    assert [each.leadership.leader_of(WHAT) for each in (first, second, third)] == ["a", "a", "a"]
    assert await race.term() == 1


async def test_another_one_leads_when_the_lease_of_a_dead_one_has_ended(race: Race) -> None:
    first, second, third = [await race.enter(name) for name in "abc"]
    await race.pass_time(LEASE_S + 0.5 * RENEW_S)
    died = race.clock.now()
    await first.die()
    await race.pass_time(LEASE_S - RENEW_S)
    assert not second.works()
    assert not third.works()
    await race.pass_time(RENEW_S + MARGIN_S)
    assert second.works() != third.works()
    new = second if second.works() else third
    assert LEASE_S - RENEW_S + MARGIN_S <= new.began[WHAT][0] - died <= LEASE_S + MARGIN_S
    assert (await race.term(), new.terms[WHAT]) == (2, [2])


async def test_a_leader_that_ends_in_order_leaves_at_once(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    await first.end()
    assert not first.leadership.leads
    assert first.ended[WHAT] == [race.clock.now()]
    await race.pass_time(RENEW_S)
    assert second.works()
    assert await race.term() == 2
    assert list((await race.store.read(standing_of)).candidates) == ["b"]


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_a_leader_that_cannot_write_stops_before_its_lease_ends(race: Race, trouble: str) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    await race.pass_time(RENEW_S)
    renewed = race.clock.now()
    setattr(first.store, trouble, True)
    await race.pass_time(LEASE_S - MARGIN_S)
    assert first.ended[WHAT] == [renewed + LEASE_S - MARGIN_S]
    assert not first.leadership.leads
    assert not second.works(), "the first might be slow to stop"
    await race.pass_time(2 * MARGIN_S)
    assert second.began[WHAT] == [renewed + LEASE_S + MARGIN_S]


async def test_a_leader_that_can_write_again_in_time_has_led_all_along(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    first.store.fails = True
    await race.pass_time(LEASE_S - MARGIN_S - RENEW_S)
    first.store.fails = False
    await race.pass_time(3 * LEASE_S)
    assert first.works()
    assert first.ended[WHAT] == []
    assert second.began[WHAT] == []


async def test_a_leader_that_could_not_write_for_a_while_leads_again_in_a_new_term(race: Race) -> None:
    only = await race.enter("a")
    only.store.fails = True
    await race.pass_time(2 * LEASE_S)
    assert not only.works()
    only.store.fails = False
    await race.pass_time(RENEW_S)
    assert only.works()
    assert only.terms[WHAT] == [1, 2]


async def test_a_leader_that_slept_through_its_lease_stops(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    first.store.hangs = True  # the second comes first
    race.clock.advance(3 * LEASE_S)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not first.works()
    first.store.hangs = False
    await race.settle()
    await race.pass_time(2 * RENEW_S)
    assert second.works()
    assert not first.works()


@pytest.mark.parametrize("meanwhile", ["", "fails"])
async def test_work_that_fails_is_let_be_for_a_while_and_the_rest_goes_on(race: Race, meanwhile: str) -> None:
    race.shards = ("good", "bad")
    only = await race.enter("a")
    if meanwhile:  # while leases are being renewed, too
        setattr(only.store, meanwhile, True)
        await race.pass_time(RENEW_S)
        setattr(only.store, meanwhile, False)
    with capture_logs() as logs:
        for pause_s in (RETRY_S, 2 * RETRY_S, 4 * RETRY_S):
            failed = race.clock.now()
            only.outcome["bad"].set_exception(ValueError("broken"))
            await race.settle()
            assert only.leadership.leads.keys() == {"good"}
            if not meanwhile:
                standing = await race.store.read(standing_of)
                assert standing.candidates["a"].failed == ("bad",)
                assert standing.leader_of("bad", race.clock.now()) is None
            await race.pass_time(pause_s - STEP_S)
            assert not only.works("bad")
            await race.pass_time(RENEW_S + STEP_S)
            assert pause_s <= only.began["bad"][-1] - failed <= pause_s + RENEW_S
    assert {log["shard"] for log in logs if log["event"] == "shard_failed"} == {"bad"}
    assert [log["not_before_s"] for log in logs if log["event"] == "shard_failed"] == [
        RETRY_S,
        2 * RETRY_S,
        4 * RETRY_S,
    ]
    assert only.terms["bad"] == [1, 2, 3, 4]
    assert (only.terms["good"], only.works("good")) == ([1], True)
    assert not only.task.done()


async def test_work_that_fails_here_is_tried_elsewhere_at_once(race: Race) -> None:
    race.shards = ("good", "bad")
    first, second = await race.enter("a"), await race.enter("b")
    first.outcome["bad"].set_exception(ValueError("broken"))
    await race.pass_time(RENEW_S)
    assert second.works("bad")
    await race.pass_time(10 * LEASE_S)
    assert (first.terms, second.terms) == ({"good": [1], "bad": [1]}, {"good": [], "bad": [2]})


async def test_work_that_ends_by_itself_is_begun_again_after_a_while(race: Race) -> None:
    only = await race.enter("a")
    only.outcome[WHAT].set_result(None)
    await race.settle()
    assert not only.leadership.leads
    await race.pass_time(RETRY_S + RENEW_S)
    assert only.terms[WHAT] == [1, 2]


async def test_work_that_has_run_well_for_long_is_not_held_to_its_failures(race: Race) -> None:
    only = await race.enter("a")
    for _ in range(3):
        only.outcome[WHAT].set_exception(ValueError("broken"))
        await race.pass_time(2 * MAX_RETRY_S)
        assert only.works()
    only.outcome[WHAT].set_exception(ValueError("broken"))
    await race.pass_time(RETRY_S + RENEW_S)
    assert only.works()


async def test_a_leader_that_is_cancelled_while_it_renews_gives_up_its_lease(race: Race) -> None:
    first, second = await race.enter("a"), await race.enter("b")
    race.clock.advance(RENEW_S)
    await asyncio.sleep(0)  # awake; asks
    await first.end()
    assert not first.works()
    await race.pass_time(RENEW_S)
    assert second.works()
    assert await race.term() == 2


async def test_what_fails_while_it_is_stopped_does_not_end_the_process(race: Race) -> None:
    began: list[float] = []

    async def work(_: int) -> None:
        began.append(race.clock.now())
        try:
            await asyncio.Event().wait()
        finally:
            raise Transient("nothing can be written", retry_after_s=1.0)

    store: Any = ShakyStore(race.store)
    task = asyncio.create_task(Leadership(store, {WHAT: work}, holder="a", clock=race.clock).run())
    await race.settle()
    store.fails = True
    await race.pass_time(LEASE_S)
    store.fails = False
    await race.pass_time(RENEW_S)
    assert len(began) == 2
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_lone_process_leads_all_and_gives_half_to_one_that_stays(race: Race) -> None:
    race.shards = ("fabric", "addresses", "nova", "kubernetes/a")
    first = await race.enter("a")
    assert first.leadership.leads == dict.fromkeys(race.shards, 1)
    passing = await race.enter("b")
    await race.pass_time(SETTLE_S - STEP_S)
    await passing.die()
    second = await race.enter("c")
    await race.pass_time(SETTLE_S + 4 * RENEW_S)
    assert first.leadership.leads == {"fabric": 1, "addresses": 1}
    assert second.leadership.leads == {"nova": 2, "kubernetes/a": 2}
    for shard in ("nova", "kubernetes/a"):
        assert 0 <= second.began[shard][0] - first.ended[shard][0] <= RENEW_S
    await race.pass_time(10 * LEASE_S)
    assert (len(first.leadership.leads), len(second.leadership.leads)) == (2, 2)
    assert passing.began == {shard: [] for shard in race.shards}


async def test_only_the_shards_of_a_dead_process_move(race: Race) -> None:
    race.shards = ("fabric", "addresses", "nova", "kubernetes/a")
    processes = [await race.enter(name) for name in "abc"]
    await race.pass_time(3 * LEASE_S)
    before = [dict(each.leadership.leads) for each in processes]
    assert sorted(map(len, before)) == [1, 1, 2]
    dead = next(each for each in processes if len(each.leadership.leads) == 1)
    [shard] = dead.leadership.leads
    died = race.clock.now()
    await dead.die()
    rest = [each for each in processes if each is not dead]
    await race.pass_time(10 * LEASE_S)
    [heir] = [each for each in rest if each.works(shard)]
    assert heir.began[shard][-1] - died <= LEASE_S + MARGIN_S
    assert [{s: t for s, t in each.leadership.leads.items() if s != shard} for each in rest] == [
        at for at, each in zip(before, processes, strict=True) if each is not dead
    ]


async def test_work_that_hangs_while_it_is_stopped_keeps_its_lease_only_until_that_is_over(race: Race) -> None:
    """As a switch does that takes a minute: nobody begins beside it before the margin, and nobody waits for it."""
    race.shards = ("fabric", "addresses")
    hangs, done = asyncio.Event(), asyncio.Event()

    async def stubborn(_: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            hangs.set()
            await done.wait()

    work = {"fabric": _forever, "addresses": stubborn}
    slow = Leadership(race.store, work, holder="slow", clock=race.clock)
    task = asyncio.create_task(slow.run())
    try:
        await race.settle()
        second = await race.enter("b")
        await race.pass_time(SETTLE_S + RENEW_S)
        assert hangs.is_set()
        assert not second.works("addresses")
        await race.pass_time(LEASE_S + MARGIN_S + RENEW_S)
        assert second.works("addresses")
        assert slow.leads == {"fabric": 1}, "what does not stop holds up nothing else"
    finally:
        done.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _forever(_: int) -> None:
    await asyncio.Event().wait()


async def test_beside_a_process_of_a_former_version_one_of_them_leads(race: Race) -> None:
    """Such a process knows of one lease only, which it takes, renews, and gives up as it always did."""
    old = FormerVersion(race.store, race.clock, term=41)
    await old.ask()
    race.shards = ("fabric", "addresses")
    new = await race.enter("new")
    for _ in range(20):
        await old.ask()
        await race.pass_time(RENEW_S)
        assert (old.leads, new.leadership.leads) == (True, {})
    await old.give_up()
    await race.pass_time(RENEW_S)
    assert new.leadership.leads == {"fabric": 42, "addresses": 42}
    for _ in range(20):
        await old.ask()
        await race.pass_time(RENEW_S)
        assert not old.leads
    died = race.clock.now()
    await new.die()
    while not old.leads:
        await old.ask()
        await race.pass_time(STEP_S)
    assert LEASE_S + MARGIN_S - RENEW_S <= race.clock.now() - died <= LEASE_S + MARGIN_S + STEP_S
    assert old.term == 43


class FormerVersion:
    """A process of a version that had one lease for all; what it did with it, and knew of its row."""

    class Lease(msgspec.Struct, frozen=True, kw_only=True):
        holder: str
        term: int
        until: float

    def __init__(self, store: Store, clock: FakeClock, term: int) -> None:
        self._store = store
        self._clock = clock
        self.term = term
        self.leads = False

    async def ask(self) -> None:
        def take(tx: Transaction) -> FormerVersion.Lease:
            now, found = self._clock.now(), tx.record(Kind.LEASE, FormerVersion.Lease, FORMER)
            if found is not None and found.holder != "old" and now < found.until + MARGIN_S:
                return found
            same = found is not None and found.holder == "old"
            term = (self.term - 1 if found is None else found.term) + (not same)
            lease = FormerVersion.Lease(holder="old", term=term, until=now + LEASE_S)
            tx.put_record(Kind.LEASE, FORMER, lease)
            return lease

        lease = await self._store.transact(take)
        self.leads, self.term = lease.holder == "old", lease.term

    async def give_up(self) -> None:
        lease = FormerVersion.Lease(holder="old", term=self.term, until=0.0)
        await self._store.transact(lambda tx: tx.put_record(Kind.LEASE, FORMER, lease))
        self.leads = False


async def test_a_clock_that_is_behind_is_told_once(race: Race) -> None:
    ahead = FakeClock(race.clock.now() + MARGIN_S + 1.0)
    task = asyncio.create_task(Leadership(race.store, {WHAT: _forever}, holder="ahead", clock=ahead).run())
    await race.settle()
    with capture_logs() as logs:
        await race.enter("behind")
        await race.pass_time(RENEW_S)
    assert [log["behind_s"] for log in logs if log["event"] == "clock_behind"] == [MARGIN_S + 1.0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
