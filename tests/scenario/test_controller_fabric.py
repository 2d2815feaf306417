"""The fabric controller on a real store, with switches that really have tables."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fabric_world import World, small_dc
from fake_switch import Fault
from msgspec.structs import replace

from weft.fabric.config import Attachment
from weft.fabric.plan import AddAttachment, AddSegment
from weft.model import steps
from weft.model.ids import NodeName, SwitchName
from weft.model.intent import RealizationState
from weft.ports.machine import State
from weft.store.views import SwitchState

UP, PENDING, FAILED = RealizationState.UP, RealizationState.PENDING, RealizationState.FAILED


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path / "weft.db")
    yield made
    await made.close()


async def test_the_first_look_at_each_switch_brings_its_underlay(world: World) -> None:
    world.start()
    await world.settle()
    everyone = ("spine1", "spine2", "leaf1", "leaf2", "leaf3")
    assert world.calls() == dict.fromkeys(everyone, ("observe", "apply 1", "observe"))
    assert await world.wrong() == []


async def test_a_first_port_is_configured_on_its_leaf_alone_and_reported_with_its_steps(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24", routed_by="r1")
    await world.settle()
    world.calls()
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    # What was read when the last plan had been made is what this one starts from.
    assert world.calls() == {"leaf1": ("apply 4", "observe")}
    assert await world.state(port) is State.ACTIVE
    assert await world.fabric_steps(port) == [steps.SENT, steps.LEAF_FOUND, steps.CONFIGURED]
    entries = [entry for entry in await world.history(port) if entry.step == steps.CONFIGURED]
    assert entries[0].actor == "fabric/leaf1"
    assert entries[0].detail == "leaf1: eth11 eth12 vlan 100, vni 10000, vrf v50000, gateway 10.0.1.1/24"
    assert await world.wrong() == []


async def test_a_port_whose_leaf_carries_everything_already_asks_no_switch(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    world.calls()
    ports = await world.spawn(net, *((f"web-{i}", "node1") for i in range(2, 30)))
    await world.settle()
    assert world.calls() == {}
    assert {await world.state(port) for port in ports} == {State.ACTIVE}
    assert await world.fabric_steps(ports[-1]) == [steps.SENT, steps.LEAF_FOUND, steps.CONFIGURED]


async def test_many_ports_are_reported_in_one_transaction(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    before = world.store.revision
    await world.spawn(net, *((f"web-{i}", "node1") for i in range(2, 102)), host=False)
    await world.settle()
    assert world.store.revision - before == 2


async def test_the_last_port_that_leaves_takes_everything_away(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24", routed_by="r1")
    ports = await world.spawn(net, ("web-1", "node1"), ("web-2", "node1"))
    await world.settle()
    await world.delete(ports[0])
    await world.settle()
    assert world.switch("leaf1").config.segments != ()
    await world.unbind(ports[1])
    await world.settle()
    config = world.switch("leaf1").config
    assert (config.vrfs, config.segments, config.attachments) == ((), (), ())
    assert await world.wrong() == []


async def test_a_moved_port_is_carried_by_both_leaves_until_it_is_active(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    await world.bind(port, "node2")
    await world.settle()
    assert await world.state(port) is State.MOVING
    assert await world.fabric_of(port) == (UP, "")
    assert world.switch("leaf1").config.attachments != ()
    assert world.switch("leaf2").config.attachments != ()
    await world.host_up(port)
    await world.settle()
    assert await world.state(port) is State.ACTIVE
    assert world.switch("leaf1").config.attachments == ()
    assert await world.wrong() == []


async def test_bare_metal_is_active_by_the_fabric_alone(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("db-1", "bm1"), host=False)
    await world.settle()
    assert await world.state(port) is State.ACTIVE
    (attachment,) = world.switch("leaf3").config.attachments
    assert (attachment.interface, attachment.vlan) == ("eth13", 0)


async def test_a_router_attached_later_reaches_the_leaves_and_no_port_flickers(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    told = len(await world.history(port))
    await world.attach_router(net, "late")
    await world.settle()
    assert [str(gateway) for gateway in world.switch("leaf1").config.segments[0].gateways] == ["10.0.1.1/24"]
    assert len(await world.history(port)) == told
    assert await world.wrong() == []


# Switches that misbehave.


async def test_an_unreachable_switch_stops_no_other_and_is_tried_until_it_is_back(world: World) -> None:
    leaf1 = world.switch("leaf1")
    leaf1.reachable = False
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    here, there = await world.spawn(net, ("web-1", "node1"), ("web-2", "node2"))
    await world.settle()
    assert await world.state(there) is State.ACTIVE
    assert await world.state(here) is State.BINDING
    assert await world.fabric_of(here) == (PENDING, "switch leaf1: leaf1 does not answer")
    assert await world.status("leaf1") == (SwitchState.UNREACHABLE, "leaf1 does not answer")
    for _ in range(8):
        assert world.clock.advance_to_next() <= 2.0
        await world.settle()
    since = world.controller.status_of(SwitchName("leaf1"))
    assert since is not None
    assert since.since == 1_000_000.0
    leaf1.reachable = True
    await world.converge()
    assert await world.state(here) is State.ACTIVE
    assert await world.status("leaf1") == (SwitchState.IN_SYNC, "")


async def test_the_pause_grows_to_fifteen_seconds_and_a_change_cuts_it_short(world: World) -> None:
    leaf1 = world.switch("leaf1")
    leaf1.reachable = False
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    await world.settle()
    tried_at = []
    while len(tried_at) < 15:
        seen = leaf1.observed
        world.clock.advance_to_next()
        await world.settle()
        if leaf1.observed > seen:
            tried_at.append(world.clock.now())
    assert tried_at[-1] - tried_at[-2] == 15.0
    leaf1.reachable = True
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    assert await world.state(port) is State.BINDING
    world.clock.advance(1.0)
    await world.settle()
    assert await world.state(port) is State.ACTIVE


async def test_a_kick_cuts_any_pause_short(world: World) -> None:
    leaf1 = world.switch("leaf1")
    leaf1.reachable = False
    world.start()
    await world.settle()
    leaf1.reachable = True
    world.controller.kick(SwitchName("leaf1"))
    await world.settle()
    assert await world.wrong() == []
    world.calls()
    world.controller.kick_node(NodeName("node2"))
    world.controller.kick(SwitchName("nobody"))
    await world.settle()
    assert world.calls() == {"leaf2": ("observe",)}


async def test_a_refused_segment_fails_its_ports_and_no_other(world: World) -> None:
    leaf1 = world.switch("leaf1")
    world.start()
    bad = await world.network("bad", "10.0.1.0/24")
    good = await world.network("good", "10.0.2.0/24")
    leaf1.refuses = lambda step: "no room" if isinstance(step, AddSegment) and step.segment.vni == 10000 else None
    (of_bad,) = await world.spawn(bad, ("bad-1", "node1"))
    (of_good,) = await world.spawn(good, ("good-1", "node1"))
    await world.settle()
    assert await world.state(of_good) is State.ACTIVE
    assert await world.state(of_bad) is State.ERROR
    assert await world.fabric_of(of_bad) == (FAILED, "switch leaf1 refused vni 10000: no room")
    state, reason = await world.status("leaf1")
    assert state is SwitchState.FAILED
    assert reason.startswith("refused: vni 10000: no room; eth11 vlan 100: vni 10000: no room")
    # Nothing is tried before the next resync; then all is well by itself.
    leaf1.refuses = lambda _: None
    world.calls()
    world.clock.advance(30.0)
    await world.settle()
    assert world.calls() == {}
    world.clock.advance(30.0)
    await world.converge()
    assert await world.state(of_bad) is State.ACTIVE


async def test_a_refused_gateway_degrades_the_ports_that_were_active(world: World) -> None:
    leaf1 = world.switch("leaf1")
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    leaf1.refuses = lambda step: "VRF table is full" if step.noun == "vrf" else None
    await world.attach_router(net, "late")
    await world.settle()
    assert await world.state(port) is State.DEGRADED
    assert await world.fabric_of(port) == (FAILED, "switch leaf1 refused vrf v50000: VRF table is full")


async def test_a_switch_that_was_replaced_by_an_empty_one_is_filled_again(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    world.switch("leaf1").wipe()
    world.clock.advance(60.0)
    await world.settle()
    assert await world.wrong() == []
    assert await world.state(port) is State.ACTIVE
    moved = [(entry.before, entry.after, entry.detail) for entry in await world.history(port) if entry.step == "state"]
    assert moved[-2:] == [
        ("ACTIVE", "DEGRADED", "fabric: switch leaf1 lost underlay"),
        ("DEGRADED", "ACTIVE", ""),
    ]


async def test_drift_is_seen_at_the_resync_shown_and_repaired(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    leaf1 = world.switch("leaf1")
    leaf1.config = replace(
        leaf1.config, attachments=(*leaf1.config.attachments, Attachment(interface="eth20", vlan=7, vni=10000))
    )
    leaf1.open.clear()
    world.clock.advance(60.0)
    leaf1.open.set()
    await world.settle()
    assert await world.wrong() == []
    assert await world.state(port) is State.ACTIVE


async def test_what_the_switch_does_not_show_at_once_is_read_again(world: World) -> None:
    world.start()
    await world.settle()
    leaf1 = world.switch("leaf1")
    shown = leaf1.make
    late = iter([True])

    def make(step: object, mac: str) -> None:
        if isinstance(step, AddAttachment) and next(late, False):
            return
        shown(step, mac)  # type: ignore[arg-type]

    leaf1.make = make  # type: ignore[method-assign]
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    assert await world.state(port) is State.BINDING
    assert await world.status("leaf1") == (
        SwitchState.PENDING,
        "not shown by the switch yet: + eth11 vlan 100 vni 10000",
    )
    await world.converge()
    assert await world.state(port) is State.ACTIVE


async def test_changes_that_come_while_a_switch_works_are_taken_together(world: World) -> None:
    world.start()
    nets = [await world.network(f"net-{i}", f"10.0.{i}.0/24") for i in range(6)]
    await world.settle()
    leaf1 = world.switch("leaf1")
    leaf1.open.clear()
    world.calls()
    (first,) = await world.spawn(nets[0], ("p-0", "node1"))
    await leaf1.asked.wait()
    for i in range(1, 6):
        await world.spawn(nets[i], (f"p-{i}", "node1"))
    await world.controller.followed(world.store.revision)
    leaf1.open.set()
    await world.settle()
    assert leaf1.calls == ["apply 3", "observe", "apply 15", "observe"]
    assert await world.state(first) is State.ACTIVE
    assert await world.wrong() == []


# Restarts.


async def test_a_restart_rewrites_nothing_that_is_right(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24", routed_by="r1")
    ports = await world.spawn(net, ("web-1", "node1"), ("web-2", "node2"), ("db", "bm1"))
    await world.settle()
    await world.kill()
    histories = [await world.history(port) for port in ports]
    revision = world.store.revision
    world.calls()
    world.start()
    await world.settle()
    assert world.calls() == dict.fromkeys(world.switches, ("observe",))
    assert [await world.history(port) for port in ports] == histories
    assert world.store.revision == revision


async def test_a_restart_finds_what_was_lost_meanwhile(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    await world.kill()
    world.switch("leaf1").wipe()
    world.start()
    await world.settle()
    assert await world.state(port) is State.ACTIVE
    assert [entry.after for entry in await world.history(port) if entry.step == "state"][-2:] == ["DEGRADED", "ACTIVE"]


async def test_a_restart_does_what_was_asked_for_meanwhile(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    await world.kill()
    await world.delete(port)
    (other,) = await world.spawn(net, ("web-2", "node3"))
    world.start()
    await world.settle()
    assert await world.state(other) is State.ACTIVE
    assert world.switch("leaf1").config.segments == ()
    assert await world.wrong() == []


async def test_a_follower_that_fell_behind_the_log_reads_everything_anew(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    world.shaky.compacted = True
    (other,) = await world.spawn(net, ("web-2", "node2"))
    await world.settle()
    assert world.shaky.watches == 2
    assert await world.state(port) is State.ACTIVE
    assert await world.state(other) is State.ACTIVE
    assert await world.wrong() == []


async def test_rows_that_are_ahead_of_the_changes_fail_no_port(world: World) -> None:
    world.start()
    await world.settle()
    held = world.shaky.held = asyncio.Event()
    net = await world.network("web", "10.0.1.0/24")
    # The port is read, bound, with its first change; the VLAN that it needs comes with a later one.
    port = await world.create(net, "web-1")
    await world.bind(port, "node1")
    await world.host_up(port)
    held.set()
    await world.settle()
    states = [entry.after for entry in await world.history(port) if entry.step == "state"]
    assert states == ["ALLOCATED", "BINDING", "ACTIVE"]


async def test_a_port_that_no_leaf_can_carry_fails_until_the_inventory_lets_one(world: World) -> None:
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("db-1", "bm1"))
    dc = small_dc()
    managed = tuple(replace(row, management=True) if row.b.device == "bm1" else row for row in dc.links)
    # The API refuses to take a link away from a bound port; a hand in the database does not.
    await world.force_inventory(replace(dc, links=managed))
    world.start()
    await world.settle()
    state, reason = await world.fabric_of(port)
    assert state is FAILED
    assert reason.startswith("node bm1 has no link to a leaf that could carry the port (its only links carry")
    await world.force_inventory(dc)
    await world.settle()
    assert await world.state(port) is State.ACTIVE


# The inventory.


async def test_a_switch_that_comes_is_configured_and_one_that_goes_is_let_go(world: World) -> None:
    world.start()
    await world.settle()
    dc = small_dc()
    spine3 = replace(dc.switches[0], name=SwitchName("spine3"), management="192.168.0.13")
    cable = replace(dc.links[0], a=replace(dc.links[0].a, interface="eth3"), b=replace(dc.links[0].b, device="spine3"))
    await world.put_inventory(replace(dc, switches=(*dc.switches, spine3), links=(*dc.links, cable)))
    await world.settle()
    await world.roll_out()
    assert await world.wrong() == []
    assert world.switch("spine3").config.underlay is not None
    assert [link.peer for link in world.switch("leaf1").config.underlay.links] == ["spine1", "spine2", "spine3"]
    await world.put_inventory(dc)
    await world.settle()
    await world.roll_out()
    assert await world.wrong() == []
    assert world.switch("spine3").closed == 1
    assert SwitchName("spine3") not in await world.store.read(lambda snapshot: snapshot.switch_statuses())
    assert world.controller.status_of(SwitchName("spine3")) is None


async def test_a_switch_with_another_management_address_is_reached_anew(world: World) -> None:
    world.start()
    await world.settle()
    dc = small_dc()
    switches = tuple(replace(s, management="192.168.0.99") if s.name == "leaf1" else s for s in dc.switches)
    world.calls()
    await world.put_inventory(replace(dc, switches=switches))
    await world.settle()
    assert world.switch("leaf1").closed == 1
    assert world.calls() == {"leaf1": ("observe",)}


async def test_the_plan_can_be_read_before_it_is_made(world: World) -> None:
    leaf1 = world.switch("leaf1")
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    await world.settle()
    assert str(world.controller.plan_of(SwitchName("leaf1"))) == "switch leaf1: nothing to do"
    leaf1.open.clear()
    await world.spawn(net, ("web-1", "node1"))
    await leaf1.asked.wait()
    assert str(world.controller.plans()[SwitchName("leaf1")]) == "\n".join(
        [
            "switch leaf1:",
            "  + vni 10000 mtu 1500        (port web-1 on node1)",
            "  + eth11 vlan 100 vni 10000  (port web-1 on node1)",
            "  + eth12 vlan 100 vni 10000  (port web-1 on node1)",
            "  risk: additive: nothing that is there is touched",
        ]
    )
    leaf1.open.set()
    await world.settle()


async def test_of_a_switch_that_does_not_answer_no_plan_is_known(world: World) -> None:
    leaf1, leaf2 = world.switch("leaf1"), world.switch("leaf2")
    leaf2.reachable = False
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    await world.settle()
    assert (
        str(world.controller.plan_of(SwitchName("leaf2"))) == "switch leaf2: could not be read: leaf2 does not answer"
    )
    leaf1.reachable = False
    world.controller.kick()
    await world.settle()
    lines = str(world.controller.plan_of(SwitchName("leaf1"))).splitlines()
    assert lines == [
        "switch leaf1: could not be read: leaf1 does not answer",
        "  when it was read before, there was nothing to do",
    ]
    await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    lines = str(world.controller.plan_of(SwitchName("leaf1"))).splitlines()
    assert lines[:2] == ["switch leaf1: could not be read: leaf1 does not answer", "  of what was read before:"]
    assert "  + vni 10000 mtu 1500        (port web-1 on node1)" in lines
    leaf1.reachable = leaf2.reachable = True
    await world.converge()
    for name in ("leaf1", "leaf2"):
        assert str(world.controller.plan_of(SwitchName(name))) == f"switch {name}: nothing to do"


async def test_a_switch_that_cannot_be_spoken_to_at_all_is_failed(world: World) -> None:
    leaf1 = world.switch("leaf1")
    world.faults.at, world.faults.fault = 1, Fault.DEFECT
    world.start()
    await world.settle()
    assert sum(device.config.underlay is not None for device in world.switches.values()) >= 4
    await world.converge()
    assert leaf1.config.underlay is not None
