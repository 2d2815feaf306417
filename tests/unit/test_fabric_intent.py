"""The index of intent: the same rows give the same configurations, whatever came before; a change says whom it
touches."""

from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from fabric_samples import (
    binding,
    gateway_port,
    interface,
    leaf,
    leaf_vlan,
    link,
    network,
    node,
    peering,
    port,
    router,
    small_dc,
    subnet,
    with_exits,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.thorough import examples

from weft.fabric.config import Attachment, Segment, SwitchConfig, Vrf
from weft.fabric.intent_index import FabricIntent
from weft.fabric.numbering import number
from weft.fabric.plan import plan
from weft.fabric.reasons import reasons
from weft.model.errors import NotFound
from weft.model.ids import NetworkId, NodeName, PortId, SubnetId, SwitchName
from weft.model.intent import (
    Binding,
    FixedIp,
    LeafVlan,
    Network,
    Peering,
    Port,
    Router,
    RouterGateway,
    RouterInterface,
    Subnet,
)
from weft.model.inventory import Inventory

LEAF1, LEAF2, LEAF3, SPINE1 = (SwitchName(name) for name in ("leaf1", "leaf2", "leaf3", "spine1"))
GROUND = (
    network(1),
    network(2),
    subnet(1, 1, "10.0.1.0/24", "10.0.1.1"),
    subnet(2, 2, "10.0.2.0/24", "10.0.2.1"),
    router(1),
    interface(1, 1, 1),
    leaf_vlan("leaf1", 1, 100),
    leaf_vlan("leaf1", 2, 101),
    leaf_vlan("leaf2", 1, 200),
    leaf_vlan("leaf3", 1, 300),
)


KNOWN = RouterGateway(NetworkId("ext"), PortId("gw"), enable_snat=False)
HIDDEN = RouterGateway(NetworkId("ext"), PortId("gw"))


def put(index: FabricIntent, row: Any) -> set[SwitchName]:
    """Feed any row, by its type; a port comes with its bindings, an inventory with its numbers."""
    if isinstance(row, tuple):
        return index.put_port(*row)
    if isinstance(row, Inventory):
        return index.put_inventory(row, number(row))
    if isinstance(row, Port):
        return index.put_port(row, ())
    by_type: dict[type, Callable[[Any], set[SwitchName]]] = {
        Network: index.put_network,
        Subnet: index.put_subnet,
        Router: index.put_router,
        RouterInterface: index.put_router_interface,
        LeafVlan: index.put_leaf_vlan,
        Peering: index.put_peering,
    }
    return by_type[type(row)](row)


def filled(*rows: Any) -> FabricIntent:
    index = FabricIntent()
    for row in (small_dc(), *GROUND, *rows):
        put(index, row)
    return index


def test_a_leaf_without_bindings_has_its_underlay_only() -> None:
    index = filled()
    assert index.desired(LEAF1).underlay is not None
    assert index.desired(LEAF1) == SwitchConfig(name=LEAF1, underlay=index.desired(LEAF1).underlay)


def test_a_bound_port_puts_its_network_on_its_leaf_and_on_no_other() -> None:
    index = filled()
    others = [index.desired(switch) for switch in (LEAF2, LEAF3, SPINE1)]
    assert put(index, (port(1, 1), [binding(1, "node1")])) == {LEAF1}
    config = index.desired(LEAF1)
    assert config.vrfs == (Vrf(name="v50001", l3vni=50001),)
    assert config.segments == (Segment(vni=10001, vrf="v50001", gateways=(ip_interface("10.0.1.1/24"),)),)
    assert config.attachments == (
        Attachment(interface="eth11", vlan=100, vni=10001),
        Attachment(interface="eth12", vlan=100, vni=10001),
    )
    assert [index.desired(switch) for switch in (LEAF2, LEAF3, SPINE1)] == others


def test_a_second_port_touches_the_leaf_but_changes_nothing_on_it() -> None:
    index = filled((port(1, 1), [binding(1, "node1")]))
    before = index.desired(LEAF1)
    assert put(index, (port(2, 1), [binding(2, "node1")])) == {LEAF1}
    assert index.desired(LEAF1) is before
    assert {row.port_id for row in index.bindings_on(LEAF1)} == {"port1", "port2"}


def test_a_port_whose_name_changes_touches_nothing() -> None:
    index = filled((port(1, 1), [binding(1, "node1")]))
    assert put(index, (port(1, 1, name="db-1"), [binding(1, "node1")])) == set()


def test_the_last_port_that_leaves_takes_everything_away() -> None:
    index = filled((port(1, 1), [binding(1, "node1")]), (port(2, 1), [binding(2, "node1")]))
    assert index.delete_port(PortId("port1")) == {LEAF1}
    assert index.desired(LEAF1).segments != ()
    assert index.delete_port(PortId("port2")) == {LEAF1}
    config = index.desired(LEAF1)
    assert (config.vrfs, config.segments, config.attachments) == ((), (), ())


def test_a_change_touches_only_where_it_matters_now() -> None:
    index = filled((port(1, 1), [binding(1, "node1")]), (port(2, 1), [binding(2, "node2")]))
    assert put(index, network(1, mtu_bytes=1400)) == {LEAF1, LEAF2}
    index.delete_port(PortId("port1"))
    assert put(index, network(1, mtu_bytes=1300)) == {LEAF2}
    assert put(index, router(1, admin_state_up=False)) == {LEAF2}
    index.delete_router_interface(SubnetId("sub1"))
    assert put(index, router(1)) == set()
    assert put(index, leaf_vlan("leaf1", 1, 150)) == set()


def test_a_draining_binding_is_still_carried() -> None:
    moving = (port(1, 1), [binding(1, "node1", 1, draining=True), binding(1, "node2", 2)])
    index = filled((port(1, 1), [binding(1, "node1")]))
    assert put(index, moving) == {LEAF1, LEAF2}
    assert index.desired(LEAF1).segments == index.desired(LEAF2).segments != ()
    assert {row.vlan for row in index.desired(LEAF2).attachments} == {200}
    assert put(index, (port(1, 1), [binding(1, "node2", 2)])) == {LEAF1, LEAF2}
    assert index.desired(LEAF1).segments == ()


def test_a_network_without_router_is_a_segment_without_vrf() -> None:
    index = filled((port(1, 2), [binding(1, "node1")]))
    config = index.desired(LEAF1)
    assert (config.vrfs, config.segments) == ((), (Segment(vni=10002),))


def test_a_router_attached_later_brings_vrf_and_gateway() -> None:
    index = filled((port(1, 2), [binding(1, "node1")]))
    assert put(index, interface(1, 2, 2)) == {LEAF1}
    assert index.desired(LEAF1).segments == (Segment(vni=10002, vrf="v50001", gateways=(ip_interface("10.0.2.1/24"),)),)
    assert index.delete_router_interface(SubnetId("sub2")) == {LEAF1}
    assert index.desired(LEAF1).segments == (Segment(vni=10002),)


def test_a_router_that_is_switched_off_routes_nothing() -> None:
    index = filled((port(1, 1), [binding(1, "node1")]))
    assert put(index, router(1, admin_state_up=False)) == {LEAF1}
    assert index.desired(LEAF1).segments == (Segment(vni=10001),)


def test_gateways_of_both_families_in_the_order_of_their_addresses() -> None:
    six = subnet(3, 1, "2001:db8::/64", "2001:db8::1")
    more = subnet(4, 1, "10.0.0.0/24", "10.0.0.1")
    index = filled((port(1, 1), [binding(1, "node1")]), six, more, interface(1, 3, 1), interface(1, 4, 1))
    assert [str(gateway) for gateway in index.desired(LEAF1).segments[0].gateways] == [
        "10.0.0.1/24",
        "10.0.1.1/24",
        "2001:db8::1/64",
    ]


def test_the_gateway_is_the_address_of_the_routers_own_port() -> None:
    index = filled((port(1, 1), [binding(1, "node1")]))
    assert put(index, gateway_port(1, 1, 1, "10.0.1.254")) == {LEAF1}
    assert [str(gateway) for gateway in index.desired(LEAF1).segments[0].gateways] == ["10.0.1.254/24"]


def test_the_mtu_is_the_networks() -> None:
    index = filled((port(1, 1), [binding(1, "node1")]))
    assert put(index, network(1, mtu_bytes=1400)) == {LEAF1}
    assert index.desired(LEAF1).segments[0].mtu_bytes == 1400
    assert put(index, network(1, mtu_bytes=1400, name="renamed")) == set()


def test_a_bare_metal_server_has_its_network_untagged_and_needs_no_vlan() -> None:
    index = filled((port(1, 2), [binding(1, "bm1")]))
    assert index.desired(LEAF3).attachments == (Attachment(interface="eth13", vlan=0, vni=10002),)


def test_a_bare_metal_server_has_one_network_untagged_and_others_by_tags() -> None:
    index = filled((port(3, 1), [binding(3, "bm1")]), leaf_vlan("leaf3", 2, 301))
    assert put(index, (port(4, 2), [binding(4, "bm1", trunk=True)])) == {LEAF3}
    assert index.desired(LEAF3).attachments == (
        Attachment(interface="eth13", vlan=0, vni=10001),
        Attachment(interface="eth13", vlan=301, vni=10002),
    )
    put(index, (port(3, 1), [binding(3, "bm1", epoch=2, trunk=True)]))
    assert {each.vlan for each in index.desired(LEAF3).attachments} == {300, 301}


def test_a_bare_metal_port_that_is_switched_off_is_cut_off_by_its_leaf() -> None:
    index = filled((port(1, 2), [binding(1, "bm1")]))
    assert put(index, (port(1, 2, admin_state_up=False), [binding(1, "bm1")])) == {LEAF3}
    assert index.desired(LEAF3).attachments == index.desired(LEAF3).segments == ()
    assert index.carriage(LEAF3, NodeName("bm1"), NetworkId("net2")) is None
    assert index.obstacle(binding(1, "bm1")) is None


def test_a_node_on_two_leaves_is_carried_by_both() -> None:
    dc = small_dc()
    links = (link("leaf2:eth31", "pair:nic0"), link("leaf3:eth31", "pair:nic1", management=False))
    shared = replace(dc, nodes=(*dc.nodes, node("pair")), links=(*dc.links, *links))
    index = filled(shared, (port(1, 1), [binding(1, "pair")]))
    assert put(index, (port(2, 1), [binding(2, "pair")])) == {LEAF2, LEAF3}
    for switch in (LEAF2, LEAF3):
        assert index.desired(switch).attachments == (Attachment(interface="eth31", vlan=200, vni=10001),)


def test_a_released_vlan_is_no_vlan() -> None:
    index = filled((port(1, 1), [binding(1, "node1")]))
    assert put(index, leaf_vlan("leaf1", 1, 100, released_at=5.0)) == {LEAF1}
    assert index.desired(LEAF1).attachments == ()
    assert put(index, leaf_vlan("leaf1", 1, 102)) == {LEAF1}
    assert {row.vlan for row in index.desired(LEAF1).attachments} == {102}


@pytest.mark.parametrize(
    ("of", "bound", "text"),
    [
        (port(1, 1), binding(1, "ghost"), "node ghost is not in the inventory"),
        (port(1, 1), binding(1, "ctl1"), "node ctl1 has no link to a leaf that could carry the port (its only links"),
        (port(1, 3), binding(1, "node1"), "port port1 or its network is gone"),
        (port(1, 2), binding(1, "node2"), "network net2 has no VLAN in domain leaf2, where node node2 is"),
        (port(1, 4), binding(1, "node1"), "network net4 of type vxlan has no VNI that a leaf could carry"),
        (port(1, 1), binding(1, "node1"), None),
    ],
)
def test_what_stands_in_the_way_of_a_binding_is_told(of: Port, bound: Binding, text: str | None) -> None:
    index = filled(network(4, vni=None), (of, [bound]))
    told = index.obstacle(bound)
    assert told == text if text is None else text in str(told)


def test_a_switch_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match="switch 'leaf9' is not in the inventory"):
        filled().desired(SwitchName("leaf9"))


