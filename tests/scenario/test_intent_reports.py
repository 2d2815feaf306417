"""Reports as a network delivers them: reversed, doubled, late, from the wrong node; and a random life of many ports."""

import itertools
import random
from ipaddress import ip_address
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.intent.desired import node_desired
from weft.intent.ports import FixedIpSpec, PortSpec, bind_port, create_port, delete_port, unbind_port
from weft.intent.realizations import report
from weft.model import steps
from weft.model.errors import Conflict, Forbidden, Invalid, WeftError
from weft.model.ids import NetworkId, NodeName, PortId
from weft.model.intent import RealizationState, Realizer
from weft.ports.machine import State
from weft.protocol.node import RealizationReport, StepReport
from weft.store import Transaction
from weft.store.check import contradictions

UP, PENDING = RealizationState.UP, RealizationState.PENDING


def told(
    port_id: str, epoch: int, realizer: Realizer, state: RealizationState, *done: tuple[str, float]
) -> RealizationReport:
    return RealizationReport(
        port_id=port_id,
        epoch=epoch,
        realizer=realizer,
        state=state,
        steps=tuple(StepReport(step=step, at=at) for step, at in done),
    )


async def deliver(w: World, *reports: RealizationReport, node: str = "node1") -> None:
    for each in reports:
        by_host = each.realizer is Realizer.HOST
        actor, author = (f"agent/{node}", NodeName(node)) if by_host else ("fabric/leaf1", None)

        def work(
            tx: Transaction, each: RealizationReport = each, actor: str = actor, author: NodeName | None = author
        ) -> object:
            return report(tx, [each], actor=actor, node=author)

        await w.store.transact(work)


