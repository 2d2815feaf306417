"""Lists as clients use them: any attribute filters, pages run through everything, and cost what they show."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server

from weft.api.neutron import resource
from weft.api.neutron.attributes import Attribute
from weft.api.neutron.networks import ATTRIBUTES as NETWORK
from weft.api.neutron.ports import ATTRIBUTES as PORT
from weft.api.neutron.routers import ATTRIBUTES as ROUTER
from weft.api.neutron.subnets import ATTRIBUTES as SUBNET
from weft.store import snapshot

TABLES: Mapping[str, Mapping[str, Attribute]] = {
    "networks": NETWORK,
    "subnets": SUBNET,
    "ports": PORT,
    "routers": ROUTER,
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the id of every port that is read from the store."""
    seen: list[str] = []
    read = snapshot._port_view

    def noted(row: Any) -> Any:
        view = read(row)
        seen.append(view.port.id)
        return view

    monkeypatch.setattr(snapshot, "_port_view", noted)
    return seen


async def two_of_each(server: ApiServer) -> None:
    """Make objects that differ in every attribute that can differ."""
    for number in (1, 2):
        tags = {"description": f"d{number}", "name": f"n{number}", "project_id": f"project{number}"}
        network = await server.make("network", mtu=1400 + number, dns_domain=f"n{number}.example.", **tags)
        subnet = await server.make("subnet", network_id=network["id"], cidr=f"10.{number}.0.0/24", ip_version=4, **tags)
        await server.make("router", **tags)
        port = await server.make(
            "port",
            network_id=network["id"],
            device_id=f"vm-{number}",
            device_owner=f"compute:{number}",
            dns_name=f"web{number}",
            fixed_ips=[{"subnet_id": subnet["id"], "ip_address": f"10.{number}.0.9"}],
            **{"binding:host_id": f"node{number}"},
            **tags,
        )
        await server.call("PUT", f"/v2.0/ports/{port['id']}", {"port": {"admin_state_up": number == 1}}, status=200)


@pytest.mark.parametrize("collection", TABLES)
async def test_every_attribute_filters(server: ApiServer, collection: str) -> None:
    await two_of_each(server)
    objects = (await server.call("GET", f"/v2.0/{collection}", status=200))[collection]
    assert len(objects) == 2
    for name, attribute in TABLES[collection].items():
        if not (attribute.filters and attribute.matched) or name in {"fixed_ips", "tags", "network_labels"}:
            continue
        for each in objects:
            value = each[name]
            value = value[0] if isinstance(value, list) and value else value
            given = "" if value is None or value == [] else str(value)
            found = await server.call("GET", f"/v2.0/{collection}", params={name: given}, status=200)
            same = [other["id"] for other in objects if other[name] == each[name]]
            assert [other["id"] for other in found[collection]] == same, (name, given)
        both = [("name", each[name]) for each in objects] if name == "name" else [("name", "n1"), ("name", "n2")]
        found = await server.call("GET", f"/v2.0/{collection}", params=both, status=200)
        assert len(found[collection]) == 2
        nothing = await server.call("GET", f"/v2.0/{collection}", params={"name": "nosuch"}, status=200)
        assert nothing == {collection: []}


async def test_yes_and_no_may_be_written_in_any_way(server: ApiServer) -> None:
    await server.make_network("10.1.0.0/24", **{"router:external": True})
    await server.make_network("10.2.0.0/24")
    for collection, name, counts in (
        ("subnets", "router:external", (1, 1)),
        ("networks", "router:external", (1, 1)),
        ("networks", "is_default", (0, 2)),
        ("security-groups", "shared", (0, 1)),
        ("security-group-rules", "belongs_to_default_sg", (4, 0)),
        ("agents", "alive", (0, 0)),
    ):
        for words, count in zip((("True", "true", "1"), ("False", "false", "0")), counts, strict=True):
            for word in words:
                found = await server.call("GET", f"/v2.0/{collection}?{name}={word}", status=200)
                assert len(found[collection.replace("-", "_")]) == count, (collection, word)
        await server.call("GET", f"/v2.0/{collection}?{name}=maybe", status=400)


@pytest.mark.parametrize("collection", TABLES)
async def test_every_attribute_that_sorts_does_so_both_ways(server: ApiServer, collection: str) -> None:
    await two_of_each(server)
    for name, attribute in TABLES[collection].items():
        if not attribute.sorts or name == "network_labels":
            continue
        orders = []
        for direction in ("asc", "desc"):
            path = f"/v2.0/{collection}?sort_key={name}&sort_dir={direction}"
            orders.append([each[name] for each in (await server.call("GET", path, status=200))[collection]])
        assert orders[0] == orders[1][::-1], name


@pytest.mark.parametrize("query", ["", "&sort_key=name&sort_dir=desc", "&sort_key=admin_state_up&sort_key=name"])
async def test_pages_run_through_everything_forwards_and_backwards(server: ApiServer, query: str) -> None:
    network, _ = await server.make_network()
    for name in "badce":
        await server.make("port", network_id=network, name=name, admin_state_up=name in "ace")
    everything = [each["name"] for each in (await server.call("GET", f"/v2.0/ports?{query}", status=200))["ports"]]
    seen: list[str] = []
    path, last = f"/v2.0/ports?limit=2{query}", ""
    while path:
        page = await server.call("GET", path, status=200)
        seen += [each["name"] for each in page["ports"]]
        links = {link["rel"]: link["href"] for link in page.get("ports_links", [])}
        path, last = links.get("next", ""), path
    assert seen == everything
    back: list[str] = []
    path = last
    for _ in range(2):
        page = await server.call("GET", path, status=200)
        links = {link["rel"]: link["href"] for link in page["ports_links"]}
        path = links["previous"]
        page = await server.call("GET", path, status=200)
        back = [each["name"] for each in page["ports"]] + back
    assert back == everything[:4]


