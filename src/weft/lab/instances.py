"""The hypervisor's part: an instance is a namespace with an eth0 that a veth joins to br-int of its node.

Everything else that makes it reachable is the server's and the agents' work. On bare metal the server is the instance:
its NIC gets MAC and addresses, and there is nothing to plug.
"""

import asyncio
import contextlib
import ipaddress
import threading
import time
from collections.abc import Awaitable, Callable

import msgspec

from weft.lab import namespaces, ovs, state
from weft.lab.commands import ip_batch
from weft.lab.nic import announce, transmit_checksums_off
from weft.lab.state import Instance, LabState
from weft.lab.topology import INSTANCE_PREFIX, namespace_of
from weft.lab.vnic import Vnic
from weft.model.errors import Conflict, Invalid, NotFound, Permanent

GUEST_INTERFACE = "eth0"
ARRIVING_INTERFACE = "arriving0"
LEAVING_INTERFACE = "leaving0"
DEVICE_PREFIX = "tap"
DEVICE_ID_LENGTH = 8
"""The end of the port's id: its beginning is a time, which ports that are made together share (RFC 9562, UUIDv7)."""
ANNOUNCE_AT_S = (0.0, 0.05, 0.15, 0.3, 0.55)
"""When an arrival is announced, as QEMU does after a migration: the first may come before the network is ready."""


async def plug(node: str, vnic: Vnic, *, hybrid: bool = False) -> Instance:
    """Start an instance on a node: namespace, NIC and its place in br-int; return it when its device is plugged.

    `hybrid` puts a Linux bridge of its own between its device and br-int, which weft itself never needs: it is the
    classic design, to compare with. If that fails, nothing is left of it."""
    lab = state.load()
    instance = _placed(lab, node, vnic, hybrid=hybrid)
    with state.changing() as draft:  # marked before it is made
        _refuse_doubles(draft.state, instance)
        if instance.device is not None:
            draft.add_namespace(instance.namespace)
        draft.put_instance(instance)
    try:
        if instance.device is None:
            await _dress_bare_metal(lab, instance)
        else:
            await ip_batch([f"netns add {instance.namespace}", _veth(instance, node, GUEST_INTERFACE)])
            await ip_batch(_bridge(instance), namespace=namespace_of(node))
            plugged = _plugged(instance)
            await asyncio.gather(_dress(instance), ovs.add_port(node, plugged, instance.port_id, instance.mac))
    except BaseException:
        await unplug(instance.name)
        raise
    announce_soon(instance, _interface(lab, instance))
    return instance


async def unplug(name: str) -> None:
    """Stop an instance: its device leaves br-int, its namespace goes. Bare metal only loses its addresses."""
    lab = state.load()
    instance = find(lab, name)
    if instance.device is None:
        await ip_batch([f"address flush dev {_interface(lab, instance)}"], namespace=instance.namespace)
    else:
        for node in filter(None, (instance.node, instance.moving_to)):
            await ovs.delete_port(node, _plugged(instance))
        await namespaces.delete([instance.namespace])
        if instance.hybrid:
            with contextlib.suppress(Permanent):  # it may never have been made
                bridge, inner, _ = _hybrid(instance)
                await ip_batch([f"link del {inner}", f"link del {bridge}"], namespace=namespace_of(instance.node))
    with state.changing() as draft:
        if instance.device is not None:
            draft.remove_namespace(instance.namespace)
        draft.remove_instance(name)


