"""One port's life under every sequence of events, and in the cases that have a name."""

import itertools
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.thorough import examples

from weft.model.errors import Conflict
from weft.model.ids import Epoch, NodeName, PortId
from weft.model.intent import Binding, Realization, RealizationState, Realizer
from weft.ports import lifecycle
from weft.ports.lifecycle import Lifecycle, Outcome, Status, neutron_status
from weft.ports.machine import BOUND, State

PORT = PortId("p")
NODES = [NodeName(name) for name in ("n1", "n2", "n3")]
BOTH = frozenset({Realizer.HOST, Realizer.FABRIC})
UP, PENDING, FAILED, GONE = (
    RealizationState.UP,
    RealizationState.PENDING,
    RealizationState.FAILED,
    RealizationState.GONE,
)


def said(epoch: int, realizer: Realizer, state: RealizationState, reason: str = "") -> Realization:
    return Realization(port_id=PORT, epoch=Epoch(epoch), realizer=realizer, state=state, reason=reason, at=1.0)


def tell(life: Lifecycle, *told: Realization) -> Lifecycle:
    for each in told:
        life = lifecycle.realize(life, each, now=2.0, actor="a").life
    return life


def bound(node: NodeName = NODES[0]) -> Lifecycle:
    life = lifecycle.allocate(PORT, now=1.0, actor="a").life
    return lifecycle.bind(life, node, BOTH, now=1.0, actor="a").life


def active() -> Lifecycle:
    return tell(bound(), said(1, Realizer.HOST, UP), said(1, Realizer.FABRIC, UP))


