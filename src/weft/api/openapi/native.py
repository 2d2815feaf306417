"""The pages of /v1, by method and path."""

from collections.abc import Mapping
from typing import Any

import msgspec

from weft.api.native.fabric import ApplyRequest
from weft.api.native.networks import MigrateRequest
from weft.api.native.peerings import PeeringRequest
from weft.api.native.ports import BindRequest
from weft.api.openapi import addresses
from weft.api.openapi.page import ANY, EVENTS, OBJECT, PLAIN, TEXT, Page, Schema, many, one
from weft.fabric.rollout import RolloutState, TargetState
from weft.intent.migration import Stage
from weft.intent.operations import OperationState
from weft.protocol.node import NodeBootstrap, NodeDesired, RealizationReports, ReportAnswer
from weft.protocol.port import HistoryStep, PortStatus
from weft.protocol.port_request import PortAnswer, PortRequest
from weft.protocol.workload import (
    WarmOrder,
    WarmPorts,
    Workload,
    WorkloadBatch,
    WorkloadOutcomes,
    WorkloadsCompared,
    WorkloadsPresent,
)


class OperationShown(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was accepted and is worked on later; `answer` is the body that its answer would have had."""

    id: str
    state: OperationState
    method: str
    path: str
    project_id: str | None
    created_at: float
    finished_at: float | None
    attempts: int
    reason: str
    status: int | None
    answer: Any


_COUNTS: Schema = {"type": "object", "additionalProperties": {"type": "integer"}}
_SWITCH_STATUS: Schema = {
    "type": ["object", "null"],
    "required": ["state", "reason"],
    "properties": {"state": TEXT, "since": {"type": ["number", "null"]}, "reason": TEXT},
}
_NODE: Schema = {
    "type": "object",
    "required": ["name", "site", "dataplane", "management_address", "leaves", "agent"],
    "properties": {
        "name": TEXT,
        "site": TEXT,
        "dataplane": TEXT,
        "management_address": {"type": ["string", "null"]},
        "leaves": {"type": "array", "items": TEXT},
        "agent": {
            "type": ["object", "null"],
            "required": ["state", "last_seen"],
            "properties": {"state": TEXT, "last_seen": {"type": ["number", "null"]}},
        },
    },
}
_SWITCH: Schema = {
    "type": "object",
    "required": ["name", "site", "role", "asn", "loopback", "status"],
    "properties": {"name": TEXT, "asn": {"type": "integer"}, "loopback": TEXT, "status": _SWITCH_STATUS},
}
_NAMED: Schema = {"type": "object", "required": ["name"], "properties": {"name": TEXT}}
_TABLES = ("sites", "switches", "nodes", "links")
_INVENTORY: Schema = {
    "type": "object",
    "properties": {name: {"type": "array", "items": OBJECT} for name in _TABLES},
}
_PLANS = many(
    "switches",
    {
        "type": "object",
        "required": ["switch", "steps", "held", "risk", "trouble", "text"],
        "properties": {
            "switch": TEXT,
            "trouble": {"type": "string", "description": "Why the switch could not be read; empty if it was."},
            "text": TEXT,
            "held": {"type": "array", "items": {"type": "object", "required": ["hold", "reason"]}},
            "risk": {"type": ["object", "null"], "required": ["level", "ports", "text"]},
        },
    },
)
_ROLLOUT: Schema = {
    "type": "object",
    "required": ["id", "state", "by", "reason", "asked_at", "ended_at", "overridden", "switches"],
    "properties": {
        "id": TEXT,
        "state": {"enum": list(RolloutState)},
        "by": TEXT,
        "overridden": {"type": "array", "items": TEXT},
        "switches": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["switch", "state", "since", "note"],
                "properties": {"switch": TEXT, "state": {"enum": list(TargetState)}, "note": TEXT},
            },
        },
    },
}
_NUMBER: Schema = {"type": ["integer", "null"], "minimum": 0}
_CAPACITY = many(
    "switches",
    {
        "type": "object",
        "required": ["switch", "model", "tables"],
        "properties": {
            "switch": TEXT,
            "model": {"type": ["string", "null"]},
            "tables": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["resource", "asked", "used", "limit"],
                    "properties": {"resource": TEXT, "asked": _NUMBER, "used": _NUMBER, "limit": _NUMBER},
                },
            },
        },
    },
)
_STAGE: Schema = {
    "type": "object",
    "required": ["id", "name", "stage", "vlan", "vni"],
    "properties": {
        "id": TEXT,
        "name": TEXT,
        "stage": {"enum": list(Stage)},
        "vlan": {"type": ["integer", "null"]},
        "vni": {"type": ["integer", "null"]},
    },
}
_PEERING: Schema = {
    "type": "object",
    "required": ["id", "routers", "created_at"],
    "properties": {
        "id": TEXT,
        "routers": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2},
        "created_at": {"type": "number"},
    },
}
_SHARD: Schema = {
    "type": "object",
    "required": ["shard", "leader", "since", "term"],
    "properties": {
        "shard": TEXT,
        "leader": {"type": ["string", "null"], "description": "HOST/PID/ID of the process; null: nobody leads it."},
        "since": {"type": ["number", "null"]},
        "term": {"type": "integer", "minimum": 0},
    },
}
_CANDIDATE: Schema = {
    "type": "object",
    "required": ["candidate", "since", "shards", "failed"],
    "properties": {
        "candidate": TEXT,
        "since": {"type": "number"},
        "shards": {"type": "array", "items": TEXT},
        "failed": {
            "type": "array",
            "items": TEXT,
            "description": "Those of them whose work has failed there, and is let be for a while.",
        },
    },
}
_FILTERS = ("network_id", "node", "device_id", "name", "project_id", "state")
_REVISION: Schema = {"type": "integer", "minimum": 0}

_MADE = Page(takes=PortRequest, answers={200: PortAnswer, 201: PortAnswer}, once=True)
_FOUND = Page(answers={200: PortAnswer})
_PORT = one("port", PortStatus)

PAGES: Mapping[tuple[str, str], Page] = {
    ("GET", "/v1/nodes"): Page(answers={200: many("nodes", _NODE)}),
    ("GET", "/v1/nodes/{node}"): Page(answers={200: one("node", _NODE)}),
    ("GET", "/v1/nodes/{node}/bootstrap"): Page(answers={200: NodeBootstrap}),
    ("POST", "/v1/nodes/{node}/bootstrap"): Page(answers={200: NodeBootstrap}),
    ("GET", "/v1/nodes/{node}/desired"): Page(answers={200: NodeDesired}),
    ("GET", "/v1/nodes/{node}/watch"): Page(media=EVENTS),
    ("POST", "/v1/nodes/{node}/realizations"): Page(takes=RealizationReports, answers={200: ReportAnswer}),
    ("GET", "/v1/nodes/{node}/workloads"): Page(answers={200: many("workloads", Workload)}),
    ("POST", "/v1/nodes/{node}/workloads/warm"): Page(takes=WarmOrder, answers={200: WarmPorts}),
    ("POST", "/v1/nodes/{node}/workloads/batch"): Page(takes=WorkloadBatch, answers={200: WorkloadOutcomes}),
    ("POST", "/v1/nodes/{node}/workloads/lost"): Page(answers={200: one("released", {"type": "integer"})}),
    ("PUT", "/v1/nodes/{node}/workloads/present"): Page(takes=WorkloadsPresent, answers={200: WorkloadsCompared}),
    ("GET", "/v1/nodes/{node}/workloads/{port_id}"): Page(answers={200: one("workload", Workload)}),
    ("POST", "/v1/ports"): Page(takes=PortRequest, answers={201: PortAnswer}, once=True),
    ("GET", "/v1/ports/by-name/{name}"): _FOUND,
    ("PUT", "/v1/ports/by-name/{name}"): _MADE,
    ("GET", "/v1/ports/by-name/{network_id}/{name}"): _FOUND,
    ("PUT", "/v1/ports/by-name/{network_id}/{name}"): _MADE,
    ("GET", "/v1/ports"): Page(answers={200: many("ports", PortStatus)}, query=dict.fromkeys(_FILTERS, TEXT)),
    ("GET", "/v1/ports/{id}"): Page(answers={200: _PORT}),
    ("GET", "/v1/ports/{id}/history"): Page(answers={200: many("history", HistoryStep)}),
    ("POST", "/v1/ports/{id}/bind"): Page(takes=BindRequest, answers={200: _PORT}),
    ("POST", "/v1/ports/{id}/unbind"): Page(answers={200: _PORT}),
    ("GET", "/v1/watch"): Page(media=EVENTS, query={"kinds": TEXT, "after": _REVISION}),
    ("GET", "/v1/status"): Page(
        answers={
            200: {
                "type": "object",
                "required": [
                    *("version", "revision", "ports", "sites", "agents", "switches", "shards", "candidates"),
                ],
                "properties": {
                    "version": TEXT,
                    "revision": _REVISION,
                    "ports": _COUNTS,
                    "sites": {"type": "object", "additionalProperties": one("ports", _COUNTS)},
                    "agents": _COUNTS,
                    "switches": {"type": "object", "additionalProperties": _COUNTS},
                    "shards": {"type": "array", "items": _SHARD},
                    "candidates": {"type": "array", "items": _CANDIDATE},
                },
            }
        }
    ),
    ("GET", "/metrics"): Page(media=PLAIN),
    ("GET", "/openapi.json"): Page(answers={200: OBJECT}),
    ("GET", "/v1/inventory"): Page(answers={200: _INVENTORY}),
    ("PUT", "/v1/inventory"): Page(
        takes=_INVENTORY,
        answers={
            200: {
                "type": "object",
                "required": ["revision", "numbering"],
                "properties": {"revision": _REVISION, "numbering": OBJECT},
            }
        },
    ),
    ("GET", "/v1/sites"): Page(answers={200: many("sites", _NAMED)}),
    ("GET", "/v1/sites/{name}"): Page(answers={200: one("site", _NAMED)}),
    ("GET", "/v1/links"): Page(answers={200: many("links", {"type": "object", "required": ["a", "b"]})}),
    ("GET", "/v1/switches"): Page(answers={200: many("switches", _SWITCH)}),
    ("GET", "/v1/switches/{name}"): Page(answers={200: one("switch", _SWITCH)}),
    ("GET", "/v1/fabric/status"): Page(
        answers={200: many("switches", {"type": "object", "required": ["switch", "state", "since", "reason"]})}
    ),
    ("GET", "/v1/fabric/plan"): Page(answers={200: _PLANS}),
    ("GET", "/v1/fabric/capacity"): Page(answers={200: _CAPACITY}),
    ("POST", "/v1/fabric/apply"): Page(takes=ApplyRequest, answers={202: one("rollout", _ROLLOUT)}),
    ("GET", "/v1/fabric/rollouts"): Page(answers={200: many("rollouts", _ROLLOUT)}),
    ("GET", "/v1/fabric/rollouts/{id}"): Page(answers={200: one("rollout", _ROLLOUT)}),
    ("GET", "/v1/networks/{id}/stage"): Page(answers={200: one("network", _STAGE)}),
    ("POST", "/v1/networks/{id}/migrate"): Page(takes=MigrateRequest, answers={200: one("network", _STAGE)}),
    ("GET", "/v1/peerings"): Page(answers={200: many("peerings", _PEERING)}, query={"router_id": TEXT}),
    ("POST", "/v1/peerings"): Page(takes=PeeringRequest, answers={201: one("peering", _PEERING)}),
    ("DELETE", "/v1/peerings/{id}"): Page(answers={204: None}),
    ("GET", "/v1/operations"): Page(
        answers={200: many("operations", OperationShown)}, query={"state": {"enum": list(OperationState)}}
    ),
    ("GET", "/v1/operations/{id}"): Page(answers={200: one("operation", OperationShown)}),
    ("GET", "/v1/operations/{id}/watch"): Page(media=EVENTS),
    **addresses.PAGES,
}

ACCEPTED = one("operation", OperationShown)
"""The answer 202 to a request that was put off."""

UNDESCRIBED = Page(answers={200: ANY, 201: ANY, 204: None})
"""What is known of an operation that nobody has described."""
UNDESCRIBED_CHANGE = Page(takes=OBJECT, answers={200: ANY, 201: ANY, 204: None})
"""The same, of one that may take a body."""
