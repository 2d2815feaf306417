"""The states of a port, the events that move it, and the one table that says how.

A pair that is not in the table cannot happen: `step` raises, and nothing changes.
"""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """What a port is to its owner."""

    ALLOCATED = "ALLOCATED"
    """Its addresses are held; it was never on a node."""
    BINDING = "BINDING"
    """It is on a node, and not everything that it needs there is real yet."""
    ACTIVE = "ACTIVE"
    """Everything that its binding owes is real: packets flow."""
    DEGRADED = "DEGRADED"
    """It was active on this node, and a realizer lost it."""
    MOVING = "MOVING"
    """A new epoch is being made real on another node while the old one still carries."""
    HELD = "HELD"
    """It is on no node; its addresses are kept for it."""
    ERROR = "ERROR"
    """A realizer failed at it before it was ever active on this node; the reason is kept with the state."""
    RELEASED = "RELEASED"
    """It is gone; its addresses rest, then they are free."""


class Event(StrEnum):
    """What can happen to a port."""

    BIND = "bind"
    """It was put on a node, and no other node carries it."""
    MOVE = "move"
    """It was put on a node while another still carries it."""
    REALIZED = "realized"
    """All that the current epoch owes is up."""
    PENDING = "pending"
    """Something that the current epoch owes is not up, and nothing of it failed."""
    FAILED = "failed"
    """A realizer failed at the current epoch."""
    UNBIND = "unbind"
    """It was taken off its node."""
    RELEASE = "release"
    """It was deleted."""


TABLE: Mapping[tuple[State, Event], State] = {
    (State.ALLOCATED, Event.BIND): State.BINDING,
    (State.ALLOCATED, Event.UNBIND): State.ALLOCATED,
    (State.ALLOCATED, Event.RELEASE): State.RELEASED,
    (State.BINDING, Event.BIND): State.BINDING,
    (State.BINDING, Event.REALIZED): State.ACTIVE,
    (State.BINDING, Event.PENDING): State.BINDING,
    (State.BINDING, Event.FAILED): State.ERROR,
    (State.BINDING, Event.UNBIND): State.HELD,
    (State.BINDING, Event.RELEASE): State.RELEASED,
    (State.ACTIVE, Event.BIND): State.BINDING,
    (State.ACTIVE, Event.MOVE): State.MOVING,
    (State.ACTIVE, Event.REALIZED): State.ACTIVE,
    (State.ACTIVE, Event.PENDING): State.DEGRADED,
    (State.ACTIVE, Event.FAILED): State.DEGRADED,
    (State.ACTIVE, Event.UNBIND): State.HELD,
    (State.ACTIVE, Event.RELEASE): State.RELEASED,
    (State.DEGRADED, Event.BIND): State.BINDING,
    (State.DEGRADED, Event.MOVE): State.MOVING,
    (State.DEGRADED, Event.REALIZED): State.ACTIVE,
    (State.DEGRADED, Event.PENDING): State.DEGRADED,
    (State.DEGRADED, Event.FAILED): State.DEGRADED,
    (State.DEGRADED, Event.UNBIND): State.HELD,
    (State.DEGRADED, Event.RELEASE): State.RELEASED,
    (State.MOVING, Event.BIND): State.BINDING,
    (State.MOVING, Event.REALIZED): State.ACTIVE,
    (State.MOVING, Event.PENDING): State.MOVING,
    (State.MOVING, Event.FAILED): State.ERROR,
    (State.MOVING, Event.UNBIND): State.HELD,
    (State.MOVING, Event.RELEASE): State.RELEASED,
    (State.HELD, Event.BIND): State.BINDING,
    (State.HELD, Event.UNBIND): State.HELD,
    (State.HELD, Event.RELEASE): State.RELEASED,
    (State.ERROR, Event.BIND): State.BINDING,
    (State.ERROR, Event.MOVE): State.MOVING,
    (State.ERROR, Event.REALIZED): State.ACTIVE,
    (State.ERROR, Event.PENDING): State.ERROR,
    (State.ERROR, Event.FAILED): State.ERROR,
    (State.ERROR, Event.UNBIND): State.HELD,
    (State.ERROR, Event.RELEASE): State.RELEASED,
}
"""An errored port stays so while its realizers try again: what failed is worth reading until it is up."""

BOUND = frozenset({State.BINDING, State.ACTIVE, State.DEGRADED, State.MOVING, State.ERROR})
"""The states of a port that is on a node."""

STUCK_AFTER_S: Mapping[State, float] = {
    State.BINDING: 60.0,
    State.MOVING: 60.0,
    State.DEGRADED: 60.0,
    State.ERROR: 60.0,
}
"""How many seconds a port may be in a state before somebody has to look; the other states may last for ever."""


class ImpossibleEvent(Exception):
    """An event happened that the table does not know in this state: a defect of weft, not of its caller."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a port that is {state} cannot see '{event}'")
        self.state = state
        self.event = event


def step(state: State, event: Event) -> State:
    """Return the state that an event leads to; raise ImpossibleEvent if the table has none."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise ImpossibleEvent(state, event) from None
