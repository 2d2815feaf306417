"""What is to be done on a switch, what of it waits and why, and what it puts at risk: one value, printed as a diff."""

from typing import Any

import msgspec

from weft.fabric.gate import Held
from weft.fabric.plan import SwitchPlan, encode
from weft.fabric.risk import Risk


class PlannedSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of one switch; false when there is nothing to do."""

    plan: SwitchPlan
    held: tuple[Held, ...] = ()
    risk: Risk

    def __bool__(self) -> bool:
        return bool(self.plan)

    def __str__(self) -> str:
        lines = [str(self.plan)]
        if self.plan:
            lines.append(f"  risk: {self.risk.level.value}{': ' if self.risk.text else ''}{self.risk.text}")
        lines += [f"  held: {held.reason}" for held in self.held]
        return "\n".join(lines)


def encode_planned(planned: PlannedSwitch) -> dict[str, Any]:
    """Return the wire form for GET /v1/fabric/plan."""
    return {
        **encode(planned.plan),
        "risk": {"level": planned.risk.level.value, "ports": planned.risk.ports, "text": planned.risk.text},
        "held": [{"hold": held.hold.value, "reason": held.reason} for held in planned.held],
        "text": str(planned),
    }
