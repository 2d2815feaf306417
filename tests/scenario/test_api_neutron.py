"""Neutron's four resources over their lives: created, listed, changed, tagged, deleted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


async def names(server: ApiServer, query: str, collection: str = "ports") -> list[str]:
    found = await server.call("GET", f"/v2.0/{collection}?{query}", status=200)
    return [each["name"] for each in found[collection]]


async def test_a_network_lives(server: ApiServer) -> None:
    made = await server.make("network", name="n", description="d", mtu=1400, tenant_id="t")
    path = f"/v2.0/networks/{made['id']}"
    assert (made["name"], made["description"], made["mtu"], made["project_id"]) == ("n", "d", 1400, "t")
    assert (made["provider:network_type"], made["availability_zones"]) == ("vxlan", ["private"])
    assert made["created_at"] == "2023-11-14T22:13:20Z"
    assert (await server.call("GET", path, status=200))["network"] == made
    server.clock.now += 60
    changed = (await server.call("PUT", path, {"network": {"name": "m", "admin_state_up": False}}, status=200))[
        "network"
    ]
    assert changed == made | {
        "name": "m",
        "admin_state_up": False,
        "updated_at": "2023-11-14T22:14:20Z",
        "revision_number": changed["revision_number"],
    }
    assert changed["revision_number"] > made["revision_number"]
    await server.call("DELETE", path, status=204)
    await server.call("GET", path, status=404)


async def test_a_network_shows_its_subnets(server: ApiServer) -> None:
    network, subnet = await server.make_network()
    assert (await server.call("GET", f"/v2.0/networks/{network}", status=200))["network"]["subnets"] == [subnet]


async def test_a_subnet_lives(server: ApiServer) -> None:
    network = (await server.make("network"))["id"]
    made = await server.make(
        "subnet",
        network_id=network,
        cidr="10.0.0.0/24",
        ip_version=4,
        gateway_ip="10.0.0.254",
        allocation_pools=[{"start": "10.0.0.10", "end": "10.0.0.20"}],
        dns_nameservers=["10.0.0.2"],
        host_routes=[{"destination": "10.9.0.0/16", "nexthop": "10.0.0.3"}],
        enable_dhcp=False,
    )
    assert made["gateway_ip"] == "10.0.0.254"
    assert made["allocation_pools"] == [{"start": "10.0.0.10", "end": "10.0.0.20"}]
    assert made["dns_nameservers"] == ["10.0.0.2"]
    assert made["host_routes"] == [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.3"}]
    path = f"/v2.0/subnets/{made['id']}"
    changed = (await server.call("PUT", path, {"subnet": {"gateway_ip": None}}, status=200))["subnet"]
    assert changed["gateway_ip"] is None
    assert await names(server, f"network_id={network}&cidr=10.0.0.0/24", "subnets") == [""]
    await server.call("DELETE", path, status=204)
    await server.call("GET", path, status=404)


async def test_a_port_is_bound_moved_unbound_and_deleted(server: ApiServer) -> None:
    network, subnet = await server.make_network()
    made = await server.make("port", network_id=network, name="p", fixed_ips=[{"subnet_id": subnet}])
    path = f"/v2.0/ports/{made['id']}"

    async def update(**attributes: object) -> dict[str, Any]:
        found: dict[str, Any] = (await server.call("PUT", path, {"port": attributes}, status=200))["port"]
        return found

    def binding(port: dict[str, Any]) -> tuple[str, str, str]:
        return port["status"], port["binding:host_id"], port["binding:vif_type"]

    assert binding(made) == ("DOWN", "", "unbound")
    profile = {"migrating_to": "x"}
    bound = await update(**{"binding:host_id": "node1", "binding:profile": profile})
    assert binding(bound) == ("BUILD", "node1", "ovs")
    assert bound["binding:profile"] == profile
    assert binding(await update(name="q")) == ("BUILD", "node1", "ovs")
    freed = await update(**{"binding:host_id": ""})
    assert binding(freed) == ("DOWN", "", "unbound")
    assert freed["fixed_ips"] == made["fixed_ips"]
    assert binding(await update(**{"binding:host_id": "node2"})) == ("BUILD", "node2", "ovs")
    assert binding(await update(admin_state_up=False)) == ("DOWN", "node2", "ovs")
    assert binding(await update(**{"binding:host_id": None})) == ("DOWN", "", "unbound")
    await server.call("DELETE", path, status=204)
    await server.call("GET", path, status=404)


async def test_a_port_on_its_way_is_not_bound_elsewhere(server: ApiServer) -> None:
    network, _ = await server.make_network()
    made = await server.make("port", network_id=network, **{"binding:host_id": "node1"})
    body = {"port": {"binding:host_id": "node2"}}
    found = await server.answer("PUT", f"/v2.0/ports/{made['id']}", json=body)
    assert found.status_code == 409
    error = found.json()["NeutronError"]
    assert error["type"] == "PortBindingConflict"
    assert "node1" in error["message"]
    assert "node2" in error["message"]


async def test_a_port_on_an_unknown_node_is_refused(server: ApiServer) -> None:
    network, _ = await server.make_network()
    body = {"port": {"network_id": network, "binding:host_id": "nosuch"}}
    found = await server.answer("POST", "/v2.0/ports", json=body)
    assert found.status_code == 400
    assert "binding:host_id 'nosuch' is not a node of the inventory; known: " in found.json()["NeutronError"]["message"]
    assert await names(server, "") == []


async def test_ports_are_listed_by_any_attribute(server: ApiServer) -> None:
    network, subnet = await server.make_network()
    other, _ = await server.make_network("10.62.0.0/24")
    one = await server.make("port", network_id=network, name="one", device_id="vm", tags=["red"])
    two = await server.make("port", network_id=network, name="two", **{"binding:host_id": "node1"})
    await server.make("port", network_id=other, name="three", tenant_id="t", admin_state_up=False)
    address = one["fixed_ips"][0]["ip_address"]
    for query, wanted in [
        ("", "one two three"),
        (f"network_id={network}", "one two"),
        (f"network_id={network}&network_id={other}", "one two three"),
        (f"id={one['id']}&id={two['id']}", "one two"),
        ("device_id=vm", "one"),
        ("tenant_id=t", "three"),
        ("project_id=t", "three"),
        ("binding:host_id=node1", "two"),
        ("binding:host_id=", "one three"),
        ("status=BUILD", "two"),
        ("admin_state_up=false", "three"),
        (f"mac_address={two['mac_address'].upper()}", "two"),
        (f"fixed_ips=ip_address={address}", "one"),
        (f"fixed_ips=subnet_id={subnet}", "one two"),
        ("tags=red", "one"),
        ("not-tags=red", "two three"),
        ("name=one&name=three&sort_key=name", "one three"),
        ("sort_key=name&sort_dir=desc", "two three one"),
    ]:
        assert " ".join(await names(server, query)) == wanted, query


async def test_a_list_comes_in_pages_that_link_to_each_other(server: ApiServer) -> None:
    network, _ = await server.make_network()
    for name in "abcde":
        await server.make("port", network_id=network, name=name)
    path, seen = "/v2.0/ports?limit=2&fields=id&fields=name", []
    while path:
        found = await server.call("GET", path, status=200)
        assert all(each.keys() == {"id", "name"} for each in found["ports"])
        seen += [each["name"] for each in found["ports"]]
        following = [link["href"] for link in found.get("ports_links", []) if link["rel"] == "next"]
        path = following[0] if following else ""
    assert seen == list("abcde")


async def test_fields_choose_what_is_shown(server: ApiServer) -> None:
    made = await server.make("network", name="n")
    found = await server.call("GET", f"/v2.0/networks/{made['id']}?fields=name&fields=status", status=200)
    assert found == {"network": {"name": "n", "status": "ACTIVE"}}


async def test_many_ports_are_created_at_once(server: ApiServer) -> None:
    network, _ = await server.make_network()
    ports = [{"network_id": network, "name": f"p{n}"} for n in range(50)]
    revision = server.store.revision
    made = (await server.call("POST", "/v2.0/ports", {"ports": ports}, status=201))["ports"]
    assert [each["name"] for each in made] == [f"p{n}" for n in range(50)]
    assert len({each["fixed_ips"][0]["ip_address"] for each in made}) == 50
    assert server.store.revision == revision + 1


async def test_tags_are_hung_on_and_taken_off(server: ApiServer) -> None:
    tags = f"/v2.0/networks/{(await server.make('network'))['id']}/tags"
    await server.call("PUT", f"{tags}/red", status=201)
    assert await server.call("PUT", tags, {"tags": ["red", "blue"]}, status=200) == {"tags": ["red", "blue"]}
    assert await server.call("POST", tags, {"tags": ["green"]}, status=200) == {"tags": ["green"]}
    assert await server.call("GET", tags, status=200) == {"tags": ["blue", "green", "red"]}
    await server.call("GET", f"{tags}/red", status=204)
    await server.call("DELETE", f"{tags}/red", status=204)
    await server.call("DELETE", f"{tags}/red", status=404)
    await server.call("GET", f"{tags}/red", status=404)
    await server.call("DELETE", tags, status=204)
    assert await server.call("GET", tags, status=200) == {"tags": []}


async def test_an_object_belongs_to_whom_the_request_names(server: ApiServer) -> None:
    body = {"network": {"name": "n"}}
    found = await server.call("POST", "/v2.0/networks", body, headers={"X-Project-Id": "p1"}, status=201)
    assert (found["network"]["project_id"], found["network"]["tenant_id"]) == ("p1", "p1")
    assert (await server.make("network"))["project_id"] == "default"
    refused = await server.answer("POST", "/v2.0/networks", json=body, headers={"X-Project-Id": "p" * 256})
    assert refused.status_code == 400


async def test_two_tenants_may_have_the_same_addresses(server: ApiServer) -> None:
    for tenant in ("red", "blue"):
        network, subnet = await server.make_network(tenant_id=tenant)
        router = (await server.make("router", tenant_id=tenant))["id"]
        path = f"/v2.0/routers/{router}/add_router_interface"
        await server.call("PUT", path, {"subnet_id": subnet}, status=200)
        port = await server.make("port", network_id=network, fixed_ips=[{"ip_address": "10.61.0.9"}])
        assert port["fixed_ips"] == [{"subnet_id": subnet, "ip_address": "10.61.0.9"}]


async def test_a_router_takes_no_two_subnets_that_overlap(server: ApiServer) -> None:
    router = (await server.make("router"))["id"]
    path = f"/v2.0/routers/{router}/add_router_interface"
    _, first = await server.make_network("10.0.0.0/24")
    _, second = await server.make_network("10.0.0.0/16")
    await server.call("PUT", path, {"subnet_id": first}, status=200)
    found = await server.answer("PUT", path, json={"subnet_id": second})
    assert found.status_code == 400
    for cidr in ("10.0.0.0/24", "10.0.0.0/16"):
        assert cidr in found.json()["NeutronError"]["message"]


async def test_a_port_is_made_in_a_network_with_the_labels_asked_for_and_the_answer_says_why(server: ApiServer) -> None:
    network, _ = await server.make_network("10.61.0.0/24", labels={"tier": "web", "env": "test"})
    small, _ = await server.make_network("10.62.0.0/29", labels={"tier": "web"})
    assert (await server.call("GET", f"/v2.0/networks/{small}"))["network"]["labels"] == {"tier": "web"}
    port = await server.make("port", network_labels={"tier": "web"})
    assert port["network_id"] == network
    choice = port["network_choice"]
    assert (choice["labels"], choice["network_id"]) == ({"tier": "web"}, network)
    assert [each["verdict"] for each in choice["considered"]] == ["chosen", "fewer free addresses than the one chosen"]
    assert "network_choice" not in (await server.call("GET", f"/v2.0/ports/{port['id']}"))["port"]
    both = {"port": {"network_id": network, "network_labels": {"tier": "web"}}}
    await server.call("POST", "/v2.0/ports", both, status=400)
    neither = await server.call("POST", "/v2.0/ports", {"port": {"network_labels": {}}}, status=400)
    assert "Required attribute 'network_id' not specified" in neither["NeutronError"]["message"]
    nowhere = await server.call("POST", "/v2.0/ports", {"port": {"network_labels": {"tier": "db"}}}, status=404)
    assert nowhere["NeutronError"]["type"] == "NoNetworkMatches"
