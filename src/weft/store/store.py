"""The store: one writer thread with group commit, readers on snapshots of their own, and the change log.

Concurrent pieces of work share one transaction of the database, and so share the price of a durable commit. A piece
that fails is undone alone. What a group writes goes into the database in few statements at its end; if one of them
hits a key that is taken, the group is run again carefully, and only the piece fails that asked for the key.

Callers see neither SQL nor driver. On a shared database every group first takes the row that holds the newest
revision, so that the writers of all processes take turns, and a group knows from the revision whether another process
has written since its last.
"""

import asyncio
import queue
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from random import Random as Dice
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from weft.model.errors import Invalid, Permanent, Transient, WeftError
from weft.model.ids import PortId, Revision
from weft.store import changes as change_log
from weft.store import schema as t
from weft.store.catching_up import catch_up
from weft.store.changes import Change, CompactedError
from weft.store.engine import Connection, Engine
from weft.store.group import Group, Kept
from weft.store.reading import Readers
from weft.store.snapshot import Snapshot
from weft.store.sqlite import SqliteEngine
from weft.store.transaction import Transaction

T = TypeVar("T")
Clock = Callable[[], float]
Random = Callable[[int], int]

MAX_QUEUED = 4096
"""Pieces of work that may wait for the writer; more are refused with Transient."""
MAX_GROUP = 256
"""Pieces of work in one commit."""
HANDED_OVER = 32
"""Pieces of work that the writer is woken for in the midst of a turn of the loop: it begins while others are read."""
LOG_KEPT = 100_000
"""Revisions that the change log reaches back; a watcher that is further behind reads anew."""
LOG_COMPACT_EVERY = 1_000
"""Revisions between two compactions."""
RELEASED_HISTORY_S = 86_400.0
"""How long the history of a deleted port is kept."""
POLL_S = 0.02
"""How often a shared database is asked for what other processes have written."""

log = structlog.get_logger()


