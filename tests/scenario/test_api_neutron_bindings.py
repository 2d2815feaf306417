"""A port's bindings on several nodes while its instance moves: prepared, activated, given up, deleted."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server

from weft.intent.realizations import report
from weft.model.ids import PortId
from weft.model.intent import RealizationState
from weft.protocol.node import RealizationReport

RECORDED = json.loads((Path(__file__).parent / "recordings" / "neutron_29.json").read_text())
CALLS = {call["note"]: call for call in RECORDED["calls"]}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


def recorded(note: str, **changes: object) -> Any:
    """Return a recorded body with this project's names of hosts."""
    text = json.dumps(CALLS[note]["response"]["body"])
    return json.loads(text.replace("host-1", "node1").replace("host-2", "node2"))


async def instance(server: ApiServer, node: str = "node1") -> str:
    network, _ = await server.make_network()
    port = await server.make(
        "port", network_id=network, device_owner="compute:nova", device_id="vm-1", **{"binding:host_id": node}
    )
    return str(port["id"])


async def carried(server: ApiServer, port_id: str) -> None:
    """Have everything that a port's last binding owes be up."""

    def work(tx: Any) -> None:
        binding = tx.port(PortId(port_id)).life.current
        for realizer in binding.owed:
            up = RealizationReport(port_id=port_id, epoch=binding.epoch, state=RealizationState.UP, realizer=realizer)
            report(tx, [up], actor="test", node=None)

    await server.store.transact(work)


async def hosts(server: ApiServer, port: str) -> dict[str, str]:
    found = await server.call("GET", f"/v2.0/ports/{port}/bindings", status=200)
    return {each["host"]: each["status"] for each in found["bindings"]}


