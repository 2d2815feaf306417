"""What a change puts at risk, and which bounds it goes beyond, judged before any switch is touched."""

from ipaddress import IPv4Interface

from fabric_samples import small_dc
from msgspec.structs import replace

from weft.fabric.config import Attachment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.intent_index import FabricIntent
from weft.fabric.numbering import number
from weft.fabric.risk import Bound, Finding, RiskLevel, findings, risk
from weft.fabric.topology import Topology
from weft.model.ids import SwitchName
from weft.model.inventory import Safety, SwitchModel

Fabric = dict[SwitchName, SwitchConfig]
LEAF1, SPINE1 = SwitchName("leaf1"), SwitchName("spine1")
TOPOLOGY = Topology(small_dc())


def fabric() -> Fabric:
    intent = FabricIntent()
    intent.put_inventory(small_dc(), number(small_dc()))
    return {name: intent.desired(name) for name in intent.topology.switches}


def ports_on(switch: SwitchName) -> int:
    return {"leaf1": 7, "leaf2": 1}.get(switch, 0)


def underlay(config: SwitchConfig) -> Underlay:
    assert config.underlay is not None
    return config.underlay


def on_another_ground(config: SwitchConfig) -> SwitchConfig:
    ground = underlay(config)
    return replace(config, underlay=replace(ground, asn=ground.asn + 500))


def changed(configs: Fabric, *names: str) -> Fabric:
    return {**configs, **{SwitchName(n): on_another_ground(configs[SwitchName(n)]) for n in names}}


def found(before: Fabric, after: Fabric, topology: Topology = TOPOLOGY) -> dict[Bound, Finding]:
    return {finding.bound: finding for finding in findings(topology, before, after, ports_on)}


def test_a_port_that_comes_touches_nothing() -> None:
    before = fabric()[LEAF1]
    after = replace(before, segments=(Segment(vni=1),), attachments=(Attachment(interface="eth11", vlan=100, vni=1),))
    assert risk(before, after, ports_on).level is RiskLevel.ADDITIVE
    assert risk(before, before, ports_on).level is RiskLevel.NONE
    assert "1 attachments go" in risk(after, before, ports_on).text


def test_a_session_that_is_cut_touches_every_port_behind_it() -> None:
    configs = fabric()
    cut = risk(configs[SPINE1], on_another_ground(configs[SPINE1]), ports_on, leaves=[LEAF1, SwitchName("leaf2")])
    assert (cut.level, cut.ports) == (RiskLevel.DISRUPTIVE, 8)
    assert cut.text == "cuts the sessions with leaf1, leaf2, leaf3: 8 ports are touched"


def test_another_gateway_mac_touches_the_ports_of_the_leaf() -> None:
    before = fabric()[LEAF1]
    moved = risk(before, replace(before, gateway_mac="00:00:5e:00:01:09"), ports_on)
    assert (moved.level, moved.ports) == (RiskLevel.DISRUPTIVE, 7)


def test_another_mtu_cuts_nothing() -> None:
    before = fabric()[LEAF1]
    after = replace(before, underlay=replace(underlay(before), mtu_bytes=1500))
    assert risk(before, after, ports_on).level is RiskLevel.ADDITIVE


def test_a_first_configuration_goes_beyond_no_bound() -> None:
    blank = {name: SwitchConfig(name=name, underlay=None) for name in fabric()}
    assert findings(TOPOLOGY, blank, fabric(), ports_on) == []


def test_one_spine_may_be_cut_but_not_both() -> None:
    before = fabric()
    assert Bound.SHARE not in found(before, changed(before, "spine1"))
    both = found(before, changed(before, "spine1", "spine2"))
    assert both[Bound.SHARE].text == (
        "2 of the 2 switches with role spine in site private have sessions cut (spine1, spine2); "
        "at most 50 per cent may"
    )


def test_the_share_is_the_sites_own() -> None:
    wide = replace(small_dc().sites[0], safety=Safety(max_share=100))
    before = fabric()
    after = changed(before, "spine1", "spine2")
    assert Bound.SHARE not in found(before, after, Topology(replace(small_dc(), sites=(wide,))))


def test_a_switch_that_nobody_would_reach_is_told_with_its_ports() -> None:
    before = fabric()
    assert found(before, changed(before, "leaf1"))[Bound.ISOLATED].text == (
        "switch leaf1 would reach no other switch: 7 ports are touched"
    )


def test_a_leaf_that_is_given_up_while_ports_are_on_it_is_told() -> None:
    before = fabric()
    after = {name: config for name, config in before.items() if name not in {"leaf1", "leaf3"}}
    assert found(before, after)[Bound.CARRIES].text == "switch leaf1 would be given up, and 7 ports are touched"


def test_a_table_that_would_overflow_is_told() -> None:
    small = SwitchModel(name="tiny", vrfs=1)
    switches = tuple(replace(each, model="tiny") for each in small_dc().switches)
    topology = Topology(replace(small_dc(), switches=switches, models=(small,)))
    before = fabric()
    vrfs = (Vrf(name="a", l3vni=1), Vrf(name="b", l3vni=2))
    told = found(before, {**before, LEAF1: replace(before[LEAF1], vrfs=vrfs)}, topology)
    assert told[Bound.LIMIT].text == "switch leaf1 (model tiny) holds 1 VRFs, 2 are needed"


def test_tenants_that_would_reach_each_other_are_told() -> None:
    before = fabric()
    gateways = [IPv4Interface("10.0.1.1/24"), IPv4Interface("10.0.2.1/24")]
    segments = (
        Segment(vni=1, vrf="red", gateways=(gateways[0],)),
        Segment(vni=2, vrf="blue", gateways=(gateways[1],)),
    )
    vrfs = (Vrf(name="blue", l3vni=9), Vrf(name="red", l3vni=9))
    told = found(before, {**before, LEAF1: replace(before[LEAF1], vrfs=vrfs, segments=segments)})
    assert told[Bound.REACHABILITY].text.startswith("leak: vrf blue and vrf red reach each other")
