"""Follows the change log, and tells Nova what is new of its instances' ports."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

import msgspec
import structlog

from weft.controller.clock import Clock, SystemClock
from weft.controller.nova.client import NovaClient
from weft.controller.nova.news import News, NovaPort, news_of
from weft.model.errors import Transient
from weft.model.ids import PortId, Revision
from weft.store import CompactedError, Kind, Snapshot, Store, Transaction

BATCH = 100
"""Events in one request, and ports in one transaction."""
BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0
"""Until Nova is told again, after it could not be told once; twice as long each time."""
SCAN_PAGE = 1000
"""Ports looked at in one read, when the change log does not reach back to where this left off."""
POSITION = "nova"
"""The id of the one record that says how far the change log was read."""

log = structlog.get_logger()


class Position(msgspec.Struct, frozen=True):
    """Everything up to this revision was told."""

    revision: Revision


class NovaEvents:
    """Tells Nova; run it in one process of all on a database. Two that overlap tell some things twice, and no harm."""

    def __init__(self, store: Store, nova: NovaClient, *, clock: Clock | None = None) -> None:
        self._store = store
        self._nova = nova
        self._clock = clock or SystemClock()
        self._dirty: dict[PortId, None] = {}
        """Ports to look at, the first changed first. Bounded by the ports that there are."""
        self._read_up_to = Revision(0)
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Tell Nova of what happened since this last ran, and of whatever happens, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="nova-follow")
            tasks.create_task(self._tell(), name="nova-tell")

    async def _follow(self) -> None:
        stored = await self._store.read(lambda snapshot: snapshot.record(Kind.NOVA_POSITION, Position, POSITION))
        if stored is None:
            # At the very first start nobody in Nova waits for what happened before.
            stored = Position(self._store.revision)
            await self._store.transact(partial(_remember, news={}, position=stored.revision))
        self._read_up_to = stored.revision
        while True:
            try:
                async for batch in self._store.watch(self._read_up_to):
                    self._look_at(PortId(change.id) for change in batch if change.kind is Kind.PORT)
                    self._read_up_to = batch[-1].revision
            except CompactedError as error:
                log.warning("nova_scans_all_ports", reason=error.message)
                await self._scan()
            else:
                return

    async def _scan(self) -> None:
        """Look at every port, and at every port that Nova knows of."""
        upto = self._store.revision
        last = ""
        while True:
            page = await self._store.read(partial(_page, last=last))
            self._look_at(page)
            if len(page) < SCAN_PAGE:
                break
            last = page[-1]
        known = await self._store.read(lambda snapshot: snapshot.records(Kind.NOVA_PORT, NovaPort))
        self._look_at(each.id for each in known)
        self._read_up_to = upto

    def _look_at(self, ports: Iterable[PortId]) -> None:
        self._dirty |= dict.fromkeys(ports)
        if self._dirty:
            self._wake.set()

    async def _tell(self) -> None:
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dirty:
                try:
                    await self.tell()
                    failures = 0
                except Exception as error:
                    # Nothing that goes wrong with Nova may stop the other controllers.
                    wait_s = min(MAX_BACKOFF_S, BACKOFF_S * 2**failures)
                    failures += 1
                    reason = error.message if isinstance(error, Transient) else repr(error)
                    log.warning("nova_not_told", ports=len(self._dirty), again_in_s=wait_s, reason=reason)
                    await self._clock.sleep(wait_s)

    async def tell(self) -> None:
        """Tell Nova of the next BATCH ports that changed, and remember it. Raises Transient if Nova can't be told now.

        What changed meanwhile is looked at again: only what was read before is done with.
        """
        upto = self._read_up_to
        ports = list(islice(self._dirty, BATCH))
        for port in ports:
            del self._dirty[port]
        try:
            news = await self._store.read(lambda snapshot: _news(snapshot, ports))
            events = [each.event for each in news.values() if each.event is not None]
            if events:
                await self._nova.send(events)
                log.info("nova_told", events=len(events))
        except BaseException:
            self._dirty = dict.fromkeys(ports) | self._dirty
            raise
        position = None if self._dirty else upto
        await self._store.transact(lambda tx: _remember(tx, news, position))


def _page(snapshot: Snapshot, last: str) -> list[PortId]:
    return [view.port.id for view in snapshot.ports(after_id=last, limit=SCAN_PAGE)]


def _news(snapshot: Snapshot, ports: Sequence[PortId]) -> dict[PortId, News]:
    views = {view.port.id: view for view in snapshot.ports(ids=ports)}
    known = {each.id: each for each in snapshot.records(Kind.NOVA_PORT, NovaPort, ids=ports)}
    return {port: news_of(port, views.get(port), known.get(port)) for port in ports}


def _remember(tx: Transaction, news: dict[PortId, News], position: Revision | None) -> None:
    known = {each.id: each for each in tx.records(Kind.NOVA_PORT, NovaPort, ids=list(news))}
    changed = not news
    for port, each in news.items():
        if each.after is not None and each.after != known.get(port):
            tx.put_record(Kind.NOVA_PORT, port, each.after)
            changed = True
        elif each.after is None and port in known:
            tx.delete_record(Kind.NOVA_PORT, port)
            changed = True
    if position is not None and changed:
        tx.put_record(Kind.NOVA_POSITION, POSITION, Position(position))
