"""Inventories and rows that the fabric's tests share."""

from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_network

from msgspec.structs import replace

from weft.model.addresses import Mac
from weft.model.ids import Epoch, NetworkId, NodeName, PortId, RouterId, SiteName, SubnetId, SwitchName, Vlan, Vni
from weft.model.intent import (
    Binding,
    FixedIp,
    LeafVlan,
    Network,
    Peering,
    Port,
    Realizer,
    Router,
    RouterInterface,
    Subnet,
)
from weft.model.inventory import (
    Dataplane,
    Exit,
    FabricPools,
    Inventory,
    Link,
    LinkEnd,
    Node,
    Site,
    Switch,
    SwitchRole,
)

SITE = SiteName("private")


def spine(name: str, index: int) -> Switch:
    return Switch(name=SwitchName(name), site=SITE, role=SwitchRole.SPINE, management=f"192.168.0.{10 + index}")


def leaf(name: str, index: int) -> Switch:
    return Switch(name=SwitchName(name), site=SITE, role=SwitchRole.LEAF, management=f"192.168.1.{10 + index}")


def node(name: str, dataplane: Dataplane = Dataplane.OVS) -> Node:
    return Node(name=NodeName(name), site=SITE, dataplane=dataplane)


def link(a: str, b: str, *, management: bool = True) -> Link:
    return Link(a=LinkEnd(*a.split(":")), b=LinkEnd(*b.split(":")), management=management)


def small_dc() -> Inventory:
    """Two spines, three leaves; node1..3 bonded on leaf1..3, a bare-metal server bm1 on leaf3, ctl1 on leaf1."""
    leaves = [leaf(f"leaf{i}", i) for i in (1, 2, 3)]
    fabric = [link(f"leaf{i}:eth{s}", f"spine{s}:eth{i}") for i in (1, 2, 3) for s in (1, 2)]
    nics = [link(f"leaf{i}:eth1{n + 1}", f"node{i}:nic{n}") for i in (1, 2, 3) for n in (0, 1)]
    return Inventory(
        sites=(Site(name=SITE, fabric=FabricPools()),),
        switches=(spine("spine1", 1), spine("spine2", 2), *leaves),
        nodes=(
            *(node(f"node{i}") for i in (1, 2, 3)),
            node("bm1", Dataplane.NONE),
            node("ctl1", Dataplane.NONE),
        ),
        links=(
            *fabric,
            *nics,
            link("leaf3:eth13", "bm1:nic0", management=False),
            link("leaf1:eth20", "ctl1:nic0"),
        ),
    )


def with_exits() -> Inventory:
    """The small data centre, with ways out of it on leaf2 and leaf3."""
    ways = [(f"leaf{i}", f"192.0.2.{2 * i + 1}/31", f"192.0.2.{2 * i}") for i in (2, 3)]
    exits = tuple(
        Exit(
            switch=SwitchName(switch),
            interface="eth9",
            address=IPv4Interface(address),
            peer="internet",
            peer_address=IPv4Address(peer),
            peer_asn=64999,
        )
        for switch, address, peer in ways
    )
    return replace(small_dc(), exits=exits)


def peering(one: int, other: int) -> Peering:
    pair = (RouterId(f"router{one}"), RouterId(f"router{other}"))
    return Peering(id=f"peering{one}{other}", routers=pair, project_id="p")


def with_pools(inventory: Inventory, **pools: object) -> Inventory:
    site = inventory.sites[0]
    assert site.fabric is not None
    return replace(inventory, sites=(replace(site, fabric=replace(site.fabric, **pools)), *inventory.sites[1:]))


def network(index: int, **fields: object) -> Network:
    row = Network(id=NetworkId(f"net{index}"), site=SITE, vni=Vni(10000 + index), project_id="p", name=f"net-{index}")
    return replace(row, **fields)


def subnet(index: int, net: int, cidr: str, gateway: str | None) -> Subnet:
    return Subnet(
        id=SubnetId(f"sub{index}"),
        network_id=NetworkId(f"net{net}"),
        cidr=ip_network(cidr),
        gateway=ip_address(gateway) if gateway else None,
        pools=(),
        project_id="p",
    )


def router(index: int, **fields: object) -> Router:
    vni = 50000 + index
    row = Router(
        id=RouterId(f"router{index}"), site=SITE, vrf=f"v{vni}", l3vni=Vni(vni), project_id="p", name=f"r-{index}"
    )
    return replace(row, **fields)


def interface(rtr: int, sub: int, net: int) -> RouterInterface:
    return RouterInterface(
        router_id=RouterId(f"router{rtr}"),
        subnet_id=SubnetId(f"sub{sub}"),
        network_id=NetworkId(f"net{net}"),
        port_id=PortId(f"gw{rtr}-{sub}"),
    )


def port(index: int, net: int, **fields: object) -> Port:
    row = Port(
        id=PortId(f"port{index}"),
        network_id=NetworkId(f"net{net}"),
        mac=Mac(f"fa:16:3e:00:{index >> 8:02x}:{index & 255:02x}"),
        project_id="p",
        name=f"web-{index}",
    )
    return replace(row, **fields)


def gateway_port(rtr: int, sub: int, net: int, address: str) -> Port:
    return port(
        9000 + sub,
        net,
        id=PortId(f"gw{rtr}-{sub}"),
        fixed_ips=(FixedIp(SubnetId(f"sub{sub}"), ip_address(address)),),
        device_owner="network:router_interface",
    )


def binding(index: int, on: str, epoch: int = 1, *, draining: bool = False, trunk: bool = False) -> Binding:
    return Binding(
        port_id=PortId(f"port{index}"),
        node=NodeName(on),
        epoch=Epoch(epoch),
        owed=frozenset({Realizer.HOST, Realizer.FABRIC}),
        draining=draining,
        profile={"trunk": True} if trunk else {},
    )


def leaf_vlan(domain: str, net: int, vlan: int, *, released_at: float | None = None) -> LeafVlan:
    return LeafVlan(domain=domain, network_id=NetworkId(f"net{net}"), vlan=Vlan(vlan), released_at=released_at)
