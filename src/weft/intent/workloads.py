"""Containers: the port of a workload's name, on the node that the workload runs on now, held by one container.

A container runtime may add the workload on its next node before it deletes it from the last, and may delete it five
times, late. So the port is the name's; its binding says which container holds it; adding takes it over from whoever
held it, and only the holder's own deletion releases it.
"""

from weft.intent.desired import node_changes
from weft.intent.port_names import Selector, create_or_get, port_by_name
from weft.intent.ports import FixedIpSpec, PortSpec, bind_port, delete_port, unbind_port
from weft.model.addresses import parse_address
from weft.model.errors import Conflict, Forbidden, Invalid, NotFound
from weft.model.ids import NetworkId, NodeName, PortId
from weft.ports.machine import State
from weft.protocol.workload import Workload, WorkloadRelease, WorkloadRequest
from weft.store import PortView, Snapshot, Transaction

OWNER = "container:workload"
"""The device_owner of a workload's port: no agent gets at any other."""
HOLDER, EPHEMERAL = "holder", "ephemeral"
"""What a binding's profile says of it."""


def attach(tx: Transaction, node: NodeName, asked: WorkloadRequest, *, project_id: str) -> Workload:
    """Return the port of a workload's name, made if there is none, bound to a node and held by a container.

    Raises Invalid for a request without name, holder or network; Forbidden for a project whose containers do not run on
    the node; NotFound for the network; Conflict for a name that is another kind of port's, for a node that cannot carry
    the network, and if no address is free.
    """
    if not asked.name or not asked.holder:
        raise Invalid("a workload has a name and a holder; give both")
    project = asked.project_id or project_id
    _check_project(tx, node, project, default=project_id)
    actor = f"agent/{node}"
    spec = PortSpec(
        project_id=project,
        network_id=_network(tx, project, asked),
        name=asked.name,
        fixed_ips=None if asked.address is None else (FixedIpSpec(address=parse_address(asked.address)),),
        device_id=asked.holder,
        device_owner=OWNER,
    )
    existing = port_by_name(tx, project, None, asked.name)
    if existing is not None and existing.port.device_owner != OWNER:
        message = f"port {existing.port.id}, which is called '{asked.name}', belongs to '{existing.port.device_owner}'"
        raise Conflict(f"{message}, not to a container; name the workload otherwise", kind="PortNameInUse")
    made = create_or_get(tx, spec, Selector(labels=asked.network_labels), in_network=False, actor=actor)
    profile: dict[str, object] = {HOLDER: asked.holder, EPHEMERAL: asked.ephemeral}
    current = made.view.life.current
    if current is not None and (current.node, current.profile) == (node, profile):
        return _workload(tx, node, made.view)
    # A move that has not ended is given up: whoever adds says where the container runs now.
    moving = made.view.life.state in {State.BINDING, State.MOVING}
    bound = bind_port(tx, made.view.port.id, node, supersede=moving, profile=profile, actor=actor)
    return _workload(tx, node, bound)


def release(tx: Transaction, node: NodeName, asked: WorkloadRelease, *, project_id: str) -> bool:
    """Let go of a workload's port, if this container on this node is its present holder; tell whether it was.

    The port is deleted if it was ephemeral; else it keeps its addresses for the name.
    """
    view = port_by_name(tx, asked.project_id or project_id, None, asked.name)
    if view is None or view.port.device_owner != OWNER:
        return False
    binding = view.life.current
    if binding is None or binding.node != node or binding.profile.get(HOLDER) != asked.holder:
        return False
    if binding.profile.get(EPHEMERAL):
        delete_port(tx, view.port.id, actor=f"agent/{node}")
    else:
        unbind_port(tx, view.port.id, actor=f"agent/{node}")
    return True


def workloads_on(snapshot: Snapshot, node: NodeName) -> list[Workload]:
    """Return the workloads that are on a node now."""
    views = [view for view in snapshot.ports(node=node) if _is_here(view, node)]
    return [_workload(snapshot, node, view) for view in views]


def workload_of(snapshot: Snapshot, node: NodeName, port_id: PortId) -> Workload:
    """Return one workload of a node. Raises NotFound if it is not there, or not any more."""
    view = snapshot.port(port_id)
    if view is None or not _is_here(view, node):
        raise NotFound(f"node '{node}' has no workload with port {port_id}", kind="WorkloadNotFound")
    return _workload(snapshot, node, view)


def _is_here(view: PortView, node: NodeName) -> bool:
    current = view.life.current
    return view.port.device_owner == OWNER and current is not None and current.node == node


def _check_project(tx: Transaction, node: NodeName, project: str, *, default: str) -> None:
    """A node that somebody has broken into gets at no tenant's networks but those that run on it."""
    found = tx.topology().nodes.get(node)
    allowed = (found.projects if found is not None else ()) or (default,)
    if project not in allowed:
        message = f"node '{node}' runs containers of {', '.join(allowed)}, not of project '{project}'"
        raise Forbidden(f"{message}: name it in the node's `projects` in the inventory", kind="PolicyNotAuthorized")


def _network(tx: Transaction, project: str, asked: WorkloadRequest) -> NetworkId:
    if asked.network is None:
        return NetworkId("")
    visible = [each for each in tx.networks() if each.project_id == project or each.shared]
    found = [each.id for each in visible if asked.network in {each.id, each.name}]
    if len(found) != 1:
        known = ", ".join(sorted(each.name or each.id for each in visible)) or "none"
        how = "several networks are" if found else "no network is"
        message = f"{how} called '{asked.network}' in project '{project}'; it has {known}"
        raise NotFound(message, kind="NetworkNotFound")
    return found[0]


def _workload(snapshot: Snapshot, node: NodeName, view: PortView) -> Workload:
    binding = view.life.current
    assert binding is not None, view.port.id
    [desired] = node_changes(snapshot, node, [view.port.id]).ports
    return Workload(
        port_id=view.port.id,
        name=view.port.name,
        holder=str(binding.profile.get(HOLDER, "")),
        project_id=view.port.project_id,
        epoch=binding.epoch,
        state=view.life.state,
        reason=view.life.reason,
        mac=view.port.mac,
        mtu_bytes=desired.mtu_bytes,
        addresses=desired.addresses,
        ephemeral=bool(binding.profile.get(EPHEMERAL)),
    )