class _Work:
    """A piece of work on its way through the writer thread."""

    def __init__(
        self,
        run: Callable[[Transaction], Any],
        future: asyncio.Future[Any],
        asked_at: float,
        ports: Sequence[PortId],
    ) -> None:
        self.run = run
        self.ports = ports
        self.asked_at = asked_at
        self.future = future
        self.begin()

    def begin(self) -> None:
        """Forget an attempt."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.transaction: Transaction | None = None

    def resolve(self) -> None:
        """Hand over the outcome; in the loop that waits for it."""
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _AgainCarefully(Exception):
    """A group cannot go on as it is, because of one of its pieces, and nobody knows which."""


class Store:
    """Rows and change log; open with `await Store.open(url)`, close with `await store.close()`."""

    def __init__(self, engine: Engine, clock: Clock, random: Random) -> None:
        self._engine = engine
        self._clock = clock
        self._random = random
        self._kept = Kept(random)
        self._asked: list[_Work] = []
        """What is to be handed to the writer at the end of this turn of the loop: to wake a thread costs more than a
        request's own work there, and what comes together is best committed together."""
        self._queue: queue.SimpleQueue[list[_Work] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._readers = Readers(engine)
        self._writer = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._connection: Connection | None = None
        self._looking: Connection | None = None
        self._commits = 0
        self._looked_at = -1
        """After how many commits the looking connection began to see."""
        self._loop = asyncio.get_running_loop()
        self._grown = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None
        self._revision = Revision(0)
        self._compacted_at = Revision(0)
        self._closed = False

    @classmethod
    async def open(cls, url: str, *, clock: Clock = time.time, random: Random | None = None) -> "Store":
        """Open the database of a URL such as ``sqlite:////var/lib/weft/weft.db``, and bring its schema up to date.

        `random` returns so many random bits, which nobody must be unable to guess.

        Raises Invalid for a URL that weft can't use, Permanent for a database that can't be opened or, if it is a file,
        that another process has open.
        """
        engine = engine_of(url)
        try:
            await asyncio.to_thread(engine.upgrade)
            store = cls(engine, clock, random or Dice(secrets.randbits(256)).getrandbits)
            store._revision = store._kept.seen = await store.read(lambda snapshot: snapshot.revision())
        except BaseException as error:
            engine.release()
            if isinstance(error, (sa.exc.DBAPIError, *engine.failures)):
                raise Permanent(f"cannot open the database {engine.url}: {error}") from error
            raise
        store._writer.start()
        if engine.is_shared:
            store._polling = asyncio.create_task(store._poll(), name="store-poll")
        return store

    async def close(self) -> None:
        """Commit what is queued, then close. Watches end."""
        if self._closed:
            return
        self._closed = True
        self._grown.set()
        if self._polling is not None:
            self._polling.cancel()
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.close)
        if self._looking is not None:
            self._looking.close()
        self._engine.release()

    @property
    def revision(self) -> Revision:
        """The newest committed revision that this process has seen."""
        return self._revision

    @property
    def url(self) -> str:
        """Where the database is, without secrets."""
        return self._engine.url

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have the database open, too."""
        return self._engine.is_shared

    async def transact(self, work: Callable[[Transaction], T], *, ports: Sequence[PortId] = ()) -> T:
        """Run `work` in a transaction and return its result once it is durable.

        `ports` is a hint: `work` will ask for these; they are read together with what others will ask for.
        `work` runs in the writer thread, must not block, and may be run again after an attempt that was undone. If it
        raises, nothing of it stays, and the error is raised here. Raises Transient if too much work is waiting, or the
        database can't commit; if the connection broke during the commit, nobody knows whether it was done.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed:
            raise Transient("the store is closed: the server is stopping", retry_after_s=1.0)
        if self._waiting >= MAX_QUEUED:
            raise Transient(f"{MAX_QUEUED} requests are waiting to be written", retry_after_s=1.0)
        self._waiting += 1
        self._asked.append(_Work(work, future, self._clock(), ports))
        if len(self._asked) == 1:
            self._loop.call_soon(self._hand_over)
        elif len(self._asked) >= HANDED_OVER:
            self._hand_over()
        return await future

    def _hand_over(self) -> None:
        """Give the writer what was asked for; in the loop."""
        if self._asked:
            self._queue.put(self._asked)
            self._asked = []

    async def read(self, query: Callable[[Snapshot], T]) -> T:
        """Run `query` on a consistent snapshot in a reader thread and return its result."""
        return await self._readers.read(query)

    async def look(self, query: Callable[[Snapshot], T]) -> T:
        """Run a query that finds few rows by their keys; as `read`, but at once where that takes microseconds.

        A file's rows are mostly in memory: finding one costs less than handing the question to another thread.
        """
        if self._engine.is_shared or self._closed:
            return await self._readers.read(query)
        try:
            return query(Snapshot(self._newest(), self._engine.dialect))
        except self._engine.failures as error:
            raise Transient(f"the database cannot be read: {error}", retry_after_s=1.0) from error

    def _newest(self) -> Connection:
        """Return a connection that sees the newest commit; to begin and end that costs as much as a look."""
        if self._looking is None:
            self._looking = self._engine.connect()
        commits = self._commits
        if commits != self._looked_at:
            self._looking.rollback()
            self._looking.begin_read()
            self._looked_at = commits
        return self._looking

    async def watch(self, after: Revision) -> AsyncIterator[tuple[Change, ...]]:
        """Yield the changes after a revision, oldest first, in batches that never split a revision; ends on close.

        Raises CompactedError if the log no longer reaches back that far, or not yet so far: then the database is an
        older one than the caller has seen.
        """
        if after > self._revision:  # what another process has written may have been read, and not noticed yet
            self._announce(await self.read(lambda snapshot: snapshot.revision()))
        if after > self._revision:
            raise CompactedError(after, self._revision)
        position = after
        while not self._closed:
            grown = self._grown
            batch = await self.read(partial(change_log.after, after=position))
            if batch:
                position = batch[-1].revision
                yield batch
            else:
                await grown.wait()

    # --- the writer thread

    def _write(self) -> None:
        while True:
            group, stop = self._next_group()
            if group:
                self._commit(group)
            if stop:
                break
        self._disconnect()

    def _next_group(self) -> tuple[list[_Work], bool]:
        """Wait for work; return all that is there, about MAX_GROUP at most, and whether no more will come."""
        group: list[_Work] = []
        works = self._queue.get()
        while works is not None:
            group += works
            if len(group) >= MAX_GROUP:
                return group, False
            try:
                works = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, works: list[_Work]) -> None:
        """Run a group of work in one transaction of the database, and settle each piece."""
        try:
            try:
                head = self._attempt_all(works, careful=False)
            except _AgainCarefully:
                head = self._attempt_all(works, careful=True)
        except Exception as error:
            log.exception("commit_failed", error=repr(error), pieces=len(works))
            self._give_up(works, error)
        else:
            self._after_commit(works, head)
        self._call_loop(self._resolve, works)

    def _attempt_all(self, works: list[_Work], *, careful: bool) -> Revision:
        """Run the pieces and commit; return the newest revision. If that raises, nothing has happened."""
        connection = self._begin_write()
        for work in works:
            work.begin()
        try:
            group = Group(self._engine, connection, self._kept, careful=careful)
            if group.head != self._kept.seen:
                catch_up(self._kept, group.snapshot(), self._kept.seen)
            if ahead := [id_ for work in works for id_ in work.ports]:
                group.look_ahead(ahead)
            for work in works:
                self._attempt(group, work)
            self._compact(group)
            try:
                group.finish()
            except self._engine.duplicate as error:
                raise _AgainCarefully from error
            connection.commit()
            self._commits += 1
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

    def _attempt(self, group: Group, work: _Work) -> None:
        """Run one piece; what it raises is its own, and undoes only what it did."""
        transaction = Transaction(group, clock=self._clock, asked_at=work.asked_at, random=self._random)
        try:
            transaction.begin()
            work.result = work.run(transaction)
            transaction.finish()
        except Exception as error:
            if not group.careful and isinstance(error, self._engine.failures):
                transaction.undo()
                raise _AgainCarefully from error
            transaction.give_up()
            if not group.connection.is_usable():
                raise  # The database gave up the whole group: a full disk, a broken cable.
            if not isinstance(error, WeftError):
                log.exception("work_failed", error=repr(error))
            work.error = error
        else:
            work.transaction = transaction

    def _undo(self, works: Sequence[_Work]) -> None:
        """Take back what allocators learnt from a group that is not committed, newest first."""
        for work in reversed(works):
            if work.transaction is not None:
                work.transaction.undo()
        self._kept.forget()

    def _give_up(self, works: Sequence[_Work], error: Exception) -> None:
        self._disconnect()
        for work in works:
            work.error = work.error or Transient(f"the database could not commit: {error}", retry_after_s=1.0)

    def _after_commit(self, works: Sequence[_Work], head: Revision) -> None:
        self._kept.seen = head
        for work in works:
            if work.transaction is not None:
                work.transaction.committed()
        if head > self._revision:
            self._revision = head
            self._call_loop(self._wake, None)

    def _resolve(self, works: Sequence[_Work]) -> None:
        self._waiting -= len(works)
        for work in works:
            work.resolve()

    def _announce(self, head: Revision) -> None:
        """Take a revision that was read from the database; in the loop."""
        if head > self._revision:
            self._revision = head
            self._wake()

    def _wake(self, _: None = None) -> None:
        """Wake the watchers; in the loop."""
        self._grown.set()
        if not self._closed:
            self._grown = asyncio.Event()

    def _call_loop(self, action: Callable[[Any], None], argument: Any) -> None:
        """Have something done in the loop; one that has ended waits for nothing."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action, argument)

    def _compact(self, group: Group) -> None:
        if group.head - self._compacted_at < LOG_COMPACT_EVERY:
            return
        self._compacted_at = group.head
        now = self._clock()
        rows = group.snapshot()
        rows.run(_COMPACT, oldest=group.head - LOG_KEPT)
        rows.run(_RESTED, now=now)
        rows.run(_FORGET_HISTORY, until=now - RELEASED_HISTORY_S)
        rows.run(_FORGET_PORTS, until=now - RELEASED_HISTORY_S)

    def _begin_write(self) -> Connection:
        """Begin a transaction, on a new connection if the old one broke since it was last used."""
        if self._connection is not None:
            try:
                self._connection.begin_write()
            except self._engine.failures as error:
                if not self._engine.is_shared:
                    raise
                log.warning("database_connection_lost", error=str(error))
                self._disconnect()
            else:
                return self._connection
        self._connection = self._engine.connect()
        self._connection.begin_write()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- other processes

    async def _poll(self) -> None:
        """Notice what other processes write, until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                self._announce(await self.read(lambda snapshot: snapshot.revision()))
            except Transient as error:
                log.warning("database_unreachable", error=error.message)
                await asyncio.sleep(error.retry_after_s)


def engine_of(url: str) -> Engine:
    """Return the engine of a database's URL; raise Invalid for one that weft can't use."""
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return SqliteEngine(url)
    if scheme in {"postgresql", "postgres"}:
        from weft.store.postgresql import PostgresEngine  # noqa: PLC0415 - its driver takes time to load

        return PostgresEngine(url)
    raise Invalid(
        f"'{url}' is not a database that weft can use: write sqlite:////absolute/path/weft.db or "
        "postgresql://USER@HOST/DATABASE"
    )


_COMPACT = sa.delete(t.changes).where(t.changes.c.revision < sa.bindparam("oldest"))
_RESTED = sa.delete(t.resting_ips).where(t.resting_ips.c.until < sa.bindparam("now"))
_LONG_GONE = sa.select(t.released_ports.c.port_id).where(t.released_ports.c.at < sa.bindparam("until"))
_FORGET_HISTORY = sa.delete(t.history).where(t.history.c.port_id.in_(_LONG_GONE))
_FORGET_PORTS = sa.delete(t.released_ports).where(t.released_ports.c.at < sa.bindparam("until"))
