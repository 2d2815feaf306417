"""From an inventory to namespaces and cables: what has to stand on the machine. Pure; nothing is made here."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from weft.lab.outside import routers
from weft.model.errors import Invalid
from weft.model.inventory import Dataplane, Inventory, LinkEnd, Switch

PREFIX = "weft-"
"""Every namespace of a lab is named this and the device's name."""
INSTANCE_PREFIX = "weft-i-"
OOB_NAMESPACE = "weft-oob"
OOB_BRIDGE = "oob"
SWITCH_OOB_INTERFACE = "mgmt0"
SERVER_OOB_INTERFACE = "oob0"
OOB_PREFIXLEN = 24
INTERFACE_NAME_BYTES = 15
"""IFNAMSIZ without its closing zero."""
CABLE_MTU_BYTES = 9216
"""What the ports of the lab's switches can carry; how much of it is used is their configuration."""
HOST_MTU_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Plug:
    """One end of a cable: an interface in a namespace."""

    namespace: str
    interface: str
    mtu_bytes: int = CABLE_MTU_BYTES


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair."""

    a: Plug
    b: Plug


@dataclass(frozen=True, slots=True)
class OobAddress:
    """An address on the out-of-band network."""

    namespace: str
    interface: str
    address: ipaddress.IPv4Interface


@dataclass(frozen=True, slots=True)
class Wiring:
    """All namespaces, cables and out-of-band addresses of a lab."""

    namespaces: tuple[str, ...]
    cables: tuple[Cable, ...]
    oob_addresses: tuple[OobAddress, ...]
    server: str

    @property
    def oob_ports(self) -> tuple[str, ...]:
        """The interfaces of the out-of-band bridge."""
        return tuple(cable.b.interface for cable in self.cables if cable.b.namespace == OOB_NAMESPACE)

    @property
    def management(self) -> dict[str, str]:
        """The out-of-band address of each switch and router outside, by its name."""
        return {
            each.namespace.removeprefix(PREFIX): str(each.address.ip)
            for each in self.oob_addresses
            if each.interface == SWITCH_OOB_INTERFACE
        }

    def plugs(self, namespace: str) -> tuple[str, ...]:
        """Return the interfaces that cables give a namespace."""
        ends = (end for cable in self.cables for end in (cable.a, cable.b))
        return tuple(end.interface for end in ends if end.namespace == namespace)


def namespace_of(device: str) -> str:
    """Return the namespace of a switch or node."""
    return PREFIX + device


def wiring(inventory: Inventory, server: str) -> Wiring:
    """Return what stands on the machine for an inventory; `server` is the node that the server runs on.

    Raise Invalid with every reason why this inventory cannot be built in a lab.
    """
    problems = list(_problems(inventory, server))
    if problems:
        raise Invalid("the lab cannot build this inventory:\n" + "\n".join(f"  - {each}" for each in problems))
    switches = {switch.name for switch in inventory.switches}
    cables = [
        Cable(_plug(link.a, on_switch=link.a.device in switches), _plug(link.b, on_switch=link.b.device in switches))
        for link in inventory.links
    ]
    cables += [
        Cable(Plug(namespace_of(way.switch), way.interface), Plug(namespace_of(router), interface, HOST_MTU_BYTES))
        for router, ways in routers(inventory).items()
        for interface, way in ways
    ]
    addresses = [
        OobAddress(namespace_of(switch.name), SWITCH_OOB_INTERFACE, _oob(switch)) for switch in inventory.switches
    ]
    if addresses:
        others = [(server, SERVER_OOB_INTERFACE), *((name, SWITCH_OOB_INTERFACE) for name in routers(inventory))]
        for name, interface in others:
            free = _free_address({each.address.ip for each in addresses}, addresses[0].address.network)
            addresses.append(OobAddress(namespace_of(name), interface, free))
    cables += [
        Cable(
            Plug(each.namespace, each.interface, HOST_MTU_BYTES),
            Plug(OOB_NAMESPACE, each.namespace.removeprefix(PREFIX), HOST_MTU_BYTES),
        )
        for each in addresses
    ]
    devices = [
        *(switch.name for switch in inventory.switches),
        *(node.name for node in inventory.nodes),
        *routers(inventory),
    ]
    namespaces = (OOB_NAMESPACE, *(namespace_of(device) for device in devices))
    return Wiring(namespaces, tuple(cables), tuple(addresses), server)


def ovs_nodes(inventory: Inventory) -> tuple[str, ...]:
    """Return the nodes that run Open vSwitch and an agent."""
    return tuple(node.name for node in inventory.nodes if node.dataplane is Dataplane.OVS)


def _plug(end: LinkEnd, *, on_switch: bool) -> Plug:
    return Plug(namespace_of(end.device), end.interface, CABLE_MTU_BYTES if on_switch else HOST_MTU_BYTES)


def _oob(switch: Switch) -> ipaddress.IPv4Interface:
    return ipaddress.IPv4Interface(f"{switch.management}/{OOB_PREFIXLEN}")


def _free_address(taken: set[ipaddress.IPv4Address], network: ipaddress.IPv4Network) -> ipaddress.IPv4Interface:
    free = next(address for address in network.hosts() if address not in taken)
    return ipaddress.IPv4Interface(f"{free}/{network.prefixlen}")


def _problems(inventory: Inventory, server: str) -> Iterator[str]:
    devices = [*(switch.name for switch in inventory.switches), *(node.name for node in inventory.nodes)]
    yield from _name_problems([*devices, *routers(inventory)])
    for way in inventory.exits:
        if way.vlan:
            yield f"exit {way.switch}:{way.interface}: a lab's cable to {way.peer} carries no VLANs; leave vlan out"
        if way.peer in devices:
            yield f"exit {way.switch}:{way.interface}: '{way.peer}' is also a device of the inventory"
    if server not in {node.name for node in inventory.nodes}:
        known = ", ".join(node.name for node in inventory.nodes) or "none"
        yield f'[lab] server = "{server}": no such node (nodes: {known})'
    for node in inventory.nodes:
        if node.dataplane not in {Dataplane.OVS, Dataplane.NONE}:
            yield f"node {node.name}: a lab has no dataplane '{node.dataplane.value}'; it has ovs and none"
    yield from _oob_problems(inventory.switches)
    for link in inventory.links:
        for end in (link.a, link.b):
            if end.device not in devices:
                yield f"link {link.a} - {link.b}: there is no device '{end.device}'"
            if not 0 < len(end.interface) <= INTERFACE_NAME_BYTES or not end.interface.isascii():
                yield f"link end {end}: Linux takes interface names of at most {INTERFACE_NAME_BYTES} characters"
            if end.interface in {SWITCH_OOB_INTERFACE, SERVER_OOB_INTERFACE}:
                yield f"link end {end}: '{end.interface}' is the lab's out-of-band interface; take another name"


def _name_problems(devices: Iterable[str]) -> Iterator[str]:
    for device in devices:
        if len(device) > INTERFACE_NAME_BYTES or "/" in device:
            yield f"device '{device}': in a lab, a name has at most {INTERFACE_NAME_BYTES} characters and no '/'"
        if device == OOB_NAMESPACE.removeprefix(PREFIX) or device.startswith(INSTANCE_PREFIX.removeprefix(PREFIX)):
            yield f"device '{device}': the lab needs this name itself (oob, i-...); take another"


def _oob_problems(switches: Iterable[Switch]) -> Iterator[str]:
    networks: dict[ipaddress.IPv4Network, str] = {}
    owners: dict[ipaddress.IPv4Address, str] = {}
    for switch in switches:
        try:
            address = ipaddress.IPv4Address(switch.management or "")
        except ValueError:
            given = switch.management or "nothing"
            yield (
                f"switch {switch.name}: management is {given}; a lab needs an IPv4 address such as 192.168.0.11, "
                "which the switch gets on its out-of-band network"
            )
            continue
        if address in owners:
            yield f"switch {switch.name}: management {address} is that of {owners[address]}"
        owners[address] = switch.name
        networks.setdefault(ipaddress.IPv4Interface(f"{address}/{OOB_PREFIXLEN}").network, switch.name)
    if len(networks) > 1:
        found = ", ".join(f"{network} ({name})" for network, name in networks.items())
        yield f"the switches' management addresses must be of one /{OOB_PREFIXLEN}; they are of {found}"
