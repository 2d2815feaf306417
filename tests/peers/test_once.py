"""Several servers on one PostgreSQL: one port for a name, one answer for a key, one outcome for an operation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from core_world import World
from test_addresses import replicas

from weft.api.app import Api
from weft.intent.operations import operation_of, pending_operations

ROUNDS = 8
EACH = 3
"""Requests of one round on each server."""


@asynccontextmanager
async def servers(url: str) -> AsyncIterator[tuple[World, list[Api], list[httpx.AsyncClient]]]:
    async with replicas(url) as (here, stores), AsyncExitStack() as stack:
        apis = [Api(store, dict, clock=here.clock) for store in stores]
        clients = []
        for api in apis:
            await stack.enter_async_context(api.running())
            transport = httpx.ASGITransport(api.app)
            client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9696")
            clients.append(await stack.enter_async_context(client))
        yield here, apis, clients


async def everywhere(clients: list[httpx.AsyncClient], method: str, path: str, **kw: Any) -> list[httpx.Response]:
    """Send the same request to all servers at once, several times."""
    return list(await asyncio.gather(*(each.request(method, path, **kw) for each in clients for _ in range(EACH))))


async def ports(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/v2.0/ports", params=query)).json()["ports"]
    return found


async def test_a_name_that_is_asked_for_everywhere_is_one_port(url: str) -> None:
    async with servers(url) as (here, _, clients):
        network, _ = await here.segment("10.0.0.0/20")
        for number in range(ROUNDS):
            name = f"web-{number}"
            answers = await everywhere(clients, "PUT", f"/v1/ports/by-name/{name}", json={"network_id": network.id})
            assert {answer.status_code for answer in answers} <= {200, 201}, [each.text for each in answers]
            assert [answer.status_code for answer in answers].count(201) == 1
            assert len({answer.json()["port"]["id"] for answer in answers}) == 1
            assert len(await ports(clients[0], name=name)) == 1


async def test_a_key_that_is_used_everywhere_is_one_request(url: str) -> None:
    async with servers(url) as (here, _, clients):
        network, _ = await here.segment("10.0.0.0/20")
        for number in range(ROUNDS):
            body = {"port": {"network_id": network.id, "name": f"web-{number}"}}
            key = {"Idempotency-Key": f"key-{number}"}
            answers = await everywhere(clients, "POST", "/v2.0/ports", json=body, headers=key)
            assert {answer.status_code for answer in answers} == {201}, [each.text for each in answers]
            assert len({answer.content for answer in answers}) == 1
            assert len(await ports(clients[0], name=f"web-{number}")) == 1


async def test_an_operation_that_all_servers_take_up_is_done_once(url: str) -> None:
    async with servers(url) as (here, apis, clients):
        network, _ = await here.segment("10.0.0.0/20")
        for number in range(ROUNDS):
            body = {"port": {"network_id": network.id, "name": f"web-{number}"}}
            accepted = await clients[0].post("/v2.0/ports", json=body, headers={"Prefer": "respond-async"})
            id_ = accepted.json()["operation"]["id"]
            found = await here.store.read(lambda snapshot, id_=id_: operation_of(snapshot, id_))  # type: ignore[misc]
            await asyncio.gather(*(api.worker.make(found) for api in apis))
            ended = (await clients[1].get(f"/v1/operations/{id_}")).json()["operation"]
            assert (ended["state"], ended["status"]) == ("done", 201), ended
            assert [each["id"] for each in await ports(clients[2], name=f"web-{number}")] == [
                ended["answer"]["port"]["id"]
            ]
        assert await here.store.read(pending_operations) == []
