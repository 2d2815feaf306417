"""The agent's reconciler on a node in memory: bring-up, spawn, move, restarts, faults."""

import itertools

import pytest
from agent_host import BROADCAST, NIC_MAC, SETTINGS, FakeNode, ipv4, mac, port
from tests.thorough import some

from weft.agent.journal import SWITCH_GRACE_S
from weft.agent.ovs.flow import Flow
from weft.agent.ovs.pipeline import COOKIE_MARK, port_flows
from weft.agent.reconciler import RETRY_PERMANENT_S, VERIFY_INTERVAL_S
from weft.agent.settings import parse
from weft.agent.standing import DEVICE_GRACE_S
from weft.model import steps
from weft.model.errors import Permanent, Transient
from weft.model.intent import RealizationState

UP, PENDING, FAILED, GONE = (
    RealizationState.UP,
    RealizationState.PENDING,
    RealizationState.FAILED,
    RealizationState.GONE,
)


async def ready(*desired, plugged=()) -> FakeNode:
    """Return a node whose bridges stand, with these devices plugged and these ports wired."""
    node = FakeNode()
    await node.turn(4)
    for number in plugged:
        node.rows.plug(f"tap{number}", f"p{number}")
    node.rows.settle()
    node.snapshot(*desired)
    await node.turn(2)
    return node


async def test_bring_up_makes_bridges_flows_address_and_route() -> None:
    node = FakeNode()
    await node.turn(4)
    assert {row["name"] for row in node.rows.rows["Bridge"].values()} == {"br-int", "br-bond"}
    assert node.rows.row("Bridge", "br-bond")["fail_mode"] == "secure"
    assert dict(node.rows.row("Bridge", "br-bond")["other_config"][1]) == {"hwaddr": NIC_MAC}
    assert node.rows.row("Port", "bond0")["bond_mode"] == "active-backup"
    kernel = node.links.kernel
    assert kernel.links["br-bond"].up
    assert kernel.links["br-bond"].addresses == ("172.31.1.11/24",)
    assert [(route.destination, route.gateway, route.device) for route in kernel.routes] == [
        ("0.0.0.0/0", "172.31.1.1", "br-bond")
    ]
    assert node.guard.guarded == {"nic0", "nic1"}
    assert node.receive(0, ipv4(1, BROADCAST)) == {"host"}
    assert node.receive(101, ipv4(1, BROADCAST)) == set()


async def test_what_is_right_is_not_touched() -> None:
    node = await ready(port(1), port(2), plugged=(1, 2))
    transactions, lines = node.rows.transactions, list(node.links.lines)
    commits = len(node.integration.commits) + len(node.uplink.commits)
    node.start_agent()
    await node.turn(3)
    node.snapshot(port(1), port(2))
    await node.turn(3)
    node.now += VERIFY_INTERVAL_S
    await node.turn(3)
    assert node.rows.transactions == transactions
    assert node.links.lines == lines
    assert len(node.integration.commits) + len(node.uplink.commits) == commits


async def test_a_former_address_on_a_nic_moves_to_the_bridge() -> None:
    node = FakeNode()
    await node.links.apply(["address add 172.31.1.11/24 dev nic0"])
    await node.turn(4)
    assert node.links.kernel.links["nic0"].addresses == ()
    assert node.links.kernel.links["br-bond"].addresses == ("172.31.1.11/24",)


async def test_a_spawn_is_reported_up_with_its_three_steps() -> None:
    node = await ready(plugged=())
    node.change(port(1), revision=2)
    await node.turn()
    assert node.told == []
    node.rows.plug("tap1", "p1")
    plugged_at = node.now
    await node.turn(2)
    (report,) = node.told
    assert (report.port_id, report.epoch, report.state, report.reason) == ("p1", 1, UP, "")
    assert [step.step for step in report.steps] == [steps.PLUGGED, steps.DETECTED, steps.FLOWS]
    assert report.steps[0].at == pytest.approx(plugged_at)
    assert report.steps[2].at >= report.steps[1].at >= report.steps[0].at
    assert node.rows.row("Port", "tap1")["tag"] == node.rows.memory().local_vlans["red"]
    assert "tap1" in node.guard.guarded


