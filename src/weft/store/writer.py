"""The writer: groups of work, each in one transaction of the database, one group after another.

Concurrent pieces of work share a transaction, and so share the price of a durable commit; those that are alike are run
as one. A piece that fails is undone alone. What a group writes goes into the database in few statements at its end; if
one of them hits a key that is taken, the group is run again carefully, and only the piece fails that asked for the key.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from weft.model.errors import Transient, WeftError
from weft.model.ids import Revision
from weft.store.catching_up import catch_up, questions
from weft.store.changes import HEAD
from weft.store.damage import Damage
from weft.store.engine import Answer, Connection, Engine, Question
from weft.store.group import Group, Kept
from weft.store.statements import question
from weft.store.sweeping import Sweeper
from weft.store.transaction import Transaction
from weft.store.work import APART, Work, sorted_out

MAX_QUEUED = 4096
"""Pieces of work that may wait for the writer; more are refused with Transient."""
MAX_GROUP = 256
"""Pieces of work in one commit."""
HANDED_OVER = 32
"""Pieces of work that the writer is woken for in the midst of a turn of the loop: it begins while others are read."""
PACE_S = 0.0035
"""How far apart groups begin while several pieces come to one: the fixed price of a commit is paid by more of them."""

log = structlog.get_logger()


class _AgainCarefully(Exception):
    """A group cannot go on as it is, because of one of its pieces, and nobody knows which."""


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
        self.kept = Kept(random)
        self.commits = 0
        """How many groups were committed."""
        self._engine = engine
        self._clock = clock
        self._random = random
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
        self._connection: Connection | None = None
        self._sweeper = Sweeper()
        self._with_others = False
        """Whether another process has written between the last two groups, and so will have before the next."""
        self._apart = 0
        """In how many groups to come each piece is done alone: some that were done as one have failed."""
        self._began = 0.0
        """When the last group had its turn."""

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
            if pieces > 1 and len(works) < HANDED_OVER and (early_s := self._began + PACE_S - time.monotonic()) > 0:
                time.sleep(early_s)
            head = self._commit(works)
            pieces = len(works)
            if not self._loop.is_closed():  # a loop that has ended waits for nothing
                self._loop.call_soon_threadsafe(self._settle, works, head)
        self._disconnect()

    def _take_more(self, works: list[Work]) -> None:
        """Add what else is waiting to a group, until it has about MAX_GROUP pieces."""
        with contextlib.suppress(queue.Empty):
            while len(works) < MAX_GROUP:
                more = self._queue.get_nowait()
                if more is None:
                    self._queue.put(None)  # for the next to take: nothing comes after it
                    return
                works += more

    # --- a group

    def _commit(self, works: list[Work]) -> Revision | None:
        """Run a group of work in one transaction of the database; return the newest revision if it was committed."""
        try:
            self._damage.check()
            try:
                head = self._attempt_all(works, careful=False)
            except _AgainCarefully:
                head = self._attempt_all(works, careful=True)
        except Exception as error:
            self._disconnect()
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

    def _attempt_all(self, works: list[Work], *, careful: bool) -> Revision:
        """Run the pieces and commit; return the newest revision. If that raises, nothing has happened."""
        connection, answers = self._begin_write(self._questions())
        self._began = time.monotonic()  # from here on: how long its turn was waited for is none of its own
        if not careful:
            self._take_more(works)  # the turn may have been another process' for long
        for work in works:
            work.begin()
        try:
            head = self._catch_up(connection, *answers)
            group = Group(self._engine, connection, self.kept, head, careful=careful)
            if ahead := [id_ for work in works for id_ in work.ports]:
                group.look_ahead(ahead)
            self._attempt_each(group, works)
            self._sweeper.sweep(group, self._clock())
            try:
                group.commit()
            except self._engine.duplicate as error:
                raise _AgainCarefully from error
            self.commits += 1
        except BaseException as error:
            self._undo(works)
            try:
                connection.rollback()
            except self._engine.failures:
                self._disconnect()
            if careful and isinstance(error, _AgainCarefully):
                raise error.__cause__ or error from None
            raise
        return group.head

    def _attempt_each(self, group: Group, works: Sequence[Work]) -> None:
        """Run the pieces, those as one that may be."""
        for alike in [[work] for work in works] if group.careful or self._apart else sorted_out(works):
            if not self._attempt(group, alike):
                for work in alike:
                    self._attempt(group, [work])
        self._apart = max(0, self._apart - 1)

    def _attempt(self, group: Group, works: Sequence[Work]) -> bool:
        """Run one piece, or several as one. What it raises undoes only what it did.

        What one piece raises is its own; of several nobody knows whose it is: then return False.
        """
        first = works[0]
        transaction = Transaction(group, clock=self._clock, asked_at=first.asked_at, random=self._random)
        try:
            transaction.begin()
            results = first.run(transaction, [each.item for each in works])
            transaction.finish()
        except Exception as error:
            if self._damage.told_by(error) is not None:
                transaction.undo()
                raise  # nothing of the group is written: a write may spread what is wrong
            if not group.careful and isinstance(error, self._engine.failures):
                transaction.undo()
                raise _AgainCarefully from error
            transaction.give_up()
            if not group.connection.is_usable():
                raise  # The database gave up the whole group: a full disk, a broken cable.
            if len(works) > 1:
                self._apart = APART
                return False
            if not isinstance(error, WeftError):
                log.exception("work_failed", error=repr(error))
            first.error = error
            return True
        first.transaction = transaction
        for work, result in zip(works, results, strict=True):
            work.result = result
        return True

    def _undo(self, works: Sequence[Work]) -> None:
        """Take back what allocators learnt from a group that is not committed, newest first."""
        for work in reversed(works):
            if work.transaction is not None:
                work.transaction.undo()
        self.kept.forget()

    def _questions(self) -> list[Question]:
        """Return what is asked when a turn begins: the newest revision, and what others have written, if they do."""
        dialect = self._engine.dialect
        return [question(dialect, HEAD), *(questions(self.kept, dialect) if self._with_others else ())]

    def _catch_up(self, connection: Connection, found: Answer, *news: Answer) -> Revision:
        """Know what others have written, by the answers to `_questions`; return the newest revision."""
        head = Revision(found[0][0] if found else 0)
        self._with_others = head != self.kept.seen
        if self._with_others:
            catch_up(self.kept, head, news or connection.ask(questions(self.kept, self._engine.dialect)))
        return head

    def _begin_write(self, asked: Sequence[Question]) -> tuple[Connection, list[Answer]]:
        """Begin a transaction, on a new connection if the old one broke since it was last used, and ask."""
        if self._connection is not None:
            try:
                return self._connection, self._connection.begin_write(asked)
            except self._engine.failures as error:
                if not self._engine.is_shared or self._damage.told_by(error):
                    raise
                log.warning("database_connection_lost", error=str(error))
                self._disconnect()
        self._connection = self._engine.connect_to_write()
        return self._connection, self._connection.begin_write(asked)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
