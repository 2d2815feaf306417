"""The fabric: how each switch stands, and what would be changed on it."""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from weft.api.answers import JsonAnswer
from weft.api.native.inventory import Row, status_wire
from weft.api.routing import Operation
from weft.fabric.plan import SwitchPlan, encode
from weft.model.ids import SwitchName
from weft.store import Snapshot, Store

Plans = Callable[[], Mapping[SwitchName, SwitchPlan | None]]
"""Returns every switch's plan from what was last read of it; None if it was never read."""

NOT_LOOKED_AT: Row = {"state": "pending", "since": None, "reason": "the controller has not looked at it yet"}


class FabricPages:
    """The pages under /v1/fabric."""

    def __init__(self, store: Store, plans: Plans) -> None:
        self._store = store
        self._plans = plans

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/v1/fabric/status", self.status),
            Operation("GET", "/v1/fabric/plan", self.plan, by_controllers=True),
        ]

    async def status(self, request: Request) -> Response:
        """Answer the state of every switch."""
        del request
        return JsonAnswer({"switches": await self._store.read(_statuses)})

    async def plan(self, request: Request) -> Response:
        """Answer what would be changed on every switch, as steps and as text."""
        del request
        return JsonAnswer({"switches": [_plan(switch, plan) for switch, plan in sorted(self._plans().items())]})


def _statuses(snapshot: Snapshot) -> list[Row]:
    known = snapshot.switch_statuses()
    return [
        {"switch": switch.name, **(status_wire(known[switch.name]) if switch.name in known else NOT_LOOKED_AT)}
        for switch in snapshot.inventory().switches
    ]


def _plan(switch: SwitchName, plan: SwitchPlan | None) -> Row:
    if plan is None:
        return {"switch": switch, "steps": [], "text": f"switch {switch}: not read yet"}
    return encode(plan)