def test_reasons_name_the_ports_and_routers() -> None:
    rows = [(port(i, 1), [binding(i, "node1")]) for i in (1, 2, 3)]
    index = filled(*rows, (port(4, 1), [binding(4, "ctl1")]))
    blank = SwitchConfig(name=LEAF1, underlay=None)
    lines = plan(blank, index.desired(LEAF1), reasons(index, LEAF1)).lines()
    assert [line.split("(")[1] for line in lines] == [
        "inventory)",
        "inventory)",
        "inventory)",
        "inventory)",
        "router r-1, network net-1)",
        "ports web-4 on ctl1, web-1 on node1 and 2 more)",
        "ports web-1 on node1, web-2 on node1 and 1 more)",
        "ports web-1 on node1, web-2 on node1 and 1 more)",
    ]
    away = plan(index.desired(LEAF1), replace(blank, underlay=index.desired(LEAF1).underlay), reasons(index, LEAF1))
    assert {line.split("(")[1] for line in away.lines()} == {"no port needs it)"}


# Any sequence of changes.


def more_leaves() -> Inventory:
    dc = small_dc()
    return replace(
        dc,
        switches=(*dc.switches, leaf("leaf4", 4)),
        nodes=(*dc.nodes, node("node4"), node("pair")),
        links=(
            *(row for row in dc.links if row.b.device != "bm1"),
            link("leaf4:eth1", "spine1:eth4"),
            link("leaf4:eth11", "node4:nic0"),
            link("leaf4:eth13", "bm1:nic0", management=False),
            link("leaf2:eth31", "pair:nic0"),
            link("leaf3:eth31", "pair:nic1", management=False),
        ),
    )


