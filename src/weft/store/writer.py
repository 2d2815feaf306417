"""The writer: the thread that has the database, and the queue of what it is to write.

Concurrent pieces of work share a transaction, and so share the price of a durable commit (weft.store.turns).
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from weft.model.errors import Transient
from weft.model.ids import Revision
from weft.store.damage import Damage
from weft.store.engine import Engine
from weft.store.group import Kept
from weft.store.turns import Turns
from weft.store.work import Work

MAX_QUEUED = 4096
"""Pieces of work that may wait for the writer; more are refused with Transient."""
MAX_GROUP = 256
"""Pieces of work in one commit."""
HANDED_OVER = 32
"""Pieces of work that the writer is woken for in the midst of a turn of the loop: it begins while others are read."""
PACE_S = 0.0015
"""How far apart groups begin while several pieces come to one: the fixed price of a commit is paid by more of them."""

log = structlog.get_logger()


class Writer:
    """The one who writes to a database, of all threads of a process."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        random: Callable[[int], int],
        committed: Callable[[Revision], None],
        damage: Damage,
    ) -> None:
        """`committed` is called in the loop after each commit, with the newest revision."""
        self._turns = Turns(engine, clock, random, damage)
        self._committed = committed
        self._damage = damage
        self._loop = asyncio.get_running_loop()
        self._asked: list[Work] = []
        """What is to be handed to the thread at the end of this turn of the loop: to wake it costs more than a piece
        of work does there, and what comes together is best committed together."""
        self._waiting = 0
        self._queue: queue.SimpleQueue[list[Work] | None] = queue.SimpleQueue()
        """What the thread is to write; None: nothing more."""
        self._thread = threading.Thread(target=self._write, name="store-writer", daemon=True)

    @property
    def kept(self) -> Kept:
        """What is known from one group to the next."""
        return self._turns.kept

    @property
    def commits(self) -> int:
        """How many groups were committed."""
        return self._turns.commits

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    async def stop(self) -> None:
        """Write what was asked for, and end."""
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def submit(self, work: Work) -> None:
        """Have a piece of work done soon; in the loop. Raises Transient if too much is waiting."""
        if self._waiting >= MAX_QUEUED:
            raise Transient(f"{MAX_QUEUED} requests are waiting to be written", retry_after_s=1.0)
        self._waiting += 1
        self._asked.append(work)
        if len(self._asked) == 1:
            self._loop.call_soon(self._hand_over)
        elif len(self._asked) >= HANDED_OVER:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the thread what was asked for; in the loop."""
        if self._asked:
            self._queue.put(self._asked)
            self._asked = []

    def _settle(self, works: Sequence[Work], head: Revision | None) -> None:
        """Tell what became of works, and of the revision; in the loop."""
        self._waiting -= len(works)
        if head is not None:
            self._committed(head)
        for work in works:
            work.resolve()

    # --- the thread

    def _write(self) -> None:
        pieces = 0
        while works := self._queue.get():
            early_s = self._turns.began + PACE_S - time.monotonic()
            if pieces > 1 and len(works) < HANDED_OVER and early_s > 0:
                time.sleep(early_s)
            head = self._commit(works)
            pieces = len(works)
            if not self._loop.is_closed():  # a loop that has ended waits for nothing
                self._loop.call_soon_threadsafe(self._settle, works, head)
        self._turns.disconnect()

    def _take_more(self, works: list[Work]) -> None:
        """Add what else is waiting to a group, until it has about MAX_GROUP pieces."""
        with contextlib.suppress(queue.Empty):
            while len(works) < MAX_GROUP:
                more = self._queue.get_nowait()
                if more is None:
                    self._queue.put(None)  # for the next to take: nothing comes after it
                    return
                works += more

    def _commit(self, works: list[Work]) -> Revision | None:
        """Run a group of work in one transaction of the database; return the newest revision if it was committed."""
        try:
            self._damage.check()
            head = self._turns.commit(works, self._take_more)
        except Exception as error:
            self._turns.disconnect()
            known = error if isinstance(error, Transient) else self._damage.told_by(error)
            if known is None:
                log.exception("commit_failed", error=repr(error), pieces=len(works))
                known = Transient(f"the database could not commit: {error}", retry_after_s=1.0)
            for work in works:
                work.error = work.error or known
            return None
        for work in works:
            if work.transaction is not None:
                work.transaction.committed()
        return head
