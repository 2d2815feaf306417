"""Containers: the port of a workload's name, on the node that the workload runs on now, held by one container.

A container runtime may add the workload on its next node before it deletes it from the last, and may delete it five
times, late. So the port is the name's; its binding says which container holds it; adding takes it over from whoever
held it, and only the holder's own deletion releases it. A warm port is on its node before it has name or holder.
"""

import msgspec

from weft.intent.choice import usable_networks
from weft.intent.desired import address_desired
from weft.intent.held import take_back
from weft.intent.port_names import Selector, check_same, create_where
from weft.intent.ports import FixedIpSpec, PortSpec, bind_port, create_port, delete_port
from weft.intent.rows import changed, network_of
from weft.intent.workload_names import OWNER, name_workload, workload_by_name
from weft.intent.workload_presence import seen
from weft.intent.workload_release import EPHEMERAL, HOLDER, RELEASE, let_go, retention_of, take_up
from weft.model import steps
from weft.model.addresses import parse_address, parse_mac
from weft.model.errors import Conflict, Forbidden, Invalid, NotFound
from weft.model.ids import NetworkId, NodeName, PortId
from weft.model.intent import Binding, HistoryEntry, Network
from weft.model.retention import Until, parse_retention
from weft.ports.machine import State
from weft.protocol.workload import WarmOrder, Workload, WorkloadClaim, WorkloadRelease, WorkloadRequest
from weft.store import PortView, Snapshot, Transaction

Profile = dict[str, object]


def attach(tx: Transaction, node: NodeName, asked: WorkloadRequest, *, project_id: str) -> Workload:
    """Return the port of a workload's name, made if there is none, bound to a node and held by a container.

    Raises Invalid for a request without name, holder or network, and for a release policy that is none; Forbidden for a
    project whose containers do not run on the node; NotFound for the network; Conflict for a node that cannot carry the
    network, for a port that is not as asked for, and if no address is free.
    """
    project = asked.project_id or project_id
    _check(tx, node, asked.name, asked.holder, project, default=project_id)
    profile = _profile(asked.holder, asked.release, ephemeral=asked.ephemeral)
    actor = f"agent/{node}"
    spec = PortSpec(
        project_id=project,
        network_id=_network(tx, project, asked.network),
        name=asked.name,
        mac=None if asked.mac is None else parse_mac(asked.mac),
        fixed_ips=None if asked.address is None else (FixedIpSpec(address=parse_address(asked.address)),),
        device_id=asked.holder,
        device_owner=OWNER,
        node=node,
        profile=profile,
    )
    if asked.instead_of is not None:
        return _workload(tx, _made_anew(tx, node, spec, asked))
    view = workload_by_name(tx, project, asked.name)
    if view is None:
        view = create_where(tx, spec, Selector(labels=asked.network_labels), actor=actor)
        name_workload(tx, view.port)
        return _workload(tx, view)
    check_same(view, spec)
    current = view.life.current
    if current is not None and (current.node, current.profile) == (node, profile):
        seen(tx, view.port.id)
        return _workload(tx, view)
    if current is None:
        take_up(tx, view.port.id)
    # A move that has not ended is given up: whoever adds says where the container runs now.
    moving = view.life.state in {State.BINDING, State.MOVING}
    return _workload(tx, bind_port(tx, view.port.id, node, supersede=moving, profile=profile, actor=actor))


def warm(tx: Transaction, node: NodeName, asked: WarmOrder, *, project_id: str) -> Workload:
    """Return one port for a container to come: on the node, with neither name nor holder. Raises as attach."""
    project = asked.project_id or project_id
    _check_project(tx, node, project, default=project_id)
    spec = PortSpec(
        project_id=project,
        network_id=_network(tx, project, asked.network),
        device_owner=OWNER,
        node=node,
        profile=_profile("", None, ephemeral=True),
    )
    return _workload(tx, create_where(tx, spec, Selector(labels=asked.network_labels), actor=f"agent/{node}"))


