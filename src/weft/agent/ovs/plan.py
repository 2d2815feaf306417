"""The core of the agent: desired and observed in, everything to do out. Pure, total and repeatable.

One bad port does not stop the others: what is wrong with a port becomes its verdict. The same arguments give the same
plan; a plan that is applied and planned again is empty.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from weft.agent.desired import Desired
from weft.agent.ovs.flow import Flow, Key
from weft.agent.ovs.observed import SEEN, TOLD, Binding, Device, Memory, Observed, binding_key, network_key
from weft.agent.ovs.pipeline import (
    NODE_OWNER,
    Flows,
    integration_flows,
    network_flows,
    network_owner,
    port_flows,
    port_owner,
    translation_flows,
    uplink_flows,
    uses_other_macs,
)
from weft.model.addresses import parse_mac
from weft.model.errors import Invalid
from weft.model.intent import RealizationState
from weft.protocol.node import PortDesired

MAX_VLAN = 4094
INTERNAL = "internal"
"""The kind of a device that Open vSwitch itself makes."""

Groups = Mapping[str, Flows]
"""Flows by their owner; flows of different owners never have the same key."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one binding once the plan is applied: up only if all flows of `owners` are in place."""

    port_id: str
    epoch: int
    state: RealizationState
    reason: str = ""
    device: Device | None = None
    owners: tuple[str, ...] = ()
    detail: str = ""
    """For people: what was wired, such as ``tap1 on port 5, VLAN 3 as 101``."""


class Dress(msgspec.Struct, frozen=True, kw_only=True):
    """What a device's rows shall say; None: they do. No flow depends on it: the tag is for people who read
    ``ovs-vsctl show``, and shields the device should it ever meet a NORMAL."""

    device: Device
    tag: int | None
    mtu_request_bytes: int | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of application: note, flows, verdicts, then dress and note_later."""

    note: Mapping[str, str | None] = {}
    """Keys of br-int's external_ids with their new values, before any flow; None: the key goes."""
    note_later: Mapping[str, str | None] = {}
    """The same after all flows."""
    integration: Groups = {}
    uplink: Groups = {}
    prune: bool = False
    """Whether flows that are not in the groups may go. False before the first snapshot."""
    verdicts: tuple[Verdict, ...] = ()
    dress: tuple[Dress, ...] = ()


class _Wire(msgspec.Struct, frozen=True):
    """A port that can be wired."""

    port: PortDesired
    device: Device
    ofport: int
    local_vlan: int
    flows: Flows


def plan(
    desired: Desired | None, observed: Observed, told: Mapping[Binding, RealizationState] = MappingProxyType({})
) -> Plan:
    """Return what to do so that the switch is as desired; `told` is what the server knows of each binding."""
    if observed.uplink is None or observed.patch is None:
        return _without_patch(desired)
    static = Plan(
        integration={NODE_OWNER: integration_flows()}, uplink={NODE_OWNER: uplink_flows(observed.patch)}, prune=False
    )
    if desired is None:
        return static
    local_vlans = _local_vlans(desired.ports.values(), observed.memory)
    vlans, vlan_faults = _vlans(desired.ports.values(), local_vlans)
    wires, verdicts = _wires(desired.ports.values(), observed, local_vlans, vlan_faults)
    integration: dict[str, Flows] = dict(static.integration)
    uplink: dict[str, Flows] = dict(static.uplink)
    for network_id, members in _by_network(wires).items():
        local_vlan, vlan = local_vlans[network_id], vlans[network_id]
        ofports = tuple(sorted(wire.ofport for wire in members))
        learned = tuple(sorted(wire.ofport for wire in members if uses_other_macs(wire.port)))
        owner = network_owner(network_id)
        integration[owner] = network_flows(
            network_id, local_vlan=local_vlan, vlan=vlan, uplink=observed.uplink, members=ofports, learned=learned
        )
        uplink[owner] = translation_flows(network_id, local_vlan, vlan, observed.patch)
        integration.update((port_owner(wire.port.port_id), wire.flows) for wire in members)
        verdicts.extend(_up(wire, vlan) for wire in members)
    verdicts.extend(_admin_down(wire) for wire in wires if not wire.port.admin_state_up)
    note, note_later, left = _memory(desired, observed.memory, local_vlans, told)
    return Plan(
        note=note,
        note_later=note_later,
        integration=integration,
        uplink=uplink,
        prune=True,
        verdicts=(*verdicts, *left),
        dress=tuple(dress for wire in wires if (dress := _dress(wire)) is not None),
    )