async def test_a_marker_need_not_pass_the_filters_but_must_exist(server: ApiServer) -> None:
    network, _ = await server.make_network()
    ids = [(await server.make("port", network_id=network, name=name))["id"] for name in "abc"]
    found = await server.call("GET", f"/v2.0/ports?name=c&limit=1&marker={ids[0]}", status=200)
    assert [each["name"] for each in found["ports"]] == ["c"]
    found = await server.call("GET", f"/v2.0/ports?name=a&limit=1&sort_key=name&marker={ids[1]}", status=200)
    assert found["ports"] == []
    nothing = "00000000-0000-0000-0000-000000000000"
    answer = await server.answer("GET", f"/v2.0/ports?limit=1&marker={nothing}")
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (404, "PortNotFound")


@pytest.mark.parametrize(
    "query",
    [
        "limit=5",
        "network_id=NETWORK&limit=5",
        "project_id=default&limit=5",
        "tenant_id=default&limit=5&fields=id",
        "network_id=NETWORK&network_id=OTHER&limit=5&sort_key=id&sort_dir=asc",
        "device_id=vm-7",
        "device_id=vm-7&device_id=vm-8&device_id=vm-9",
        "name=p7&network_id=NETWORK",
        "fixed_ips=ip_address=10.61.0.17",
        "fixed_ips=ip_address=10.61.0.17&fixed_ips=ip_address=10.61.0.18",
        "mac_address=FA:16:3E:00:00:07",
        "binding:host_id=node1",
        "id=PORT",
    ],
)
async def test_a_list_reads_what_it_shows_and_no_more(server: ApiServer, decoded: list[str], query: str) -> None:
    network, _ = await server.make_network()
    other, _ = await server.make_network("10.62.0.0/24")
    ports = [
        {
            "network_id": network,
            "name": f"p{n}",
            "device_id": f"vm-{n}",
            "mac_address": f"fa:16:3e:00:00:{n:02x}",
            "fixed_ips": [{"ip_address": f"10.61.0.{10 + n}"}],
        }
        for n in range(60)
    ]
    ports[7]["binding:host_id"] = "node1"
    made = (await server.call("POST", "/v2.0/ports", {"ports": ports}, status=201))["ports"]
    for name, id_ in (("NETWORK", network), ("OTHER", other), ("PORT", made[7]["id"])):
        query = query.replace(name, id_)
    decoded.clear()
    found = (await server.call("GET", f"/v2.0/ports?{query}", status=200))["ports"]
    assert found
    assert len(decoded) <= len(found), "more ports were decoded than shown"


@pytest.mark.parametrize("fields", ["", "fields=name&fields=id"])
@pytest.mark.parametrize("matching", [0, 1, 7, 30])
async def test_a_long_list_comes_in_portions(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, matching: int, fields: str
) -> None:
    monkeypatch.setattr(resource, "MAX_ROWS_AT_ONCE", 4)
    network, _ = await server.make_network()
    ports = [{"network_id": network, "name": f"{n}", "description": "x" * (n >= 30 - matching)} for n in range(30)]
    made = (await server.call("POST", "/v2.0/ports", {"ports": ports}, status=201))["ports"]
    wanted = [each["name"] for each in made if each["description"]]
    found = await server.call("GET", f"/v2.0/ports?description=x&{fields}", status=200)
    assert [each["name"] for each in found["ports"]] == wanted
    assert found.keys() == {"ports"}
    found = await server.call("GET", f"/v2.0/ports?description=x&limit=9&{fields}", status=200)
    assert [each["name"] for each in found["ports"]] == wanted[:9]


@pytest.mark.parametrize(
    ("collection", "good", "bad"),
    [
        ("networks", {"name": "n"}, {"mtu": 9216}),
        ("subnets", {"network_id": "N", "cidr": "10.8.0.0/24", "ip_version": 4}, {"cidr": "10.8.0.0/25"}),
        ("ports", {"network_id": "N"}, {"fixed_ips": [{"ip_address": "10.99.0.1"}]}),
        ("routers", {"name": "r"}, {"availability_zone_hints": ["nosuch"]}),
    ],
)
async def test_many_are_created_at_once_or_none(
    server: ApiServer, collection: str, good: dict[str, object], bad: dict[str, object]
) -> None:
    network, _ = await server.make_network()
    good = {name: network if value == "N" else value for name, value in good.items()}
    before = len((await server.call("GET", f"/v2.0/{collection}", status=200))[collection])
    answer = await server.answer("POST", f"/v2.0/{collection}", json={collection: [good, {**good, **bad}]})
    assert 400 <= answer.status_code < 500, answer.text
    assert len((await server.call("GET", f"/v2.0/{collection}", status=200))[collection]) == before
    second = {**good, "cidr": "10.9.0.0/24"} if collection == "subnets" else good
    made = await server.call("POST", f"/v2.0/{collection}", {collection: [good, second]}, status=201)
    assert len(made[collection]) == 2
    for empty in ({collection: []}, {collection: {}}, {}):
        await server.call("POST", f"/v2.0/{collection}", empty, status=400)
