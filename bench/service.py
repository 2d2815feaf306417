"""The service's figures: requests answered and rows made durable, by a server on SQLite and on PostgreSQL.

The server has a process for each core, and the load generator runs on the same ones. Beside each figure stands its
limit, measured in the same run: one process of the same HTTP server answering bytes that it has ready (bench.canned),
and a bare writer putting the rows that the store writes for the same work into the same database, in groups as large as
the server's, with nothing else to do (bench.writer).
"""

import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.load import Tally, as_fast_as_possible, request
from bench.postgres import postgres
from bench.process import serving, weft_server
from bench.report import Figure
from bench.requests import (
    BULK_CONNECTIONS,
    CONNECTIONS,
    MANY_CONNECTIONS,
    NODES,
    OFFERED_PER_S,
    PER_BULK,
    Service,
)
from bench.writer import Rates, bare_rates, record

WARM_UP = 2_000
"""Ports that are made before anything is measured: a process is slower in its first second."""
CREATES = 12_000
SHOWS = 20_000
BULKS = 200
BINDS = 6_000
LISTS = 200


async def measure(inventory: Path) -> list[Figure]:
    """Measure both engines."""
    figures: list[Figure] = []
    canned = await _canned()
    figures.append(Figure("answers that are ready, 64 connections", canned, "/s", SHOWS))
    processes = os.cpu_count() or 1
    work = await record(
        inventory,
        NODES,
        per_group=CONNECTIONS // processes,
        bulks_per_group=BULK_CONNECTIONS // processes,
        per_bulk=PER_BULK,
    )
    with tempfile.TemporaryDirectory() as folder:
        bare = await asyncio.to_thread(bare_rates, f"sqlite:///{folder}/bare.db", work)
        figures += await _engine(SQLITE, f"sqlite:///{folder}/weft.db", inventory, Limits(canned, bare))
    with postgres() as server:
        server.wear_in()
        bare = await asyncio.to_thread(bare_rates, server.create("bare"), work)
        server.drop("bare")  # what its rows leave to be cleaned up is not to be done beside the server's work
        figures += await _engine(POSTGRESQL, server.create("weft"), inventory, Limits(canned, bare))
    return figures


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine can do at all, a second: answers that are ready, and ports' rows made durable."""

    answers: float
    rows: Rates

    def of_both(self, rows: float) -> float:
        """Return what is left of both if one core does one after the other."""
        return 1 / (1 / self.answers + 1 / rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What is to be reached on one engine: rates at least, times (ms) at most."""

    engine: str
    creates: float = 4000
    creates_p99: float = 30
    bulk: float
    offered_p99: float = 15
    shows: float
    binds: float = 3000
    page_p99: float = 10


SQLITE = Targets(engine="SQLite", bulk=20_000, shows=8000)
POSTGRESQL = Targets(engine="PostgreSQL", bulk=15_000, shows=5000)


async def _engine(targets: Targets, url: str, inventory: Path, limits: Limits) -> list[Figure]:
    """Measure one engine; `targets` names it."""
    with weft_server(url) as server:
        service = Service(server.port)
        await service.prepare(await asyncio.to_thread(inventory.read_text))
        await service.create(WARM_UP)
        made = await service.create(CREATES)
        shown = await service.show(SHOWS)
        bulk = await service.bulk(BULKS)
        bound = await service.bind(BINDS)
        offered = await service.offered()
        listed = await service.list_pages(LISTS)

    def rate(what: str, tally: Tally, *, least: float, limit: float, each: int = 1) -> Figure:
        value, samples = tally.rate * each, len(tally.latencies_s) * each
        return Figure(f"{targets.engine}: {what}", value, "/s", samples, at_least=least, limit=limit)

    def slowest(what: str, tally: Tally, most: float) -> Figure:
        value, samples = tally.quantile_ms(0.99), len(tally.latencies_s)
        return Figure(f"{targets.engine}: {what}, p99", value, "ms", samples, at_most=most)

    rows = limits.rows
    failed = sum(each.failures() for each in (made, shown, bulk, bound, offered, listed))
    figures = [
        Figure(f"{targets.engine}: a bare writer's rows of new ports, one to a piece", rows.creates, "/s", 1),
        Figure(f"{targets.engine}: a bare writer's rows of new ports, {PER_BULK} to a piece", rows.bulk, "/s", 1),
        Figure(f"{targets.engine}: a bare writer's rows of bound ports", rows.binds, "/s", 1),
        rate("single creates, 64 connections", made, least=targets.creates, limit=limits.of_both(rows.creates)),
        slowest("single creates, 64 connections", made, targets.creates_p99),
        rate(f"ports, {PER_BULK} to a request", bulk, least=targets.bulk, limit=rows.bulk, each=PER_BULK),
        slowest(f"{MANY_CONNECTIONS} connections, {OFFERED_PER_S}/s offered", offered, targets.offered_p99),
        rate("show by id", shown, least=targets.shows, limit=limits.answers),
        rate("update of the binding", bound, least=targets.binds, limit=limits.of_both(rows.binds)),
        slowest("list, a page of 100", listed, targets.page_p99),
        Figure(f"{targets.engine}: requests that failed", failed, "", 1, at_most=0),
    ]
    for each in figures:
        print(f"  {each.name}: {each.measured:.4g} {each.unit}")
    return figures


async def _canned() -> float:
    with serving(sys.executable, "-m", "bench.canned") as server:
        tally = await as_fast_as_possible(
            server.port, CONNECTIONS, iter([request("POST", "/v2.0/ports", b"{}")] * SHOWS)
        )
    return tally.rate
