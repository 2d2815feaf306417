"""What the fabric controller has to tell the store: realizations of ports, and how switches stand.

Told things are gathered and written in batches, one transaction for many ports. Of a binding's epoch only the last
state counts, but no step gets lost. A transaction that passes away is made again.
"""

import asyncio
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Protocol

import msgspec
import structlog
from msgspec.structs import replace

from weft.controller.clock import Clock
from weft.intent.realizations import report
from weft.model.errors import Transient
from weft.model.ids import Epoch, PortId, Revision, SwitchName
from weft.protocol.node import RealizationReport
from weft.store import Store, Transaction
from weft.store.views import SwitchStatus

BindingKey = tuple[PortId, Epoch]

MAX_REPORTS_AT_ONCE = 500
"""Reports in one transaction: the writer is shared, and others wait behind it."""

WRITE_RETRY_S = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Pauses before a transaction that failed in passing is made again; the last one repeats."""

log = structlog.get_logger()


class Written(Protocol):
    """Hears that reports are durable since a revision, or, not `well`, that they never will be."""

    def __call__(self, keys: Iterable[BindingKey], revision: Revision, *, well: bool) -> None: ...


def _unheard(keys: Iterable[BindingKey], revision: Revision, *, well: bool) -> None:
    """Hear nothing."""


class _Batch(msgspec.Struct):
    """What is to be written next."""

    reports: dict[BindingKey, tuple[str, RealizationReport]] = msgspec.field(default_factory=dict)
    statuses: dict[SwitchName, SwitchStatus | None] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.reports or self.statuses)


class Reporter:
    """Takes what is to be told at once, and writes it as soon as the store takes it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.written: Written = _unheard
        """Called with the epochs whose reports are durable, or were lost."""
        self._next = _Batch()
        self._writing = _Batch()
        self._wake = asyncio.Event()
        self._pausing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def tell(self, actor: str, told: RealizationReport) -> None:
        """Have a report written; steps of an earlier one of the same epoch that still waits are kept."""
        key = (PortId(told.port_id), Epoch(told.epoch))
        earlier = self._next.reports.get(key)
        steps = (*earlier[1].steps, *told.steps) if earlier is not None else told.steps
        self._next.reports[key] = (actor, replace(told, steps=steps))
        self._rouse()

    def tell_status(self, switch: SwitchName, status: SwitchStatus | None) -> None:
        """Have a switch's status written, or, with None, forgotten."""
        self._next.statuses[switch] = status
        self._rouse()

    def holds(self, key: BindingKey) -> bool:
        """Tell whether a report of this epoch is not yet durable: what the rows say of it is older."""
        return key in self._next.reports or key in self._writing.reports

    async def run(self) -> None:
        """Write what is told, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._next:
                self._writing = self._take()
                await self._write(self._writing)
                self._writing = _Batch()
            self._idle.set()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was told is durable, or the store is to be asked again later."""
        return self._idle.is_set()

    async def idle(self) -> None:
        """Return when everything that was told is durable, or the store is to be asked again later."""
        await self._idle.wait()

    def _rouse(self) -> None:
        if not self._pausing:
            self._idle.clear()
        self._wake.set()

    def _take(self) -> _Batch:
        keys = list(self._next.reports)[:MAX_REPORTS_AT_ONCE]
        taken = _Batch(reports={key: self._next.reports.pop(key) for key in keys}, statuses=self._next.statuses)
        self._next.statuses = {}
        return taken

    async def _write(self, batch: _Batch) -> None:
        """Write a batch; if a defect makes it fail, each report alone, so that one of them takes no other with it."""
        if await self._written(batch):
            return
        for key, told in batch.reports.items():
            if not await self._written(_Batch(reports={key: told})):
                self.written([key], self._store.revision, well=False)
        await self._written(_Batch(statuses=batch.statuses))

    async def _written(self, batch: _Batch) -> bool:
        """Tell whether a batch could be written; what fails in passing is tried again."""
        for attempt in count():
            try:
                await self._store.transact(lambda tx: _write(tx, batch.reports.values(), batch.statuses))
            except Transient as error:
                log.warning("reports_delayed", reports=len(batch.reports), error=error.message)
                self._pausing = True
                self._idle.set()
                await self._clock.sleep(WRITE_RETRY_S[min(attempt, len(WRITE_RETRY_S) - 1)])
                self._pausing = False
                self._idle.clear()
            except Exception:
                log.exception("reports_failed", reports=[*batch.reports], statuses=[*batch.statuses])
                return False
            else:
                self.written(batch.reports, self._store.revision, well=True)
                return True
        raise AssertionError


def _write(
    tx: Transaction,
    reports: Iterable[tuple[str, RealizationReport]],
    statuses: Mapping[SwitchName, SwitchStatus | None],
) -> None:
    by_actor: dict[str, list[RealizationReport]] = {}
    for actor, told in reports:
        by_actor.setdefault(actor, []).append(told)
    for actor, told_by in by_actor.items():
        report(tx, told_by, actor=actor, node=None)
    for switch, status in statuses.items():
        if status is None:
            tx.forget_switch(switch)
        else:
            tx.put_switch_status(status)
