"""Links of a switch in both layouts: what is wanted is read back as what it means, and leads from any state to any."""

import ipaddress
from collections.abc import Sequence

import pytest
from frr_kernel import SmallKernel
from frr_samples import leaf
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from weft.fabric.config import Attachment, Segment, SwitchConfig
from weft.fabric.dialects import frr
from weft.model.errors import Permanent
from weft.switches.frr.changes import link_changes
from weft.switches.frr.driver import Layout
from weft.switches.frr.kernel import Kernel
from weft.switches.frr.netns import NetnsLayout, far_end, near_end
from weft.switches.frr.vrf import VrfLayout
from weft.switches.remainders import without_remainders

LAYOUTS = [NetnsLayout(), VrfLayout()]
by_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def carrying(
    networks: Sequence[int],
    *,
    vrfs: Sequence[int] = (50001, 50002),
    shift: int = 0,
    metal: int | None = None,
    mtu: int = 1500,
    peered: Sequence[tuple[int, int]] = (),
) -> SwitchConfig:
    """Return a leaf with networks by number: odd ones routed in a VRF, each with a tag on two cables; one untagged."""
    segments, attachments = [], []
    for number in networks:
        routed = number % 4 != 0
        vrf = f"v{vrfs[number % len(vrfs)]}" if routed and vrfs else None
        gateways = (ipaddress.ip_interface(f"10.0.{number}.1/24"), ipaddress.ip_interface(f"fd00:{number}::1/64"))
        segments.append(Segment(vni=10000 + number, vrf=vrf, gateways=gateways if vrf else (), mtu_bytes=mtu))
        tags = [("eth12", 100 + number + shift), ("eth11", 100 + number + shift)]
        attachments += [Attachment(interface=name, vlan=vlan, vni=10000 + number) for name, vlan in tags]
    if metal is not None and metal in networks:
        attachments.append(Attachment(interface="eth13", vlan=0, vni=10000 + metal))
    return replace(
        leaf(vrfs=vrfs, peered=peered),
        segments=tuple(sorted(segments, key=lambda each: each.vni)),
        attachments=tuple(sorted(attachments)),
    )


CONFIGS = st.builds(
    carrying,
    networks=st.sets(st.integers(1, 9)).map(sorted),
    vrfs=st.sets(st.sampled_from([50001, 50002, 50003])).map(sorted),
    shift=st.sampled_from([0, 1, 20]),
    metal=st.sampled_from([None, 3, 4]),
    mtu=st.sampled_from([1500, 8950]),
    peered=st.sets(st.sampled_from([(50001, 50002), (50002, 50003)])).map(sorted),
)


def taken(layout: Layout, kernel: SmallKernel, before: Kernel, config: SwitchConfig) -> Kernel:
    """Take a kernel to a configuration, and return what is then read from it."""
    wanted = layout.wanted(config, before)
    kernel.take(link_changes(before.links, wanted.links, before.closed_tables), wanted.spaces)
    return kernel.seen(wanted, config)


def read(layout: Layout, kernel: Kernel, config: SwitchConfig) -> SwitchConfig:
    return layout.read(kernel, frr.read(frr.render(config)), config)


@by_layout
@settings(deadline=None)
@given(one=CONFIGS, other=CONFIGS)
def test_any_state_leads_to_any_other(layout: Layout, one: SwitchConfig, other: SwitchConfig) -> None:
    kernel = SmallKernel()
    before = Kernel(links=dict(kernel.links))
    for config in (one, other):
        seen = taken(layout, kernel, before, config)
        assert read(layout, seen, config) == config
        assert not link_changes(seen.links, layout.wanted(config, seen).links)
        before = seen


@by_layout
@settings(deadline=None)
@given(config=CONFIGS)
def test_nothing_is_left_of_what_is_taken_away(layout: Layout, config: SwitchConfig) -> None:
    kernel = SmallKernel()
    bare = replace(leaf(), underlay=replace(leaf().underlay, management=None))  # type: ignore[type-var]
    empty = taken(layout, kernel, Kernel(links=dict(kernel.links)), bare)
    full = taken(layout, kernel, empty, config)
    assert taken(layout, kernel, full, bare).links == dict(empty.links) | {
        where: link for where, link in full.links.items() if where[0] and where[1] == "lo"
    }


@by_layout
@settings(deadline=None)
@given(config=CONFIGS)
def test_every_lost_link_shows_and_is_made_again(layout: Layout, config: SwitchConfig) -> None:
    kernel = SmallKernel()
    whole = taken(layout, kernel, Kernel(links=dict(kernel.links)), config)
    for where, link in whole.links.items():
        if link.is_marked:
            less = replace(whole, links={other: each for other, each in whole.links.items() if other != where})
            assert read(layout, less, config) != config, f"{where} is lost and does not show"
            assert link_changes(less.links, layout.wanted(config, less).links)


