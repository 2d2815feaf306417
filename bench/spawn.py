"""How long from the bind request to ACTIVE and to the first answered ping; and what a move of an instance loses.

The clock starts when the bind request is sent, for a port that exists. The hypervisor plugs the instance in when that
is answered, as OpenStack's does, so its work (namespace, veth, ovs-vsctl) is part of what is measured. Pings come from
an instance of the same network on another leaf, every 10 ms; its kernel is told to repeat ARP requests every 20 ms,
because otherwise the second that ARP waits would be what is measured.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.report import Figure, percentile
from weft.client import AsyncClient, find_context
from weft.client.call import JsonObject
from weft.client.timeline import timeline
from weft.lab import instances, state
from weft.lab.commands import run
from weft.lab.demo.inside import Place, pinging
from weft.lab.demo.live import until
from weft.lab.down import down
from weft.lab.migration import migrate
from weft.lab.progress import Progress
from weft.lab.up import up
from weft.lab.vnic import find_vnic
from weft.model.errors import Transient
from weft.protocol.port import HistoryStep

OBSERVER_NODE = "node2"
NODE = "node1"
MOVE_NODES = ("node3", "node1")
FIRST_ROUNDS = 10
LATER_PORTS = 50
MOVES = 10
PING_INTERVAL_S = 0.01
ARP_RETRANSMIT_MS = 20
TIMEOUT_S = 30.0
AFTER_MOVE_S = 1.0
"""How long a move is watched after it is done: what it breaks shows then."""

_ANSWER = re.compile(rb"^\[(\d+\.\d+)\] \d+ bytes from", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Seconds from the bind request."""

    active_s: float
    ping_s: float
    longest_wait: str
    """The step that came after the longest wait, and how long that was."""


async def measure(file: Path) -> list[Figure]:
    """Build a lab, spawn and move in it, remove it; return the figures."""
    await up(file, Progress())
    try:
        context = find_context()
        async with AsyncClient(context.server, context.token) as client:
            return await _measure(client)
    finally:
        await down(Progress())


async def _measure(client: AsyncClient) -> list[Figure]:
    router = await client.routers.create({"name": "bench", "project_id": "bench"})
    first = []
    for number in range(FIRST_ROUNDS):
        async with _network(client, router["id"], number) as network:
            first.append(await network.spawn("first", NODE))
        _say(f"first port of a network on a leaf, round {number + 1}", first[-1])
    async with _network(client, router["id"], FIRST_ROUNDS) as network:
        await network.spawn("traveller", NODE)
        later = []
        for number in range(LATER_PORTS):
            later.append(await network.spawn(f"later-{number + 1}", NODE))
            _say(f"later port {number + 1}", later[-1])
        lost = [await network.move("traveller", MOVE_NODES[number % len(MOVE_NODES)]) for number in range(MOVES)]
    await client.routers.delete(router["id"])
    return [
        *_figures("first port of a network on a leaf", first, {0.5: 1.0}),
        *_figures("later ports", later, {0.5: 0.15, 0.99: 1.0}),
        Figure("pings lost by a move at 20 ms, p50", percentile(lost, 0.5), "", len(lost), 20),
        Figure("pings lost by a move at 20 ms, most", max(lost), "", len(lost), 20),
    ]


def _figures(what: str, spawns: list[Spawn], targets: dict[float, float]) -> list[Figure]:
    found = []
    for share, target in targets.items():
        for event, values in (("ACTIVE", [s.active_s for s in spawns]), ("first ping", [s.ping_s for s in spawns])):
            name = f"{what}: bind to {event}, p{share * 100:.0f}"
            found.append(Figure(name, percentile(values, share) * 1000, "ms", len(values), target * 1000))
    return found


def _say(what: str, spawn: Spawn) -> None:
    times = f"ACTIVE {spawn.active_s * 1000:.0f} ms, ping {spawn.ping_s * 1000:.0f} ms"
    print(f"  {what}: {times}; longest wait: {spawn.longest_wait}", flush=True)


def _longest_wait(history: list[HistoryStep]) -> str:
    bound = [each for each in timeline(history) if each.step.epoch > 0]
    gap_s, timed = max(((b.after_s - a.after_s, b) for a, b in pairwise(bound)), key=lambda wait: wait[0])
    return f"{gap_s * 1000:.0f} ms for {timed.step.actor}: {timed.title}"


