"""The service with a million ports present, beside the same server before they were there.

The ports fill a /12 to 99.9 %, so the last free addresses are measured in the same database: they are asked for one
after another, until there is none. The start is measured until the first of them is answered: only then the server has
read which addresses are taken. SQLite's memory is that of the server's processes; PostgreSQL's own is not counted.

After the million PostgreSQL is told to do at once what it would do in the following minutes, beside what is measured:
to analyze its tables, as `weft db import` does, and to put its log into its files.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.load import Tally, as_fast_as_possible, request
from bench.postgres import postgres
from bench.process import weft_server
from bench.report import Figure
from bench.requests import PER_BULK, Service

CIDR = "172.16.0.0/12"
ADDRESSES = (1 << 20) - 3
"""Of the subnet, without network, broadcast and gateway."""
LEFT = ADDRESSES // 1_000
CREATES = 16_000
SHOWS = 40_000
BULKS = 160
BINDS = 8_000
LISTS = 300
SHARE = 0.8
"""Of the empty rate, at least."""


async def measure(inventory: Path) -> list[Figure]:
    """Measure both engines."""
    text = await asyncio.to_thread(inventory.read_text)
    with tempfile.TemporaryDirectory() as folder:
        figures = await _engine("SQLite", f"sqlite:///{folder}/weft.db", text)
    with postgres() as server:
        server.wear_in()
        figures += await _engine("PostgreSQL", server.create("weft"), text, server.settle)
    return figures


@dataclass(frozen=True, slots=True)
class _Rates:
    """What a server did a second."""

    creates: float
    bulk: float
    shows: float
    binds: float


async def _engine(
    engine: str, url: str, inventory: str, settle: Callable[[str], None] = lambda database: None
) -> list[Figure]:
    """Measure an engine; `settle` has a database end the work that many new rows leave to it."""
    with weft_server(url) as server:
        service = Service(server.port)
        await service.prepare(inventory)
        empty = await _rates(service)
        full = await service.segment(CIDR)
    began = time.monotonic()
    filling = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.filling", url, full, str(ADDRESSES - LEFT), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await filling.communicate()
    assert filling.returncode == 0, "the ports could not be created"
    markers = output.decode().split()
    filled_s = time.monotonic() - began
    await asyncio.to_thread(settle, "weft")
    print(f"  {engine}: {ADDRESSES - LEFT} ports created in {filled_s:.0f} s", flush=True)

    began = time.monotonic()
    with weft_server(url) as server:
        answered_s = time.monotonic() - began
        service = Service(server.port, network=service.network)
        await service.one("POST", "/v2.0/ports", {"port": {"network_id": full}})
        started_s = time.monotonic() - began
        memory = server.memory_mib()
        crowded = await _rates(service)
        listed = await service.list_pages(LISTS, full, markers)
        last = await _exhaust(server.port, full, LEFT - 1)
        grown = server.memory_mib()

    def rate(what: str, after: float, before: float) -> Figure:
        name = f"{engine}, a million ports: {what}, share of the empty rate ({before:.0f}/s)"
        return Figure(name, after / before, "", 1, at_least=SHARE)

    name = f"{engine}, a million ports"
    figures = [
        Figure(f"{name}: made through the store", (ADDRESSES - LEFT) / filled_s, "/s", 1),
        Figure(f"{name}: start until the API answers", answered_s, "s", 1),
        Figure(f"{name}: start until a port in the full subnet", started_s, "s", 1, at_most=10),
        Figure(f"{name}: memory after that", memory, "MiB", 1, at_most=1500),
        Figure(f"{name}: memory at the end", grown, "MiB", 1, at_most=1500),
        rate("single creates", crowded.creates, empty.creates),
        rate(f"ports, {PER_BULK} to a request", crowded.bulk, empty.bulk),
        rate("show by id", crowded.shows, empty.shows),
        rate("update of the binding", crowded.binds, empty.binds),
        Figure(f"{name}: list, a page of 100, p99", listed.quantile_ms(0.99), "ms", LISTS, at_most=10),
        Figure(f"{name}: the last addresses of a /12, p50", last.quantile_ms(0.5), "ms", len(last.latencies_s)),
        Figure(f"{name}: the last addresses of a /12, p99", last.quantile_ms(0.99), "ms", len(last.latencies_s), 5),
        Figure(f"{name}: the very last address", last.latencies_s[-2] * 1000, "ms", 1, at_most=5),
    ]
    for each in figures:
        print(f"  {each.name}: {each.measured:.4g} {each.unit}", flush=True)
    return figures


async def _rates(service: Service) -> _Rates:
    made = await service.create(CREATES)
    shown = await service.show(SHOWS)
    bulk = await service.bulk(BULKS)
    bound = await service.bind(BINDS)
    assert not sum(each.failures() for each in (made, shown, bulk, bound)), "requests failed"
    return _Rates(creates=made.rate, bulk=bulk.rate * PER_BULK, shows=shown.rate, binds=bound.rate)


async def _exhaust(port: int, network: str, left: int) -> Tally:
    """Ask for the last addresses of a network, one after another, and for one more, which is refused."""
    body = b'{"port":{"network_id":"%b"}}' % network.encode()
    tally = await as_fast_as_possible(port, 1, iter([request("POST", "/v2.0/ports", body)] * (left + 1)))
    assert tally.statuses == {201: left, 409: 1}, tally.statuses
    return tally
