"""The same request twice, and requests that are answered before they are done: each is done once, whatever happens."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ADMIN, ApiServer, api_server
from msgspec import Raw

from weft.intent.kept_answers import KEPT_S, KeptAnswer
from weft.intent.operations import Asked, accept, operation_of
from weft.model.errors import Transient
from weft.store import Kind

KEY = {"Idempotency-Key": "5b1f7e0a"}
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


async def create(server: ApiServer, network: str, name: str = "web-1", **headers: str) -> Any:
    return await server.answer(
        "POST", "/v2.0/ports", json={"port": {"network_id": network, "name": name}}, headers=headers
    )


async def names(server: ApiServer) -> list[str]:
    return [port["name"] for port in (await server.call("GET", "/v2.0/ports"))["ports"]]


async def ended(server: ApiServer, location: str) -> dict[str, Any]:
    async with asyncio.timeout(10), server.stream(f"{location}/watch") as stream:
        while True:
            name, data = (await stream.piece()).decode().split("\n", 2)[:2]
            assert name == "event: operation"
            if json.loads(data.removeprefix("data: "))["state"] != "pending":
                break
        assert await stream.piece() == b""
    found: dict[str, Any] = (await server.call("GET", location, status=200))["operation"]
    return found


async def test_the_same_request_under_a_key_is_answered_alike_and_done_once(server: ApiServer) -> None:
    network, _ = await server.make_network()
    first = await create(server, network, **KEY)
    again = await create(server, network, **KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await names(server) == ["web-1"]


async def test_requests_under_one_key_that_run_at_once_are_one(server: ApiServer) -> None:
    network, _ = await server.make_network()
    answers = await asyncio.gather(*(create(server, network, **KEY) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert await names(server) == ["web-1"]


async def test_another_request_under_the_key_is_refused(server: ApiServer) -> None:
    network, _ = await server.make_network()
    await create(server, network, **KEY)
    other = await create(server, network, "web-2", **KEY)
    assert other.status_code == 422
    assert other.json()["NeutronError"]["type"] == "IdempotencyKeyReused"
    assert await names(server) == ["web-1"]


async def test_a_request_that_failed_may_be_sent_again_under_its_key(server: ApiServer) -> None:
    network = (await server.make("network"))["id"]
    asked = {"network_id": network, "name": "web-1", "fixed_ips": [{"ip_address": "10.61.0.9"}]}
    refused = await server.answer("POST", "/v2.0/ports", json={"port": asked}, headers=KEY)
    assert refused.status_code == 400
    await server.make("subnet", network_id=network, cidr="10.61.0.0/24", ip_version=4)
    await server.call("POST", "/v2.0/ports", {"port": asked}, status=201, headers=KEY)


async def test_a_key_is_forgotten_after_its_time(server: ApiServer) -> None:
    network, _ = await server.make_network()
    first = await create(server, network, **KEY)
    server.clock.now += KEPT_S + 1
    second = await create(server, network, **KEY)
    assert first.json()["port"]["id"] != second.json()["port"]["id"]
    server.clock.now += KEPT_S + 7300
    await server.api.worker.sweep()
    assert await server.store.read(lambda snapshot: snapshot.records(Kind.KEPT_ANSWER, KeptAnswer)) == []


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(server: ApiServer, key: str) -> None:
    network, _ = await server.make_network()
    assert (await create(server, network, **{"Idempotency-Key": key})).status_code == 400


async def test_a_put_off_request_is_answered_at_once_and_done(server: ApiServer) -> None:
    network, _ = await server.make_network()
    accepted = await create(server, network, **ASYNC)
    assert accepted.status_code == 202
    assert accepted.headers["preference-applied"] == "respond-async"
    assert accepted.json()["operation"]["state"] == "pending"
    operation = await ended(server, accepted.headers["location"])
    assert (operation["state"], operation["status"]) == ("done", 201)
    port = operation["answer"]["port"]
    assert (await server.call("GET", f"/v2.0/ports/{port['id']}", status=200))["port"] == port
    deleted = await server.answer("DELETE", f"/v2.0/ports/{port['id']}", headers=ASYNC)
    assert deleted.status_code == 202
    gone = await ended(server, deleted.headers["location"])
    assert (gone["state"], gone["status"], gone["answer"]) == ("done", 204, None)
    listed = (await server.call("GET", "/v1/operations?state=done"))["operations"]
    assert [each["id"] for each in listed] == [gone["id"], operation["id"]]


async def test_a_put_off_request_that_is_refused_has_failed_with_the_answer_it_would_have_had(
    server: ApiServer,
) -> None:
    network, _ = await server.make_network()
    asked = {"port": {"network_id": network, "fixed_ips": [{"ip_address": "10.99.0.1"}]}}
    accepted = await server.answer("POST", "/v2.0/ports", json=asked, headers=ASYNC)
    operation = await ended(server, accepted.headers["location"])
    assert (operation["state"], operation["status"]) == ("failed", 400)
    assert operation["answer"]["NeutronError"]["type"] == "InvalidIpForNetwork"
    assert "10.99.0.1" in operation["reason"]


async def test_what_cannot_be_right_is_refused_at_once(server: ApiServer) -> None:
    refused = await server.answer("POST", "/v2.0/ports", json={"port": {"colour": "red"}}, headers=ASYNC)
    assert refused.status_code == 400
    assert (await server.call("GET", "/v1/operations"))["operations"] == []


async def test_a_put_off_request_under_a_key_is_one_operation(server: ApiServer) -> None:
    network, _ = await server.make_network()
    answers = await asyncio.gather(*(create(server, network, **KEY, **ASYNC) for _ in range(5)))
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert (await ended(server, answers[0].headers["location"]))["state"] == "done"
    assert await names(server) == ["web-1"]


async def test_an_operation_that_was_pending_when_the_server_ended_is_done_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("weft.api.operations.AT_ONCE", 0)
        async with api_server(tmp_path) as server:
            network, _ = await server.make_network()
            accepted = await create(server, network, **ASYNC)
            assert await names(server) == []
    async with api_server(tmp_path) as server:
        operation = await ended(server, accepted.headers["location"])
        assert operation["state"] == "done"
        assert await names(server) == ["web-1"]


async def test_an_operation_made_twice_is_done_once(server: ApiServer) -> None:
    network, _ = await server.make_network()
    accepted = await create(server, network, **ASYNC)
    before = accepted.json()["operation"]
    operation = await ended(server, accepted.headers["location"])
    await server.api.worker.make(await server.store.read(lambda snapshot: operation_of(snapshot, before["id"])))
    assert await names(server) == ["web-1"]
    assert await ended(server, accepted.headers["location"]) == operation


async def test_an_operation_is_its_projects_own(server: ApiServer) -> None:
    network, _ = await server.make_network()
    accepted = await create(server, network, **ASYNC)
    refused = await server.answer("GET", accepted.headers["location"], token="no-token")
    assert refused.status_code == 401
    assert (await server.answer("GET", "/v1/operations/nosuch")).status_code == 404
    assert (await server.answer("GET", "/v1/operations?state=nosuch")).status_code == 400


async def test_too_many_operations_are_refused(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.intent.operations.MAX_PENDING", 1)
    monkeypatch.setattr("weft.api.operations.AT_ONCE", 0)
    asked = Asked(method="POST", path="/v2.0/ports", body=Raw(b"{}"))
    await server.store.transact(lambda tx: accept(tx, asked, accepted_by=ADMIN))
    with pytest.raises(Transient, match="1 operations wait"):
        await server.store.transact(lambda tx: accept(tx, asked, accepted_by=ADMIN))


async def test_a_change_and_a_deletion_under_a_key_are_answered_again_although_they_could_not_be_done_again(
    server: ApiServer,
) -> None:
    network, _ = await server.make_network()
    port = f"/v2.0/ports/{(await create(server, network)).json()['port']['id']}"
    matching = {"If-Match": "revision_number=0", "Idempotency-Key": "change"}
    changes = [await server.answer("PUT", port, json={"port": {"name": "x"}}, headers=matching) for _ in range(2)]
    assert [answer.status_code for answer in changes] == [200, 200]
    assert changes[0].content == changes[1].content
    deletions = [await server.answer("DELETE", port, headers=KEY) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in deletions] == [(204, b"")] * 2
