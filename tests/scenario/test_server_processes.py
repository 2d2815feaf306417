"""A server of several processes on one SQLite file: one database to all who ask, whichever process answers them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.thorough import now_and_then

DEADLINE_S = 60.0
"""Only reached by a failing test."""
PROCESSES = 2
CLIENTS = 16
"""Connections; that the kernel deals all of them to one process is as likely as 1 in 32,768."""
ADDRESSES = 253
"""Of a /24, without its own, its broadcast and its gateway's."""
PROGRAM = """
from weft.api.server import run
from weft.api.settings import ServerSettings
import sys
run(ServerSettings(listen=("127.0.0.1:0",), db="sqlite:///" + sys.argv[1], processes=int(sys.argv[2])))
"""


class Family:
    """A server of several processes."""

    def __init__(self, folder: Path) -> None:
        self._errors = folder / "errors"
        self.db = folder / "weft.db"
        with self._errors.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self.db), str(PROCESSES)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline()
        assert greeting, self.errors()
        self.url = next(word for word in greeting.split() if word.startswith("http://"))

    def errors(self) -> str:
        return self._errors.read_text()

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
async def family(tmp_path: Path) -> AsyncIterator[Family]:
    family = await asyncio.to_thread(Family, tmp_path)
    children = family.children()
    yield family
    family.end()
    await gone(children)


@pytest.fixture
async def clients(family: Family) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        clients = [httpx.AsyncClient(base_url=family.url, timeout=DEADLINE_S) for _ in range(CLIENTS)]
        for each in clients:
            await stack.enter_async_context(each)
        yield clients


async def gone(pids: list[int]) -> None:
    await until(lambda: asyncio.to_thread(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids)))


async def until(comes: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await comes():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.02)


async def segment(http: httpx.AsyncClient) -> str:
    (await http.put("/v1/inventory", json={"sites": [{"name": "s", "fabric": {}}]})).raise_for_status()
    made = await http.post("/v2.0/networks", json={"network": {"name": "n"}})
    network: str = made.json()["network"]["id"]
    subnet = {"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4}
    (await http.post("/v2.0/subnets", json={"subnet": subnet})).raise_for_status()
    return network


async def create(http: httpx.AsyncClient, network: str, count: int) -> list[httpx.Response]:
    body = {"port": {"network_id": network}}
    return [await http.post("/v2.0/ports", json=body) for _ in range(count)]


@now_and_then(3)
async def test_all_processes_use_up_a_subnet_together(family: Family, clients: list[httpx.AsyncClient]) -> None:
    network = await segment(clients[0])
    answers = [
        answer
        for some in await asyncio.gather(*(create(http, network, ADDRESSES // CLIENTS + 1) for http in clients))
        for answer in some
    ]
    made = [answer.json()["port"] for answer in answers if answer.status_code == 201]
    assert len({port["fixed_ips"][0]["ip_address"] for port in made}) == len(made) == ADDRESSES
    refused = {answer.json()["NeutronError"]["type"] for answer in answers if answer.status_code != 201}
    assert refused == {"IpAddressGenerationFailure"}
    for http in clients:
        assert len((await http.get("/v2.0/ports", params={"fields": "id"})).json()["ports"]) == ADDRESSES
    assert len(family.children()) == PROCESSES


@now_and_then(3)
async def test_what_one_process_was_told_all_of_them_know_at_once(clients: list[httpx.AsyncClient]) -> None:
    network = await segment(clients[0])
    for at, http in enumerate(clients):
        answer = await http.put(f"/v2.0/networks/{network}", json={"network": {"name": f"n{at}"}})
        assert answer.status_code == 200
        seen = await asyncio.gather(*(other.get(f"/v2.0/networks/{network}") for other in clients))
        assert {each.json()["network"]["name"] for each in seen} == {f"n{at}"}


@now_and_then(3)
async def test_all_processes_answer_for_the_controllers(clients: list[httpx.AsyncClient]) -> None:
    await segment(clients[0])
    await until(lambda: plans(clients[0]))
    answers = await asyncio.gather(*(http.get("/v1/fabric/plan") for http in clients))
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"switches": []})] * CLIENTS


@now_and_then(3)
async def test_a_process_that_dies_is_replaced(family: Family, clients: list[httpx.AsyncClient]) -> None:
    network = await segment(clients[0])
    before = set(family.children())
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await gone(list(before))
    await until(lambda: creates(family, network))
    assert before.isdisjoint(family.children())
    assert family.errors().count("server_process_ended") == PROCESSES


async def plans(http: httpx.AsyncClient) -> bool:
    return (await http.get("/v1/fabric/plan")).status_code != 503


async def creates(family: Family, network: str) -> bool:
    try:
        async with httpx.AsyncClient(base_url=family.url, timeout=DEADLINE_S) as http:
            made = await http.post("/v2.0/ports", json={"port": {"network_id": network}})
    except httpx.TransportError:
        return False
    return made.status_code == 201


@now_and_then(3)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_all_processes_end_when_the_server_is_told_to(family: Family, number: signal.Signals) -> None:
    children = family.children()
    family.process.send_signal(number)
    assert await asyncio.to_thread(family.process.wait, DEADLINE_S) == 0
    await gone(children)
    assert "Traceback" not in family.errors()


@now_and_then(3)
async def test_no_process_outlives_the_server(family: Family) -> None:
    children = family.children()
    family.process.kill()
    await gone(children)


@now_and_then(3)
async def test_another_server_cannot_have_the_file(family: Family) -> None:
    with pytest.raises(AssertionError, match="is open in another process"):
        await asyncio.to_thread(Family, family.db.parent)


@now_and_then(3)
async def test_another_server_cannot_have_the_address(family: Family, tmp_path: Path) -> None:
    program = PROGRAM.replace("127.0.0.1:0", family.url.removeprefix("http://"))
    command = [sys.executable, "-c", program, str(tmp_path / "other.db"), str(PROCESSES)]
    done: subprocess.CompletedProcess[Any] = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode != 0
    assert "Address already in use" in done.stderr
