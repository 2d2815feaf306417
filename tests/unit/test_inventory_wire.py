"""The wire form of an inventory: it comes back as it went, and every mistake in it is named."""

import tomllib
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.model.errors import Invalid
from weft.model.ids import NodeName, SiteName, SwitchName
from weft.model.inventory import (
    Dataplane,
    Dialect,
    FabricPools,
    Inventory,
    Link,
    LinkEnd,
    Node,
    NumberRange,
    Site,
    Switch,
    SwitchRole,
)
from weft.protocol.inventory import MAX_PROBLEMS_SHOWN, decode, encode

EXAMPLE = Path(__file__).parents[2] / "examples" / "small-dc.toml"


def example() -> dict[str, Any]:
    wire = tomllib.loads(EXAMPLE.read_text())
    del wire["lab"]
    return wire


def test_the_example_is_read() -> None:
    inventory = decode(example())
    assert [switch.name for switch in inventory.switches] == ["spine1", "spine2", "leaf1", "leaf2", "leaf3"]
    assert inventory.sites[0].fabric is not None
    assert inventory.sites[0].fabric.links == IPv4Network("10.254.0.0/24")
    assert inventory.sites[0].fabric.vlans == NumberRange(100, 3999)
    assert inventory.switches[0].role is SwitchRole.SPINE
    assert inventory.nodes[3].dataplane is Dataplane.NONE
    assert inventory.links[0].a == LinkEnd("leaf1", "eth1")
    assert [link.management for link in inventory.links[-2:]] == [False, True]


def test_the_example_comes_back_as_it_went() -> None:
    inventory = decode(example())
    assert decode(encode(inventory)) == inventory


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
prefixes = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda pair: IPv4Network(pair, strict=False))
ranges = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)).map(lambda pair: NumberRange(min(pair), max(pair)))
ends = st.builds(LinkEnd, names, st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,20}", fullmatch=True))
pools = st.builds(
    FabricPools,
    loopbacks=prefixes,
    links=prefixes,
    management=prefixes,
    spine_asn=st.integers(),
    vlans=ranges,
    l2vnis=ranges,
)
inventories = st.builds(
    Inventory,
    sites=st.lists(st.builds(Site, name=names.map(SiteName), fabric=st.none() | pools), max_size=3).map(tuple),
    switches=st.lists(
        st.builds(
            Switch,
            name=names.map(SwitchName),
            site=names.map(SiteName),
            role=st.sampled_from(SwitchRole),
            dialect=st.sampled_from(Dialect),
            management=st.none() | addresses.map(str),
            asn=st.none() | st.integers(),
            loopback=st.none() | addresses,
        ),
        max_size=3,
    ).map(tuple),
    nodes=st.lists(
        st.builds(
            Node,
            name=names.map(NodeName),
            site=names.map(SiteName),
            dataplane=st.sampled_from(Dataplane),
            management_address=st.none() | addresses,
        ),
        max_size=3,
    ).map(tuple),
    links=st.lists(st.builds(Link, a=ends, b=ends, management=st.booleans()), max_size=3).map(tuple),
)


