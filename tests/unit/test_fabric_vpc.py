"""VPCs beyond themselves: peerings reach just the other, and border leaves lead outside."""

from ipaddress import IPv4Address, IPv4Interface, ip_network
from typing import Any

import pytest
from fabric_samples import (
    binding,
    interface,
    leaf_vlan,
    network,
    peering,
    port,
    router,
    small_dc,
    subnet,
    with_exits,
)
from msgspec.structs import replace

from weft.fabric.checks import problems
from weft.fabric.config import Attachment, ExitPeer, Leak, Segment, Vrf
from weft.fabric.intent_index import FabricIntent
from weft.fabric.numbering import number
from weft.fabric.plan import plan
from weft.fabric.topology import Topology
from weft.fabric.vpc import DEFAULT_ROUTE, OUTSIDE, exit_key
from weft.model.ids import NetworkId, PortId, SwitchName
from weft.model.intent import RouterGateway
from weft.model.inventory import Inventory

LEAF1, LEAF2, LEAF3, SPINE1 = (SwitchName(name) for name in ("leaf1", "leaf2", "leaf3", "spine1"))
KNOWN = RouterGateway(NetworkId("ext"), PortId("gw"), enable_snat=False)
HIDDEN = RouterGateway(NetworkId("ext"), PortId("gw"))


def three_vpcs(inventory: Inventory) -> FabricIntent:
    """Router i routes network i with 10.0.i.0/24, which has a port on node i."""
    index = FabricIntent()
    index.put_inventory(inventory, number(inventory))
    for i in (1, 2, 3):
        index.put_network(network(i))
        index.put_subnet(subnet(i, i, f"10.0.{i}.0/24", f"10.0.{i}.1"))
        index.put_router(router(i))
        index.put_router_interface(interface(i, i, i))
        index.put_leaf_vlan(leaf_vlan(f"leaf{i}", i, 100))
        index.put_port(port(i, i), [binding(i, f"node{i}")])
    return index


def leaks(index: FabricIntent, switch: SwitchName) -> dict[str, dict[int, list[str]]]:
    return {
        vrf.name: {leak.l3vni: [str(prefix) for prefix in leak.prefixes] for leak in vrf.leaks}
        for vrf in index.desired(switch).vrfs
    }


def test_peered_vpcs_hand_over_to_each_other_wherever_either_is_and_to_nobody_beyond() -> None:
    index = three_vpcs(small_dc())
    assert index.put_peering(peering(1, 2)) == {LEAF1, LEAF2}
    assert index.put_peering(peering(1, 3)) == {LEAF1, LEAF2, LEAF3}
    to_2, to_3, to_1 = {50002: ["10.0.2.0/24"]}, {50003: ["10.0.3.0/24"]}, {50001: ["10.0.1.0/24"]}
    assert leaks(index, LEAF1) == {"v50001": {**to_2, **to_3}, "v50002": to_1, "v50003": to_1}
    assert leaks(index, LEAF2) == {"v50001": to_2, "v50002": to_1}, "router 2 does not see router 3"
    assert leaks(index, LEAF3) == {"v50001": to_3, "v50003": to_1}
    assert index.delete_peering("peering12") >= {LEAF1, LEAF2}
    assert leaks(index, LEAF2) == {"v50002": {}}


def test_a_subnet_that_comes_or_goes_is_handed_over_on_the_leaves_of_the_peer() -> None:
    index = three_vpcs(small_dc())
    index.put_peering(peering(1, 2))
    index.put_subnet(subnet(4, 1, "2001:db8::/64", "2001:db8::1"))
    assert index.put_router_interface(interface(1, 4, 1)) == {LEAF1, LEAF2}
    assert leaks(index, LEAF2)["v50002"] == {50001: ["10.0.1.0/24", "2001:db8::/64"]}
    assert index.put_router(router(1, admin_state_up=False)) == {LEAF1, LEAF2}
    assert leaks(index, LEAF2) == {"v50002": {}}


def test_a_peering_is_no_part_of_what_a_port_rests_on() -> None:
    index = three_vpcs(small_dc())
    before = index.carriage(LEAF1, binding(1, "node1").node, NetworkId("net1"))
    index.put_peering(peering(1, 2))
    assert index.carriage(LEAF1, binding(1, "node1").node, NetworkId("net1")) == before


