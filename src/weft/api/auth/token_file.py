"""Tokens that stand in a file: one a line, with the roles and the project that each is good for.

A line that holds a token alone is an administrator's. Otherwise ``key=value`` follow, separated by blanks::

    sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    9PkYq0z3...  roles=member project=red user=ci expires=2027-01-01
    Xw71c0aa...  node=node1
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from weft.api.access import ADMINISTRATOR, Caller, NodeAgent, Role, Unauthenticated, User, digest
from weft.api.auth.credential import Credential
from weft.api.auth.watched_file import WatchedFile
from weft.model.errors import Invalid
from weft.model.ids import NodeName

_HASHED = re.compile(r"sha256:([0-9a-f]{64})")
_KEYS = frozenset({"roles", "project", "user", "node", "expires"})


@dataclass(frozen=True, slots=True)
class FileToken:
    """What one line of a token file grants."""

    caller: Caller
    expires_at: float | None = None
    """Unix time in seconds; None: never."""


class AdminTokens:
    """Tokens that are all administrators'."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = frozenset(map(digest, tokens))

    async def caller_of(self, credential: Credential) -> Caller | None:
        """Return an administrator if it is one's token."""
        return ADMINISTRATOR if digest(credential.token) in self._digests else None

    async def close(self) -> None:
        """Nothing is open."""


class TokenFile:
    """The tokens of a file, which is read again when it changes."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Read the file; raise Invalid if it cannot be read or a line is wrong. `clock` tells Unix time."""
        self._clock = clock
        self._file = WatchedFile(path, read_token_file, clock)

    async def caller_of(self, credential: Credential) -> Caller | None:
        """Return whose token it is; None if it is not in the file. Raise Unauthenticated if it has expired."""
        found = self._file.current().get(digest(credential.token))
        if found is None:
            return None
        if found.expires_at is not None and found.expires_at <= self._clock():
            raise Unauthenticated("the token has expired; get a new one from this server's operator")
        return found.caller

    async def close(self) -> None:
        """Nothing is open."""


def read_token_file(path: Path) -> dict[str, FileToken]:
    """Return what each token of a file grants, by its digest; raise Invalid naming the line that is wrong."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read the token file {path}: {error}") from None
    found: dict[str, FileToken] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key, token = parse_token(line)
        except Invalid as error:
            raise Invalid(f"line {number} of the token file {path}: {error.message}") from None
        if key in found:
            raise Invalid(f"line {number} of the token file {path}: the same token stands above already")
        found[key] = token
    if not found:
        raise Invalid(f"the token file {path} holds no token: write one a line, such as `openssl rand -hex 32` makes")
    return found


def parse_token(line: str) -> tuple[str, FileToken]:
    """Read a line into a token's digest and what it grants; raise Invalid, never with the token in its text."""
    token, *words = line.split()
    hashed = _HASHED.fullmatch(token)
    key = hashed[1] if hashed else digest(token)
    settings = _settings(words)
    node = settings.get("node")
    if node is not None:
        if settings.keys() - {"node", "expires"}:
            raise Invalid("a token of a node has neither roles, project nor user: write node=NAME alone")
        return key, FileToken(NodeAgent(NodeName(node)), _expiry(settings))
    user = User(
        project_id=settings.get("project"),
        user_id=settings.get("user", f"token:{key[:12]}"),
        roles=_roles(settings.get("roles", "")) if words else frozenset({Role.ADMIN}),
    )
    if user.project_id is None and not user.is_admin:
        raise Invalid("only an administrator's token may be of no project: add project=NAME")
    return key, FileToken(user, _expiry(settings))


def _settings(words: list[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in _KEYS or not value or name in settings:
            raise Invalid(f"'{word}' is none of " + ", ".join(f"{key}=..." for key in sorted(_KEYS)) + ", each once")
        settings[name] = value
    return settings


def _roles(text: str) -> frozenset[Role]:
    known = {role.value: role for role in Role if role is not Role.NODE}
    unknown = [name for name in text.split(",") if name not in known]
    if unknown:
        wrong = f"'{unknown[0]}' is no role" if unknown[0] else "it names no role"
        raise Invalid(f"{wrong}: write roles= and, separated by commas, of {', '.join(known)}")
    return frozenset(known[name] for name in text.split(","))


def _expiry(settings: Mapping[str, str]) -> float | None:
    text = settings.get("expires")
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"expires={text} is no time: write it as 2027-01-31 or 2027-01-31T12:00:00+00:00") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