class _Network:
    """A network of the bench, with an observer on another leaf than the instances that are measured."""

    def __init__(self, client: AsyncClient, network_id: str) -> None:
        self._client = client
        self._id = network_id
        self._ports: list[str] = []
        self._observer: Place | None = None

    async def spawn(self, name: str, node: str) -> Spawn:
        """Spawn an instance and return how long it took; it stays."""
        assert self._observer is not None
        port = await self._create_port(name)
        vnic, _ = await find_vnic(self._client, port["id"])
        address = port["fixed_ips"][0]["ip_address"]
        async with _first_answer(self._observer, address) as answered:
            asked = time.time()
            await self._client.bind(port["id"], node)
            await instances.plug(node, vnic)
            async with asyncio.timeout(TIMEOUT_S):
                active = await self._active_since(port["id"])
                wait = _longest_wait(await self._client.history(port["id"]))
                return Spawn(active - asked, await answered - asked, wait)

    async def move(self, name: str, node: str) -> int:
        """Move an instance, and return how many pings were lost."""
        assert self._observer is not None
        instance = instances.find(state.load(), name)
        address = instance.addresses[0].partition("/")[0]
        async with pinging(self._observer, address) as series:
            await migrate(self._client, instance, node)
            await asyncio.sleep(AFTER_MOVE_S)
        print(f"  move to {node}: {series.result.lost} of {series.result.sent} pings lost", flush=True)
        return series.result.lost

    async def observe_from(self, node: str) -> None:
        """Start the observer and wait until it is ACTIVE."""
        port = await self._create_port("observer")
        await self._client.bind(port["id"], node)
        vnic, _ = await find_vnic(self._client, port["id"])
        plugged = await instances.plug(node, vnic)
        await self._active_since(port["id"])
        retransmit = f"/proc/sys/net/ipv4/neigh/{instances.GUEST_INTERFACE}/retrans_time_ms"
        self._observer = Place("observer", plugged.namespace, instances.GUEST_INTERFACE, "bench")
        await run(*self._observer.argv("sh", "-c", f"echo {ARP_RETRANSMIT_MS} > {retransmit}"))

    async def close(self) -> None:
        """Stop the instances and delete their ports."""
        for name in state.load().instances:
            await instances.unplug(name)
        for port_id in self._ports:
            await self._client.ports.delete(port_id)

    async def _create_port(self, name: str) -> JsonObject:
        port = await self._client.ports.create({"name": name, "network_id": self._id, "project_id": "bench"})
        self._ports.append(port["id"])
        return port

    async def _active_since(self, port_id: str) -> float:
        port = await until(lambda: self._client.port_status(port_id), lambda seen: seen.state == "ACTIVE", TIMEOUT_S)
        if port.state != "ACTIVE":
            raise Transient(f"port {port.name} is {port.state} after {TIMEOUT_S:g} s", retry_after_s=TIMEOUT_S)
        return port.since


@asynccontextmanager
async def _network(client: AsyncClient, router_id: str, number: int) -> AsyncIterator[_Network]:
    """Make a network with its observer; take all of it away again, and wait until the leaf is empty."""
    row = await client.networks.create({"name": f"bench-{number}", "project_id": "bench"})
    subnet = await client.subnets.create(
        {"network_id": row["id"], "cidr": f"10.9.{number}.0/24", "ip_version": 4, "project_id": "bench"}
    )
    await client.routers.add_interface(router_id, subnet_id=subnet["id"])
    network = _Network(client, row["id"])
    try:
        await network.observe_from(OBSERVER_NODE)
        yield network
    finally:
        await network.close()
        await client.routers.remove_interface(router_id, subnet_id=subnet["id"])
        await client.subnets.delete(subnet["id"])
        await client.networks.delete(row["id"])
        await until(client.fabric_status, _in_sync, TIMEOUT_S)


def _in_sync(status: JsonObject) -> bool:
    return all(each["state"] == "in-sync" for each in status["switches"])


@asynccontextmanager
async def _first_answer(observer: Place, address: str) -> AsyncIterator[asyncio.Task[float]]:
    """Ping an address from the observer; the task returns the Unix time of the first answer."""
    process = await asyncio.create_subprocess_exec(
        *observer.argv("ping", "-n", "-D", "-i", str(PING_INTERVAL_S), address),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    reading = asyncio.create_task(_read_first(process))
    try:
        yield reading
    finally:
        reading.cancel()
        process.kill()
        await process.wait()


async def _read_first(process: asyncio.subprocess.Process) -> float:
    assert process.stdout is not None
    async for line in process.stdout:
        if found := _ANSWER.match(line):
            return float(found[1])
    raise AssertionError("ping ended without an answer")
