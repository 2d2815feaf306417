"""The model check: who reaches whom is what the configurations mean, and wrong plans are caught."""

from ipaddress import IPv4Address, IPv4Interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.thorough import examples

from weft.fabric.config import Attachment, FabricLink, Leak, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.reachability import Breach, Endpoint, check, check_change, islands_of, neighbours
from weft.model.ids import SwitchName

Fabric = dict[SwitchName, SwitchConfig]
SPINES, LEAVES = 2, 3
RED, BLUE = 50001, 50002


def fabric() -> Fabric:
    """Two spines, three leaves; on each leaf two networks of red and one of blue, with the same addresses."""
    made: dict[str, list[FabricLink]] = {f"spine{n}": [] for n in range(SPINES)}
    made |= {f"leaf{n}": [] for n in range(LEAVES)}
    for leaf in range(LEAVES):
        for spine in range(SPINES):
            base = IPv4Address("10.254.0.0") + 2 * (leaf * SPINES + spine)
            ends = [(f"leaf{leaf}", 65101 + leaf, base), (f"spine{spine}", 65000, base + 1)]
            for (own, _, address), (peer, peer_asn, peer_address) in (ends, reversed(ends)):
                made[own].append(
                    FabricLink(
                        interface=f"to-{peer}",
                        address=IPv4Interface((address, 31)),
                        peer=peer,
                        peer_address=peer_address,
                        peer_asn=peer_asn,
                    )
                )
    configs = {}
    for number, (name, links) in enumerate(made.items()):
        asn = 65000 if name.startswith("spine") else 65101 + number - SPINES
        underlay = Underlay(asn=asn, loopback=IPv4Address("10.255.0.1") + number, links=tuple(links))
        config = SwitchConfig(name=SwitchName(name), underlay=underlay)
        configs[config.name] = config if name.startswith("spine") else tenants(config)
    return configs


def routed(vni: int, vrf: str, gateway: str) -> Segment:
    return Segment(vni=vni, vrf=vrf, gateways=(IPv4Interface(gateway),))


RED_SEGMENTS = (routed(101, "red", "10.0.1.1/24"), routed(102, "red", "10.0.2.1/24"))
BLUE_SEGMENT = routed(201, "blue", "10.0.1.1/24")


def tenants(leaf: SwitchConfig) -> SwitchConfig:
    return replace(
        leaf,
        vrfs=(Vrf(name="red", l3vni=RED), Vrf(name="blue", l3vni=BLUE)),
        segments=(
            routed(101, "red", "10.0.1.1/24"),
            routed(102, "red", "10.0.2.1/24"),
            routed(201, "blue", "10.0.1.1/24"),
        ),
        attachments=tuple(Attachment(interface="eth11", vlan=vni, vni=vni) for vni in (101, 102, 201)),
    )


def changed(configs: Fabric, name: str, **fields: object) -> Fabric:
    switch = SwitchName(name)
    return {**configs, switch: replace(configs[switch], **fields)}


def endpoints(configs: Fabric) -> list[Endpoint]:
    return [(name, attachment) for name, config in configs.items() for attachment in config.attachments]


def breaches(before: Fabric, after: Fabric) -> set[Breach]:
    return {finding.breach for finding in check_change(before, after)}


def test_a_right_fabric_has_nothing_wrong() -> None:
    assert check(fabric()) == []
    assert check_change(fabric(), fabric()) == []


def test_tenants_reach_their_own_everywhere_and_nobody_else() -> None:
    configs = fabric()
    islands = islands_of(configs)
    tenant = {101: "red", 102: "red", 201: "blue"}
    for one in endpoints(configs):
        for other in endpoints(configs):
            same = tenant[one[1].vni] == tenant[other[1].vni]
            assert (islands.of(one) == islands.of(other)) == same


