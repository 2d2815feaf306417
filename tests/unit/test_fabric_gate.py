"""The gate: what a switch may be made by itself, and what waits for a human."""

from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.thorough import examples

from weft.fabric.config import Attachment, FabricLink, ManagementSegment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.gate import MUCH, Approval, Hold, admit, foundation
from weft.fabric.limits import Overflow, Resource
from weft.fabric.plan import plan
from weft.model.ids import SwitchName
from weft.model.inventory import Safety

LEAF1 = SwitchName("leaf1")


def link(number: int, peer: str = "spine1") -> FabricLink:
    return FabricLink(
        interface=f"eth{number}",
        address=IPv4Interface(f"10.254.0.{2 * number}/31"),
        peer=peer,
        peer_address=IPv4Address(f"10.254.0.{2 * number + 1}"),
        peer_asn=65000,
    )


UNDERLAY = Underlay(
    asn=65101,
    loopback=IPv4Address("10.255.0.3"),
    links=(link(1), link(2, "spine2")),
    management=ManagementSegment(gateway=IPv4Interface("172.31.0.1/24"), interfaces=("eth11",)),
)
BLANK = SwitchConfig(name=LEAF1, underlay=None)
READY = SwitchConfig(name=LEAF1, underlay=UNDERLAY)
OTHER = replace(UNDERLAY, mtu_bytes=1500)
WEB = replace(
    READY,
    vrfs=(Vrf(name="v50001", l3vni=50001),),
    segments=(Segment(vni=10001, vrf="v50001", gateways=(IPv4Interface("10.0.1.1/24"),)),),
    attachments=(Attachment(interface="eth11", vlan=100, vni=10001),),
)


def approved(config: SwitchConfig, *, unbounded: bool = False, rolled_back: bool = False) -> Approval:
    return Approval(switch=LEAF1, ground=foundation(config), unbounded=unbounded, rolled_back=rolled_back, reason="why")


def holds(observed: SwitchConfig, desired: SwitchConfig, approval: Approval | None = None) -> list[Hold]:
    return [held.hold for held in admit(observed, desired, approval=approval).held]


def test_a_switch_with_nothing_on_it_is_configured_whole_and_its_foundation_is_noted() -> None:
    admitted = admit(BLANK, WEB)
    assert (admitted.config, admitted.held) == (WEB, ())
    assert admitted.approves == foundation(WEB)
    assert admit(BLANK, WEB, approval=approved(WEB)).approves is None


def test_ports_go_on_while_the_foundation_waits() -> None:
    admitted = admit(READY, replace(WEB, underlay=OTHER), approval=approved(READY))
    assert admitted.config == WEB
    (held,) = admitted.held
    assert held.hold is Hold.FOUNDATION
    assert held.reason.startswith("waits for `weft fabric apply`: - underlay asn 65101 loopback 10.255.0.3 mtu 9216;")
    assert "+ underlay asn 65101 loopback 10.255.0.3 mtu 1500" in held.reason


def test_an_approval_opens_for_just_the_foundation_that_it_names() -> None:
    wanted = replace(WEB, underlay=OTHER)
    assert admit(READY, wanted, approval=approved(wanted)).config == wanted
    third = replace(WEB, underlay=replace(OTHER, mtu_bytes=4000))
    assert holds(READY, third, approved(wanted)) == [Hold.FOUNDATION]


def test_the_gateways_mac_address_is_part_of_the_foundation() -> None:
    wanted = replace(WEB, gateway_mac="00:00:5e:00:01:02")
    assert admit(WEB, wanted, approval=approved(WEB)).config == WEB
    assert admit(WEB, wanted, approval=approved(wanted)).config == wanted


def test_a_node_that_is_plugged_in_waits_for_nobody() -> None:
    assert UNDERLAY.management is not None
    more = replace(UNDERLAY.management, interfaces=("eth11", "eth12"))
    wanted = replace(WEB, underlay=replace(UNDERLAY, management=more))
    assert admit(WEB, wanted, approval=approved(WEB)).config == wanted
    held_back = admit(WEB, replace(wanted, underlay=replace(OTHER, management=more)), approval=approved(WEB))
    assert held_back.config == wanted, "and comes on the old foundation, too"


def test_what_was_rolled_back_stays_back() -> None:
    wanted = replace(WEB, underlay=OTHER)
    approval = approved(READY, rolled_back=True)
    assert holds(wanted, wanted, approval) == [Hold.ROLLED_BACK]
    assert admit(wanted, wanted, approval=approval).config == WEB


def test_one_that_was_replaced_empty_while_another_foundation_waits_is_built_on_what_it_may_have() -> None:
    admitted = admit(BLANK, replace(WEB, underlay=OTHER), approval=approved(READY))
    assert admitted.config == WEB
    assert [held.hold for held in admitted.held] == [Hold.FOUNDATION]


def many(count: int, first: int = 0) -> tuple[Attachment, ...]:
    return tuple(sorted(Attachment(interface="eth11", vlan=100 + n, vni=10000 + n) for n in range(first, count)))


def crowded(count: int) -> SwitchConfig:
    return replace(READY, segments=tuple(Segment(vni=10000 + n) for n in range(count)), attachments=many(count))


def test_much_that_would_go_at_once_waits_and_nothing_of_it_goes() -> None:
    full = crowded(4 * MUCH)
    admitted = admit(full, READY)
    assert [held.hold for held in admitted.held] == [Hold.REMOVAL]
    assert admitted.config == full
    assert "80 of its 80 attachments, more than 50 per cent" in admitted.held[0].reason
    assert admit(full, READY, approval=approved(READY, unbounded=True)).config == READY