async def test_any_order_and_number_of_reports_ends_alike(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment("10.0.0.0/16")
        ends = set()
        for order in itertools.permutations(range(4)):
            view = await w.port(network.id, "node1")
            all_of_it = [
                told(view.port.id, 1, Realizer.HOST, PENDING, (steps.PLUGGED, 1.0), (steps.DETECTED, 2.0)),
                told(view.port.id, 1, Realizer.HOST, UP, (steps.DETECTED, 2.0), (steps.FLOWS, 3.0)),
                told(view.port.id, 1, Realizer.FABRIC, PENDING, (steps.SENT, 1.5)),
                told(view.port.id, 1, Realizer.FABRIC, UP, (steps.LEAF_FOUND, 2.5), (steps.CONFIGURED, 3.5)),
            ]
            await deliver(w, *(all_of_it[at] for at in (*order, *reversed(order), *order)))
            after = await w.view(view.port.id)
            history = await w.store.read(lambda snapshot, id_=view.port.id: snapshot.history(id_))  # type: ignore[misc]
            done = sorted((entry.at, entry.step) for entry in history if entry.at < 10)
            states = tuple((each.realizer, each.state) for each in after.life.realizations)
            ends.add((after.life.state, states, tuple(done)))
        assert ends == {
            (
                State.ACTIVE,
                ((Realizer.FABRIC, UP), (Realizer.HOST, UP)),
                (
                    (1.0, steps.PLUGGED),
                    (1.5, steps.SENT),
                    (2.0, steps.DETECTED),
                    (2.5, steps.LEAF_FOUND),
                    (3.0, steps.FLOWS),
                    (3.5, steps.CONFIGURED),
                ),
            )
        }


async def test_reports_of_two_epochs_in_any_order_end_in_the_newer(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment("10.0.0.0/16")
        for order in itertools.permutations(range(4)):
            view = await w.active(network.id, "node1")
            await w.store.transact(lambda tx, id_=view.port.id: bind_port(tx, id_, NodeName("node2")))  # type: ignore[misc]
            for at in (*order, *order):
                if at == 0:
                    await w.host(view, "node1", "failed", epoch=1, reason="late")
                elif at == 1:
                    await w.fabric(view, "pending", epoch=1, reason="late")
                elif at == 2:
                    await w.host(view, "node2", epoch=2)
                else:
                    await w.fabric(view, epoch=2)
            after = (await w.view(view.port.id)).life
            assert (after.state, after.epoch, after.reason) == (State.ACTIVE, 2, "")
            assert [(each.epoch, each.state) for each in after.realizations] == [(2, UP), (2, UP)]


async def test_what_is_ignored_says_where_the_port_is_now(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        await w.store.transact(lambda tx: bind_port(tx, view.port.id, NodeName("node2"), supersede=True))
        moved = await w.host(view, "node1")
        assert [each.reason for each in moved.ignored] == ["epoch 1 is over: the port is at epoch 2"]
        await w.store.transact(lambda tx: unbind_port(tx, view.port.id))
        for node, epoch in (("node1", 1), ("node2", 2)):
            off = await w.host(view, node, "gone", epoch=epoch)
            assert [each.reason for each in off.ignored] == [f"epoch {epoch} is over: the port is on no node"]
        history = await w.store.read(lambda snapshot: snapshot.history(view.port.id))
        stale = [entry.detail for entry in history if entry.step == steps.STALE_REPORT]
        assert stale == ["ignored: the port is at epoch 2"], "that an epoch is gone is what its node should say"


async def test_a_report_says_nothing_of_a_port_that_is_gone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        await w.store.transact(lambda tx: delete_port(tx, view.port.id))
        revision = w.store.revision
        answer = await w.host(view, "node1", "gone")
        assert [(each.port_id, each.current_epoch) for each in answer.ignored] == [(view.port.id, None)]
        assert w.store.revision == revision == answer.revision


async def test_what_an_agent_may_not_say(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        mine, other = await w.port(network.id, "node1"), await w.port(network.id, "node2")
        good = told(mine.port.id, 1, Realizer.HOST, UP)
        node = NodeName("node1")
        for bad, error, text in (
            (told(other.port.id, 1, Realizer.HOST, UP), Forbidden, "on node 'node2', not on 'node1'"),
            (told(mine.port.id, 1, Realizer.FABRIC, UP), Forbidden, "cannot report for realizer 'fabric'"),
            (
                told(mine.port.id, 1, Realizer.HOST, UP, (steps.STATE, 1.0)),
                Invalid,
                "'state' is not a step of realizer",
            ),
        ):
            with pytest.raises(error, match=text):
                await w.store.transact(lambda tx, bad=bad: report(tx, [good, bad], actor="agent/node1", node=node))  # type: ignore[misc]
            assert await w.view(mine.port.id) == mine
        foreign = told(other.port.id, 7, Realizer.HOST, UP)
        answer = await w.store.transact(lambda tx: report(tx, [foreign], actor="agent/node1", node=node))
        assert [each.current_epoch for each in answer.ignored] == [None]
        history = await w.store.read(lambda snapshot: snapshot.history(other.port.id))
        assert not [entry for entry in history if entry.step == steps.STALE_REPORT]


async def test_what_a_binding_does_not_owe_is_not_counted(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.port(network.id, "bm1")
        answer = await w.host(view, "bm1")
        assert "needs nothing from realizer 'host'" in answer.ignored[0].reason
        assert (await w.view(view.port.id)).life.state is State.BINDING


@pytest.mark.parametrize("seed", range(4))
async def test_a_random_life_of_many_ports_leaves_no_contradiction(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    nodes = [NodeName(name) for name in ("node1", "node2", "node3", "bm1")]
    async with world(tmp_path, seed=seed) as w:
        networks = [(await w.segment("10.0.0.0/28"))[0].id for _ in range(2)]
        ports: list[PortId] = []

        def act(tx: Transaction) -> None:
            for _ in range(dice.randint(1, 3)):
                one(tx, dice, networks, nodes, ports)
            if dice.random() < 0.2:
                raise Conflict("thought better of it")

        for _ in range(250):
            known = list(ports)
            try:
                await w.store.transact(act)
            except WeftError:
                ports[:] = known
            w.clock.advance(dice.choice([0.0, 1.0, 20.0]))
        assert await w.store.read(contradictions) == []
        views = await w.store.read(lambda snapshot: snapshot.ports())
        assert {view.port.id for view in views} == set(ports)
        bound = {(binding.node, view.port.network_id) for view in views for binding in view.life.bindings}
        live = [vlan for vlan in await w.store.read(lambda s: s.leaf_vlans()) if vlan.released_at is None]
        leaf = {"node1": "leaf1", "node2": "leaf2", "node3": "leaf3"}
        assert {(vlan.domain, vlan.network_id) for vlan in live} == {
            (leaf[node], network) for node, network in bound if node in leaf
        }
        for node in nodes:
            desired = await w.store.read(lambda snapshot, node=node: node_desired(snapshot, node))  # type: ignore[misc]
            here = {view.port.id for view in views if node in {binding.node for binding in view.life.bindings}}
            assert {port.port_id for port in desired.ports} == here
            assert all((port.vlan > 0) == (node != "bm1") for port in desired.ports)
        w.clock.advance(60)
        for network_id in networks:
            held = sum(view.port.network_id == network_id for view in views)
            for _ in range(13 - held):
                await w.port(network_id)
            with pytest.raises(Conflict, match="No more IP addresses"):
                await w.port(network_id)
    async with world(tmp_path, w.clock) as again:
        assert await again.store.read(contradictions) == []
        with pytest.raises(Conflict, match="No more IP addresses"):
            await again.port(networks[0])


def one(
    tx: Transaction, dice: random.Random, networks: list[NetworkId], nodes: list[NodeName], ports: list[PortId]
) -> None:
    """Do one thing at random."""
    what = dice.random()
    if what < 0.3 or not ports:
        exact = (FixedIpSpec(address=ip_address(f"10.0.0.{dice.randint(0, 15)}")),) if dice.random() < 0.3 else None
        node = dice.choice([None, *nodes])
        spec = PortSpec(project_id=PROJECT, network_id=dice.choice(networks), fixed_ips=exact, node=node)
        ports.append(create_port(tx, spec).port.id)
        return
    port_id = dice.choice(ports)
    if what < 0.45:
        delete_port(tx, port_id)
        ports.remove(port_id)
    elif what < 0.6:
        bind_port(tx, port_id, dice.choice(nodes), supersede=dice.random() < 0.3)
    elif what < 0.65:
        unbind_port(tx, port_id)
    else:
        epoch = dice.randint(1, 3)
        state = dice.choice([UP, UP, UP, *RealizationState])
        realizer = dice.choice([Realizer.HOST, Realizer.FABRIC])
        node = dice.choice(nodes) if realizer is Realizer.HOST else None
        report(tx, [told(port_id, epoch, realizer, state)], actor=f"agent/{node}" if node else "fabric/x", node=node)
