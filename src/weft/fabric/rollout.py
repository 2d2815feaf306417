"""A roll-out: which switches get their approved foundation next, and when it stops.

One switch goes first, the canary; only when it is verified the others follow, a few side by side. The first that fails
is rolled back, and no other is begun. A value that is stored after each step, so that whoever leads next goes on.
"""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from weft.fabric.gate import Foundation
from weft.model.ids import SwitchName


class TargetState(StrEnum):
    """How far one switch is."""

    WAITING = "waiting"
    CHANGING = "changing"
    VERIFIED = "verified"
    ROLLED_BACK = "rolled-back"
    SKIPPED = "skipped"
    """It was not begun: another one failed."""


class RolloutState(StrEnum):
    """How far the whole is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One switch of a roll-out."""

    switch: SwitchName
    ground: Foundation | None
    """What it is to get; None: it has none, as a switch of a VLAN site."""
    before: Foundation | None
    """What it goes back to; None: it had none."""
    state: TargetState = TargetState.WAITING
    note: str = ""
    since: float = 0.0
    """Unix seconds."""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A change of several switches that somebody asked for. The first target is the canary."""

    id: str
    by: str
    reason: str
    asked_at: float
    targets: tuple[Target, ...]
    at_once: int
    verify_s: float
    findings: tuple[str, ...] = ()
    """What it goes beyond, and was overridden."""
    state: RolloutState = RolloutState.RUNNING
    ended_at: float | None = None

    def target(self, switch: SwitchName) -> Target | None:
        """Return the target that a switch is; None if it is none."""
        return next((target for target in self.targets if target.switch == switch), None)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks that what waits on switches be made; of all switches if none is named."""

    id: str
    by: str
    switches: tuple[SwitchName, ...] = ()
    reason: str = ""
    override: bool = False


def to_begin(rollout: Rollout) -> list[Target]:
    """Return the targets that are to be begun now."""
    if rollout.state is not RolloutState.RUNNING:
        return []
    changing = sum(target.state is TargetState.CHANGING for target in rollout.targets)
    waiting = [target for target in rollout.targets if target.state is TargetState.WAITING]
    if rollout.targets[0].state is not TargetState.VERIFIED:
        return waiting[:1] if rollout.targets[0].state is TargetState.WAITING else []
    return waiting[: max(0, rollout.at_once - changing)]


def stepped(rollout: Rollout, switch: SwitchName, state: TargetState, now: float, note: str = "") -> Rollout:
    """Return the roll-out after a step of one target; a failure ends it, once nothing is being changed any more."""
    targets = tuple(
        replace(target, state=state, note=note, since=now) if target.switch == switch else target
        for target in rollout.targets
    )
    failed = any(target.state is TargetState.ROLLED_BACK for target in targets)
    if failed:
        targets = tuple(
            replace(target, state=TargetState.SKIPPED, note="not begun", since=now)
            if target.state is TargetState.WAITING
            else target
            for target in targets
        )
    if any(target.state in {TargetState.WAITING, TargetState.CHANGING} for target in targets):
        return replace(rollout, targets=targets)
    ended = RolloutState.FAILED if failed else RolloutState.DONE
    return replace(rollout, targets=targets, state=ended, ended_at=now)
