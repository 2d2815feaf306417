"""Two server processes on one PostgreSQL: whatever is asked of both, and whichever of them dies."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench.postgres import PostgresServer
from core_world import PROJECT
from test_postgresql import world
from weft_process import DEADLINE_S, WeftProcess, put_inventory, segment

from weft.controller.controllers import WHAT
from weft.controller.leadership import LEASE_S, MARGIN_S, Lease, lease_of
from weft.intent.ports import PortSpec, create_port
from weft.store import PortView, Store, Transaction, postgresql
from weft.store.check import contradictions

WRITERS = 8
ADDRESSES = 253
"""Of a /24, without its own, its broadcast and its gateway's."""
ROUNDS = 10
SLOW_S = 2.0
"""How much later than it could a machine that is busy may do something."""


class Pair:
    """Two servers, clients of them, and a store on their database."""

    def __init__(self, servers: list[WeftProcess], clients: list[httpx.AsyncClient], store: Store) -> None:
        self.servers = servers
        self.clients = clients
        self.store = store

    async def everywhere(self, method: str, path: str, **kw: Any) -> list[httpx.Response]:
        """Send one request to both at once, twice to each."""
        return list(await asyncio.gather(*(http.request(method, path, **kw) for http in self.clients * 2)))

    async def ports(self, at: int = 0, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.clients[at].get("/v2.0/ports", params=query)).json()["ports"]
        return found

    async def lease(self) -> Lease:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = await self.store.read(lambda snapshot: lease_of(snapshot, WHAT))
                if found is not None:
                    return found
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running_pair(url: str, folder: Path) -> AsyncIterator[Pair]:
    servers = [WeftProcess(url, folder, name) for name in ("one", "two")]
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.callback(server.end)
        await asyncio.gather(*(server.start() for server in servers))
        clients = [await stack.enter_async_context(server.client()) for server in servers]
        store = await Store.open(url)
        stack.push_async_callback(store.close)
        await put_inventory(clients[0])
        yield Pair(servers, clients, store)