class Life(RuleBasedStateMachine):
    """Whatever happens, the invariants hold, epochs only grow, and history tells every change of state."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1.0
        begun = lifecycle.allocate(PORT, now=self.now, actor="a")
        self.life = begun.life
        self.told_state = begun.history[-1].after
        self.highest = 0

    def take(self, outcome: Outcome) -> None:
        for entry in outcome.history:
            if entry.step == "state":
                assert entry.before == self.told_state
                self.told_state = entry.after
        assert self.told_state == outcome.life.state
        assert outcome.life.epoch >= self.highest
        self.highest = outcome.life.epoch
        self.life = outcome.life

    @rule(node=st.sampled_from(NODES), supersede=st.booleans(), owed=st.sampled_from([BOTH, {Realizer.FABRIC}]))
    def bind(self, node: NodeName, supersede: bool, owed: set[Realizer]) -> None:
        before = self.life
        current = before.current
        event = partial(lifecycle.bind, before, node, frozenset(owed), now=self.now, actor="a", supersede=supersede)
        on_its_way = before.state in {State.BINDING, State.MOVING} and current is not None and current.node != node
        if on_its_way and not supersede:
            assert current is not None
            with pytest.raises(Conflict, match=f"node '{node}'.*node '{current.node}'"):
                event()
            return
        outcome = event()
        after = outcome.life
        assert after.current is not None
        assert after.current.node == node
        if after.epoch == before.epoch:
            assert after == before
        else:
            assert after.state in {State.BINDING, State.MOVING}
            assert (after.state is State.MOVING) == (after.draining is not None)
            assert not (supersede and after.draining)
        self.take(outcome)

    @precondition(lambda self: self.life.bindings)
    @rule(
        data=st.data(),
        realizer=st.sampled_from([Realizer.HOST, Realizer.FABRIC]),
        state=st.sampled_from(RealizationState),
        reason=st.sampled_from(["", "because"]),
    )
    def report(self, data: st.DataObject, realizer: Realizer, state: RealizationState, reason: str) -> None:
        binding: Binding = data.draw(st.sampled_from(self.life.bindings))
        told = Realization(
            port_id=PORT, epoch=binding.epoch, realizer=realizer, state=state, reason=reason, at=self.now
        )
        before = self.life
        outcome = lifecycle.realize(before, told, now=self.now, actor="a")
        if binding.draining:
            assert outcome.life.state is before.state
        if outcome.life.binding(binding.epoch):
            assert lifecycle.realize(outcome.life, told, now=self.now, actor="a") == Outcome(outcome.life)
        self.take(outcome)

    @rule()
    def unbind(self) -> None:
        self.take(lifecycle.unbind(self.life, now=self.now, actor="a"))
        assert not self.life.bindings

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_broken(self) -> None:
        assert lifecycle.check(self.life) == []
        assert self.life.since <= self.now
        assert (self.life.current is not None) == (self.life.state in BOUND)


Life.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=40, deadline=None)
TestLife = Life.TestCase


@given(st.permutations([Realizer.HOST, Realizer.FABRIC] * 3))
def test_reports_in_any_order_and_any_number_end_active(order: list[Realizer]) -> None:
    assert tell(bound(), *(said(1, realizer, UP) for realizer in order)).state is State.ACTIVE


REPORTS = [
    said(1, Realizer.HOST, PENDING),
    said(1, Realizer.HOST, UP),
    said(1, Realizer.FABRIC, PENDING),
    said(1, Realizer.FABRIC, UP),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_steps_that_come_late_take_nothing_back(order: tuple[int, ...]) -> None:
    for told in ([REPORTS[at] for at in order], [REPORTS[at] for at in (*order, *order)]):
        life = tell(bound(), *told)
        assert life.state is State.ACTIVE
        assert {each.state for each in life.realizations} == {UP}


def test_a_failure_is_an_error_until_it_is_up() -> None:
    failed = tell(bound(), said(1, Realizer.FABRIC, UP), said(1, Realizer.HOST, FAILED, "no such bridge"))
    assert (failed.state, failed.reason) == (State.ERROR, "host: no such bridge")
    trying = tell(failed, said(1, Realizer.HOST, PENDING, "trying again"))
    assert (trying.state, trying.reason) == (State.ERROR, "host: trying again")
    assert tell(trying, said(1, Realizer.HOST, UP)).state is State.ACTIVE


def test_a_loss_degrades_and_its_end_heals() -> None:
    lost = tell(active(), said(1, Realizer.HOST, PENDING, "device vanished"))
    assert (lost.state, lost.reason) == (State.DEGRADED, "host: device vanished")
    back = tell(lost, said(1, Realizer.HOST, UP))
    assert (back.state, back.reason) == (State.ACTIVE, "")


def test_a_move_keeps_the_old_binding_until_the_new_is_up() -> None:
    moved = lifecycle.bind(active(), NODES[1], BOTH, now=3.0, actor="a").life
    assert (moved.state, moved.epoch) == (State.MOVING, 2)
    assert moved.draining is not None
    assert moved.draining.epoch == 1
    assert neutron_status(moved) is Status.ACTIVE
    half = tell(moved, said(2, Realizer.HOST, UP))
    assert half.draining is not None
    done = tell(half, said(2, Realizer.FABRIC, UP))
    assert (done.state, done.draining) == (State.ACTIVE, None)


def test_the_old_binding_goes_when_all_of_it_is_gone() -> None:
    moved = lifecycle.bind(active(), NODES[1], BOTH, now=3.0, actor="a").life
    half = tell(moved, said(1, Realizer.HOST, GONE))
    assert half.draining is not None
    assert neutron_status(half) is Status.BUILD
    assert tell(half, said(1, Realizer.FABRIC, GONE)).draining is None


def test_a_move_that_failed_can_go_back_or_on() -> None:
    moved = lifecycle.bind(active(), NODES[1], BOTH, now=3.0, actor="a").life
    failed = tell(moved, said(2, Realizer.HOST, FAILED, "no"))
    assert failed.state is State.ERROR
    back = lifecycle.bind(failed, NODES[0], BOTH, now=4.0, actor="a").life
    assert [(each.node, each.epoch, each.draining) for each in back.bindings] == [("n1", 3, False)]
    on = lifecycle.bind(failed, NODES[2], BOTH, now=4.0, actor="a").life
    assert [(each.node, each.epoch, each.draining) for each in on.bindings] == [("n1", 1, True), ("n3", 3, False)]


def test_superseding_drops_all_others_at_once() -> None:
    moved = lifecycle.bind(active(), NODES[1], BOTH, now=3.0, actor="a").life
    taken = lifecycle.bind(moved, NODES[2], BOTH, now=4.0, actor="a", supersede=True).life
    assert [(each.node, each.epoch) for each in taken.bindings] == [("n3", 3)]
    assert taken.state is State.BINDING
    again = lifecycle.bind(taken, NODES[2], BOTH, now=5.0, actor="a", supersede=True).life
    assert again.epoch == 4


def test_a_vnic_type_changes_without_a_new_epoch() -> None:
    life = lifecycle.bind(active(), NODES[0], BOTH, now=3.0, actor="a", vnic_type="direct", profile={"a": 1}).life
    assert life.current is not None
    assert (life.epoch, life.current.vnic_type, life.current.profile) == (1, "direct", {"a": 1})
    assert lifecycle.bind(life, NODES[0], BOTH, now=4.0, actor="a").life == life


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.ALLOCATED, Status.DOWN),
        (State.BINDING, Status.BUILD),
        (State.ACTIVE, Status.ACTIVE),
        (State.DEGRADED, Status.ACTIVE),
        (State.MOVING, Status.BUILD),
        (State.HELD, Status.DOWN),
        (State.ERROR, Status.ERROR),
        (State.RELEASED, Status.DOWN),
    ],
)
def test_the_status_that_neutron_shows(state: State, status: Status) -> None:
    life = Lifecycle(port_id=PORT, state=state, since=0.0)
    assert neutron_status(life) is status
    assert neutron_status(life, admin_state_up=False) is Status.DOWN


def test_stuck_is_what_lasts_longer_than_its_bound() -> None:
    life = bound()
    assert lifecycle.stuck_since(life, now=61.0) is None
    assert lifecycle.stuck_since(life, now=71.0) == pytest.approx(10.0)
    assert lifecycle.stuck_since(active(), now=1e9) is None