async def test_a_device_that_came_before_its_port_is_wired_too() -> None:
    node = await ready(plugged=(1,))
    assert node.send("tap1", ipv4(1, BROADCAST)) == set()
    node.change(port(1), revision=2)
    await node.turn()
    assert node.states() == {("p1", 1): UP}


async def test_fifty_devices_at_once_are_one_change() -> None:
    node = await ready(*(port(n) for n in range(1, 51)))
    before = len(node.integration.commits)
    for number in range(1, 51):
        node.rows.plug(f"tap{number}", f"p{number}")
    node.rows.settle()
    await node.turn()
    assert len(node.integration.commits) == before + 1
    assert set(node.states().values()) == {UP}
    assert len(node.told) == 50


async def test_a_device_that_never_comes_is_reported_after_a_while() -> None:
    node = await ready(port(1))
    await node.turn(3)
    assert node.told == []
    node.now += DEVICE_GRACE_S
    await node.turn()
    (report,) = node.told
    assert report.state is PENDING
    assert "iface-id=p1" in report.reason


async def test_a_vanished_device_is_pending_and_comes_back_with_new_steps() -> None:
    node = await ready(port(1), port(2), plugged=(1, 2))
    node.rows.unplug("tap1")
    await node.turn()
    assert node.states() == {("p1", 1): PENDING, ("p2", 1): UP}
    assert node.send("tap2", ipv4(2, mac(1))) == {"leaf:101"}
    node.rows.plug("tap1", "p1")
    plugged_at = node.now
    await node.turn(2)
    assert node.told[-1].state is UP
    again = {step.step for report in node.told for step in report.steps if step.at >= plugged_at}
    assert again == {steps.PLUGGED, steps.DETECTED, steps.FLOWS}


async def test_a_device_that_cannot_be_opened_is_pending_with_the_reason() -> None:
    node = await ready(port(1), plugged=(1,))
    row = node.rows.row("Interface", "tap1")
    row["ofport"], row["error"] = -1, "could not open network device tap1 (No such device)"
    await node.turn()
    assert node.told[-1].state is PENDING
    assert "No such device" in node.told[-1].reason


async def test_a_port_that_leaves_is_gone_and_then_forgotten() -> None:
    node = await ready(port(1), port(2, "blue", 102), plugged=(1, 2))
    node.change(gone=("p1",), revision=2)
    await node.turn()
    assert node.told[-1].state is GONE
    assert node.told[-1].epoch == 1
    assert node.send("tap1", ipv4(1, BROADCAST)) == set()
    assert not [flow for flow in node.uplink.flows.values() if "101" in str(flow)]
    await node.turn()
    assert set(node.rows.memory().local_vlans) == {"blue"}
    assert set(node.rows.memory().bindings) == {("p2", 1)}


async def test_gone_is_said_even_if_the_agent_was_restarted_in_between() -> None:
    node = await ready(port(1), plugged=(1,))
    node.start_agent()
    node.rows.unplug("tap1")
    node.snapshot(revision=7)
    await node.turn(3)
    assert node.told[-1].state is GONE
    assert (node.told[-1].port_id, node.told[-1].epoch) == ("p1", 1)
    assert not node.rows.memory().bindings


async def test_a_new_epoch_ends_the_old_one() -> None:
    node = await ready(port(1), plugged=(1,))
    node.change(port(1, epoch=3), revision=2)
    await node.turn()
    assert node.states() == {("p1", 1): GONE, ("p1", 3): UP}


async def test_a_draining_port_forwards_until_its_device_leaves() -> None:
    node = await ready(port(1), port(2), plugged=(1, 2))
    node.change(port(1, draining=True), revision=2)
    await node.turn()
    assert node.send("tap2", ipv4(2, mac(1))) == {"tap1"}
    node.rows.unplug("tap1")
    await node.turn()
    assert node.states()["p1", 1] is GONE
    assert node.send("tap2", ipv4(2, mac(1))) == {"leaf:101"}
    node.change(gone=("p1",), revision=3)
    await node.turn(2)
    assert set(node.rows.memory().bindings) == {("p2", 1)}


