"""Ports under /v1 as projects, services and administrators see them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_server import ADMIN, ApiServer, api_server

from weft.api.auth.token_file import TokenFile

TOKENS = """
red roles=member project=red
blue roles=member project=blue
nova roles=service project=services
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKENS)
    async with api_server(tmp_path, sources=[TokenFile(tokens, lambda: 0.0)]) as running:
        yield running


async def test_a_project_sees_its_own_ports_and_not_where_they_are(server: ApiServer) -> None:
    network, _ = await server.make_network(project_id="red")
    mine = await server.make("port", network_id=network, project_id="red", **{"binding:host_id": "node1"})
    await server.make("port", network_id=network, project_id="blue")
    for path in ("/v1/ports", "/v1/ports?project_id=red"):
        found = (await server.call("GET", path, token="red", status=200))["ports"]
        assert [each["id"] for each in found] == [mine["id"]]
        assert (found[0]["state"], found[0]["bindings"], found[0]["realizations"]) == ("BINDING", [], [])
    assert await server.call("GET", "/v1/ports?project_id=blue", token="red", status=200) == {"ports": []}
    shown = (await server.call("GET", f"/v1/ports/{mine['id']}", token="red", status=200))["port"]
    assert shown == found[0]
    await server.call("GET", f"/v1/ports/{mine['id']}", token="blue", status=404)
    for who in ("nova", ADMIN):
        assert len((await server.call("GET", "/v1/ports", token=who, status=200))["ports"]) == 2
        shown = (await server.call("GET", f"/v1/ports/{mine['id']}", token=who, status=200))["port"]
        assert shown["bindings"][0]["node"] == "node1"


async def test_services_bind_ports_and_projects_do_not(server: ApiServer) -> None:
    network, _ = await server.make_network(project_id="red")
    port = (await server.make("port", network_id=network, project_id="red"))["id"]
    for method, page, body in (("POST", "bind", {"node": "node1"}), ("GET", "history", None), ("POST", "unbind", {})):
        refused = await server.call(method, f"/v1/ports/{port}/{page}", body, token="red", status=403)
        assert "role 'service' or 'admin'" in refused["error"]["message"]
        await server.call(method, f"/v1/ports/{port}/{page}", body, token="nova", status=200)


async def test_a_service_reads_the_metrics_and_a_project_does_not(server: ApiServer) -> None:
    assert (await server.answer("GET", "/metrics", token="nova")).status_code == 200
    assert (await server.answer("GET", "/metrics", token="red")).status_code == 403