def test_sessions_need_both_ends() -> None:
    configs = fabric()
    leaf = configs[SwitchName("leaf0")]
    assert leaf.underlay is not None
    wrong = changed(configs, "leaf0", underlay=replace(leaf.underlay, asn=65999))
    assert SwitchName("leaf0") not in neighbours(wrong)
    assert neighbours(configs)[SwitchName("leaf0")] == {SwitchName("spine0"), SwitchName("spine1")}


L3VNI = (Vrf(name="red", l3vni=RED), Vrf(name="blue", l3vni=RED))
MOVED = (RED_SEGMENTS[0], routed(102, "blue", "10.0.2.1/24"), BLUE_SEGMENT)
SHARED_VNI = (Attachment(interface="eth11", vlan=101, vni=201),)
OTHER_GATEWAY = (routed(101, "red", "10.0.1.254/24"), RED_SEGMENTS[1], BLUE_SEGMENT)
SAME_PREFIX = (routed(101, "red", "10.0.1.1/24"), routed(103, "red", "10.0.1.128/25"))


@pytest.mark.parametrize(
    ("fields", "breach", "told"),
    [
        ({"vrfs": L3VNI}, Breach.LEAK, "vrf blue and vrf red reach each other"),
        ({"segments": MOVED}, Breach.LEAK, "vrf blue and vrf red reach each other"),
        ({"segments": OTHER_GATEWAY}, Breach.CLASH, "vni 101 has other gateways on leaf1"),
        ({"segments": SAME_PREFIX}, Breach.CLASH, "vni 101 and vni 103 both have 10.0.1.128/25"),
        ({"gateway_mac": "00:00:5e:00:01:02"}, Breach.CLASH, "00:00:5e:00:01:02 on leaf1"),
        ({"underlay": None}, Breach.LOSS, "leaf1:eth11 vlan 101 (vni 101) would not reach each other any more"),
    ],
    ids=[
        "one L3VNI for two",
        "a network in another VRF",
        "another gateway",
        "a prefix twice",
        "gateway MAC",
        "cut off",
    ],
)
def test_a_wrong_plan_is_caught(fields: dict[str, object], breach: Breach, told: str) -> None:
    before = fabric()
    found = check_change(before, changed(before, "leaf1", **fields))
    assert any(finding.breach is breach and told in finding.text for finding in found), found


def test_a_vlan_that_is_given_to_another_tenant_is_no_loss_but_its_old_place_is_gone() -> None:
    before = fabric()
    assert breaches(before, changed(before, "leaf1", attachments=SHARED_VNI)) == set()


def test_what_was_wrong_before_is_not_held_against_the_change() -> None:
    wrong = changed(fabric(), "leaf1", vrfs=L3VNI)
    assert check(wrong)
    assert check_change(wrong, wrong) == []
    assert check_change(wrong, fabric()) == [], "and what only a leak made possible is no loss"


def test_a_network_that_goes_to_another_router_loses_nothing() -> None:
    before = fabric()
    after = before
    for leaf in range(LEAVES):
        after = changed(after, f"leaf{leaf}", segments=MOVED)
    assert breaches(before, after) == set()


def test_one_of_two_spines_may_go() -> None:
    before = fabric()
    spine = before[SwitchName("spine0")]
    assert spine.underlay is not None
    one = changed(before, "spine0", underlay=replace(spine.underlay, asn=64999))
    assert breaches(before, one) == set()
    both = changed(one, "spine1", underlay=None)
    assert breaches(before, both) == {Breach.LOSS}


@st.composite
def plans(draw: st.DrawFn) -> Fabric:
    """The fabric with tenants placed, and links taken away, at random."""
    configs = fabric()
    for name in list(configs):
        config = configs[name]
        assert config.underlay is not None
        links = tuple(link for link in config.underlay.links if draw(st.integers(0, 4)))
        config = replace(config, underlay=replace(config.underlay, links=links))
        if config.vrfs:
            vnis = draw(st.sets(st.sampled_from([101, 102, 201])))
            red = Vrf(name="red", l3vni=draw(st.sampled_from([RED, RED, RED, BLUE])))
            config = replace(
                config,
                segments=tuple(segment for segment in config.segments if segment.vni in vnis),
                attachments=tuple(each for each in config.attachments if each.vni in vnis),
                vrfs=(red, Vrf(name="blue", l3vni=BLUE)),
            )
        configs[name] = config
    return configs


