"""Who hangs where."""

from ipaddress import IPv4Address, IPv4Interface

from fabric_samples import link, node, small_dc
from msgspec.structs import replace

from weft.fabric.config import FabricLink, ManagementSegment
from weft.fabric.numbering import number
from weft.fabric.topology import SwitchLink, Topology
from weft.fabric.underlay import underlay
from weft.model.ids import NodeName, SiteName, SwitchName

LEAF1, LEAF3, SPINE2 = SwitchName("leaf1"), SwitchName("leaf3"), SwitchName("spine2")
NODE1, BM1, CTL1 = NodeName("node1"), NodeName("bm1"), NodeName("ctl1")


def test_links_of_a_node_are_seen_from_its_leaf() -> None:
    topology = Topology(small_dc())
    assert [(row.leaf, row.interface, row.nic) for row in topology.leaf_links(NODE1)] == [
        ("leaf1", "eth11", "nic0"),
        ("leaf1", "eth12", "nic1"),
    ]
    assert topology.leaves_of(NODE1) == ("leaf1",)
    assert topology.nodes_of(LEAF1) == ("ctl1", "node1")
    assert topology.nodes_of(SPINE2) == ()


def test_a_link_is_the_same_written_the_other_way_round() -> None:
    dc = small_dc()
    turned = Topology(replace(dc, links=tuple(replace(row, a=row.b, b=row.a) for row in dc.links)))
    straight = Topology(dc)
    for name in straight.switches:
        assert turned.switch_links(name) == straight.switch_links(name)
    for name in straight.nodes:
        assert turned.leaf_links(name) == straight.leaf_links(name)


def test_neighbours_of_a_switch() -> None:
    assert Topology(small_dc()).switch_links(SPINE2) == tuple(
        SwitchLink(interface=f"eth{i}", peer=SwitchName(f"leaf{i}"), peer_interface="eth2") for i in (1, 2, 3)
    )


def test_only_links_without_management_carry_a_bare_metal_servers_ports() -> None:
    topology = Topology(small_dc())
    assert [row.interface for row in topology.edge_links(BM1)] == ["eth13"]
    assert topology.edge_links(CTL1) == ()
    assert topology.leaf_links(CTL1) != ()
    assert topology.edge_links(NODE1) == topology.leaf_links(NODE1)


def test_what_is_not_there_has_no_links() -> None:
    topology = Topology(small_dc())
    ghost = NodeName("ghost")
    assert topology.leaf_links(ghost) == topology.edge_links(ghost) == topology.leaves_of(ghost) == ()
    assert topology.vlan_domain(ghost) is None
    assert topology.pools(SiteName("moon")) is None


def test_leaves_that_share_nodes_are_one_vlan_domain() -> None:
    dc = small_dc()
    shared = replace(
        dc,
        nodes=(*dc.nodes, node("pair")),
        links=(*dc.links, link("leaf2:eth31", "pair:nic0"), link("leaf3:eth31", "pair:nic1", management=False)),
    )
    topology = Topology(shared)
    assert topology.vlan_domain(NodeName("pair")) == "leaf2"
    assert topology.vlan_domain(NodeName("node3")) == "leaf2"
    assert topology.vlan_domain(NODE1) == "leaf1"
    assert topology.leaves_of(NodeName("pair")) == ("leaf2", "leaf3")
    assert topology.domain_of(LEAF3) == "leaf2"
    assert topology.domain_of(SPINE2) is None


def test_the_underlay_of_a_leaf_and_of_its_spine_are_two_sides_of_one_link() -> None:
    dc = small_dc()
    topology, numbering = Topology(dc), number(dc)
    near, far = underlay(topology, numbering, LEAF1), underlay(topology, numbering, SPINE2)
    assert near.links[1] == FabricLink(
        interface="eth2",
        address=IPv4Interface("10.254.0.2/31"),
        peer="spine2",
        peer_address=IPv4Address("10.254.0.3"),
        peer_asn=65000,
    )
    assert far.links[0] == FabricLink(
        interface="eth1",
        address=IPv4Interface("10.254.0.3/31"),
        peer="leaf1",
        peer_address=IPv4Address("10.254.0.2"),
        peer_asn=65101,
    )
    assert near.management == ManagementSegment(
        gateway=IPv4Interface("172.31.0.1/24"), interfaces=("eth11", "eth12", "eth20")
    )
    assert far.management is None
    assert (near.asn, near.loopback, near.mtu_bytes) == (65101, IPv4Address("10.255.0.3"), 9216)


def test_a_link_without_management_is_not_in_the_management_segment() -> None:
    dc = small_dc()
    management = underlay(Topology(dc), number(dc), LEAF3).management
    assert management is not None
    assert management.interfaces == ("eth11", "eth12")