async def refused(server: ApiServer, method: str, path: str, body: object, status: int) -> str:
    answer = await server.answer(method, f"/v2.0/{path}", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["NeutronError"]
    return f"{error['type']}: {error['message']}"


async def test_a_live_migration_is_answered_as_recorded(server: ApiServer) -> None:
    port = await instance(server)
    bindings = f"/v2.0/ports/{port}/bindings"
    assert await server.call("GET", bindings, status=200) == recorded("port bindings")
    body = {"binding": {"host": "node2"}}
    assert await server.call("POST", bindings, body, status=201) == recorded("second binding (live migration)")
    assert await hosts(server, port) == {"node1": "ACTIVE", "node2": "INACTIVE"}
    assert await server.call("PUT", f"{bindings}/node2/activate", status=200) == recorded("activate binding")
    assert await hosts(server, port) == {"node2": "ACTIVE", "node1": "INACTIVE"}
    shown = (await server.call("GET", f"/v2.0/ports/{port}", status=200))["port"]
    assert shown["binding:host_id"] == "node2"
    await server.call("DELETE", f"{bindings}/node1", status=204)
    assert await hosts(server, port) == {"node2": "ACTIVE"}


async def test_the_old_node_carries_until_the_new_one_does(server: ApiServer) -> None:
    port = await instance(server)
    await carried(server, port)
    bindings = f"/v2.0/ports/{port}/bindings"
    await server.call("POST", bindings, {"binding": {"host": "node2"}}, status=201)
    before = (await server.call("GET", f"/v1/ports/{port}", status=200))["port"]
    assert (before["state"], [each["node"] for each in before["bindings"]]) == ("ACTIVE", ["node1"])
    await server.call("PUT", f"{bindings}/node2/activate", status=200)
    moving = (await server.call("GET", f"/v1/ports/{port}", status=200))["port"]
    assert [(each["node"], each["draining"]) for each in moving["bindings"]] == [("node1", True), ("node2", False)]
    assert (moving["state"], moving["fixed_ips"]) == ("MOVING", before["fixed_ips"])
    await carried(server, port)
    moved = (await server.call("GET", f"/v1/ports/{port}", status=200))["port"]
    assert (moved["state"], [each["node"] for each in moved["bindings"]]) == ("ACTIVE", ["node2"])


async def test_a_migration_that_fails_goes_back(server: ApiServer) -> None:
    port = await instance(server)
    await carried(server, port)
    bindings = f"/v2.0/ports/{port}/bindings"
    await server.call("POST", bindings, {"binding": {"host": "node2"}}, status=201)
    await server.call("PUT", f"{bindings}/node2/activate", status=200)
    await server.call("PUT", f"{bindings}/node1/activate", status=200)
    assert await hosts(server, port) == {"node1": "ACTIVE", "node2": "INACTIVE"}
    await server.call("DELETE", f"{bindings}/node2", status=204)
    assert await hosts(server, port) == {"node1": "ACTIVE"}


async def test_a_profile_is_kept_for_the_node_that_it_was_given_for(server: ApiServer) -> None:
    port = await instance(server)
    bindings = f"/v2.0/ports/{port}/bindings"
    given = {"host": "node2", "profile": {"migrating": True}, "vnic_type": "normal"}
    made = await server.call("POST", bindings, {"binding": given}, status=201)
    assert made["binding"]["profile"] == {"migrating": True}
    body = {"binding": {"profile": {"slot": 3}}}
    await server.call("PUT", f"{bindings}/node2", body, status=200)
    await server.call("PUT", f"{bindings}/node2/activate", status=200)
    shown = (await server.call("GET", f"/v2.0/ports/{port}", status=200))["port"]
    assert shown["binding:profile"] == {"slot": 3}
    found = await server.call("GET", f"{bindings}/node1", status=200)
    assert found["binding"]["profile"] == {}


async def test_binding_a_port_by_its_host_uses_up_what_was_prepared(server: ApiServer) -> None:
    port = await instance(server)
    bindings = f"/v2.0/ports/{port}/bindings"
    await server.call("POST", bindings, {"binding": {"host": "node2"}}, status=201)
    await carried(server, port)
    await server.call("PUT", f"/v2.0/ports/{port}", {"port": {"binding:host_id": "node2"}}, status=200)
    assert await hosts(server, port) == {"node2": "ACTIVE"}
    await server.call("POST", bindings, {"binding": {"host": "node3"}}, status=201)
    await server.call("PUT", f"/v2.0/ports/{port}", {"port": {"binding:host_id": ""}}, status=200)
    assert await hosts(server, port) == {}


async def test_bindings_are_listed_by_attribute(server: ApiServer) -> None:
    port = await instance(server)
    bindings = f"/v2.0/ports/{port}/bindings"
    await server.call("POST", bindings, {"binding": {"host": "node2"}}, status=201)
    found = await server.call("GET", f"{bindings}?status=INACTIVE&fields=host", status=200)
    assert found == {"bindings": [{"host": "node2"}]}
    await server.call("GET", f"{bindings}?nosuch=1", status=400)


async def test_bindings_are_sorted_and_paged(server: ApiServer) -> None:
    port = await instance(server)
    bindings = f"/v2.0/ports/{port}/bindings"
    await server.call("POST", bindings, {"binding": {"host": "node3"}}, status=201)
    await server.call("POST", bindings, {"binding": {"host": "node2"}}, status=201)
    found = await server.call("GET", f"{bindings}?sort_key=host&sort_dir=desc&fields=host", status=200)
    assert [each["host"] for each in found["bindings"]] == ["node3", "node2", "node1"]
    seen, path = [], f"{bindings}?sort_key=host&sort_dir=desc&limit=2"
    while path:
        page = await server.call("GET", path, status=200)
        seen += [(each["host"], "id" in each) for each in page["bindings"]]
        links = {link["rel"]: link["href"] for link in page.get("bindings_links", [])}
        path = links.get("next", "")
    assert seen == [("node3", False), ("node2", False), ("node1", False)]


async def test_what_is_wrong_with_a_binding_is_said_in_neutrons_words(server: ApiServer) -> None:
    port = await instance(server)
    bindings = f"ports/{port}/bindings"
    body = {"binding": {"host": "node1"}}
    wanted = f"PortBindingAlreadyExists: Binding for port {port} on host node1 already exists."
    assert await refused(server, "POST", bindings, body, 409) == wanted
    wanted = f"PortBindingAlreadyActive: Binding for port {port} on host node1 is already active."
    assert await refused(server, "PUT", f"{bindings}/node1/activate", None, 409) == wanted
    wanted = f"PortBindingNotFound: Binding for port {port} for host node3 could not be found."
    for method, path in (("PUT", "/node3/activate"), ("DELETE", "/node3"), ("GET", "/node3")):
        assert await refused(server, method, bindings + path, None, 404) == wanted
    wanted = "HTTPBadRequest: Failed to parse request. Required attribute 'host' not specified"
    assert await refused(server, "POST", bindings, {"binding": {}}, 400) == wanted
    await refused(server, "POST", bindings, {"binding": {"host": "nosuch"}}, 400)
    network, _ = await server.make_network("10.9.0.0/24")
    other = (await server.make("port", network_id=network))["id"]
    wanted = f"BadRequest: Bad port request: Invalid port {other}. Operation only valid on compute ports."
    assert await refused(server, "POST", f"ports/{other}/bindings", {"binding": {"host": "node1"}}, 400) == wanted