@by_layout
@pytest.mark.parametrize("damage", [{"up": False}, {"mtu_bytes": 1400}, {"master": ""}, {"learning": True}])
def test_a_damaged_vxlan_shows(layout: Layout, damage: dict[str, object]) -> None:
    config = carrying([1])
    kernel = SmallKernel()
    whole = taken(layout, kernel, Kernel(links=dict(kernel.links)), config)
    where = next(where for where, link in whole.links.items() if link.name == "vx10001")
    less = replace(whole, links={**whole.links, where: replace(whole.links[where], **damage)})  # type: ignore[arg-type]
    assert read(layout, less, config) != config
    assert link_changes(less.links, layout.wanted(config, less).links)


def test_a_vrf_that_is_open_shows_and_is_closed() -> None:
    config = carrying([1])
    kernel = SmallKernel()
    whole = taken(VrfLayout(), kernel, Kernel(links=dict(kernel.links)), config)
    kernel.closed.clear()
    opened = replace(whole, closed_tables=frozenset())
    assert read(VrfLayout(), opened, config) != config
    again = taken(VrfLayout(), kernel, opened, config)
    assert read(VrfLayout(), again, config) == config
    assert {where: link.ifindex for where, link in again.links.items()} == {
        where: link.ifindex for where, link in whole.links.items()
    }, "and no link is made anew for it"


@by_layout
def test_what_zebra_has_not_taken_up_shows(layout: Layout) -> None:
    config = carrying([1])
    kernel = SmallKernel()
    whole = taken(layout, kernel, Kernel(links=dict(kernel.links)), config)
    assert not layout.unsettled(whole)
    for known in ({}, {**whole.known_vnis, 10001: "default"}):
        less = replace(whole, known_vnis=known)
        assert 10001 in layout.unsettled(less)
        assert [segment.mtu_bytes for segment in read(layout, less, config).segments] == [0]


def test_lost_handoffs_show() -> None:
    layout, config, kernel = NetnsLayout(), carrying([1], metal=1), SmallKernel()
    whole = taken(layout, kernel, Kernel(links=dict(kernel.links)), config)
    for key in whole.handoffs.entries:
        entries = {other: value for other, value in whole.handoffs.entries.items() if other != key}
        less = replace(whole, handoffs=replace(whole.handoffs, entries=entries))
        assert read(layout, less, config) != config, f"the entry of {key} is lost and does not show"
    for name in whole.handoffs.programs:
        programs = {other: value for other, value in whole.handoffs.programs.items() if other != name}
        less = replace(whole, handoffs=replace(whole.handoffs, programs=programs))
        assert read(layout, less, config) != config, f"the filter of {name} is lost and does not show"


@by_layout
def test_unknown_interface_is_named(layout: Layout) -> None:
    kernel = SmallKernel()
    config = carrying([1])
    config = replace(config, attachments=(Attachment(interface="eth99", vlan=101, vni=10001),))
    before = Kernel(links=dict(kernel.links))
    with pytest.raises(Permanent, match="no interface eth99; it has eth1, eth11"):
        link_changes(before.links, layout.wanted(config, before).links)


def test_vlan_of_two_networks_is_refused_where_a_bridge_has_one() -> None:
    twice = (Attachment(interface="eth11", vlan=101, vni=10001), Attachment(interface="eth12", vlan=101, vni=10002))
    with pytest.raises(Permanent, match="several VNIs"):
        VrfLayout().wanted(replace(carrying([1, 2]), attachments=twice), Kernel(links={}))


def test_inner_vlans_stay_when_others_come_and_go() -> None:
    layout, kernel = VrfLayout(), SmallKernel()
    before = taken(layout, kernel, Kernel(links=dict(kernel.links)), carrying([1, 3], metal=3))
    after = taken(layout, kernel, before, carrying([1, 2, 3, 5], vrfs=(50000, 50001, 50002)))
    vlans = {name: before.links["", name].vlans for name in ("l3vx50001", "l3vx50002")}
    assert {name: after.links["", name].vlans for name in vlans} == vlans


@pytest.mark.parametrize(("interface", "vlan"), [("eth11", 100), ("eth13", 0), ("enp129s0f1np1d1", 4093)])
def test_names_of_veth_ends_fit(interface: str, vlan: int) -> None:
    assert len(far_end(interface, vlan)) <= 15
    assert near_end(interface, vlan) != far_end(interface, vlan)


def test_remainders_are_no_target() -> None:
    config = carrying([1, 2])
    assert without_remainders(config, config) == config
    broken = replace(
        config,
        vrfs=tuple(replace(vrf, l3vni=0) if vrf.name == "v50001" else vrf for vrf in config.vrfs),
        underlay=replace(config.underlay, mtu_bytes=0),  # type: ignore[type-var]
    )
    target = without_remainders(broken, config)
    assert [vrf.name for vrf in target.vrfs] == ["v50002"]
    assert {segment.vrf for segment in target.segments} == {"v50002"}
    assert {attachment.vni for attachment in target.attachments} == {segment.vni for segment in target.segments}
    assert target.underlay == config.underlay
