"""Binds in the lab: how long until the overlay carries a port, at 50 a second over three leaves, and 1,000 at once.

No hypervisor takes part: only the fabric's leg is measured, from the request until every leaf of the node was read back
with all that the port needs. At once: how many times the leaf is written, by the server's own log.
"""

import asyncio
import json
import time
from itertools import cycle
from pathlib import Path

from bench.report import Figure, percentile
from weft.client import AsyncClient, find_context
from weft.lab import state
from weft.lab.demo.live import until
from weft.lab.down import down
from weft.lab.progress import Progress
from weft.lab.state import LAB_DIR
from weft.lab.up import up
from weft.model.errors import Transient
from weft.model.intent import RealizationState, Realizer
from weft.protocol.port import PortStatus

NODES = ("node1", "node2", "node3")
RATE = 50
STEADY = 500
STEADY_NETWORKS = 10
AT_ONCE = 1000
AT_ONCE_NETWORKS = 50
CONNECTIONS = 32
TIMEOUT_S = 60.0


async def measure(file: Path) -> list[Figure]:
    """Build a lab, bind in it, remove it; return the figures."""
    await up(file, Progress())
    try:
        context = find_context()
        async with AsyncClient(context.server, context.token) as client:
            return [*await _steadily(client), *await _at_once(client)]
    finally:
        await down(Progress())


async def _steadily(client: AsyncClient) -> list[Figure]:
    ports = await _ports(client, "steady", STEADY, STEADY_NETWORKS)
    asked: dict[str, float] = {}
    began = time.monotonic()

    async def bind(place: int, port: str, node: str) -> None:
        await asyncio.sleep(max(0.0, began + place / RATE - time.monotonic()))
        asked[port] = time.time()
        await client.bind(port, node)

    nodes = cycle(NODES)
    await asyncio.gather(*(bind(place, port, next(nodes)) for place, port in enumerate(ports)))
    up_at = await _all_up(client, ports)
    took = [up_at[port] - asked[port] for port in ports]
    name = f"{RATE} binds/s over {len(NODES)} leaves: bind to overlay up"
    return [
        Figure(f"{name}, p50", percentile(took, 0.5) * 1000, "ms", len(took)),
        Figure(f"{name}, p99", percentile(took, 0.99) * 1000, "ms", len(took), 2000),
    ]


async def _at_once(client: AsyncClient) -> list[Figure]:
    ports = await _ports(client, "at-once", AT_ONCE, AT_ONCE_NETWORKS)
    before = _pushes("leaf1")
    slots = asyncio.Semaphore(CONNECTIONS)

    async def bind(port: str) -> None:
        async with slots:
            await client.bind(port, "node1")

    began = time.time()
    await asyncio.gather(*map(bind, ports))
    up_at = await _all_up(client, ports)
    pushes = _pushes("leaf1") - before
    name = f"{AT_ONCE} binds at once on one leaf, {AT_ONCE_NETWORKS} new networks"
    return [
        Figure(f"{name}: all up after", max(up_at.values()) - began, "s", len(ports)),
        Figure(f"{name}: times that the leaf is written", pushes, "", len(ports), 20),
    ]


async def _ports(client: AsyncClient, name: str, count: int, networks: int) -> list[str]:
    """Make networks, and ports in them by turns; return the ports."""
    made = []
    for number in range(networks):
        network = await client.networks.create({"name": f"{name}-{number}"})
        place = number + (networks if name == "steady" else 100)
        await client.subnets.create({"network_id": network["id"], "cidr": f"10.{place}.0.0/24", "ip_version": 4})
        made.append(network["id"])
    turns = cycle(made)
    return [str((await client.ports.create({"network_id": next(turns)}))["id"]) for _ in range(count)]


async def _all_up(client: AsyncClient, ports: list[str]) -> dict[str, float]:
    """Wait until the fabric carries all ports; return when it said so of each, Unix seconds."""
    wanted = set(ports)

    async def look() -> dict[str, float]:
        return {
            each.id: up_at for each in await client.port_statuses() if each.id in wanted and (up_at := _up_at(each))
        }

    found = await until(look, lambda seen: seen.keys() == wanted, TIMEOUT_S)
    if found.keys() != wanted:
        message = f"{len(wanted) - len(found)} of {len(wanted)} ports are not carried after {TIMEOUT_S:g} s"
        raise Transient(message, retry_after_s=TIMEOUT_S)
    return found


def _up_at(port: PortStatus) -> float:
    told = [
        each.at for each in port.realizations if each.realizer == Realizer.FABRIC and each.state == RealizationState.UP
    ]
    return max(told, default=0.0)


def _pushes(switch: str) -> int:
    log = (LAB_DIR / state.load().server / "server.log").read_text()
    said = [json.loads(line) for line in log.splitlines() if '"plan_applied"' in line]
    return sum(each["switch"] == switch for each in said)
