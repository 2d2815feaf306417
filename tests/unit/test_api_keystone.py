"""Asking Keystone: what its answers mean, and what happens when it fails. The real one is in tests/scenario."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from weft.api.access import TOKEN_LENGTH, Caller, Role, Unauthenticated, User, new_token
from weft.api.auth.credential import Credential
from weft.api.auth.keystone import LOGIN_PAUSE_S, KeystoneSettings, KeystoneTokens
from weft.api.auth.remote import Remote
from weft.model.errors import Invalid, Transient

START = 1_795_392_000.0
LATER = "2026-11-23T01:00:00.000000Z"
"""An hour after START."""


def described(*roles: str, project: str | None = "red", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"user": {"id": "ann", "name": "Ann"}, "expires_at": LATER}
    found["roles"] = [{"id": f"id-{role}", "name": role} for role in roles]
    if project:
        found["project"] = {"id": project, "name": "Red"}
    return {"token": found | more}


class FakeKeystone:
    """Answers as a test says, and counts what it is asked."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.now = START
        self.logins: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.known: dict[str, dict[str, Any]] = {}
        self.expired: set[str] = set()
        self.valid_login: str | None = None
        self.failure: httpx.Response | Exception | None = None
        (folder / "secret").write_text("s3cret\n")
        if "application_credential_id" not in settings:
            settings["username"] = "weft"
        told = KeystoneSettings(auth_url="http://keystone:5000/v3/", secret_file=folder / "secret", **settings)
        remote = Remote("Keystone", transport=httpx.MockTransport(self._answer))
        self.tokens = KeystoneTokens(told, remote, lambda: self.now)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v3/auth/tokens"
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            return httpx.Response(self.failure.status_code, content=self.failure.content)
        if request.method == "POST":
            self.logins.append(msgspec.json.decode(request.content))
            self.valid_login = f"own-{len(self.logins)}"
            return httpx.Response(201, json=described("service"), headers={"X-Subject-Token": self.valid_login})
        if request.headers["X-Auth-Token"] != self.valid_login:
            return httpx.Response(401)
        token = request.headers["X-Subject-Token"]
        self.asked.append(token)
        if token not in self.known or (token in self.expired and "allow_expired" not in request.url.params):
            return httpx.Response(404)
        return httpx.Response(200, json=self.known[token])

    async def caller_of(self, token: str, service: str | None = None) -> Caller | None:
        return await self.tokens.caller_of(Credential(token, service))


@pytest.fixture
def keystone(tmp_path: Path) -> FakeKeystone:
    return FakeKeystone(tmp_path)


@pytest.mark.parametrize(
    ("answer", "project", "roles"),
    [
        (described("member", "reader"), "red", {Role.MEMBER, Role.READER}),
        (described("admin", "manager", "member", "reader"), "red", {Role.ADMIN, Role.MEMBER, Role.READER}),
        (described("service"), "red", {Role.SERVICE}),
        (described("node", "boss"), "red", set()),
        (described("admin", project=None, system={"all": True}), None, {Role.ADMIN}),
        (described("admin", project=None, domain={"id": "default"}), None, set()),
        (described(project=None), None, set()),
    ],
)
async def test_scope_and_roles_are_those_of_the_token(
    keystone: FakeKeystone, answer: dict[str, Any], project: str | None, roles: set[Role]
) -> None:
    keystone.known["t"] = answer
    assert await keystone.caller_of("t") == User(project_id=project, user_id="ann", roles=frozenset(roles))


async def test_a_token_is_asked_for_once_a_while_and_never_after_its_end(keystone: FakeKeystone) -> None:
    keystone.known["t"] = described("member")
    for _ in range(3):
        await keystone.caller_of("t")
    assert (keystone.asked, len(keystone.logins)) == (["t"], 1)
    keystone.now += 61
    await keystone.caller_of("t")
    assert len(keystone.asked) == 2
    keystone.now = START + 3590
    await keystone.caller_of("t")
    del keystone.known["t"]
    keystone.now += 11
    with pytest.raises(Unauthenticated, match="does not know the token"):
        await keystone.caller_of("t")


