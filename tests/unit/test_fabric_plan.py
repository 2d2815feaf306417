"""Plans: they lead from any state to any other, in an order that a switch can follow, and read like a diff."""

from ipaddress import IPv4Address, IPv4Interface, ip_interface

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.thorough import examples

from weft.fabric.config import Attachment, FabricLink, ManagementSegment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.plan import (
    AddAttachment,
    AddSegment,
    AddVrf,
    ChangeSegment,
    ChangeUnderlay,
    ChangeVrf,
    RemoveAttachment,
    RemoveSegment,
    RemoveVrf,
    SetUnderlay,
    SwitchPlan,
    encode,
    plan,
)
from weft.model.ids import SwitchName

LEAF1 = SwitchName("leaf1")
UPLINK = FabricLink(
    interface="eth1",
    address=IPv4Interface("10.254.0.0/31"),
    peer="spine1",
    peer_address=IPv4Address("10.254.0.1"),
    peer_asn=65000,
)
SECOND = FabricLink(
    interface="eth2",
    address=IPv4Interface("10.254.0.2/31"),
    peer="spine2",
    peer_address=IPv4Address("10.254.0.3"),
    peer_asn=65000,
)
UNDERLAY = Underlay(
    asn=65101,
    loopback=IPv4Address("10.255.0.3"),
    links=(UPLINK,),
    management=ManagementSegment(gateway=IPv4Interface("172.31.0.1/24"), interfaces=("eth11", "eth12")),
)
BLANK = SwitchConfig(name=LEAF1, underlay=None)
READY = SwitchConfig(name=LEAF1, underlay=UNDERLAY)


def segment(vni: int, vrf: str | None = None, *gateways: str, mtu: int = 1500) -> Segment:
    return Segment(vni=vni, vrf=vrf, gateways=tuple(ip_interface(g) for g in gateways), mtu_bytes=mtu)


def attach(interface: str, vlan: int, vni: int) -> Attachment:
    return Attachment(interface=interface, vlan=vlan, vni=vni)


RED = Vrf(name="v50001", l3vni=50001)
WEB = replace(
    READY,
    vrfs=(RED,),
    segments=(segment(10001, "v50001", "10.0.1.1/24", "2001:db8::1/64"),),
    attachments=(attach("eth11", 100, 10001), attach("eth12", 100, 10001)),
)


def test_equal_states_need_nothing() -> None:
    assert not plan(WEB, WEB)
    assert str(plan(WEB, WEB)) == "switch leaf1: nothing to do"


def test_a_new_switch_reads_like_this() -> None:
    def why(step: object) -> str:
        return "port web-1 on node1" if isinstance(step, AddSegment | AddAttachment) else ""

    assert str(plan(BLANK, WEB, why)) == "\n".join(
        [
            "switch leaf1:",
            "  + underlay asn 65101 loopback 10.255.0.3 mtu 9216",
            "  + link eth1 10.254.0.0/31 to spine1 10.254.0.1 asn 65000",
            "  + management 172.31.0.1/24 on eth11 eth12",
            "  + vrf v50001 l3vni 50001",
            "  + vni 10001 gateway 10.0.1.1/24 gateway 2001:db8::1/64 vrf v50001 mtu 1500  (port web-1 on node1)",
            "  + eth11 vlan 100 vni 10001                                                  (port web-1 on node1)",
            "  + eth12 vlan 100 vni 10001                                                  (port web-1 on node1)",
        ]
    )


def test_removal_is_in_reverse() -> None:
    assert plan(WEB, READY).steps == (
        RemoveAttachment(attach("eth11", 100, 10001)),
        RemoveAttachment(attach("eth12", 100, 10001)),
        RemoveSegment(WEB.segments[0]),
        RemoveVrf(RED),
    )


def test_additions_come_before_removals() -> None:
    other = replace(
        READY,
        vrfs=(Vrf(name="v50002", l3vni=50002),),
        segments=(segment(10002, "v50002", "10.0.1.1/24"),),
        attachments=(attach("eth11", 101, 10002),),
    )
    steps = [type(step) for step in plan(WEB, other).steps]
    assert steps == [
        AddVrf,
        AddSegment,
        AddAttachment,
        RemoveAttachment,
        RemoveAttachment,
        RemoveSegment,
        RemoveVrf,
    ]