nodes = st.sampled_from(["node1", "node2", "node3", "node4", "pair", "bm1", "ctl1", "ghost"])
networks = st.integers(1, 3)


@st.composite
def bound_ports(draw: st.DrawFn) -> tuple[Port, list[Binding]]:
    index = draw(st.integers(1, 6))
    row = port(index, draw(networks), admin_state_up=draw(st.booleans()))
    epoch = draw(st.integers(1, 3))
    bindings = [binding(index, draw(nodes), epoch, trunk=draw(st.booleans()))] if draw(st.booleans()) else []
    if bindings and draw(st.booleans()):
        bindings.insert(0, binding(index, draw(nodes), epoch + 10, draining=True))
    return row, bindings


@st.composite
def attachments_to_routers(draw: st.DrawFn) -> RouterInterface:
    net = draw(networks)
    return interface(draw(st.integers(1, 3)), 10 * net + draw(st.integers(1, 2)), net)


@st.composite
def subnets(draw: st.DrawFn) -> Subnet:
    net, which = draw(networks), draw(st.integers(1, 2))
    cidr, gateway = draw(
        st.sampled_from([(f"10.{net}.{which}.0/24", f"10.{net}.{which}.1"), (f"2001:db8:{net}:{which}::/64", None)])
    )
    return subnet(10 * net + which, net, cidr, gateway)


