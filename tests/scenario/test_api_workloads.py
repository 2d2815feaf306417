"""The pages of a node's containers: ports made ahead, batches whose items fail alone, what agents say they have."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from api_server import ADMIN, ApiServer, api_server

from weft.api.native.workload_queue import MAX_OF_NODE
from weft.api.native.workloads import LOST_AFTER_S
from weft.client import AsyncClient
from weft.client.outcomes import error_in, workload_in
from weft.model.errors import Conflict, Forbidden, Invalid, NotFound
from weft.protocol.workload import (
    MAX_BATCH,
    MAX_WARM,
    MISSING_S,
    WarmOrder,
    Workload,
    WorkloadBatch,
    WorkloadClaim,
    WorkloadPresent,
    WorkloadRelease,
    WorkloadRequest,
    WorkloadsPresent,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as made:
        await made.make_network("10.88.0.0/28", name="pods")  # 13 addresses: the gateway has one
        yield made


@pytest.fixture
async def agent(server: ApiServer) -> AsyncIterator[AsyncClient]:
    token = await server.token_of("node1")
    async with AsyncClient("http://weft.example", token, transport=httpx.ASGITransport(server.api.app)) as client:
        yield client


def claim_of(port: Workload, name: str, holder: str) -> WorkloadClaim:
    return WorkloadClaim(port_id=port.port_id, epoch=port.epoch, name=name, holder=holder)


def present(*ports: Workload) -> WorkloadsPresent:
    return WorkloadsPresent(
        workloads=tuple(WorkloadPresent(port_id=each.port_id, epoch=each.epoch, holder=each.holder) for each in ports)
    )


async def test_as_many_warm_ports_as_there_are(agent: AsyncClient) -> None:
    first = await agent.warm_workloads("node1", WarmOrder(network="pods", count=10))
    assert len({each.addresses[0].address for each in first}) == 10
    assert len(await agent.warm_workloads("node1", WarmOrder(network="pods", count=10))) == 3
    with pytest.raises(Conflict, match="No more IP addresses available"):
        await agent.warm_workloads("node1", WarmOrder(network="pods", count=1))
    assert len(await agent.workloads("node1")) == 13


async def test_what_cannot_be_ordered_is_said(agent: AsyncClient) -> None:
    for count in (0, MAX_WARM + 1):
        with pytest.raises(Invalid, match=f"count {count} is not possible"):
            await agent.warm_workloads("node1", WarmOrder(network="pods", count=count))
    with pytest.raises(NotFound, match="no network is called 'nowhere'"):
        await agent.warm_workloads("node1", WarmOrder(network="nowhere", count=2))
    with pytest.raises(Forbidden):
        await agent.warm_workloads("node2", WarmOrder(network="pods", count=1))
    many = WorkloadBatch(release=tuple(WorkloadRelease(name="n", holder="h") for _ in range(MAX_BATCH + 1)))
    with pytest.raises(Invalid, match=f"{MAX_BATCH + 1} items at once are too many"):
        await agent.workload_batch("node1", many)


async def test_each_item_of_a_batch_has_its_own_outcome(agent: AsyncClient) -> None:
    one, two = await agent.warm_workloads("node1", WarmOrder(network="pods", count=2))
    done = await agent.workload_batch(
        "node1",
        WorkloadBatch(
            attach=(
                WorkloadRequest(name="db-0", holder="a", network="pods"),
                WorkloadRequest(name="db-1", holder="b", network="nowhere"),
                WorkloadRequest(name="db-2", holder="c", network="pods", release="soon"),
            ),
            claim=(claim_of(one, "web-1", "d"), claim_of(one, "web-2", "e"), claim_of(two, "web-3", "f")),
            release=(WorkloadRelease(name="db-0", holder="z"), WorkloadRelease()),
        ),
    )
    assert workload_in(done.attach[0]).name == "db-0"
    errors = [each.error for each in (*done.attach[1:], done.claim[1], done.release[1])]
    assert [each and (each.status, each.kind, each.retry_after_s) for each in errors] == [
        (404, "NetworkNotFound", None),
        (400, "InvalidReleasePolicy", None),
        (409, "WorkloadClaimed", None),
        (400, "BadRequest", None),
    ]
    refused = errors[1]
    assert refused is not None
    assert str(error_in(refused)).startswith("release 'soon' is none: write now, with-object, never, or a time")
    assert [workload_in(each).name for each in (done.claim[0], done.claim[2])] == ["web-1", "web-3"]
    assert done.release[0].released is False


async def test_releases_come_before_claims_of_their_batch(agent: AsyncClient) -> None:
    ready = await agent.warm_workloads("node1", WarmOrder(network="pods", count=1))
    released = WorkloadRelease(name="web", holder="a")
    batch = WorkloadBatch(claim=(claim_of(ready[0], "web", "a"),), release=(released,))
    done = await agent.workload_batch("node1", batch)
    assert (done.release[0].released, workload_in(done.claim[0]).holder) == (False, "a"), "releases come first"


async def test_what_an_agent_lacks_twice_is_released(server: ApiServer, agent: AsyncClient) -> None:
    lost, kept = await agent.warm_workloads("node1", WarmOrder(network="pods", count=2))
    sticky = await agent.attach_workload("node1", WorkloadRequest(name="db-0", holder="a", network="pods"))
    first = await agent.workloads_present("node1", present(kept))
    assert set(first.missing) == {lost.port_id, sticky.port_id}
    assert (first.released, first.stray) == ((), ())
    server.clock.now += MISSING_S - 1
    assert (await agent.workloads_present("node1", present(kept))).released == ()
    server.clock.now += 1
    second = await agent.workloads_present("node1", present(kept))
    assert (set(second.released), second.missing) == ({lost.port_id, sticky.port_id}, ())
    assert [each.port_id for each in await agent.workloads("node1")] == [kept.port_id]
    again = await agent.attach_workload("node1", WorkloadRequest(name="db-0", holder="b", network="pods"))
    assert again.addresses == sticky.addresses, "what keeps its address was released as it would have been"


async def test_what_an_agent_has_again_is_not_released(server: ApiServer, agent: AsyncClient) -> None:
    [port] = await agent.warm_workloads("node1", WarmOrder(network="pods", count=1))
    await agent.workloads_present("node1", present())
    server.clock.now += MISSING_S
    assert (await agent.workloads_present("node1", present(port))).missing == ()
    assert (await agent.workloads_present("node1", present())).released == (), "it begins anew"
    server.clock.now += MISSING_S
    await agent.workload_batch("node1", WorkloadBatch(claim=(claim_of(port, "web", "a"),)))
    assert (await agent.workloads_present("node1", present())).released == (), "it was asked for meanwhile"


async def test_an_agent_is_told_what_it_should_not_have(server: ApiServer, agent: AsyncClient) -> None:
    [port] = await agent.warm_workloads("node1", WarmOrder(network="pods", count=1))
    there = await server.token_of("node2")
    async with AsyncClient("http://weft.example", there, transport=httpx.ASGITransport(server.api.app)) as other:
        moved = await other.attach_workload("node2", WorkloadRequest(name="db-0", holder="a", network="pods"))
    await agent.workload_batch("node1", WorkloadBatch(claim=(claim_of(port, "web", "b"),)))
    compared = await agent.workloads_present("node1", present(port, moved))
    assert (compared.stray, compared.held_by_others) == ((moved.port_id,), (port.port_id,))


async def test_a_node_is_lost_when_its_agent_is_silent_and_somebody_says_so(
    server: ApiServer, agent: AsyncClient
) -> None:
    kept = await agent.attach_workload("node1", WorkloadRequest(name="db-0", holder="a", network="pods"))
    await agent.warm_workloads("node1", WarmOrder(network="pods", count=2))
    async with AsyncClient("http://weft.example", ADMIN, transport=httpx.ASGITransport(server.api.app)) as operator:
        async with server.stream("/v1/nodes/node1/watch") as stream:
            await stream.piece()
            with pytest.raises(Conflict, match="the agent of node 'node1' was heard 0 s ago"):
                await operator.workloads_lost("node1")
        server.clock.now += LOST_AFTER_S - 1
        with pytest.raises(Conflict, match="a node is lost after 60 s of silence"):
            await operator.workloads_lost("node1")
        assert len(await agent.workloads("node1")) == 3
        server.clock.now += 1
        assert await operator.workloads_lost("node1") == 3
        assert await operator.workloads_lost("node1") == 0
        again = await operator.attach_workload("node2", WorkloadRequest(name="db-0", holder="b", network="pods"))
        assert again.addresses == kept.addresses
        with pytest.raises(NotFound):
            await operator.workloads_lost("nowhere")
    with pytest.raises(Forbidden):
        await agent.workloads_lost("node1")


async def test_a_node_that_asks_for_too_much_at_once_is_told_when_to_come_again(server: ApiServer) -> None:
    order = {"network": "pods", "count": MAX_WARM}
    path = "/v1/nodes/node1/workloads/warm"
    fits = MAX_OF_NODE // MAX_WARM
    answers = await asyncio.gather(*(server.answer("POST", path, json=order) for _ in range(fits + 1)))
    refused = [each for each in answers if each.status_code == 429]
    assert len(refused) == 1
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert "node 'node1' has 1024 ports in work, and may have 1024; try again in" in refused[0].text
    made = [port for each in answers if each.status_code == 200 for port in each.json()["workloads"]]
    assert len({port["addresses"][0]["address"] for port in made}) == len(made) == 13, "all there are"
    await server.call("POST", path, {"network": "pods", "count": 1}, status=409)


async def test_a_crowd_of_nodes_does_not_keep_others_from_the_writer(server: ApiServer) -> None:
    order = {"network": "pods", "count": MAX_WARM}
    crowd = [
        asyncio.create_task(server.answer("POST", f"/v1/nodes/node{number}/workloads/warm", json=order))
        for number in (1, 2, 3)
        for _ in range(MAX_OF_NODE // MAX_WARM)
    ]
    await asyncio.sleep(0)
    await server.make("network", name="of somebody else")
    assert sum(each.done() for each in crowd) < len(crowd), "it was served in between"
    statuses = {each.status_code for each in await asyncio.gather(*crowd)}
    assert statuses == {200, 409}