async def test_nothing_is_removed_before_the_first_snapshot() -> None:
    node = await ready(port(1), port(2), plugged=(1, 2))
    flows = dict(node.integration.flows), dict(node.uplink.flows)
    node.start_agent()
    node.change(gone=("p1", "p2"), revision=99)
    await node.turn(5)
    assert (node.integration.flows, node.uplink.flows) == flows
    node.snapshot(port(2), revision=100)
    await node.turn()
    assert node.send("tap1", ipv4(1, mac(2))) == set()
    assert node.states()["p1", 1] is GONE


async def test_a_lost_switch_is_repaired_at_once_and_not_reported() -> None:
    node = await ready(port(1), port(2), plugged=(1, 2))
    told = len(node.told)
    node.integration.stop()
    node.uplink.stop()
    await node.turn(2)
    node.restart_vswitchd()
    await node.turn(4)
    assert node.send("tap1", ipv4(1, mac(2))) == {"tap2"}
    assert node.links.kernel.links["br-bond"].addresses == ("172.31.1.11/24",)
    assert node.links.kernel.routes
    assert len(node.told) == told


async def test_a_switch_that_stays_away_is_reported() -> None:
    node = await ready(port(1), plugged=(1,))
    node.integration.stop()
    node.uplink.stop()
    await node.turn()
    node.now += SWITCH_GRACE_S
    await node.turn()
    assert node.told[-1].state is PENDING
    assert "ovs-vswitchd" in node.told[-1].reason
    node.restart_vswitchd()
    await node.turn(2)
    assert node.told[-1].state is UP


async def test_a_restarted_agent_reports_again_but_repeats_no_steps() -> None:
    node = await ready(port(1), plugged=(1,))
    node.start_agent()
    node.snapshot(port(1))
    await node.turn()
    assert (node.told[-1].state, node.told[-1].steps) == (UP, ())


async def test_an_agent_killed_before_its_report_leaves_the_steps_to_the_next() -> None:
    node = await ready()
    node.rows.plug("tap1", "p1")
    node.rows.settle()
    node.change(port(1), revision=2)
    await node.agent.turn()  # wired, and the report is lost with the agent
    node.start_agent()
    node.snapshot(port(1))
    await node.turn()
    assert [step.step for step in node.told[-1].steps] == [steps.PLUGGED, steps.DETECTED, steps.FLOWS]


async def test_flows_changed_by_hand_are_put_right_at_verification() -> None:
    node = await ready(port(1), port(2), plugged=(1, 2))
    before = dict(node.integration.flows)
    node.integration.flows.popitem()
    foreign, stray = Flow(0, 1, ()), Flow(0, 2, (), cookie=COOKIE_MARK)
    node.integration.flows |= {foreign.key: foreign, stray.key: stray}
    await node.turn()
    assert len(node.integration.flows) == len(before) + 1
    node.now += VERIFY_INTERVAL_S
    await node.turn()
    assert node.integration.flows == {**before, foreign.key: foreign}


async def test_one_refused_port_does_not_stop_the_others() -> None:
    node = await ready(port(1), port(2), plugged=(1, 2))
    node.rows.plug("tap3", "p3")
    node.rows.plug("tap4", "p4")
    node.rows.settle()
    node.change(port(3), port(4, "blue", 102), revision=2)
    (flow,) = [flow for flow in _would_add(node, "tap3") if flow.table == 0]
    node.integration.refuse = flow
    await node.turn(2)
    assert node.states() == {("p1", 1): UP, ("p2", 1): UP, ("p3", 1): FAILED, ("p4", 1): UP}
    node.integration.refuse = None
    node.now += VERIFY_INTERVAL_S
    await node.turn()
    assert node.states()["p3", 1] is UP


async def test_a_flow_that_does_not_read_back_is_no_success() -> None:
    node = await ready(port(1), plugged=(1,))
    node.rows.plug("tap2", "p2")
    node.rows.settle()
    node.change(port(2), revision=2)
    (flow,) = [flow for flow in _would_add(node, "tap2") if flow.table == 0]
    node.integration.swallow = flow
    await node.turn(5)
    assert node.states() == {("p1", 1): UP, ("p2", 1): PENDING}
    assert "did not read back" in node.told[-1].reason
    node.integration.swallow = None
    await node.turn()
    assert node.states()["p2", 1] is UP


