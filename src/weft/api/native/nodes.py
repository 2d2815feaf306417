"""Nodes and their agents: what a node shall carry, how it is told of changes, what it reports, and its token."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access, digest, new_token
from weft.api.agents import Agents
from weft.api.answers import JsonAnswer, read_json
from weft.api.events import HEARTBEAT, EventStream, event
from weft.api.routing import Operation
from weft.api.watches import News, NodeWatch, NodeWatches
from weft.intent.desired import node_changes, node_desired
from weft.intent.realizations import report
from weft.model.errors import Invalid, NotFound
from weft.model.ids import NodeName, PortId, Revision
from weft.model.inventory import Dataplane
from weft.protocol.inventory import encode
from weft.protocol.node import (
    HEARTBEAT_S,
    NodeBootstrap,
    NodeChange,
    NodeDesired,
    RealizationReport,
    RealizationReports,
    ReportAnswer,
)
from weft.store import Snapshot, Store, Transaction

Row = dict[str, Any]

DEFAULT_MTU_BYTES = 1500
"""Of the interfaces of a node in a site without a fabric."""
MAX_NUMBER = (1 << 53) - 1
"""The largest integer that every JSON reader knows exactly; an epoch beyond it is nonsense."""
FEW_PORTS = 4
"""Ports whose rows are looked up at once, without a way through another thread."""
MAX_TEXT = 1000
"""Characters kept of a reason or a detail; agents quote what their tools say."""


class NodePages:
    """The pages under /v1/nodes."""

    def __init__(
        self,
        store: Store,
        watches: NodeWatches,
        agents: Agents,
        stopping: asyncio.Event,
        *,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._store = store
        self._heartbeat_s = heartbeat_s
        self._watches = watches
        self._agents = agents
        self._stopping = stopping

    def operations(self) -> list[Operation]:
        """Return the operations."""
        node = "/v1/nodes/{node}"
        return [
            Operation("GET", "/v1/nodes", self.index),
            Operation("GET", node, self.show),
            Operation("GET", f"{node}/bootstrap", self.bootstrap, Access.OWN_NODE),
            Operation("POST", f"{node}/bootstrap", self.renew_token),
            Operation("GET", f"{node}/desired", self.desired, Access.OWN_NODE),
            Operation("GET", f"{node}/watch", self.watch, Access.OWN_NODE),
            Operation("POST", f"{node}/realizations", self.report, Access.OWN_NODE),
        ]

    async def index(self, request: Request) -> Response:
        """Answer all nodes with their agents' liveness."""
        del request
        return JsonAnswer({"nodes": await self._store.read(self._rows)})

    def _rows(self, snapshot: Snapshot) -> list[Row]:
        """Return all nodes with where they hang and how their agents are."""
        topology = snapshot.topology()
        numbers, seen = snapshot.numbering().nodes, snapshot.agents()
        rows = []
        for row in encode(topology.inventory)["nodes"]:
            name = NodeName(row["name"])
            row["dataplane"] = topology.nodes[name].dataplane
            row["management_address"] = str(numbers[name].address) if name in numbers else None
            row["leaves"] = topology.leaves_of(name)
            row["agent"] = None
            if topology.nodes[name].dataplane is not Dataplane.NONE:
                state, last_seen = self._agents.state(name, seen.get(name))
                row["agent"] = {"state": state, "last_seen": last_seen}
            rows.append(row)
        return rows

    async def show(self, request: Request) -> Response:
        """Answer one node."""
        name = _name(request)

        def find(snapshot: Snapshot) -> Row:
            _require(snapshot, name)
            return next(row for row in self._rows(snapshot) if row["name"] == name)

        return JsonAnswer({"node": await self._store.read(find)})

    async def bootstrap(self, request: Request) -> Response:
        """Answer what an installer writes to a node, without a token."""
        name = _name(request)
        return JsonAnswer(await self._store.read(lambda snapshot: bootstrap_of(snapshot, name)))

    async def renew_token(self, request: Request) -> Response:
        """Make a new token for a node's agent; the old one is void, and who watches with it is disconnected."""
        name, token = _name(request), new_token()

        def work(tx: Transaction) -> NodeBootstrap:
            found = bootstrap_of(tx, name, token)
            tx.put_node_token(name, digest(token))
            return found

        answer = await self._store.transact(work)
        self._watches.cut(name)
        return JsonAnswer(answer)

    async def desired(self, request: Request) -> Response:
        """Answer all that a node shall carry."""
        name = _name(request)
        return JsonAnswer(await self._store.read(lambda snapshot: _desired(snapshot, name)))

    async def watch(self, request: Request) -> Response:
        """Answer a stream: first all that the node shall carry, then each change of it."""
        name = _name(request)
        await self._store.read(partial(_require, name=name))
        watch = NodeWatch(name)
        return EventStream(self._events(watch), [self._stopping, watch.cut])

    async def report(self, request: Request) -> Response:
        """Take what a node has made real; the answer lists the reports that changed nothing."""
        name = _name(request)
        asked = await read_json(request, RealizationReports)
        reports = tuple(map(_bounded, asked.reports))

        def work(tx: Transaction) -> ReportAnswer:
            _require(tx, name)
            return report(tx, reports, actor=f"agent/{name}", node=name)

        return JsonAnswer(await self._store.transact(work))

    async def _events(self, watch: NodeWatch) -> AsyncGenerator[bytes, None]:
        """Yield the events of one watch, and a comment when there was none for HEARTBEAT_S."""
        with self._watches.registered(watch), self._agents.connected(watch.node):
            desired = await self._store.read(lambda snapshot: _desired(snapshot, watch.node))
            watch.begin(Revision(desired.revision))
            yield event("snapshot", desired)
            while True:
                try:
                    async with asyncio.timeout(self._heartbeat_s):
                        news = await watch.news()
                except TimeoutError:
                    yield HEARTBEAT
                    continue
                few = not news.everything and len(news.ports) <= FEW_PORTS
                find = self._store.look if few else self._store.read
                change = await find(partial(_change, name=watch.node, news=news))
                watch.tell(Revision(change.revision), news)
                yield event("change", change)


