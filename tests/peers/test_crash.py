"""kill -9 under load, again and again: of the server, and of its database.

What was acknowledged is there, what was deleted is gone, what was never answered is there whole or not at all, and no
address is held twice or by nobody. WEFT_CRASH_ROUNDS says how often, over all tests of this file; 200 take a while.
Killed processes have written nothing wrong; that a machine without power loses nothing either is what fsync is for,
and is not tried here.
"""

import asyncio
import math
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from bench.postgres import PostgresServer
from crash_load import Figures, Load
from weft_process import DEADLINE_S, WEFT, WeftProcess, put_inventory, segment

from weft.store import Store
from weft.store.check import contradictions

TESTS = 6
ROUNDS = max(1, math.ceil(int(os.environ.get("WEFT_CRASH_ROUNDS", "12")) / TESTS))
"""Of each test."""
PROCESSES = 2
"""Of a server that has several."""
SHORTEST_S, LONGEST_S = 0.05, 1.0
"""When the kill comes after the load began."""
CIDR = "10.0.0.0/21"
TIMEOUT_S = 60 + 20 * ROUNDS

Crash = Callable[[], Awaitable[None]]


async def rounds(servers: list[WeftProcess], crash: Crash, recover: Crash) -> Load:
    """Put load on servers, have something crash and recover, and look at what is there; ROUNDS times."""
    server = servers[0]
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    figures = Figures()
    async with server.client() as http:
        await put_inventory(http)
        load = Load(await segment(http, CIDR), dice, figures)
    for _ in range(ROUNDS):
        working = asyncio.create_task(load.run(*(each.url for each in servers)))
        await asyncio.sleep(dice.uniform(SHORTEST_S, LONGEST_S))
        await crash()
        load.stop()
        await asyncio.wait_for(working, DEADLINE_S)
        await recover()
        figures.rounds += 1
        async with server.client() as http:
            await answering(http)
            assert await load.settle(http) == [], (seed, figures)
            report = (await http.post("/v1/ipam/check", json={"fix": False})).json()
            assert report["findings"] == [], (seed, figures)
    told = await asyncio.create_subprocess_exec(WEFT, "ipam", "check", env=os.environ | {"WEFT_SERVER": server.url})
    assert await told.wait() == 0, "weft ipam check found something"
    assert figures.created > 0
    assert figures.wrong == 0, figures
    print(figures)
    return load


async def answering(http: httpx.AsyncClient) -> None:
    """Wait until the server can write again: it reconnects by itself."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = await http.post("/v2.0/networks", json={"network": {"name": "again"}})
            if answer.status_code == 201:
                return
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)


async def sound(db: str) -> None:
    """Look through a database that was left behind, before a server has it again."""
    store = await Store.open(db)
    try:
        assert await store.read(contradictions) == []
    finally:
        await store.close()


@asynccontextmanager
async def started(db: str, folder: Path, name: str = "server", *, processes: int = 1) -> AsyncIterator[WeftProcess]:
    """Run a server within the context."""
    server = WeftProcess(db, folder, name, processes=processes)
    try:
        await server.start()
        yield server
    finally:
        server.end()


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("engine", "processes"), [("sqlite", 1), ("sqlite", PROCESSES), ("postgresql", 1)])
async def test_the_server_is_killed(
    engine: str, processes: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    db = f"sqlite:///{tmp_path}/weft.db" if engine == "sqlite" else request.getfixturevalue("url")
    async with started(db, tmp_path, processes=processes) as server:

        async def crash() -> None:
            server.kill()

        async def recover() -> None:
            await sound(db)
            await server.start()

        await rounds([server], crash, recover)


@pytest.mark.timeout(TIMEOUT_S)
async def test_one_process_of_a_server_is_killed(tmp_path: Path) -> None:
    dice = random.Random()
    async with started(f"sqlite:///{tmp_path}/weft.db", tmp_path, processes=PROCESSES) as server:

        async def crash() -> None:
            server.kill_one(dice)
            await asyncio.sleep(random.uniform(0, 0.5))  # the other one goes on

        async def recover() -> None:
            assert server.runs, server.log.read_text()[-3000:]

        await rounds([server], crash, recover)
    assert server.events("server_process_ended")


@pytest.mark.timeout(TIMEOUT_S)
async def test_postgresql_is_killed(server: PostgresServer, url: str, tmp_path: Path) -> None:
    async with started(url, tmp_path) as weft:

        async def crash() -> None:
            server.kill()
            await asyncio.sleep(random.uniform(0, 0.5))  # requests go on, and fail
            await asyncio.to_thread(server.start)
            await asyncio.sleep(random.uniform(0, 0.5))

        async def recover() -> None:
            assert weft.runs, weft.log.read_text()[-3000:]
            await sound(url)

        await rounds([weft], crash, recover)


@pytest.mark.timeout(TIMEOUT_S)
async def test_one_of_two_servers_is_killed(url: str, tmp_path: Path) -> None:
    async with started(url, tmp_path, "one") as one, started(url, tmp_path, "two") as two:

        async def crash() -> None:
            two.kill()
            await asyncio.sleep(random.uniform(0, 0.5))  # the other one goes on

        async def recover() -> None:
            await sound(url)
            await two.start()

        load = await rounds([one, two], crash, recover)
        assert set(load.cut_off) == {two.url}
        assert load.unavailable == 0, "nobody notices on the other"
