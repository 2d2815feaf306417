"""Ports: created with MAC and addresses, changed, bound to a node, moved, unbound, deleted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.addresses import FixedIpSpec, assign, let_rest
from weft.intent.floating_links import check_not_held, let_go
from weft.intent.held import give_up
from weft.intent.leaf_load import check_room
from weft.intent.name_claims import forget_name
from weft.intent.new_ports import (
    API,
    ROUTER_INTERFACE,
    PortSpec,
    free_mac,
    fresh_mac,
    ground_of,
    put_new_port,
    take_for_all,
)
from weft.intent.placement import hold_vlan, let_go_of_vlan, owed_on
from weft.intent.port_options import (
    AddressPairSpec,
    DhcpOptionSpec,
    options_of,
    pairs_of,
    pairs_without_security,
)
from weft.intent.quotas import check_quota
from weft.intent.rows import changed, given, network_of, port_of
from weft.intent.security_groups import checked_groups, note_members
from weft.intent.workload_names import OWNER, forget_workload
from weft.model.addresses import Mac
from weft.model.errors import Conflict
from weft.model.ids import Epoch, NodeName, PortId
from weft.model.intent import Binding, FixedIp, Port, Realizer, is_trunk
from weft.model.inventory import Dataplane
from weft.ports import lifecycle
from weft.ports.lifecycle import Outcome
from weft.store import PortView, Snapshot, Transaction

__all__ = [
    "API",
    "ROUTER_INTERFACE",
    "FixedIpSpec",
    "PortChanges",
    "PortSpec",
    "bind_port",
    "create_port",
    "create_ports",
    "delete_port",
    "is_gateway",
    "unbind_port",
    "update_port",
]


class PortChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays. `node`: bind or move there; None: unbind."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    mac: Mac | UnsetType | None = UNSET
    """None: another one that weft chooses."""
    fixed_ips: tuple[FixedIpSpec, ...] | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    device_owner: str | UnsetType = UNSET
    security_groups: tuple[str, ...] | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    labels: Mapping[str, str] | UnsetType = UNSET
    allowed_address_pairs: tuple[AddressPairSpec, ...] | UnsetType = UNSET
    extra_dhcp_opts: tuple[DhcpOptionSpec, ...] | UnsetType = UNSET
    """Those that change; one without a value is taken away."""
    dns_name: str | UnsetType = UNSET
    dns_domain: str | UnsetType = UNSET
    node: NodeName | UnsetType | None = UNSET
    vnic_type: str | UnsetType = UNSET
    profile: Mapping[str, object] | UnsetType = UNSET


def create_port(tx: Transaction, spec: PortSpec, *, actor: str = API, held: tuple[FixedIp, ...] = ()) -> PortView:
    """Create a port with MAC and addresses, and bind it if the spec names a node; `held` was taken for it already.

    Raises NotFound for the network; Invalid for addresses that are none of it; Conflict if an address or MAC is taken,
    or no address is left; and what bind_port raises.
    """
    check_quota(tx, spec.project_id, "port")
    return _bound(tx, put_new_port(tx, spec, ground_of(tx, spec.network_id), actor=actor, held=held), spec, actor=actor)


def create_ports(tx: Transaction, specs: Sequence[PortSpec], *, actor: str = API) -> list[PortView]:
    """Create several ports as create_port does, and raise what it raises; what they have in common is done once."""
    for project_id, count in Counter(spec.project_id for spec in specs).items():
        check_quota(tx, project_id, "port", count)
    grounds = {key: ground_of(tx, key[1]) for key in {(spec.project_id, spec.network_id) for spec in specs}}
    if len(grounds) == 1 and len(specs) > 1:  # of several, one could take what another has not written yet
        take_for_all(tx, grounds[specs[0].project_id, specs[0].network_id], specs)
    made = []
    for spec in specs:
        view = put_new_port(tx, spec, grounds[spec.project_id, spec.network_id], actor=actor)
        made.append(_bound(tx, view, spec, actor=actor))
    return made


def _bound(tx: Transaction, view: PortView, spec: PortSpec, *, actor: str) -> PortView:
    """Bind a new port to the node that it was asked for with, if there is one."""
    if spec.node is None:
        return view
    return _bind(tx, view, spec.node, vnic_type=spec.vnic_type, profile=spec.profile, actor=actor)


def update_port(tx: Transaction, port_id: PortId, changes: PortChanges, *, actor: str = API) -> PortView:
    """Change a port, bind it to a node or unbind it. Raises as create_port."""
    view = port_of(tx, port_id)
    fields = _new_values(tx, view, given(changes))
    node, vnic_type = fields.pop("node", UNSET), fields.get("vnic_type")
    profile = fields.get("profile")
    if node is not UNSET and view.port.prepared:
        # What is bound there is prepared no more; a port that is taken off its node goes nowhere.
        fields["prepared"] = tuple(each for each in view.port.prepared if node not in {None, each.node})
    if fields:
        _check_gateway_kept(tx, view, fields)
        view = write_port(tx, view, changed(tx, view.port, **fields))
    current = view.life.current
    if node is UNSET and (vnic_type, profile) != (None, None) and current is not None:
        node = current.node
    if node is None:
        return _unbind(tx, view, actor=actor)
    if node is UNSET:
        return view
    return _bind(tx, view, node, vnic_type=vnic_type, profile=profile, actor=actor)


def _new_values(tx: Transaction, view: PortView, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a change gives a port, with those that follow from them."""
    port = view.port
    mac = fields.get("mac", port.mac)
    if mac is None:
        mac = fields["mac"] = fresh_mac(tx, port.network_id)
    elif mac != port.mac:
        free_mac(tx, port.network_id, mac)
    if mac != port.mac:
        _check_mac_may_change(view, mac)
    if mac != port.mac and "fixed_ips" not in fields:
        fields["fixed_ips"] = _picked(tx, port)
    if "fixed_ips" in fields:
        follows = None if port.device_owner == ROUTER_INTERFACE else mac
        fields["fixed_ips"] = assign(tx, port.network_id, fields["fixed_ips"], held=port.fixed_ips, mac=follows)
    secure = fields.get("port_security_enabled", port.port_security_enabled)
    if "allowed_address_pairs" in fields:
        fields["allowed_address_pairs"] = pairs_of(fields["allowed_address_pairs"], mac, port_security=secure)
    elif not secure and port.allowed_address_pairs:
        raise pairs_without_security()
    if "security_groups" in fields or not secure:
        groups = fields.get("security_groups", port.security_groups)
        fields["security_groups"] = checked_groups(tx, groups, port_security=secure)
    if "extra_dhcp_opts" in fields:
        fields["extra_dhcp_opts"] = options_of(port.extra_dhcp_opts, fields["extra_dhcp_opts"])
    return fields