def bootstrap_of(snapshot: Snapshot, name: NodeName, token: str | None = None) -> NodeBootstrap:
    """Return what an installer writes to a node; raise NotFound if the inventory has no such node."""
    _require(snapshot, name)
    topology = snapshot.topology()
    node = topology.nodes[name]
    numbers = snapshot.numbering().nodes.get(name)
    pools = topology.pools(node.site)
    return NodeBootstrap(
        node=name,
        dataplane=node.dataplane,
        nics=tuple(link.nic for link in topology.leaf_links(name)),
        management=str(numbers.address) if numbers else None,
        gateway=str(numbers.gateway) if numbers else None,
        mtu_bytes=pools.overlay_mtu_bytes if pools else DEFAULT_MTU_BYTES,
        token=token,
    )


def _name(request: Request) -> NodeName:
    return NodeName(request.path_params["node"])


def _require(snapshot: Snapshot, name: NodeName) -> None:
    topology = snapshot.topology()
    if name not in topology.nodes:
        known = ", ".join(node.name for node in topology.inventory.nodes[:20]) or "none"
        raise NotFound(f"'{name}' is not a node of the inventory; known: {known}", kind="NodeNotFound")


def _desired(snapshot: Snapshot, name: NodeName) -> NodeDesired:
    _require(snapshot, name)
    return node_desired(snapshot, name)


def _change(snapshot: Snapshot, name: NodeName, news: News) -> NodeChange:
    """Return the present rows that some news is about."""
    if not news.everything:
        return node_changes(snapshot, name, news.ports)
    desired = node_desired(snapshot, name)
    gone = news.ports - {PortId(port.port_id) for port in desired.ports}
    return NodeChange(revision=desired.revision, ports=desired.ports, gone=tuple(sorted(gone)))


def _bounded(given: RealizationReport) -> RealizationReport:
    """Return a report as it may be stored; raise Invalid for an epoch that cannot be one."""
    if not 0 <= given.epoch <= MAX_NUMBER:
        raise Invalid(f"epoch {given.epoch} of port {given.port_id} is out of range")
    steps = tuple(msgspec.structs.replace(step, detail=step.detail[:MAX_TEXT]) for step in given.steps)
    return msgspec.structs.replace(given, reason=given.reason[:MAX_TEXT], steps=steps)
