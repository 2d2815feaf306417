"""FabricIntent: the rows that concern the fabric, indexed by the switches that they concern.

Fed with rows in any order, it always answers from the rows that it holds: the same rows give the same SwitchConfig,
whatever came before. Each put or delete costs in proportion to what it changes, and returns the switches that it
touches: those that may have to be configured anew, or on which a binding came, changed or went.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from weft.fabric.carriage import Carriage, VlanCarriage
from weft.fabric.config import Attachment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.leaf_table import LeafTable, Part
from weft.fabric.numbering import Numbering
from weft.fabric.placement import Placement
from weft.fabric.routing import RoutingRows
from weft.fabric.topology import Topology
from weft.fabric.underlay import underlay
from weft.fabric.vlan_site import Routed, joined_networks, switching
from weft.fabric.vpc import exit_parts, outside_vrf
from weft.model.addresses import IPAddress, IPInterface
from weft.model.errors import NotFound
from weft.model.ids import NetworkId, NodeName, PortId, RouterId, SubnetId, SwitchName
from weft.model.intent import Binding, LeafVlan, Network, Peering, Port, Router, RouterInterface, Subnet
from weft.model.inventory import Dataplane, Inventory

Touched = set[SwitchName]

UNTAGGED = 0
"""The VLAN of an attachment that takes untagged frames: the network of a bare-metal server."""


class FabricIntent:
    """Mutable index over rows; see the module for what it promises. One owner feeds and asks it: no locks."""

    def __init__(self) -> None:
        self.topology = Topology(Inventory())
        self._numbering = Numbering()
        self._placement = Placement(self.topology)
        self._networks: dict[NetworkId, Network] = {}
        self._routing = RoutingRows()
        self._ports: dict[PortId, tuple[Port, tuple[Binding, ...]]] = {}
        self._vlans: dict[tuple[str, NetworkId], LeafVlan] = {}
        self._underlays: dict[SwitchName, Underlay] = {}
        self._segments: dict[NetworkId, tuple[Segment, Vrf | None] | None] = {}
        self._configs: dict[SwitchName, SwitchConfig] = {}
        self._tables: dict[SwitchName, LeafTable] = {}
        self._stale_parts: dict[SwitchName, set[NetworkId]] = defaultdict(set)
        """Networks whose part of a leaf's table has to be made again."""

    # Rows.

    def put_inventory(self, inventory: Inventory, numbering: Numbering) -> Touched:
        """Take another inventory, with its numbers; touches every switch of it, and every one that is gone."""
        gone = set(self.topology.switches)
        self.topology = Topology(inventory)
        self._numbering = numbering
        self._placement = Placement(self.topology)
        self._underlays.clear()
        self._configs.clear()
        self._tables.clear()
        for port, bindings in self._ports.values():
            for binding in bindings:
                self._placement.add(port.network_id, binding)
        return gone | set(self.topology.switches)

    def put_network(self, network: Network) -> Touched:
        """Take a network's present row."""
        before = self._networks.get(network.id)
        self._networks[network.id] = network
        if before is not None and _carried_alike(before, network):
            return set()
        return self._changed(network.id)

    def delete_network(self, network_id: NetworkId) -> Touched:
        """Forget a network; it is carried nowhere."""
        self._networks.pop(network_id, None)
        return self._changed(network_id)

    def put_subnet(self, subnet: Subnet) -> Touched:
        """Take a subnet's present row."""
        return self._changed(subnet.network_id) if self._routing.put_subnet(subnet) else set()

    def delete_subnet(self, subnet_id: SubnetId) -> Touched:
        """Forget a subnet; it has no gateway anywhere."""
        before = self._routing.delete_subnet(subnet_id)
        return self._changed(before.network_id) if before is not None else set()

    def put_router(self, router: Router) -> Touched:
        """Take a router's present row."""
        beyond = self._beyond(router.id)
        self._routing.put_router(router)
        return beyond | self._router_changed(router.id)

    def delete_router(self, router_id: RouterId) -> Touched:
        """Forget a router; the networks that were attached to it are not routed."""
        beyond = self._beyond(router_id)
        self._routing.delete_router(router_id)
        return beyond | self._router_changed(router_id)

    def put_peering(self, peering: Peering) -> Touched:
        """Take a peering of two routers."""
        return set().union(*map(self._router_changed, self._routing.put_peering(peering)))

    def delete_peering(self, id_: str) -> Touched:
        """Forget a peering of two routers."""
        return set().union(*map(self._router_changed, self._routing.delete_peering(id_)))

    def put_router_interface(self, interface: RouterInterface) -> Touched:
        """Take a subnet's attachment to a router; a subnet has one at most, and this is it."""
        touched = self.delete_router_interface(interface.subnet_id)
        self._routing.attach(interface)
        return touched | self._changed(interface.network_id)

    def delete_router_interface(self, subnet_id: SubnetId) -> Touched:
        """Forget a subnet's attachment to a router."""
        interface = self._routing.detach(subnet_id)
        return (
            self._changed(interface.network_id) | self._beyond(interface.router_id) if interface is not None else set()
        )

    def put_port(self, port: Port, bindings: Iterable[Binding]) -> Touched:
        """Take a port's present row and all its bindings, draining ones included."""
        old, had = self._ports.get(port.id, (None, ()))
        has = tuple(bindings)
        self._ports[port.id] = (port, has)
        touched: Touched = set()
        if had != has or old is None or _placed_otherwise(old, port):
            touched |= self._unplace(old.network_id, had) if old is not None else set()
            touched |= self._place(port.network_id, has)
        if old is None or old.fixed_ips != port.fixed_ips:
            touched |= self._gateway_changed(port)
        return touched

    def delete_port(self, port_id: PortId) -> Touched:
        """Forget a port and its bindings."""
        port, had = self._ports.pop(port_id, (None, ()))
        if port is None:
            return set()
        return self._unplace(port.network_id, had) | self._gateway_changed(port)

    def put_leaf_vlan(self, vlan: LeafVlan) -> Touched:
        """Take the VLAN that a network has in a domain; one that rests (released) is no VLAN."""
        if vlan.released_at is not None:
            return self.delete_leaf_vlan(vlan.domain, vlan.network_id)
        self._vlans[vlan.domain, vlan.network_id] = vlan
        return self._vlan_changed(vlan.domain, vlan.network_id)

    def delete_leaf_vlan(self, domain: str, network_id: NetworkId) -> Touched:
        """Forget the VLAN that a network had in a domain."""
        if self._vlans.pop((domain, network_id), None) is None:
            return set()
        return self._vlan_changed(domain, network_id)

    # Answers.

    def desired(self, switch: SwitchName) -> SwitchConfig:
        """Return what a switch shall be; the very same object as long as nothing of it changed."""
        config = self._configs.get(switch)
        if config is None:
            config = self._configs[switch] = self._config(switch)
        return config

    def port(self, port_id: PortId) -> Port | None:
        """Return a port's row."""
        row = self._ports.get(port_id)
        return row[0] if row is not None else None

    def bindings(self, port_id: PortId) -> tuple[Binding, ...]:
        """Return a port's bindings, draining ones included."""
        row = self._ports.get(port_id)
        return row[1] if row is not None else ()

    def network(self, network_id: NetworkId) -> Network | None:
        """Return a network's row."""
        return self._networks.get(network_id)

    def bindings_on(self, switch: SwitchName) -> Iterator[Binding]:
        """Return every binding, draining ones included, on the nodes of a leaf."""
        return self._placement.bindings_on(switch)

    def ports_on(self, switch: SwitchName) -> int:
        """Return how many bindings, draining ones included, are on the nodes of a leaf."""
        return self._placement.count(switch)

    def bindings_of(self, switch: SwitchName, network_id: NetworkId) -> list[Binding]:
        """Return the bindings of one network on the nodes of a leaf."""
        nodes = self._placement.nodes(switch, network_id)
        return [binding for node in nodes for binding in self._placement.bindings(node, network_id)]

    def bindings_at(self, node: NodeName, network_id: NetworkId) -> list[Binding]:
        """Return the bindings of one network on a node."""
        return self._placement.bindings(node, network_id)

    def networks_on(self, switch: SwitchName) -> list[NetworkId]:
        """Return the networks of which a leaf has bindings."""
        return self._placement.networks(switch)

    def segment(self, network_id: NetworkId) -> tuple[Segment, Vrf | None] | None:
        """Return the segment of a network, the same on every leaf; None if a fabric cannot carry it."""
        if network_id not in self._segments:
            self._segments[network_id] = self._segment(network_id)
        return self._segments[network_id]

    def routers_of(self, network_id: NetworkId) -> list[Router]:
        """Return the routers that a network is attached to; the first is the one whose VRF it is in."""
        return self._routing.routers_of(network_id)

    def carriage(self, switch: SwitchName, node: NodeName, network_id: NetworkId) -> Carriage | VlanCarriage | None:
        """Return what a switch must have for a network on a node.

        None if there is nothing to have: an obstacle stands in the way, or all its ports there are switched off.
        """
        if self.topology.vlan.has(switch):
            return self._vlan_carriage(switch, node, network_id)
        segment = self.segment(network_id)
        vlan = self._vlan(node, network_id)
        if segment is None or vlan is None or self._closed(node, network_id):
            return None
        attachments = tuple(
            Attachment(interface=link.interface, vlan=vlan, vni=segment[0].vni)
            for link in self.topology.edge_links(node)
            if link.leaf == switch
        )
        return Carriage(attachments=attachments, segment=segment[0], vrf=segment[1])

    def _vlan_carriage(self, switch: SwitchName, node: NodeName, network_id: NetworkId) -> VlanCarriage | None:
        network = self._networks.get(network_id)
        if network is None or network.vlan is None or self._closed(node, network_id):
            return None
        links = self.topology.edge_links(node)
        return VlanCarriage(
            vlan=network.vlan,
            interfaces=tuple(link.interface for link in links if link.leaf == switch),
            untagged=not self.is_tagged(node, network_id),
        )

    # What a VLAN site is computed from (weft.fabric.vlan_site.VlanRows).

    def open_nodes(self, switch: SwitchName, network_id: NetworkId) -> list[NodeName]:
        """Return the nodes on a switch that have bindings of a network, and are not closed to it."""
        nodes = self._placement.nodes(switch, network_id)
        return [node for node in nodes if not self._closed(node, network_id)]

    def is_tagged(self, node: NodeName, network_id: NetworkId) -> bool:
        """Tell whether a node has a network by a tag: always, but on bare metal only if a binding asks for a trunk."""
        if not self._is_bare_metal(node):
            return True
        return any(binding.is_trunk for binding in self._placement.bindings(node, network_id))

    def routed(self, network_id: NetworkId) -> Routed | None:
        """Return where a network is routed; None if no router has it."""
        routers = self.routers_of(network_id)
        return Routed(routers[0].vrf, self._gateways(network_id, routers[0])) if routers else None

    def management_gateway(self, switch: SwitchName) -> IPInterface | None:
        """Return a core's address in its nodes' in-band management, if it is their gateway."""
        return self._numbering.vlan_gateways.get(switch)

    def obstacle(self, binding: Binding) -> str | None:
        """Return why no switch could carry a binding as the rows are, or None if nothing stands in the way."""
        row = self._ports.get(binding.port_id)
        network = self._networks.get(row[0].network_id) if row is not None else None
        if row is None or network is None:
            return f"port {binding.port_id} or its network is gone"
        if binding.node not in self.topology.nodes:
            return f"node {binding.node} is not in the inventory"
        if not self.topology.edge_links(binding.node):
            detail = "its only links carry in-band management" if self.topology.leaf_links(binding.node) else "no link"
            return f"node {binding.node} has no link to a leaf that could carry the port ({detail})"
        return self._numberless(network, binding.node)

    def _numberless(self, network: Network, node: NodeName) -> str | None:
        """Return which number a network lacks to be carried to a node; None if it has all."""
        if self.topology.vlan.has(self.topology.edge_links(node)[0].leaf):
            missing = f"network {network.id} of type {network.type} has no VLAN that a three-layer site could carry"
            return missing if network.vlan is None else None
        if network.vni is None:
            return f"network {network.id} of type {network.type} has no VNI that a leaf could carry"
        if self._vlan(node, network.id) is None:
            domain = self.topology.vlan_domain(node)
            return f"network {network.id} has no VLAN in domain {domain}, where node {node} is"
        return None

    # How rows become a configuration.

    def _config(self, switch: SwitchName) -> SwitchConfig:
        known = self.topology.switches.get(switch)
        pools = self.topology.pools(known.site) if known is not None else None
        if known is None or pools is None:
            raise NotFound(f"switch '{switch}' is not in the inventory")
        if self.topology.vlan.has(switch):
            vlan = switching(self, switch)
            return SwitchConfig(name=switch, underlay=None, vlan=vlan, gateway_mac=pools.gateway_mac)
        if switch not in self._underlays:
            self._underlays[switch] = underlay(self.topology, self._numbering, switch)
        table = self._table(switch)
        exits = self.topology.exits_of(switch)
        segments, attachments = exit_parts(exits, self._numbering.exits, pools.overlay_mtu_bytes)
        return SwitchConfig(
            name=switch,
            underlay=self._underlays[switch],
            vrfs=self._routing.vrfs(table.vrfs(), known.site, outside_vrf(pools, exits) if exits else None),
            segments=tuple(sorted((*table.segments(), *segments))) if segments else table.segments(),
            attachments=tuple(sorted((*table.attachments(), *attachments))) if attachments else table.attachments(),
            gateway_mac=pools.gateway_mac,
        )

    def _table(self, switch: SwitchName) -> LeafTable:
        """Return a leaf's table, with what was stale of it made again."""
        stale: Iterable[NetworkId] = self._stale_parts.pop(switch, ())
        if switch not in self._tables:
            self._tables[switch] = LeafTable()
            stale = [*self._placement.networks(switch), *joined_networks(self, switch)]
        table = self._tables[switch]
        for network_id in stale:
            table.put(network_id, self._part(switch, network_id))
        return table

    def _part(self, switch: SwitchName, network_id: NetworkId) -> Part | None:
        """Return what a network puts on a leaf; None if it is not carried there."""
        segment = self.segment(network_id)
        if segment is None:
            return None
        vni = segment[0].vni
        own = (
            Attachment(interface=link.interface, vlan=vlan, vni=vni)
            for node in self._placement.nodes(switch, network_id)
            if (vlan := self._vlan(node, network_id)) is not None and not self._closed(node, network_id)
            for link in self.topology.edge_links(node)
            if link.leaf == switch
        )
        attachments = (*own, *self._joined(switch, network_id, vni))
        return Part(*segment, attachments) if attachments else None

    def _joined(self, border: SwitchName, network_id: NetworkId, vni: int) -> tuple[Attachment, ...]:
        """Return what brings a network from the VLAN part that a border leaf is joined to, while it is in use there."""
        tors, network = self.topology.vlan.tors_joined_to(border), self._networks[network_id]
        if network.vlan is None or not any(self._placement.nodes(tor, network_id) for tor in tors):
            return ()
        join = self.topology.vlan.join(self.topology.switches[border].site)
        assert join is not None, border
        return (Attachment(interface=join.border_interface, vlan=network.vlan, vni=vni),)

    def _segment(self, network_id: NetworkId) -> tuple[Segment, Vrf | None] | None:
        network = self._networks.get(network_id)
        if network is None or network.vni is None:
            return None
        routers = self.routers_of(network_id)
        if not routers:
            return Segment(vni=network.vni, mtu_bytes=network.mtu_bytes), None
        router = routers[0]
        gateways = self._gateways(network_id, router)
        vrf = Vrf(name=router.vrf, l3vni=router.l3vni)
        return Segment(vni=network.vni, vrf=router.vrf, gateways=gateways, mtu_bytes=network.mtu_bytes), vrf

    def _gateways(self, network_id: NetworkId, router: Router) -> tuple[IPInterface, ...]:
        return self._routing.gateways(network_id, router, self._gateway_address)

    def _gateway_address(self, interface: RouterInterface) -> IPAddress | None:
        """Return the address of the port that an attachment to a router has, if it has one on its subnet."""
        row = self._ports.get(interface.port_id)
        own = [ip.address for ip in row[0].fixed_ips if ip.subnet_id == interface.subnet_id] if row is not None else []
        return own[0] if own else None

    def _vlan(self, node: NodeName, network_id: NetworkId) -> int | None:
        known = self.topology.nodes.get(node)
        if known is None:
            return None
        if not self.is_tagged(node, network_id):
            return UNTAGGED
        domain = self.topology.vlan_domain(node)
        row = self._vlans.get((domain, network_id)) if domain is not None else None
        return row.vlan if row is not None else None

    def _is_bare_metal(self, node: NodeName) -> bool:
        known = self.topology.nodes.get(node)
        return known is not None and known.dataplane is Dataplane.NONE

    def _closed(self, node: NodeName, network_id: NetworkId) -> bool:
        """Tell whether all ports of a network on a bare-metal server are administratively down: nobody but the leaf
        can cut it off."""
        if not self._is_bare_metal(node):
            return False
        ports = (self._ports[binding.port_id][0] for binding in self._placement.bindings(node, network_id))
        return not any(port.admin_state_up for port in ports)

    # What a changed row makes stale.

    def _changed(self, network_id: NetworkId) -> Touched:
        """A network's segment has to be made again, and with it what its leaves shall be."""
        self._segments.pop(network_id, None)
        leaves = self._and_above(self._placement.leaves(network_id))
        self._stale(network_id, leaves)
        return leaves.union(*map(self._beyond, self._routing.router_ids_of(network_id)))

    def _beyond(self, router_id: RouterId) -> Touched:
        """Return the switches where other VRFs hand packets over to a router's; what they shall be is stale."""
        switches = {
            leaf
            for peer in self._routing.peers_of(router_id)
            for network_id in self._routing.networks_of(peer)
            for leaf in self._placement.leaves(network_id)
        }
        if (site := self._routing.announced_in(router_id)) is not None:
            switches.update(self.topology.borders(site))
        for switch in switches:
            self._configs.pop(switch, None)
        return switches

    def _stale(self, network_id: NetworkId, switches: Iterable[SwitchName]) -> None:
        for switch in switches:
            self._configs.pop(switch, None)
            self._stale_parts[switch].add(network_id)

    def _and_above(self, leaves: Iterable[SwitchName]) -> Touched:
        """Return these switches and, of a VLAN site, those that carry what they carry."""
        return {each for leaf in leaves for each in (leaf, *self.topology.vlan.touched_by(leaf))}

    def _router_changed(self, router_id: RouterId) -> Touched:
        return self._beyond(router_id).union(*map(self._changed, self._routing.networks_of(router_id)))

    def _gateway_changed(self, port: Port) -> Touched:
        """A port that may hold a gateway's address has another address."""
        held = any(interface.port_id == port.id for interface in self._routing.interfaces_of(port.network_id))
        return self._changed(port.network_id) if held else set()

    def _vlan_changed(self, domain: str, network_id: NetworkId) -> Touched:
        leaves = {leaf for leaf in self._placement.leaves(network_id) if self.topology.domain_of(leaf) == domain}
        leaves = self._and_above(leaves)
        self._stale(network_id, leaves)
        return leaves

    def _place(self, network_id: NetworkId, bindings: Iterable[Binding]) -> Touched:
        return self._moved(network_id, bindings, self._placement.add)

    def _unplace(self, network_id: NetworkId, bindings: Iterable[Binding]) -> Touched:
        return self._moved(network_id, bindings, self._placement.remove)

    def _moved(
        self, network_id: NetworkId, bindings: Iterable[Binding], move: Callable[[NetworkId, Binding], bool]
    ) -> Touched:
        """Only the first or last binding of a network on a node changes what its leaves shall be; but all touch."""
        touched: Touched = set()
        for binding in bindings:
            leaves = self.topology.leaves_of(binding.node)
            if move(network_id, binding) or self._is_bare_metal(binding.node):
                moved = self._and_above(leaves)
                self._stale(network_id, moved)
                touched.update(moved)
            touched.update(leaves)
        return touched


def _placed_otherwise(old: Port, new: Port) -> bool:
    return (old.network_id, old.admin_state_up) != (new.network_id, new.admin_state_up)


def _carried_alike(a: Network, b: Network) -> bool:
    return (a.vni, a.vlan, a.mtu_bytes) == (b.vni, b.vlan, b.mtu_bytes)
