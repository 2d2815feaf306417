"""The fabric: how each switch stands, what would be changed on it, and the roll-outs of what waits."""

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import user_of
from weft.api.answers import JsonAnswer, read_json
from weft.api.native.inventory import Row, status_wire
from weft.api.routing import Operation
from weft.fabric.limits import Resource, Usage, limits_of, model_of
from weft.fabric.planned import PlannedSwitch, UnreadSwitch, encode_planned
from weft.fabric.rollout import Order, Rollout
from weft.intent.leaf_load import leaf_load
from weft.model.errors import NotFound
from weft.model.ids import SwitchName
from weft.store import Kind, Snapshot, Store


class Fabric(Protocol):
    """What runs the switches: weft.controller.controllers."""

    def plans(self) -> Mapping[SwitchName, PlannedSwitch | UnreadSwitch]:
        """Return every switch's plan from what was last read of it, if it ever was. Raises Transient."""
        ...

    def usages(self) -> Mapping[SwitchName, Usage]:
        """Return how much of each table is in use, as each switch that was read says it. Raises Transient."""
        ...

    async def apply(self, order: Order) -> Rollout:
        """Begin a roll-out. Raises NotFound, Conflict, Transient."""
        ...


class ApplyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be applied: on these switches, or on all where something waits."""

    switches: tuple[str, ...] = ()
    reason: str = ""
    override: bool = False
    """Whether bounds may be gone beyond; who did so is on record."""


_COUNTED = frozenset(Resource) - {Resource.ACL_ENTRIES}

NOT_LOOKED_AT: Row = {"state": "pending", "since": None, "reason": "the controller has not looked at it yet"}


class FabricPages:
    """The pages under /v1/fabric."""

    def __init__(self, store: Store, fabric: Fabric) -> None:
        self._store = store
        self._fabric = fabric

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/v1/fabric/status", self.status),
            Operation("GET", "/v1/fabric/plan", self.plan, by_controllers=True),
            Operation("GET", "/v1/fabric/capacity", self.capacity, by_controllers=True),
            Operation("POST", "/v1/fabric/apply", self.apply, by_controllers=True),
            Operation("GET", "/v1/fabric/rollouts", self.rollouts),
            Operation("GET", "/v1/fabric/rollouts/{id}", self.rollout),
        ]

    async def status(self, request: Request) -> Response:
        """Answer the state of every switch."""
        del request
        return JsonAnswer({"switches": await self._store.read(_statuses)})

    async def plan(self, request: Request) -> Response:
        """Answer what would be changed on every switch, as steps and as text."""
        del request
        return JsonAnswer({"switches": [encode_planned(plan) for _, plan in sorted(self._fabric.plans().items())]})

    async def capacity(self, request: Request) -> Response:
        """Answer how full every switch's tables are: by what is asked of it, by what it says, and what they hold."""
        del request
        said = self._fabric.usages()
        return JsonAnswer({"switches": await self._store.read(partial(_capacity, said=said))})

    async def apply(self, request: Request) -> Response:
        """Begin a roll-out of what waits, and answer it."""
        asked = await read_json(request, ApplyRequest)
        order = Order(
            id=str(uuid.uuid4()),
            by=user_of(request).user_id or "administrator",
            switches=tuple(SwitchName(name) for name in dict.fromkeys(asked.switches)),
            reason=asked.reason,
            override=asked.override,
        )
        return JsonAnswer({"rollout": rollout_wire(await self._fabric.apply(order))}, 202)

    async def rollouts(self, request: Request) -> Response:
        """Answer all roll-outs that are remembered, the newest first."""
        del request
        rows = await self._store.read(lambda snapshot: snapshot.records(Kind.ROLLOUT, Rollout))
        newest = sorted(rows, key=lambda row: row.asked_at, reverse=True)
        return JsonAnswer({"rollouts": [rollout_wire(row) for row in newest]})

    async def rollout(self, request: Request) -> Response:
        """Answer one roll-out."""
        id_ = request.path_params["id"]
        row = await self._store.read(lambda snapshot: snapshot.record(Kind.ROLLOUT, Rollout, id_))
        if row is None:
            raise NotFound(f"roll-out {id_} could not be found", kind="RolloutNotFound")
        return JsonAnswer({"rollout": rollout_wire(row)})


def rollout_wire(rollout: Rollout) -> dict[str, Any]:
    """Return the wire form of a roll-out."""
    return {
        "id": rollout.id,
        "state": rollout.state.value,
        "by": rollout.by,
        "reason": rollout.reason,
        "asked_at": rollout.asked_at,
        "ended_at": rollout.ended_at,
        "overridden": list(rollout.findings),
        "switches": [
            {"switch": each.switch, "state": each.state.value, "since": each.since, "note": each.note}
            for each in rollout.targets
        ],
    }


def _statuses(snapshot: Snapshot) -> list[Row]:
    known = snapshot.switch_statuses()
    return [
        {"switch": switch.name, **(status_wire(known[switch.name]) if switch.name in known else NOT_LOOKED_AT)}
        for switch in snapshot.inventory().switches
    ]


def _capacity(snapshot: Snapshot, said: Mapping[SwitchName, Usage]) -> list[Row]:
    topology = snapshot.topology()
    rows = []
    for name in topology.switches:
        domain, limits = topology.domain_of(name), limits_of(topology, name)
        asked = leaf_load(snapshot, domain, _COUNTED) if domain is not None else {}
        model = model_of(topology, name)
        tables = [
            {
                "resource": resource.value,
                "asked": asked.get(resource),
                "used": said.get(name, {}).get(resource),
                "limit": limits.get(resource),
            }
            for resource in Resource
            if resource in asked or resource in limits or resource in said.get(name, {})
        ]
        rows.append({"switch": name, "model": model.name if model is not None else None, "tables": tables})
    return rows
