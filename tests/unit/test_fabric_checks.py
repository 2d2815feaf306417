"""Every way in which an inventory can be wrong as a whole, by the text that an engineer reads."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from fabric_samples import leaf, link, node, small_dc, spine, with_pools
from msgspec.structs import replace

from weft.fabric.topology import problems
from weft.model.ids import SiteName
from weft.model.inventory import Dataplane, Inventory, NumberRange, Site, Switch, SwitchRole


def texts(inventory: Inventory) -> list[str]:
    return [str(problem) for problem in problems(inventory)]


def plus(*rows: object, switches: tuple[Switch, ...] = ()) -> Inventory:
    """The small data centre with more of everything, sorted into its tables by type."""
    dc = small_dc()
    tables = {"Site": "sites", "Switch": "switches", "Node": "nodes", "Link": "links"}
    for row in (*rows, *switches):
        table = tables[type(row).__name__]
        dc = replace(dc, **{table: (*getattr(dc, table), row)})
    return dc


def changed(name: str, **fields: object) -> Inventory:
    """The small data centre with one switch or node changed."""
    dc = small_dc()
    return replace(
        dc,
        switches=tuple(replace(s, **fields) if s.name == name else s for s in dc.switches),
        nodes=tuple(replace(n, **fields) if n.name == name else n for n in dc.nodes),
    )


def test_a_sound_inventory_has_no_problems() -> None:
    assert problems(small_dc()) == []


def test_an_empty_inventory_has_no_problems() -> None:
    assert problems(Inventory()) == []


def test_a_leaf_alone_in_its_site_needs_no_spine() -> None:
    alone = Inventory(sites=small_dc().sites, switches=(leaf("leaf1", 1),), nodes=(node("n1"),), links=())
    assert problems(alone) == []


def test_a_node_on_no_leaf_is_no_problem_of_the_inventory() -> None:
    assert problems(plus(node("node9"))) == []


CLOUD = Site(name=SiteName("aws"))
OTHER = Site(
    name=SiteName("other"),
    fabric=replace(
        small_dc().sites[0].fabric,
        loopbacks=IPv4Network("10.1.0.0/24"),
        links=IPv4Network("10.2.0.0/24"),
        management=IPv4Network("10.3.0.0/16"),
    ),
)


@pytest.mark.parametrize(
    ("inventory", "problem"),
    [
        # Names.
        (plus(small_dc().sites[0]), "site private: the name 'private' is used by more than one site"),
        (plus(leaf("leaf1", 9)), "switch leaf1: the name 'leaf1' is used by more than one switch"),
        (plus(node("node1")), "node node1: the name 'node1' is used by more than one node"),
        (plus(node("leaf1")), "node leaf1: the name 'leaf1' is also that of a switch; devices need different names"),
        # Sites.
        (
            plus(replace(node("n9"), site=SiteName("moon"))),
            "node n9: site 'moon' is not in the inventory; known: private",
        ),
        (
            plus(replace(leaf("l9", 9), site=SiteName("moon"))),
            "switch l9: site 'moon' is not in the inventory; known: private",
        ),
        (
            plus(CLOUD, replace(leaf("l9", 9), site=SiteName("aws"))),
            "switch l9: site 'aws' has no fabric; give it a [sites.fabric] table to hold switches",
        ),
        # Links.
        (
            plus(link("leaf9:eth1", "spine1:eth9")),
            "link leaf9:eth1 - spine1:eth9: 'leaf9' is neither a switch nor a node",
        ),
        (
            plus(link("leaf1:eth1", "node9:nic0"), node("node9")),
            "link leaf1:eth1 - node9:nic0: interface leaf1:eth1 is already used by link leaf1:eth1 - spine1:eth1",
        ),
        (
            plus(link("leaf1:eth31", "node1:nic0")),
            "interface node1:nic0 is already used by link leaf1:eth11 - node1:nic0",
        ),
        (plus(small_dc().links[0]), "interface leaf1:eth1 is already used by link leaf1:eth1 - spine1:eth1"),
        (plus(link("leaf1:eth8", "leaf1:eth9")), "link leaf1:eth8 - leaf1:eth9: 'leaf1' is linked to itself"),
        (
            plus(link("leaf1:eth9", "leaf2:eth9")),
            "link leaf1:eth9 - leaf2:eth9: joins the leaves 'leaf1' and 'leaf2': a loop; leaves meet only at spines",
        ),
        (
            plus(link("spine1:eth9", "spine2:eth9")),
            "joins the spines 'spine1' and 'spine2': a loop; spines meet only at leaves",
        ),
        (plus(link("node1:nic8", "node2:nic8")), "joins the nodes 'node1' and 'node2'; a node hangs on a leaf"),
        (plus(link("node1:nic8", "spine1:eth9")), "hangs node 'node1' on the spine 'spine1'; a node hangs on a leaf"),
        (
            plus(OTHER, replace(node("n9"), site=OTHER.name), link("leaf1:eth9", "n9:nic0")),
            "link leaf1:eth9 - n9:nic0: joins site 'private' ('leaf1') and site 'other' ('n9')",
        ),
        (plus(leaf("leaf9", 9)), "switch leaf9: is isolated: no link joins it to a spine of site 'private'"),
        (plus(spine("spine9", 9)), "switch spine9: is isolated: no link joins it to a leaf of site 'private'"),
        (
            plus(leaf("leaf9", 9), spine("spine9", 9), link("leaf9:eth1", "spine9:eth1")),
            "site private: no path leads from leaf9, spine9 to spine1, spine2, leaf1, leaf2, leaf3",
        ),
        # Switches and their numbers.
        (changed("leaf1", role=SwitchRole.TOR), "switch leaf1: site 'private' has VLAN switches and no core"),
        (changed("leaf1", management=None), "switch leaf1: has no management address; the controller needs one"),
        (
            changed("leaf1", management="192.168.0.11"),
            "switch leaf1: management address 192.168.0.11 is also that of spine1",
        ),
        (
            replace(
                small_dc(),
                switches=tuple(
                    replace(s, asn=65150) if s.name in {"leaf1", "leaf2"} else s for s in small_dc().switches
                ),
            ),
            "switch leaf2: ASN 65150 is also that of leaf1; every leaf needs its own",
        ),
        (changed("leaf1", asn=65000), "switch leaf1: ASN 65000 is that of the spines of site 'private'"),
        (changed("leaf1", asn=23456), "switch leaf1: ASN 23456 is no usable AS number"),
        (changed("leaf1", asn=1 << 32), "switch leaf1: ASN 4294967296 is no usable AS number"),
        (
            changed("spine1", asn=65001),
            "switch spine1: ASN 65001: all spines of site 'private' have its spine_asn 65000",
        ),
        (
            replace(
                small_dc(),
                switches=tuple(replace(s, loopback=IPv4Address("10.9.9.9")) for s in small_dc().switches),
            ),
            "switch leaf3: loopback 10.9.9.9 is also that of spine1",
        ),
        (
            changed("leaf1", loopback=IPv4Address("10.254.0.4")),
            "switch leaf1: loopback 10.254.0.4 lies in links 10.254.0.0/22 of site 'private'",
        ),
        # In-band management.
        (
            changed("node1", management_address=IPv4Address("10.0.0.1")),
            "node node1: management address 10.0.0.1 is outside the pool 172.31.0.0/16 of site 'private'",
        ),
        (
            replace(
                small_dc(),
                nodes=tuple(
                    replace(n, management_address=IPv4Address("172.31.4.9")) if n.name in {"node1", "ctl1"} else n
                    for n in small_dc().nodes
                ),
            ),
            "node ctl1: management address 172.31.4.9 is also that of node1",
        ),
        (
            replace(
                small_dc(),
                nodes=tuple(
                    replace(n, management_address=IPv4Address(f"172.31.{i}.9")) if n.name in {"node1", "ctl1"} else n
                    for i, n in enumerate(small_dc().nodes)
                ),
            ),
            "node ctl1: management address 172.31.4.9 is outside 172.31.0.0/24, the prefix of its leaf leaf1",
        ),
        (
            replace(
                small_dc(),
                nodes=tuple(
                    replace(n, management_address=IPv4Address(f"172.31.0.{i + 8}"))
                    for i, n in enumerate(small_dc().nodes)
                ),
            ),
            "node node2: management address 172.31.0.9 is in 172.31.0.0/24, the prefix of leaf1 (by node1)",
        ),
        (
            changed("node1", management_address=IPv4Address("172.31.0.1")),
            "node node1: management address 172.31.0.1 is the network, gateway or broadcast of 172.31.0.0/24",
        ),
        (
            plus(link("leaf2:eth31", "node1:nic2")),
            "node node1: has management links to leaf1 and leaf2; set management = false on those to all but one leaf",
        ),
        # Pools.
        (with_pools(small_dc(), vlans=NumberRange(0, 100)), "site private: vlans 0-100 reaches outside 1-4094"),
        (with_pools(small_dc(), vlans=NumberRange(100, 4095)), "site private: vlans 100-4095 reaches outside 1-4094"),
        (
            with_pools(small_dc(), l2vnis=NumberRange(1 << 23, 1 << 24)),
            "site private: l2vnis 8388608-16777216 reaches outside 1-16777215 (a VNI has 24 bits)",
        ),
        (with_pools(small_dc(), l3vnis=NumberRange(0, 9)), "site private: l3vnis 0-9 reaches outside 1-16777215"),
        (
            with_pools(small_dc(), l2vnis=NumberRange(10000, 50000)),
            "site private: l2vnis 10000-50000 and l3vnis 50000-59999 overlap",
        ),
        (with_pools(small_dc(), spine_asn=0), "site private: spine_asn 0 is no usable AS number"),
        (
            with_pools(small_dc(), spine_asn=65200),
            "site private: spine_asn 65200 lies in leaf_asns 65101-65499",
        ),
        (
            with_pools(small_dc(), leaf_asns=NumberRange(65101, 65535)),
            "site private: leaf_asns 65101-65535 reaches 65535, which is no usable AS number",
        ),
        (
            with_pools(small_dc(), mtu_bytes=1500),
            "site private: overlay_mtu_bytes 1500 and 50 bytes of VXLAN do not fit into mtu_bytes 1500",
        ),
        (with_pools(small_dc(), overlay_mtu_bytes=576), "site private: overlay_mtu_bytes 576 is below 1280"),
        (with_pools(small_dc(), mtu_bytes=70000), "site private: mtu_bytes 70000 is above 65535"),
        (
            with_pools(small_dc(), links=IPv4Network("10.255.0.128/25")),
            "site private: links 10.255.0.128/25 overlaps loopbacks 10.255.0.0/24",
        ),
        (
            plus(replace(OTHER, fabric=small_dc().sites[0].fabric)),
            "site other: loopbacks 10.255.0.0/24 overlaps loopbacks 10.255.0.0/24 of site private",
        ),
        (
            with_pools(small_dc(), loopbacks=IPv4Network("10.255.0.0/30")),
            "site private: loopbacks 10.255.0.0/30 has 2 free for 5 switches",
        ),
        (
            with_pools(small_dc(), links=IPv4Network("10.254.0.0/29")),
            "site private: links 10.254.0.0/29 holds 4 point-to-point prefixes for 6 links",
        ),
        (
            with_pools(small_dc(), leaf_asns=NumberRange(65101, 65102)),
            "site private: leaf_asns 65101-65102 has 2 free for 3 leaves",
        ),
        (
            with_pools(small_dc(), management=IPv4Network("172.31.0.0/23")),
            "site private: management 172.31.0.0/23 holds 2 /24 for 3 leaves",
        ),
        (
            with_pools(small_dc(), management=IPv4Network("172.31.0.0/25")),
            "site private: management 172.31.0.0/25 cannot hold a /24 per leaf",
        ),
        (
            plus(*(node(f"n{i}") for i in range(260)), *(link(f"leaf1:p{i}", f"n{i}:nic0") for i in range(260))),
            "switch leaf1: its management prefix holds 253 nodes, not 262",
        ),
    ],
)
def test_a_problem_is_named_with_its_values(inventory: Inventory, problem: str) -> None:
    assert any(problem in text for text in texts(inventory)), texts(inventory)


def test_all_problems_are_reported_at_once() -> None:
    broken = plus(
        node("node1"),
        link("leaf1:eth9", "leaf2:eth9"),
        link("ghost:eth0", "spine1:eth9"),
        replace(leaf("leaf9", 9), asn=65000),
    )
    found = texts(broken)
    assert len(found) == 5, found
    for part in (
        "more than one node",
        "a loop",
        "'ghost' is neither",
        "ASN 65000 is that of the spines",
        "is isolated",
    ):
        assert any(part in text for text in found)


def test_two_cables_between_a_leaf_and_a_spine_are_no_loop() -> None:
    assert problems(plus(link("leaf1:eth8", "spine1:eth8"))) == []


def test_a_border_leaf_is_a_leaf() -> None:
    border = replace(leaf("border1", 9), role=SwitchRole.BORDER)
    rows = (border, node("fw1", Dataplane.NONE), link("border1:eth1", "spine1:eth9"), link("border1:eth9", "fw1:nic0"))
    assert problems(plus(*rows)) == []


def test_a_switch_of_a_site_that_is_not_there_breaks_nothing_else() -> None:
    lost = replace(leaf("leaf9", 9), site=SiteName("moon"), asn=65101)
    assert [problem.where for problem in problems(plus(lost))] == ["switch leaf9"]
