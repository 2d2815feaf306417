"""The FRR dialect: what is written is FRR's own form, is read back as what it says, and leads from any state to any."""

import ipaddress
import os
from copy import deepcopy
from pathlib import Path

import msgspec
import pytest
from frr_samples import FOREIGN, LEAVES, SmallFrr, leaf, link
from hypothesis import given, settings

from weft.fabric.config import SwitchConfig, Underlay, Vrf
from weft.fabric.dialects import frr, frr_text

FOLDER = Path(__file__).with_name("frr")
REWRITE = "WEFT_REWRITE_FRR_FILES"
"""Set it to write the .after and .patch files anew; then read what git says has changed."""

CASES: dict[str, SwitchConfig] = {
    "fresh": leaf(vrfs=(50001,)),
    "unchanged": leaf(vrfs=(50001,)),
    "link_added": leaf(links=(1, 2, 3)),
    "link_removed": leaf(links=(1,)),
    "vrf_added": leaf(vrfs=(50001, 50002)),
    "vrf_removed": leaf(vrfs=(50002,)),
    "peered": leaf(vrfs=(50001, 50002), peered=[(50001, 50002)]),
    "border": leaf(vrfs=(50001,), outside=True),
    "asn_changed": leaf(vrfs=(50001,), asn=65109),
    "management_moved": leaf(management="172.31.7.1/24"),
    "typed_over": leaf(vrfs=(50001,)),
    "spine": msgspec.structs.replace(
        leaf(management=None),
        underlay=Underlay(
            asn=65000,
            loopback=ipaddress.IPv4Address("10.255.0.1"),
            links=(link(1, peer="leaf1", asn=65101), link(2, peer="leaf2", asn=65102)),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_before_after_patch(name: str) -> None:
    before = frr_text.parse((FOLDER / f"{name}.before").read_text())
    desired = frr.render(CASES[name])
    patch = frr.patch(before, desired)
    _is_as_written(f"{name}.after", frr_text.text(desired))
    _is_as_written(f"{name}.patch", _printed(patch))


@pytest.mark.parametrize("name", CASES)
def test_patch_takes_before_to_after(name: str) -> None:
    before = frr_text.parse((FOLDER / f"{name}.before").read_text())
    desired = frr.render(CASES[name])
    after = SmallFrr(deepcopy(before)).take(frr.patch(before, desired))
    assert not frr.patch(after, desired)
    assert not frr.read(after).drift


@given(LEAVES, LEAVES)
def test_every_state_leads_to_every_other_and_leaves_what_is_not_ours(one: SwitchConfig, other: SwitchConfig) -> None:
    foreign = frr_text.parse(FOREIGN)
    running = foreign | frr.render(one)
    desired = frr.render(other)
    after = SmallFrr(deepcopy(running)).take(frr.patch(running, desired))
    assert not frr.patch(after, desired)
    assert {line: block for line, block in after.items() if line not in desired and block} == {
        line: block for line, block in foreign.items() if block
    }
    assert set(foreign) <= set(after)


@given(LEAVES)
def test_what_is_rendered_is_read_back(config: SwitchConfig) -> None:
    assert config.underlay is not None
    reading = frr.read(frr_text.parse(frr_text.text(frr.render(config)) + FOREIGN))
    assert reading.sound
    assert not reading.drift
    assert reading.vrfs == config.vrfs
    assert reading.underlay == msgspec.structs.replace(config.underlay, management=None, mtu_bytes=0)
    assert reading.management == (config.underlay.management.gateway.network if config.underlay.management else None)


@settings(deadline=None)  # it tries every line of a configuration
@given(LEAVES)
def test_every_lost_line_shows(config: SwitchConfig) -> None:
    whole = frr.read(frr.render(config))
    for path in frr_text.paths(frr.render(config)):
        less = deepcopy(frr.render(config))
        block = less
        for line in path[:-1]:
            block = block[line]
        del block[path[-1]]
        reading = frr.read(less)
        assert reading != whole, f"{path} is lost and does not show"
        assert frr.patch(less, frr.render(config)), f"{path} is lost and not put back"


@given(LEAVES)
def test_what_is_there_needs_no_patch(config: SwitchConfig) -> None:
    assert not frr.patch(frr_text.parse(FOREIGN) | frr.render(config), frr.render(config))


def test_switch_without_routing_has_no_underlay() -> None:
    reading = frr.read(frr_text.parse(FOREIGN))
    assert reading == frr.Reading(underlay=None)


def test_lines_of_others_in_a_block_of_ours_are_drift() -> None:
    running = frr.render(leaf(vrfs=(50001,)))
    running["router bgp 65101"]["neighbor 10.254.0.2 shutdown"] = {}
    running["router bgp 65101"]["bgp always-compare-med"] = {}
    running["router bgp 65101 vrf v50001"]["neighbor 1.2.3.4 remote-as 7"] = {}
    reading = frr.read(running)
    assert reading.underlay is not None
    assert [each.peer_asn for each in reading.underlay.links] == [0, 65000]
    assert reading.vrfs == (Vrf(name="v50001", l3vni=0),)
    assert not reading.sound
    assert reading.drift == (
        "+ router bgp 65101 / neighbor 10.254.0.2 shutdown",
        "+ router bgp 65101 / bgp always-compare-med",
        "+ router bgp 65101 vrf v50001 / neighbor 1.2.3.4 remote-as 7",
    )


def test_addresses_of_others_stay() -> None:
    running = frr_text.parse(FOREIGN) | frr.render(leaf())
    running["interface eth1"]["ip address 192.0.2.1/24"] = {}
    patch = frr.patch(running, frr.render(leaf(links=(2,))))
    assert " no ip address 10.254.0.3/31" in patch.lines
    assert not any("192.0.2.1" in line or "mgmt0" in line for line in patch.lines)


def _printed(patch: frr.Patch) -> str:
    """A group of removals per paragraph, as it is tried until FRR takes it."""
    parts = [("first", group) for group in patch.first]
    parts += [("lines", patch.lines)] if patch.lines else []
    parts += [("last", group) for group in patch.last]
    return "\n".join(f"# {title}\n" + "".join(f"{line}\n" for line in lines) for title, lines in parts)


def _is_as_written(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get(REWRITE):
        path.write_text(text)
    assert path.read_text() == text
