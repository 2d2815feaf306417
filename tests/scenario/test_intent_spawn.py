"""The one flow, from a request to ACTIVE, over to another node, and away, on a real store and without a device."""

from pathlib import Path

import pytest
from core_world import world

from weft.intent.desired import node_changes, node_desired
from weft.intent.ports import bind_port, delete_port, unbind_port
from weft.model import steps
from weft.model.errors import Conflict, Forbidden
from weft.model.ids import NodeName
from weft.ports.machine import State
from weft.protocol.node import StepReport
from weft.store import Kind, Op

NODE1, NODE2, NODE3 = NodeName("node1"), NodeName("node2"), NodeName("node3")


async def test_spawn_to_active(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment()
        view = await w.port(network.id, "node1", name="vm")
        assert [str(ip.address) for ip in view.port.fixed_ips] == ["10.0.0.2"]
        assert (view.life.state, view.life.epoch) == (State.BINDING, 1)
        desired = await w.store.read(lambda snapshot: node_desired(snapshot, NODE1))
        assert desired.revision == w.store.revision
        (port,) = desired.ports
        assert (port.port_id, port.epoch, port.vlan, port.mac) == (view.port.id, 1, 100, view.port.mac)
        assert (port.addresses[0].address, port.addresses[0].prefixlen) == ("10.0.0.2", 24)
        assert (port.addresses[0].gateway, port.mtu_bytes, port.draining) == ("10.0.0.1", 1500, False)

        w.clock.advance(0.2)
        plugged = StepReport(step=steps.PLUGGED, at=w.clock())
        await w.host(view, "node1", "pending", steps=(plugged,))
        await w.host(view, "node1", steps=(plugged, StepReport(step=steps.FLOWS, at=w.clock())))
        assert (await w.view(view.port.id)).life.state is State.BINDING
        answer = await w.fabric(view)
        assert answer.revision == w.store.revision
        assert answer.ignored == ()
        after = await w.view(view.port.id)
        assert after.life.state is State.ACTIVE
        assert after.life.since == w.clock()
        history = await w.store.read(lambda snapshot: snapshot.history(view.port.id))
        assert [(entry.step, entry.after) for entry in history] == [
            (steps.CREATED, ""),
            (steps.STATE, "ALLOCATED"),
            (steps.BOUND, "node1"),
            (steps.STATE, "BINDING"),
            (steps.SAVED, ""),
            (steps.PLUGGED, ""),
            (steps.FLOWS, ""),
            (steps.STATE, "ACTIVE"),
        ]
        assert subnet.gateway is not None


async def test_move_makes_before_it_breaks(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        moved = await w.store.transact(lambda tx: bind_port(tx, view.port.id, NODE2))
        assert (moved.life.state, moved.life.epoch) == (State.MOVING, 2)
        assert (moved.port.mac, moved.port.fixed_ips) == (view.port.mac, view.port.fixed_ips)
        (old,) = (await w.store.read(lambda snapshot: node_desired(snapshot, NODE1))).ports
        assert (old.epoch, old.draining) == (1, True)
        (new,) = (await w.store.read(lambda snapshot: node_desired(snapshot, NODE2))).ports
        assert (new.epoch, new.draining) == (2, False)
        await w.host(moved, "node2")
        before = w.store.revision
        await w.fabric(moved)
        after = await w.view(view.port.id)
        assert after.life.state is State.ACTIVE
        assert [binding.node for binding in after.life.bindings] == ["node2"]
        assert (await w.store.read(lambda snapshot: node_desired(snapshot, NODE1))).ports == ()
        changes = await w.changes(before)
        assert {(change.kind, change.nodes) for change in changes} >= {(Kind.PORT, ("node1", "node2"))}
        vlans = await w.store.read(lambda snapshot: snapshot.leaf_vlans())
        assert {(vlan.domain, vlan.released_at is None) for vlan in vlans} == {("leaf1", False), ("leaf2", True)}
        gone = await w.host(view, "node1", "gone", epoch=1)
        assert [ignored.current_epoch for ignored in gone.ignored] == [2]


async def test_a_late_report_of_the_old_node_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        moved = await w.store.transact(lambda tx: bind_port(tx, view.port.id, NODE2))
        await w.host(moved, "node1", "failed", epoch=1, reason="the device is gone")
        assert (await w.view(view.port.id)).life.state is State.MOVING
        await w.host(moved, "node2")
        await w.fabric(moved)
        active = await w.view(view.port.id)
        for _ in range(2):
            answer = await w.host(view, "node1", "failed", epoch=1, reason="late")
            assert [(ignored.epoch, ignored.current_epoch) for ignored in answer.ignored] == [(1, 2)]
        assert await w.view(view.port.id) == active
        history = await w.store.read(lambda snapshot: snapshot.history(view.port.id))
        stale = [entry for entry in history if entry.step == steps.STALE_REPORT]
        assert [(entry.epoch, entry.actor, entry.after) for entry in stale] == [(1, "agent/node1", "failed")]


async def test_the_old_node_need_not_answer(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        await w.host(view, "node1", "pending", reason="device vanished")
        assert (await w.view(view.port.id)).life.state is State.DEGRADED
        moved = await w.store.transact(lambda tx: bind_port(tx, view.port.id, NODE2))
        await w.fabric(moved)
        await w.host(moved, "node2")
        after = await w.view(view.port.id)
        assert after.life.state is State.ACTIVE
        assert len(after.life.bindings) == 1


async def test_two_nodes_at_once_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.port(network.id, "node1")
        with pytest.raises(Conflict, match=r"node 'node2'.*node 'node1' \(epoch 1\)") as refused:
            await w.store.transact(lambda tx: bind_port(tx, view.port.id, NODE2))
        assert refused.value.kind == "PortBindingConflict"
        assert await w.view(view.port.id) == view
        taken = await w.store.transact(lambda tx: bind_port(tx, view.port.id, NODE2, supersede=True))
        assert [(binding.node, binding.epoch) for binding in taken.life.bindings] == [("node2", 2)]
        assert (await w.store.read(lambda snapshot: node_desired(snapshot, NODE1))).ports == ()


async def test_binding_where_it_is_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        revision = w.store.revision
        again = await w.store.transact(lambda tx: bind_port(tx, view.port.id, NODE1))
        assert again == view
        assert w.store.revision == revision


async def test_delete_takes_the_port_from_node_and_leaf_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        before = w.store.revision
        await w.store.transact(lambda tx: delete_port(tx, view.port.id))
        assert (await w.store.read(lambda snapshot: node_desired(snapshot, NODE1))).ports == ()
        change = await w.store.read(lambda snapshot: node_changes(snapshot, NODE1, [view.port.id]))
        assert (change.ports, change.gone) == ((), (view.port.id,))
        changes = await w.changes(before)
        assert {(each.kind, each.op, each.nodes) for each in changes} == {
            (Kind.PORT, Op.DELETE, ("node1",)),
            (Kind.LEAF_VLAN, Op.PUT, ()),
        }
        (vlan,) = await w.store.read(lambda snapshot: snapshot.leaf_vlans())
        assert vlan.released_at == w.clock()
        history = await w.store.read(lambda snapshot: snapshot.history(view.port.id))
        assert history[-1].after == "RELEASED"


async def test_unbind_keeps_the_address(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        held = await w.store.transact(lambda tx: unbind_port(tx, view.port.id))
        assert held.life.state is State.HELD
        assert held.port.fixed_ips == view.port.fixed_ips
        back = await w.store.transact(lambda tx: bind_port(tx, view.port.id, NODE3))
        assert (back.life.state, back.life.epoch) == (State.BINDING, 2)


async def test_an_agent_reports_for_its_node_only(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.port(network.id, "node1")
        with pytest.raises(Forbidden, match="on node 'node1', not on 'node2'"):
            await w.host(view, "node2")
        assert (await w.view(view.port.id)) == view
