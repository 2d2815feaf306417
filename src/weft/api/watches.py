"""Who watches which node, and what changed there since they were last told.

One reader of the change log serves all watches. A watch holds the ids of what changed, never rows: however fast things
change, a watcher is told each port's present state once, and its memory is bounded by MAX_PENDING ids. A watcher that
falls behind that is cut; it reconnects and gets a new snapshot.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import structlog

from weft.model.ids import NodeName, PortId, Revision
from weft.store import Change, CompactedError, Kind, Store

log = structlog.get_logger()

MAX_PENDING = 10_000
TOLD = frozenset({Kind.INVENTORY, Kind.OPERATION})
"""Kinds of which every change is read; of others only what concerns a node."""
RETRY_S = 1.0
"""How long to wait before the change log is read again after that failed."""


class News(msgspec.Struct, frozen=True):
    """What a watcher is to be told now: of these ports; and if `everything`, of all others that the node has, too."""

    ports: frozenset[PortId]
    everything: bool = False


class NodeWatch:
    """What one watcher of a node has not been told yet."""

    def __init__(self, node: NodeName) -> None:
        self.node = node
        self.cut = asyncio.Event()
        """Set when the watcher shall be disconnected."""
        self._since = Revision(0)
        self._pending: dict[PortId | None, Revision] = {}
        self._news = asyncio.Event()

    def note(self, change: Change) -> None:
        """Remember a change that concerns the node."""
        if change.revision <= self._since:
            return
        # What is no port (a gateway, an MTU) may concern any port of the node.
        self._pending[PortId(change.id) if change.kind is Kind.PORT else None] = change.revision
        self._news.set()
        if len(self._pending) > MAX_PENDING:
            log.warning("watch_cut", node=self.node, pending=len(self._pending))
            self.cut.set()

    def begin(self, revision: Revision) -> None:
        """Remember that the watcher was told all that was so at `revision`."""
        self._since = revision
        self._tell(revision, self._pending.keys())

    def tell(self, revision: Revision, news: News) -> None:
        """Remember that the watcher was told the present rows of some news, as they were at `revision`.

        Of nothing else: rows of other ports may have changed by then, too, and their changes may not be noted yet.
        """
        self._tell(revision, {*news.ports, *([None] if news.everything else [])})

    def _tell(self, revision: Revision, told: Collection[PortId | None]) -> None:
        self._pending = {key: at for key, at in self._pending.items() if at > revision or key not in told}
        if not self._pending:
            self._news.clear()

    async def news(self) -> News:
        """Wait for changes, and return what they are about."""
        await self._news.wait()
        return News(frozenset(key for key in self._pending if key is not None), everything=None in self._pending)


class NodeWatches:
    """All watches of nodes, fed from the change log by `run`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._position = store.revision
        self._watches: dict[NodeName, set[NodeWatch]] = {}
        self._followers: dict[Kind, set[Callable[[Change], None]]] = {}

    @contextmanager
    def following(self, kind: Kind, told: Callable[[Change], None]) -> Iterator[None]:
        """Call `told`, within the context, with every change of a kind, one of TOLD, that is committed from now on.

        It is a hint: what the log no longer has when it is read is not told of.
        """
        self._followers.setdefault(kind, set()).add(told)
        try:
            yield
        finally:
            self._followers[kind].discard(told)

    @contextmanager
    def registered(self, watch: NodeWatch) -> Iterator[None]:
        """Note in a watch, within the context, every change that is committed from now on."""
        self._watches.setdefault(watch.node, set()).add(watch)
        try:
            yield
        finally:
            left = self._watches[watch.node]
            left.discard(watch)
            if not left:
                del self._watches[watch.node]

    def cut(self, node: NodeName) -> None:
        """Disconnect all watchers of a node."""
        for watch in self._watches.get(node, ()):
            watch.cut.set()

    async def run(self) -> None:
        """Note changes in the watches they concern, until the store is closed, or cancelled."""
        while True:
            try:
                async for batch in self._store.watch(self._position, TOLD):
                    await self._take(batch)
                    self._position = batch[-1].revision
            except CompactedError as error:
                log.warning("change_log_skipped", after=self._position, reason=error.message)
                self._skip()
            except Exception:
                log.exception("change_log_skipped", after=self._position)
                self._skip()
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _skip(self) -> None:
        """Go on from now; what is missed is in the snapshots that the watchers get when they come again."""
        self._position = self._store.revision
        for node in self._watches:
            self.cut(node)

    async def _take(self, batch: Sequence[Change]) -> None:
        for change in batch:
            for told in tuple(self._followers.get(change.kind, ())):
                told(change)
            for node in change.nodes:
                for watch in self._watches.get(node, ()):
                    watch.note(change)
        if any(change.kind is Kind.INVENTORY for change in batch):
            inventory = await self._store.read(lambda snapshot: snapshot.inventory())
            for gone in self._watches.keys() - {node.name for node in inventory.nodes}:
                self.cut(gone)
