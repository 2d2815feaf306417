"""JSON Web Tokens (RFC 7519) of issuers that the server trusts, such as an OpenID Connect provider."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jwt
import msgspec

from weft.api.access import Caller, NodeAgent, Role, Unauthenticated, User, digest
from weft.api.auth.credential import Credential
from weft.api.auth.key_set import KeyFile, KeySet, KeyUrl
from weft.api.auth.remote import Remote
from weft.api.auth.token_cache import Proven, TokenCache
from weft.model.ids import NodeName

CACHE_AGE_S = 60.0
"""How long a proven token is believed without being proven again, if it does not expire before."""

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Those with a public and a private key. "none" and the symmetric ones are not to be had."""


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trusted issuer; ``[[jwt]]`` in the server's file."""

    issuer: str
    """The claim ``iss`` of its tokens."""
    audience: str
    """What its tokens must name in ``aud``, so that one made for another service is none for this."""
    jwks_file: Path | None = None
    """Its keys; else they are fetched."""
    jwks_url: str | None = None
    """Where it serves its keys. None, and no file: its metadata under ``/.well-known/openid-configuration`` say."""
    ca_file: Path | None = None
    """Authorities of the URL's certificate; None: the system's."""
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
    user_claim: str = "sub"
    """Claims are named as a path: ``realm_access.roles`` is ``roles`` in ``realm_access``."""
    project_claim: str = "project_id"
    roles_claim: str = "roles"
    """A list of names, or one string of names separated by blanks."""
    node_claim: str = "node"
    """Which node's agent it is, if its roles say that it is one."""
    roles: dict[str, Role] = msgspec.field(default_factory=lambda: {role.value: role for role in Role})
    """What the issuer's names of roles mean here; all others mean nothing."""
    leeway_s: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    """By how much clocks may differ."""

    def __post_init__(self) -> None:
        if self.jwks_file is not None and self.jwks_url is not None:
            raise ValueError("give jwks_file or jwks_url, not both")


class JwtTokens:
    """The tokens of all trusted issuers."""

    def __init__(self, issuers: Mapping[str, "Issuer"], clock: Callable[[], float]) -> None:
        """`issuers` by the name that their tokens give. `clock` tells Unix time."""
        self._issuers = issuers
        self._cache = TokenCache(CACHE_AGE_S, clock)

    async def caller_of(self, credential: Credential) -> Caller | None:
        """Return whose token it is; None if it is no JSON Web Token, or of an issuer that is not trusted here."""
        token = credential.token
        if token.count(".") != 2:
            return None
        issuer = self._issuers.get(_issuer_of(token) or "")
        if issuer is None:
            return None
        return await self._cache.caller_of(digest(token), lambda: issuer.prove(token))

    async def close(self) -> None:
        """Close connections to the issuers."""
        for issuer in self._issuers.values():
            await issuer.close()


class Issuer:
    """One trusted issuer."""

    def __init__(self, settings: JwtSettings, keys: KeySet) -> None:
        self._settings = settings
        self._keys = keys

    async def prove(self, token: str) -> Proven:
        """Return whose token it is; raise Unauthenticated if it is not valid, Transient if the keys cannot be had."""
        settings = self._settings
        try:
            key = await self._keys.key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key.key,
                algorithms=settings.algorithms,
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
            expires_at = float(claims["exp"]) + settings.leeway_s
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as error:  # a key of another kind: TypeError
            raise Unauthenticated(f"the token of {settings.issuer} is not valid: {error}") from None
        return Proven(self._caller(claims), expires_at)

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        settings = self._settings
        roles = frozenset(
            settings.roles[name] for name in _names(_claim(claims, settings.roles_claim)) if name in settings.roles
        )
        if Role.NODE in roles:
            node = _claim(claims, settings.node_claim)
            if not isinstance(node, str) or not node:
                raise Unauthenticated(f"the token is a node's, but its claim '{settings.node_claim}' names none")
            return NodeAgent(NodeName(node))
        user, project = _claim(claims, settings.user_claim), _claim(claims, settings.project_claim)
        if not isinstance(user, str) or not user:
            raise Unauthenticated(f"the token's claim '{settings.user_claim}' names no user")
        return User(project_id=project if isinstance(project, str) and project else None, user_id=user, roles=roles)

    async def close(self) -> None:
        """Close connections to the issuer."""
        await self._keys.close()


def issuer_of(settings: JwtSettings, clock: Callable[[], float]) -> Issuer:
    """Return an issuer as the settings say; raise Invalid if a file that they name cannot be read."""
    if settings.jwks_file is not None:
        return Issuer(settings, KeyFile(settings.jwks_file, clock))
    remote = Remote(f"the issuer {settings.issuer}", ca_file=settings.ca_file)
    return Issuer(settings, KeyUrl(settings.issuer, settings.jwks_url, remote, clock))


def _issuer_of(token: str) -> str | None:
    """Return what a token says of its issuer, before anything of it is proven."""
    try:
        found = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """Return a claim by its name, or else by its path."""
    found: object = claims
    for name in [path] if path in claims else path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _names(found: object) -> list[str]:
    if isinstance(found, str):
        return found.split()
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