def test_what_is_few_or_a_small_share_goes() -> None:
    assert admit(crowded(MUCH), READY).config == READY
    full = crowded(4 * MUCH)
    half = replace(full, attachments=many(4 * MUCH, 2 * MUCH))
    assert admit(full, half).config == half
    assert [held.hold for held in admit(full, half, safety=Safety(max_removed=10)).held] == [Hold.REMOVAL]


def test_while_a_removal_waits_what_comes_goes_on() -> None:
    full = crowded(4 * MUCH)
    new = Attachment(interface="eth12", vlan=999, vni=20000)
    wanted = replace(READY, segments=(Segment(vni=20000),), attachments=(new,))
    config = admit(full, wanted).config
    assert new in config.attachments
    assert set(full.attachments) < set(config.attachments)


def test_a_removal_waits_as_well_when_as_much_has_come_as_would_go() -> None:
    full = crowded(4 * MUCH)
    others = replace(
        READY,
        segments=tuple(Segment(vni=20000 + n) for n in range(8 * MUCH)),
        attachments=tuple(Attachment(interface="eth12", vlan=1000 + n, vni=20000 + n) for n in range(8 * MUCH)),
    )
    first = admit(full, others)
    assert first.held[0].reason.endswith("; 81 new ones wait, too, or it would be less")
    second = admit(first.config, others)
    assert second.config == first.config
    assert [held.hold for held in second.held] == [Hold.REMOVAL]
    assert set(full.attachments) < set(first.config.attachments)
    assert admit(first.config, others, approval=approved(READY, unbounded=True)).config == others


def test_a_vlan_that_would_mean_something_else_does_not_come_while_the_old_one_stays() -> None:
    full = crowded(4 * MUCH)
    other = Attachment(interface="eth12", vlan=100, vni=20000)
    config = admit(full, replace(READY, segments=(Segment(vni=20000),), attachments=(other,))).config
    assert other not in config.attachments


def test_what_the_hardware_could_not_hold_does_not_come_but_what_goes_goes() -> None:
    over = Overflow(switch=LEAF1, resource=Resource.VRFS, needed=2, limit=1)
    second = replace(WEB, vrfs=(Vrf(name="v50002", l3vni=50002),), segments=(Segment(vni=1),), attachments=())
    admitted = admit(WEB, second, overflowing=[over])
    assert [held.hold for held in admitted.held] == [Hold.LIMIT]
    assert (admitted.config.vrfs, admitted.config.segments, admitted.config.attachments) == ((), (), ())
    assert "holds 1" in admitted.held[0].reason
    assert admit(WEB, second, approval=approved(WEB, unbounded=True), overflowing=[over]).config == second


def test_drift_that_is_kept_stays_and_all_else_goes_on() -> None:
    changed = Segment(vni=10001, vrf="v50001", gateways=(IPv4Interface("10.0.1.254/24"),))
    by_hand = replace(WEB, segments=(changed,))
    more = replace(WEB, attachments=(*WEB.attachments, Attachment(interface="eth12", vlan=100, vni=10001)))
    admitted = admit(by_hand, more, kept=[("vni", 10001)])
    assert admitted.config == replace(more, segments=(changed,))
    assert [held.hold for held in admitted.held] == [Hold.DRIFT]
    assert "10.0.1.254/24" in admitted.held[0].reason


def test_drift_that_is_no_difference_any_more_is_not_held() -> None:
    assert admit(WEB, WEB, kept=[("vni", 10001)]).held == ()


def test_drift_that_is_escalated_stops_everything() -> None:
    by_hand = replace(WEB, segments=())
    admitted = admit(by_hand, WEB, kept=[("vni", 10001)], escalates=True)
    assert admitted.config == by_hand
    assert [held.hold for held in admitted.held] == [Hold.ESCALATED]


configs = st.builds(
    lambda mtu, mac, vnis, vlans: SwitchConfig(
        name=LEAF1,
        underlay=None if mtu is None else replace(UNDERLAY, mtu_bytes=mtu),
        gateway_mac=mac,
        segments=tuple(Segment(vni=vni) for vni in sorted(vnis)),
        attachments=tuple(sorted(Attachment(interface="eth11", vlan=vlan, vni=vni) for vlan, vni in vlans.items())),
    ),
    st.sampled_from([None, 1500, 9216]),
    st.sampled_from(["00:00:5e:00:01:01", "00:00:5e:00:01:02"]),
    st.sets(st.integers(1, 60)),
    st.dictionaries(st.integers(1, 60), st.integers(1, 60)),
)


@settings(max_examples=examples(300))
@given(observed=configs, desired=configs.filter(lambda config: config.underlay is not None))
def test_what_is_admitted_is_safe_stable_and_complete_once_approved(
    observed: SwitchConfig, desired: SwitchConfig
) -> None:
    admitted = admit(observed, desired)
    here, there = foundation(observed), foundation(admitted.config)
    assert here is None or there == here or admitted.approves is not None
    assert (admitted.config == desired) == (not admitted.held)
    # Made so, nothing more would be done, and the same would wait.
    again = admit(admitted.config, desired)
    assert not plan(admitted.config, again.config)
    assert {held.hold for held in again.held} == {held.hold for held in admitted.held}
    assert admit(observed, desired, approval=approved(desired, unbounded=True)).config == desired