async def test_a_token_that_cannot_be_keystones_is_not_shown_to_it(keystone: FakeKeystone) -> None:
    assert len(new_token()) == TOKEN_LENGTH
    assert await keystone.caller_of(new_token()) is None
    with pytest.raises(Unauthenticated):
        await keystone.caller_of("smörgås")
    assert keystone.asked == []


async def test_a_service_passes_on_requests_of_users_whose_tokens_expired(keystone: FakeKeystone) -> None:
    keystone.known = {"t": described("member"), "nova": described("service", project="services")}
    keystone.expired.add("t")
    found = await keystone.caller_of("t", "nova")
    assert found == User(project_id="red", user_id="ann", roles=frozenset({Role.MEMBER, Role.SERVICE}))
    with pytest.raises(Unauthenticated):
        await keystone.caller_of("t")
    keystone.known["friend"] = described("member")
    with pytest.raises(Unauthenticated):
        await keystone.caller_of("t", "friend")
    with pytest.raises(Unauthenticated):
        await keystone.caller_of("t", "unknown")


async def test_the_servers_own_token_is_renewed_before_its_end_and_when_it_has_gone_bad(keystone: FakeKeystone) -> None:
    keystone.known["t"] = described("member")
    await keystone.caller_of("t")
    keystone.now += 3300
    await keystone.caller_of("t")
    assert len(keystone.logins) == 2
    keystone.now = START + 61 + 3300
    keystone.valid_login = "of-after-a-restart"
    await keystone.caller_of("t")
    assert len(keystone.logins) == 3


async def test_the_server_logs_in_with_a_password_or_an_application_credential(tmp_path: Path) -> None:
    for settings in ({}, {"application_credential_id": "cred"}):
        keystone = FakeKeystone(tmp_path, **settings)
        keystone.known["t"] = described("member")
        await keystone.caller_of("t")
        auth = keystone.logins[0]["auth"]
        if settings:
            assert auth["identity"]["application_credential"] == {"id": "cred", "secret": "s3cret"}
            assert "scope" not in auth
        else:
            assert auth["identity"]["password"]["user"]["password"] == "s3cret"
            assert auth["scope"]["project"] == {"name": "service", "domain": {"name": "Default"}}


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.Response(500),
        httpx.Response(403),
        httpx.Response(200, content=b"{}"),
        httpx.Response(200, content=b"x" * (2 << 20)),
    ],
)
async def test_what_keystone_does_not_answer_is_nobodys_fault_and_passes(keystone: FakeKeystone, failure: Any) -> None:
    keystone.known = {"t": described("member"), "u": described("member")}
    await keystone.caller_of("t")
    keystone.failure = failure
    with capture_logs(), pytest.raises(Transient, match="Keystone"):
        await keystone.caller_of("u")
    assert await keystone.caller_of("t") is not None
    keystone.failure = None
    assert await keystone.caller_of("u") is not None


async def test_refused_credentials_of_the_server_are_not_tried_without_pause(keystone: FakeKeystone) -> None:
    keystone.failure = httpx.Response(401)
    keystone.known["t"] = described("member")
    with capture_logs() as logs:
        for _ in range(5):
            with pytest.raises(Transient):
                await keystone.caller_of("t")
    assert [each["event"] for each in logs] == ["keystone_login_refused"]
    keystone.failure = None
    keystone.now += LOGIN_PAUSE_S
    assert await keystone.caller_of("t") is not None


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({}, "username or application_credential_id"),
        ({"username": "u", "application_credential_id": "c"}, "one of them"),
        ({"username": "u", "roles": {"x": "node"}}, "no role of Keystone can mean 'node'"),
        ({"username": "u", "roles": {"x": "boss"}}, "boss"),
    ],
)
def test_settings_that_cannot_work_are_refused(told: dict[str, Any], named: str) -> None:
    document = {"auth_url": "http://k", "secret_file": "/s"} | told
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(document, KeystoneSettings, dec_hook=lambda kind, value: kind(value))


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = KeystoneSettings(auth_url="http://k", secret_file=tmp_path / "nosuch", username="weft")
    with pytest.raises(Invalid, match="nosuch"):
        KeystoneTokens(settings, Remote("Keystone"), lambda: START)