def _check_mac_may_change(view: PortView, mac: Mac) -> None:
    """Refuse another MAC while an instance has the present one; of bare metal, MACs are only known later."""
    current = view.life.current
    if current is not None and Realizer.HOST in current.owed:
        message = f"Unable to complete operation on port {view.port.id}, port is already bound, port type: ovs,"
        raise Conflict(f"{message} old_mac {view.port.mac}, new_mac {mac}.", kind="PortBound")


def _picked(tx: Transaction, port: Port) -> tuple[FixedIpSpec, ...]:
    """Return a port's addresses as wishes, but for those that follow its MAC."""
    following = {subnet.id for subnet in tx.subnets(port.network_id) if subnet.addresses_follow_macs}
    kept = tuple(
        FixedIpSpec(subnet_id=ip.subnet_id, address=ip.address)
        for ip in port.fixed_ips
        if ip.subnet_id not in following
    )
    return kept or tuple(FixedIpSpec(subnet_id=ip.subnet_id) for ip in port.fixed_ips)


def delete_port(tx: Transaction, port_id: PortId, *, actor: str = API) -> None:
    """Delete a port: it leaves its nodes and leaves at once, and its addresses rest.

    Raises NotFound, and Conflict (ServicePortInUse) for the gateway of a router.
    """
    view = port_of(tx, port_id)
    if is_gateway(tx, view.port):
        message = f"Port {port_id} cannot be deleted directly via the port API: has device owner {ROUTER_INTERFACE}."
        raise Conflict(f"{message} Remove the interface from router {view.port.device_id}.", kind="ServicePortInUse")
    check_not_held(tx, view.port)
    remove_port(tx, view, actor=actor)


def bind_port(
    tx: Transaction,
    port_id: PortId,
    node: NodeName,
    *,
    supersede: bool = False,
    expected_epoch: Epoch | None = None,
    vnic_type: str | None = None,
    profile: Mapping[str, object] | None = None,
    actor: str = API,
) -> PortView:
    """Bind a port to a node, or move it there; on the node that it is on, nothing happens.

    Raises NotFound for the port; Invalid for an unknown node; Conflict for a node that can't carry the port, a port
    that is on its way to another node (`supersede` drops that), and a port whose epoch is not the one expected.
    """
    view = port_of(tx, port_id)
    if expected_epoch is not None and view.life.epoch != expected_epoch:
        message = f"port {port_id} is at epoch {view.life.epoch}, not {expected_epoch}: it was bound anew meanwhile"
        raise Conflict(f"{message}; read it again", kind="EpochMismatch")
    return _bind(tx, view, node, supersede=supersede, vnic_type=vnic_type, profile=profile, actor=actor)


def unbind_port(tx: Transaction, port_id: PortId, *, actor: str = API) -> PortView:
    """Take a port off its node; it keeps its addresses. Raises NotFound."""
    return _unbind(tx, port_of(tx, port_id), actor=actor)


