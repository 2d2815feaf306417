"""The public keys by which an issuer's tokens are proven: a JSON Web Key Set (RFC 7517), of a file or of a URL."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import jwt
import msgspec
import structlog

from weft.api.access import Unauthenticated
from weft.api.auth.remote import Remote
from weft.api.auth.watched_file import WatchedFile
from weft.model.errors import Invalid, Transient

log = structlog.get_logger()

MAX_AGE_S = 600.0
"""Keys of a URL are fetched again after so long: one that the issuer withdrew is believed no longer than this..."""
STALE_AGE_S = 86_400.0
"""...unless the issuer does not answer, and then for no longer than this."""
MIN_PAUSE_S = 10.0
"""Between two fetches, however many tokens name a key that is not known."""

Keys = Mapping[str | None, jwt.PyJWK]


class KeySet(Protocol):
    """The keys of one issuer."""

    async def key(self, kid: str | None) -> jwt.PyJWK:
        """Return the key that a token names; raise Unauthenticated if there is none, Transient if none is known now."""

    async def close(self) -> None:
        """Close what is open."""


class KeyFile:
    """Keys that stand in a file, which is read again when it changes."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Read the file; raise Invalid if it is no key set. `clock` counts seconds."""
        self._file = WatchedFile(path, _read, clock)

    async def key(self, kid: str | None) -> jwt.PyJWK:
        """Return a key; raise Unauthenticated if the file has none of that id."""
        return _named(self._file.current(), kid)

    async def close(self) -> None:
        """Nothing is open."""


class KeyUrl:
    """Keys that the issuer serves; fetched when they are first needed, when old, and when an unknown one is named."""

    def __init__(self, issuer: str, url: str | None, remote: Remote, clock: Callable[[], float]) -> None:
        """`url` None: as the issuer's metadata say (OpenID Connect Discovery 1.0). `clock` counts seconds."""
        self._issuer = issuer
        self._url = url
        self._remote = remote
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at = self._tried_at = -STALE_AGE_S
        self._fetching = asyncio.Lock()

    async def key(self, kid: str | None) -> jwt.PyJWK:
        """Return a key; raise Unauthenticated if the issuer has none of that id, Transient if it has to be asked
        and does not answer."""
        if self._fetch_is_due(kid):
            async with self._fetching:
                if self._fetch_is_due(kid):  # unless someone else has just done it
                    await self._fetch()
        if self._clock() - self._fetched_at > STALE_AGE_S:
            raise self._remote.failure("has not said its keys for too long")
        return _named(self._keys, kid)

    async def close(self) -> None:
        """Close the connections."""
        await self._remote.close()

    def _fetch_is_due(self, kid: str | None) -> bool:
        now = self._clock()
        wanted = not _has(self._keys, kid) or now - self._fetched_at > MAX_AGE_S
        return wanted and now - self._tried_at >= MIN_PAUSE_S

    async def _fetch(self) -> None:
        self._tried_at = self._clock()
        try:
            keys = parse_keys(await self._get(self._url or await self._discover()))
        except (Transient, Invalid) as error:
            if not self._keys:
                raise self._remote.failure(f"gives no keys: {error.message}") from error
            log.warning("keys_not_fetched", issuer=self._issuer, reason=error.message)
        else:
            self._keys, self._fetched_at = keys, self._tried_at
            log.info("keys_fetched", issuer=self._issuer, keys=len(keys))

    async def _discover(self) -> str:
        body = await self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            found = msgspec.json.decode(body, type=_Metadata)
        except msgspec.MsgspecError as error:
            raise self._remote.failure(f"has metadata that cannot be read ({error})") from None
        if found.issuer != self._issuer:
            raise self._remote.failure(f"calls itself '{found.issuer}'")
        return found.jwks_uri

    async def _get(self, url: str) -> bytes:
        status, _, body = await self._remote.ask("GET", url, headers={"Accept": "application/json"})
        if status != 200:
            raise self._remote.failure(f"answers {status} to {url}")
        return body


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


def parse_keys(document: bytes) -> Keys:
    """Return the keys of a key set by their ids; raise Invalid if there is none that tokens can be proven with.

    Symmetric keys are left out: whoever can prove a token with one could also make one.
    """
    try:
        entries = msgspec.json.decode(document, type=_Document).keys
    except msgspec.MsgspecError as error:
        raise Invalid(f"this is no JSON Web Key Set: {error}") from None
    found: dict[str | None, jwt.PyJWK] = {}
    for entry in entries:
        if entry.get("kty") == "oct" or entry.get("use", "sig") != "sig" or "d" in entry:
            continue
        try:
            key = jwt.PyJWK.from_dict(entry)
        except jwt.PyJWTError:
            continue  # of a kind that this library does not know; the others may be enough
        found[key.key_id] = key
    if not found:
        raise Invalid("this JSON Web Key Set holds no public key that signs tokens")
    return found


class _Document(msgspec.Struct):
    keys: list[dict[str, object]]


def _read(path: Path) -> Keys:
    try:
        return parse_keys(path.read_bytes())
    except OSError as error:
        raise Invalid(f"cannot read the keys of {path}: {error.strerror}") from None
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}") from None


def _has(keys: Keys, kid: str | None) -> bool:
    return kid in keys or (kid is None and len(keys) == 1)  # RFC 7515, section 4.1.4: the id may be left out


def _named(keys: Keys, kid: str | None) -> jwt.PyJWK:
    if not _has(keys, kid):
        raise Unauthenticated(f"the token names the key '{kid}', which its issuer does not have")
    return keys[kid] if kid in keys else next(iter(keys.values()))