def test_an_attached_router_changes_the_segment_in_place() -> None:
    bare = replace(WEB, vrfs=(), segments=(segment(10001),))
    assert plan(bare, WEB).steps == (AddVrf(RED), ChangeSegment(bare.segments[0], WEB.segments[0]))
    assert plan(WEB, bare).lines() == [
        "- vni 10001 gateway 10.0.1.1/24 gateway 2001:db8::1/64 vrf v50001 mtu 1500",
        "+ vni 10001 mtu 1500",
        "- vrf v50001 l3vni 50001",
    ]


def test_a_vlan_that_changes_hands_is_freed_on_every_interface_first() -> None:
    old = replace(READY, segments=(segment(10001),), attachments=(attach("eth11", 100, 10001),))
    new = replace(READY, segments=(segment(10002),), attachments=(attach("eth12", 100, 10002),))
    assert plan(old, new).steps == (
        RemoveAttachment(attach("eth11", 100, 10001)),
        AddSegment(segment(10002)),
        AddAttachment(attach("eth12", 100, 10002)),
        RemoveSegment(segment(10001)),
    )


def test_untagged_frames_change_hands_on_their_own_interface_only() -> None:
    old = replace(READY, segments=(segment(10001),), attachments=(attach("eth13", 0, 10001), attach("eth14", 0, 10001)))
    new = replace(READY, segments=(segment(10002),), attachments=(attach("eth13", 0, 10002),))
    assert plan(old, new).steps == (
        RemoveAttachment(attach("eth13", 0, 10001)),
        AddSegment(segment(10002)),
        AddAttachment(attach("eth13", 0, 10002)),
        RemoveAttachment(attach("eth14", 0, 10001)),
        RemoveSegment(segment(10001)),
    )


def test_a_gateway_prefix_that_changes_hands_leaves_its_old_segment_first() -> None:
    old = replace(
        READY,
        vrfs=(RED,),
        segments=(segment(10001, "v50001", "10.0.1.1/24"),),
        attachments=(attach("eth11", 100, 10001),),
    )
    new = replace(
        READY,
        vrfs=(RED,),
        segments=(segment(10002, "v50001", "10.0.1.1/25"),),
        attachments=(attach("eth11", 101, 10002),),
    )
    assert [type(step) for step in plan(old, new).steps] == [
        RemoveAttachment,
        RemoveSegment,
        AddSegment,
        AddAttachment,
    ]


def test_the_same_prefix_in_another_vrf_is_no_hurry() -> None:
    old = replace(READY, vrfs=(RED,), segments=(segment(10001, "v50001", "10.0.1.1/24"),))
    blue = Vrf(name="v50002", l3vni=50002)
    new = replace(READY, vrfs=(RED, blue), segments=(segment(10002, "v50002", "10.0.1.1/24"),))
    assert [type(step) for step in plan(old, new).steps] == [AddVrf, AddSegment, RemoveSegment]


def test_an_underlay_change_shows_only_what_differs() -> None:
    more = replace(READY, underlay=replace(UNDERLAY, links=(UPLINK, SECOND)))
    change = plan(READY, more)
    assert change.steps == (ChangeUnderlay(UNDERLAY, more.underlay),)  # type: ignore[arg-type]
    assert change.lines() == ["+ link eth2 10.254.0.2/31 to spine2 10.254.0.3 asn 65000"]


def test_a_vrf_with_a_foreign_l3vni_is_corrected() -> None:
    wrong = replace(READY, vrfs=(Vrf(name="v50001", l3vni=7),))
    assert plan(wrong, replace(READY, vrfs=(RED,))).steps == (ChangeVrf(Vrf(name="v50001", l3vni=7), RED),)


def test_the_gateway_mac_is_of_no_account_without_a_gateway() -> None:
    other = "00:00:5e:00:01:02"
    assert not plan(replace(READY, gateway_mac=other), READY)
    assert plan(WEB, replace(READY, gateway_mac=other)).steps == plan(WEB, READY).steps
    assert plan(replace(WEB, gateway_mac=other), WEB).lines() == [
        f"- gateway mac {other}",
        f"+ gateway mac {WEB.gateway_mac}",
    ]


