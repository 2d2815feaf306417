"""What a real Neutron answered to the same requests, recorded: attributes, their types, statuses, errors."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server

RECORDED = json.loads((Path(__file__).parent / "recordings" / "neutron_29.json").read_text())
CALLS = {call["note"]: call for call in RECORDED["calls"]}

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOTHING = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


def recorded(note: str) -> Any:
    return CALLS[note]["response"]["body"]


def kinds(value: Mapping[str, object]) -> dict[str, str]:
    return {name: type(each).__name__ for name, each in value.items()}


NULLABLE = {"external_gateway_info"}
"""Recorded of a router that has a gateway; a router without one has null."""


@pytest.mark.parametrize("resource", ["network", "subnet", "port", "router"])
async def test_an_object_has_neutrons_attributes_with_their_types(server: ApiServer, resource: str) -> None:
    network, subnet = await server.make_network()
    made = {
        "network": ("networks", network),
        "subnet": ("subnets", subnet),
        "port": ("ports", (await server.make("port", network_id=network, **{"binding:host_id": "node1"}))["id"]),
        "router": ("routers", (await server.make("router", name="r"))["id"]),
    }
    collection, id_ = made[resource]
    found = (await server.call("GET", f"/v2.0/{collection}/{id_}", status=200))[resource]
    wanted = RECORDED["shapes"][resource]
    assert found.keys() == wanted.keys()
    differing = {
        name: (kind, wanted[name])
        for name, kind in kinds(found).items()
        if kind != wanted[name] and not (kind == "NoneType" and name in NULLABLE)
    }
    assert differing == {}


@pytest.mark.parametrize(
    ("note", "resource", "attributes"),
    [
        ("network create", "network", {"name": "dump"}),
        ("subnet v4", "subnet", {"cidr": "10.62.0.0/24", "ip_version": 4, "name": "s"}),
        ("external network", "network", {"name": "ext", "router:external": True}),
        ("port unbound", "port", {"name": "p"}),
        (
            "port bound to a host with an OVS agent",
            "port",
            {"binding:host_id": "node1", "device_owner": "compute:nova", "device_id": "vm-1"},
        ),
    ],
)
async def test_a_creation_is_answered_as_recorded(
    server: ApiServer, note: str, resource: str, attributes: dict[str, object]
) -> None:
    network, _ = await server.make_network()
    given = attributes if resource == "network" else {"network_id": network, **attributes}
    found = await server.make(resource, **given)
    wanted = recorded(note)[resource]
    assert found.keys() == wanted.keys()
    same = {name for name in wanted if name not in CHOSEN_BY_THE_SERVER}
    assert {name: found[name] for name in same} == {name: wanted[name] for name in same}


CHOSEN_BY_THE_SERVER = {
    "id",
    "network_id",
    "project_id",
    "tenant_id",
    "created_at",
    "updated_at",
    "revision_number",
    "mtu",
    "provider:segmentation_id",
    "availability_zones",
    "cidr",
    "gateway_ip",
    "allocation_pools",
    "fixed_ips",
    "mac_address",
    "status",
    # Of what weft does not do yet, the empty value is shown.
    "dns_assignment",
    "security_groups",
    # Named after who bound it.
    "binding:host_id",
    "binding:vif_details",
}


async def test_a_subnet_of_an_external_network_is_answered_as_recorded(server: ApiServer) -> None:
    network = (await server.make("network", **{"router:external": True}))["id"]
    wanted = recorded("external subnet")["subnet"]
    found = await server.make("subnet", network_id=network, cidr=wanted["cidr"], ip_version=4)
    chosen = CHOSEN_BY_THE_SERVER - {"cidr", "gateway_ip", "allocation_pools"}
    assert {name: found[name] for name in wanted if name not in chosen} == {
        name: wanted[name] for name in wanted if name not in chosen
    }


async def test_a_change_and_a_bulk_are_answered_as_recorded(server: ApiServer) -> None:
    network, _ = await server.make_network()
    asked = CALLS["bulk ports"]["request"]["body"]["ports"]
    body = {"ports": [{**each, "network_id": network} for each in asked]}
    made = (await server.call("POST", "/v2.0/ports", body, status=201))["ports"]
    wanted = recorded("bulk ports")["ports"]
    assert [each["name"] for each in made] == [each["name"] for each in wanted]
    assert [each.keys() for each in made] == [each.keys() for each in wanted]
    changed = recorded("port update")["port"]
    found = await server.call(
        "PUT", f"/v2.0/ports/{made[0]['id']}", CALLS["port update"]["request"]["body"], status=200
    )
    same = [name for name in changed if name not in CHOSEN_BY_THE_SERVER]
    assert {name: found["port"][name] for name in same} == {name: changed[name] for name in same}
    assert found["port"]["revision_number"] > made[0]["revision_number"]


async def test_networks_are_shown_and_found_by_tags_as_recorded(server: ApiServer) -> None:
    network, _ = await server.make_network(name="dump")
    for tag in ("red", "blue"):
        await server.call("PUT", f"/v2.0/networks/{network}/tags/{tag}", status=201)
    shown = (await server.call("GET", f"/v2.0/networks/{network}", status=200))["network"]
    wanted = recorded("network show")["network"]
    # Neutron shows it of a new network, and of external ones.
    alike = {name: kind for name, kind in kinds(shown).items() if name != "is_default"}
    assert alike == kinds(wanted)
    found = await server.call("GET", "/v2.0/networks?tags=red,blue", status=200)
    assert found == {"networks": [shown]}


async def test_a_bound_port_tells_nova_how_to_plug(server: ApiServer) -> None:
    network, _ = await server.make_network()
    found = await server.make("port", network_id=network, **{"binding:host_id": "node1"})
    wanted = recorded("port bound to a host with an OVS agent")["port"]["binding:vif_details"]
    assert found["binding:vif_details"].keys() == wanted.keys()
    assert found["binding:vif_details"] | {"bound_drivers": None} == wanted | {"bound_drivers": None}


async def test_a_bare_metal_port_needs_no_plugging(server: ApiServer) -> None:
    network, _ = await server.make_network()
    found = await server.make(
        "port", network_id=network, **{"binding:host_id": "bm1", "binding:vnic_type": "baremetal"}
    )
    assert (found["binding:vif_type"], found["binding:vif_details"]) == ("other", {})
    assert found["binding:vnic_type"] == "baremetal"


async def test_a_router_interface_is_answered_as_recorded(server: ApiServer) -> None:
    network, subnet = await server.make_network()
    router = (await server.make("router", name="r"))["id"]
    path = f"/v2.0/routers/{router}/add_router_interface"
    found = await server.call("PUT", path, {"subnet_id": subnet}, status=200)
    assert found.keys() == recorded("router add interface").keys()
    assert (found["id"], found["subnet_id"], found["network_id"]) == (router, subnet, network)
    port = (await server.call("GET", f"/v2.0/ports/{found['port_id']}", status=200))["port"]
    assert (port["device_owner"], port["device_id"]) == ("network:router_interface", router)
    assert port["fixed_ips"] == [{"subnet_id": subnet, "ip_address": "10.61.0.1"}]
    removed = await server.call(
        "PUT", f"/v2.0/routers/{router}/remove_router_interface", {"subnet_id": subnet}, status=200
    )
    assert removed == found


async def test_the_version_document_leads_back_the_way_the_client_came(server: ApiServer) -> None:
    wanted = recorded("GET /")
    wanted["versions"][0]["links"][0]["href"] = "http://weft.example:9696/v2.0/"
    assert await server.call("GET", "/", status=200, token="none") == wanted
    proxied = await server.call("GET", "/", headers={"Host": "cloud:443", "X-Forwarded-Proto": "https"})
    assert proxied["versions"][0]["links"][0]["href"] == "https://cloud:443/v2.0/"


async def test_documents_are_answered_as_recorded(server: ApiServer) -> None:
    found = await server.call("GET", "/v2.0/", status=200)
    wanted = recorded("GET /v2.0/")
    for each in wanted["resources"]:
        each["links"][0]["href"] = f"http://weft.example:9696/v2.0/{each['collection']}"
    assert found == wanted
    assert await server.call("GET", "/v2.0", status=404) == recorded("GET /v2.0")


async def test_announced_extensions_are_neutrons(server: ApiServer) -> None:
    known = {each["alias"]: each for each in RECORDED["extensions"]}
    found = (await server.call("GET", "/v2.0/extensions", status=200))["extensions"]
    assert [each for each in found if known[each["alias"]] != each] == []
    one = await server.call("GET", "/v2.0/extensions/router", status=200)
    assert one == {"extension": known["router"]}
    await server.call("GET", "/v2.0/extensions/nosuch", status=404)


ERRORS: dict[str, tuple[str, str, object]] = {
    "ERROR 404 port": ("GET", f"/v2.0/ports/{NOTHING}", None),
    "ERROR 404 collection": ("GET", "/v2.0/nosuch", None),
    "ERROR 400 missing network_id": ("POST", "/v2.0/ports", {"port": {}}),
    "ERROR 400 unknown attribute": ("POST", "/v2.0/ports", {"port": {"network_id": "NETWORK", "nosuch": 1}}),
    "ERROR 409 address in use": (
        "POST",
        "/v2.0/ports",
        {"port": {"network_id": "NETWORK", "fixed_ips": [{"ip_address": "10.61.0.129"}]}},
    ),
    "ERROR 400 address not in subnet": (
        "POST",
        "/v2.0/ports",
        {"port": {"network_id": "NETWORK", "fixed_ips": [{"subnet_id": "SUBNET", "ip_address": "10.99.0.1"}]}},
    ),
    "ERROR 400 bad mac": ("POST", "/v2.0/ports", {"port": {"network_id": "NETWORK", "mac_address": "zz"}}),
    "ERROR 409 mac in use": (
        "POST",
        "/v2.0/ports",
        {"port": {"network_id": "NETWORK", "mac_address": "fa:16:3e:73:2a:7e"}},
    ),
    "ERROR 400 overlap": (
        "POST",
        "/v2.0/subnets",
        {"subnet": {"network_id": "NETWORK", "cidr": "10.61.0.0/25", "ip_version": 4}},
    ),
    "ERROR 409 network in use": ("DELETE", "/v2.0/networks/NETWORK", None),
    "ERROR 409 subnet in use": ("DELETE", "/v2.0/subnets/SUBNET", None),
    "ERROR 409 router in use": ("DELETE", "/v2.0/routers/ROUTER", None),
    "ERROR 400 bad type": ("POST", "/v2.0/networks", {"network": {"name": "n", "tenant_id": 5}}),
    "ERROR 400 or ignored: unknown filter": ("GET", "/v2.0/ports?nosuchfilter=1", None),
    "ERROR 400 bad limit": ("GET", "/v2.0/ports?limit=x", None),
    "ERROR 409 no more addresses": ("POST", "/v2.0/ports", {"port": {"network_id": "TINY"}}),
}


@pytest.mark.parametrize("note", ERRORS)
async def test_an_error_is_answered_as_recorded(server: ApiServer, note: str) -> None:
    ids = await _what_the_recording_had(server)
    method, path, body = ERRORS[note]
    path, text = (_filled(each, ids) for each in (path, json.dumps(body)))
    found = await server.answer(method, path, json=json.loads(text))
    wanted = CALLS[note]["response"]
    assert found.status_code == wanted["status"]
    assert _without_ids(found.json()) == _without_ids(wanted["body"])


async def test_a_revision_that_is_past_is_refused_as_recorded(server: ApiServer) -> None:
    network, _ = await server.make_network()
    port = await server.make("port", network_id=network)
    current = port["revision_number"]
    path, body = f"/v2.0/ports/{port['id']}", {"port": {"name": "x"}}
    found = await server.answer("PUT", path, json=body, headers={"If-Match": f"revision_number={current + 1}"})
    wanted = CALLS["ERROR 412 revision"]["response"]
    assert found.status_code == wanted["status"]
    assert found.json()["NeutronError"]["type"] == wanted["body"]["NeutronError"]["type"]
    message = f"Constrained to {current + 1}, but current revision is {current}"
    assert found.json()["NeutronError"]["message"] == message
    await server.call("PUT", path, body, headers={"If-Match": f"revision_number={current}"}, status=200)
    for wrong in ("x", "revision_number=", "revision_number=-1", "revision_number=" + "9" * 5000):
        await server.call("PUT", path, body, headers={"If-Match": wrong}, status=400)


async def test_a_method_that_is_not_possible_is_refused_as_recorded(server: ApiServer) -> None:
    found = await server.answer("PATCH", "/v2.0/ports")
    wanted = CALLS["ERROR method not allowed"]["response"]
    assert found.status_code == wanted["status"]
    assert found.json()["NeutronError"]["type"] == wanted["body"]["NeutronError"]["type"]


async def _what_the_recording_had(server: ApiServer) -> dict[str, str]:
    network, subnet = await server.make_network()
    tiny, _ = await server.make_network("10.63.0.0/30", name="tiny")
    await server.make("port", network_id=tiny)
    await server.make(
        "port",
        network_id=network,
        mac_address="fa:16:3e:73:2a:7e",
        fixed_ips=[{"ip_address": "10.61.0.129"}],
    )
    router = (await server.make("router", name="r"))["id"]
    await server.call("PUT", f"/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet}, status=200)
    return {"NETWORK": network, "SUBNET": subnet, "ROUTER": router, "TINY": tiny}


def _filled(text: str, ids: Mapping[str, str]) -> str:
    for name, id_ in ids.items():
        text = text.replace(name, id_)
    return text


def _without_ids(body: object) -> object:
    text = UUID.sub("ID", json.dumps(body))
    return json.loads(re.sub(r"ID(,ID)+", "ID", text))
