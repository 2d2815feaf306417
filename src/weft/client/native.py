"""The calls of weft's own API (/v1): inventory, nodes and their agents, ports, the fabric, the server."""

from collections.abc import Mapping, Sequence

from weft.client.call import Call, JsonObject, Query, as_type, json_body, member, nothing, path_of
from weft.protocol.node import NodeBootstrap, NodeDesired, RealizationReports, ReportAnswer
from weft.protocol.port import HistoryStep, PortStatus
from weft.protocol.workload import (
    WarmOrder,
    WarmPorts,
    Workload,
    WorkloadBatch,
    WorkloadOutcomes,
    WorkloadsCompared,
    WorkloadsPresent,
)

ROOT = "v1"


def inventory() -> Call[JsonObject]:
    """Get the inventory in its wire form (weft.protocol.inventory)."""
    return Call("GET", path_of(ROOT, "inventory"), as_type(JsonObject))


def put_inventory(wire: Mapping[str, object]) -> Call[JsonObject]:
    """Replace the inventory; the answer holds ``revision`` and ``numbering``."""
    return Call("PUT", path_of(ROOT, "inventory"), as_type(JsonObject), body=json_body(wire))


def rows(collection: str) -> Call[list[JsonObject]]:
    """List one of sites, switches, links, nodes."""
    return Call("GET", path_of(ROOT, collection), member(collection, list[JsonObject]))


def switch(name: str) -> Call[JsonObject]:
    """Show a switch with its status."""
    return Call("GET", path_of(ROOT, "switches", name), member("switch", JsonObject))


def node(name: str) -> Call[JsonObject]:
    """Show a node with its agent's liveness."""
    return Call("GET", path_of(ROOT, "nodes", name), member("node", JsonObject))


def bootstrap(node_name: str) -> Call[NodeBootstrap]:
    """Get what an installer writes to a node; without a token."""
    return Call("GET", path_of(ROOT, "nodes", node_name, "bootstrap"), as_type(NodeBootstrap))


def new_token(node_name: str) -> Call[NodeBootstrap]:
    """Make a new token for a node's agent; the old one is void."""
    return Call("POST", path_of(ROOT, "nodes", node_name, "bootstrap"), as_type(NodeBootstrap))


def desired(node_name: str) -> Call[NodeDesired]:
    """Get all that a node shall carry."""
    return Call("GET", path_of(ROOT, "nodes", node_name, "desired"), as_type(NodeDesired))


def report(node_name: str, reports: RealizationReports) -> Call[ReportAnswer]:
    """Say what a node has made real."""
    path = path_of(ROOT, "nodes", node_name, "realizations")
    return Call("POST", path, as_type(ReportAnswer), body=json_body(reports))


def warm_workloads(node_name: str, asked: WarmOrder) -> Call[WarmPorts]:
    """Have ports on a node for containers to come."""
    path = path_of(ROOT, "nodes", node_name, "workloads", "warm")
    return Call("POST", path, as_type(WarmPorts), body=json_body(asked))


def workload_batch(node_name: str, asked: WorkloadBatch) -> Call[WorkloadOutcomes]:
    """Attach, claim and release workloads of a node."""
    path = path_of(ROOT, "nodes", node_name, "workloads", "batch")
    return Call("POST", path, as_type(WorkloadOutcomes), body=json_body(asked))


def workloads_present(node_name: str, asked: WorkloadsPresent) -> Call[WorkloadsCompared]:
    """Say what workloads an agent has."""
    path = path_of(ROOT, "nodes", node_name, "workloads", "present")
    return Call("PUT", path, as_type(WorkloadsCompared), body=json_body(asked))


def workloads_lost(node_name: str) -> Call[int]:
    """Release all workloads of a node that is gone for good."""
    return Call("POST", path_of(ROOT, "nodes", node_name, "workloads", "lost"), member("released", int), body=b"{}")


def workload(node_name: str, port_id: str) -> Call[Workload]:
    """Show a workload that is on a node."""
    return Call("GET", path_of(ROOT, "nodes", node_name, "workloads", port_id), member("workload", Workload))


