"""GET /v1/watch: every change of the change log, with the present row, for live displays and for programs."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weft.api.events import HEARTBEAT, EventStream, event
from weft.api.idempotency import shown as operation_row
from weft.api.native.inventory import status_wire, switch_rows
from weft.api.native.ports import history_step, port_status
from weft.api.neutron import networks, routers, subnets
from weft.api.routing import Operation
from weft.intent.operations import Operation as PutOff
from weft.model.errors import Invalid
from weft.model.ids import NetworkId, PortId, Revision, RouterId, SubnetId, SwitchName
from weft.model.intent import HistoryEntry
from weft.model.numbers import whole_number
from weft.protocol.inventory import encode
from weft.protocol.node import HEARTBEAT_S
from weft.protocol.port import HistoryStep, WatchEvent
from weft.store import Change, Kind, Snapshot, Store

Row = Mapping[str, Any]

MAX_FOLLOWED_PORTS = 10_000
"""Ports of which a stream remembers how much of their history it has sent; of others, the newest MAX_HISTORY steps
are sent again."""
MAX_HISTORY = 100


class WatchPages:
    """The page of the change log."""

    def __init__(self, store: Store, stopping: asyncio.Event, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._store = store
        self._stopping = stopping
        self._heartbeat_s = heartbeat_s

    def operations(self) -> list[Operation]:
        """Return the operation."""
        return [Operation("GET", "/v1/watch", self.watch)]

    async def watch(self, request: Request) -> Response:
        """Answer a stream of the changes after a revision, or from now on; `kinds` chooses among them."""
        kinds = _kinds(request.query_params.getlist("kinds"))
        after = _after(request.query_params.get("after"), self._store.revision)
        return EventStream(self._events(kinds, after), [self._stopping])

    async def _events(self, kinds: frozenset[Kind], after: Revision) -> AsyncGenerator[bytes, None]:
        """Yield an event for each object that changed; one that changed often since the last is told of once."""
        followed: dict[PortId, HistoryEntry] = {}
        changes = aiter(self._store.watch(after))
        batch = asyncio.ensure_future(anext(changes, None))
        try:
            while True:
                await asyncio.wait({batch}, timeout=self._heartbeat_s)
                if not batch.done():
                    yield HEARTBEAT
                    continue
                found = batch.result()
                if found is None:
                    return
                batch = asyncio.ensure_future(anext(changes, None))
                # A dict keeps the place of a key's first change: take it out, so that the last change decides.
                latest: dict[tuple[Kind, str], Change] = {}
                for change in found:
                    if change.kind in kinds:
                        latest.pop((change.kind, change.id), None)
                        latest[change.kind, change.id] = change
                for told in await self._store.read(partial(_tell, changes=latest.values(), followed=followed)):
                    yield event("change", told)
        finally:
            batch.cancel()
            await asyncio.gather(batch, return_exceptions=True)


def _tell(snapshot: Snapshot, changes: Iterable[Change], followed: dict[PortId, HistoryEntry]) -> list[WatchEvent]:
    """Return an event for each change, with the row as it is now."""
    return [_event(snapshot, change, followed) for change in changes]


def _event(snapshot: Snapshot, change: Change, followed: dict[PortId, HistoryEntry]) -> WatchEvent:
    row = _ROWS[change.kind](snapshot, change.id)
    history: tuple[HistoryStep, ...] = ()
    if change.kind is Kind.PORT:
        history = _news(snapshot, PortId(change.id), followed)
    # What was put and is gone by now is told of as gone: the row is what counts, not the event.
    op = "delete" if row is None else change.op
    return WatchEvent(revision=change.revision, kind=change.kind, id=change.id, op=op, object=row, history=history)


def _news(snapshot: Snapshot, port_id: PortId, followed: dict[PortId, HistoryEntry]) -> tuple[HistoryStep, ...]:
    """Return what happened to a port since this stream last told of it; at first, the newest MAX_HISTORY steps."""
    entries = snapshot.history(port_id)
    if not entries:
        return ()
    last = followed.pop(port_id, None)
    # By the entry, not by how many there were: the oldest are cut.
    known = (at for at in range(len(entries), 0, -1) if entries[at - 1] == last)
    told = next(known, max(0, len(entries) - MAX_HISTORY))
    followed[port_id] = entries[-1]
    if len(followed) > MAX_FOLLOWED_PORTS:
        del followed[next(iter(followed))]
    return tuple(history_step(entry) for entry in entries[told:])


def _kinds(given: Sequence[str]) -> frozenset[Kind]:
    names = [name for each in given for name in each.split(",") if name]
    unknown = [name for name in names if name not in _ROWS]
    if unknown:
        raise Invalid(f"'{unknown[0]}' is no kind of object; known: {', '.join(sorted(_ROWS))}")
    return frozenset(map(Kind, names)) or frozenset(_ROWS)


def _after(given: str | None, newest: Revision) -> Revision:
    if given is None:
        return newest
    number = whole_number(given)
    if number is None or number > newest:
        raise Invalid(f"after '{given[:100]}' is no revision of this server: it is at {newest}")
    return Revision(number)


def _port(snapshot: Snapshot, id_: str) -> Row | None:
    found = snapshot.port(PortId(id_))
    return None if found is None else built_in(port_status(found))


def _network(snapshot: Snapshot, id_: str) -> Row | None:
    found = snapshot.network(NetworkId(id_))
    return None if found is None else networks.renderer(snapshot)(found)


def _subnet(snapshot: Snapshot, id_: str) -> Row | None:
    found = snapshot.subnet(SubnetId(id_))
    return None if found is None else subnets.renderer(snapshot)(found)


def _router(snapshot: Snapshot, id_: str) -> Row | None:
    found = snapshot.router(RouterId(id_))
    return None if found is None else routers.renderer(snapshot)(found)


def _router_interface(snapshot: Snapshot, id_: str) -> Row | None:
    found = next((each for each in snapshot.router_interfaces() if each.subnet_id == id_), None)
    return None if found is None else built_in(found)


def _leaf_vlan(snapshot: Snapshot, id_: str) -> Row | None:
    domain, _, network_id = id_.rpartition("/")
    found = snapshot.leaf_vlan(domain, NetworkId(network_id))
    return None if found is None else built_in(found)


def _switch(snapshot: Snapshot, id_: str) -> Row | None:
    return next((row for row in switch_rows(snapshot) if row["name"] == id_), None)


def _switch_status(snapshot: Snapshot, id_: str) -> Row | None:
    status = snapshot.switch_statuses().get(SwitchName(id_))
    return None if status is None else {"switch": id_, **status_wire(status)}


def _node(snapshot: Snapshot, id_: str) -> Row | None:
    return next((row for row in encode(snapshot.inventory())["nodes"] if row["name"] == id_), None)


def _operation(snapshot: Snapshot, id_: str) -> Row | None:
    found = snapshot.record(Kind.OPERATION, PutOff, id_)
    return None if found is None else operation_row(found, None)


def _inventory(snapshot: Snapshot, _: str) -> Row:
    return encode(snapshot.inventory())


def built_in(value: object) -> dict[str, Any]:
    """Return a struct as JSON would have it."""
    return msgspec.convert(msgspec.to_builtins(value), dict[str, Any])


_ROWS: Mapping[Kind, Callable[[Snapshot, str], Row | None]] = {
    Kind.PORT: _port,
    Kind.NETWORK: _network,
    Kind.SUBNET: _subnet,
    Kind.ROUTER: _router,
    Kind.ROUTER_INTERFACE: _router_interface,
    Kind.LEAF_VLAN: _leaf_vlan,
    Kind.SWITCH: _switch,
    Kind.SWITCH_STATUS: _switch_status,
    Kind.NODE: _node,
    Kind.INVENTORY: _inventory,
    Kind.OPERATION: _operation,
}
"""The present row of an object, as a page of the API shows it; None if there is none any more. Kinds that are not here
are the server's own, and not told of."""
