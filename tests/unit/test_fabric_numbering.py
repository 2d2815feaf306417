"""Numbers are given once and kept: whatever comes and goes, nothing else is renumbered."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from fabric_samples import SITE, leaf, link, node, small_dc, spine, with_pools
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from weft.fabric.numbering import Numbering, decode, encode, number
from weft.fabric.topology import problems
from weft.model.errors import Invalid
from weft.model.ids import NodeName, SwitchName
from weft.model.inventory import FabricPools, Inventory, LinkEnd, NumberRange, Site


def leaf_numbers(numbering: Numbering, name: str) -> tuple[int, str, str | None]:
    numbers = numbering.switches[SwitchName(name)]
    return numbers.asn, str(numbers.loopback), str(numbers.gateway) if numbers.gateway else None


def test_the_small_data_centre_by_hand() -> None:
    numbering = number(small_dc())
    assert leaf_numbers(numbering, "spine1") == (65000, "10.255.0.1", None)
    assert leaf_numbers(numbering, "spine2") == (65000, "10.255.0.2", None)
    assert leaf_numbers(numbering, "leaf1") == (65101, "10.255.0.3", "172.31.0.1/24")
    assert leaf_numbers(numbering, "leaf3") == (65103, "10.255.0.5", "172.31.2.1/24")
    assert [str(row.prefix) for row in numbering.links] == [f"10.254.0.{i}/31" for i in range(0, 12, 2)]
    assert {name: str(row.address) for name, row in numbering.nodes.items()} == {
        "node1": "172.31.0.2/24",
        "node2": "172.31.1.2/24",
        "node3": "172.31.2.2/24",
        "ctl1": "172.31.0.3/24",
    }
    assert numbering.nodes[NodeName("ctl1")].gateway == IPv4Address("172.31.0.1")


def test_what_is_written_is_taken_and_chosen_around() -> None:
    dc = small_dc()
    written = {"leaf2": replace(dc.switches[3], asn=65101, loopback=IPv4Address("10.255.0.1"))}
    dc = replace(
        dc,
        switches=tuple(written.get(s.name, s) for s in dc.switches),
        nodes=tuple(
            replace(n, management_address=IPv4Address("172.31.0.2")) if n.name == "node2" else n for n in dc.nodes
        ),
    )
    numbering = number(dc)
    assert leaf_numbers(numbering, "leaf2") == (65101, "10.255.0.1", "172.31.0.1/24")
    assert leaf_numbers(numbering, "leaf1") == (65102, "10.255.0.4", "172.31.1.1/24")
    assert numbering.nodes[NodeName("node2")].address == IPv4Interface("172.31.0.2/24")


def test_a_written_number_that_another_device_has_is_refused_and_named() -> None:
    dc = small_dc()
    before = number(dc)
    switches = tuple(
        replace(s, loopback=IPv4Address("10.255.0.3"), asn=65101) if s.name == "leaf3" else s for s in dc.switches
    )
    with pytest.raises(Invalid) as raised:
        number(replace(dc, switches=switches), before)
    assert "switch leaf3: loopback 10.255.0.3 was given to leaf1 before; write another" in raised.value.message
    assert "switch leaf3: ASN 65101 was given to leaf1 before; write another" in raised.value.message


def test_a_node_cannot_drag_its_leaf_into_another_prefix() -> None:
    dc = small_dc()
    before = number(dc)
    nodes = tuple(
        replace(n, management_address=IPv4Address("172.31.9.9")) if n.name == "node1" else n for n in dc.nodes
    )
    with pytest.raises(Invalid, match=r"node node1: management address 172\.31\.9\.9 is outside 172\.31\.0\.0/24"):
        number(replace(dc, nodes=nodes), before)


def test_a_pool_taken_from_under_its_numbers_is_refused() -> None:
    before = number(small_dc())
    with pytest.raises(Invalid) as raised:
        number(with_pools(small_dc(), loopbacks=IPv4Network("10.1.0.0/24"), links=IPv4Network("10.2.0.0/24")), before)
    assert "switch leaf1: loopback 10.255.0.3 was given before and is outside the pool 10.1.0.0/24" in str(raised.value)
    assert "link leaf1:eth1 - spine1:eth1: prefix 10.254.0.0/31 was given before and is outside" in str(raised.value)


def test_an_enlarged_pool_changes_nothing() -> None:
    before = number(small_dc())
    assert number(with_pools(small_dc(), loopbacks=IPv4Network("10.255.0.0/16")), before) == before


def test_a_pool_that_is_exhausted_by_what_stays_is_named() -> None:
    dc = with_pools(small_dc(), leaf_asns=NumberRange(65101, 65103))
    before = number(dc)
    more = replace(dc, switches=(*dc.switches, leaf("leaf4", 4)), links=(*dc.links, link("leaf4:eth1", "spine1:eth4")))
    with pytest.raises(Invalid, match="switch leaf4: ASN cannot be chosen: the pool is exhausted; enlarge it"):
        number(more, before)


def test_a_node_that_is_cabled_to_another_leaf_gets_an_address_there() -> None:
    dc = small_dc()
    before = number(dc)
    links = tuple(row for row in dc.links if row.b.device != "ctl1")
    after = number(replace(dc, links=(*links, link("leaf2:eth20", "ctl1:nic0"))), before)
    assert after.nodes[NodeName("ctl1")].address == IPv4Interface("172.31.1.3/24")
    assert after.switches == before.switches


def test_a_cable_is_the_same_cable_written_the_other_way_round() -> None:
    dc = small_dc()
    before = number(dc)
    turned = replace(dc, links=tuple(replace(row, a=row.b, b=row.a) for row in dc.links))
    assert number(turned, before) == before
    assert before.links[0].a == LinkEnd("leaf1", "eth1")


def test_json_and_back() -> None:
    numbering = number(small_dc())
    assert decode(encode(numbering)) == numbering


def grown(spines: set[int], leaves: set[int], nodes: dict[int, int], order: int) -> Inventory:
    """An inventory with these spines and leaves, every leaf linked to every spine, and nodes by their leaf."""
    names = [*(spine(f"spine{i}", i) for i in spines), *(leaf(f"leaf{i}", i) for i in leaves)]
    hosts = [node(f"node{n}") for n in nodes]
    cables = [
        *(link(f"leaf{i}:up{s}", f"spine{s}:down{i}") for i in leaves for s in spines),
        *(link(f"leaf{i}:p{n}", f"node{n}:nic0") for n, i in nodes.items()),
    ]
    if order:
        names, hosts, cables = names[::-1], hosts[::-1], cables[::-1]
    site = Site(name=SITE, fabric=FabricPools(links=IPv4Network("10.254.0.0/22")))
    return Inventory(sites=(site,), switches=tuple(names), nodes=tuple(hosts), links=tuple(cables))


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    spines = draw(st.sets(st.integers(1, 4), min_size=1))
    leaves = draw(st.sets(st.integers(1, 8), min_size=1))
    nodes = draw(st.dictionaries(st.integers(1, 12), st.sampled_from(sorted(leaves))))
    return grown(spines, leaves, nodes, draw(st.integers(0, 1)))


@given(st.lists(inventories(), min_size=2, max_size=5))
@settings(deadline=None)
def test_devices_come_and_go_and_nobody_else_is_renumbered(history: list[Inventory]) -> None:
    numbering: Numbering | None = None
    for inventory in history:
        assert problems(inventory) == []
        before, numbering = numbering, number(inventory, numbering)
        loopbacks = [row.loopback for row in numbering.switches.values()]
        assert len(set(loopbacks)) == len(loopbacks)
        asns = [row.asn for row in numbering.switches.values() if row.asn != 65000]
        assert len(set(asns)) == len(asns)
        prefixes = [row.prefix for row in numbering.links]
        assert len(set(prefixes)) == len(prefixes)
        addresses = [row.address for row in numbering.nodes.values()]
        assert len(set(addresses)) == len(addresses)
        for row in numbering.nodes.values():
            assert row.gateway in row.address.network
            assert row.gateway != row.address.ip
        assert number(inventory, numbering) == numbering
        if before is None:
            continue
        for name in numbering.switches.keys() & before.switches.keys():
            old, new = before.switches[name], numbering.switches[name]
            assert (new.asn, new.loopback) == (old.asn, old.loopback)
            assert old.gateway is None or new.gateway == old.gateway
        kept = {(row.a, row.b): row.prefix for row in before.links}
        assert all(kept.get((row.a, row.b), row.prefix) == row.prefix for row in numbering.links)
        for name in numbering.nodes.keys() & before.nodes.keys():
            if numbering.nodes[name].gateway == before.nodes[name].gateway:
                assert numbering.nodes[name] == before.nodes[name]
