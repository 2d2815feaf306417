"""One port's life: its state, its bindings by epoch, and what the realizers say of them.

Every function takes a Lifecycle and returns an Outcome: the next Lifecycle and the history entries that led there.
What always holds (see `check`): at most one binding is current and it has the highest epoch; at most one is draining;
a realization belongs to a binding that exists; a port is on a node exactly if its state is one of machine.BOUND.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from weft.model import steps
from weft.model.errors import Conflict
from weft.model.ids import Epoch, NodeName, PortId
from weft.model.intent import Binding, HistoryEntry, Realization, RealizationState, Realizer
from weft.ports.machine import BOUND, STUCK_AFTER_S, Event, State, step


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of a port. `since` is when it came into its state, `reason` why it is in ERROR or DEGRADED."""

    port_id: PortId
    state: State
    since: float
    reason: str = ""
    epoch: Epoch = Epoch(0)
    """Of the last binding that there was; it only grows."""
    bindings: tuple[Binding, ...] = ()
    realizations: tuple[Realization, ...] = ()

    @property
    def current(self) -> Binding | None:
        """The binding that counts; None if the port is on no node."""
        return next((binding for binding in self.bindings if not binding.draining), None)

    @property
    def draining(self) -> Binding | None:
        """The binding that a newer one replaces and that still carries."""
        return next((binding for binding in self.bindings if binding.draining), None)

    def binding(self, epoch: Epoch) -> Binding | None:
        """The binding of an epoch, if it is still there."""
        return next((binding for binding in self.bindings if binding.epoch == epoch), None)

    def realized(self, epoch: Epoch) -> Mapping[Realizer, Realization]:
        """What each realizer has said of an epoch."""
        return {each.realizer: each for each in self.realizations if each.epoch == epoch}


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an event made of a lifecycle, and the history entries it made."""

    life: Lifecycle
    history: tuple[HistoryEntry, ...] = ()


class Status(StrEnum):
    """A port's status as Neutron names it."""

    DOWN = "DOWN"
    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"


_STATUS = {
    State.ALLOCATED: Status.DOWN,
    State.HELD: Status.DOWN,
    State.RELEASED: Status.DOWN,
    State.BINDING: Status.BUILD,
    State.ACTIVE: Status.ACTIVE,
    State.DEGRADED: Status.ACTIVE,
    State.ERROR: Status.ERROR,
}


def neutron_status(life: Lifecycle, *, admin_state_up: bool = True) -> Status:
    """Return the status that a Neutron client shall see; a moving port is ACTIVE while its old node carries it."""
    if not admin_state_up:
        return Status.DOWN
    if life.state is State.MOVING:
        return Status.ACTIVE if life.draining and _all_up(life, life.draining) else Status.BUILD
    return _STATUS[life.state]


def allocate(port_id: PortId, *, now: float, actor: str) -> Outcome:
    """Begin a port's life: its addresses are held, and it is on no node."""
    life = Lifecycle(port_id=port_id, state=State.ALLOCATED, since=now)
    return Outcome(life, (_entry(life, now, actor, steps.STATE, after=State.ALLOCATED),))


