"""Whatever a caller sends, the answer is a 4xx that names what was wrong, and nothing is half-done."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_server import ApiServer, api_server

from weft.api.answers import MAX_BODY_BYTES

NETWORK = "1480f242-3d1b-4a1d-9d04-409d99809b46"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


MALFORMED = [
    (b"", "the request has no body: send a JSON object"),
    (b"{", "the body is not JSON"),
    (b"nonsense", "the body is not JSON"),
    (b"\xff\xfe", "the body is not JSON"),
    (b"[]", "Expected `object`, got `array`"),
    (b"5", "Expected `object`, got `int`"),
    (b"null", "Expected `object`, got `null`"),
]

POSTS = ["/v2.0/ports", "/v2.0/networks", "/v1/ports/x/bind", "/v1/nodes/node1/realizations"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(("body", "message"), MALFORMED)
async def test_a_body_that_is_no_json_object_is_refused(
    server: ApiServer, path: str, body: bytes, message: str
) -> None:
    found = await server.answer("POST", path, content=body)
    assert found.status_code == 400
    assert message in found.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"port": {"name": "\\ud800"}}', "the body is not JSON"),
        (b'{"port":' * 5000 + b"1" + b"}" * 5000, "the body is nested too deeply"),
    ],
)
async def test_json_that_python_cannot_hold_is_refused(server: ApiServer, body: bytes, message: str) -> None:
    found = await server.answer("POST", "/v2.0/ports", content=body)
    assert found.status_code == 400
    assert message in found.text


@pytest.mark.parametrize(("depth", "status"), [(97, 201), (98, 201), (99, 400), (900, 400)])
async def test_what_is_stored_is_not_too_deep_for_its_readers(server: ApiServer, depth: int, status: int) -> None:
    network = await server.make("network", name="n")
    profile = b'{"a":' * depth + b'"\\"' + b"{[" * 200 + b'"' + b"}" * depth
    body = b'{"port":{"network_id":"%s","binding:profile":%s}}' % (network["id"].encode(), profile)
    found = await server.answer("POST", "/v2.0/ports", content=body)
    assert found.status_code == status
    assert ("may be 100 deep in each other" in found.text) == (status == 400)


async def test_many_objects_side_by_side_are_not_deep(server: ApiServer) -> None:
    ports = [{"network_id": NETWORK, "name": "}" * number} for number in range(200)]
    found = await server.answer("POST", "/v2.0/ports", json={"ports": ports})
    assert (found.status_code, NETWORK in found.text) == (404, True)


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_that_is_too_large_is_refused(server: ApiServer, path: str) -> None:
    found = await server.answer("POST", path, content=b" " * (MAX_BODY_BYTES + 1))
    assert found.status_code == 413
    assert str(MAX_BODY_BYTES) in found.text


async def test_a_body_whose_length_is_not_told_is_not_read_beyond_the_bound(server: ApiServer) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 65536

    found = await server.answer("POST", "/v2.0/ports", content=endless())
    assert found.status_code == 413
    assert sent <= MAX_BODY_BYTES // 65536 + 2


REFUSED = [
    ("POST", "/v2.0/networks", {}, "Resource body required"),
    ("POST", "/v2.0/networks", {"port": {}}, "Unable to find 'network' in request body"),
    ("POST", "/v2.0/networks", {"network": []}, "Object 'network' contains invalid data"),
    ("POST", "/v2.0/networks", {"network": None}, "Object 'network' contains invalid data"),
    ("POST", "/v2.0/networks", {"networks": {}}, "Resources required"),
    ("POST", "/v2.0/networks", {"networks": []}, "Resources required"),
    ("POST", "/v2.0/networks", {"networks": [5]}, "Object 'network' contains invalid data"),
    ("POST", "/v2.0/networks", {"networks": [{}] * 1001}, "1001 objects are more than the 1000"),
    ("POST", "/v2.0/networks", {"network": {"name": 5}}, "Invalid input for name. Reason: '5' is not a valid string."),
    ("POST", "/v2.0/networks", {"network": {"name": "x" * 256}}, "exceeds maximum length of 255"),
    ("POST", "/v2.0/networks", {"network": {"mtu": 10**30}}, "Invalid input for mtu"),
    ("POST", "/v2.0/networks", {"network": {"mtu": {}}}, "Invalid input for mtu. Reason: '{}' is not an integer."),
    (
        "POST",
        "/v2.0/networks",
        {"network": {"provider:network_type": "gre"}},
        "Invalid input for provider:network_type",
    ),
    ("POST", "/v2.0/networks", {"network": {"availability_zone_hints": ["a", "b"]}}, "an object is in one site"),
    (
        "POST",
        "/v2.0/networks",
        {"network": {"port_security_enabled": "maybe"}},
        "Invalid input for port_security_enabled",
    ),
    ("POST", "/v2.0/subnets", {"subnet": {"network_id": NETWORK, "ip_version": 4}}, "in the absence of a cidr"),
    (
        "POST",
        "/v2.0/subnets",
        {"subnet": {"network_id": NETWORK, "ip_version": 6, "cidr": "10.0.0.0/24"}},
        "cidr '10.0.0.0/24' does not match the ip_version '6'",
    ),
    ("POST", "/v2.0/ports", {"port": {"network_id": NETWORK, "fixed_ips": None}}, "Invalid data format for fixed IP"),
    (
        "POST",
        "/v2.0/subnets",
        {
            "subnet": {
                "network_id": NETWORK,
                "ip_version": 4,
                "cidr": "10.0.0.0/24",
                "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}] * 2,
            }
        },
        "Duplicate hostroute",
    ),
    ("POST", "/v2.0/subnetpools", {"subnetpool": {"prefixes": ["10.0.0.0/8"]}}, "Required attribute 'name' not"),
    (
        "POST",
        "/v2.0/subnetpools",
        {"subnetpool": {"name": " ", "prefixes": ["10.0.0.0/8"]}},
        "Blank strings are not permitted",
    ),
    (
        "POST",
        "/v2.0/subnets",
        {"subnet": {"network_id": NETWORK, "ip_version": 5, "cidr": "10.0.0.0/24"}},
        "Invalid input for ip_version. Reason: '5' is not in [4, 6].",
    ),
    (
        "POST",
        "/v2.0/subnets",
        {"subnet": {"network_id": NETWORK, "ip_version": 4, "cidr": "10.0.0.0/24", "gateway_ip": 5}},
        "Invalid input for gateway_ip. Reason: '5' is not a valid IP address.",
    ),
    (
        "POST",
        "/v2.0/ports",
        {"port": {"network_id": "x"}},
        "Invalid input for network_id. Reason: 'x' is not a valid UUID.",
    ),
    (
        "POST",
        "/v2.0/ports",
        {"port": {"network_id": NETWORK, "fixed_ips": [{}]}},
        "Invalid data format for fixed IP: '{}'",
    ),
    ("POST", "/v2.0/ports", {"port": {"network_id": NETWORK, "fixed_ips": "x"}}, "Invalid input for fixed_ips"),
    (
        "POST",
        "/v2.0/ports",
        {"port": {"network_id": NETWORK, "fixed_ips": [{"ip_address": "10.0.0.5"}] * 2}},
        "Duplicate IP address '10.0.0.5'",
    ),
    (
        "POST",
        "/v2.0/ports",
        {"port": {"network_id": NETWORK, "status": "ACTIVE"}},
        "Attribute 'status' not allowed in POST",
    ),
    (
        "POST",
        "/v2.0/ports",
        {"port": {"network_id": NETWORK, "security_groups": ["nosuch"]}},
        "Invalid input for security_groups",
    ),
    ("POST", "/v2.0/ports", {"port": {"network_id": NETWORK, "binding:profile": 5}}, "'5' is not a dictionary"),
    ("POST", "/v2.0/ports", {"port": {"network_id": NETWORK, "binding:vnic_type": "x"}}, "binding:vnic_type"),
    ("PUT", f"/v2.0/routers/{NETWORK}/add_router_interface", {}, "Either subnet_id or port_id must be specified"),
    ("PUT", f"/v2.0/routers/{NETWORK}/add_router_interface", {"subnet_id": 5}, "'5' is not a valid UUID"),
    ("PUT", f"/v2.0/routers/{NETWORK}/add_router_interface", {"x": 5}, "Unrecognized attribute(s) 'x'"),
    (
        "PUT",
        f"/v2.0/ports/{NETWORK}",
        {"port": {"network_id": NETWORK}},
        "Cannot update read-only attribute network_id",
    ),
    ("PUT", f"/v2.0/ports/{NETWORK}/tags", {"tags": "red"}, "'red' is not a list"),
    ("PUT", f"/v2.0/ports/{NETWORK}/tags", {"tags": [5]}, "'5' is not a valid string"),
    ("POST", f"/v1/ports/{NETWORK}/bind", {}, "missing required field `node`"),
    ("POST", f"/v1/ports/{NETWORK}/bind", {"node": 5}, "Expected `str`, got `int` - at `$.node`"),
    ("POST", f"/v1/ports/{NETWORK}/bind", {"node": "node1", "x": 1}, "unknown field `x`"),
    ("POST", "/v1/nodes/node1/realizations", {"reports": [{}]}, "`$.reports[0]`"),
    (
        "POST",
        "/v1/nodes/node1/realizations",
        {"reports": [{"port_id": NETWORK, "epoch": 10**20, "state": "up"}]},
        "epoch",
    ),
    (
        "POST",
        "/v1/nodes/node1/realizations",
        {"reports": [{"port_id": NETWORK, "epoch": -1, "state": "up"}]},
        "epoch -1",
    ),
    (
        "POST",
        "/v1/nodes/node1/realizations",
        {"reports": [{"port_id": NETWORK, "epoch": 1, "state": "good"}]},
        "Invalid enum value 'good' - at `$.reports[0].state`",
    ),
    ("PUT", "/v1/inventory", {"sites": 5}, "sites: expected a list of tables"),
    ("PUT", "/v1/inventory", {"nosuch": []}, "nosuch"),
    ("GET", "/v1/watch?kinds=nosuch", None, "'nosuch' is no kind of object"),
    ("GET", "/v1/watch?after=x", None, "after 'x' is no revision"),
    *(
        (method, path, body, "9999")
        for digits in ("9" * 20, "9" * 5000)  # Python reads no number of more than 4300 digits
        for method, path, body in (
            ("GET", f"/v2.0/ports?limit={digits}", None),
            ("GET", f"/v1/watch?after={digits}", None),
            ("POST", "/v2.0/networks", {"network": {"mtu": digits}}),
            (
                "POST",
                "/v2.0/security-group-rules",
                {"security_group_rule": {"security_group_id": NETWORK, "direction": "ingress", "protocol": digits}},
            ),
        )
    ),
    ("GET", "/v1/watch?after=999999999", None, "after '999999999' is no revision"),
    ("GET", "/v1/ports?nosuch=1", None, "'nosuch' is no filter of ports"),
]


@pytest.mark.parametrize(("method", "path", "body", "message"), REFUSED)
async def test_a_wrong_request_is_refused_by_name(
    server: ApiServer, method: str, path: str, body: object, message: str
) -> None:
    revision = server.store.revision
    found = await server.answer(method, path, json=body)
    assert found.status_code == 400, found.text
    error = found.json().get("NeutronError") or found.json()["error"]
    assert message in error["message"]
    assert server.store.revision == revision


MISSING = [
    ("GET", f"/v2.0/ports/{NETWORK}", None, "PortNotFound"),
    ("PUT", f"/v2.0/ports/{NETWORK}", {"port": {"name": "x"}}, "PortNotFound"),
    ("DELETE", f"/v2.0/ports/{NETWORK}", None, "PortNotFound"),
    ("GET", "/v2.0/ports/not-an-id", None, "PortNotFound"),
    ("GET", f"/v2.0/networks/{NETWORK}", None, "NetworkNotFound"),
    ("DELETE", f"/v2.0/subnets/{NETWORK}", None, "SubnetNotFound"),
    ("PUT", f"/v2.0/routers/{NETWORK}/add_router_interface", {"subnet_id": NETWORK}, "RouterNotFound"),
    ("POST", "/v2.0/ports", {"port": {"network_id": NETWORK}}, "NetworkNotFound"),
    (
        "POST",
        "/v2.0/subnets",
        {"subnet": {"network_id": NETWORK, "cidr": "10.0.0.0/24", "ip_version": 4}},
        "NetworkNotFound",
    ),
    ("POST", "/v2.0/routers", {"router": {"availability_zone_hints": ["nosuch"]}}, "AvailabilityZoneNotFound"),
    ("GET", f"/v1/ports/{NETWORK}", None, "PortNotFound"),
    ("GET", f"/v1/ports/{NETWORK}/history", None, "PortNotFound"),
    ("POST", f"/v1/ports/{NETWORK}/bind", {"node": "node1"}, "PortNotFound"),
    ("GET", "/v1/nodes/nosuch", None, "NodeNotFound"),
    ("GET", "/v1/nodes/nosuch/desired", None, "NodeNotFound"),
    ("GET", "/v1/nodes/nosuch/watch", None, "NodeNotFound"),
    ("POST", "/v1/nodes/nosuch/bootstrap", None, "NodeNotFound"),
    ("POST", "/v1/nodes/nosuch/realizations", {"reports": []}, "NodeNotFound"),
    ("GET", "/v1/switches/nosuch", None, "NotFound"),
    ("GET", "/v1/nosuch", None, "NotFound"),
    ("GET", "/v2.0/ports/", None, "HTTPNotFound"),
]


@pytest.mark.parametrize(("method", "path", "body", "kind"), MISSING)
async def test_what_is_not_there_is_named(server: ApiServer, method: str, path: str, body: object, kind: str) -> None:
    found = await server.answer(method, path, json=body)
    assert found.status_code == 404, found.text
    error = found.json().get("NeutronError") or found.json()["error"]
    assert error.get("type") or error.get("kind") == kind
    assert [error.get("type"), error.get("kind")].count(kind) == 1


async def test_a_bulk_creation_with_one_wrong_object_creates_none(server: ApiServer) -> None:
    network, _ = await server.make_network()
    ports = [{"network_id": network}, {"network_id": network, "fixed_ips": [{"ip_address": "10.99.0.1"}]}]
    assert (await server.answer("POST", "/v2.0/ports", json={"ports": ports})).status_code == 400
    assert (await server.call("GET", "/v2.0/ports", status=200))["ports"] == []


NUL_REQUESTS = (
    ("POST", "/v2.0/networks", b'{"network":{"name":"a\\u0000b"}}'),
    ("POST", "/v2.0/networks", b'{"network":{"na\\u0000me":"b"}}'),
    ("GET", "/v2.0/networks?name=a%00b", None),
    ("GET", "/v2.0/networks/a%00b", None),
)


@pytest.mark.parametrize(("method", "path", "body"), NUL_REQUESTS)
async def test_a_text_that_no_database_keeps_is_refused(
    server: ApiServer, method: str, path: str, body: bytes | None
) -> None:
    answer = await server.answer(method, path, content=body)
    assert answer.status_code == 400
    assert "U+0000" in answer.text


async def test_a_backslash_before_u0000_is_only_text(server: ApiServer) -> None:
    answer = await server.answer("POST", "/v2.0/networks", content=b'{"network":{"name":"a\\\\u0000b"}}')
    assert (answer.status_code, answer.json()["network"]["name"]) == (201, "a\\u0000b")
