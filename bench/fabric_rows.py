"""The rows of a big fabric, made as they are asked for: 40 nodes and 500 networks to a leaf, 50 ports to a node."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from weft.model.addresses import Mac
from weft.model.ids import Epoch, NetworkId, NodeName, PortId, RouterId, SiteName, SubnetId, SwitchName, Vlan, Vni
from weft.model.intent import Binding, FixedIp, LeafVlan, Network, Port, Realizer, Router, RouterInterface, Subnet
from weft.model.inventory import FabricPools, Inventory, Link, LinkEnd, Node, NumberRange, Site, Switch, SwitchRole

NODES_PER_LEAF = 40
PORTS_PER_NODE = 50
NETWORKS_PER_LEAF = 500
NETWORKS_PER_ROUTER = 10
PORTS_PER_NETWORK = 100
SPINES = 8
NICS = 2
FIRST_VLAN = 100
FIRST_ADDRESS = 10 << 24
SITE = SiteName("big")
OWED = frozenset({Realizer.HOST, Realizer.FABRIC})


@dataclass(frozen=True, slots=True)
class Scale:
    """How big a fabric is; everything follows from the number of ports."""

    ports: int

    @property
    def nodes(self) -> int:
        """How many nodes, all of them full."""
        return self.ports // PORTS_PER_NODE

    @property
    def leaves(self) -> int:
        """How many leaves."""
        return self.nodes // NODES_PER_LEAF

    @property
    def networks(self) -> int:
        """How many networks; never less than a leaf carries, so that leaves are alike in fabrics of all sizes."""
        return max(self.ports // PORTS_PER_NETWORK, NETWORKS_PER_LEAF)


def inventory(scale: Scale) -> Inventory:
    """Return the switches, nodes and cables; every node has two NICs on its leaf."""
    pools = FabricPools(
        loopbacks=IPv4Network("10.255.0.0/20"),
        links=IPv4Network("10.248.0.0/16"),
        management=IPv4Network("172.16.0.0/12"),
        leaf_asns=NumberRange(4200000000, 4200009999),
        l2vnis=NumberRange(10000, 49999),
        l3vnis=NumberRange(50000, 59999),
    )
    spines = [_switch(f"spine{number}", SwitchRole.SPINE, f"192.168.0.{number + 1}") for number in range(SPINES)]
    leaves = [
        _switch(f"leaf{number:03d}", SwitchRole.LEAF, f"192.168.{1 + number // 250}.{number % 250 + 1}")
        for number in range(scale.leaves)
    ]
    cables = [
        Link(a=LinkEnd(leaf.name, f"eth{up}"), b=LinkEnd(spine.name, f"eth{number}"))
        for number, leaf in enumerate(leaves)
        for up, spine in enumerate(spines)
    ]
    nics = [
        Link(
            a=LinkEnd(leaf_name(number), f"eth{100 + NICS * (number % NODES_PER_LEAF) + nic}"),
            b=LinkEnd(node_name(number), f"nic{nic}"),
        )
        for number in range(scale.nodes)
        for nic in range(NICS)
    ]
    return Inventory(
        sites=(Site(name=SITE, fabric=pools),),
        switches=(*spines, *leaves),
        nodes=tuple(Node(name=node_name(number), site=SITE) for number in range(scale.nodes)),
        links=(*cables, *nics),
    )


def networks(scale: Scale) -> Iterator[tuple[Network, Subnet, RouterInterface, Port]]:
    """Yield every network with its subnet, its place on a router, and the port that holds its gateway."""
    for number in range(scale.networks):
        cidr = IPv4Network((FIRST_ADDRESS + (number << 8), 24))
        network_id, subnet_id = NetworkId(_id("a", number)), SubnetId(_id("b", number))
        gateway_id = PortId(_id("d", number))
        yield (
            Network(id=network_id, site=SITE, vni=Vni(10000 + number), project_id="p", name=f"net-{number}"),
            Subnet(id=subnet_id, network_id=network_id, cidr=cidr, gateway=cidr[1], pools=(), project_id="p"),
            RouterInterface(
                router_id=RouterId(_id("c", number // NETWORKS_PER_ROUTER)),
                subnet_id=subnet_id,
                network_id=network_id,
                port_id=gateway_id,
            ),
            _port(gateway_id, network_id, FixedIp(subnet_id, cidr[1]), "network:router_interface"),
        )


def routers(scale: Scale) -> Iterator[Router]:
    """Yield every router."""
    for number in range(-(-scale.networks // NETWORKS_PER_ROUTER)):
        vni = 50000 + number
        yield Router(id=RouterId(_id("c", number)), site=SITE, vrf=f"v{vni}", l3vni=Vni(vni), project_id="p")


def vlans(scale: Scale) -> Iterator[LeafVlan]:
    """Yield the VLAN of every network on every leaf that carries it."""
    for leaf in range(scale.leaves):
        for slot in range(NETWORKS_PER_LEAF):
            yield vlan(scale, leaf, slot)


def vlan(scale: Scale, leaf: int, slot: int) -> LeafVlan:
    """Return the VLAN of a leaf's network, the `slot`-th; slots beyond NETWORKS_PER_LEAF are networks to come."""
    return LeafVlan(
        domain=leaf_name(leaf * NODES_PER_LEAF),
        network_id=network_id_of(scale, leaf, slot),
        vlan=Vlan(FIRST_VLAN + slot),
    )


