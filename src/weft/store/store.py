"""The store: one writer with group commit, readers on snapshots of their own, and the change log.

Callers see neither SQL nor driver. On a shared database every group first takes the row that holds the newest
revision, so that the writers of all processes take turns, and a group knows from the revision whether another process
has written since its last.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from random import Random as Dice
from typing import Any, TypeVar

import structlog

from weft.model.errors import Invalid, Permanent, Transient
from weft.model.ids import PortId, Revision
from weft.store import changes as change_log
from weft.store.changes import Change, CompactedError, Kind
from weft.store.damage import Damage
from weft.store.engine import Connection, Engine, failures_are_final
from weft.store.reading import Readers
from weft.store.snapshot import Snapshot
from weft.store.sqlite import SqliteEngine
from weft.store.statements import question
from weft.store.transaction import Transaction
from weft.store.work import Work
from weft.store.writer import Writer

T = TypeVar("T")
Item = TypeVar("Item")
Clock = Callable[[], float]
Random = Callable[[int], int]

READERS = 2
"""Threads for queries that may take long."""

POLL_S = 0.02
"""How often a shared database is asked for what other processes have written."""

WATCH_PAUSE_S = 0.005
"""How long a watch of a file rests after each look at the log: under load it then reads many commits at once."""

log = structlog.get_logger()


class Store:
    """Rows and change log; open with `await Store.open(url)`, close with `await store.close()`."""

    def __init__(self, engine: Engine, clock: Clock, random: Random) -> None:
        self._engine = engine
        self._clock = clock
        self._damage = Damage(engine)
        self._writer = Writer(engine, clock, random, self._announce, self._damage)
        self._readers = Readers(engine, self._damage, READERS)
        self._lookers = Readers(engine, self._damage, 1) if engine.is_remote else None
        self._looking: Connection | None = None
        self._looked_at: int | None = None
        """After how many commits the looking connection began to see; None: it sees nothing now."""
        self._grown = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None
        self._revision = Revision(0)
        self._closed = False
        self._loop = asyncio.get_running_loop()
        """Asked for once: each time is a system call (Python 3.11)."""

    @classmethod
    async def open(cls, database: str | Engine, *, clock: Clock = time.time, random: Random | None = None) -> "Store":
        """Open the database of a URL such as ``sqlite:////var/lib/weft/weft.db``, and bring its schema up to date.

        In place of the URL, an engine from `open_engine`, which is released by `close`.

        `random` returns so many random bits, which nobody must be unable to guess.

        Raises Invalid for a URL that weft can't use, Permanent for a database that can't be opened or, if it is a file,
        that another process has open.
        """
        engine = await asyncio.to_thread(open_engine, database) if isinstance(database, str) else database
        store = cls(engine, clock, random or Dice(secrets.randbits(256)).getrandbits)
        try:
            store._revision = store._writer.kept.seen = await store.read(lambda snapshot: snapshot.revision())
        except BaseException as error:
            await store._close_readers()
            engine.release()
            if isinstance(error, Transient):
                raise Permanent(f"cannot open the database {engine.url}: {error.message}") from error
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
        await self._writer.stop()
        await self._close_readers()
        if self._looking is not None:
            self._looking.close()
            self._looking = None
        self._engine.release()

    async def _close_readers(self) -> None:
        await self._readers.close()
        if self._lookers is not None:
            await self._lookers.close()

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

    async def transact(
        self, work: Callable[[Transaction], T], *, ports: Sequence[PortId] = (), early: bool = False
    ) -> T:
        """Run `work` in a transaction and return its result once it is durable.

        `ports` is a hint: `work` will ask for these; they are read together with what others will ask for.
        `early` is one, too: it will ask for little that is not kept from work before, so that it may be tried while
        another process writes.
        `work` runs when it is the writer's turn, must not block, and may be run again after an attempt that was undone.
        If it raises, nothing of it stays, and the error is raised here. Raises Transient if too much work is waiting,
        or the database can't commit; if the connection broke during the commit, nobody knows whether it was done.
        A database that was found damaged is not written to (Transient, DatabaseDamaged).
        """
        future: asyncio.Future[T] = self._loop.create_future()
        done: T = await self._written(
            Work(lambda tx, _: [work(tx)], None, future, self._clock(), ports=ports, is_early=early)
        )
        return done

    async def transact_together(
        self,
        together: Callable[[Transaction, Sequence[Item]], Sequence[T]],
        item: Item,
        *,
        ports: Sequence[PortId] = (),
        early: bool = False,
    ) -> T:
        """As `transact`, of work that may share its transaction with the same work of others, and so cost less.

        `together` returns a result for each item. If it raises for several items, it is called again for each of them
        in a transaction of its own. To be shared it must be the same function: not one made for a caller.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        work = Work(together, item, future, self._clock(), ports=ports, is_shared=True, is_early=early)
        done: T = await self._written(work)
        return done

    async def _written(self, work: Work) -> Any:
        if self._closed:
            raise Transient("the store is closed: the server is stopping", retry_after_s=1.0)
        self._damage.check()
        self._writer.submit(work)
        return await work.future

    async def read(self, query: Callable[[Snapshot], T], *, ports: Sequence[PortId] = ()) -> T:
        """Run `query` on a consistent snapshot in a reader thread and return its result.

        `ports` is a hint: the query will ask for these; they are read together with what others ask for.
        """
        return await self._readers.read(query, ports)

    async def look(self, query: Callable[[Snapshot], T], *, ports: Sequence[PortId] = ()) -> T:
        """Run a query that finds few rows by their keys; as `read`, but at once where that takes microseconds.

        A file's rows are mostly in memory: finding one costs less than handing the question to another thread.
        `ports` is a hint, as to `read`.
        """
        if self._lookers is not None:
            return await self._lookers.read(query, ports)
        if self._closed:
            return await self._readers.read(query, ports)
        try:
            return query(Snapshot(self._newest(), self._engine.dialect))
        except self._engine.failures as error:
            damaged = self._damage.told_by(error)
            raise damaged or Transient(f"the database cannot be read: {error}", retry_after_s=1.0) from error

    def _newest(self) -> Connection:
        """Return a connection that sees every commit that was answered before this turn of the loop, or in it here.

        To begin and end that costs as much as a look, so the looks of a turn share it. It lasts no longer: as long as
        anybody sees an old state, SQLite cannot begin its log anew, which grows then with every commit.
        """
        if self._looking is None:
            self._looking = self._engine.connect()
        commits = self._writer.commits
        if self._looked_at is None:
            self._loop.call_soon(self._end_look)
        elif self._looked_at != commits:
            self._looking.rollback()
        else:
            return self._looking
        self._looking.begin_read()
        self._looked_at = commits
        return self._looking

    def _end_look(self) -> None:
        """See nothing any more, until the next look."""
        if self._looking is not None and self._looked_at is not None:
            self._looked_at = None
            with contextlib.suppress(*self._engine.failures):
                self._looking.rollback()

    async def watch(self, after: Revision, kinds: frozenset[Kind] | None = None) -> AsyncIterator[tuple[Change, ...]]:
        """Yield the changes after a revision, oldest first, in batches that never split a revision; ends on close.

        With `kinds` only changes of these, and those that concern a node.
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
            batch, up_to = await self.look(partial(change_log.after, after=position, kinds=kinds))
            if batch:
                yield batch
            if up_to > position:
                position = up_to
                await asyncio.sleep(POLL_S if self._engine.is_remote else WATCH_PAUSE_S)
            else:
                await grown.wait()

    def _announce(self, head: Revision) -> None:
        """Take the newest revision, and wake the watchers if it is news; in the loop."""
        if head <= self._revision:
            return
        self._revision = head
        self._grown.set()
        if not self._closed:
            self._grown = asyncio.Event()

    # --- other processes

    async def _poll(self) -> None:
        """Notice what other processes write, until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                self._announce(await self._head())
            except Transient as error:
                log.warning("database_unreachable", error=error.message)
                await asyncio.sleep(error.retry_after_s)

    async def _head(self) -> Revision:
        """Return the newest revision that anybody has committed, on one way to a server and back."""
        if not self._engine.is_remote:
            return await self.look(lambda snapshot: snapshot.revision())
        found = await self._readers.ask(question(self._engine.dialect, change_log.HEAD))
        return Revision(found[0][0] if found else 0)


def open_engine(url: str) -> Engine:
    """Take a database and bring its schema up to date. Raises Invalid and Permanent as Store.open does."""
    engine = engine_of(url)
    try:
        with failures_are_final(engine):
            engine.upgrade()
    except BaseException:
        engine.release()
        raise
    return engine


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