async def move(name: str, node: str, ready: Callable[[], Awaitable[object]]) -> Instance:
    """Move a running instance to another node, as a live migration does.

    A second device is plugged on the new node first; then `ready` is awaited, in which the caller binds the port to
    the new node and waits until it is ACTIVE; then the instance changes over at once, announces itself, and leaves the
    old node. If `ready` fails, the instance stays where it is.
    """
    lab = state.load()
    old = find(lab, name)
    if old.device is None:
        raise Invalid(f"instance {name} is the bare-metal server {old.node}: it cannot move")
    if old.hybrid:
        raise Invalid(f"instance {name} has a Linux bridge of its own, to compare paths with: it cannot move")
    if node == old.node:
        raise Conflict(f"instance {name} is on {node} already")
    _refuse_no_ovs(lab, node)
    with state.changing() as draft:
        draft.put_instance(msgspec.structs.replace(old, moving_to=node))
    try:
        await ip_batch([_veth(old, node, ARRIVING_INTERFACE)])
        await asyncio.to_thread(namespaces.inside, old.namespace, lambda: transmit_checksums_off(ARRIVING_INTERFACE))
        await ovs.add_port(node, old.device, old.port_id, old.mac)
        await ready()
    except BaseException:
        await _take_back(old, node)
        raise
    await ip_batch(_change_over(old), namespace=old.namespace)
    new = msgspec.structs.replace(old, node=node, moving_to=None)
    announce_soon(new, GUEST_INTERFACE)
    with state.changing() as draft:
        draft.put_instance(new)
    await ovs.delete_port(old.node, old.device)
    await ip_batch([f"link del {LEAVING_INTERFACE}"], namespace=old.namespace)
    return new


def announce_soon(instance: Instance, interface: str) -> threading.Thread:
    """Announce an instance's addresses several times, beginning now, in a thread that a program's end waits for."""
    addresses = [ipaddress.ip_interface(address).ip for address in instance.addresses]

    def work() -> None:
        began = time.monotonic()
        for at in ANNOUNCE_AT_S:
            time.sleep(max(0.0, began + at - time.monotonic()))
            announce(interface, instance.mac, addresses)

    def run() -> None:
        with contextlib.suppress(OSError):  # the instance has left meanwhile: there is nothing to announce
            namespaces.inside(instance.namespace, work)

    thread = threading.Thread(target=run, name=f"announce {instance.name}")
    thread.start()
    return thread


def find(lab: LabState, name: str) -> Instance:
    """Return an instance of a lab by its name or its port's id; raise NotFound if it has none such."""
    for instance in lab.instances.values():
        if name in {instance.name, instance.port_id}:
            return instance
    known = ", ".join(sorted(lab.instances)) or "none"
    raise NotFound(f"the lab has no instance '{name}' (instances: {known})")


def _placed(lab: LabState, node: str, vnic: Vnic, *, hybrid: bool) -> Instance:
    if node not in lab.nics:
        raise NotFound(f"the lab has no node '{node}' (nodes: {', '.join(lab.nics)})")
    bare = node not in lab.ovs_nodes
    if bare and hybrid:
        raise Invalid(f"{node} is bare metal: it has no br-int that a Linux bridge could stand in front of")
    if not bare and ("/" in vnic.name or vnic.name.startswith(".")):
        raise Invalid(f"'{vnic.name}' cannot name an instance: a namespace's name has no '/' and no dot in front")
    return Instance(
        name=vnic.name,
        port_id=vnic.port_id,
        node=node,
        namespace=namespace_of(node) if bare else INSTANCE_PREFIX + vnic.name,
        mac=vnic.mac,
        addresses=vnic.addresses,
        gateways=vnic.gateways,
        mtu_bytes=vnic.mtu_bytes,
        device=None if bare else DEVICE_PREFIX + vnic.port_id[-DEVICE_ID_LENGTH:],
        hybrid=hybrid,
    )


def _refuse_doubles(lab: LabState, instance: Instance) -> None:
    for other in lab.instances.values():
        if other.port_id == instance.port_id:
            raise Conflict(f"port {instance.port_id} is instance {other.name} on {other.node} already")
        if other.name == instance.name:
            raise Conflict(
                f"there is an instance {other.name} on {other.node} already, of port {other.port_id}; "
                "instances of one lab need different port names"
            )
        if instance.device is None and other.node == instance.node:
            raise Conflict(f"the bare-metal server {instance.node} is instance {other.name} already")