def bind(
    life: Lifecycle,
    node: NodeName,
    owed: frozenset[Realizer],
    *,
    now: float,
    actor: str,
    supersede: bool = False,
    vnic_type: str | None = None,
    profile: Mapping[str, object] | None = None,
) -> Outcome:
    """Put the port on a node, in a new epoch; it stays on its old node, draining, until the new epoch is up.

    What is None stays as it was. On the node that it is on already, nothing else happens, unless `supersede` asks for
    a fresh epoch. A port that is only
    on its way to another node is refused (Conflict, PortBindingConflict), unless `supersede` drops all other bindings.
    """
    current = life.current
    if current is not None and current.node == node and not supersede:
        return Outcome(_reattached(life, current, vnic_type, profile))
    if current is not None and life.state in {State.BINDING, State.MOVING} and not supersede:
        raise Conflict(_on_its_way(life, current, node), kind="PortBindingConflict")
    carrying = None if supersede or current is None else _carrying(life, current)
    if carrying is not None and carrying.node == node:
        carrying = None  # Back to the node it comes from: the new epoch takes over there.
    epoch = Epoch(life.epoch + 1)
    kept = () if carrying is None else (msgspec.structs.replace(carrying, draining=True),)
    binding = Binding(
        port_id=life.port_id,
        node=node,
        epoch=epoch,
        owed=owed,
        vnic_type=vnic_type or (current.vnic_type if current else "normal"),
        profile=profile if profile is not None else (current.profile if current else {}),
    )
    pending = tuple(
        Realization(port_id=life.port_id, epoch=epoch, realizer=each, state=RealizationState.PENDING, at=now)
        for each in sorted(owed)
    )
    epochs = {each.epoch for each in kept}
    bound = msgspec.structs.replace(
        life,
        epoch=epoch,
        bindings=(*kept, binding),
        realizations=(*(each for each in life.realizations if each.epoch in epochs), *pending),
    )
    entry = _entry(bound, now, actor, steps.BOUND, after=node, before=current.node if current else "")
    event = Event.MOVE if kept else Event.BIND
    moved = _transition(bound, event, now=now, actor=actor, fresh=True)
    return Outcome(moved.life, (entry, *moved.history))


def unbind(life: Lifecycle, *, now: float, actor: str) -> Outcome:
    """Take the port off all nodes; it keeps its addresses. Nothing happens to a port that is on none."""
    freed = msgspec.structs.replace(life, bindings=(), realizations=())
    return _transition(freed, Event.UNBIND, now=now, actor=actor)


def release(life: Lifecycle, *, now: float, actor: str) -> Outcome:
    """End the port's life."""
    freed = msgspec.structs.replace(life, bindings=(), realizations=())
    return _transition(freed, Event.RELEASE, now=now, actor=actor)


def realize(life: Lifecycle, realization: Realization, *, now: float, actor: str) -> Outcome:
    """Take what a realizer says of an epoch that has a binding; the port's state follows the current epoch only.

    A pending without a reason never takes back an up: it is a step on the way there that came late. An epoch that is
    draining and that all its realizers have taken away is forgotten; so is a draining one once the current is up.
    """
    binding = life.binding(realization.epoch)
    assert binding is not None, "the caller sorts out reports of epochs that have no binding"
    before = life.realized(realization.epoch).get(realization.realizer)
    if before is not None and not _news(before, realization):
        return Outcome(life)
    others = tuple(
        each for each in life.realizations if (each.epoch, each.realizer) != (realization.epoch, realization.realizer)
    )
    heard = msgspec.structs.replace(life, realizations=_in_order((*others, realization)))
    if binding.draining:
        gone = all(
            (said := heard.realized(binding.epoch).get(each)) and said.state is RealizationState.GONE
            for each in binding.owed
        )
        return Outcome(_without(heard, binding) if gone else heard)
    return _transition(heard, _event(heard, binding), now=now, actor=actor, reason=_reason(heard, binding))


def stuck_since(life: Lifecycle, now: float) -> float | None:
    """Return for how many seconds beyond its bound the port has been in its state; None if it is within."""
    bound = STUCK_AFTER_S.get(life.state)
    if bound is None or now - life.since <= bound:
        return None
    return now - life.since - bound


def check(life: Lifecycle) -> list[str]:
    """Return every invariant that a lifecycle breaks; none, if weft has no defect."""
    broken = []
    current = [binding for binding in life.bindings if not binding.draining]
    draining = [binding for binding in life.bindings if binding.draining]
    if len(current) > 1 or len(draining) > 1:
        broken.append(f"{len(current)} current and {len(draining)} draining bindings; at most one of each can be")
    if any(binding.epoch != life.epoch for binding in current):
        broken.append(f"the current binding has not the last epoch {life.epoch}")
    if any(binding.epoch >= life.epoch for binding in draining):
        broken.append(f"a draining binding is not older than epoch {life.epoch}")
    if bool(current) != (life.state in BOUND) or (draining and not current):
        broken.append(f"state {life.state} with bindings {[(each.node, each.draining) for each in life.bindings]}")
    epochs = {binding.epoch for binding in life.bindings}
    if any(each.epoch not in epochs for each in life.realizations):
        broken.append("a realization belongs to no binding")
    if life.state is State.ACTIVE and not (current and _all_up(life, current[0]) and not draining):
        broken.append("ACTIVE, and not everything is up or an old binding is left")
    return broken


