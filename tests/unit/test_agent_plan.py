"""The plan: same arguments, same plan; local VLANs stay; what is noted is what is owed."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.desired import Desired
from weft.agent.ovs.flow import Flow
from weft.agent.ovs.observed import SEEN, TOLD, Device, Memory, Observed, binding_key, memory_of, network_key
from weft.agent.ovs.plan import FlowChange, difference, plan
from weft.model.intent import RealizationState
from weft.protocol.node import AddressDesired, PortDesired

UP = RealizationState.UP


def port(number: int, network: str = "red", vlan: int = 101, **changes: Any) -> PortDesired:
    row = PortDesired(
        port_id=f"p{number}",
        epoch=1,
        network_id=network,
        vlan=vlan,
        mac=f"fa:16:3e:00:00:{number:02x}",
        addresses=(AddressDesired(address=f"10.0.0.{number}", prefixlen=24),),
    )
    return msgspec.structs.replace(row, **changes)


def device(number: int, **changes: Any) -> Device:
    seen = Device(port_id=f"p{number}", name=f"tap{number}", interface=f"i{number}", port=f"r{number}", ofport=number)
    return msgspec.structs.replace(seen, **changes)


def desired(*ports: PortDesired) -> Desired:
    return Desired(1, {row.port_id: row for row in ports})


NOTHING = Memory()


def observed(*devices: Device, memory: Memory = NOTHING) -> Observed:
    return Observed(devices={seen.port_id: seen for seen in devices}, uplink=100, patch=101, memory=memory)


def remembered(*plans: Any) -> Memory:
    """Return the memory after plans were applied one after the other."""
    ids: dict[str, str] = {}
    for made in plans:
        for notes in (made.note, made.note_later):
            for key, value in notes.items():
                if value is None:
                    ids.pop(key, None)
                else:
                    ids[key] = value
    return memory_of(ids)


def test_without_the_patch_nothing_is_planned_and_nothing_pruned() -> None:
    made = plan(desired(port(1)), Observed(devices={"p1": device(1)}, uplink=1))
    assert (made.integration, made.uplink, made.prune) == ({}, {}, False)
    assert made.verdicts[0].state is RealizationState.PENDING


def test_before_the_first_snapshot_only_the_nodes_own_flows_are_planned() -> None:
    made = plan(None, observed(device(1)))
    assert (set(made.integration), set(made.uplink), made.prune) == ({"node"}, {"node"}, False)


def test_a_plan_applied_and_planned_again_notes_nothing() -> None:
    first = plan(desired(port(1), port(2, "blue", 102)), observed(device(1), device(2)))
    second = plan(desired(port(1), port(2, "blue", 102)), observed(device(1), device(2), memory=remembered(first)))
    assert (second.note, second.note_later) == ({}, {})
    assert second.integration == first.integration


def test_local_vlans_stay_while_networks_come_and_go() -> None:
    one = plan(desired(port(1, "m")), observed())
    two = plan(desired(port(1, "m"), port(2, "a", 102)), observed(memory=remembered(one)))
    assert remembered(one, two).local_vlans == {"m": 1, "a": 2}
    three = plan(desired(port(2, "a", 102)), observed(memory=remembered(one, two)))
    assert three.note_later[network_key("m")] is None
    four = plan(desired(port(2, "a", 102), port(3, "z", 103)), observed(memory=remembered(one, two, three)))
    assert remembered(one, two, three, four).local_vlans == {"a": 2, "z": 1}


def test_a_doubled_local_vlan_in_the_memory_is_made_single() -> None:
    memory = Memory(local_vlans={"a": 7, "b": 7})
    made = plan(desired(port(1, "a"), port(2, "b", 102)), observed(memory=memory))
    assert made.note[network_key("b")] == "1"


def test_more_networks_than_local_vlans() -> None:
    rows = [port(1, f"n{number:04}", port_id=f"p{number}", vlan=number + 1) for number in range(4095)]
    verdicts = {
        verdict.port_id: verdict for verdict in plan(desired(*rows), observed(device(7), device(4094))).verdicts
    }
    assert verdicts["p7"].state is UP
    assert verdicts["p4094"].reason == "all 4094 local VLANs of this node are in use"


def test_a_vlan_out_of_range_is_named() -> None:
    made = plan(desired(port(1, vlan=4095)), observed(device(1)))
    assert made.verdicts[0].reason == "VLAN 4095 of network red is not between 1 and 4094"


def test_ports_that_stay_decide_the_vlan_of_a_network() -> None:
    made = plan(desired(port(1, vlan=200, draining=True), port(2)), observed(device(1), device(2)))
    assert [verdict.state for verdict in made.verdicts] == [UP, UP]
    assert {"101" in verdict.detail for verdict in made.verdicts} == {True}


def test_bindings_are_noted_told_and_forgotten() -> None:
    first = plan(desired(port(1)), observed(device(1)))
    assert first.note[binding_key(("p1", 1))] == SEEN
    told = plan(desired(port(1)), observed(device(1), memory=remembered(first)), {("p1", 1): UP})
    assert told.note_later == {binding_key(("p1", 1)): TOLD}
    left = plan(desired(), observed(memory=remembered(first, told)))
    assert [(verdict.port_id, verdict.state) for verdict in left.verdicts] == [("p1", RealizationState.GONE)]
    assert binding_key(("p1", 1)) not in left.note_later
    done = plan(desired(), observed(memory=remembered(first, told)), {("p1", 1): RealizationState.GONE})
    assert done.note_later[binding_key(("p1", 1))] is None


def test_a_device_gets_its_tag_and_mtu_once() -> None:
    (dress,) = plan(desired(port(1, mtu_bytes=1450)), observed(device(1, mtu_bytes=1500))).dress
    assert (dress.tag, dress.mtu_request_bytes) == (1, 1450)
    dressed = device(1, tag=1, mtu_bytes=1500, mtu_request_bytes=1450)
    assert plan(desired(port(1, mtu_bytes=1450)), observed(dressed)).dress == ()


def test_the_memory_ignores_what_others_wrote() -> None:
    ids = {"weft-network-a": "5", "weft-network-b": "x", "weft-network-c": "4095", "weft-binding-p/x/3": TOLD}
    ids |= {"weft-binding-p": SEEN, "weft-node": "n", "other": "1"}
    assert memory_of(ids) == Memory(local_vlans={"a": 5}, bindings={("p/x", 3): TOLD})


@given(order=st.permutations([1, 2, 3, 4]), data=st.data())
def test_the_order_of_rows_means_nothing(order: list[int], data: st.DataObject) -> None:
    rows = [port(n, data.draw(st.sampled_from(["red", "blue"])), draining=data.draw(st.booleans())) for n in order]
    seen = [device(n) for n in order]
    one = plan(desired(*rows), observed(*seen))
    two = plan(desired(*reversed(rows)), observed(*reversed(seen)))
    assert one.integration == two.integration
    assert one.note == two.note
    assert sorted(map(repr, one.verdicts)) == sorted(map(repr, two.verdicts))
    keys = [flow.key for flows in one.integration.values() for flow in flows]
    assert len(keys) == len(set(keys))


def test_difference() -> None:
    a, b, c = Flow(0, 1, ()), Flow(0, 2, ()), Flow(0, 3, ())
    changed = Flow(0, 2, (), goto=5)
    actual = {flow.key: flow for flow in (a, b)}
    assert difference({a.key: a, changed.key: changed, c.key: c}, actual, prune=True) == FlowChange((changed, c), ())
    assert difference({}, actual, prune=False) == FlowChange()
    assert difference({}, actual, prune=True) == FlowChange((), (a, b))
