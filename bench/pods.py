"""Pods: how fast ten nodes get ports for a thousand, and whether a hundred thousand can come and go without a trace.

A real server process with its plan of addresses, on SQLite, asked by the real protocol. The nodes are simulated:
nothing is wired, and no leaf is configured; what would be wired is reported up at once.
"""

import asyncio
import tempfile
import time
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.pod_churn import Crowd
from bench.pod_node import PodNode
from bench.process import WEFT, Served, serving
from bench.report import Figure, percentile
from weft.client import AsyncClient, ipam

NETWORK = "pods"
NODES, PODS = 10, 1_000
MANY_PODS = 10_000
CROWD_NODES, CROWD_PODS = 100, 100_000
CHURN_PER_S = 500
CHURN_S = 60.0
"""The target is for 600."""
PROCESSES = 1


async def measure(inventory: Path, *, pods: int = CROWD_PODS, churn_s: float = CHURN_S) -> list[Figure]:
    """Measure all; the last one with so many pods, for so long."""
    print("  simulated nodes: nothing is wired and no leaf is configured; server, addresses and protocol are real")
    figures = [
        *await _at_once(inventory, NODES, PODS),
        *await _at_once(inventory, CROWD_NODES, MANY_PODS),
        *await _crowd(inventory, pods, churn_s),
    ]
    for each in figures:
        print(f"  {each.name}: {each.measured:.4g} {each.unit}")
    return figures


async def _at_once(inventory: Path, count: int, pods: int) -> list[Figure]:
    """So many pods that nobody expected, and as many for which ports are ready."""
    async with _server(inventory, count) as (server, _), _nodes(server, count) as nodes:
        cold_s, _ = await _add(nodes, "cold", pods, fill=True)
        calls = sum(node.calls for node in nodes)
        refused = sum(node.refused for node in nodes)
        await asyncio.gather(*(node.fill(pods // count) for node in nodes))
        cpu_s = server.cpu_s()
        warm_s, took = await _add(nodes, "warm", pods, fill=False)
        cpu_s = server.cpu_s() - cpu_s
        began = time.perf_counter()
        names = [(at, f"{kind}-{at}") for kind in ("cold", "warm") for at in range(pods)]
        await asyncio.gather(*(nodes[at % count].delete(name, name) for at, name in names))
        deleted_s = time.perf_counter() - began
    what = f"{pods} pods at once on {count} nodes"
    most = 10 if pods == PODS else None
    return [
        Figure(f"{what}, no port ready: all have theirs", cold_s, "s", 1, at_most=most),
        Figure(f"{what}, no port ready: requests for each", calls / pods, "", pods, at_most=1),
        Figure(f"{what}, no port ready: told to come again", refused, "", calls),
        Figure(f"{what}, ports ready: all have theirs", warm_s, "s", 1, at_most=most),
        Figure(f"{what}, ports ready: one pod, p99", percentile(took, 0.99) * 1000, "ms", pods),
        Figure(f"{what}, ports ready: processor time of the server, each", cpu_s / pods * 1e6, "us", pods),
        Figure(f"{2 * pods} pods deleted at once", deleted_s, "s", 1),
    ]


async def _add(nodes: list[PodNode], kind: str, pods: int, *, fill: bool) -> tuple[float, list[float]]:
    """Start all pods at once; return how long all took, and how long each."""
    began = time.perf_counter()
    filling = [node.fill(pods // len(nodes)) for node in nodes] if fill else []
    adding = [nodes[at % len(nodes)].add(f"{kind}-{at}", f"{kind}-{at}") for at in range(pods)]
    pending = asyncio.gather(*filling)
    took = await asyncio.gather(*adding)
    await pending
    return time.perf_counter() - began, took


async def _crowd(inventory: Path, pods: int, churn_s: float) -> list[Figure]:
    async with _server(inventory, CROWD_NODES) as (server, client):
        async with Crowd(server.port, _names(CROWD_NODES), NETWORK) as crowd:
            began, cpu_s = time.perf_counter(), server.cpu_s()
            await crowd.register(pods)
            registered_s = time.perf_counter() - began
            print(f"  {pods} pods registered in {registered_s:.0f} s, {server.cpu_s() - cpu_s:.0f} s of processor time")
            cpu_s = server.cpu_s()
            await crowd.churn(CHURN_PER_S, churn_s)
            cpu_s = server.cpu_s() - cpu_s
            wrong = await crowd.compare()
        checked = await client.send(ipam.check(fix=False))
    for each in [*wrong, *(each["text"] for each in checked["findings"])][:20]:
        print(f"  WRONG: {each}")
    what = f"{CHURN_PER_S} pods/s created and deleted beside {pods}, {churn_s:g} s"
    count = len(crowd.took_s["claim"])
    figures = [Figure(f"{what}: pods", count, "", 1, at_least=CHURN_PER_S * churn_s)]
    for kind, samples in crowd.took_s.items():
        figures += [
            Figure(f"{what}: {kind}, p50", percentile(samples, 0.5) * 1000, "ms", len(samples)),
            Figure(f"{what}: {kind}, p99", percentile(samples, 0.99) * 1000, "ms", len(samples), at_most=20),
        ]
    return [
        *figures,
        Figure(f"{what}: processor time of the server, each pod", cpu_s / max(1, count) * 1e6, "us", count),
        Figure(f"{what}: refused or failed", crowd.failed, "", 1, at_most=0),
        Figure(f"{what}: leaked, lost or double", len(wrong), "", pods, at_most=0),
        Figure(f"{what}: findings of ipam check", len(checked["findings"]), "", checked["addresses"], at_most=0),
    ]


@asynccontextmanager
async def _server(inventory: Path, nodes: int) -> AsyncIterator[tuple[Served, AsyncClient]]:
    """Run a server with an inventory's fabric, so many nodes on its leaves, and a network for pods."""
    wire = tomllib.loads(await asyncio.to_thread(inventory.read_text))
    wire.pop("lab", None)
    leaves = [each["name"] for each in wire["switches"] if each["role"] == "leaf"]
    wire["links"] = [each for each in wire["links"] if ":" in each["a"] and "spine" in each["b"]]
    wire["nodes"] = [{"name": name, "site": wire["sites"][0]["name"]} for name in _names(nodes)]
    for at, name in enumerate(_names(nodes)):
        wire["links"].append({"a": f"{leaves[at % len(leaves)]}:eth{100 + at}", "b": f"{name}:nic1"})
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(
            WEFT, "server", "--no-controllers", "--processes", str(PROCESSES), "--db", f"sqlite:///{folder}/weft.db"
        ) as server,
    ):
        async with AsyncClient(f"http://127.0.0.1:{server.port}") as client:
            await client.put_inventory(wire)
            network = await client.networks.create({"name": NETWORK})
            await client.subnets.create({"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/12"})
            yield server, client


@asynccontextmanager
async def _nodes(server: Served, count: int) -> AsyncIterator[list[PodNode]]:
    """Have simulated nodes that follow the server."""
    async with AsyncExitStack() as stack:
        nodes, following = [], []
        for name in _names(count):
            client = await stack.enter_async_context(AsyncClient(f"http://127.0.0.1:{server.port}"))
            nodes.append(PodNode(name, client, NETWORK))
            following.append(asyncio.create_task(nodes[-1].follow()))
            await nodes[-1].following.wait()
        try:
            yield nodes
        finally:
            for each in following:
                each.cancel()
            await asyncio.gather(*following, return_exceptions=True)


def _names(count: int) -> list[str]:
    return [f"node{at + 1}" for at in range(count)]