def _without_patch(desired: Desired | None) -> Plan:
    reason = "the patch between br-int and br-bond has no OpenFlow port yet"
    ports = desired.ports.values() if desired else ()
    return Plan(verdicts=tuple(_verdict(port, RealizationState.PENDING, reason) for port in ports))


def _verdict(port: PortDesired, state: RealizationState, reason: str, device: Device | None = None) -> Verdict:
    return Verdict(port_id=port.port_id, epoch=port.epoch, state=state, reason=reason, device=device)


def _local_vlans(ports: Iterable[PortDesired], memory: Memory) -> dict[str, int]:
    """Give each network a local VLAN: the one it had, else the lowest free one. Without one: there are no more."""
    wanted = sorted({port.network_id for port in ports})
    given: dict[str, int] = {}
    used: set[int] = set()
    for network_id in wanted:
        vlan = memory.local_vlans.get(network_id)
        if vlan is not None and vlan not in used:
            given[network_id] = vlan
            used.add(vlan)
    free = (vlan for vlan in range(1, MAX_VLAN + 1) if vlan not in used)
    for network_id in wanted:
        if network_id not in given and (vlan := next(free, None)) is not None:
            given[network_id] = vlan
    return given


def _vlans(ports: Iterable[PortDesired], local_vlans: Mapping[str, int]) -> tuple[dict[str, int], dict[str, str]]:
    """Return each network's VLAN on the uplink, and what is wrong with those networks that can have none.

    A VLAN that two networks claim would join them: only the first by id gets it. While a network's ports disagree (a
    change is on its way), ports that stay win over draining ones, newer rows over older ones.
    """
    chosen: dict[str, int] = {}
    for port in sorted(ports, key=lambda port: (not port.draining, port.epoch, port.port_id)):
        chosen[port.network_id] = port.vlan
    holders: dict[int, str] = {}
    faults: dict[str, str] = {}
    for network_id, vlan in sorted(chosen.items()):
        if network_id not in local_vlans:
            faults[network_id] = f"all {MAX_VLAN} local VLANs of this node are in use"
        elif not 0 < vlan <= MAX_VLAN:
            faults[network_id] = f"VLAN {vlan} of network {network_id} is not between 1 and {MAX_VLAN}"
        elif (holder := holders.setdefault(vlan, network_id)) != network_id:
            faults[network_id] = f"VLAN {vlan} of network {network_id} is used on this node by network {holder}"
    return chosen, faults


def _wires(
    ports: Iterable[PortDesired], observed: Observed, local_vlans: Mapping[str, int], vlan_faults: Mapping[str, str]
) -> tuple[list[_Wire], list[Verdict]]:
    """Divide the ports into those that can be wired and those with a verdict that says why not."""
    wires: list[_Wire] = []
    verdicts: list[Verdict] = []
    macs: dict[tuple[str, str], str] = {}
    for port in sorted(ports, key=lambda port: (port.draining, port.port_id)):
        outcome = _wire(port, observed.devices.get(port.port_id), local_vlans, vlan_faults)
        if isinstance(outcome, Verdict):
            verdicts.append(outcome)
        elif (holder := macs.setdefault((port.network_id, parse_mac(port.mac)), port.port_id)) != port.port_id:
            reason = f"MAC {port.mac} is used in network {port.network_id} on this node by port {holder}"
            verdicts.append(_verdict(port, RealizationState.FAILED, reason, outcome.device))
        else:
            wires.append(outcome)
    return wires, verdicts


def _wire(
    port: PortDesired, device: Device | None, local_vlans: Mapping[str, int], vlan_faults: Mapping[str, str]
) -> _Wire | Verdict:
    if device is None:
        if port.draining:
            return _verdict(port, RealizationState.GONE, "its device has left the node")
        reason = f"no interface on br-int has external_ids:iface-id={port.port_id}"
        return _verdict(port, RealizationState.PENDING, reason)
    if device.ofport is None:
        reason = device.error or "ovs-vswitchd has given it no OpenFlow port yet"
        return _verdict(port, RealizationState.PENDING, f"device {device.name}: {reason}", device)
    if (fault := vlan_faults.get(port.network_id)) is not None:
        return _verdict(port, RealizationState.FAILED, fault, device)
    local_vlan = local_vlans[port.network_id]
    try:
        flows = port_flows(port, device.ofport, local_vlan)
    except Invalid as error:
        return _verdict(port, RealizationState.FAILED, error.message, device)
    return _Wire(port, device, device.ofport, local_vlan, flows)


