"""Who leads: for each shard of the controllers' work, one process at a time of all on one database.

This is the election's shell (weft.controller.election says who wins): it votes in the store, begins the work of the
shards that this process has come to lead, and stops it when it leads them no more. Each shard is led, lost and begun
again by itself; work that fails costs its own shard a pause, and no other anything.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from weft.controller.clock import Clock, SystemClock, woken_or_after
from weft.controller.election import (
    MARGIN_S,
    Lease,
    Part,
    Standing,
    Vote,
    clock_behind_s,
    leave,
    pause_s,
    vote,
)
from weft.model.errors import Transient
from weft.store import Kind, Snapshot, Store, Transaction

STANDING = "shards"
"""The id of the election's one row."""
FORMER = "controllers"
"""The id of the one lease of former versions."""
RETRY_S, MAX_RETRY_S = 2.0, 60.0
"""How long a process lets a shard be whose work has failed there; twice as long each time. Another may lead it."""
GIVE_UP_S = 2.0
"""How long a process that ends tries to give its leases up; then they run out by themselves."""

Work = Callable[[int], Coroutine[Any, Any, None]]
"""The work of a shard in a term of leadership; it runs until it is cancelled."""

log = structlog.get_logger()


def standing_of(snapshot: Snapshot) -> Standing:
    """Return how the election stands."""
    return snapshot.record(Kind.LEASE, Standing, STANDING) or Standing()


class _Led:
    """A shard that this process leads."""

    def __init__(self, lease: Lease) -> None:
        self.term = lease.term
        self.until = lease.until
        self.stop = asyncio.Event()
        """Is set when the work is to stop, or does."""
        self.why = ""
        self.task: asyncio.Task[None] | None = None

    def end(self, why: str) -> None:
        """Have the work stop."""
        self.why = self.why or why
        self.stop.set()


