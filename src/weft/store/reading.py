"""Readers: threads that run queries on snapshots; queries that wait together share a transaction.

Handing a query to another thread and its answer back costs more than most queries do, and is paid once a batch. On a
server each question costs a way there and back, too: the ports that a batch will ask for are read all at once, and what
one of its queries has read by its key is there for the others.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from weft.model.errors import Transient, WeftError
from weft.model.ids import PortId
from weft.store import schema as t
from weft.store.damage import Damage
from weft.store.engine import Answer, Connection, Engine, Question
from weft.store.layers import Key
from weft.store.snapshot import Snapshot
from weft.store.statements import ports_question, shown_ports_question

T = TypeVar("T")

MAX_BATCH = 16
"""Queries that share a snapshot; a slow one holds up those behind it in its batch."""

MAX_SHARED = 1_000
"""Rows that are kept for the other queries of a batch."""

log = structlog.get_logger()


class _Query:
    def __init__(
        self,
        run: Callable[[Snapshot], Any],
        future: asyncio.Future[Any],
        ports: Sequence[PortId] = (),
        asked: Question | None = None,
    ) -> None:
        """`asked`: its answer is all that is wanted, and nothing is run."""
        self.run = run
        self.ports = ports
        self.asked = asked
        self.future = future
        self.loop = future.get_loop()
        self.result: Any = None
        self.error: BaseException | None = None


class _SharedSnapshot(Snapshot):
    """A snapshot for several queries: what is read by its key is read once."""

    def __init__(self, connection: Connection, dialect: sa.Dialect, rows: dict[tuple[sa.Table, Key], Any]) -> None:
        """`rows`: what was read already; None: there is no such row."""
        super().__init__(connection, dialect)
        self._rows = rows

    def row(self, table: sa.Table, *key: Any) -> tuple[Any, ...] | None:
        """Return what a table has under a primary key."""
        at = (table, key)
        if at not in self._rows:
            if len(self._rows) >= MAX_SHARED:
                self._rows.clear()
            self._rows[at] = super().row(table, *key)
        found: tuple[Any, ...] | None = self._rows[at]
        return found


class _AskMoreError(Exception):
    """A query asks for what was not read ahead."""


class _Glance(Snapshot):
    """What one statement has found, and nothing else."""

    def __init__(self, connection: Connection, dialect: sa.Dialect, rows: Mapping[tuple[sa.Table, Key], Any]) -> None:
        super().__init__(connection, dialect)
        self._rows = rows

    def row(self, table: sa.Table, *key: Any) -> tuple[Any, ...] | None:
        """Return what a table has under a primary key."""
        try:
            found: tuple[Any, ...] | None = self._rows[table, key]
        except KeyError:
            raise _AskMoreError from None
        return found

    def run(self, statement: sa.ClauseElement, **parameters: Any) -> Any:
        """Refuse a query."""
        raise _AskMoreError

    def ask(self, *questions: Question) -> list[Answer]:
        """Refuse queries."""
        raise _AskMoreError


class Readers:
    """Threads with a connection each."""

    def __init__(self, engine: Engine, damage: Damage, threads: int) -> None:
        """`threads`: as many queries as may take long at once; of short ones, two would ask twice for half as many."""
        self._engine = engine
        self._damage = damage
        self._queue: queue.SimpleQueue[_Query | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"store-reader-{number}", daemon=True)
            for number in range(threads)
        ]
        self._closed = False
        for thread in self._threads:
            thread.start()

    async def read(self, query: Callable[[Snapshot], T], ports: Sequence[PortId] = ()) -> T:
        """Run a query and return its result; raise Transient if the database can't be reached.

        `ports` is a hint: the query will ask for these.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._submit(_Query(query, future, ports))
        return await future

    async def ask(self, asked: Question) -> Answer:
        """Return what a question finds; as `read`, but in no transaction, and on one way there and back, if it can."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._submit(_Query(_nothing, future, asked=asked))
        return await future

    def _submit(self, query: _Query) -> None:
        if self._closed:
            raise Transient("the store is closed: the server is stopping", retry_after_s=1.0)
        self._queue.put(query)

    async def close(self) -> None:
        """Answer what was asked, then end the threads. In the loop that reads: nothing comes behind the last word."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _serve(self) -> None:
        connection: Connection | None = None
        stop = False
        while not stop:
            batch, stop = self._next_batch()
            if batch:
                connection = self._answer(connection, batch)
        if connection is not None:
            connection.close()

    def _next_batch(self) -> tuple[list[_Query], bool]:
        batch: list[_Query] = []
        query = self._queue.get()
        while query is not None:
            batch.append(query)
            if len(batch) == MAX_BATCH:
                return batch, False
            try:
                query = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _answer(self, connection: Connection | None, batch: Sequence[_Query]) -> Connection | None:
        """Run the queries of a batch; return the connection for the next, None if it is of no more use."""
        try:
            connection, left = self._answer_at_a_glance(connection, batch)
            if left:
                connection = self._answer_in_one_state(connection, left)
            assert connection is not None, "something was asked"
            _settle(batch)
        except self._engine.failures as error:
            if connection is not None:
                connection.close()
            unreachable = self._damage.told_by(error)
            if unreachable is not None and len(batch) > 1:
                return self._answer_apart(batch)
            unreachable = unreachable or Transient(f"the database cannot be read: {error}", retry_after_s=1.0)
            for query in batch:
                query.error = query.error or unreachable
            _settle(batch)
            return None
        return self._ended(connection)

    def _answer_at_a_glance(
        self, connection: Connection | None, batch: Sequence[_Query]
    ) -> tuple[Connection | None, Sequence[_Query]]:
        """Run queries that do with ports and their networks; return the connection, and the queries that ask for more.

        One statement sees one state, and needs no transaction: of three ways to a server and back, that leaves one.
        """
        if not self._engine.is_remote or not all(query.ports for query in batch):
            return connection, batch
        dialect, ahead = self._engine.dialect, _ports_of(batch)
        connection, [found] = self._begin_read(connection, [shown_ports_question(dialect, ahead)], one_state=False)
        rows: dict[tuple[sa.Table, Key], Any] = {(t.ports, (id_,)): None for id_ in ahead}
        for id_, body, life, network_id, network in found:
            rows[t.ports, (id_,)] = (body, life)
            rows[t.networks, (network_id,)] = (network,)
        glance = _Glance(connection, dialect, rows)
        return connection, [query for query in batch if not self._run(connection, glance, query)]

    def _answer_in_one_state(self, connection: Connection | None, batch: Sequence[_Query]) -> Connection:
        ahead = _ports_of(batch)
        asked = [query.asked for query in batch if query.asked is not None]
        one_state = len(asked) < len(batch)
        if ahead:
            asked.append(ports_question(self._engine.dialect, ahead))
        connection, found = self._begin_read(connection, asked, one_state=one_state)
        rows: dict[tuple[sa.Table, Key], Any] = {(t.ports, (id_,)): None for id_ in ahead}
        if ahead:
            rows.update({(t.ports, (id_,)): tuple(row) for id_, *row in found.pop()})
        snapshot = _SharedSnapshot(connection, self._engine.dialect, rows)
        answers = iter(found)
        for query in batch:
            if query.asked is not None:
                query.result = next(answers)
            else:
                self._run(connection, snapshot, query)
        return connection

    def _answer_apart(self, batch: Sequence[_Query]) -> Connection | None:
        """Run the queries of a batch each alone: that one of them has met damage is nothing to the others."""
        connection: Connection | None = None
        for query in batch:
            query.error = None
            connection = self._answer(connection, [query])
        return connection

    def _ended(self, connection: Connection) -> Connection | None:
        """End the transaction of a connection; return it if it is of more use."""
        try:
            connection.rollback()
        except self._engine.failures:
            connection.close()
            return None
        return connection

    def _begin_read(
        self, connection: Connection | None, asked: Sequence[Question], *, one_state: bool
    ) -> tuple[Connection, list[Answer]]:
        """Ask, on a new connection if the old one broke since it was last used; in a transaction if more is to see the
        same state."""
        if connection is not None:
            try:
                return connection, connection.begin_read(asked) if one_state else connection.ask(asked)
            except self._engine.failures:
                connection.close()
        connection = self._engine.connect()
        try:
            return connection, connection.begin_read(asked) if one_state else connection.ask(asked)
        except self._engine.failures:
            connection.close()
            raise

    def _run(self, connection: Connection, snapshot: Snapshot, query: _Query) -> bool:
        """Run a query; return False if it asks for more than there is to be seen."""
        try:
            query.result = query.run(snapshot)
        except _AskMoreError:
            return False
        except self._engine.failures as error:
            query.error = self._damage.told_by(error)
            if query.error is None or not connection.is_usable():
                connection.close()
                raise
        except Exception as error:
            if not isinstance(error, WeftError):
                log.exception("query_failed", error=repr(error))
            query.error = error
        return True


def _nothing(snapshot: Snapshot) -> None:
    del snapshot


def _ports_of(batch: Sequence[_Query]) -> list[PortId]:
    return sorted({id_ for query in batch for id_ in query.ports})[:MAX_BATCH]


def _settle(batch: Sequence[_Query]) -> None:
    """Hand the outcomes to the loops that wait for them; one that has ended waits for nothing."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Query]] = {}
    for query in batch:
        by_loop.setdefault(query.loop, []).append(query)
    for loop, queries in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, queries)


def _resolve(queries: Sequence[_Query]) -> None:
    for query in queries:
        if query.future.cancelled():
            continue
        if query.error is not None:
            query.future.set_exception(query.error)
        else:
            query.future.set_result(query.result)
