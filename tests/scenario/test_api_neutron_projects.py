"""Two projects, a reader, a service and an administrator: who sees what, who may change what."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server

from weft.api.auth.token_file import TokenFile

TOKENS = """
red-token roles=member project=red
red-reader roles=reader project=red
blue-token roles=member project=blue
nova-token roles=service project=services
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKENS)
    async with api_server(tmp_path, sources=[TokenFile(tokens, lambda: 0.0)]) as running:
        yield running


async def create(server: ApiServer, who: str, resource: str, **attributes: object) -> dict[str, Any]:
    body = {resource: attributes}
    made = await server.call("POST", f"/v2.0/{resource}s", body, token=who, status=201)
    found: dict[str, Any] = made[resource]
    return found


async def names(server: ApiServer, who: str, path: str) -> str:
    collection = path.partition("?")[0]
    found = await server.call("GET", f"/v2.0/{path}", token=who, status=200)
    return " ".join(sorted(each["name"] for each in found[collection]))


async def network_of(server: ApiServer, who: str, name: str, **attributes: object) -> tuple[str, str]:
    network = (await create(server, who, "network", name=name, **attributes))["id"]
    given = {"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4, "name": f"{name}-subnet"}
    return network, (await create(server, who, "subnet", **given))["id"]


async def refused(server: ApiServer, who: str, request: str, body: object, status: int) -> str:
    method, path = request.split()
    answer = await server.answer(method, f"/v2.0/{path}", json=body, token=who)
    assert answer.status_code == status, answer.text
    error = answer.json()["NeutronError"]
    return f"{error['type']}: {error['message']}"


async def test_what_a_project_creates_is_its_own_and_no_other_sees_it(server: ApiServer) -> None:
    network, subnet = await network_of(server, "red-token", "n")
    port = await create(server, "red-token", "port", network_id=network, name="p")
    router = await create(server, "red-token", "router", name="r")
    assert {port["project_id"], router["project_id"]} == {"red"}
    ids = {"networks": network, "subnets": subnet, "ports": port["id"], "routers": router["id"]}
    for collection, id_ in ids.items():
        assert await names(server, "blue-token", collection) == ""
        assert await names(server, "red-reader", collection) != ""
        noun = collection[:-1].capitalize()
        missing = f"{noun}NotFound: {noun} {id_} could not be found."
        body = {collection[:-1]: {"name": "mine"}}
        assert await refused(server, "blue-token", f"GET {collection}/{id_}", None, 404) == missing
        assert await refused(server, "blue-token", f"PUT {collection}/{id_}", body, 404) == missing
        assert await refused(server, "blue-token", f"DELETE {collection}/{id_}", None, 404) == missing
        assert await refused(server, "blue-token", f"GET {collection}/{id_}/tags", None, 404) == missing
        assert await refused(server, "blue-token", f"PUT {collection}/{id_}/tags/a", None, 404) == missing
        await server.call("GET", f"/v2.0/{collection}/{id_}", token="nova-token", status=200)
    for path in ("add_router_interface", "remove_router_interface"):
        await refused(server, "blue-token", f"PUT routers/{router['id']}/{path}", {"subnet_id": subnet}, 404)


async def test_a_reader_changes_nothing(server: ApiServer) -> None:
    network, _ = await network_of(server, "red-token", "n")
    await refused(server, "red-reader", "POST ports", {"port": {"network_id": network}}, 403)
    await refused(server, "red-reader", f"PUT networks/{network}", {"network": {"name": "x"}}, 403)


async def test_nobody_but_an_administrator_creates_for_another_project(server: ApiServer) -> None:
    body = {"network": {"name": "n", "project_id": "blue"}}
    assert await refused(server, "red-token", "POST networks", body, 400) == (
        "HTTPBadRequest: Specifying 'project_id' or 'tenant_id' other than the authenticated project in request "
        "requires admin privileges"
    )
    headers = {"X-Project-Id": "blue"}
    found = await server.call("POST", "/v2.0/networks", {"network": {}}, token="red-token", headers=headers)
    assert found["network"]["project_id"] == "red"
    assert (await server.make("network", project_id="blue"))["project_id"] == "blue"


async def test_what_only_administrators_may_set_is_refused(server: ApiServer) -> None:
    for name, value in {
        "shared": True,
        "router:external": True,
        "provider:network_type": "vxlan",
        "provider:segmentation_id": 10_077,
    }.items():
        rule = f"rule:create_network and rule:create_network:{name}"
        body = {"network": {name: value}}
        wanted = f"PolicyNotAuthorized: ({rule}) is disallowed by policy"
        assert await refused(server, "red-token", "POST networks", body, 403) == wanted
    network = (await create(server, "red-token", "network", shared=False))["id"]
    body = {"network": {"shared": True}}
    assert await refused(server, "red-token", f"PUT networks/{network}", body, 403) == (
        "PolicyNotAuthorized: (rule:update_network and rule:update_network:shared) is disallowed by policy"
    )
    await server.call("PUT", f"/v2.0/networks/{network}", body, status=200)


async def test_what_only_administrators_may_see_is_hidden(server: ApiServer) -> None:
    network, _ = await network_of(server, "red-token", "n")
    port = (await create(server, "red-token", "port", network_id=network))["id"]
    for who, hidden in (("red-token", True), ("nova-token", False), ("the-administrators-token", False)):
        shown = (await server.call("GET", f"/v2.0/ports/{port}", token=who, status=200))["port"]
        assert ("binding:host_id" not in shown and "binding:vif_type" not in shown) == hidden
        assert shown["binding:vnic_type"] == "normal"
    shown = (await server.call("GET", "/v2.0/networks", token="red-token", status=200))["networks"]
    assert [name for each in shown for name in each if name.startswith("provider:")] == []
    shown = (await server.call("GET", f"/v2.0/networks/{network}", status=200))["network"]
    assert shown["provider:network_type"] == "vxlan"
    assert await names(server, "red-token", "ports?binding:host_id=node1") == ""


async def test_a_shared_network_is_used_by_all_and_changed_by_its_owner(server: ApiServer) -> None:
    network, subnet = await network_of(server, "the-administrators-token", "common", shared=True, project_id="red")
    assert await names(server, "blue-token", "networks") == "common"
    assert await names(server, "blue-token", "subnets") == "common-subnet"
    guest = await create(server, "blue-token", "port", network_id=network, name="guest")
    assert guest["project_id"] == "blue"
    await create(server, "red-token", "port", network_id=network, name="host")
    assert await names(server, "blue-token", "ports") == "guest"
    # The owner of a network sees, and may change, what others have in it.
    assert await names(server, "red-token", "ports") == "guest host"
    assert await names(server, "red-token", f"ports?network_id={network}&limit=2") == "guest host"
    await server.call("PUT", f"/v2.0/ports/{guest['id']}", {"port": {"name": "seen"}}, token="red-token", status=200)
    wanted = "PolicyNotAuthorized: rule:update_network is disallowed by policy"
    assert await refused(server, "blue-token", f"PUT networks/{network}", {"network": {"name": "x"}}, 403) == wanted
    wanted = "PolicyNotAuthorized: rule:delete_subnet is disallowed by policy"
    assert await refused(server, "blue-token", f"DELETE subnets/{subnet}", None, 403) == wanted
    body = {"subnet": {"network_id": network, "cidr": "10.9.0.0/24", "ip_version": 4}}
    wanted = "PolicyNotAuthorized: rule:create_subnet is disallowed by policy"
    assert await refused(server, "blue-token", "POST subnets", body, 403) == wanted


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("mac_address", "fa:16:3e:00:00:77"),
        ("fixed_ips", [{"ip_address": "10.0.0.77"}]),
        ("port_security_enabled", False),
        ("device_owner", "network:dhcp"),
        ("allowed_address_pairs", [{"ip_address": "10.0.0.200"}]),
    ],
)
async def test_a_guest_of_a_network_may_not_speak_for_it(server: ApiServer, attribute: str, value: object) -> None:
    network, subnet = await network_of(server, "the-administrators-token", "common", shared=True, project_id="red")
    body = {"port": {"network_id": network, attribute: value}}
    rule = f"rule:create_port and rule:create_port:{attribute}"
    wanted = f"PolicyNotAuthorized: ({rule}) is disallowed by policy"
    assert await refused(server, "blue-token", "POST ports", body, 403) == wanted
    await server.call("POST", "/v2.0/ports", body, token="red-token", status=201)
    await create(server, "blue-token", "port", network_id=network, fixed_ips=[{"subnet_id": subnet}])


