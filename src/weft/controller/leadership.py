"""Who leads: of all processes on one database, one at a time runs the controllers.

The leader holds a lease in the store, a row with its name, a term that only grows, and a time. It renews the lease
long before that time, and stops its work MARGIN_S before it, whatever becomes of a renewal; another process takes over
MARGIN_S after it. So clocks may differ by MARGIN_S, and the work has as long to stop.
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
"""How long before its lease is over a leader that can't renew it stops, and how long after it another one leads."""
GIVE_UP_S = 2.0
"""How long a process that ends tries to give its lease up; then it runs out by itself."""

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
        self._lease: Lease | None = None
        self._trouble = ""
        """Why the lease could not be asked for; said when it is another reason than before."""

    @property
    def term(self) -> int:
        """The term of the lease that this process knows; only its own while it leads."""
        return self._lease.term if self._lease is not None else 0

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` while this process leads, and cancel it when it does not; until cancelled, or until `work` ends.

        What `work` raises is raised here.
        """
        try:
            while True:
                await self._wait_for_lease()
                if await self._lead(work):
                    return
        finally:
            await self._give_up()

    async def _wait_for_lease(self) -> None:
        """Return once the lease is ours, for long enough to begin."""
        while True:
            await self._ask()
            if self._left() > 0:
                return
            pause_s = RENEW_S
            if self._lease is not None and self._lease.holder != self.holder:
                pause_s = min(RENEW_S, max(0.0, self._lease.until + MARGIN_S - self._clock.now()))
            await self._clock.sleep(pause_s)

    async def _lead(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Work until the work ends, or the lease does; tell whether the work has ended. Raises what it raised."""
        log.info("leads", what=self._name, holder=self.holder)
        self.leads = True
        working = asyncio.create_task(work(), name=f"leader-{self._name}")
        lease = [asyncio.create_task(self._renew()), asyncio.create_task(self._run_out())]
        try:
            await asyncio.wait({working, *lease}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return True
            log.warning("leads_no_more", what=self._name, holder=self.holder)
            for task in lease:
                if task.done():
                    task.result()
        finally:
            self.leads = False
            await _cancelled(working, *lease)
        if not working.cancelled() and (error := working.exception()) is not None:
            # It is to stop in any case, and has; the next one that leads begins anew.
            log.error("work_failed_while_stopping", what=self._name, error=repr(error))
        return False

    async def _renew(self) -> None:
        """Renew the lease again and again; return when it is another's."""
        while self._lease is not None and self._lease.holder == self.holder:
            await self._clock.sleep(RENEW_S)
            await self._ask()

    async def _run_out(self) -> None:
        """Return when too little of the lease is left."""
        while (left_s := self._left()) > 0:
            await self._clock.sleep(left_s)

    def _left(self) -> float:
        """Return for how long this process may lead, if the lease is not renewed; seconds."""
        if self._lease is None or self._lease.holder != self.holder:
            return 0.0
        return self._lease.until - MARGIN_S - self._clock.now()

    async def _ask(self) -> None:
        """Take or renew the lease, if it is no other's."""
        try:
            self._lease = await self._store.transact(self._take)
            self._trouble = ""
        except Transient as error:
            if error.message != self._trouble:
                log.warning("lease_not_renewed", what=self._name, error=error.message)
            self._trouble = error.message

    def _take(self, tx: Transaction) -> Lease:
        """Take or renew the lease, and return it; or return another's."""
        now = self._clock.now()
        found = lease_of(tx, self._name)
        if found is not None and found.holder != self.holder and now < found.until + MARGIN_S:
            return found
        same = found is not None and found.holder == self.holder
        term = (0 if found is None else found.term) + (not same)
        lease = Lease(holder=self.holder, term=term, until=now + LEASE_S)
        tx.put_record(Kind.LEASE, self._name, lease)
        return lease

    async def _give_up(self) -> None:
        """Let the next one lead at once."""

        def work(tx: Transaction) -> None:
            found = lease_of(tx, self._name)
            if found is not None and found.holder == self.holder:
                tx.put_record(Kind.LEASE, self._name, msgspec.structs.replace(found, until=0.0))

        try:
            async with asyncio.timeout(GIVE_UP_S):
                await self._store.transact(work)
        except (Transient, TimeoutError) as error:
            log.warning("lease_not_given_up", what=self._name, error=str(error))


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
