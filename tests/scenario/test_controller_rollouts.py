"""What carries the traffic of all changes only when a human says so, one switch first; by-hand changes by policy."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fabric_world import World, small_dc
from msgspec.structs import replace

from weft.controller.rollouts import LOOK_EVERY_S
from weft.controller.worker import GATHER_S
from weft.fabric.config import SwitchConfig, Underlay
from weft.fabric.gate import MUCH
from weft.fabric.planned import PlannedSwitch
from weft.fabric.risk import RiskLevel
from weft.fabric.rollout import Rollout, RolloutState, TargetState
from weft.model.errors import Conflict, NotFound
from weft.model.ids import SwitchName
from weft.model.inventory import DriftPolicy, Inventory, Safety, SwitchModel
from weft.ports.machine import State
from weft.store.views import SwitchState

MTU = 4000
EVERYONE = ("spine1", "spine2", "leaf1", "leaf2", "leaf3")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path / "weft.db")
    yield made
    await made.close()


def other_mtu(inventory: Inventory, mtu: int = MTU) -> Inventory:
    """The inventory with another MTU: a change of every switch's underlay, which cuts no session."""
    site = inventory.sites[0]
    assert site.fabric is not None
    return replace(inventory, sites=(replace(site, fabric=replace(site.fabric, mtu_bytes=mtu)), *inventory.sites[1:]))


def renumbered(inventory: Inventory) -> Inventory:
    """The inventory with another AS number for all spines: every session is cut until both ends have it."""
    site = inventory.sites[0]
    assert site.fabric is not None
    return replace(inventory, sites=(replace(site, fabric=replace(site.fabric, spine_asn=64999)), *inventory.sites[1:]))


def with_safety(inventory: Inventory, **fields: object) -> Inventory:
    safety = Safety(**fields)  # type: ignore[arg-type]
    return replace(inventory, sites=(replace(inventory.sites[0], safety=safety), *inventory.sites[1:]))


def underlay(world: World, switch: str) -> Underlay:
    found = world.switch(switch).config.underlay
    assert found is not None
    return found


def mtus(world: World) -> dict[str, int]:
    return {name: underlay(world, name).mtu_bytes for name in EVERYONE}


async def grown(world: World, inventory: Inventory | None = None) -> None:
    """A fabric that runs, then gets another inventory."""
    world.start()
    await world.settle()
    await world.put_inventory(inventory or other_mtu(small_dc()))
    await world.settle()


async def asked(world: World, switch: str) -> None:
    """Let time pass until something is asked of a switch that does not answer."""
    while not world.switch(switch).asked.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(world.switch(switch).asked.wait(), 0.2)
        world.clock.advance(LOOK_EVERY_S)


async def test_the_underlay_waits_while_ports_come_and_go(world: World) -> None:
    await grown(world)
    assert set(mtus(world).values()) == {9216}
    state, reason = await world.status("leaf1")
    assert state is SwitchState.PENDING
    assert reason.startswith("waits for `weft fabric apply`: - underlay asn 65101")
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    assert await world.state(port) is State.ACTIVE
    assert underlay(world, "leaf1").mtu_bytes == 9216
    planned = world.controller.plan_of(SwitchName("leaf1"))
    assert isinstance(planned, PlannedSwitch)
    assert planned.risk.level is RiskLevel.ADDITIVE
    assert "held: waits for `weft fabric apply`" in str(planned)


async def test_what_waits_is_applied_canary_first_and_verified(world: World) -> None:
    net = await world.network("web", "10.0.1.0/24")
    await world.spawn(net, *((f"web-{n}", "node1") for n in range(3)))
    await grown(world)
    done = await world.roll_out()
    assert done.state is RolloutState.DONE
    assert {target.state for target in done.targets} == {TargetState.VERIFIED}
    assert done.targets[-1].switch == "leaf1", "the one with the most ports goes last"
    assert set(mtus(world).values()) == {MTU}
    assert await world.wrong() == []
    with pytest.raises(Conflict, match="nothing waits to be applied"):
        await world.roll_out()


async def test_a_canary_whose_sessions_stay_down_goes_back_and_no_other_is_begun(world: World) -> None:
    await grown(world)
    canary = "leaf1"
    world.switch(canary).dead_peers = {"spine2"}
    failed = await world.roll_out(canary, "spine1", "spine2")
    assert failed.state is RolloutState.FAILED
    states = {str(target.switch): target.state for target in failed.targets}
    assert states == {
        canary: TargetState.ROLLED_BACK,
        "spine1": TargetState.SKIPPED,
        "spine2": TargetState.SKIPPED,
    }
    assert "session with spine2" in failed.targets[0].note
    assert set(mtus(world).values()) == {9216}
    state, reason = await world.status(canary)
    assert state is SwitchState.QUARANTINED
    assert reason.startswith("the roll-out failed here, and was rolled back: session with spine2")


