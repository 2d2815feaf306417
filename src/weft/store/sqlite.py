"""The store on one SQLite file: one writer thread with group commit, and readers on snapshots of their own.

Concurrent pieces of work share one transaction of the database, each in a savepoint of its own, and so share the
price of a durable commit (WAL, synchronous=FULL). A piece that fails is rolled back alone. An engine for PostgreSQL
offers the same class with other insides; callers see neither SQL nor driver.
"""

import asyncio
import fcntl
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import sqlite

from weft.model.errors import Invalid, Permanent, Transient, WeftError
from weft.model.ids import NodeName, Revision
from weft.store import schema as t
from weft.store.changes import Change, CompactedError, Kind, Op
from weft.store.ids import Ids
from weft.store.migration import upgrade
from weft.store.pools import Pools
from weft.store.snapshot import Snapshot
from weft.store.transaction import Transaction

T = TypeVar("T")
Clock = Callable[[], float]
Random = Callable[[int], int]

MAX_QUEUED = 4096
"""Pieces of work that may wait for the writer; more are refused with Transient."""
MAX_GROUP = 256
"""Pieces of work in one commit."""
READERS = 2
"""Threads that read snapshots."""
BUSY_TIMEOUT_S = 10.0
"""How long to wait for another process that holds the file."""
LOG_KEPT = 100_000
"""Revisions that the change log reaches back; a watcher that is further behind reads anew."""
LOG_COMPACT_EVERY = 1_000
"""Revisions between two compactions."""
RELEASED_HISTORY_S = 86_400.0
"""How long the history of a deleted port is kept."""
WATCH_BATCH = 1_000
"""Changes handed to a watcher at once."""

log = structlog.get_logger()
_DIALECT = sqlite.dialect(paramstyle="named")


class _Work:
    """A piece of work on its way through the writer thread."""

    def __init__(self, run: Callable[[Transaction], Any], future: asyncio.Future[Any], asked_at: float) -> None:
        self.run = run
        self.asked_at = asked_at
        self.future = future
        self.loop = future.get_loop()
        self.result: Any = None
        self.error: BaseException | None = None
        self.transaction: Transaction | None = None
        self.changes: tuple[Change, ...] = ()

    def settle(self) -> None:
        """Hand the outcome to the loop that waits for it; a loop that has ended waits for nothing."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Store:
    """Rows and change log; open with `await Store.open(url)`, close with `await store.close()`."""

    def __init__(self, path: Path, lock: int, clock: Clock, random: Random) -> None:
        self._path = path
        self._lock = lock
        self._clock = clock
        self._random = random
        self._ids = Ids(random)
        self._pools = Pools()
        self._queue: queue.Queue[_Work | None] = queue.Queue(MAX_QUEUED)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writer = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._grown = asyncio.Event()
        self._revision = Revision(0)
        self._compacted_at = Revision(0)
        self._closed = False

    @classmethod
    async def open(cls, url: str, *, clock: Clock = time.time, random: Random = secrets.randbits) -> "Store":
        """Open the database of a URL such as ``sqlite:////var/lib/weft/weft.db``, and bring its schema up to date.

        Raises Invalid for a URL that weft can't use, Permanent for a file that can't be opened or that another process
        has open: allocators and revisions are in the memory of its one owner.
        """
        path = _path(url)
        lock = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _own(path)
            await asyncio.to_thread(upgrade, path)
            store = cls(path, lock, clock, random)
            connection = store._connect()
            store._revision = Snapshot(connection, _DIALECT).revision()
            connection.close()
        except BaseException as error:
            if lock is not None:
                os.close(lock)
            if isinstance(error, OSError | sqlite3.Error | sa.exc.DBAPIError):
                raise Permanent(f"cannot open the database {path}: {error}") from error
            raise
        store._writer.start()
        return store

    async def close(self) -> None:
        """Commit what is queued, then close. Watches end."""
        if self._closed:
            return
        self._closed = True
        self._grown.set()
        await asyncio.to_thread(self._queue.put, None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()
        os.close(self._lock)

    @property
    def revision(self) -> Revision:
        """The newest committed revision."""
        return self._revision

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction and return its result once it is durable.

        `work` runs in the writer thread and must not block. If it raises, nothing of it stays, and the error is raised
        here. Raises Transient if too much work is waiting, or the database can't commit.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed:
            raise Transient("the store is closed: the server is stopping", retry_after_s=1.0)
        try:
            self._queue.put_nowait(_Work(work, future, self._clock()))
        except queue.Full:
            raise Transient(f"{MAX_QUEUED} requests are waiting to be written", retry_after_s=1.0) from None
        return await future

    async def read(self, query: Callable[[Snapshot], T]) -> T:
        """Run `query` on a consistent snapshot in a reader thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, query)

    async def watch(self, after: Revision) -> AsyncIterator[tuple[Change, ...]]:
        """Yield the changes after a revision, oldest first, in batches that never split a revision; ends on close.

        Raises CompactedError if the log no longer reaches back that far, or not yet so far: then the database is an
        older one than the caller has seen.
        """
        if after > self._revision:
            raise CompactedError(after, self._revision)
        position = after
        while not self._closed:
            grown = self._grown
            batch = await self.read(partial(_changes_after, after=position))
            if batch:
                position = batch[-1].revision
                yield batch
            else:
                await grown.wait()

    # --- the writer thread

    def _write(self) -> None:
        connection = self._connect()
        stop = False
        while not stop:
            first = self._queue.get()
            group = [] if first is None else [first]
            stop = first is None
            while not stop and len(group) < MAX_GROUP:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    stop = True
                else:
                    group.append(more)
            if group:
                self._commit(connection, group)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, group: list[_Work]) -> None:
        """Run a group of work in one transaction of the database, and settle each piece."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work in group:
                self._attempt(connection, work)
            self._compact(connection, group)
            connection.execute("COMMIT")
        except Exception as error:
            log.exception("commit_failed", error=repr(error), pieces=len(group))
            self._give_up(connection, group, error)
        else:
            self._after_commit(group)
        for work in group:
            work.settle()

    def _give_up(self, connection: sqlite3.Connection, group: list[_Work], error: Exception) -> None:
        """Undo a whole group: rows, and what allocators learnt, newest first."""
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for work in reversed(group):
            if work.transaction is not None:
                work.transaction.undo()
            work.error = work.error or Transient(f"the database could not commit: {error}", retry_after_s=1.0)

    def _attempt(self, connection: sqlite3.Connection, work: _Work) -> None:
        """Run one piece in a savepoint; what it raises is its own, and undoes only what it did."""
        transaction = Transaction(
            connection,
            _DIALECT,
            clock=self._clock,
            asked_at=work.asked_at,
            random=self._random,
            ids=self._ids,
            pools=self._pools,
            duplicate=sqlite3.IntegrityError,
        )
        connection.execute("SAVEPOINT piece")
        try:
            work.result = work.run(transaction)
            work.changes = transaction.finish()
        except Exception as error:
            transaction.undo()
            if not connection.in_transaction:
                raise  # The database gave up the whole group: a full disk, a broken file.
            if not isinstance(error, WeftError):
                log.exception("work_failed", error=repr(error))
            work.error = error
            connection.execute("ROLLBACK TO piece")
        else:
            work.transaction = transaction
        connection.execute("RELEASE piece")

    def _after_commit(self, group: list[_Work]) -> None:
        newest = self._revision
        for work in group:
            if work.transaction is not None:
                work.transaction.committed()
            if work.changes:
                newest = work.changes[-1].revision
        if newest != self._revision:
            self._revision = newest
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        self._grown.set()
        if not self._closed:
            self._grown = asyncio.Event()

    def _compact(self, connection: sqlite3.Connection, group: list[_Work]) -> None:
        newest = max((work.changes[-1].revision for work in group if work.changes), default=Revision(0))
        if newest - self._compacted_at < LOG_COMPACT_EVERY:
            return
        self._compacted_at = newest
        now = self._clock()
        rows = Snapshot(connection, _DIALECT)
        rows.run(_COMPACT, oldest=newest - LOG_KEPT)
        rows.run(_RESTED, now=now)
        rows.run(_FORGET_HISTORY, until=now - RELEASED_HISTORY_S)
        rows.run(_FORGET_PORTS, until=now - RELEASED_HISTORY_S)

    # --- connections

    def _read(self, query: Callable[[Snapshot], T]) -> T:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._connections.append(connection)
        connection.execute("BEGIN")
        try:
            return query(Snapshot(connection, _DIALECT))
        finally:
            connection.execute("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection


def _own(path: Path) -> int:
    """Lock a database for this process and return the lock; it ends with the process, however that ends."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        message = f"the database {path} is open in another process: stop that server, or give this one another --db"
        raise Permanent(message, kind="DatabaseInUse") from None
    return lock


