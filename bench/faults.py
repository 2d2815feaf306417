"""What faults of the fabric cost: pings lost by each, at 20 ms, within a network and between two, until all is whole.

Two instances of one network on two leaves, and one of another network beside the second; the first pings both while the
fault happens. A fault ends when what was broken is whole again: the switch in sync, every BGP session established.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.report import Figure
from weft.client import AsyncClient, find_context
from weft.lab import instances, power, state
from weft.lab.commands import run
from weft.lab.convergence import until_converged
from weft.lab.demo.inside import Place, ping, pinging
from weft.lab.demo.live import until
from weft.lab.down import down
from weft.lab.file import read
from weft.lab.progress import Progress
from weft.lab.switches import argv_in
from weft.lab.up import up
from weft.lab.vnic import find_vnic
from weft.model.errors import Transient

PROJECT = "bench"
FLAPS = 10
FLAP_S = 0.3
BEFORE_S, AFTER_S = 0.5, 1.0
TIMEOUT_S = 60.0

Fault = Callable[[], Awaitable[None]]


async def measure(file: Path) -> list[Figure]:
    """Build a lab, break it again and again, remove it; return the figures."""
    await up(file, Progress())
    try:
        context = find_context()
        async with AsyncClient(context.server, context.token) as client:
            bench = _Bench(client, file)
            await bench.spawn()
            return [figure for name, fault in _FAULTS.items() for figure in await bench.suffer(name, fault)]
    finally:
        await down(Progress())


async def _flap() -> None:
    for _ in range(FLAPS):
        for way in ("down", "up"):
            await run(*argv_in(state.load(), "leaf1", ("ip", "link", "set", "eth1", way)))
            await asyncio.sleep(FLAP_S)


_FAULTS: dict[str, Fault] = {
    "spine1 is switched off": lambda: power.kill("spine1"),
    "spine1 returns": lambda: power.start("spine1"),
    "leaf2 is switched off and on": lambda: power.restart("leaf2"),
    f"leaf1's first uplink flaps {FLAPS} times": _flap,
    "bgpd of leaf1 is killed": lambda: power.kill("leaf1/bgpd"),
    "zebra of leaf1 is killed": lambda: power.kill("leaf1/zebra"),
    "bgpd of spine2 is killed": lambda: power.kill("spine2/bgpd"),
    "the server is killed": lambda: power.kill("server"),
    "the server returns": lambda: power.start("server"),
    "the agent of node1 is killed": lambda: power.kill("node1/agent"),
    "the agent of node1 returns": lambda: power.start("node1/agent"),
}
_LEAVES_DOWN = {"spine1 is switched off", "the server is killed", "the agent of node1 is killed"}
"""What is whole again only by the next fault, its return."""


class _Bench:
    """Three instances, and what the first one hears of the others."""

    def __init__(self, client: AsyncClient, file: Path) -> None:
        self._client = client
        self._file = file
        self._places: dict[str, Place] = {}
        self._addresses: dict[str, str] = {}

    async def spawn(self) -> None:
        """Start the instances, and wait until they answer."""
        router = await self._client.routers.create({"name": "bench", "project_id": PROJECT})
        for number, placed in enumerate(({"one": "node1", "bridged": "node2"}, {"routed": "node2"})):
            network = await self._client.networks.create({"name": f"bench-{number}", "project_id": PROJECT})
            subnet = await self._client.subnets.create(
                {"network_id": network["id"], "cidr": f"10.9.{number}.0/24", "ip_version": 4, "project_id": PROJECT}
            )
            await self._client.routers.add_interface(router["id"], subnet_id=subnet["id"])
            for name, node in placed.items():
                port = await self._client.ports.create(
                    {"name": name, "network_id": network["id"], "project_id": PROJECT}
                )
                await self._client.bind(port["id"], node)
                plugged = await instances.plug(node, (await find_vnic(self._client, port["id"]))[0])
                self._places[name] = Place(name, plugged.namespace, instances.GUEST_INTERFACE, PROJECT)
                self._addresses[name] = port["fixed_ips"][0]["ip_address"]
        await self._all_answer()

    async def suffer(self, name: str, fault: Fault) -> list[Figure]:
        """Let a fault happen; return the pings lost, and for how long not all answered."""
        one = self._places["one"]
        async with (
            pinging(one, self._addresses["bridged"]) as bridged,
            pinging(one, self._addresses["routed"]) as routed,
        ):
            await asyncio.sleep(BEFORE_S)
            began = time.monotonic()
            await fault()
            await self._all_answer()
            if name not in _LEAVES_DOWN:
                await self._whole()
            took_s = time.monotonic() - began
            await asyncio.sleep(AFTER_S)
        await self._all_answer()
        lost = {"within a network": bridged.result, "between two": routed.result}
        told = ", ".join(f"{what} {each.lost} of {each.sent}" for what, each in lost.items())
        print(f"  {name}: lost {told}; whole after {took_s:.1f} s", flush=True)
        return [Figure(f"{name}: pings lost {what}", each.lost, "", each.sent) for what, each in lost.items()]

    async def _all_answer(self) -> None:
        async def look() -> bool:
            results = [
                await ping(self._places["one"], self._addresses[name], count=1) for name in ("bridged", "routed")
            ]
            return all(result.received for result in results)

        if not await until(look, bool, TIMEOUT_S):
            raise Transient("not all instances answer again", retry_after_s=TIMEOUT_S)

    async def _whole(self) -> None:
        await until_converged(state.load(), read(self._file).inventory, self._client, Progress())
