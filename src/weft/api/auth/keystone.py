"""Tokens of OpenStack's Keystone (Identity API v3): each is shown to Keystone, and its answer believed for a while.

The server logs in with credentials of its own, because Keystone tells of a token only to whom it knows.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from weft.api.access import TOKEN_LENGTH, Caller, Role, Unauthenticated, User, digest
from weft.api.auth.credential import Credential
from weft.api.auth.remote import Remote
from weft.api.auth.token_cache import Proven, TokenCache
from weft.model.errors import Invalid

log = structlog.get_logger()

LOGIN_PAUSE_S = 10.0
"""Between two logins after one was refused: Keystone may lock out who fails too often."""


def _usual_roles() -> dict[str, Role]:
    return {
        "admin": Role.ADMIN,
        "manager": Role.MEMBER,
        "member": Role.MEMBER,
        "reader": Role.READER,
        "service": Role.SERVICE,
    }


class KeystoneSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keystone, and how this server logs in; ``[keystone]`` in its file.

    Either `username` or `application_credential_id` says as whom.
    """

    auth_url: str
    """``https://HOST:5000`` or ``https://HOST/identity``, with or without ``/v3``."""
    secret_file: Path
    """Holds the password, or the secret of the application credential."""
    username: str | None = None
    user_domain_name: str = "Default"
    project_name: str = "service"
    project_domain_name: str = "Default"
    application_credential_id: str | None = None
    ca_file: Path | None = None
    """Authorities of Keystone's certificate; None: the system's."""
    cache_s: float = 60.0
    """How long a token is believed without asking again; a token that is revoked stays good for as long."""
    roles: dict[str, Role] = msgspec.field(default_factory=_usual_roles)
    """What Keystone's names of roles mean here; all others mean nothing."""

    def __post_init__(self) -> None:
        if (self.username is None) == (self.application_credential_id is None):
            raise ValueError("give username or application_credential_id, one of them")
        if Role.NODE in self.roles.values():
            raise ValueError("no role of Keystone can mean 'node': its tokens do not say which")