async def test_a_quarantined_switch_still_gets_its_ports_and_leaves_quarantine_by_another_roll_out(
    world: World,
) -> None:
    await grown(world)
    world.switch("leaf1").dead_peers = {"spine2"}
    await world.roll_out("leaf1")
    net = await world.network("web", "10.0.1.0/24")
    (port,) = await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    assert await world.state(port) is State.ACTIVE
    world.switch("leaf1").dead_peers = set()
    assert (await world.roll_out("leaf1")).state is RolloutState.DONE
    assert (await world.status("leaf1"))[0] is SwitchState.IN_SYNC
    assert underlay(world, "leaf1").mtu_bytes == MTU


async def test_going_back_to_what_runs_ends_a_quarantine(world: World) -> None:
    await grown(world)
    world.switch("leaf1").dead_peers = {"spine2"}
    await world.roll_out("leaf1")
    await world.put_inventory(small_dc())
    await world.settle()
    assert (await world.status("leaf1"))[0] is SwitchState.IN_SYNC


async def test_a_switch_that_is_lost_by_the_change_is_told_as_rolled_back(world: World) -> None:
    await grown(world)
    begun = await world.controller.apply(world.order("leaf1"))
    world.switch("leaf1").reachable = False
    ended = await world.rolled_out(begun.id)
    assert ended.targets[0].state is TargetState.ROLLED_BACK
    assert "does not answer" in ended.targets[0].note
    world.switch("leaf1").reachable = True
    for _ in range(3):
        world.clock.advance_to_next()
        await world.settle()
    assert underlay(world, "leaf1").mtu_bytes == 9216
    assert (await world.status("leaf1"))[0] is SwitchState.QUARANTINED


async def test_a_plan_beyond_its_bounds_is_refused_and_an_override_is_on_record(world: World) -> None:
    await grown(world, renumbered(small_dc()))
    with pytest.raises(Conflict) as refused:
        await world.roll_out("spine1", "spine2")
    assert "share-of-role: 2 of the 2 switches with role spine" in str(refused.value)
    assert "isolated: " in str(refused.value)
    assert underlay(world, "spine1").asn == 65000
    done = await world.roll_out(override=True)
    assert done.by == "tester"
    assert any(finding.startswith("share-of-role: 2 of the 2") for finding in done.findings)
    assert done.state is RolloutState.DONE
    assert {underlay(world, name).asn for name in ("spine1", "spine2")} == {64999}
    assert await world.wrong() == []


async def test_only_one_roll_out_runs_at_a_time_and_one_for_nobody_is_refused(world: World) -> None:
    await grown(world)
    world.switch("leaf1").open.clear()
    begun = await world.controller.apply(world.order("leaf1"))
    with pytest.raises(Conflict, match="another roll-out is running"):
        await world.controller.apply(world.order("leaf2"))
    with pytest.raises(NotFound, match="leaf9"):
        await world.controller.apply(world.order("leaf9"))
    world.switch("leaf1").open.set()
    assert (await world.rolled_out(begun.id)).state is RolloutState.DONE


@pytest.mark.parametrize("stuck", EVERYONE)
async def test_a_controller_that_is_killed_in_the_middle_is_followed_by_one_that_goes_on(
    world: World, stuck: str
) -> None:
    await grown(world)
    world.switch(stuck).open.clear()
    begun = await world.controller.apply(world.order())
    await asked(world, stuck)
    await world.kill()
    assert MTU not in {mtus(world)[stuck], mtus(world)["spine2"]}
    world.switch(stuck).open.set()
    world.start()
    ended = await world.rolled_out(begun.id)
    assert ended.state is RolloutState.DONE
    assert set(mtus(world).values()) == {MTU}
    assert await world.wrong() == []


async def test_a_roll_back_is_remembered_by_the_next_controller(world: World) -> None:
    await grown(world)
    world.switch("leaf1").dead_peers = {"spine2"}
    await world.roll_out("leaf1")
    await world.kill()
    world.switch("leaf1").dead_peers = set()
    world.start()
    await world.settle()
    assert underlay(world, "leaf1").mtu_bytes == 9216
    assert (await world.status("leaf1"))[0] is SwitchState.QUARANTINED


# A switch whose hardware is full, and a mistake that would take everything away.


