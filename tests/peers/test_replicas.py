"""Several server processes on one PostgreSQL: whatever is asked of both, and whichever of them dies."""

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench.postgres import PostgresServer
from core_world import PROJECT
from test_postgresql import world
from weft_process import DEADLINE_S, WeftProcess, put_inventory, segment

from weft.controller.controllers import FABRIC
from weft.controller.election import LEASE_S, MARGIN_S, RENEW_S, SETTLE_S, Lease
from weft.controller.leadership import standing_of
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
    """Two servers or three, clients of them, and a store on their database."""

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

    async def leases(self) -> dict[str, Lease]:
        """Return by which leases the shards are led, once all of them are."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                standing = await self.store.read(standing_of)
                led = {shard: standing.leader_of(shard, time.time()) for shard in standing.shards()}
                if led and all(led.values()):
                    return {shard: lease for shard, lease in led.items() if lease is not None}
                await asyncio.sleep(0.05)

    async def spread(self, *numbers: int) -> dict[str, Lease]:
        """Return the leases once so many shards are led by each server, the fewest first."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                leases = await self.leases()
                led = Counter(self.leads_by(lease) for lease in leases.values())
                if sorted(led[at] for at in range(len(self.servers))) == list(numbers):
                    return leases
                await asyncio.sleep(0.05)

    async def voted(self, times: int) -> None:
        """Wait until each server that runs has voted so many times more."""
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(times):
                before = await self._votes()
                while any(before[holder] == until for holder, until in (await self._votes()).items()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    async def _votes(self) -> dict[str, float]:
        """Return until when the vote counts of each server that runs."""
        standing = await self.store.read(standing_of)
        pids = [f"/{server.pid}/" for server in self.servers if server.runs]
        return {
            holder: each.until for holder, each in standing.candidates.items() if any(pid in holder for pid in pids)
        }

    def leads_by(self, lease: Lease) -> int:
        """Return which server has a lease."""
        return next(at for at, server in enumerate(self.servers) if server.runs and f"/{server.pid}/" in lease.holder)


@asynccontextmanager
async def running(url: str, folder: Path, *names: str, clusters: Sequence[str] = ()) -> AsyncIterator["Pair"]:
    """Run servers; each may lead the shards of these clusters, which are never asked, as nothing is held for them."""
    settings = [f"--kubernetes={cluster}={_kubeconfig(folder)}" for cluster in clusters]
    servers = [WeftProcess(url, folder, name, settings=settings) for name in names]
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.callback(server.end)
        await asyncio.gather(*(server.start() for server in servers))
        clients = [await stack.enter_async_context(server.client()) for server in servers]
        store = await Store.open(url)
        stack.push_async_callback(store.close)
        await put_inventory(clients[0])
        yield Pair(servers, clients, store)


def _kubeconfig(folder: Path) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "c",
            }
        )
    )
    return path