def write_port(tx: Transaction, before: PortView, port: Port) -> PortView:
    """Store a changed port, and let the addresses that it gave up rest."""
    view = PortView(port, before.life)
    tx.put_port(view, before)
    note_members(tx, port, before.port)
    given_up = [ip for ip in before.port.fixed_ips if ip not in port.fixed_ips]
    if given_up:
        let_go(tx, port.id, kept=port.fixed_ips)
    let_rest(tx, given_up)
    return view


def write_life(tx: Transaction, before: PortView, outcome: Outcome) -> PortView:
    """Store what became of a port, with the history it made and the VLANs that its bindings need or needed."""
    _remember(tx, outcome)
    if outcome.life == before.life:
        return before
    view = PortView(_shown_anew(tx, before, outcome), outcome.life)
    tx.put_port(view, before, awaited=view.port.device_owner == OWNER)  # a container starts when its port is ACTIVE
    old = {(each.node, each.epoch) for each in before.life.bindings}
    network = network_of(tx, view.port.network_id)
    for each in outcome.life.bindings:
        if (each.node, each.epoch) not in old:
            hold_vlan(tx, each.node, network, trunk=_is_tagged_metal(tx, each))
            check_room(tx, each.node)
    for node, _ in old - {(each.node, each.epoch) for each in outcome.life.bindings} if old else ():
        let_go_of_vlan(tx, node, network.id)
    return view


def remove_port(tx: Transaction, view: PortView, *, actor: str = API) -> None:
    """Delete a port's row; its addresses rest, its VLANs too where it was the last."""
    _remember(tx, lifecycle.release(view.life, now=tx.clock(), actor=actor))
    tx.delete_port(view)
    note_members(tx, None, view.port)
    let_go(tx, view.port.id)
    forget_name(tx, view.port.id)
    forget_workload(tx, view)
    give_up(tx, view.port)
    for binding in view.life.bindings:
        let_go_of_vlan(tx, binding.node, view.port.network_id)


def _bind(
    tx: Transaction,
    view: PortView,
    node: NodeName,
    *,
    supersede: bool = False,
    vnic_type: str | None = None,
    profile: Mapping[str, object] | None = None,
    actor: str,
) -> PortView:
    if is_gateway(tx, view.port):
        message = f"port {view.port.id} is a gateway of router {view.port.device_id}: every leaf carries it"
        raise Conflict(f"{message}, and no node", kind="PortBindingConflict")
    profile = view.port.profile if profile is None else profile
    owed = owed_on(tx, network_of(tx, view.port.network_id), node, trunk=is_trunk(profile))
    outcome = lifecycle.bind(
        view.life,
        node,
        owed,
        now=tx.clock(),
        actor=actor,
        supersede=supersede,
        vnic_type=vnic_type or view.port.vnic_type,
        profile=profile,
    )
    return write_life(tx, view, outcome)


def _unbind(tx: Transaction, view: PortView, *, actor: str) -> PortView:
    return write_life(tx, view, lifecycle.unbind(view.life, now=tx.clock(), actor=actor))


def _is_tagged_metal(tx: Transaction, binding: Binding) -> bool:
    node = tx.topology().nodes.get(binding.node) if binding.is_trunk else None
    return node is not None and node.dataplane is Dataplane.NONE


def _shown_anew(tx: Transaction, before: PortView, outcome: Outcome) -> Port:
    """Return the port, one revision on if what callers see of it has changed: its state, or where it is."""
    life = outcome.life
    if (life.state, life.bindings) == (before.life.state, before.life.bindings):
        return before.port
    return changed(tx, before.port)


def is_gateway(snapshot: Snapshot, port: Port) -> bool:
    """Tell whether a port holds a router's address on a subnet: anybody may name such an owner, which makes it none."""
    if port.device_owner != ROUTER_INTERFACE:
        return False
    interfaces = (snapshot.router_interface(ip.subnet_id) for ip in port.fixed_ips)
    return any(interface is not None and interface.port_id == port.id for interface in interfaces)


def _check_gateway_kept(tx: Transaction, view: PortView, fields: Mapping[str, object]) -> None:
    """Refuse to take its address or owner from a router's gateway: leaves would answer for an address nobody holds."""
    if not {"fixed_ips", "device_id", "device_owner"}.isdisjoint(fields):
        check_not_held(tx, view.port)
    if not is_gateway(tx, view.port):
        return
    for name in ("fixed_ips", "device_id", "device_owner"):
        if name in fields and fields[name] != getattr(view.port, name):
            message = f"{name} of port {view.port.id} cannot be changed: it is a gateway of router"
            raise Conflict(f"{message} {view.port.device_id}; remove the interface there", kind="ServicePortInUse")


def _remember(tx: Transaction, outcome: Outcome) -> None:
    for entry in outcome.history:
        tx.add_history(entry)
