"""Agents that watch their node: 2,000 streams, 1,000 events a second, each event for one of them.

Every agent's node has a port; ports are renamed at given times, and the time counts from when a rename was due until
its node's stream brings it. The server, the agents and whoever renames share the machine's cores.
"""

import asyncio
import json
import random
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from bench.load import at_a_rate, request
from bench.postgres import postgres
from bench.process import weft_server
from bench.report import Figure, percentile
from bench.requests import Service
from weft.lab.generate import spine_leaf

LEAVES, NODES_PER_LEAF = 200, 10
AGENTS = LEAVES * NODES_PER_LEAF
EVENTS_PER_S = 1_000
SECONDS = 10
CONNECTIONS = 64
OPENING_AT_ONCE = 50
LATE_S = 1.0
"""How long nothing has come when nothing more will."""
LONGEST = 40
"""Bytes that a name takes at most."""
_NAME = re.compile(rb'"name":"event-(\d+)"')


async def measure(inventory: Path) -> list[Figure]:
    """Measure both engines; they need an inventory with more nodes than an example has."""
    del inventory
    with tempfile.TemporaryDirectory() as folder:
        figures = await _engine("SQLite", f"sqlite:///{folder}/weft.db")
    with postgres() as server:
        server.wear_in()
        figures += await _engine("PostgreSQL", server.create("weft"))
    return figures


async def _engine(engine: str, url: str) -> list[Figure]:
    with weft_server(url) as server:
        service = Service(server.port)
        await service.prepare(spine_leaf(2, LEAVES, nodes_per_leaf=NODES_PER_LEAF))
        ports = await service.create_on([f"node{leaf}-{at}" for leaf, at in _places()])
        agents = _Agents(server.port)
        began = time.monotonic()
        await agents.open([f"node{leaf}-{at}" for leaf, at in _places()])
        opened_s = time.monotonic() - began
        memory = server.memory_mib()
        count = EVENTS_PER_S * SECONDS
        first = time.perf_counter()
        tally = await at_a_rate(server.port, CONNECTIONS, _renames(ports, count), EVENTS_PER_S)
        await agents.settled()
        agents.close()
    delays = [came - first - number / EVENTS_PER_S for number, came in agents.came.items()]
    figures = [
        Figure(f"{engine}: {AGENTS} agents begin to watch", opened_s, "s", AGENTS),
        Figure(f"{engine}: memory with them", memory, "MiB", 1),
        Figure(
            f"{engine}: {EVENTS_PER_S} events/s, each to one: delivered, p50",
            percentile(delays, 0.5) * 1e3,
            "ms",
            count,
        ),
        Figure(f"{engine}: the same, p99", percentile(delays, 0.99) * 1e3, "ms", count, at_most=100),
        Figure(f"{engine}: the requests that made them, answered, p99", tally.quantile_ms(0.99), "ms", count),
        Figure(f"{engine}: events overtaken by a later one of the port", count - len(agents.came), "", count),
        Figure(f"{engine}: requests that failed", tally.failures(), "", count, at_most=0),
    ]
    for each in figures:
        print(f"  {each.name}: {each.measured:.4g} {each.unit}", flush=True)
    return figures


def _places() -> Iterator[tuple[int, int]]:
    return ((leaf, at) for leaf in range(1, LEAVES + 1) for at in range(1, NODES_PER_LEAF + 1))


def _renames(ports: list[str], count: int) -> Iterator[bytes]:
    """Yield requests that rename ports, so that none is renamed again soon."""
    order = random.sample(ports, len(ports))
    for number in range(count):
        body = json.dumps({"port": {"name": f"event-{number}"}}).encode()
        yield request("PUT", f"/v2.0/ports/{order[number % len(order)]}", body)


class _Agents:
    """The streams of all nodes, and when each rename came."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: list[_Stream] = []
        self.came: dict[int, float] = {}

    async def open(self, nodes: list[str]) -> None:
        """Begin to watch, and wait until every node has its snapshot."""
        turn = asyncio.Semaphore(OPENING_AT_ONCE)

        async def one(node: str) -> None:
            async with turn:
                loop = asyncio.get_running_loop()
                _, stream = await loop.create_connection(lambda: _Stream(self.came), "127.0.0.1", self._port)
                self._streams.append(stream)
                stream.begin(node)
                await stream.began

        await asyncio.gather(*map(one, nodes))

    async def settled(self) -> None:
        """Wait until nothing has come for a while."""
        before = -1
        while len(self.came) > before:
            before = len(self.came)
            await asyncio.sleep(LATE_S)

    def close(self) -> None:
        """Leave."""
        for stream in self._streams:
            stream.leave()


class _Stream(asyncio.Protocol):
    """One node's stream: looks for names in what comes."""

    def __init__(self, came: dict[int, float]) -> None:
        self._came = came
        self._transport: asyncio.Transport | None = None
        self._left = b""
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def begin(self, node: str) -> None:
        """Ask for the stream of a node."""
        assert self._transport is not None
        self._transport.write(request("GET", f"/v1/nodes/{node}/watch"))

    def leave(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Note which renames have come; a name may come in two pieces."""
        now = time.perf_counter()
        data = self._left + data
        if not self.began.done():
            self._left = data
            if b"\n\n" in data[data.find(b"event: snapshot") :] and b"event: snapshot" in data:
                self.began.set_result(None)
                self._left = b""
            return
        end = 0
        for found in _NAME.finditer(data):
            end = found.end()
            self._came.setdefault(int(found[1]), now)
        self._left = data[max(end, len(data) - LONGEST) :]

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail who waits for the snapshot."""
        if not self.began.done():
            self.began.set_exception(exc or ConnectionResetError("the stream ended before its snapshot"))