def reached_by_walking(configs: Fabric, start: Endpoint) -> set[Endpoint]:
    """Another way to the same answer: walk frame by frame, packet by packet."""
    peers = neighbours(configs)

    def shore(switch: SwitchName) -> set[SwitchName]:
        seen, edge = {switch}, {switch}
        while edge:
            edge = {peer for each in edge for peer in peers.get(each, ())} - seen
            seen |= edge
        return seen

    places: set[tuple[SwitchName, int]] = set()
    edge = [(start[0], start[1].vni)]
    while edge:
        switch, vni = edge.pop()
        if (switch, vni) in places or vni not in {segment.vni for segment in configs[switch].segments}:
            continue
        places.add((switch, vni))
        segment = next(each for each in configs[switch].segments if each.vni == vni)
        l3vnis = {vrf.name: vrf.l3vni for vrf in configs[switch].vrfs}
        for other in shore(switch):
            edge.append((other, vni))
            l3 = {vrf.name for vrf in configs[other].vrfs if vrf.l3vni == l3vnis.get(str(segment.vrf))}
            edge += [(other, each.vni) for each in configs[other].segments if each.vrf in l3]
    return {(n, a) for n, c in configs.items() for a in c.attachments if (n, a.vni) in places}


@settings(max_examples=examples(150), deadline=None)
@given(configs=plans())
def test_islands_are_what_one_reaches_by_walking(configs: Fabric) -> None:
    islands = islands_of(configs)
    for start in endpoints(configs):
        here = {other for other in endpoints(configs) if islands.of(other) == islands.of(start)}
        assert here == reached_by_walking(configs, start)


@settings(max_examples=examples(150), deadline=None)
@given(before=plans(), after=plans())
def test_a_change_is_a_loss_if_and_only_if_some_pair_is_lost(before: Fabric, after: Fabric) -> None:
    def tenant(endpoint: Endpoint) -> object:
        vrfs = {segment.vni: segment.vrf for segment in after[endpoint[0]].segments}
        return vrfs.get(endpoint[1].vni, endpoint[1].vni)

    lost = any(
        tenant(one) == tenant(other)
        and other in reached_by_walking(before, one)
        and other not in reached_by_walking(after, one)
        for one in endpoints(before)
        if one in endpoints(after)
        for other in endpoints(before)
        if other in endpoints(after)
    )
    assert (Breach.LOSS in breaches(before, after)) == lost


def test_what_is_handed_over_one_sidedly_is_a_leak_and_a_prefix_in_two_places_a_clash() -> None:
    to_blue = Leak(l3vni=BLUE, prefixes=(ip_network("10.7.0.0/24"),))
    to_red = Leak(l3vni=RED, prefixes=(ip_network("10.8.0.0/24"),))
    red, blue = Vrf(name="red", l3vni=RED, leaks=(to_blue,)), Vrf(name="blue", l3vni=BLUE, leaks=(to_red,))
    configs = fabric()
    assert check(changed(configs, "leaf0", vrfs=(red, blue))) == []
    alone = changed(configs, "leaf0", vrfs=(red, replace(blue, leaks=())))
    assert [each.breach for each in check(alone)] == [Breach.LEAK]
    twice = replace(to_blue, prefixes=(ip_network("10.0.0.0/8"),))
    clashing = changed(configs, "leaf0", vrfs=(replace(red, leaks=(twice,)), blue))
    assert {each.breach for each in check(clashing)} == {Breach.CLASH}
