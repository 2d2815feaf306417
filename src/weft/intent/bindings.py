"""The bindings of a port on several nodes, while its instance moves from one to another.

One is active: the port is on that node. The others are prepared: where it may go, or where it came from. Activating one
moves the port as any move does: the old node carries until the new one does.
"""

from collections.abc import Mapping

import msgspec

from weft.intent.placement import owed_on
from weft.intent.ports import bind_port, unbind_port, write_port
from weft.intent.rows import changed, network_of, port_of
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NodeName, PortId
from weft.model.intent import Binding, PreparedBinding, Realizer, is_trunk
from weft.ports.machine import State
from weft.store import PortView, Transaction

COMPUTE = "compute:"
"""How the owner of a port begins that an instance has."""

MAX_PREPARED = 8
"""Prepared bindings of one port; Nova makes one."""


class NodeBinding(msgspec.Struct, frozen=True, kw_only=True):
    """A binding of a port, as Neutron's clients see it."""

    node: NodeName
    active: bool
    owed: frozenset[Realizer]
    vnic_type: str
    profile: Mapping[str, object]


def bindings_of(view: PortView) -> list[NodeBinding]:
    """Return a port's bindings, the active one first."""
    current = view.life.current
    active = [] if current is None else [_shown(current, active=True)]
    return active + [_shown(each, active=False) for each in view.port.prepared]


def binding_on(view: PortView, node: NodeName) -> NodeBinding:
    """Return a port's binding on a node; raise NotFound (PortBindingNotFound)."""
    for found in bindings_of(view):
        if found.node == node:
            return found
    message = f"Binding for port {view.port.id} for host {node} could not be found."
    raise NotFound(message, kind="PortBindingNotFound")


def add_binding(
    tx: Transaction,
    port_id: PortId,
    node: NodeName,
    *,
    vnic_type: str | None = None,
    profile: Mapping[str, object] | None = None,
) -> NodeBinding:
    """Prepare a port for a node, or bind it there if it is on none.

    Raises NotFound; Invalid for a port that no instance has and for an unknown node; Conflict for a node that has a
    binding already and for one that can't carry the port.
    """
    view = _compute_port(tx, port_id)
    if any(each.node == node for each in bindings_of(view)):
        raise Conflict(f"Binding for port {port_id} on host {node} already exists.", kind="PortBindingAlreadyExists")
    if view.life.current is None:
        return binding_on(bind_port(tx, port_id, node, vnic_type=vnic_type, profile=profile), node)
    if len(view.port.prepared) >= MAX_PREPARED:
        message = f"port {port_id} has {MAX_PREPARED} inactive bindings already; delete one"
        raise Conflict(message, kind="PortBindingError")
    prepared = PreparedBinding(
        node=node,
        owed=owed_on(tx, network_of(tx, view.port.network_id), node, trunk=is_trunk(profile or {})),
        vnic_type=vnic_type or view.port.vnic_type,
        profile={} if profile is None else profile,
    )
    _keep(tx, view, (*view.port.prepared, prepared))
    return _shown(prepared, active=False)


def change_binding(
    tx: Transaction,
    port_id: PortId,
    node: NodeName,
    *,
    vnic_type: str | None = None,
    profile: Mapping[str, object] | None = None,
) -> NodeBinding:
    """Change a port's binding on a node. Raises NotFound."""
    view = _compute_port(tx, port_id)
    before = binding_on(view, node)
    if before.active:
        return binding_on(bind_port(tx, port_id, node, vnic_type=vnic_type, profile=profile), node)
    after = PreparedBinding(
        node=node,
        owed=before.owed,
        vnic_type=vnic_type or before.vnic_type,
        profile=before.profile if profile is None else profile,
    )
    _keep(tx, view, tuple(after if each.node == node else each for each in view.port.prepared))
    return _shown(after, active=False)


def activate_binding(tx: Transaction, port_id: PortId, node: NodeName) -> NodeBinding:
    """Move a port to a node that it is prepared for; where it was, it is then prepared for.

    Raises NotFound, and Conflict for the node that it is on and for one that can't carry it any more.
    """
    view = _compute_port(tx, port_id)
    target = binding_on(view, node)
    if target.active:
        message = f"Binding for port {port_id} on host {node} is already active."
        raise Conflict(message, kind="PortBindingAlreadyActive")
    current = view.life.current
    left = None if current is None else PreparedBinding(current.node, current.owed, current.vnic_type, current.profile)
    others = tuple(each for each in view.port.prepared if each.node != node)
    port = changed(
        tx,
        view.port,
        prepared=others if left is None else (*others, left),
        vnic_type=target.vnic_type,
        profile=target.profile,
    )
    view = write_port(tx, view, port)
    # A move that has not ended is given up: whoever activates says where the instance runs now.
    moving = view.life.state in {State.BINDING, State.MOVING}
    bound = bind_port(tx, port_id, node, supersede=moving, vnic_type=target.vnic_type, profile=target.profile)
    return binding_on(bound, node)


def delete_binding(tx: Transaction, port_id: PortId, node: NodeName) -> None:
    """Forget that a port is prepared for a node, or take it off the node that it is on. Raises NotFound."""
    view = _compute_port(tx, port_id)
    if binding_on(view, node).active:
        unbind_port(tx, port_id)
    else:
        _keep(tx, view, tuple(each for each in view.port.prepared if each.node != node))


def _shown(binding: PreparedBinding | Binding, *, active: bool) -> NodeBinding:
    return NodeBinding(
        node=binding.node,
        active=active,
        owed=binding.owed,
        vnic_type=binding.vnic_type,
        profile=binding.profile,
    )


def _compute_port(tx: Transaction, port_id: PortId) -> PortView:
    view = port_of(tx, port_id)
    if not view.port.device_owner.startswith(COMPUTE):
        message = f"Bad port request: Invalid port {port_id}. Operation only valid on compute ports."
        raise Invalid(message, kind="BadRequest")
    return view


def _keep(tx: Transaction, view: PortView, prepared: tuple[PreparedBinding, ...]) -> None:
    write_port(tx, view, changed(tx, view.port, prepared=prepared))