def workloads(node_name: str) -> Call[list[Workload]]:
    """List the workloads that are on a node."""
    return Call("GET", path_of(ROOT, "nodes", node_name, "workloads"), member("workloads", list[Workload]))


def ports(query: Query) -> Call[list[PortStatus]]:
    """List ports with their state; `query` holds filters such as ``node`` or ``network_id``."""
    return Call("GET", path_of(ROOT, "ports"), member("ports", list[PortStatus]), query)


def port(port_id: str) -> Call[PortStatus]:
    """Show a port with its state, bindings and realizations."""
    return Call("GET", path_of(ROOT, "ports", port_id), member("port", PortStatus))


def history(port_id: str) -> Call[list[HistoryStep]]:
    """Get the steps of a port's life, oldest first."""
    return Call("GET", path_of(ROOT, "ports", port_id, "history"), member("history", list[HistoryStep]))


def bind(port_id: str, node_name: str, *, supersede: bool, expected_epoch: int | None) -> Call[PortStatus]:
    """Bind a port to a node, or move it there; see Client.bind."""
    body: JsonObject = {"node": node_name, "supersede": supersede}
    if expected_epoch is not None:
        body["expected_epoch"] = expected_epoch
    path = path_of(ROOT, "ports", port_id, "bind")
    return Call("POST", path, member("port", PortStatus), body=json_body(body))


def unbind(port_id: str) -> Call[PortStatus]:
    """Take a port off its node; it keeps its addresses."""
    return Call("POST", path_of(ROOT, "ports", port_id, "unbind"), member("port", PortStatus), body=b"{}")


def fabric_status() -> Call[JsonObject]:
    """Get the state of every switch: in-sync, pending, unreachable or failed, since when and why."""
    return Call("GET", path_of(ROOT, "fabric", "status"), as_type(JsonObject))


def fabric_plan() -> Call[JsonObject]:
    """Get what would change on every switch, from its last observation, as text and as data."""
    return Call("GET", path_of(ROOT, "fabric", "plan"), as_type(JsonObject))


def fabric_apply(switches: Sequence[str], *, reason: str, override: bool) -> Call[JsonObject]:
    """Begin a roll-out of what waits on switches, or on all."""
    body = json_body({"switches": list(switches), "reason": reason, "override": override})
    return Call("POST", path_of(ROOT, "fabric", "apply"), member("rollout", JsonObject), body=body)


def migrate_network(network_id: str, stage: str) -> Call[JsonObject]:
    """Take a network to a stage: vlan, joined or vxlan."""
    path = path_of(ROOT, "networks", network_id, "migrate")
    return Call("POST", path, member("network", JsonObject), body=json_body({"stage": stage}))


def peerings(router_id: str | None) -> Call[list[JsonObject]]:
    """Read all peerings, or those of one router."""
    query = {"router_id": router_id} if router_id is not None else {}
    return Call("GET", path_of(ROOT, "peerings"), member("peerings", list[JsonObject]), query=query)


def create_peering(one: str, other: str) -> Call[JsonObject]:
    """Peer two routers, by their ids."""
    body = json_body({"routers": [one, other]})
    return Call("POST", path_of(ROOT, "peerings"), member("peering", JsonObject), body=body)


def delete_peering(peering_id: str) -> Call[None]:
    """End a peering."""
    return Call("DELETE", path_of(ROOT, "peerings", peering_id), nothing)


def fabric_capacity() -> Call[list[JsonObject]]:
    """Read how full every switch's tables are."""
    return Call("GET", path_of(ROOT, "fabric", "capacity"), member("switches", list[JsonObject]))


def fabric_rollouts() -> Call[list[JsonObject]]:
    """Read all roll-outs, the newest first."""
    return Call("GET", path_of(ROOT, "fabric", "rollouts"), member("rollouts", list[JsonObject]))


def fabric_rollout(rollout_id: str) -> Call[JsonObject]:
    """Read one roll-out."""
    return Call("GET", path_of(ROOT, "fabric", "rollouts", rollout_id), member("rollout", JsonObject))


def status() -> Call[JsonObject]:
    """Get the server's own state: revision, ports per state, agents."""
    return Call("GET", path_of(ROOT, "status"), as_type(JsonObject))