def _refuse_no_ovs(lab: LabState, node: str) -> None:
    if node not in lab.ovs_nodes:
        raise NotFound(f"the lab has no OVS node '{node}' to run instances on (it has {', '.join(lab.ovs_nodes)})")


def _interface(lab: LabState, instance: Instance) -> str:
    return GUEST_INTERFACE if instance.device is not None else lab.nics[instance.node][0]


def _veth(instance: Instance, node: str, guest_interface: str) -> str:
    mtu = instance.mtu_bytes
    device = f"name {instance.device} mtu {mtu} up netns {namespace_of(node)}"
    return f"link add {device} type veth peer name {guest_interface} mtu {mtu} {_at(instance)}"


def _hybrid(instance: Instance) -> tuple[str, str, str]:
    """Name an instance's own bridge, and the two ends of the veth pair from it to br-int, as Neutron does."""
    end = instance.port_id[-DEVICE_ID_LENGTH:]
    return (f"qbr{end}", f"qvb{end}", f"qvo{end}")


def _plugged(instance: Instance) -> str:
    """Name the device that stands in br-int."""
    return _hybrid(instance)[2] if instance.hybrid else str(instance.device)


def _bridge(instance: Instance) -> list[str]:
    if not instance.hybrid:
        return []
    bridge, inner, outer = _hybrid(instance)
    mtu = instance.mtu_bytes
    return [
        f"link add {bridge} type bridge stp_state 0 ageing_time 0 mcast_snooping 0",
        f"link add {outer} mtu {mtu} up type veth peer name {inner} mtu {mtu}",
        *(f"link set {each} master {bridge}" for each in (inner, instance.device)),
        *(f"link set {each} up" for each in (inner, outer, bridge)),
    ]


def _at(instance: Instance) -> str:
    return f"address {instance.mac} netns {instance.namespace}"


async def _dress(instance: Instance) -> None:
    await asyncio.to_thread(namespaces.inside, instance.namespace, lambda: transmit_checksums_off(GUEST_INTERFACE))
    await ip_batch(["link set lo up", *_dressing(instance, GUEST_INTERFACE)], namespace=instance.namespace)


async def _dress_bare_metal(lab: LabState, instance: Instance) -> None:
    nic = _interface(lab, instance)
    lines = [f"link set {nic} address {instance.mac} mtu {instance.mtu_bytes}", *_dressing(instance, nic)]
    await ip_batch(lines, namespace=instance.namespace)


def _dressing(instance: Instance, interface: str) -> list[str]:
    """Return what gives an interface the instance's addresses and routes; weft's addresses need no probing (nodad)."""
    return [
        *(f"address add {address} dev {interface} nodad" for address in instance.addresses),
        f"link set {interface} up",
        *(f"route add default via {gateway} dev {interface}" for gateway in instance.gateways),
    ]


def _change_over(instance: Instance) -> list[str]:
    """Return what makes the arriving interface the instance's own, in one go: what is between is the gap of a move."""
    return [
        f"link set {GUEST_INTERFACE} down",
        f"link set {GUEST_INTERFACE} name {LEAVING_INTERFACE}",
        f"address flush dev {LEAVING_INTERFACE}",
        f"link set {ARRIVING_INTERFACE} name {GUEST_INTERFACE}",
        *_dressing(instance, GUEST_INTERFACE),
    ]


async def _take_back(instance: Instance, node: str) -> None:
    """Undo the first half of a move, as far as it went."""
    with contextlib.suppress(Permanent):  # the device may not be there yet
        await ovs.delete_port(node, str(instance.device))
    with contextlib.suppress(Permanent):
        await ip_batch([f"link del {ARRIVING_INTERFACE}"], namespace=instance.namespace)
    with state.changing() as draft:
        draft.put_instance(instance)