async def test_a_device_that_was_replaced_between_two_passes_makes_its_steps_again() -> None:
    node = await ready(port(1), plugged=(1,))
    told, replaced_at = len(node.told), node.now
    node.rows.unplug("tap1")
    node.rows.plug("tap1", "p1")
    node.rows.settle()
    await node.turn()
    again = {step.step for report in node.told[told:] for step in report.steps if step.at >= replaced_at}
    assert again == {steps.PLUGGED, steps.DETECTED, steps.FLOWS}


async def test_a_device_whose_row_is_refused_is_wired_and_holds_nobody_back() -> None:
    node = await ready()
    node.rows.refuse = lambda operation: "mtu_request" in operation.get("row", {})
    node.rows.plug("tap1", "p1")
    node.rows.plug("tap2", "p2")
    node.rows.settle()
    node.change(port(1, mtu_bytes=9), port(2), revision=2)
    await node.turn()
    assert node.states() == {("p1", 1): UP, ("p2", 1): UP}
    assert node.rows.row("Port", "tap2")["tag"] == 1
    transactions = node.rows.transactions
    await node.turn(3)
    assert node.rows.transactions == transactions + 1  # that the server was told


async def test_bridges_that_cannot_be_made_are_tried_again() -> None:
    node = FakeNode()
    node.rows.refuse = lambda operation: operation["table"] == "Bridge"
    await node.turn(3)
    assert not node.rows.rows["Bridge"]
    node.rows.refuse = lambda operation: False
    node.now += RETRY_PERMANENT_S
    await node.turn(4)
    assert node.links.kernel.links["br-bond"].addresses == ("172.31.1.11/24",)


@pytest.mark.parametrize("dead", ["tap1", "tap9"])
async def test_of_two_devices_of_one_port_the_live_one_counts(dead: str) -> None:
    node = await ready(port(1), port(2), plugged=(1, 2))
    node.rows.plug("tap9", "p1")
    node.rows.settle()
    node.rows.row("Interface", dead)["ofport"] = -1
    await node.turn()
    (live,) = {"tap1", "tap9"} - {dead}
    assert node.send("tap2", ipv4(2, mac(1))) == {live}
    assert node.states()["p1", 1] is UP


def _would_add(node: FakeNode, device: str) -> list[Flow]:
    number = int(device.removeprefix("tap"))
    return list(port_flows(port(number), node.ofport(device), node.rows.memory().local_vlans["red"]))


async def test_a_bad_address_fails_its_port_only() -> None:
    node = await ready(port(1, mac="bad"), port(2), plugged=(1, 2))
    assert node.states() == {("p1", 1): FAILED, ("p2", 1): UP}
    assert "'bad' is not a MAC address" in node.told[0].reason or "'bad' is not a MAC address" in node.told[1].reason


async def test_a_port_that_is_administratively_down_is_up_and_drops() -> None:
    node = await ready(port(1, admin_state_up=False), port(2), plugged=(1, 2))
    assert node.states() == {("p1", 1): UP, ("p2", 1): UP}
    assert node.send("tap1", ipv4(1, mac(2))) == set()
    assert node.send("tap2", ipv4(2, mac(1))) == {"leaf:101"}
    assert node.send("tap2", ipv4(2, BROADCAST)) == {"leaf:101"}


async def test_one_nic_needs_no_bond_and_a_second_one_makes_it() -> None:
    one = parse({"node": "node1", "server": "http://s:1", "nics": ["nic0"]})
    node = FakeNode(one)
    await node.turn(4)
    assert node.rows.row("Port", "nic0")["interfaces"]
    node.settings = SETTINGS
    node.start_agent()
    await node.turn(4)
    assert len(node.rows.row("Port", "bond0")["interfaces"][1]) == 2
    assert "nic0" not in {row["name"] for row in node.rows.rows["Port"].values()}


async def test_lacp_is_asked_for_where_chosen() -> None:
    settings = parse(
        {"node": "n", "server": "http://s:1", "nics": ["nic0", "nic1"], "ovs": {"bond_mode": "balance-tcp"}}
    )
    node = FakeNode(settings)
    await node.turn(4)
    row = node.rows.row("Port", "bond0")
    assert (row["bond_mode"], row["lacp"]) == ("balance-tcp", "active")