async def test_what_a_switch_cannot_hold_does_not_come_and_says_why(world: World) -> None:
    tiny = SwitchModel(name="tiny", vrfs=1)
    switches = tuple(replace(each, model="tiny") if each.name == "leaf3" else each for each in small_dc().switches)
    world.start()
    red = await world.network("red", "10.0.1.0/24", routed_by="r1")
    blue = await world.network("blue", "10.0.1.0/24", routed_by="r2")
    await world.spawn(red, ("red-1", "node3"))
    await world.settle()
    await world.force_inventory(replace(small_dc(), switches=switches, models=(tiny,)))
    (second,) = await world.spawn(blue, ("blue-1", "bm1"), host=False)  # bare metal has no VLAN, and is not counted
    await world.settle()
    assert len(world.switch("leaf3").config.vrfs) == 1
    state, reason = await world.status("leaf3")
    assert state is SwitchState.PENDING
    assert "holds 1 VRFs, 2 are needed" in reason
    assert await world.state(second) is not State.ACTIVE
    with pytest.raises(Conflict, match="hardware-limit"):
        await world.roll_out("leaf3")
    await world.delete(second)
    await world.settle()
    assert (await world.status("leaf3"))[0] is SwitchState.IN_SYNC


async def test_a_mistake_that_takes_most_of_a_leaf_away_waits_until_it_is_applied(world: World) -> None:
    world.start()
    ports = []
    for number in range(MUCH):
        net = await world.network(f"net-{number}", f"10.{number}.0.0/24")
        ports += await world.spawn(net, (f"port-{number}", "node1"))
    await world.settle()
    had = world.switch("leaf1").config.attachments
    assert len(had) == 2 * MUCH
    await world.kill()
    await world.delete(*ports)
    world.start()
    await world.settle()
    assert world.switch("leaf1").config.attachments == had
    state, reason = await world.status("leaf1")
    assert state is SwitchState.PENDING
    assert "40 of its 40 attachments, more than 50 per cent, would go at once" in reason
    assert (await world.roll_out("leaf1")).state is RolloutState.DONE
    assert world.switch("leaf1").config.attachments == ()


# Changes by hand.


def by_hand(world: World, switch: str = "leaf1") -> SwitchConfig:
    """Somebody gives the segments another MTU."""
    device = world.switch(switch)
    device.config = replace(
        device.config, segments=tuple(replace(each, mtu_bytes=1400) for each in device.config.segments)
    )
    return device.config


async def with_policy(world: World, policy: DriftPolicy) -> None:
    await world.put_inventory(with_safety(small_dc(), drift=policy))
    world.start()
    net = await world.network("web", "10.0.1.0/24", routed_by="r1")
    await world.spawn(net, ("web-1", "node1"))
    await world.settle()


async def looked_at(world: World, switch: str = "leaf1") -> None:
    world.controller.kick(SwitchName(switch))
    await world.settle()


async def test_drift_is_repaired(world: World) -> None:
    await with_policy(world, DriftPolicy.REPAIR)
    by_hand(world)
    await looked_at(world)
    assert world.switch("leaf1").config.segments[0].mtu_bytes == 1500
    assert (await world.status("leaf1"))[0] is SwitchState.IN_SYNC


async def test_drift_is_found_when_the_switch_tells_of_changes(world: World) -> None:
    await with_policy(world, DriftPolicy.REPAIR)
    device = world.switch("leaf1")
    by_hand(world)
    device.calls.clear()
    for _ in range(50):
        device.changed()
    await world.settle()
    assert device.calls == [], "what it tells is gathered first"
    world.clock.advance(GATHER_S)
    await world.settle()
    assert device.config.segments[0].mtu_bytes == 1500
    assert device.calls == ["observe", "apply 1", "observe"], "once, however often it told"
    device.changed()
    await world.settle()
    world.clock.advance(GATHER_S)
    await world.settle()
    assert device.calls[3:] == ["observe"], "and of what weft changed, there is nothing to do"


@pytest.mark.parametrize("restarts", [False, True])
async def test_drift_is_kept_and_shown_while_ports_go_on(world: World, *, restarts: bool) -> None:
    await with_policy(world, DriftPolicy.KEEP)
    by_hand(world)
    await looked_at(world)
    if restarts:
        await world.kill()
        world.start()
        await world.settle()
    assert world.switch("leaf1").config.segments[0].mtu_bytes == 1400
    state, reason = await world.status("leaf1")
    assert state is SwitchState.DRIFTED
    assert reason.startswith("changed by hand, and kept: ")
    other = await world.network("other", "10.0.2.0/24")
    (port,) = await world.spawn(other, ("other-1", "node1"))
    await world.settle()
    assert await world.state(port) is State.ACTIVE
    assert (await world.roll_out("leaf1")).state is RolloutState.DONE
    assert world.switch("leaf1").config.segments[0].mtu_bytes == 1500
    assert (await world.status("leaf1"))[0] is SwitchState.IN_SYNC