class KeystoneTokens:
    """The tokens that one Keystone knows."""

    def __init__(self, settings: KeystoneSettings, remote: Remote, clock: Callable[[], float]) -> None:
        """`clock` tells Unix time. Raises Invalid if the file of the secret cannot be read."""
        self._settings = settings
        self._remote = remote
        self._tokens_url = _tokens_url(settings)
        self._login = login_of(settings, remote, clock)
        self._cache = TokenCache(settings.cache_s, clock)

    async def caller_of(self, credential: Credential) -> Caller | None:
        """Return whose token it is; raise Unauthenticated if Keystone does not know it.

        A service token makes a service of the user whose request is passed on, and lets the user's own have expired
        meanwhile, as Keystone's own middleware does.
        """
        if len(credential.token) == TOKEN_LENGTH:
            return None  # a node's: Keystone's are shorter or longer
        service = credential.service_token
        if service is None or not await self._is_service(service):
            return await self._cache.caller_of(digest(credential.token), lambda: self._prove(credential.token))
        return await self._cache.caller_of(
            f"passed on:{digest(credential.token)}", lambda: self._prove(credential.token, passed_on=True)
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._remote.close()

    async def _is_service(self, token: str) -> bool:
        caller = await self._cache.caller_of(digest(token), lambda: self._prove(token))
        return isinstance(caller, User) and Role.SERVICE in caller.roles

    async def _prove(self, token: str, *, passed_on: bool = False) -> Proven:
        """Ask Keystone whose token it is; `passed_on` by a service, it may have expired."""
        for fresh in (False, True):
            own = await self._login.token(fresh=fresh)
            url = self._tokens_url + "?nocatalog" + ("&allow_expired=1" if passed_on else "")
            headers = {"X-Auth-Token": own, "X-Subject-Token": _header(token)}
            status, _, body = await self._remote.ask("GET", url, headers=headers)
            if status != 401:
                break  # else our own token has gone bad before its time: get another, once
        if status == 404:
            raise Unauthenticated("Keystone does not know the token, or no longer; get a new one from it")
        if status != 200:
            log.error("keystone_refuses", status=status, answer=body[:300].decode(errors="replace"))
            raise self._remote.failure(f"answers {status} when it is shown a token")
        return self._proven(body, passed_on=passed_on)

    def _proven(self, body: bytes, *, passed_on: bool) -> Proven:
        try:
            token = msgspec.json.decode(body, type=_Answer).token
        except msgspec.MsgspecError as error:
            raise self._remote.failure(f"describes a token in a way that cannot be read ({error})") from None
        known = self._settings.roles
        roles = frozenset(known[role.name] for role in token.roles if role.name in known)
        if token.project is None and not token.system:
            roles = frozenset()  # of a domain, or of nothing: what is weft's belongs to projects
        if passed_on:
            roles |= {Role.SERVICE}
        project = token.project.id if token.project else None
        expires_at = float("inf") if passed_on or token.expires_at is None else token.expires_at.timestamp()
        return Proven(User(project_id=project, user_id=token.user.id, roles=roles), expires_at)


def _header(token: str) -> str:
    """Return a token as it may stand in a header; raise Unauthenticated for one that may not."""
    if not token.isascii() or not token.isprintable():
        raise Unauthenticated("the token holds characters that no token of Keystone has")
    return token


def login_of(settings: KeystoneSettings, remote: Remote, clock: Callable[[], float]) -> "Login":
    """Return what logs this server in. Raises Invalid if the file of the secret cannot be read."""
    return Login(_tokens_url(settings), login_body(settings), remote, clock)


def _tokens_url(settings: KeystoneSettings) -> str:
    return f"{settings.auth_url.rstrip('/').removesuffix('/v3')}/v3/auth/tokens"


class Login:
    """The server's own token, which other services of the cloud know it by."""

    def __init__(self, url: str, body: bytes, remote: Remote, clock: Callable[[], float]) -> None:
        self._url = url
        self._body = body
        self._remote = remote
        self._clock = clock
        self._token: str | None = None
        self._renew_at = 0.0
        self._pause_until = 0.0
        self._lock = asyncio.Lock()

    async def token(self, *, fresh: bool) -> str:
        """Return the token, after logging in if there is none that is good, or if a `fresh` one is wanted."""
        stale = self._token if fresh else None
        async with self._lock:
            if self._token is None or self._token == stale or self._clock() >= self._renew_at:
                self._token = None
                self._token = await self._log_in()
            return self._token

    async def _log_in(self) -> str:
        if self._clock() < self._pause_until:
            raise self._remote.failure("refuses the credentials of this server")
        headers = {"Content-Type": "application/json"}
        status, found, body = await self._remote.ask("POST", f"{self._url}?nocatalog", headers=headers, body=self._body)
        token: str | None = found.get("X-Subject-Token")
        if status != 201 or token is None:
            self._pause_until = self._clock() + LOGIN_PAUSE_S
            log.error("keystone_login_refused", status=status, answer=body[:300].decode(errors="replace"))
            raise self._remote.failure(f"answers {status} to the login of this server")
        now = self._clock()
        try:
            expires_at = msgspec.json.decode(body, type=_Answer).token.expires_at
        except msgspec.MsgspecError as error:
            raise self._remote.failure(f"describes a token in a way that cannot be read ({error})") from None
        lifetime_s = 0.0 if expires_at is None else expires_at.timestamp() - now
        self._renew_at = now + lifetime_s * 0.9
        return token


class _Named(msgspec.Struct):
    id: str
    name: str = ""


class _Token(msgspec.Struct):
    user: _Named
    expires_at: datetime | None = None
    project: _Named | None = None
    roles: list[_Named] = []
    system: dict[str, bool] | None = None


class _Answer(msgspec.Struct):
    token: _Token


def login_body(settings: KeystoneSettings) -> bytes:
    """Return the request by which the server logs in; raise Invalid if the file of its secret cannot be read."""
    try:
        secret = settings.secret_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read Keystone's secret_file {settings.secret_file}: {error}") from None
    auth: dict[str, object]
    if settings.application_credential_id is not None:
        credential = {"id": settings.application_credential_id, "secret": secret}
        auth = {"identity": {"methods": ["application_credential"], "application_credential": credential}}
    else:
        user = {"name": settings.username, "domain": {"name": settings.user_domain_name}, "password": secret}
        project = {"name": settings.project_name, "domain": {"name": settings.project_domain_name}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}
    return msgspec.json.encode({"auth": auth})
