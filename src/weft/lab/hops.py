"""How many devices a packet passes between two instances, and how long it takes; the classic design beside ours.

The comparison spawns four instances on one node, through the server's API as any cloud would, in two networks of one
router: two are plugged into br-int as weft does it, two each have a Linux bridge in front of br-int, where the classic
design puts security groups (``ovs_hybrid_plug``; the bridges here filter nothing, which is in their favour). All else
is the same: agent, flows, leaf. Afterwards everything is taken away again.
"""

import asyncio
import re
import statistics
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from weft.client import AsyncClient
from weft.lab import instances, state
from weft.lab.commands import run
from weft.lab.path.hop import Path
from weft.lab.path.live import Finder
from weft.lab.state import Instance
from weft.lab.vnic import find_vnic
from weft.model.errors import Invalid, NotFound, Permanent

PINGS = 50
ROUNDS = 4
"""Paths take turns, so that what else the machine does at the time falls on all of them."""
WARM_UP = 5
"""Pings of a round that are not counted: the first ones wait for ARP and for Open vSwitch to set up its flows."""
PING_INTERVAL_S = 0.01
ACTIVE_TIMEOUT_S = 20.0
POLL_S = 0.05
CIDRS = ("198.18.0.0/25", "198.18.0.128/25")
"""Of the prefix that is for measuring networks (RFC 2544), in a router of their own."""
PREFIX = "weft-hops"
"""Names of what a comparison makes; found and removed by the next one if it was killed."""
_TIME = re.compile(r"time=([0-9.]+) ms")


class Latency(msgspec.Struct, frozen=True):
    """Times from a ping to its answer, in milliseconds."""

    p50_ms: float
    p99_ms: float


class Measured(msgspec.Struct, frozen=True):
    """A path as it was seen, and how long a ping over it takes."""

    title: str
    path: Path
    latency: Latency


async def measure(source: str, target: str) -> Measured:
    """Measure the path between two running instances."""
    lab = state.load()
    one, other = instances.find(lab, source), instances.find(lab, target)
    if one.name == other.name:
        raise Invalid(f"{one.name} is one instance: a path is between two")
    [measured] = await _measure(await Finder.of(lab), {f"{one.name} to {other.name}": (one, other)})
    return measured


async def compare(client: AsyncClient, node: str) -> list[Measured]:
    """Measure the path between two networks of one node: as weft plugs instances, and the classic way."""
    lab = state.load()
    if node not in lab.ovs_nodes:
        raise NotFound(f"the lab has no OVS node '{node}' (it has {', '.join(lab.ovs_nodes)})")
    await _remove(client)
    async with _spawned(client, node) as spawned:
        one, other, classic_one, classic_other = spawned
        designs = {
            "weft: devices directly on br-int": (one, other),
            "classic: a Linux bridge per instance": (classic_one, classic_other),
        }
        return await _measure(await Finder.of(state.load()), designs)


async def _measure(finder: Finder, pairs: Mapping[str, tuple[Instance, Instance]]) -> list[Measured]:
    said: dict[str, list[str]] = {title: [] for title in pairs}
    for _ in range(ROUNDS):
        for title, (source, target) in pairs.items():
            said[title].append(await _ping(source, _address(target)))
    return [
        Measured(
            title,
            await finder.find(source.name, source.namespace, target.name, _address(target)),
            read_latency(said[title]),
        )
        for title, (source, target) in pairs.items()
    ]


def _address(instance: Instance) -> str:
    return instance.addresses[0].partition("/")[0]


async def _ping(source: Instance, address: str) -> str:
    count = PINGS + WARM_UP
    words = ("ping", "-n", "-c", str(count), "-i", str(PING_INTERVAL_S), "-W", "1", address)
    return await run("ip", "netns", "exec", source.namespace, *words)


def read_latency(rounds: Iterable[str]) -> Latency:
    """Read what ping printed, round by round, without the first answers of each; raise Permanent if few are left."""
    times = sorted(float(found) for said in rounds for found in _TIME.findall(said)[WARM_UP:])
    if len(times) < PINGS:
        raise Permanent(f"only {len(times)} pings were answered: too few to say how long one takes")
    return Latency(statistics.median(times), times[min(len(times) - 1, round(len(times) * 0.99))])


@asynccontextmanager
async def _spawned(client: AsyncClient, node: str) -> AsyncIterator[list[Instance]]:
    try:
        router = await client.routers.create({"name": PREFIX})
        networks = []
        for number, cidr in enumerate(CIDRS, start=1):
            network = await client.networks.create({"name": f"{PREFIX}-{number}"})
            subnet = await client.subnets.create({"network_id": network["id"], "cidr": cidr, "ip_version": 4})
            await client.routers.add_interface(router["id"], subnet_id=subnet["id"])
            networks.append(network["id"])
        spawned = []
        for kind, hybrid in (("direct", False), ("classic", True)):
            for number, network_id in enumerate(networks, start=1):
                name = f"{PREFIX}-{kind}-{number}"
                port = {"name": name, "network_id": network_id, "binding:host_id": node}
                vnic, _ = await find_vnic(client, (await client.ports.create(port))["id"])
                spawned.append(await instances.plug(node, vnic, hybrid=hybrid))
        await _until_active(client, spawned)
        yield spawned
    finally:
        await _remove(client)


async def _until_active(client: AsyncClient, spawned: Iterable[Instance]) -> None:
    deadline = asyncio.get_running_loop().time() + ACTIVE_TIMEOUT_S
    for each in spawned:
        while (port := await client.port_status(each.port_id)).state != "ACTIVE":
            if asyncio.get_running_loop().time() > deadline:
                raise Permanent(
                    f"{each.name} is {port.state} after {ACTIVE_TIMEOUT_S:g} s: `weft port show {each.name}`"
                )
            await asyncio.sleep(POLL_S)


async def _remove(client: AsyncClient) -> None:
    """Take away whatever a comparison has made, of this run or of one that was killed."""
    for instance in state.load().instances.values():
        if instance.name.startswith(f"{PREFIX}-"):
            await instances.unplug(instance.name)
    networks = [network for network in await client.networks.list() if _is_ours(network)]
    for network in networks:
        for port in await client.ports.list(network_id=network["id"]):
            if _is_ours(port):
                await client.ports.delete(port["id"])
    for router in [router for router in await client.routers.list() if _is_ours(router)]:
        for port in await client.ports.list(device_id=router["id"]):
            for fixed in port["fixed_ips"]:
                await client.routers.remove_interface(router["id"], subnet_id=fixed["subnet_id"])
        await client.routers.delete(router["id"])
    for network in networks:
        await client.networks.delete(network["id"])


def _is_ours(row: Mapping[str, Any]) -> bool:
    name = str(row["name"])
    return name == PREFIX or name.startswith(f"{PREFIX}-")