@st.composite
def router_ports(draw: st.DrawFn) -> Port:
    net, which = draw(networks), draw(st.integers(1, 2))
    address = draw(st.sampled_from([f"10.{net}.{which}.254", f"10.{net}.{which}.253"]))
    row = gateway_port(draw(st.integers(1, 2)), 10 * net + which, net, address)
    return replace(row, fixed_ips=(FixedIp(SubnetId(f"sub{10 * net + which}"), ip_address(address)),))


rows = st.one_of(
    bound_ports(),
    bound_ports(),
    st.builds(network, networks, mtu_bytes=st.sampled_from([1400, 1500]), vni=st.sampled_from([None, 10001, 10002])),
    subnets(),
    st.builds(router, st.integers(1, 3), admin_state_up=st.booleans(), gateway=st.sampled_from([None, KNOWN, HIDDEN])),
    attachments_to_routers(),
    router_ports(),
    st.builds(
        leaf_vlan,
        st.sampled_from(["leaf1", "leaf2", "leaf3", "leaf4"]),
        networks,
        st.integers(100, 102),
        released_at=st.none() | st.just(5.0),
    ),
    st.sampled_from([small_dc(), more_leaves(), with_exits()]),
    st.sampled_from([peering(1, 2), peering(1, 3)]),
)


def key_of(row: Any) -> tuple[Any, ...]:
    match row:
        case (Port() as of, _):
            return ("port", of.id)
        case Port():
            return ("port", row.id)
        case RouterInterface():
            return ("interface", row.subnet_id)
        case LeafVlan():
            return ("vlan", row.domain, row.network_id)
        case Inventory():
            return ("inventory",)
    return (type(row).__name__, row.id)


def delete(index: FabricIntent, key: tuple[Any, ...]) -> set[SwitchName]:
    by_kind: dict[str, Callable[..., set[SwitchName]]] = {
        "port": index.delete_port,
        "interface": index.delete_router_interface,
        "vlan": index.delete_leaf_vlan,
        "Network": index.delete_network,
        "Subnet": index.delete_subnet,
        "Router": index.delete_router,
        "Peering": index.delete_peering,
    }
    return by_kind[key[0]](*key[1:])


def configs(index: FabricIntent) -> dict[SwitchName, SwitchConfig]:
    return {switch: index.desired(switch) for switch in index.topology.switches}


def from_scratch(present: Iterable[Any]) -> FabricIntent:
    index = FabricIntent()
    for row in present:
        put(index, row)
    return index


@given(st.lists(st.tuples(rows, st.booleans()), max_size=40), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=examples(300))
def test_the_history_of_the_rows_does_not_matter(changes: list[tuple[Any, bool]], order: Any) -> None:
    index = from_scratch([small_dc(), *GROUND])
    present = {key_of(row): row for row in (small_dc(), *GROUND)}
    before = configs(index)
    for row, deleted in changes:
        key = key_of(row)
        if deleted and key != ("inventory",):
            present.pop(key, None)
            touched = delete(index, key)
        else:
            present[key] = row
            touched = put(index, row)
            assert put(index, row) <= touched | set(index.topology.switches)
        after = configs(index)
        untouched = {switch for switch in after if before.get(switch) != after[switch]} - touched
        assert not untouched, f"{untouched} changed, but were not told to be touched"
        before = after
    shuffled = list(present.values())
    order.shuffle(shuffled)
    fresh = from_scratch(shuffled)
    assert configs(fresh) == before
    for switch in index.topology.switches:
        bindings = {(row.port_id, row.epoch): row for row in index.bindings_on(switch)}
        assert {(row.port_id, row.epoch): row for row in fresh.bindings_on(switch)} == bindings