async def test_a_network_that_is_not_seen_is_not_used(server: ApiServer) -> None:
    network, subnet = await network_of(server, "red-token", "n")
    missing = f"NetworkNotFound: Network {network} could not be found."
    assert await refused(server, "blue-token", "POST ports", {"port": {"network_id": network}}, 404) == missing
    body = {"subnet": {"network_id": network, "cidr": "10.9.0.0/24", "ip_version": 4}}
    assert await refused(server, "blue-token", "POST subnets", body, 404) == missing
    router = (await create(server, "blue-token", "router"))["id"]
    path = f"routers/{router}/add_router_interface"
    missing = f"SubnetNotFound: Subnet {subnet} could not be found."
    assert await refused(server, "blue-token", f"PUT {path}", {"subnet_id": subnet}, 404) == missing


async def test_a_service_binds_what_projects_own(server: ApiServer) -> None:
    network, _ = await network_of(server, "red-token", "n")
    port = (await create(server, "red-token", "port", network_id=network))["id"]
    body = {"port": {"binding:host_id": "node1"}}
    wanted = "PolicyNotAuthorized: (rule:update_port and rule:update_port:binding:host_id) is disallowed by policy"
    assert await refused(server, "red-token", f"PUT ports/{port}", body, 403) == wanted
    bound = await server.call("PUT", f"/v2.0/ports/{port}", body, token="nova-token", status=200)
    assert (bound["port"]["project_id"], bound["port"]["binding:host_id"]) == ("red", "node1")


async def test_pages_of_a_project_are_full_whatever_lies_between(server: ApiServer) -> None:
    red, _ = await network_of(server, "red-token", "red")
    blue, _ = await network_of(server, "blue-token", "blue")
    for number in range(4):
        await create(server, "red-token", "port", network_id=red, name=f"r{number}")
        await create(server, "blue-token", "port", network_id=blue, name=f"b{number}")
    seen, path = [], "/v2.0/ports?limit=3"
    while path:
        found = await server.call("GET", path, token="red-token", status=200)
        seen.append([each["name"] for each in found["ports"]])
        links = {link["rel"]: link["href"] for link in found.get("ports_links", [])}
        path = links.get("next", "")
    assert seen == [["r0", "r1", "r2"], ["r3"]]
    found = await server.call("GET", "/v2.0/ports?limit=3&admin_state_up=true&description=", status=200)
    assert [each["name"] for each in found["ports"]] == ["r0", "b0", "r1"]
