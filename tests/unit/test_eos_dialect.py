"""EOS: what is written, what is read of it, and what leads from one configuration to another."""

import os
from copy import deepcopy
from pathlib import Path

import pytest
from eapi_switch import FACTORY, Candidate
from eos_samples import as_eos
from frr_samples import leaf, link
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_frr_kernel import CONFIGS, carrying

from weft.fabric.config import SwitchConfig
from weft.fabric.dialects import eos, eos_reading
from weft.fabric.dialects.frr_text import Tree, parse, paths
from weft.model.errors import Permanent

FOLDER = Path(__file__).with_name("eos")
REWRITE = "WEFT_REWRITE_EOS_FILES"
"""Set it to write the files anew; then read what git says has changed."""

EOS_CONFIGS = CONFIGS.map(lambda config: as_eos(replace(config, vrfs=tuple(replace(v, leaks=()) for v in config.vrfs))))
EMPTY = as_eos(leaf(links=(1, 2)))
LEAF = as_eos(carrying([1, 2, 3, 4], metal=3))
SPINE = replace(EMPTY, underlay=replace(EMPTY.underlay, management=None))
CASES: dict[str, tuple[SwitchConfig | None, SwitchConfig]] = {
    "fresh": (None, EMPTY),
    "first_networks": (EMPTY, LEAF),
    "network_removed": (LEAF, as_eos(carrying([1, 2, 4]))),
    "vrf_changed": (as_eos(carrying([1, 2], vrfs=(50001,))), as_eos(carrying([1, 2], vrfs=(50002,)))),
    "link_added": (LEAF, replace(LEAF, underlay=as_eos(leaf(links=(1, 2, 3))).underlay)),
    "spine": (None, SPINE),
}


def rendered(config: SwitchConfig, running: Tree) -> Tree:
    return eos.render(config, eos.segment_vlans(config, eos_reading.read(running, config).vlans))


def taken(running: Tree, config: SwitchConfig) -> Tree:
    """Return what a switch has once it was taken to a configuration."""
    candidate = Candidate(deepcopy(running))
    for line in eos.patch(running, rendered(config, running)):
        candidate.type(line)
    return candidate.tree


def factory() -> Tree:
    return parse(FACTORY)


@pytest.mark.parametrize("name", CASES)
def test_before_after_patch(name: str) -> None:
    before_config, config = CASES[name]
    before = taken(factory(), before_config) if before_config is not None else factory()
    desired = rendered(config, before)
    _is_as_written(f"{name}.before", eos.text(before))
    _is_as_written(f"{name}.after", eos.text(desired))
    _is_as_written(f"{name}.patch", "".join(f"{line}\n" for line in eos.patch(before, desired)))


@given(EOS_CONFIGS, EOS_CONFIGS)
@settings(deadline=None)
def test_every_state_leads_to_every_other_and_leaves_what_is_not_ours(one: SwitchConfig, other: SwitchConfig) -> None:
    there = taken(taken(factory(), one), other)
    reading = eos_reading.read(there, other)
    assert reading.drift == ()
    assert replace(reading.config, gateway_mac=other.gateway_mac) == other
    assert eos.patch(there, rendered(other, there)) == []
    for path in paths(factory()):
        tree = there
        for line in path:
            assert line in tree, f"{path} was somebody else's"
            tree = tree[line]


@given(EOS_CONFIGS, st.data())
@settings(deadline=None)
def test_every_lost_line_shows_and_is_typed_again(config: SwitchConfig, data: st.DataObject) -> None:
    there = taken(factory(), config)
    lost = data.draw(st.sampled_from(list(paths(rendered(config, there)))))
    damaged = deepcopy(there)
    block = damaged
    for line in lost[:-1]:
        block = block[line]
    del block[lost[-1]]
    reading = eos_reading.read(damaged, config)
    assert reading.config != config, lost
    repaired = taken(damaged, config)
    assert eos_reading.read(repaired, config).config == eos_reading.read(there, config).config


@pytest.mark.parametrize(
    ("block", "line", "seen"),
    [
        ("router bgp 65101", "neighbor 10.254.0.2 shutdown", "link"),
        ("router bgp 65101", "neighbor 1.2.3.4 remote-as 7", "underlay"),
        ("interface Ethernet11", "shutdown", "attachment"),
        ("interface Vlan101", "shutdown", "segment"),
        ("interface Vxlan1", "vxlan vlan 999 vni 999", "segment"),
    ],
)
def test_a_line_too_much_is_drift_where_it_stands(block: str, line: str, seen: str) -> None:
    running = taken(factory(), LEAF)
    running[block][line] = {}
    reading = eos_reading.read(running, LEAF)
    config = reading.config
    assert config.underlay is not None
    broken = {
        "link": any(link.peer_asn == 0 for link in config.underlay.links),
        "underlay": config.underlay.mtu_bytes == 0,
        "attachment": any(each.vni == 0 for each in config.attachments),
        "segment": any(each.mtu_bytes == 0 for each in config.segments),
    }
    assert [name for name, is_broken in broken.items() if is_broken] == [seen]
    assert reading.drift
    assert not eos_reading.read(taken(running, LEAF), LEAF).drift


def test_what_somebody_else_has_is_left_alone() -> None:
    running = taken(factory(), LEAF)
    assert running["interface Ethernet48"] == factory()["interface Ethernet48"]
    assert not any("Ethernet48" in line for line in eos.patch(running, rendered(EMPTY, running)))


def test_an_inner_vlan_stays_when_others_come() -> None:
    metal_only = replace(LEAF, attachments=tuple(a for a in LEAF.attachments if a.vni != 10003 or not a.vlan))
    running = taken(factory(), metal_only)
    before = eos_reading.read(running, metal_only).vlans[10003]
    assert before == eos.HIGHEST_INNER_VLAN
    more = replace(metal_only, segments=(*metal_only.segments, replace(metal_only.segments[0], vni=9000)))
    assert eos.segment_vlans(more, eos_reading.read(running, more).vlans)[10003] == before


def test_a_switch_without_routing_has_no_underlay() -> None:
    assert eos_reading.read(factory(), LEAF).config.underlay is None
    with pytest.raises(Permanent, match="without routing"):
        eos.render(replace(LEAF, underlay=None), {})


def test_what_cannot_be_written_yet_is_refused() -> None:
    with pytest.raises(Permanent, match="peered VPCs"):
        eos.render(as_eos(leaf(vrfs=(50001, 50002), peered=[(50001, 50002)])), {})


def test_vlans_are_listed_as_eos_lists_them() -> None:
    running = taken(factory(), LEAF)
    assert "switchport trunk allowed vlan 101-104,4094" in running["interface Ethernet11"]


def test_a_link_that_goes_gives_its_port_back() -> None:
    running = taken(factory(), as_eos(leaf(links=(1, 2))))
    fewer = replace(EMPTY, underlay=replace(EMPTY.underlay, links=as_eos(leaf(links=(1,))).underlay.links))  # type: ignore[union-attr]
    there = taken(running, fewer)
    assert there["interface Ethernet2"] == {}
    assert link(2).peer_address.exploded not in eos.text(there)


def _is_as_written(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get(REWRITE):
        path.write_text(text)
    assert path.read_text() == text
