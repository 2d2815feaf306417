"""From rows to VlanSwitching: what each switch of a three-layer VLAN site carries.

A VLAN that a bound port uses is on the port's top-of-rack pair, on every aggregation and core switch of its site, and
on all links between them; on a node's cable it is only where the node has a port of it. The first core has the
gateways. A network that has a VNI too is joined: it goes on to the border leaf, and its gateway is the fabric's.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from weft.fabric.topology import Topology
from weft.fabric.vlan_config import MANAGEMENT_VLAN, VlanGateway, VlanPort, VlanSwitching
from weft.fabric.vlan_topology import RANKS
from weft.model.addresses import IPInterface
from weft.model.ids import NetworkId, NodeName, SwitchName
from weft.model.intent import Network
from weft.model.inventory import Dataplane, SwitchRole

RSTP_PRIORITY_STEP = 4096
"""802.1Q: the lower 12 bits of a bridge's priority are not free."""


class Routed(msgspec.Struct, frozen=True):
    """Where a network is routed: the VRF of its router, and its gateways."""

    vrf: str
    gateways: tuple[IPInterface, ...]


class VlanRows(Protocol):
    """The rows that a VLAN site is computed from; weft.fabric.intent_index.FabricIntent has them."""

    topology: Topology

    def network(self, network_id: NetworkId) -> Network | None:
        """Return a network's row."""

    def networks_on(self, switch: SwitchName) -> list[NetworkId]:
        """Return the networks of which a switch's nodes have bindings."""

    def open_nodes(self, switch: SwitchName, network_id: NetworkId) -> list[NodeName]:
        """Return the nodes on a switch that have open bindings of a network."""

    def is_tagged(self, node: NodeName, network_id: NetworkId) -> bool:
        """Tell whether a node has a network by a tag."""

    def routed(self, network_id: NetworkId) -> Routed | None:
        """Return where a network is routed; None if no router has it."""

    def management_gateway(self, switch: SwitchName) -> IPInterface | None:
        """Return a core's address in its nodes' in-band management, if it is their gateway."""


def switching(rows: VlanRows, switch: SwitchName) -> VlanSwitching:
    """Return what a switch of a VLAN site shall be."""
    role = rows.topology.switches[switch].role
    networks = _networks(rows, rows.topology.vlan.tors_of(switch))
    ports = [*_trunks(rows, switch, networks), *_node_ports(rows, switch)]
    gateways = _gateways(rows, switch, networks) if role is SwitchRole.CORE else ()
    return VlanSwitching(
        priority=_priority(rows.topology, switch),
        ports=tuple(sorted(ports)),
        gateways=tuple(sorted(gateways, key=lambda each: each.vlan)),
    )


def joined_networks(rows: VlanRows, border: SwitchName) -> list[NetworkId]:
    """Return the networks that a border leaf takes over from the VLAN part that it is joined to: those with a VNI."""
    joined = _networks(rows, rows.topology.vlan.tors_joined_to(border))
    return [network.id for network in joined if network.vni is not None]


def _networks(rows: VlanRows, tors: Iterable[SwitchName]) -> list[Network]:
    """Return the networks with a VLAN that the nodes on these switches have ports of, by VLAN."""
    ids = {network_id for tor in tors for network_id in rows.networks_on(tor)}
    found = (rows.network(network_id) for network_id in ids)
    return sorted((each for each in found if each is not None and each.vlan is not None), key=_vlan)


def _trunks(rows: VlanRows, switch: SwitchName, networks: Sequence[Network]) -> Iterable[VlanPort]:
    topology = rows.topology
    vlans = tuple(_vlan(network) for network in networks)
    joined = tuple(_vlan(network) for network in networks if network.vni is not None)
    join = topology.vlan.join(topology.switches[switch].site)
    for link in topology.switch_links(switch):
        if join is not None and (link.peer, link.peer_interface) == (join.border, join.border_interface):
            yield VlanPort(interface=link.interface, untagged=MANAGEMENT_VLAN, tagged=joined, edge=True)
        else:
            yield VlanPort(interface=link.interface, untagged=MANAGEMENT_VLAN, tagged=vlans)


def _node_ports(rows: VlanRows, switch: SwitchName) -> Iterable[VlanPort]:
    carried: dict[NodeName, list[int]] = {}
    bare: dict[NodeName, int] = {}
    for network in _networks(rows, [switch]):
        for node in rows.open_nodes(switch, network.id):
            if rows.is_tagged(node, network.id):
                carried.setdefault(node, []).append(_vlan(network))
            else:
                bare.setdefault(node, _vlan(network))
    for link in rows.topology.node_links(switch):
        vlans = carried.get(link.node, [])
        if rows.topology.nodes[link.node].dataplane is not Dataplane.NONE:
            untagged = MANAGEMENT_VLAN if link.management else 0
            yield VlanPort(interface=link.interface, untagged=untagged, tagged=tuple(vlans), edge=True)
        elif link.management:
            yield VlanPort(interface=link.interface, untagged=MANAGEMENT_VLAN, edge=True)
        else:
            untagged = bare.get(link.node, 0)
            yield VlanPort(interface=link.interface, untagged=untagged, tagged=tuple(vlans), edge=True)


def _gateways(rows: VlanRows, switch: SwitchName, networks: Sequence[Network]) -> Iterable[VlanGateway]:
    topology = rows.topology
    management = rows.management_gateway(switch)
    if management is not None:
        yield VlanGateway(vlan=MANAGEMENT_VLAN, addresses=(management,))
    if switch != topology.vlan.cores(topology.switches[switch].site)[0]:
        return
    for network in networks:
        routed = rows.routed(network.id)
        if network.vni is None and routed is not None and routed.gateways:
            yield VlanGateway(
                vlan=_vlan(network), vrf=routed.vrf, addresses=routed.gateways, mtu_bytes=network.mtu_bytes
            )


def _priority(topology: Topology, switch: SwitchName) -> int:
    """Return a bridge priority that makes the first core the root, and the second its heir; then aggregation."""
    found = topology.switches[switch]
    if found.role is SwitchRole.CORE:
        place = topology.vlan.cores(found.site).index(switch) + 1
        return min(place, RANKS[SwitchRole.CORE]) * RSTP_PRIORITY_STEP
    return (2 + 3 * (RANKS[SwitchRole.CORE] - RANKS[found.role])) * RSTP_PRIORITY_STEP


def _vlan(network: Network) -> int:
    assert network.vlan is not None, network.id
    return network.vlan
