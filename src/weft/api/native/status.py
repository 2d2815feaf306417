"""The servers at a glance: for people and programs as /v1/status, for Prometheus as /metrics."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import weft
from weft.api.access import Access
from weft.api.agents import ALIVE, Agents
from weft.api.answers import JsonAnswer
from weft.api.metrics import CONTENT_TYPE_LATEST, Metrics
from weft.api.routing import Operation
from weft.controller.election import Standing
from weft.controller.leadership import standing_of
from weft.model.inventory import Dataplane, Inventory
from weft.ports.machine import State
from weft.store import Snapshot, Store


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """What there is, counted."""

    revision: int
    ports: Mapping[str, Mapping[str, int]]
    """By site, then by state."""
    switches: Mapping[str, Mapping[str, int]]
    """By site, then by state."""
    agents: Mapping[str, int]
    """By state."""
    standing: Standing
    """Who leads the controllers' shards."""


class StatusPages:
    """The server's own pages."""

    def __init__(self, store: Store, agents: Agents, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._agents = agents
        self._metrics = metrics

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/v1/status", self.status),
            Operation("GET", "/metrics", self.metrics, Access.SERVICE),
        ]

    async def status(self, request: Request) -> Response:
        """Answer what there is, counted."""
        del request
        glance = await self._store.read(self._glance)
        states: Counter[str] = Counter()
        for counts in glance.ports.values():
            states.update(counts)
        return JsonAnswer(
            {
                "version": weft.__version__,
                "revision": glance.revision,
                "ports": states,
                "sites": {site: {"ports": counts} for site, counts in glance.ports.items()},
                "agents": glance.agents,
                "switches": glance.switches,
                "shards": _shards(glance.standing, self._clock()),
                "candidates": _candidates(glance.standing, self._clock()),
            }
        )

    async def metrics(self, request: Request) -> Response:
        """Answer all metrics in Prometheus' format."""
        del request
        glance = await self._store.read(self._glance)
        self._metrics.revision.set(glance.revision)
        self._metrics.agents.set(glance.agents.get(ALIVE, 0))
        for gauge, by_site in ((self._metrics.ports, glance.ports), (self._metrics.switches, glance.switches)):
            gauge.clear()
            for site, counts in by_site.items():
                for state, count in counts.items():
                    gauge.labels(site, state).set(count)
        self._metrics.shard_led.clear()
        self._metrics.shard_term.clear()
        for each in _shards(glance.standing, self._clock()):
            self._metrics.shard_led.labels(each["shard"]).set(each["leader"] is not None)
            self._metrics.shard_term.labels(each["shard"]).set(each["term"])
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def _glance(self, snapshot: Snapshot) -> Glance:
        inventory = snapshot.inventory()
        ports = _ports(snapshot, inventory)
        statuses = snapshot.switch_statuses()
        switches: dict[str, Counter[str]] = {str(site.name): Counter() for site in inventory.sites}
        for switch in inventory.switches:
            known = statuses.get(switch.name)
            switches[switch.site][known.state if known else "pending"] += 1
        seen = snapshot.agents()
        agents = Counter(
            self._agents.state(node.name, seen.get(node.name))[0]
            for node in inventory.nodes
            if node.dataplane is not Dataplane.NONE
        )
        return Glance(
            revision=snapshot.revision(),
            ports=ports,
            switches=switches,
            agents=agents,
            standing=standing_of(snapshot),
        )


def _shards(standing: Standing, now: float) -> list[dict[str, Any]]:
    """Return who leads each shard, in which term, and since when; nobody: None, and the term that was the last."""
    rows = []
    for shard in standing.shards():
        lease, last = standing.leader_of(shard, now), standing.leases.get(shard)
        rows.append(
            {
                "shard": shard,
                "leader": lease.holder if lease is not None else None,
                "since": lease.since if lease is not None else None,
                "term": last.term if last is not None else 0,
            }
        )
    return rows


def _candidates(standing: Standing, now: float) -> list[dict[str, Any]]:
    """Return the processes that may lead, since when they are there, which shards, and which of them failed there."""
    return [
        {"candidate": holder, "since": each.since, "shards": each.shards, "failed": each.failed}
        for holder, each in sorted(standing.candidates.items())
        if now < each.until
    ]


def _ports(snapshot: Snapshot, inventory: Inventory) -> dict[str, Counter[str]]:
    """Return how many ports each site has in each state; a state without ports is there, too, as 0."""
    counts = {str(site.name): Counter({str(state): 0 for state in State}) for site in inventory.sites}
    site_of = {network.id: network.site for network in snapshot.networks()}
    for (network_id, state), count in snapshot.network_state_counts().items():
        counts.setdefault(site_of[network_id], Counter())[state] += count
    return counts