def claim(tx: Transaction, node: NodeName, asked: WorkloadClaim, *, project_id: str) -> Workload:
    """Give a warm port of a node its name and holder; the name's older ephemeral port is released.

    Raises Invalid for a claim without name or holder, and for a release policy that is none; NotFound for a port that
    is not on the node (any more); Forbidden as attach; Conflict for an old epoch (EpochMismatch), for a port that
    another has claimed (WorkloadClaimed). If the name keeps an older port, that stays the name's.
    """
    project = asked.project_id or project_id
    _check(tx, node, asked.name, asked.holder, project, default=project_id)
    view = tx.port(PortId(asked.port_id))
    current = None if view is None else _here(view, node)
    if view is None or current is None or view.port.project_id != project:
        raise _not_here(node, asked.port_id)
    if current.epoch != asked.epoch:
        message = f"port {asked.port_id} is at epoch {current.epoch}, not {asked.epoch}: it was bound anew meanwhile"
        raise Conflict(f"{message}; drop what is plugged for it", kind="EpochMismatch")
    profile = _profile(asked.holder, asked.release, ephemeral=True)
    seen(tx, view.port.id)
    if (view.port.name, current.profile) == (asked.name, profile):
        return _workload(tx, view)
    if current.profile.get(HOLDER) or view.port.name:
        message = f"port {asked.port_id} is {view.port.name}'s, held by {current.profile.get(HOLDER)}"
        raise Conflict(f"{message}; claim another for {asked.name}", kind="WorkloadClaimed")
    beside = _supersede(tx, node, project, asked.name)
    return _workload(tx, _claimed(tx, view, node, asked, profile, beside=beside))


def release(tx: Transaction, node: NodeName, asked: WorkloadRelease, *, project_id: str) -> bool:
    """Let go of a workload's port, if this container on this node is its present holder; tell whether it was.

    What becomes of the port is its release policy's to say. Raises Invalid for a release that names nothing.
    """
    if asked.port_id is None and not (asked.name and asked.holder):
        raise Invalid("a release names a port_id, or a name with its holder")
    if asked.port_id is not None:
        view = tx.port(PortId(asked.port_id))
    else:
        view = workload_by_name(tx, asked.project_id or project_id, asked.name)
    binding = None if view is None else _here(view, node)
    if view is None or binding is None or binding.profile.get(HOLDER, "") != asked.holder:
        return False
    let_go(tx, view, actor=f"agent/{node}")
    return True


def workloads_on(snapshot: Snapshot, node: NodeName) -> list[Workload]:
    """Return the workloads that are on a node now, warm ports among them."""
    return [_workload(snapshot, view) for view in snapshot.ports(node=node) if _here(view, node) is not None]


def workload_of(snapshot: Snapshot, node: NodeName, port_id: PortId) -> Workload:
    """Return one workload of a node. Raises NotFound if it is not there, or not any more."""
    view = snapshot.port(port_id)
    if view is None or _here(view, node) is None:
        raise _not_here(node, port_id)
    return _workload(snapshot, view)


def _supersede(tx: Transaction, node: NodeName, project: str, name: str) -> PortId | None:
    """Release the older port of a name that a container has another for; return it if it is kept for the name.

    The container runs already: it cannot have that any more.
    """
    older = workload_by_name(tx, project, name)
    if older is None:
        return None
    held = older.life.current
    policy = None if held is None else retention_of(tx.network(older.port.network_id), held.profile)
    if policy is None or policy.until is not Until.NOW:
        return older.port.id
    delete_port(tx, older.port.id, actor=f"agent/{node}")
    return None


def _made_anew(tx: Transaction, node: NodeName, spec: PortSpec, asked: WorkloadRequest) -> PortView:
    """Return a port in place of one that a container runs on and that was deleted: with its MAC and addresses."""
    assert asked.instead_of is not None
    if tx.port(PortId(asked.instead_of)) is not None:
        raise Conflict(f"port {asked.instead_of} is there: claim it", kind="WorkloadThere")
    addresses = [parse_address(each) for each in asked.addresses]
    if not (spec.network_id and spec.mac and addresses):
        raise Invalid("what a container has in place of a port is of one network, with its MAC address and addresses")
    for view in tx.ports(network_id=spec.network_id, mac=spec.mac):
        if (held := _here(view, node)) is not None and held.profile == spec.profile:
            return view  # it is said again
    beside = _supersede(tx, node, spec.project_id, spec.name)
    had = take_back(tx, spec.network_id, addresses)
    spec = msgspec.structs.replace(spec, fixed_ips=tuple(FixedIpSpec(address=each) for each in addresses))
    view = create_port(tx, spec, actor=f"agent/{node}", held=had)
    if beside is None:
        name_workload(tx, view.port)
    return view