def _by_network(wires: Sequence[_Wire]) -> dict[str, list[_Wire]]:
    """Group the ports that forward; those that are administratively down have no flows, and so drop everything."""
    networks: dict[str, list[_Wire]] = {}
    for wire in wires:
        if wire.port.admin_state_up:
            networks.setdefault(wire.port.network_id, []).append(wire)
    return networks


def _up(wire: _Wire, vlan: int) -> Verdict:
    return Verdict(
        port_id=wire.port.port_id,
        epoch=wire.port.epoch,
        state=RealizationState.UP,
        device=wire.device,
        owners=(port_owner(wire.port.port_id), network_owner(wire.port.network_id)),
        detail=f"{wire.device.name}: OpenFlow port {wire.ofport}, VLAN {wire.local_vlan} inside, {vlan} on the uplink",
    )


def _admin_down(wire: _Wire) -> Verdict:
    return Verdict(
        port_id=wire.port.port_id,
        epoch=wire.port.epoch,
        state=RealizationState.UP,
        device=wire.device,
        detail=f"{wire.device.name} is administratively down: everything is dropped",
    )


def _dress(wire: _Wire) -> Dress | None:
    device, mtu_bytes = wire.device, wire.port.mtu_bytes
    if device.kind == INTERNAL:
        # A container's cable (weft.agent.cni): a change of these columns lets ovs-vswitchd look at all its ports, and
        # only frames that are longer than its MTU would be cut.
        longer = device.mtu_bytes is not None and max(device.mtu_bytes, device.mtu_request_bytes or 0) < mtu_bytes
        return Dress(device=device, tag=None, mtu_request_bytes=mtu_bytes) if longer else None
    tag = None if device.tag == wire.local_vlan else wire.local_vlan
    mtu = None if mtu_bytes in {device.mtu_bytes, device.mtu_request_bytes} else mtu_bytes
    return None if tag is None and mtu is None else Dress(device=device, tag=tag, mtu_request_bytes=mtu)


def _memory(
    desired: Desired, memory: Memory, local_vlans: Mapping[str, int], told: Mapping[Binding, RealizationState]
) -> tuple[dict[str, str | None], dict[str, str | None], list[Verdict]]:
    """Compare what br-int remembers with what is desired: what to note before the flows, what after them, and the
    bindings that have left."""
    present = {(port.port_id, port.epoch) for port in desired.ports.values()}
    before: dict[str, str | None] = {
        network_key(id_): str(vlan) for id_, vlan in local_vlans.items() if memory.local_vlans.get(id_) != vlan
    }
    before.update((binding_key(binding), SEEN) for binding in present if binding not in memory.bindings)
    left = sorted(binding for binding in memory.bindings if binding not in present)
    later: dict[str, str | None] = {
        binding_key(binding): None for binding in left if told.get(binding) is RealizationState.GONE
    }
    later.update((network_key(id_), None) for id_ in memory.local_vlans if id_ not in local_vlans)
    for binding in present:
        if told.get(binding) is RealizationState.UP and memory.bindings.get(binding) == SEEN:
            later[binding_key(binding)] = TOLD
    verdicts = [Verdict(port_id=port_id, epoch=epoch, state=RealizationState.GONE) for port_id, epoch in left]
    return before, later, verdicts


class FlowChange(msgspec.Struct, frozen=True):
    """What to send to a bridge so that it holds what is wanted."""

    add: Flows = ()
    """New flows, and flows whose actions differ: adding one replaces what has its key."""
    delete: Flows = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.delete)


def difference(wanted: Mapping[Key, Flow], actual: Mapping[Key, Flow], *, prune: bool) -> FlowChange:
    """Return the difference; flows that are not wanted are deleted only if `prune`."""
    add = tuple(flow for key, flow in wanted.items() if actual.get(key) != flow)
    delete = tuple(flow for key, flow in actual.items() if key not in wanted) if prune else ()
    return FlowChange(add, delete)
