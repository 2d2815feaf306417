"""What is to be done on a switch, what of it waits and why, and what it puts at risk: one value, printed as a diff."""

from typing import Any

import msgspec

from weft.fabric.gate import Held
from weft.fabric.plan import SwitchPlan, encode
from weft.fabric.risk import Risk
from weft.model.ids import SwitchName


class UnreadSwitch(msgspec.Struct, frozen=True):
    """A switch that was never read, and why; nobody knows what is to be done there."""

    switch: SwitchName
    trouble: str = "it was not read yet"

    def __str__(self) -> str:
        return f"switch {self.switch}: {_unread(self.trouble)}"


class PlannedSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of one switch; false when nothing is known that is to be done."""

    plan: SwitchPlan
    held: tuple[Held, ...] = ()
    risk: Risk
    trouble: str = ""
    """Why the switch cannot be read now; the plan is of what was read before."""

    def __bool__(self) -> bool:
        return bool(self.plan)

    def __str__(self) -> str:
        lines = [str(self.plan)]
        if self.trouble:
            known = "of what was read before:" if self.plan else "when it was read before, there was nothing to do"
            steps = (f"  {line}" for line in self.plan.lines())
            lines = [f"switch {self.plan.switch}: {_unread(self.trouble)}", f"  {known}", *steps]
        if self.plan:
            lines.append(f"  risk: {self.risk.level.value}{': ' if self.risk.text else ''}{self.risk.text}")
        lines += [f"  held: {held.reason}" for held in self.held]
        return "\n".join(lines)


def encode_planned(planned: PlannedSwitch | UnreadSwitch) -> dict[str, Any]:
    """Return the wire form for GET /v1/fabric/plan."""
    if isinstance(planned, UnreadSwitch):
        nothing: dict[str, Any] = {"switch": planned.switch, "steps": [], "held": [], "risk": None}
        return {**nothing, "trouble": planned.trouble, "text": str(planned)}
    return {
        **encode(planned.plan),
        "risk": {"level": planned.risk.level.value, "ports": planned.risk.ports, "text": planned.risk.text},
        "held": [{"hold": held.hold.value, "reason": held.reason} for held in planned.held],
        "trouble": planned.trouble,
        "text": str(planned),
    }


def _unread(trouble: str) -> str:
    return f"could not be read: {trouble}"