def _path(url: str) -> Path:
    prefix = "sqlite:///"
    if not url.startswith(prefix) or len(url) == len(prefix):
        raise Invalid(f"'{url}' is not a database that weft can use: write sqlite:////absolute/path/weft.db")
    return Path(url.removeprefix(prefix))


def _changes_after(snapshot: Snapshot, after: Revision) -> tuple[Change, ...]:
    """Return the next changes, whole revisions only, at most about WATCH_BATCH of them."""
    oldest = snapshot.run(_OLDEST).fetchone()[0]
    if oldest is not None and after + 1 < oldest:
        raise CompactedError(after, Revision(oldest))
    rows = snapshot.run(_AFTER, after=after).fetchmany(WATCH_BATCH)
    if len(rows) == WATCH_BATCH:
        rows = snapshot.run(_BETWEEN, after=after, last=rows[-1][0]).fetchall()
    return tuple(
        Change(
            revision=Revision(revision),
            kind=Kind(kind),
            id=id_,
            op=Op(op),
            nodes=tuple(NodeName(node) for node in nodes.split()),
        )
        for revision, kind, id_, op, nodes in rows
    )


_COLUMNS = (t.changes.c.revision, t.changes.c.kind, t.changes.c.id, t.changes.c.op, t.changes.c.nodes)
_OLDEST = sa.select(sa.func.min(t.changes.c.revision))
_AFTER = (
    sa.select(*_COLUMNS)
    .where(t.changes.c.revision > sa.bindparam("after"))
    .order_by(t.changes.c.revision, t.changes.c.seq)
)
_BETWEEN = (
    sa.select(*_COLUMNS)
    .where(t.changes.c.revision > sa.bindparam("after"), t.changes.c.revision <= sa.bindparam("last"))
    .order_by(t.changes.c.revision, t.changes.c.seq)
)
_COMPACT = sa.delete(t.changes).where(t.changes.c.revision < sa.bindparam("oldest"))
_RESTED = sa.delete(t.resting_ips).where(t.resting_ips.c.until < sa.bindparam("now"))
_LONG_GONE = sa.select(t.released_ports.c.port_id).where(t.released_ports.c.at < sa.bindparam("until"))
_FORGET_HISTORY = sa.delete(t.history).where(t.history.c.port_id.in_(_LONG_GONE))
_FORGET_PORTS = sa.delete(t.released_ports).where(t.released_ports.c.at < sa.bindparam("until"))