def test_the_wire_form() -> None:
    wire = encode(plan(READY, replace(READY, segments=(segment(10001),)), lambda _: "port web-1 on node1"))
    assert wire == {
        "switch": "leaf1",
        "steps": [
            {
                "op": "add",
                "noun": "segment",
                "before": [],
                "after": ["vni 10001 mtu 1500"],
                "reason": "port web-1 on node1",
            }
        ],
        "text": "switch leaf1:\n  + vni 10001 mtu 1500  (port web-1 on node1)",
    }


gateways = st.sampled_from(["10.0.1.1/24", "10.0.2.1/24", "10.0.1.1/25", "2001:db8::1/64"])
interfaces = st.sampled_from(["eth11", "eth12", "eth13"])


@st.composite
def configs(draw: st.DrawFn) -> SwitchConfig:
    """Any state that a switch can be in: attachments lead to segments that exist, segments to VRFs that exist."""
    underlay = draw(st.sampled_from([None, UNDERLAY, replace(UNDERLAY, links=(UPLINK, SECOND))]))
    numbers = draw(st.sets(st.integers(1, 3)))
    vrfs = tuple(Vrf(name=f"v{n}", l3vni=50000 + n + 10 * draw(st.integers(0, 1))) for n in sorted(numbers))
    segments = []
    for vni in sorted(draw(st.sets(st.integers(10001, 10004)))):
        vrf = draw(st.none() | st.sampled_from(vrfs)) if vrfs else None
        own = draw(st.sets(gateways, max_size=2)) if vrf else set()
        segments.append(segment(vni, vrf.name if vrf else None, *sorted(own), mtu=draw(st.sampled_from([1500, 1450]))))
    places = (
        draw(st.dictionaries(st.tuples(interfaces, st.integers(0, 3)), st.sampled_from(segments))) if segments else {}
    )
    attachments = tuple(sorted(attach(i, vlan, target.vni) for (i, vlan), target in places.items()))
    mac = draw(st.sampled_from(["00:00:5e:00:01:01", "00:00:5e:00:01:02"]))
    return SwitchConfig(
        name=LEAF1, underlay=underlay, vrfs=vrfs, segments=tuple(segments), attachments=attachments, gateway_mac=mac
    )


def check_dependencies(config: SwitchConfig) -> None:
    vrfs, vnis = {vrf.name for vrf in config.vrfs}, {s.vni for s in config.segments}
    assert all(s.vrf is None or s.vrf in vrfs for s in config.segments)
    assert all(a.vni in vnis for a in config.attachments)
    places = [(a.interface, a.vlan) for a in config.attachments]
    assert len(set(places)) == len(places)


@given(configs(), configs())
@settings(deadline=None, max_examples=examples(300))
def test_a_plan_leads_there_and_every_step_on_the_way_is_a_state_that_a_switch_can_be_in(
    observed: SwitchConfig, desired: SwitchConfig
) -> None:
    if desired.underlay is None:
        desired = replace(desired, underlay=UNDERLAY)
    state = observed
    for step in plan(observed, desired).steps:
        state = step.made(state)
        check_dependencies(state)
        assert step.made(state) == state
    assert replace(state, gateway_mac=desired.gateway_mac) == desired
    assert state.gateway_mac == desired.gateway_mac or not any(s.gateways for s in desired.segments)
    assert not plan(state, desired)


@given(configs(), configs(), st.data())
@settings(deadline=None)
def test_a_plan_that_broke_off_is_taken_up_again(
    observed: SwitchConfig, desired: SwitchConfig, data: st.DataObject
) -> None:
    desired = replace(desired, underlay=UNDERLAY)
    first = plan(observed, desired)
    state = observed
    for step in first.steps[: data.draw(st.integers(0, len(first.steps)))]:
        state = step.made(state)
    for step in plan(state, desired).steps:
        state = step.made(state)
    assert not plan(state, desired)


def test_an_empty_plan_is_false() -> None:
    assert not SwitchPlan(switch=LEAF1)
    assert SwitchPlan(switch=LEAF1, steps=(SetUnderlay(UNDERLAY),), reasons=("",))
