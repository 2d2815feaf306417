"""Whatever is sent to whichever page, it is answered in time, is never a failure, and leaves nothing behind."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from api_server import ApiServer, api_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.thorough import examples

from weft.api.routing import Operation

EXAMPLES = examples(400)
DEADLINE_S = 10.0
"""Of one request; only reached by one that hangs."""
LARGE = 900_000
"""Bytes of a large body that is still taken."""
MAX_GROWTH_BYTES = 128 << 20

NAMES = [
    "port", "ports", "network", "subnet", "router", "security_group", "security_group_rule", "subnetpool", "quota",
    "binding", "network_id", "fixed_ips", "subnet_id", "ip_address", "name", "cidr", "ip_version", "gateway_ip", "mtu",
    "allocation_pools", "start", "end", "host_routes", "destination", "nexthop", "binding:host_id", "binding:profile",
    "mac_address", "device_id", "tags", "labels", "network_labels", "project_id", "prefixes", "prefixlen", "reports",
    "port_id", "epoch", "state", "steps", "node", "nodes", "sites", "links", "switches", "host", "address", "size",
    "domain", "owner", "prefix", "kind", "extra_dhcp_opts", "allowed_address_pairs", "expected_epoch", "fix",
]  # fmt: skip
TEXTS = [
    "", "0", "-1", "1e400", "null", "true", "10.0.0.0/24", "10.61.0.9", "0.0.0.0/0", "::/0", "fe80::1%eth0",
    "::ffff:1.2.3.4", "node1", "private", "a\0b", "\ud7ff\U0001f600", "x" * 300, "../..", "%00", "';--",
    "fa:16:3e:00:00:01", "9" * 400, "\u0663",
]  # fmt: skip

text = st.sampled_from(TEXTS) | st.text(max_size=20)
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
value = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | text, inner, max_size=6),
    max_leaves=25,
)
nouns = st.sampled_from(
    ["port", "network", "subnet", "router", "security_group", "security_group_rule", "subnetpool", "quota", "binding"]
)
shaped = st.dictionaries(nouns, st.dictionaries(st.sampled_from(NAMES), value, max_size=4), min_size=1, max_size=1)
bodies = (
    st.none()
    | shaped.map(lambda found: json.dumps(found).encode())
    | st.binary(max_size=50)
    | value.map(lambda found: json.dumps(found).encode())
    | st.sampled_from(
        [
            b"[" * 100_000,
            b'{"port":' * 50_000,
            b'{"port": {"name": "' + b"x" * LARGE + b'"}}',
            b"1" * LARGE,
            b'{"ports": [' + b"{}," * 100_000 + b"{}]}",
            b'{"a": 1e999}',
            b'{"port": {"network_id": 123456789012345678901234567890}}',
        ]
    )
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "If-Match": text,
        "Idempotency-Key": text,
        "Prefer": st.sampled_from(["respond-async", "respond-async, wait=5", ",;=", "x" * 1000]),
        "X-Project-Id": text,
        "Content-Type": text,
        "X-Forwarded-Proto": text,
        "Host": text,
    },
)
queries = st.lists(
    st.tuples(st.sampled_from([*NAMES, "limit", "marker", "sort_key", "sort_dir", "fields"]) | text, text)
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


def pages(server: ApiServer) -> list[Operation]:
    """All but streams, which do not end, and the token of a node, which is void when another is made."""
    return [each for each in server.api.operations if not each.path.endswith("/watch")]


async def sent(server: ApiServer, method: str, path: str, given: dict[str, str], body: bytes | None) -> httpx.Response:
    """Send a request as it is: what no client would send, too."""
    sendable = {name: text.encode("utf-8", "replace") for name, text in given.items()}
    async with asyncio.timeout(DEADLINE_S):
        return await server.answer(method, path, content=body, headers=sendable)


def path_of(page: Operation, ids: dict[str, str], words: list[str]) -> str:
    """Return the page's path with parameters that are there, or with any text."""
    segments = []
    for segment in page.path.split("/"):
        if not segment.startswith("{"):
            segments.append(segment)
            continue
        word = words.pop()
        segments.append(
            quote(ids.get(f"{page.path.split('/')[2]}/{segment}", word) if len(word) % 2 else word, safe="")
        )
    return "/".join(segments)


async def furnished(server: ApiServer) -> dict[str, str]:
    """Make some objects; return their ids by the segment before and the parameter."""
    network, subnet = await server.make_network(labels={"tier": "web"})
    port = (await server.make("port", **{"network_id": network, "binding:host_id": "node1"}))["id"]
    router = (await server.make("router"))["id"]
    found = {"networks": network, "subnets": subnet, "ports": port, "routers": router}
    return {f"{name}/{{id}}": id_ for name, id_ in found.items()} | {
        "nodes/{node}": "node1",
        "ports/{network_id}": network,
    }


async def test_no_request_makes_the_server_fail(server: ApiServer) -> None:
    ids = await furnished(server)
    loop = asyncio.get_running_loop()

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        page=st.sampled_from(pages(server)),
        words=st.lists(text.filter(bool), min_size=3, max_size=3),
        query=queries,
        sent_headers=headers,
        body=bodies,
    )
    def fuzz(page: Operation, words: list[str], query: Any, sent_headers: dict[str, str], body: bytes | None) -> None:
        path = path_of(page, ids, words)
        if query:
            path += "?" + "&".join(f"{quote(name, safe='')}={quote(given, safe='')}" for name, given in query)
        request = sent(server, page.method, path, sent_headers, body)
        answer = asyncio.run_coroutine_threadsafe(request, loop).result()
        assert answer.status_code < 500 or "retry-after" in answer.headers, (page.method, path, body, answer.text)
        if answer.status_code >= 400:
            error = answer.json()
            assert error.get("NeutronError") or error.get("error")

    await asyncio.to_thread(fuzz)


async def test_large_bodies_leave_nothing_behind(server: ApiServer) -> None:
    network, _ = await server.make_network()
    large = json.dumps({"port": {"network_id": network, "name": "x" * LARGE}}).encode()
    many = json.dumps({"ports": [{"network_id": network, "nosuch": n} for n in range(10_000)]}).encode()

    async def some(count: int) -> None:
        for _ in range(count):
            for body in (large, many, b"[" * LARGE):
                assert (await sent(server, "POST", "/v2.0/ports", {}, body)).status_code == 400

    await some(5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await some(40)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MAX_GROWTH_BYTES