def test_a_router_with_a_gateway_without_snat_is_known_outside() -> None:
    inventory = with_exits()
    vnis = number(inventory).exits
    index = three_vpcs(inventory)
    assert leaks(index, LEAF2) == {OUTSIDE: {}, "v50002": {}}
    assert index.put_router(router(1, gateway=HIDDEN)) == {LEAF1}
    assert leaks(index, LEAF2) == {OUTSIDE: {}, "v50002": {}}
    assert index.put_router(router(1, gateway=KNOWN)) == {LEAF1, LEAF2, LEAF3}
    config = index.desired(LEAF2)
    peer = ExitPeer(address=IPv4Address("192.0.2.4"), asn=64999, name="internet")
    back = Leak(l3vni=50001, prefixes=(ip_network("10.0.1.0/24"),))
    assert config.vrfs == (
        Vrf(name=OUTSIDE, l3vni=9000, leaks=(back,), peers=(peer,)),
        Vrf(name="v50001", l3vni=50001, leaks=(Leak(l3vni=9000, prefixes=(DEFAULT_ROUTE,)),)),
        Vrf(name="v50002", l3vni=50002),
    )
    vni = vnis["leaf2:eth9.0"]
    assert Segment(vni=vni, vrf=OUTSIDE, gateways=(IPv4Interface("192.0.2.5/31"),)) in config.segments
    assert Attachment(interface="eth9", vlan=0, vni=vni) in config.attachments
    assert index.put_router(router(1)) == {LEAF1, LEAF2, LEAF3}
    assert leaks(index, LEAF2) == {OUTSIDE: {}, "v50002": {}}


def test_only_what_has_an_ipv4_address_is_known_outside() -> None:
    index = three_vpcs(with_exits())
    index.put_subnet(subnet(1, 1, "2001:db8::/64", "2001:db8::1"))
    index.put_router(router(1, gateway=KNOWN))
    assert leaks(index, LEAF3)[OUTSIDE] == {}


def test_exits_keep_their_numbers() -> None:
    both = with_exits()
    first = replace(both, exits=both.exits[1:])
    before = number(first)
    after = number(both, before)
    key = exit_key(both.exits[1])
    assert before.exits[key] == after.exits[key] == 9001
    assert after.exits[exit_key(both.exits[0])] == 9002


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"switch": SwitchName("spine1")}, "'spine1' is no leaf"),
        ({"interface": "eth1"}, "used by link"),
        ({"peer_address": IPv4Address("192.0.2.9")}, "is no other address of"),
        ({"peer_address": IPv4Address("192.0.2.5")}, "is no other address of"),
        ({"peer_asn": 0}, "no usable AS number"),
        ({"peer_asn": 65101}, "one of the fabric's own"),
        ({"vlan": 100}, "outside vlans"),
        ({"address": IPv4Interface("10.254.0.1/31"), "peer_address": IPv4Address("10.254.0.0")}, "lies in links"),
        ({"switch": SwitchName("leaf3"), "peer": "other"}, "leads to"),
    ],
)
def test_what_is_wrong_with_an_exit_is_told(fields: dict[str, Any], text: str) -> None:
    inventory = with_exits()
    assert problems(inventory) == []
    wrong = replace(inventory, exits=(replace(inventory.exits[0], **fields), inventory.exits[1]))
    assert any(text in str(each) for each in problems(wrong)), [str(each) for each in problems(wrong)]


def test_a_plan_tells_what_is_handed_over_line_by_line() -> None:
    index = three_vpcs(small_dc())
    before = index.desired(LEAF1)
    index.put_peering(peering(1, 2))
    assert plan(before, index.desired(LEAF1)).lines() == [
        "+ vrf v50002 l3vni 50002",
        "+ vrf v50002 to l3vni 50001: 10.0.1.0/24",
        "+ vrf v50001 to l3vni 50002: 10.0.2.0/24",
    ]


def test_borders_are_the_switches_with_exits() -> None:
    topology = Topology(with_exits())
    assert topology.borders(topology.switches[LEAF1].site) == (LEAF2, LEAF3)
    assert topology.exits_of(LEAF1) == ()
