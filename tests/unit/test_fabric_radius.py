"""The blast radius of switches and cables, in both topologies."""

import tomllib
from pathlib import Path

import pytest
from fabric_samples import link, small_dc
from msgspec.structs import replace

from weft.fabric.radius import Kind, Radius, expected, radii
from weft.fabric.topology import Topology
from weft.model.ids import SiteName, SwitchName
from weft.protocol.inventory import decode

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Topology:
    wire = tomllib.loads((EXAMPLES / f"{name}.toml").read_text())
    del wire["lab"]
    return Topology(decode(wire))


def of(found: list[Radius], what: str) -> Radius:
    return next(each for each in found if each.what == what)


def test_a_spine_takes_paths_and_a_leaf_takes_its_nodes() -> None:
    found = radii(example("small-dc"), every=True)
    spine, leaf = of(found, "spine1"), of(found, "leaf1")
    assert (spine.nodes, spine.bridged, spine.routed) == (0, 0, 0)
    assert (spine.paths, spine.paths_before) == (1, 2)
    assert (leaf.nodes, leaf.bridged, leaf.routed, leaf.pairs) == (2, 7, 7, 10)


def test_the_core_with_the_gateways_takes_all_that_is_routed() -> None:
    found = radii(example("vlan-dc"), every=True)
    core1, core2, tor = of(found, "core1"), of(found, "core2"), of(found, "tor4")
    assert (core1.nodes, core1.bridged, core1.routed, core1.pairs) == (0, 0, 6, 6)
    assert (core2.nodes, core2.bridged, core2.routed) == (0, 0, 0)
    assert tor.nodes == 0


def test_one_path_alone_takes_whole_parts_along() -> None:
    found = radii(example("vlan-to-vxlan"))
    assert {each.what for each in found if each.kind is Kind.SWITCH and each.routed} >= {"spine1", "core1", "border1"}


def test_the_worst_of_each_role_comes_first_unless_every_one_is_asked_for() -> None:
    topology = example("vlan-dc")
    assert radii(topology)[0].role == "core"
    assert len(radii(topology)) == len({(each.kind, each.role) for each in radii(topology)})
    assert len(radii(topology, every=True)) == 8 + 15


def test_a_second_cable_halves_what_a_cable_takes() -> None:
    dc = small_dc()
    doubled = replace(dc, links=(*dc.links, link("leaf1:eth3", "spine1:eth9")))
    cable = of(radii(Topology(doubled), every=True), "leaf1:eth1 - spine1:eth1")
    assert (cable.bridged, cable.paths) == (0, 1)


def test_a_node_on_two_leaves_survives_either() -> None:
    dc = small_dc()
    links = tuple(each for each in dc.links if "node1:nic1" not in f"{each.b.device}:{each.b.interface}")
    bonded = replace(dc, links=(*links, link("leaf2:eth19", "node1:nic1")))
    leaf1 = of(radii(Topology(bonded), every=True), "leaf1")
    assert leaf1.nodes == 1, "ctl1, which hangs on leaf1 alone"


@pytest.mark.parametrize("dead", ["leaf1", "spine1"])
def test_what_is_expected_of_each_pair_adds_up_to_the_radius(dead: str) -> None:
    topology = example("small-dc")
    pairs = expected(topology, SiteName("private"), SwitchName(dead))
    lost = [pair for pair, (bridges, _) in pairs.items() if not bridges]
    assert len(lost) == of(radii(topology, every=True), dead).bridged
