"""A port is made by /v1 where labels say, and made once under its name however often and by whomever it is asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server

from weft.intent.name_claims import PortName
from weft.intent.port_names import Selector, create_or_get
from weft.intent.ports import PortSpec
from weft.model.errors import Conflict
from weft.model.ids import NetworkId
from weft.store import Kind, Transaction


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


async def put(server: ApiServer, path: str, status: int, **body: object) -> Any:
    return await server.call("PUT", f"/v1/ports/by-name/{path}", body, status=status)


async def test_a_port_is_made_in_the_network_that_is_named(server: ApiServer) -> None:
    network, subnet = await server.make_network()
    asked = {"network_id": network, "name": "db-0", "fixed_ips": [{"address": "10.61.0.9"}], "labels": {"app": "db"}}
    made = await server.call("POST", "/v1/ports", {**asked, "node": "node1"}, status=201)
    port = made["port"]
    assert (port["name"], port["labels"], port["state"]) == ("db-0", {"app": "db"}, "BINDING")
    assert port["fixed_ips"] == [{"subnet_id": subnet, "address": "10.61.0.9"}]
    assert (made["created"], made["network_choice"]) == (True, None)


async def test_a_port_is_made_where_labels_say_and_the_choice_is_explained(server: ApiServer) -> None:
    network, _ = await server.make_network(labels={"tier": "web"})
    made = await server.call("POST", "/v1/ports", {"network_labels": {"tier": "web"}}, status=201)
    assert made["port"]["network_id"] == network == made["network_choice"]["network_id"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "names no network"),
        ({"network_id": "x"}, "network_id: 'x' is not a valid UUID"),
        ({"network_id": "00000000-0000-4000-8000-000000000000", "site": "private"}, "give one or the other"),
        ({"network_labels": {"a": 5}}, "Expected `str`, got `int`"),
        ({"mac": "x", "network_labels": {"a": "b"}}, "mac: 'x' is not a valid MAC address"),
        ({"fixed_ips": [{"address": "x"}], "network_labels": {"a": "b"}}, "'x' is not a valid IP address"),
        ({"name": "a\0b", "network_labels": {"a": "b"}}, "$.name"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
async def test_a_wrong_wish_is_refused(server: ApiServer, body: dict[str, object], message: str) -> None:
    found = await server.call("POST", "/v1/ports", body, status=400)
    assert message in found["error"]["message"]


async def test_the_port_of_a_name_is_made_once_and_found_ever_after(server: ApiServer) -> None:
    network, _ = await server.make_network()
    made = await put(server, "web-1", 201, network_id=network)
    again = await put(server, "web-1", 200, network_id=network)
    assert made["port"] == again["port"]
    assert (made["created"], again["created"]) == (True, False)
    assert (await server.call("GET", "/v1/ports/by-name/web-1", status=200))["port"] == made["port"]
    await server.call("PUT", f"/v2.0/ports/{made['port']['id']}", {"port": {"name": "renamed"}}, status=200)
    assert (await put(server, "web-1", 200, network_id=network))["port"]["id"] == made["port"]["id"]
    await server.call("GET", "/v1/ports/by-name/nosuch", status=404)


async def test_requests_for_one_name_that_run_at_once_make_one_port(server: ApiServer) -> None:
    network, _ = await server.make_network(labels={"tier": "web"})
    body = {"network_labels": {"tier": "web"}}
    answers = await asyncio.gather(*(server.answer("PUT", "/v1/ports/by-name/web-1", json=body) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["port"]["id"] for answer in answers}) == 1
    assert len((await server.call("GET", f"/v2.0/ports?network_id={network}"))["ports"]) == 1


async def test_a_name_may_be_one_networks_only(server: ApiServer) -> None:
    first, _ = await server.make_network("10.61.0.0/24")
    second, _ = await server.make_network("10.62.0.0/24")
    made = [(await put(server, f"{network}/web-1", 201))["port"] for network in (first, second)]
    assert [port["network_id"] for port in made] == [first, second]
    assert (await put(server, f"{first}/web-1", 200))["port"] == made[0]
    ambiguous = await put(server, "web-1", 409, network_id=first)
    assert ambiguous["error"]["kind"] == "PortNameAmbiguous"


async def test_a_port_that_is_called_so_already_is_found(server: ApiServer) -> None:
    network, _ = await server.make_network()
    port = await server.make("port", network_id=network, name="web-1")
    assert (await put(server, "web-1", 200, network_id=network))["port"]["id"] == port["id"]


async def test_the_name_of_a_deleted_port_is_free_again(server: ApiServer) -> None:
    network, _ = await server.make_network()
    first = (await put(server, "web-1", 201, network_id=network))["port"]["id"]
    await server.call("DELETE", f"/v2.0/ports/{first}", status=204)
    assert await server.store.read(lambda snapshot: snapshot.records(Kind.PORT_NAME, PortName)) == []
    assert (await put(server, "web-1", 201, network_id=network))["port"]["id"] != first


async def test_a_port_that_is_not_what_is_asked_for_is_a_conflict(server: ApiServer) -> None:
    first, _ = await server.make_network("10.61.0.0/24")
    second, _ = await server.make_network("10.62.0.0/24")
    await put(server, "web-1", 201, network_id=first)
    for wish in (
        {"network_id": second},
        {"network_id": first, "mac": "fa:16:3e:00:00:01"},
        {"network_id": first, "fixed_ips": [{"address": "10.61.0.200"}]},
    ):
        found = await put(server, "web-1", 409, **wish)
        assert found["error"]["kind"] == "PortNameInUse"
    await put(server, f"{first}/web-1", 400, network_id=second)
    await put(server, f"{first}/web-1", 400, name="other")


async def test_the_claim_of_another_server_makes_the_work_begin_again(server: ApiServer) -> None:
    """What a second server meets whose snapshot did not show the first one's port yet: the unique key."""
    network, _ = await server.make_network()
    await put(server, "web-1", 201, network_id=network)

    def blind(tx: Transaction) -> object:
        tx.records = lambda *_, **__: []  # type: ignore[method-assign]
        tx.ports = lambda **_: []  # type: ignore[method-assign, assignment]
        spec = PortSpec(project_id="default", network_id=NetworkId(network), name="web-1")
        return create_or_get(tx, spec, Selector(), in_network=False)

    with pytest.raises(Conflict) as lost:
        await server.store.transact(blind)
    assert lost.value.kind == "UniqueKeyInUse"
    assert len((await server.call("GET", "/v2.0/ports"))["ports"]) == 1