@pytest.fixture
async def pair(url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(url, tmp_path) as pair:
        yield pair


async def test_writers_on_both_use_up_a_subnet(pair: Pair) -> None:
    network = await segment(pair.clients[0], "10.0.0.0/24")
    made: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()

    async def writer(http: httpx.AsyncClient) -> None:
        refusals = 0
        while refusals < 5:
            answer = await http.post("/v2.0/ports", json={"port": {"network_id": network}})
            if answer.status_code == 201:
                made.append(answer.json()["port"])
            else:
                refusals += 1
                refused[f"{answer.status_code} {answer.json()['NeutronError']['type']}"] += 1

    await asyncio.gather(*(writer(pair.clients[at % 2]) for at in range(WRITERS)))
    assert refused == {"409 IpAddressGenerationFailure": 5 * WRITERS}
    assert len({port["fixed_ips"][0]["ip_address"] for port in made}) == len(made) == ADDRESSES
    assert len({port["mac_address"] for port in made}) == ADDRESSES
    for at in (0, 1):
        assert {port["id"] for port in await pair.ports(at, network_id=network)} == {port["id"] for port in made}
    assert await pair.store.read(contradictions) == []
    report = (await pair.clients[1].post("/v1/ipam/check", json={"fix": False})).json()
    assert (report["findings"], report["addresses"]) == ([], ADDRESSES)


async def test_one_name_and_one_key_asked_of_both_at_once_are_one_port(pair: Pair) -> None:
    network = await segment(pair.clients[0], "10.0.0.0/20")
    for at in range(ROUNDS):
        named = await pair.everywhere("PUT", f"/v1/ports/by-name/name-{at}", json={"network_id": network})
        assert sorted(answer.status_code for answer in named) == [200, 200, 200, 201], [each.text for each in named]
        assert len({answer.json()["port"]["id"] for answer in named}) == 1
        body = {"port": {"network_id": network, "name": f"key-{at}"}}
        keyed = await pair.everywhere("POST", "/v2.0/ports", json=body, headers={"Idempotency-Key": f"key-{at}"})
        assert {answer.status_code for answer in keyed} == {201}, [each.text for each in keyed]
        assert len({answer.content for answer in keyed}) == 1
    names = Counter(port["name"] for port in await pair.ports(1))
    assert names == {f"{kind}-{at}": 1 for kind in ("name", "key") for at in range(ROUNDS)}


async def test_what_one_writes_the_other_tells_its_node(pair: Pair) -> None:
    network = await segment(pair.clients[0], "10.0.0.0/24")
    for writes, watches in ((0, 1), (1, 0)):
        async with pair.clients[watches].stream("GET", "/v1/nodes/node1/watch", timeout=DEADLINE_S) as stream:
            assert stream.status_code == 200
            lines = stream.aiter_lines()
            assert await anext(lines) == "event: snapshot"
            body = {"port": {"network_id": network, "binding:host_id": "node1"}}
            asked = time.monotonic()
            made = (await pair.clients[writes].post("/v2.0/ports", json=body)).json()["port"]
            async for line in lines:
                if line.startswith("data: ") and made["id"] in line:
                    break
            else:
                pytest.fail("the watch ended")
            assert time.monotonic() - asked < SLOW_S


async def test_the_other_leads_when_the_leader_is_killed_and_answers_meanwhile(pair: Pair) -> None:
    network = await segment(pair.clients[0], "10.0.0.0/20")
    before = await pair.lease()
    leader = next(at for at in (0, 1) if f"/{pair.servers[at].pid}/" in before.holder)
    other = 1 - leader
    assert len(pair.servers[leader].events("leads")) == 1
    assert pair.servers[other].events("leads") == []
    made = [await pair.clients[leader].post("/v2.0/ports", json={"port": {"network_id": network}})]
    killed = time.monotonic()
    before = await pair.lease()
    pair.servers[leader].kill()
    slowest = 0.0
    while not pair.servers[other].events("leads"):
        assert time.monotonic() - killed < LEASE_S + MARGIN_S + SLOW_S
        asked = time.monotonic()
        made.append(await pair.clients[other].post("/v2.0/ports", json={"port": {"network_id": network}}))
        slowest = max(slowest, time.monotonic() - asked)
        await asyncio.sleep(0.05)
    assert slowest < SLOW_S
    assert {answer.status_code for answer in made} == {201}
    after = await pair.lease()
    assert f"/{pair.servers[other].pid}/" in after.holder
    assert after.term == before.term + 1
    assert after.until - LEASE_S >= before.until + MARGIN_S, "two might have led at once"
    assert len(await pair.ports(other, network_id=network)) == len(made)
    # It comes back, and does not lead.
    await pair.servers[leader].start()
    answer = await pair.clients[leader].get(f"/v2.0/ports/{json.loads(made[-1].content)['port']['id']}")
    assert answer.status_code == 200
    assert pair.servers[leader].events("leads")[1:] == []


async def test_one_that_stalls_in_its_turn_to_write_loses_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process does that is stopped, or a machine that is cut off: nobody hears that it has gone.

    Back again, it begins anew what was undone.
    """
    monkeypatch.setattr(postgresql, "TURN_S", 1.0)
    async with world(url) as w:
        network, _ = await w.segment("10.0.0.0/24")
        other = await Store.open(url, clock=w.clock)
        stalls, goes_on = threading.Event(), threading.Event()

        def create(tx: Transaction) -> PortView:
            return create_port(tx, PortSpec(project_id=PROJECT, network_id=network.id))

        def stall(tx: Transaction) -> PortView:
            view = create(tx)
            assert view.port.id in {each.port.id for each in tx.ports(network_id=network.id)}  # written, not held back
            stalls.set()
            goes_on.wait(DEADLINE_S)
            return view

        stalled = asyncio.create_task(w.store.transact(stall))
        await asyncio.to_thread(stalls.wait, DEADLINE_S)
        made = [await asyncio.wait_for(other.transact(create), DEADLINE_S)]
        goes_on.set()
        made += [await stalled, await w.store.transact(create), await other.transact(create)]
        assert {view.port.id for view in await w.store.read(lambda snapshot: snapshot.ports())} == {
            view.port.id for view in made
        }
        assert len({view.port.fixed_ips[0].address for view in made}) == 4
        assert await w.store.read(contradictions) == []
        await other.close()


async def test_servers_outlive_a_database_that_is_away_for_longer_than_a_lease(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    async with running_pair(url, tmp_path) as pair:
        network = await segment(pair.clients[0], "10.0.0.0/24")
        before = await pair.lease()
        leader = next(each for each in pair.servers if f"/{each.pid}/" in before.holder)
        server.kill()
        killed = time.monotonic()
        try:
            while not leader.events("leads_no_more"):
                assert time.monotonic() - killed < LEASE_S - MARGIN_S + SLOW_S
                for http in pair.clients:
                    answer = await http.post("/v2.0/ports", json={"port": {"network_id": network}})
                    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True), answer.text
                    assert (await http.get("/v2.0/ports")).status_code == 503
                await asyncio.sleep(0.1)
        finally:  # other tests need it, too
            await asyncio.to_thread(server.start)
        back = time.monotonic()
        while (await pair.lease()).until <= before.until:
            assert time.monotonic() - back < LEASE_S + MARGIN_S + SLOW_S
            await asyncio.sleep(0.1)
        assert all(each.runs for each in pair.servers)
        for http in pair.clients:
            assert (await http.post("/v2.0/ports", json={"port": {"network_id": network}})).status_code == 201
        assert len(await pair.ports()) == 2
