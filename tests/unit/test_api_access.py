"""Who is let in: tokens, sockets, and what a node's agent may reach."""

from collections.abc import Mapping

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from weft.api.access import (
    ADMINISTRATOR,
    Access,
    Caller,
    NodeAgent,
    Role,
    Unauthenticated,
    User,
    authorize,
    digest,
    new_token,
)
from weft.api.auth.authenticator import Authentication, Authenticator
from weft.api.auth.token_file import AdminTokens
from weft.api.limits import Limits, LimitSettings
from weft.api.routing import Operation, Paths
from weft.model.errors import Forbidden
from weft.model.ids import NodeName

NODE_TOKENS = {digest("of-a"): NodeName("a")}


async def node_by_token(found: str) -> NodeName | None:
    return NODE_TOKENS.get(found)


def authenticator(*admin_tokens: str) -> Authenticator:
    sources = (AdminTokens(admin_tokens),) if admin_tokens else ()
    return Authenticator(Authentication(sources=sources), node_by_token)


def scope(headers: Mapping[str, str], server: tuple[str, int | None] = ("127.0.0.1", 9696)) -> dict[str, object]:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": raw, "server": server}


@pytest.mark.parametrize(
    ("admin_tokens", "headers", "caller"),
    [
        (["root"], {"Authorization": "Bearer root"}, ADMINISTRATOR),
        (["root"], {"authorization": "bearer root"}, ADMINISTRATOR),
        (["root"], {"X-Auth-Token": "root"}, ADMINISTRATOR),
        (["root"], {"Authorization": "Bearer of-a"}, NodeAgent(NodeName("a"))),
        ([], {"Authorization": "Bearer of-a"}, NodeAgent(NodeName("a"))),
        ([], {"Host": "127.0.0.1:9696"}, ADMINISTRATOR),
        ([], {"Host": "[::1]:9696"}, ADMINISTRATOR),
        ([], {"Host": "localhost"}, ADMINISTRATOR),
        ([], {"Host": "localhost", "X-Auth-Token": "notused"}, ADMINISTRATOR),
    ],
)
async def test_callers_are_told_by_their_token(
    admin_tokens: list[str], headers: dict[str, str], caller: object
) -> None:
    assert await authenticator(*admin_tokens).identify(scope(headers)) == caller


@pytest.mark.parametrize(
    ("admin_tokens", "headers"),
    [
        (["root"], {}),
        (["root"], {"Authorization": "Bearer other"}),
        (["root"], {"Authorization": "Basic root"}),
        (["root"], {"Authorization": "Bearer "}),
        (["root"], {"X-Auth-Token": "notused"}),
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
        await authenticator(*admin_tokens).identify(scope(headers))


async def test_whoever_comes_through_the_unix_socket_is_an_administrator() -> None:
    found = await authenticator("root").identify(scope({}, server=("/run/weft/server.sock", None)))
    assert found == ADMINISTRATOR


def user(*roles: Role, project: str | None = "red") -> User:
    return User(project_id=project, roles=frozenset(roles))


@pytest.mark.parametrize(
    ("caller", "method", "access", "allowed"),
    [
        (ADMINISTRATOR, "DELETE", Access.ADMINISTRATOR, True),
        (ADMINISTRATOR, "POST", Access.USER, True),
        (user(Role.ADMIN, Role.READER), "POST", Access.ADMINISTRATOR, True),
        (user(Role.MEMBER), "POST", Access.USER, True),
        (user(Role.SERVICE), "PUT", Access.USER, True),
        (user(Role.READER), "GET", Access.USER, True),
        (user(Role.READER), "HEAD", Access.USER, True),
        (user(Role.READER), "PUT", Access.USER, False),
        (user(Role.MEMBER), "GET", Access.ADMINISTRATOR, False),
        (user(Role.SERVICE), "GET", Access.ADMINISTRATOR, False),
        (user(Role.SERVICE), "POST", Access.SERVICE, True),
        (ADMINISTRATOR, "POST", Access.SERVICE, True),
        (user(Role.MEMBER), "GET", Access.SERVICE, False),
        (NodeAgent(NodeName("a")), "GET", Access.SERVICE, False),
        (user(Role.MEMBER), "GET", Access.OWN_NODE, False),
        (user(), "GET", Access.USER, False),
        (user(Role.MEMBER, project=None), "GET", Access.USER, False),
        (NodeAgent(NodeName("a")), "GET", Access.USER, False),
        (NodeAgent(NodeName("a")), "GET", Access.OWN_NODE, True),
        (NodeAgent(NodeName("b")), "GET", Access.OWN_NODE, False),
    ],
)
def test_roles_decide_who_may_call(caller: Caller, method: str, access: Access, allowed: bool) -> None:
    where = {"method": method, "path": "/v1/nodes/a/watch", "path_params": {"node": "a"}}
    if allowed:
        authorize(caller, access, where)
    else:
        with pytest.raises(Forbidden):
            authorize(caller, access, where)


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
    paths = Paths(operations, authenticator("root"), Limits(LimitSettings()), lambda *_: None)
    return httpx.AsyncClient(transport=httpx.ASGITransport(paths), base_url="http://weft")


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
