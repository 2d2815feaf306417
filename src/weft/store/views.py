"""What the store holds besides the nouns of weft.model: ports with their lives, and what is known of switches."""

from enum import StrEnum

import msgspec

from weft.model.ids import SwitchName
from weft.model.intent import Port
from weft.ports.lifecycle import Lifecycle


class PortView(msgspec.Struct, frozen=True, gc=False):
    """A port, and what became of it."""

    port: Port
    life: Lifecycle


class SwitchState(StrEnum):
    """How a switch stands to what it should be."""

    IN_SYNC = "in-sync"
    PENDING = "pending"
    """Something is still to be made, or waits for `weft fabric apply`."""
    DRIFTED = "drifted"
    """Somebody changed it by hand; it is being repaired, or is kept, as the policy has it."""
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    """It refused a part of its configuration."""
    QUARANTINED = "quarantined"
    """A roll-out failed on it, or it drifted where drift is a human's matter: its foundation, or all of it, is left."""


class SwitchStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the fabric controller last found of a switch; `since` is when it came into that state (Unix seconds)."""

    switch: SwitchName
    state: SwitchState
    since: float
    reason: str = ""
    kept: tuple[tuple[str | int, ...], ...] = ()
    """The elements that drifted and are kept as they are (weft.fabric.carriage.Element)."""