@pytest.fixture
async def pair(url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    async with running(url, tmp_path, "one", "two") as pair:
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


async def test_the_shards_of_two_are_spread_and_the_other_leads_all_when_one_is_killed(pair: Pair) -> None:
    network = await segment(pair.clients[0], "10.0.0.0/20")
    began = time.monotonic()
    before = await pair.spread(1, 1)
    assert time.monotonic() - began < SETTLE_S + 3 * RENEW_S + SLOW_S
    leader = pair.leads_by(before[FABRIC])
    other = 1 - leader
    assert (await pair.clients[leader].get("/v1/fabric/plan")).status_code == 200
    refused = await pair.clients[other].get("/v1/fabric/plan")
    assert refused.status_code == 503
    assert f"does not lead the shard 'fabric' now: {before[FABRIC].holder} does" in refused.text
    for http in pair.clients:
        told = (await http.get("/v1/status")).json()["shards"]
        assert {each["shard"]: (each["leader"], each["term"]) for each in told} == {
            shard: (lease.holder, lease.term) for shard, lease in before.items()
        }
    made = [await pair.clients[leader].post("/v2.0/ports", json={"port": {"network_id": network}})]
    killed = time.monotonic()
    before = await pair.leases()
    pair.servers[leader].kill()
    slowest = 0.0
    while not (await pair.store.read(standing_of)).leases[FABRIC].term > before[FABRIC].term:
        assert time.monotonic() - killed < LEASE_S + MARGIN_S + SLOW_S
        asked = time.monotonic()
        made.append(await pair.clients[other].post("/v2.0/ports", json={"port": {"network_id": network}}))
        slowest = max(slowest, time.monotonic() - asked)
        await asyncio.sleep(0.05)
    assert slowest < SLOW_S
    assert {answer.status_code for answer in made} == {201}
    after = await pair.leases()
    assert {pair.leads_by(lease) for lease in after.values()} == {other}
    assert after[FABRIC].term == before[FABRIC].term + 1
    assert after["addresses"].term == before["addresses"].term
    assert after[FABRIC].since >= before[FABRIC].until + MARGIN_S, "two might have led at once"
    assert len(await pair.ports(other, network_id=network)) == len(made)
    # It comes back, and is given one of them again: not the fabric.
    await pair.servers[leader].start()
    answer = await pair.clients[leader].get(f"/v2.0/ports/{json.loads(made[-1].content)['port']['id']}")
    assert answer.status_code == 200
    back = await pair.spread(1, 1)
    assert pair.leads_by(back["addresses"]) == leader
    assert back[FABRIC].term == after[FABRIC].term


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_of_three_servers_shards_only_those_move_whose_leader_is_gone(
    url: str, tmp_path: Path, number: signal.Signals
) -> None:
    """A process that is stopped is gone, too; when it goes on, it does not lead what it led."""
    async with running(url, tmp_path, "one", "two", "three", clusters=("a", "b")) as three:
        before = await three.spread(1, 1, 2)
        led = Counter(three.leads_by(lease) for lease in before.values())
        gone = next(at for at, count in led.items() if count == 1)
        [shard] = [shard for shard, lease in before.items() if three.leads_by(lease) == gone]
        began = {server: len(server.events("leads")) for server in three.servers}
        os.kill(three.servers[gone].pid, number)
        lost = time.monotonic()
        while (after := await three.store.read(standing_of)).leases[shard].term == before[shard].term:
            assert time.monotonic() - lost < LEASE_S + MARGIN_S + RENEW_S + SLOW_S
            await asyncio.sleep(0.05)
        print(f"{shard} moved {time.monotonic() - lost:.1f} s after {number.name}")
        assert three.leads_by(after.leases[shard]) != gone
        for each in before.keys() - {shard}:
            assert (after.leases[each].holder, after.leases[each].term) == (before[each].holder, before[each].term)
        if number is signal.SIGSTOP:
            os.kill(three.servers[gone].pid, signal.SIGCONT)
            async with asyncio.timeout(DEADLINE_S):
                while not three.servers[gone].events("leads_no_more"):  # noqa: ASYNC110 - another process' log
                    await asyncio.sleep(0.05)
            assert [each["shard"] for each in three.servers[gone].events("leads_no_more")][-1:] == [shard]
        await three.voted(2)
        now = {server: len(server.events("leads")) for server in three.servers}
        heir = three.servers[three.leads_by(after.leases[shard])]
        assert now == began | {heir: began[heir] + 1}, "no other began anything"


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
    async with running(url, tmp_path, "one", "two") as pair:
        network = await segment(pair.clients[0], "10.0.0.0/24")
        before = (await pair.leases())[FABRIC]
        leader = pair.servers[pair.leads_by(before)]
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
        while (await pair.store.read(standing_of)).leases[FABRIC].until <= before.until:
            assert time.monotonic() - back < LEASE_S + MARGIN_S + SLOW_S
            await asyncio.sleep(0.1)
        assert all(each.runs for each in pair.servers)
        for http in pair.clients:
            assert (await http.post("/v2.0/ports", json={"port": {"network_id": network}})).status_code == 201
        assert len(await pair.ports()) == 2