async def test_drift_that_is_escalated_stops_the_switch_until_a_human_decides(world: World) -> None:
    await with_policy(world, DriftPolicy.ESCALATE)
    config = by_hand(world)
    await looked_at(world)
    other = await world.network("other", "10.0.2.0/24")
    (port,) = await world.spawn(other, ("other-1", "node1"))
    await world.settle()
    assert world.switch("leaf1").config == config
    state, reason = await world.status("leaf1")
    assert state is SwitchState.QUARANTINED
    assert "left alone until `weft fabric apply leaf1`" in reason
    assert await world.state(port) is not State.ACTIVE
    assert (await world.roll_out("leaf1")).state is RolloutState.DONE
    await world.settle()
    assert await world.state(port) is State.ACTIVE


@pytest.mark.parametrize("policy", list(DriftPolicy))
async def test_a_switch_that_was_replaced_empty_is_rebuilt_whatever_the_policy(
    world: World, policy: DriftPolicy
) -> None:
    await with_policy(world, policy)
    before = world.switch("leaf1").config
    world.switch("leaf1").wipe()
    await looked_at(world)
    assert world.switch("leaf1").config == before
    assert (await world.status("leaf1"))[0] is SwitchState.IN_SYNC


async def test_one_replaced_empty_while_a_change_waits_is_built_as_it_was(world: World) -> None:
    await grown(world)
    world.switch("leaf1").wipe()
    await looked_at(world)
    assert underlay(world, "leaf1").mtu_bytes == 9216
    assert (await world.status("leaf1"))[0] is SwitchState.PENDING


# A change that cuts the controller off.


async def cut_off(world: World, switch: str) -> Rollout:
    """A roll-out to a switch that nobody reaches with the new MTU; return it when contact is lost."""
    await grown(world)
    device = world.switch(switch)
    device.cut_off_by = lambda config: config.underlay is not None and config.underlay.mtu_bytes == MTU
    return await world.controller.apply(world.order(switch, "spine1"))


async def test_a_change_that_cuts_the_switch_off_is_undone_by_it_and_not_tried_again(world: World) -> None:
    begun = await cut_off(world, "leaf1")
    failed = await world.rolled_out(begun.id)
    assert [target.state for target in failed.targets] == [TargetState.ROLLED_BACK, TargetState.SKIPPED]
    assert "contact was lost by a change of the underlay" in failed.targets[0].note
    assert (await world.status("leaf1"))[0] is SwitchState.UNREACHABLE
    world.switch("leaf1").time_is_up()
    world.switch("leaf1").calls.clear()
    for _ in range(4):
        world.clock.advance_to_next()
        await world.settle()
    assert underlay(world, "leaf1").mtu_bytes == 9216
    assert world.switch("leaf1").applied == 0
    assert (await world.status("leaf1"))[0] is SwitchState.QUARANTINED


async def test_a_controller_that_dies_before_it_confirms_is_followed_by_one_that_does(world: World) -> None:
    await grown(world)
    device = world.switch("leaf1")
    device.stuck_when = lambda: underlay(world, "leaf1").mtu_bytes == MTU
    begun = await world.controller.apply(world.order("leaf1"))
    await asked(world, "leaf1")
    await world.kill()
    assert device.undo is not None
    device.stuck_when = lambda: False
    device.open.set()
    world.start()
    assert (await world.rolled_out(begun.id)).state is RolloutState.DONE
    assert device.undo is None
    assert underlay(world, "leaf1").mtu_bytes == MTU


async def test_a_day_to_day_change_and_a_first_configuration_need_no_confirmation(world: World) -> None:
    world.start()
    net = await world.network("web", "10.0.1.0/24")
    await world.spawn(net, ("web-1", "node1"))
    await world.settle()
    assert "confirm" not in world.switch("leaf1").calls


async def test_a_switch_that_restarts_empty_is_rebuilt_as_soon_as_its_connection_is_lost(world: World) -> None:
    await with_policy(world, DriftPolicy.REPAIR)
    device = world.switch("leaf1")
    before = device.config
    device.wipe()
    device.lost()
    await world.settle()
    assert device.config == before


async def test_a_switch_that_goes_and_comes_again_is_a_new_one(world: World) -> None:
    world.start()
    await world.settle()
    dc = small_dc()
    fewer = tuple(each for each in dc.switches if each.name != "spine2")
    links = tuple(each for each in dc.links if "spine2" not in {each.a.device, each.b.device})
    await world.put_inventory(replace(dc, switches=fewer, links=links))
    await world.settle()
    world.switch("spine2").wipe()
    await world.put_inventory(other_mtu(dc))
    await world.settle()
    assert underlay(world, "spine2").mtu_bytes == MTU
