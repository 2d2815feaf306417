"""What carries the networks, in Neutron's words: agents, which are our nodes', and availability zones, our sites."""

import uuid
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.agents import ALIVE, STORE_EVERY_S, Agents
from weft.api.answers import JsonAnswer
from weft.api.neutron.attributes import Attribute, shown
from weft.api.neutron.listing import Rendered, marker_among, matcher, page_links, page_of, parse_query, with_fields
from weft.api.neutron.policy import missing
from weft.api.neutron.rows import timestamp
from weft.api.neutron.values import boolean
from weft.api.routing import Operation
from weft.model.inventory import Dataplane, Node
from weft.store import Snapshot, Store

SILENT_AFTER_S = 4 * STORE_EVERY_S
"""An agent that another process hears is taken for dead once that process has not written so for this long."""

_IDS = uuid.UUID("0b8b2c0e-2f53-5e0c-8f3a-3f3b5f1a9d10")

_AGENT_TYPES = {Dataplane.OVS: "Open vSwitch agent", Dataplane.EBPF: "weft eBPF agent"}
"""As Neutron's clients look for them; nodes with other dataplanes have no agent."""

_KNOWN = shown(filters=True, sorts=True)

AGENTS = {
    "id": _KNOWN,
    "agent_type": _KNOWN,
    "binary": _KNOWN,
    "topic": _KNOWN,
    "host": _KNOWN,
    "admin_state_up": Attribute(boolean),
    "alive": Attribute(boolean),
    "availability_zone": _KNOWN,
    "description": _KNOWN,
    "created_at": shown(sorts=True),
    "started_at": shown(sorts=True),
    "heartbeat_timestamp": shown(sorts=True),
}

ZONES = {"name": _KNOWN, "resource": _KNOWN, "state": _KNOWN}


class HostPages:
    """The pages of agents and availability zones."""

    def __init__(self, store: Store, agents: Agents, clock: Callable[[], float]) -> None:
        self._store = store
        self._agents = agents
        self._clock = clock

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/v2.0/agents", self.agents),
            Operation("GET", "/v2.0/agents/{id}", self.agent),
            Operation("GET", "/v2.0/availability_zones", self.zones, Access.USER),
            Operation("GET", "/v2.0/service-providers", self.service_providers, Access.USER),
        ]

    async def agents(self, request: Request) -> Response:
        """Answer the agents that were ever heard."""
        query = parse_query(AGENTS, request.query_params.multi_items())
        matches = matcher(AGENTS, query)
        found = [each for each in await self._store.read(self._rows) if matches(each)]
        page = page_of(found, query, marker_among(found, query))
        body: dict[str, object] = {"agents": [with_fields(each, query.fields) for each in page]}
        if links := page_links(request, query, page):
            body["agents_links"] = links
        return JsonAnswer(body)

    async def agent(self, request: Request) -> Response:
        """Answer one agent."""
        id_ = request.path_params["id"]
        for each in await self._store.read(self._rows):
            if each["id"] == id_:
                return JsonAnswer({"agent": each})
        raise missing("Agent", id_)

    async def zones(self, request: Request) -> Response:
        """Answer the sites, once for each kind of object that is in one."""
        query = parse_query(ZONES, request.query_params.multi_items())
        matches = matcher(ZONES, query)
        sites = await self._store.read(lambda snapshot: list(snapshot.topology().sites.values()))
        found: list[Rendered] = [
            {"id": f"{site.name}/{resource}", "name": site.name, "resource": resource, "state": "available"}
            for site in sites
            if site.fabric is not None
            for resource in ("network", "router")
        ]
        found = [each for each in found if matches(each)]
        page = [{name: each[name] for name in ZONES} for each in page_of(found, query, marker_among(found, query))]
        return JsonAnswer({"availability_zones": [with_fields(each, query.fields) for each in page]})

    async def service_providers(self, request: Request) -> Response:
        """Answer that there is nothing to choose from: routers have no flavors."""
        del request
        return JsonAnswer({"service_providers": []})

    def _rows(self, snapshot: Snapshot) -> list[Rendered]:
        seen = snapshot.agents()
        rows = []
        for node in snapshot.inventory().nodes:
            state, last = self._agents.state(node.name, seen.get(node.name))
            if last is not None and node.dataplane in _AGENT_TYPES:
                alive = state == ALIVE or last > self._clock() - SILENT_AFTER_S
                rows.append(_render(node, last, alive=alive))
        return rows


def _render(node: Node, last: float, *, alive: bool) -> Rendered:
    """Return a node's agent as Neutron shows one; when it was started, weft does not know."""
    return {
        "id": str(uuid.uuid5(_IDS, node.name)),
        "agent_type": _AGENT_TYPES[node.dataplane],
        "binary": "weft-agent",
        "topic": "N/A",
        "host": node.name,
        "admin_state_up": True,
        "alive": alive,
        "availability_zone": node.site,
        "description": None,
        "created_at": None,
        "started_at": None,
        "heartbeat_timestamp": timestamp(last).replace("T", " ").removesuffix("Z"),
        "resources_synced": None,
        "configurations": {"integration_bridge": "br-int"} if node.dataplane is Dataplane.OVS else {},
    }