@given(inventories)
def test_any_inventory_comes_back_as_it_went(inventory: Inventory) -> None:
    assert decode(encode(inventory)) == inventory


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({"switch": []}, "switch: unknown table; an inventory has sites, switches, nodes and links"),
        ({"nodes": {}}, "nodes: expected a list of tables, not a table"),
        ({"nodes": ["n1"]}, "nodes[0]: expected a table, not 'n1'"),
        ({"nodes": [{"name": "n1"}]}, "nodes[0](n1).site: missing"),
        ({"nodes": [{"name": "n 1", "site": "s"}]}, "nodes[0](n 1).name: 'n 1' is not a name"),
        ({"nodes": [{"name": "n1\nno router bgp", "site": "s"}]}, "is not a name"),
        ({"nodes": [{"name": 7, "site": "s"}]}, "nodes[0].name: expected text such as 'name1', not '7'"),
        (
            {"nodes": [{"name": "n1", "site": "s", "dataplane": "xdp"}]},
            "nodes[0](n1).dataplane: 'xdp' is none of ovs, ebpf, cloud, none",
        ),
        (
            {"nodes": [{"name": "n1", "site": "s", "management_address": "172.31.1.300"}]},
            "nodes[0](n1).management_address: '172.31.1.300' is not an IPv4 address",
        ),
        (
            {"switches": [{"name": "l1", "site": "s", "role": "leaf", "asn": "AS65101"}]},
            "switches[0](l1).asn: expected a number, not 'AS65101'",
        ),
        (
            {"switches": [{"name": "l1", "site": "s", "role": "leaf", "asn": True}]},
            "switches[0](l1).asn: expected a number, not true",
        ),
        (
            {"switches": [{"name": "l1", "site": "s", "role": "leaf", "management": "a b"}]},
            "switches[0](l1).management: 'a b' is not a host or host:port",
        ),
        (
            {"switches": [{"name": "l1", "site": "s", "role": "leaf", "vendor": "x"}]},
            "switches[0](l1).vendor: unknown key; known: name, site, role, dialect, management, asn, loopback, model",
        ),
        ({"links": [{"a": "leaf1", "b": "spine1:eth1"}]}, "links[0].a: 'leaf1' is not a link end"),
        (
            {"links": [{"a": "leaf1:eth1;reboot", "b": "spine1:eth1"}]},
            "links[0].a: 'leaf1:eth1;reboot' is not a link end",
        ),
        (
            {"links": [{"a": "leaf1:eth1", "b": "spine1:eth1", "management": "yes"}]},
            "links[0].management: expected true or false, not 'yes'",
        ),
        (
            {"sites": [{"name": "s", "fabric": {"vlans": "4000-100"}}]},
            "sites[0](s).fabric.vlans: '4000-100' is an empty range: 4000 is greater than 100",
        ),
        (
            {"sites": [{"name": "s", "fabric": {"vlans": 100}}]},
            "sites[0](s).fabric.vlans: expected text such as '100-3999'",
        ),
        (
            {"sites": [{"name": "s", "fabric": {"links": "10.254.0.1/24"}}]},
            "sites[0](s).fabric.links: '10.254.0.1/24' is not an IPv4 prefix: 10.254.0.1/24 has host bits set",
        ),
        (
            {"sites": [{"name": "s", "fabric": {"gateway_mac": "01:00:5e:00:00:01"}}]},
            "sites[0](s).fabric.gateway_mac: '01:00:5e:00:00:01' is a multicast MAC address",
        ),
        ({"sites": [{"name": "s", "fabric": "yes"}]}, "sites[0](s).fabric: expected a table, not 'yes'"),
    ],
)
def test_a_mistake_is_named_by_path_and_value(wire: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as raised:
        decode(wire)
    assert message in raised.value.message


def test_all_mistakes_are_reported_at_once() -> None:
    wire = example()
    wire["switches"][0]["asn"] = "x"
    wire["switches"][0]["loopback"] = "10.255.0.999"
    wire["nodes"][1]["dataplane"] = "xdp"
    wire["links"][4]["a"] = "eth1"
    with pytest.raises(Invalid) as raised:
        decode(wire)
    lines = raised.value.message.splitlines()
    assert lines[0] == "the inventory cannot be read: 4 problems"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "switches[0](spine1).asn",
        "switches[0](spine1).loopback",
        "nodes[1](node2).dataplane",
        "links[4].a",
    ]


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(Invalid, match="an inventory is a table of sites, switches, nodes and links, not a list"):
        decode([])  # type: ignore[arg-type]


def test_the_list_of_problems_is_bounded() -> None:
    with pytest.raises(Invalid) as raised:
        decode({"nodes": ["n"] * (MAX_PROBLEMS_SHOWN + 5)})
    assert raised.value.message.splitlines()[-1] == "  ... and 5 more"