def _claimed(
    tx: Transaction,
    view: PortView,
    node: NodeName,
    asked: WorkloadClaim,
    profile: Profile,
    *,
    beside: PortId | None,
) -> PortView:
    port = changed(tx, view.port, name=asked.name, device_id=asked.holder)
    bindings = tuple(
        each if each.draining else msgspec.structs.replace(each, profile=profile) for each in view.life.bindings
    )
    claimed = PortView(port, msgspec.structs.replace(view.life, bindings=bindings))
    tx.put_port(claimed, view)
    if beside is None:
        name_workload(tx, port)
    entry = HistoryEntry(
        port_id=port.id,
        at=tx.clock(),
        actor=f"agent/{node}",
        step=steps.CLAIMED,
        epoch=claimed.life.epoch,
        detail=asked.name if beside is None else f"{asked.name}, which keeps port {beside}",
    )
    tx.add_history(entry)
    return claimed


def _here(view: PortView, node: NodeName) -> Binding | None:
    """Return the current binding of a workload's port if it is on this node."""
    current = view.life.current
    return current if view.port.device_owner == OWNER and current is not None and current.node == node else None


def _not_here(node: NodeName, port_id: str) -> NotFound:
    return NotFound(f"node '{node}' has no workload with port {port_id}", kind="WorkloadNotFound")


def _profile(holder: str, release_policy: str | None, *, ephemeral: bool) -> Profile:
    """Return what a binding says of its workload. Raises Invalid for a policy that is none."""
    profile: Profile = {HOLDER: holder, EPHEMERAL: ephemeral}
    if release_policy is not None:
        profile[RELEASE] = str(parse_retention(release_policy))
    return profile


def _check(tx: Transaction, node: NodeName, name: str, holder: str, project: str, *, default: str) -> None:
    if not name or not holder:
        raise Invalid("a workload has a name and a holder; give both")
    _check_project(tx, node, project, default=default)


def _check_project(tx: Transaction, node: NodeName, project: str, *, default: str) -> None:
    """A node that somebody has broken into gets at no tenant's networks but those that run on it."""
    found = tx.topology().nodes.get(node)
    allowed = (found.projects if found is not None else ()) or (default,)
    if project not in allowed:
        message = f"node '{node}' runs containers of {', '.join(allowed)}, not of project '{project}'"
        raise Forbidden(f"{message}: name it in the node's `projects` in the inventory", kind="PolicyNotAuthorized")


def _network(tx: Transaction, project: str, asked: str | None) -> NetworkId:
    if asked is None:
        return NetworkId("")
    called = tx.made(("networks called", asked), lambda: _called(tx, asked))
    if len(called) == 1 and (called[0].project_id == project or called[0].shared):
        return called[0].id
    visible = list(usable_networks(tx, project))
    found = [each.id for each in visible if asked in {each.id, each.name}]
    if len(found) != 1:
        known = ", ".join(sorted(each.name or each.id for each in visible)) or "none"
        how = "several networks are" if found else "no network is"
        message = f"{how} called '{asked}' in project '{project}'; it has {known}"
        raise NotFound(message, kind="NetworkNotFound")
    return found[0]


def _called(tx: Transaction, name: str) -> list[Network]:
    return [each for each in tx.networks() if name in {each.id, each.name}]


def _workload(snapshot: Snapshot, view: PortView) -> Workload:
    binding, port = view.life.current, view.port
    assert binding is not None, port.id
    network = network_of(snapshot, port.network_id)
    return Workload(
        port_id=port.id,
        name=port.name,
        holder=str(binding.profile.get(HOLDER, "")),
        project_id=port.project_id,
        network_id=port.network_id,
        epoch=binding.epoch,
        state=view.life.state,
        reason=view.life.reason,
        mac=port.mac,
        mtu_bytes=network.mtu_bytes,
        addresses=tuple(address_desired(snapshot, ip) for ip in port.fixed_ips),
        ephemeral=bool(binding.profile.get(EPHEMERAL)),
        release=str(retention_of(network, binding.profile)),
    )