def _transition(
    life: Lifecycle, event: Event, *, now: float, actor: str, reason: str = "", fresh: bool = False
) -> Outcome:
    """Step the machine. `fresh`: time and reason begin anew although the state's name stays (a new epoch)."""
    state = step(life.state, event)
    if state is State.ACTIVE and life.draining is not None:
        life = _without(life, life.draining)
    if event in {Event.PENDING, Event.FAILED} and state in {State.ERROR, State.DEGRADED}:
        reason = reason or life.reason
    elif state not in {State.ERROR, State.DEGRADED}:
        reason = ""
    if state is life.state and not fresh:
        return Outcome(msgspec.structs.replace(life, reason=reason))
    entry = _entry(life, now, actor, steps.STATE, before=life.state, after=state, detail=reason)
    return Outcome(msgspec.structs.replace(life, state=state, since=now, reason=reason), (entry,))


def _event(life: Lifecycle, binding: Binding) -> Event:
    said = life.realized(binding.epoch)
    states = {said[each].state if each in said else RealizationState.PENDING for each in binding.owed}
    if RealizationState.FAILED in states:
        return Event.FAILED
    return Event.REALIZED if states <= {RealizationState.UP} else Event.PENDING


def _reason(life: Lifecycle, binding: Binding) -> str:
    said = life.realized(binding.epoch)
    missing = [said[each] for each in sorted(binding.owed) if each in said and said[each].state != RealizationState.UP]
    failed = [each for each in missing if each.state is RealizationState.FAILED]
    return "; ".join(f"{each.realizer}: {each.reason}" for each in failed or missing if each.reason)


def _news(before: Realization, after: Realization) -> bool:
    if (before.state, before.reason) == (after.state, after.reason):
        return False
    late = after.state is RealizationState.PENDING and not after.reason
    return not (late and before.state is RealizationState.UP)


def _all_up(life: Lifecycle, binding: Binding) -> bool:
    return _event(life, binding) is Event.REALIZED


def _carrying(life: Lifecycle, current: Binding) -> Binding | None:
    """Which binding goes on carrying when the port is bound anew: the one that was up last."""
    if life.state in {State.ACTIVE, State.DEGRADED}:
        return current
    return life.draining


def _without(life: Lifecycle, binding: Binding) -> Lifecycle:
    return msgspec.structs.replace(
        life,
        bindings=tuple(each for each in life.bindings if each.epoch != binding.epoch),
        realizations=tuple(each for each in life.realizations if each.epoch != binding.epoch),
    )


def _reattached(
    life: Lifecycle, current: Binding, vnic_type: str | None, profile: Mapping[str, object] | None
) -> Lifecycle:
    changed = msgspec.structs.replace(
        current,
        vnic_type=current.vnic_type if vnic_type is None else vnic_type,
        profile=current.profile if profile is None else profile,
    )
    return msgspec.structs.replace(life, bindings=tuple(changed if each is current else each for each in life.bindings))


def _on_its_way(life: Lifecycle, current: Binding, node: NodeName) -> str:
    origin = f" from node '{life.draining.node}'" if life.draining else ""
    return (
        f"port {life.port_id} cannot be bound to node '{node}': it is being bound{origin} to node '{current.node}' "
        f"(epoch {current.epoch}); wait until it is ACTIVE there, or bind with supersede"
    )


def _in_order(realizations: tuple[Realization, ...]) -> tuple[Realization, ...]:
    return tuple(sorted(realizations, key=lambda each: (each.epoch, each.realizer)))


def _entry(
    life: Lifecycle, now: float, actor: str, name: str, *, before: str = "", after: str = "", detail: str = ""
) -> HistoryEntry:
    return HistoryEntry(
        port_id=life.port_id,
        at=now,
        actor=actor,
        step=name,
        epoch=life.epoch,
        before=before,
        after=after,
        detail=detail,
    )