async def play(node: FakeNode, events: list[str]) -> None:
    """Let things happen in an order, with a pass after each."""
    desired = {number: port(number, *(("red", 101) if number < 3 else ("blue", 102))) for number in (1, 2, 3)}
    for revision, event in enumerate(events, start=2):
        word, number = event.split()
        device, port_id = f"tap{number}", f"p{number}"
        plugged = {row["name"] for row in node.rows.rows["Interface"].values()}
        if word == "plug" and device not in plugged:
            node.rows.plug(device, port_id)
        elif word == "unplug" and device in plugged:
            node.rows.unplug(device)
        elif word == "want":
            node.change(desired[int(number)], revision=revision)
        elif word == "drop":
            node.change(gone=(port_id,), revision=revision)
        await node.turn()


SCRIPT = ["want 1", "plug 1", "plug 2", "want 2", "want 3", "plug 3", "drop 1", "unplug 1", "want 1", "plug 1"]
FINAL = {("p1", 1): UP, ("p2", 1): UP, ("p3", 1): UP}


async def settled_flows() -> tuple[object, object]:
    """Return the flows of a node that saw everything at once. Devices get their ports in the order of their names."""
    node = await ready(port(1), port(2), port(3, "blue", 102), plugged=(1, 2, 3))
    return _by_name(node)


def _by_name(node: FakeNode) -> tuple[object, object]:
    """Return what each device's frames meet, with names for the numbers that depend on history."""
    frames = [ipv4(n, target) for n in (1, 2, 3) for target in (mac(1), mac(2), mac(3), BROADCAST)]
    sent = [[node.send(f"tap{n}", frame) for frame in frames] for n in (1, 2, 3)]
    received = [[node.receive(vlan, frame) for frame in frames] for vlan in (0, 101, 102, 103)]
    return sent, received


@pytest.mark.parametrize("events", [SCRIPT, [*SCRIPT, *SCRIPT], [event for event in SCRIPT for _ in (1, 2)]])
async def test_repeated_events_change_nothing_in_the_end(events: list[str]) -> None:
    node = await ready()
    await play(node, events)
    await node.turn(2)
    assert node.states() == FINAL
    assert _by_name(node) == await settled_flows()


async def test_the_order_of_events_changes_nothing_in_the_end() -> None:
    orders = itertools.permutations(["want 1", "plug 1", "want 2", "plug 2", "want 3 ", "plug 3"])
    for events in some(orders):
        node = await ready()
        await play(node, list(events))
        await node.turn(2)
        assert node.states() == FINAL, events
        assert _by_name(node) == await settled_flows(), events


async def _calls_of_a_whole_life() -> int:
    node = FakeNode()
    await _life(node)
    return node.faults.calls


async def _life(node: FakeNode) -> None:
    await node.turn(4)
    node.now += RETRY_PERMANENT_S
    await node.turn(2)
    node.snapshot()
    await play(node, SCRIPT)
    node.restart_vswitchd()
    await node.turn(4)
    node.now += VERIFY_INTERVAL_S
    await node.turn(4)


@pytest.mark.parametrize("error", [Transient("lost", retry_after_s=0.1), Permanent("refused")])
async def test_a_fault_at_any_point_changes_nothing_in_the_end(error: Transient | Permanent) -> None:
    expected = await settled_flows()
    for call in some(range(1, await _calls_of_a_whole_life() + 1)):
        node = FakeNode()
        node.faults.at[call] = error
        await _life(node)
        assert not node.faults.at, call
        assert node.states() == FINAL, call
        assert _by_name(node) == expected, call
        assert node.links.kernel.links["br-bond"].addresses == ("172.31.1.11/24",), call


async def test_a_restart_of_the_agent_at_any_point_changes_nothing_in_the_end() -> None:
    expected = await settled_flows()
    for cut in range(len(SCRIPT)):
        node = await ready()
        await play(node, SCRIPT[:cut])
        wanted = {number for number in (1, 2, 3) if _wanted(SCRIPT[:cut], number)}
        node.start_agent()
        node.snapshot(*(port(n, *(("red", 101) if n < 3 else ("blue", 102))) for n in wanted))
        await play(node, SCRIPT[cut:])
        await node.turn(2)
        assert node.states() == FINAL, cut
        assert _by_name(node) == expected, cut


def _wanted(events: list[str], number: int) -> bool:
    said = [event.split()[0] for event in events if event.split()[1] == str(number) and event[0] in "wd"]
    return bool(said) and said[-1] == "want"
