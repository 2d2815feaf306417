"""JSON Web Tokens: what is proven, what is refused, what the claims make of a caller, and keys that change."""

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from structlog.testing import capture_logs

from weft.api.access import NodeAgent, Role, Unauthenticated, User
from weft.api.auth.credential import Credential
from weft.api.auth.json_web_token import Issuer, JwtSettings, JwtTokens, issuer_of
from weft.api.auth.key_set import MAX_AGE_S, MIN_PAUSE_S, STALE_AGE_S, KeyUrl, parse_keys
from weft.api.auth.remote import Remote
from weft.model.errors import Invalid, Transient
from weft.model.ids import NodeName

ISSUER = "https://login.example"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def public(key: Any, kid: str | None) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    found: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return found | ({"kid": kid} if kid else {})


def key_set(**keys: Any) -> bytes:
    return json.dumps({"keys": [public(key, kid) for kid, key in keys.items()]}).encode()


def token(key: Any = RSA, kid: str | None = "a", algorithm: str = "RS256", **claims: Any) -> str:
    usual = {"iss": ISSUER, "aud": "weft", "sub": "ann", "exp": time.time() + 600}
    usual |= {"project_id": "red", "roles": ["member"]}
    said = {name: value for name, value in (usual | claims).items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(a=RSA, b=EC))
    return path


def tokens_of(settings: JwtSettings) -> JwtTokens:
    return JwtTokens({settings.issuer: issuer_of(settings, time.time)}, time.time)


def settings_of(keys: Path, **settings: Any) -> JwtSettings:
    return JwtSettings(issuer=ISSUER, audience="weft", jwks_file=keys, **settings)


