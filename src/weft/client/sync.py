"""The client for threads and scripts."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import httpx

from weft.client import native, neutron
from weft.client.call import Call, JsonObject
from weft.client.endpoint import (
    CONNECT_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    SYSTEM_TLS,
    TlsFiles,
    answer_of,
    error_of,
    headers,
    parse_server,
    reaching,
    request_headers,
)
from weft.client.events import SILENCE_S, EventParser, watch_message, watch_query
from weft.client.lookup import is_id, the_one
from weft.client.outcomes import released_in, workload_in
from weft.model.errors import Transient
from weft.protocol.node import NodeBootstrap, NodeDesired, RealizationReports, ReportAnswer
from weft.protocol.port import HistoryStep, PortStatus, WatchEvent
from weft.protocol.workload import (
    WarmOrder,
    Workload,
    WorkloadBatch,
    WorkloadOutcomes,
    WorkloadRelease,
    WorkloadRequest,
    WorkloadsCompared,
    WorkloadsPresent,
)

T = TypeVar("T")
Filter = str | Sequence[str]


class Client:
    """A server that is called and waited for. May be shared by threads.

    `server` is ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:/PATH``. Every method raises Invalid, Conflict,
    NotFound or Forbidden if the server refuses, and Transient if it cannot be reached or cannot answer now.
    """

    def __init__(
        self,
        server: str,
        token: str | None = None,
        *,
        tls: TlsFiles = SYSTEM_TLS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._endpoint = parse_server(server, tls)
        if transport is None:
            transport = httpx.HTTPTransport(uds=self._endpoint.socket_path, verify=self._endpoint.tls())
        self._http = httpx.Client(
            base_url=self._endpoint.base_url,
            headers=headers(token),
            timeout=httpx.Timeout(REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=transport,
            trust_env=False,  # a proxy between a control plane and its clients is never meant
        )
        self.networks = Collection(self, neutron.NETWORKS)
        self.subnets = Collection(self, neutron.SUBNETS)
        self.routers = Routers(self, neutron.ROUTERS)
        self.ports = Collection(self, neutron.PORTS)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def send(self, call: Call[T]) -> T:
        """Send any call and return its answer."""
        with reaching(self._endpoint):
            answer = self._http.request(
                call.method, call.path, params=call.query, content=call.body, headers=request_headers(call)
            )
        return answer_of(self._endpoint, call, answer.status_code, answer.content, answer.headers.get("Retry-After"))

    def extensions(self) -> list[JsonObject]:
        """List the Neutron API extensions that the server has."""
        return self.send(neutron.extensions())

    def inventory(self) -> JsonObject:
        """Get the inventory in its wire form."""
        return self.send(native.inventory())

    def put_inventory(self, wire: Mapping[str, object]) -> JsonObject:
        """Replace the inventory; an Invalid error lists every problem in it."""
        return self.send(native.put_inventory(wire))

    def sites(self) -> list[JsonObject]:
        """List the sites."""
        return self.send(native.rows("sites"))

    def switches(self) -> list[JsonObject]:
        """List the switches with their status."""
        return self.send(native.rows("switches"))

    def switch(self, name: str) -> JsonObject:
        """Show a switch with its status."""
        return self.send(native.switch(name))

    def links(self) -> list[JsonObject]:
        """List the links."""
        return self.send(native.rows("links"))

    def nodes(self) -> list[JsonObject]:
        """List the nodes with their agents' liveness."""
        return self.send(native.rows("nodes"))

    def node(self, name: str) -> JsonObject:
        """Show a node with its agent's liveness."""
        return self.send(native.node(name))

    def bootstrap(self, node: str) -> NodeBootstrap:
        """Get what an installer writes to a node; without a token."""
        return self.send(native.bootstrap(node))

    def new_token(self, node: str) -> NodeBootstrap:
        """Make a new token for a node's agent; the old one is void."""
        return self.send(native.new_token(node))

    def desired(self, node: str) -> NodeDesired:
        """Get all that a node shall carry."""
        return self.send(native.desired(node))

    def report(self, node: str, reports: RealizationReports) -> ReportAnswer:
        """Say what a node has made real."""
        return self.send(native.report(node, reports))

    def warm_workloads(self, node: str, asked: WarmOrder) -> tuple[Workload, ...]:
        """Have ports on a node for containers to come, as many as there are."""
        return (self.send(native.warm_workloads(node, asked))).workloads

    def workload_batch(self, node: str, asked: WorkloadBatch) -> WorkloadOutcomes:
        """Attach, claim and release workloads of a node; each has an outcome of its own (see weft.client.outcomes)."""
        return self.send(native.workload_batch(node, asked))

    def workloads_present(self, node: str, asked: WorkloadsPresent) -> WorkloadsCompared:
        """Say all that a node has of workloads; return where the server differs."""
        return self.send(native.workloads_present(node, asked))

    def workloads_lost(self, node: str) -> int:
        """Release all workloads of a node that is gone for good; return how many. Raises Conflict if it is heard."""
        return self.send(native.workloads_lost(node))

    def attach_workload(self, node: str, asked: WorkloadRequest) -> Workload:
        """Have a workload's port on a node, held by a container."""
        [done] = (self.workload_batch(node, WorkloadBatch(attach=(asked,)))).attach
        return workload_in(done)

    def release_workload(self, node: str, asked: WorkloadRelease) -> bool:
        """Let go of a workload's port; return whether the container was its holder."""
        [done] = (self.workload_batch(node, WorkloadBatch(release=(asked,)))).release
        return released_in(done)

    def workload(self, node: str, port_id: str) -> Workload:
        """Return a workload that is on a node. Raises NotFound."""
        return self.send(native.workload(node, port_id))

    def workloads(self, node: str) -> list[Workload]:
        """Return the workloads that are on a node."""
        return self.send(native.workloads(node))

    def port_statuses(self, **filters: Filter) -> list[PortStatus]:
        """List ports with state, bindings and realizations."""
        return self.send(native.ports(filters))

    def port_status(self, port_id: str) -> PortStatus:
        """Show a port with state, bindings and realizations."""
        return self.send(native.port(port_id))

    def history(self, port_id: str) -> list[HistoryStep]:
        """Get the steps of a port's life, oldest first."""
        return self.send(native.history(port_id))

    def bind(
        self, port_id: str, node: str, *, supersede: bool = False, expected_epoch: int | None = None
    ) -> PortStatus:
        """Bind a port to a node; if it is on another, move it there (make before break).

        `supersede` drops older bindings at once, as after the loss of their node. `expected_epoch` makes it a Conflict
        if the port was bound since by somebody else.
        """
        return self.send(native.bind(port_id, node, supersede=supersede, expected_epoch=expected_epoch))

    def unbind(self, port_id: str) -> PortStatus:
        """Take a port off its node; it keeps its addresses."""
        return self.send(native.unbind(port_id))

    def fabric_status(self) -> JsonObject:
        """Get the state of every switch."""
        return self.send(native.fabric_status())

    def fabric_plan(self) -> JsonObject:
        """Get what would change on every switch."""
        return self.send(native.fabric_plan())

    def fabric_apply(self, switches: Sequence[str], *, reason: str = "", override: bool = False) -> JsonObject:
        """Begin a roll-out of what waits on switches, or on all; return it. Raises Conflict beyond bounds."""
        return self.send(native.fabric_apply(switches, reason=reason, override=override))

    def migrate_network(self, network_id: str, stage: str) -> JsonObject:
        """Take a network from VLAN to VXLAN, a stage at a time; return its numbers. Raises Conflict."""
        return self.send(native.migrate_network(network_id, stage))

    def peerings(self, router_id: str | None = None) -> list[JsonObject]:
        """Return all peerings of routers, or those of one."""
        return self.send(native.peerings(router_id))

    def create_peering(self, one: str, other: str) -> JsonObject:
        """Peer two routers, by their ids. Raises Conflict where prefixes would meet that overlap."""
        return self.send(native.create_peering(one, other))

    def delete_peering(self, peering_id: str) -> None:
        """End a peering."""
        self.send(native.delete_peering(peering_id))

    def fabric_capacity(self) -> list[JsonObject]:
        """Return how full every switch's tables are: asked of it, used by what it says, and its limits."""
        return self.send(native.fabric_capacity())

    def fabric_rollouts(self) -> list[JsonObject]:
        """Return all roll-outs that are remembered, the newest first."""
        return self.send(native.fabric_rollouts())

    def fabric_rollout(self, rollout_id: str) -> JsonObject:
        """Return one roll-out."""
        return self.send(native.fabric_rollout(rollout_id))

    def status(self) -> JsonObject:
        """Get the server's own state."""
        return self.send(native.status())

    def watch(self, kinds: Sequence[str] = (), after: int | None = None) -> Iterator[WatchEvent]:
        """Yield changes of the given kinds (all if none) after a revision (from now if None), until it breaks.

        A stream that ends or is silent for three heartbeats raises Transient; go on after the last revision seen.
        """
        path, query = watch_query(kinds, after)
        silence = httpx.Timeout(SILENCE_S, connect=CONNECT_TIMEOUT_S)
        parser = EventParser()
        with reaching(self._endpoint), self._http.stream("GET", path, params=query, timeout=silence) as answer:
            if answer.is_error:
                raise error_of(answer.status_code, answer.read(), answer.headers.get("Retry-After"))
            for piece in answer.iter_raw():
                for event in parser.feed(piece):
                    if (message := watch_message(event)) is not None:
                        yield message
        raise Transient(f"{self._endpoint.server} ended the watch", retry_after_s=1.0, kind="WatchEnded")


