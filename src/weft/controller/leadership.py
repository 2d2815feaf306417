"""Who leads: of all processes on one database, one at a time runs the controllers.

The leader holds a lease in the store, a row with its name, a term that only grows, and a time. It renews the lease
long before that time, and stops its work well before it when it can't; another process takes over after it. Clocks may
differ by MARGIN_S.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from weft.controller.clock import Clock, SystemClock
from weft.model.errors import Transient
from weft.store import Kind, Snapshot, Store, Transaction

LEASE_S = 10.0
"""How long a leader that is not heard of leads on."""
RENEW_S = 2.0
"""How often the lease is renewed, or asked for."""
MARGIN_S = 3.0
"""How long before its lease is over a leader that can't renew it stops."""

log = structlog.get_logger()


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads, in which term, and until when (Unix seconds)."""

    holder: str
    term: int
    until: float


def lease_of(snapshot: Snapshot, name: str) -> Lease | None:
    """Return a lease; None before the first."""
    return snapshot.record(Kind.LEASE, Lease, name)


class Leadership:
    """This process' part in the election."""

    def __init__(self, store: Store, name: str, *, holder: str | None = None, clock: Clock | None = None) -> None:
        """`name` is of what is led; `holder` of this process, anything that no other has."""
        self._store = store
        self._name = name
        self._clock = clock or SystemClock()
        self.holder = holder or f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self.leads = False

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` while this process leads, and cancel it when it does not; until cancelled, or until `work` ends.

        What `work` raises is raised here.
        """
        until = 0.0
        task: asyncio.Task[None] | None = None
        try:
            while True:
                until = await self._renewed(until)
                self.leads = self._clock.now() < until - MARGIN_S
                if self.leads and task is None:
                    log.info("leads", what=self._name, holder=self.holder)
                    task = asyncio.create_task(work(), name=f"leader-{self._name}")
                elif not self.leads and task is not None:
                    log.warning("leads_no_more", what=self._name, holder=self.holder)
                    await _cancelled(task)
                    task = None
                if task is not None and await self._ends_meanwhile(task):
                    return
                if task is None:
                    await self._clock.sleep(RENEW_S)
        finally:
            if task is not None:
                await _cancelled(task)
            self.leads = False
            await self._give_up()

    async def _ends_meanwhile(self, task: asyncio.Task[None]) -> bool:
        """Wait until it is time to renew; tell whether the work has ended before. Raises what the work raised."""
        pause = asyncio.ensure_future(self._clock.sleep(RENEW_S))
        try:
            await asyncio.wait({task, pause}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        if task.done():
            task.result()
        return task.done()

    async def _renewed(self, until: float) -> float:
        """Take or renew the lease; return until when it is ours, 0 if it is another's."""
        try:
            async with asyncio.timeout(LEASE_S - MARGIN_S):
                return await self._store.transact(self._take)
        except (Transient, TimeoutError) as error:
            log.warning("lease_not_renewed", what=self._name, error=str(error))
            return until

    def _take(self, tx: Transaction) -> float:
        now = self._clock.now()
        found = lease_of(tx, self._name)
        if found is not None and found.holder != self.holder and now < found.until + MARGIN_S:
            return 0.0
        same = found is not None and found.holder == self.holder
        term = (0 if found is None else found.term) + (not same)
        tx.put_record(Kind.LEASE, self._name, Lease(holder=self.holder, term=term, until=now + LEASE_S))
        return now + LEASE_S

    async def _give_up(self) -> None:
        """Let the next one lead at once."""

        def work(tx: Transaction) -> None:
            found = lease_of(tx, self._name)
            if found is not None and found.holder == self.holder:
                tx.put_record(Kind.LEASE, self._name, msgspec.structs.replace(found, until=0.0))

        try:
            await self._store.transact(work)
        except Transient as error:
            log.warning("lease_not_given_up", what=self._name, error=error.message)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
