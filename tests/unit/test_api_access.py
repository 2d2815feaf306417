"""Who is let in: tokens, sockets, and what a node's agent may reach."""

from collections.abc import Mapping

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from weft.api.access import Access, Administrator, Authenticator, NodeAgent, Unauthenticated, digest, new_token
from weft.api.routing import Operation, routes_of
from weft.model.ids import NodeName

NODE_TOKENS = {digest("of-a"): NodeName("a")}


async def node_by_token(found: str) -> NodeName | None:
    return NODE_TOKENS.get(found)


def scope(headers: Mapping[str, str], server: tuple[str, int | None] = ("127.0.0.1", 9696)) -> dict[str, object]:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": raw, "server": server}


@pytest.mark.parametrize(
    ("admin_tokens", "headers", "caller"),
    [
        (["root"], {"Authorization": "Bearer root"}, Administrator()),
        (["root"], {"authorization": "bearer root"}, Administrator()),
        (["root"], {"X-Auth-Token": "root"}, Administrator()),
        (["root"], {"Authorization": "Bearer of-a"}, NodeAgent(NodeName("a"))),
        ([], {"Authorization": "Bearer of-a"}, NodeAgent(NodeName("a"))),
        ([], {"Host": "127.0.0.1:9696"}, Administrator()),
        ([], {"Host": "[::1]:9696"}, Administrator()),
        ([], {"Host": "localhost"}, Administrator()),
    ],
)
async def test_callers_are_told_by_their_token(
    admin_tokens: list[str], headers: dict[str, str], caller: object
) -> None:
    assert await Authenticator(admin_tokens, node_by_token).identify(scope(headers)) == caller


@pytest.mark.parametrize(
    ("admin_tokens", "headers"),
    [
        (["root"], {}),
        (["root"], {"Authorization": "Bearer other"}),
        (["root"], {"Authorization": "Basic root"}),
        (["root"], {"Authorization": "Bearer "}),
        (["root"], {"X-Auth-Token": digest("root")}),
        ([], {"Authorization": "Bearer voided"}),
        ([], {}),
        ([], {"Host": "[nonsense"}),
        ([], {"Host": "evil.example:9696"}),
        ([], {"Host": "127.0.0.1:9696", "Origin": "https://evil.example"}),
    ],
)
async def test_whoever_has_no_valid_token_is_refused(admin_tokens: list[str], headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        await Authenticator(admin_tokens, node_by_token).identify(scope(headers))


async def test_whoever_comes_through_the_unix_socket_is_an_administrator() -> None:
    found = await Authenticator(["root"], node_by_token).identify(scope({}, server=("/run/weft/server.sock", None)))
    assert found == Administrator()


def test_tokens_differ() -> None:
    assert new_token() != new_token()


async def answer(request: Request) -> Response:
    return PlainTextResponse(str(request.path_params))


def client() -> httpx.AsyncClient:
    operations = [
        Operation("GET", "/open", answer, Access.PUBLIC),
        Operation("GET", "/v1/ports", answer),
        Operation("GET", "/v1/nodes/{node}/desired", answer, Access.OWN_NODE),
        Operation("POST", "/v1/nodes/{node}/desired", answer),
    ]
    routes = routes_of(operations, Authenticator(["root"], node_by_token), lambda *_: None)
    return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://weft")


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("GET", "/open", None, 200),
        ("GET", "/v1/ports", None, 401),
        ("GET", "/v1/ports", "root", 200),
        ("GET", "/v1/ports", "of-a", 403),
        ("GET", "/v1/nodes/a/desired", "of-a", 200),
        ("GET", "/v1/nodes/b/desired", "of-a", 403),
        ("GET", "/v1/nodes/A/desired", "of-a", 403),
        ("GET", "/v1/nodes/a/desired", "root", 200),
        ("POST", "/v1/nodes/a/desired", "of-a", 403),
        ("GET", "/v1/nodes/b%2F..%2Fa/desired", "of-a", 404),
        ("DELETE", "/v1/ports", None, 405),
    ],
)
async def test_a_node_reaches_its_own_pages_only(method: str, path: str, token: str | None, status: int) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with client() as http:
        found = await http.request(method, path, headers=headers)
    assert found.status_code == status
    if status == 401:
        assert found.headers["www-authenticate"] == "Bearer"
        assert found.json()["error"]["kind"] == "Unauthorized"
