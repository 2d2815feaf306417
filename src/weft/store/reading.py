"""Readers: threads that run queries on snapshots; queries that wait together share a transaction.

Handing a query to another thread and its answer back costs more than most queries do, and is paid once a batch.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog

from weft.model.errors import Transient, WeftError
from weft.store.damage import Damage
from weft.store.engine import Connection, Engine
from weft.store.snapshot import Snapshot

T = TypeVar("T")

THREADS = 2
MAX_BATCH = 16
"""Queries that share a snapshot; a slow one holds up those behind it in its batch."""

log = structlog.get_logger()


class _Query:
    def __init__(self, run: Callable[[Snapshot], Any], future: asyncio.Future[Any]) -> None:
        self.run = run
        self.future = future
        self.loop = future.get_loop()
        self.result: Any = None
        self.error: BaseException | None = None


class Readers:
    """Threads with a connection each."""

    def __init__(self, engine: Engine, damage: Damage) -> None:
        self._engine = engine
        self._damage = damage
        self._queue: queue.SimpleQueue[_Query | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"store-reader-{number}", daemon=True)
            for number in range(THREADS)
        ]
        self._closed = False
        for thread in self._threads:
            thread.start()

    async def read(self, query: Callable[[Snapshot], T]) -> T:
        """Run a query and return its result; raise Transient if the database can't be reached."""
        if self._closed:
            raise Transient("the store is closed: the server is stopping", retry_after_s=1.0)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Query(query, future))
        return await future

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
                _settle(batch)
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
            connection = self._begin_read(connection)
            try:
                snapshot = Snapshot(connection, self._engine.dialect)
                for query in batch:
                    self._run(connection, snapshot, query)
            finally:
                connection.rollback()
        except self._engine.failures as error:
            if connection is not None:
                connection.close()
            unreachable = Transient(f"the database cannot be read: {error}", retry_after_s=1.0)
            for query in batch:
                query.error = query.error or unreachable
            return None
        return connection

    def _begin_read(self, connection: Connection | None) -> Connection:
        """Begin a transaction, on a new connection if the old one broke since it was last used."""
        if connection is not None:
            try:
                connection.begin_read()
            except self._engine.failures:
                connection.close()
            else:
                return connection
        connection = self._engine.connect()
        connection.begin_read()
        return connection

    def _run(self, connection: Connection, snapshot: Snapshot, query: _Query) -> None:
        try:
            query.result = query.run(snapshot)
        except self._engine.failures as error:
            query.error = self._damage.told_by(error)
            if query.error is None or not connection.is_usable():
                raise
        except Exception as error:
            if not isinstance(error, WeftError):
                log.exception("query_failed", error=repr(error))
            query.error = error


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
