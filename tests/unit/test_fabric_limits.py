"""Limits of switch models: which hold for a switch, and what would overflow them."""

import pytest
from fabric_samples import small_dc
from msgspec.structs import replace

from weft.fabric.checks import problems
from weft.fabric.config import Attachment, Segment, SwitchConfig, Vrf
from weft.fabric.limits import MAX_VLANS, Resource, config_usage, exceeded, limits_of, model_of, overflows
from weft.fabric.models import KNOWN_MODELS
from weft.fabric.topology import Topology
from weft.model.ids import SwitchName
from weft.model.inventory import Inventory, SwitchModel

LEAF1 = SwitchName("leaf1")


def with_model(name: str, *models: SwitchModel) -> Inventory:
    inventory = small_dc()
    switches = tuple(replace(each, model=name) if each.name == LEAF1 else each for each in inventory.switches)
    return replace(inventory, switches=switches, models=models)


TINY = SwitchModel(name="tiny", vlans=2, vnis=3, vrfs=1, macs=10)


def config(segments: int, vrfs: int = 1) -> SwitchConfig:
    return SwitchConfig(
        name=LEAF1,
        underlay=None,
        vrfs=tuple(Vrf(name=f"v{i}", l3vni=50000 + i) for i in range(vrfs)),
        segments=tuple(Segment(vni=10000 + i) for i in range(segments)),
        attachments=tuple(
            Attachment(interface=f"eth{nic}", vlan=100 + i, vni=10000 + i) for nic in (1, 2) for i in range(segments)
        ),
    )


def test_a_switch_without_a_model_is_limited_by_802_1q_alone() -> None:
    topology = Topology(small_dc())
    assert model_of(topology, LEAF1) is None
    assert limits_of(topology, LEAF1) == {Resource.VLANS: MAX_VLANS}


def test_an_inventory_may_say_otherwise_of_a_known_model() -> None:
    known = KNOWN_MODELS["spectrum"]
    assert model_of(Topology(with_model("spectrum")), LEAF1) == known
    own = replace(known, macs=7)
    assert model_of(Topology(with_model("spectrum", own)), LEAF1) == own


def test_every_known_model_says_where_its_limits_are_written() -> None:
    for name, model in KNOWN_MODELS.items():
        assert model.name == name
        assert model.source


def test_a_vlan_on_two_interfaces_is_one_and_a_vrf_takes_a_vni() -> None:
    assert config_usage(config(2)) == {Resource.VLANS: 2, Resource.VNIS: 3, Resource.VRFS: 1}


def test_what_fits_exactly_does_not_overflow() -> None:
    assert not list(exceeded(Topology(with_model("tiny", TINY)), [config(2)]))


def test_everything_that_overflows_is_named_with_what_is_needed() -> None:
    found = [str(each) for each in exceeded(Topology(with_model("tiny", TINY)), [config(3, vrfs=2)])]
    assert found == [
        "switch leaf1 (model tiny) holds 2 VLANs, 3 are needed",
        "switch leaf1 (model tiny) holds 3 VNIs, 5 are needed",
        "switch leaf1 (model tiny) holds 1 VRFs, 2 are needed",
    ]


def test_what_is_not_known_is_not_refused() -> None:
    topology = Topology(with_model("tiny", TINY))
    assert not overflows(topology, LEAF1, {Resource.PREFIXES: 10**9})
    assert [each.resource for each in overflows(topology, LEAF1, {Resource.MACS: 11})] == [Resource.MACS]


@pytest.mark.parametrize(
    ("inventory", "message"),
    [
        (with_model("unheard-of"), "switch leaf1: model 'unheard-of' is not known; describe it in [[models]]"),
        (with_model("tiny", TINY, TINY), "model tiny: the name 'tiny' is used by more than one model"),
        (with_model("tiny", replace(TINY, macs=0)), "model tiny: macs 0 is no limit"),
    ],
)
def test_a_wrong_model_is_a_problem_of_the_inventory(inventory: Inventory, message: str) -> None:
    assert any(message in str(problem) for problem in problems(inventory))