class Collection:
    """One kind of Neutron object; the objects are JSON objects under Neutron's attribute names."""

    def __init__(self, client: Client, resource: neutron.Resource) -> None:
        self._client = client
        self._resource = resource

    def list(self, **filters: Filter) -> list[JsonObject]:
        """List the objects that match all filters, such as ``name="web"``."""
        return self._client.send(self._resource.list(filters))

    def show(self, id_: str) -> JsonObject:
        """Show one object."""
        return self._client.send(self._resource.show(id_))

    def find(self, name_or_id: str) -> JsonObject:
        """Show the object with this id, or the only one with this name."""
        if is_id(name_or_id):
            return self.show(name_or_id)
        return the_one(self._resource.name, name_or_id, self.list(name=name_or_id))

    def create(self, attributes: Mapping[str, object]) -> JsonObject:
        """Create an object and return it."""
        return self._client.send(self._resource.create(attributes))

    def update(self, id_: str, attributes: Mapping[str, object]) -> JsonObject:
        """Change attributes of an object and return it."""
        return self._client.send(self._resource.update(id_, attributes))

    def delete(self, id_: str) -> None:
        """Delete an object."""
        self._client.send(self._resource.delete(id_))


class Routers(Collection):
    """Routers, and their interfaces. An interface is ``{"subnet_id": ...}`` or ``{"port_id": ...}``."""

    def add_interface(self, router_id: str, **interface: str) -> JsonObject:
        """Attach a subnet to a router."""
        return self._client.send(neutron.add_interface(router_id, interface))

    def remove_interface(self, router_id: str, **interface: str) -> JsonObject:
        """Detach a subnet from a router."""
        return self._client.send(neutron.remove_interface(router_id, interface))