GOOD = token()


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A good token of which some characters are others."""
    at = draw(st.integers(0, len(GOOD) - 1))
    return GOOD[:at] + draw(st.text(max_size=3)) + GOOD[at + draw(st.integers(0, 3)) :]


MEMBER = User(project_id="red", user_id="ann", roles=frozenset({Role.MEMBER}))


@pytest.mark.parametrize(("key", "kid", "algorithm"), [(RSA, "a", "RS256"), (EC, "b", "ES256")], ids=["RS256", "ES256"])
async def test_a_token_that_its_issuer_signed_is_its_users(keys: Path, key: Any, kid: str, algorithm: str) -> None:
    source = tokens_of(settings_of(keys))
    for _ in range(2):  # proven, then remembered
        assert await source.caller_of(Credential(token(key, kid, algorithm))) == MEMBER


@pytest.mark.parametrize(
    "bad",
    [
        token(OTHER_RSA),
        token(kid="nosuch"),
        token(kid=None),  # of two keys, either
        token(kid="b"),
        token(EC, "a", "ES256"),
        token(algorithm="RS384"),
        token("a-secret-of-more-than-thirty-two-bytes", "a", "HS256"),
        token(None, "a", "none"),
        token(exp=time.time() - 60),
        token(exp=None),
        token(exp="soon"),
        token(exp=float("inf")),
        token(nbf=time.time() + 86_400),
        token(aud="another"),
        token(aud=None),
        token(sub=None),
        token(sub=""),
        token(roles=["node"]),
        token(roles=["node"], node=5),
        token()[:-4] + "AAAA",
    ],
)
async def test_any_other_token_of_the_issuer_is_refused(keys: Path, bad: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await tokens_of(settings_of(keys)).caller_of(Credential(bad))
    assert bad.rpartition(".")[2] not in caught.value.message or bad.endswith(".")


@pytest.mark.parametrize("foreign", ["opaque", "a.b", "a.b.c", "..", token(iss="https://other"), token(iss=None)])
async def test_what_no_trusted_issuer_made_is_left_to_others(keys: Path, foreign: str) -> None:
    assert await tokens_of(settings_of(keys)).caller_of(Credential(foreign)) is None


@given(st.one_of(st.text(), st.lists(st.text(), min_size=3, max_size=3).map(".".join), mutated()))
@settings_of_hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_for_a_token_is_refused_or_left_to_others(keys: Path, shown: str) -> None:
    source = tokens_of(settings_of(keys))
    with contextlib.suppress(Unauthenticated):
        assert asyncio.run(source.caller_of(Credential(shown))) in (None, MEMBER)


@pytest.mark.parametrize(
    ("settings", "claims", "caller"),
    [
        ({}, {"roles": "reader service unknown"}, {Role.READER, Role.SERVICE}),
        ({}, {"roles": ["boss", 5]}, set()),
        ({}, {"roles": None}, set()),
        ({"roles_claim": "realm.roles"}, {"realm": {"roles": ["admin"]}}, {Role.ADMIN}),
        ({"roles_claim": "realm.roles.x"}, {"realm": {"roles": ["admin"]}}, set()),
        ({"roles_claim": "https://a.b/roles"}, {"https://a.b/roles": ["admin"]}, {Role.ADMIN}),
        ({"roles": {"net-ops": Role.ADMIN}}, {"roles": ["net-ops", "member"]}, {Role.ADMIN}),
    ],
)
async def test_roles_are_read_from_where_the_settings_say(
    keys: Path, settings: dict[str, Any], claims: dict[str, Any], caller: set[Role]
) -> None:
    found = await tokens_of(settings_of(keys, **settings)).caller_of(Credential(token(**claims)))
    assert found == User(project_id="red", user_id="ann", roles=frozenset(caller))


async def test_user_project_and_node_are_claims_too(keys: Path) -> None:
    source = tokens_of(settings_of(keys, user_claim="email", project_claim="tenant.id"))
    found = await source.caller_of(Credential(token(email="a@b", tenant={"id": "blue"})))
    assert found == User(project_id="blue", user_id="a@b", roles=frozenset({Role.MEMBER}))
    found = await source.caller_of(Credential(token(email="a@b", tenant=7)))
    assert found == User(project_id=None, user_id="a@b", roles=frozenset({Role.MEMBER}))
    agent = await source.caller_of(Credential(token(roles=["node"], node="node1")))
    assert agent == NodeAgent(NodeName("node1"))


def test_keys_that_could_make_tokens_are_not_taken() -> None:
    private = json.loads(RSAAlgorithm.to_jwk(RSA))
    for entry in ({"kty": "oct", "k": "c2VjcmV0"}, private, public(RSA, "a") | {"use": "enc"}, {"kty": "odd"}, {}):
        with pytest.raises(Invalid, match="no public key"):
            parse_keys(json.dumps({"keys": [entry]}).encode())
    with pytest.raises(Invalid, match="no JSON Web Key Set"):
        parse_keys(b"[]")


def test_a_file_of_keys_that_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"nosuch\.json"):
        tokens_of(settings_of(tmp_path / "nosuch.json"))


class Provider:
    """An identity provider that serves keys; it counts how often it is asked, and answers as a test says."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.asked: list[str] = []
        self.answers: dict[str, httpx.Response | Exception] = {}
        remote = Remote(f"the issuer {ISSUER}", transport=httpx.MockTransport(self._answer))
        settings = JwtSettings(issuer=ISSUER, audience="weft")
        issuer = Issuer(settings, KeyUrl(ISSUER, None, remote, lambda: self.now))
        self.tokens = JwtTokens({ISSUER: issuer}, lambda: self.now)
        self.says("/.well-known/openid-configuration", {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"})
        self.serves(a=RSA)

    def says(self, path: str, document: object) -> None:
        self.answers[path] = httpx.Response(200, json=document)

    def serves(self, **keys: Any) -> None:
        self.answers["/keys"] = httpx.Response(200, content=key_set(**keys))

    def fails(self, how: httpx.Response | Exception) -> None:
        self.answers["/keys"] = how

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        found = self.answers[request.url.path]
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, content=found.content)

    async def caller_of(self, shown: str) -> object:
        return await self.tokens.caller_of(Credential(shown))


async def test_keys_are_found_by_the_issuers_metadata_and_fetched_once() -> None:
    provider = Provider()
    for number in range(3):
        assert await provider.caller_of(token(jti=str(number))) == MEMBER
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_a_new_key_is_fetched_when_a_token_names_it_and_a_withdrawn_one_is_not_believed() -> None:
    provider = Provider()
    assert await provider.caller_of(token()) == MEMBER
    provider.serves(c=OTHER_RSA)
    provider.now += MIN_PAUSE_S
    assert await provider.caller_of(token(OTHER_RSA, "c")) == MEMBER
    with pytest.raises(Unauthenticated, match="names the key 'a'"):
        await provider.caller_of(token(jti="another"))


async def test_a_key_that_is_withdrawn_silently_is_believed_no_longer_than_keys_are_kept() -> None:
    provider = Provider()
    assert await provider.caller_of(token()) == MEMBER
    provider.serves(c=OTHER_RSA)
    assert await provider.caller_of(token(jti="x")) == MEMBER
    provider.now += MAX_AGE_S + 1
    with pytest.raises(Unauthenticated):
        await provider.caller_of(token())


async def test_unknown_keys_do_not_make_the_issuer_be_asked_without_end() -> None:
    provider = Provider()
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await provider.caller_of(token(kid=f"unknown-{number}"))
    assert provider.asked.count("/keys") == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.Response(500),
        httpx.Response(200, content=b"no json"),
        httpx.Response(200, content=b"x" * (2 << 20)),
    ],
)
async def test_an_issuer_that_fails_is_waited_for_and_old_keys_stay_good_for_a_day(failure: Any) -> None:
    provider = Provider()
    provider.fails(failure)
    for _ in range(2):
        with pytest.raises(Transient, match=r"https://login\.example"):
            await provider.caller_of(token())
    assert provider.asked.count("/keys") == 1
    provider.serves(a=RSA)
    provider.now += MIN_PAUSE_S
    assert await provider.caller_of(token()) == MEMBER
    provider.fails(failure)
    provider.now += STALE_AGE_S
    with capture_logs() as logs:
        assert await provider.caller_of(token(jti="y")) == MEMBER
    assert [each["event"] for each in logs] == ["keys_not_fetched"]
    provider.now += MIN_PAUSE_S
    with pytest.raises(Transient):
        await provider.caller_of(token(jti="z"))


async def test_metadata_of_another_issuer_are_not_believed() -> None:
    provider = Provider()
    provider.says("/.well-known/openid-configuration", {"issuer": "https://other", "jwks_uri": f"{ISSUER}/keys"})
    with pytest.raises(Transient, match="calls itself 'https://other'"):
        await provider.caller_of(token())