class Leadership:
    """This process' part in the election."""

    def __init__(
        self, store: Store, work: Mapping[str, Work], *, holder: str | None = None, clock: Clock | None = None
    ) -> None:
        """`work` by shard, those first that had better stay where they are; `holder`: of this process, anything that no
        other has."""
        self._store = store
        self._work = work
        self._clock = clock or SystemClock()
        self.holder = holder or f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._led: dict[str, _Led] = {}
        self._standing = Standing()
        self._former: Lease | None = None
        self._failed: dict[str, tuple[int, float]] = {}
        """By shard: how often its work has failed in a row, and until when it is let be."""
        self._wake = asyncio.Event()
        self._trouble = ""
        """Why there was no vote; said when it is another reason than before."""
        self._clock_told = False

    @property
    def leads(self) -> Mapping[str, int]:
        """The shards that this process leads, with their terms."""
        return {shard: led.term for shard, led in self._led.items() if not led.stop.is_set()}

    def leader_of(self, shard: str) -> str | None:
        """Return who leads a shard, as far as this process knows."""
        lease = self._standing.leader_of(shard, self._clock.now())
        return lease.holder if lease is not None else None

    async def run(self) -> None:
        """Run the work of every shard while this process leads it, until cancelled."""
        try:
            while True:
                self._wake.clear()
                part = self._part()
                await self._vote(part)
                pause = pause_s(self._standing, self._former, part, self._clock.now())
                await woken_or_after(self._wake, pause, self._clock)
        finally:
            for led in self._led.values():
                led.end("the process ends")
            await asyncio.gather(*(led.task for led in self._led.values() if led.task is not None))
            await self._leave()

    def _part(self) -> Part:
        now = self._clock.now()
        stopping = frozenset(shard for shard, led in self._led.items() if led.stop.is_set())
        return Part(
            holder=self.holder,
            shards=tuple(self._work),
            failed=frozenset(shard for shard, (_, until) in self._failed.items() if now < until),
            leads=frozenset(self._led) - stopping,
            stopping=stopping,
        )

    async def _vote(self, part: Part) -> None:
        """Vote, and see to it that the work runs of what this process leads, and of nothing else."""
        try:
            voted, former, now = await self._store.transact(partial(self._write, part))
            self._trouble = ""
        except Transient as error:
            if error.message != self._trouble:
                log.warning("leases_not_renewed", holder=self.holder, error=error.message)
            self._trouble = error.message
            return
        self._standing, self._former = voted.standing, former
        self._tell_of_clock(clock_behind_s(voted.standing, now))
        for shard, led in self._led.items():
            lease = voted.standing.leases.get(shard)
            if lease is None or lease.holder != self.holder:
                led.end("another one leads it")
            elif shard == voted.offered:
                led.end("another one leads far fewer")
            elif lease.term == led.term:
                led.until = lease.until
        for shard in voted.taken:
            led = self._led[shard] = _Led(voted.standing.leases[shard])
            led.task = asyncio.create_task(self._lead(shard, led), name=f"leads-{shard}")

    def _write(self, part: Part, tx: Transaction) -> tuple[Vote, Lease | None, float]:
        """Vote in a transaction; return what came out, the lease of former versions, and when that was."""
        now, former = self._clock.now(), tx.record(Kind.LEASE, Lease, FORMER)
        voted = vote(standing_of(tx), former, part, now)
        _put(tx, voted)
        return voted, voted.former or former, now

    async def _lead(self, shard: str, led: _Led) -> None:
        """Run a shard's work until it ends, its lease does, or it is told to stop."""
        log.info("leads", shard=shard, term=led.term, holder=self.holder)
        began = self._clock.now()
        work = asyncio.create_task(self._run_work(shard, led.term), name=f"shard-{shard}")
        ends = [asyncio.create_task(led.stop.wait()), asyncio.create_task(self._run_out(led))]
        await asyncio.wait({work, *ends}, return_when=asyncio.FIRST_COMPLETED)
        by_itself = work.done()
        led.end("its lease could not be renewed")
        await _cancelled(work, *ends)
        error = None if work.cancelled() else work.exception()
        if by_itself:
            self._let_be(shard, began, error)
        else:
            log.warning("leads_no_more", shard=shard, term=led.term, holder=self.holder, reason=led.why)
            if error is not None:
                # It was to stop in any case, and has; the next one that leads begins anew.
                log.error("work_failed_while_stopping", shard=shard, error=repr(error))
        del self._led[shard]
        self._wake.set()

    async def _run_work(self, shard: str, term: int) -> None:
        """Run a shard's work; what it raises before it awaits anything is raised here, too."""
        await self._work[shard](term)

    def _let_be(self, shard: str, began: float, error: BaseException | None) -> None:
        """Lead a shard no more for a while whose work has ended by itself."""
        now = self._clock.now()
        failures = 0 if now - began > MAX_RETRY_S else self._failed.get(shard, (0, 0.0))[0]
        wait_s = min(MAX_RETRY_S, RETRY_S * 2**failures)
        self._failed[shard] = (failures + 1, now + wait_s)
        log.error("shard_failed", shard=shard, holder=self.holder, not_before_s=wait_s, exc_info=error)

    async def _run_out(self, led: _Led) -> None:
        """Return when too little of a lease is left."""
        while (left_s := led.until - MARGIN_S - self._clock.now()) > 0:
            await self._clock.sleep(left_s)

    async def _leave(self) -> None:
        """Let the next ones lead at once."""

        def work(tx: Transaction) -> None:
            _put(tx, leave(standing_of(tx), tx.record(Kind.LEASE, Lease, FORMER), self.holder))

        try:
            async with asyncio.timeout(GIVE_UP_S):
                await self._store.transact(work)
        except (Transient, TimeoutError) as error:
            log.warning("leases_not_given_up", holder=self.holder, error=str(error))

    def _tell_of_clock(self, behind_s: float) -> None:
        """Say it once when clocks differ by more than they may."""
        if behind_s > MARGIN_S and not self._clock_told:
            log.warning("clock_behind", behind_s=round(behind_s, 1), may_be_s=MARGIN_S)
        self._clock_told = behind_s > MARGIN_S


def _put(tx: Transaction, voted: Vote) -> None:
    tx.put_record(Kind.LEASE, STANDING, voted.standing)
    if voted.former is not None:
        tx.put_record(Kind.LEASE, FORMER, voted.former)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