def ports(scale: Scale) -> Iterator[tuple[Port, Binding]]:
    """Yield every port and its binding."""
    for number in range(scale.ports):
        node = number // PORTS_PER_NODE
        yield port(scale, number, node, number % (NODES_PER_LEAF * PORTS_PER_NODE) % NETWORKS_PER_LEAF)


def port(scale: Scale, number: int, node: int, slot: int) -> tuple[Port, Binding]:
    """Return a port of the `slot`-th network of a node's leaf, bound on the node."""
    leaf = node // NODES_PER_LEAF
    network = _network_number(scale, leaf, slot)
    port_id = PortId(_id("e", number))
    address = IPv4Address(FIRST_ADDRESS + (network << 8) + 2 + number % 250)
    row = _port(port_id, NetworkId(_id("a", network)), FixedIp(SubnetId(_id("b", network)), address), "compute:az")
    return row, Binding(port_id=port_id, node=node_name(node), epoch=Epoch(1), owed=OWED)


def network_id_of(scale: Scale, leaf: int, slot: int) -> NetworkId:
    """Return the id of the `slot`-th network of a leaf."""
    return NetworkId(_id("a", _network_number(scale, leaf, slot)))


def leaf_name(node: int) -> SwitchName:
    """Return the leaf of a node, by its number."""
    return SwitchName(f"leaf{node // NODES_PER_LEAF:03d}")


def node_name(number: int) -> NodeName:
    """Return the name of a node."""
    return NodeName(f"node{number:05d}")


def _network_number(scale: Scale, leaf: int, slot: int) -> int:
    shift = scale.networks // scale.leaves
    return (leaf * shift + slot) % scale.networks


def _switch(name: str, role: SwitchRole, management: str) -> Switch:
    return Switch(name=SwitchName(name), site=SITE, role=role, management=management)


def _port(port_id: PortId, network_id: NetworkId, ip: FixedIp, owner: str) -> Port:
    number = int(port_id[-8:], 16)
    mac = Mac(f"fa:16:3e:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}")
    return Port(
        id=port_id,
        network_id=network_id,
        mac=mac,
        fixed_ips=(ip,),
        device_owner=owner,
        device_id=f"vm-{number}",
        project_id="p",
        name=f"port-{number}",
    )


def _id(kind: str, number: int) -> str:
    """Return an id as long as a real one."""
    return f"{kind}0000000-0000-7000-8000-{number:012x}"
