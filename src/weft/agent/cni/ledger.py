"""Writes into Open vSwitch's database what cables say: what comes during a transaction goes with the next."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from weft.agent.ovs.tables import Operation, Tables
from weft.model.errors import Permanent, Transient

MAX_WRITES = 256
"""Writes that go in one transaction."""
RETRY_AFTER_S = 1.0
"""When a runtime is told to come again after a write that failed by a defect of the agent's."""

log = structlog.get_logger()
_Write = tuple[Sequence[Operation], "asyncio.Future[None]"]


class Rows(Protocol):
    """What is needed of Open vSwitch's database; weft.agent.ovs.database.Database is one."""

    @property
    def tables(self) -> Tables | None: ...

    @property
    def connected(self) -> bool: ...

    async def transact(self, operations: Sequence[Operation]) -> None: ...


class Ledger:
    """The one writer of cables."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._waiting: list[_Write] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def tables(self) -> Tables:
        """The rows. Raises Transient while Open vSwitch does not answer."""
        tables = self._rows.tables
        if tables is None or not self._rows.connected:
            raise Transient("Open vSwitch does not answer on this node", retry_after_s=1.0)
        return tables

    async def write(self, operations: Sequence[Operation]) -> None:
        """Commit operations; they are in the rows then. Raises what ovsdb-server says."""
        if not operations:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((operations, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:MAX_WRITES], self._waiting[MAX_WRITES:]
                error = await self._commit(taken)
                if isinstance(error, Permanent) and len(taken) > 1:  # whose it is shows when each goes alone
                    for each in taken:
                        _end([each], await self._commit([each]))
                else:
                    _end(taken, error)
        finally:
            self._writing = None

    async def _commit(self, taken: Sequence[_Write]) -> Exception | None:
        """Commit writes as one; return what became of that, whatever it is: those who wait have to hear of it."""
        try:
            await self._rows.transact([each for operations, _ in taken for each in operations])
        except (Permanent, Transient) as error:
            return error
        except Exception as error:
            log.exception("cables_not_written")
            return Transient(f"the agent failed: {error!r}", retry_after_s=RETRY_AFTER_S)
        return None


def _end(taken: list[_Write], error: Exception | None) -> None:
    for _, done in taken:
        if done.done():
            continue  # its call was broken off
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
