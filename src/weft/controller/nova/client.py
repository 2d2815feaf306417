"""Nova's API, the one request of it that a network service makes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import httpx
import msgspec
import structlog

from weft.controller.nova.news import ExternalEvent
from weft.model.errors import Transient

TIMEOUT_S = 30.0
MICROVERSION = "2.76"
"""Of the compute API; the events that weft sends are older."""
UNKNOWN_SERVER = frozenset({404, 422})
"""Nova's words for: no such instance, or it is on no host yet. Neutron gives up on these, too."""

log = structlog.get_logger()


class NovaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Nova is; ``[nova]`` in the server's file. The token is that of ``[keystone]``, or of `token_file`."""

    url: str
    """``https://HOST:8774/v2.1``."""
    token_file: Path | None = None
    ca_file: Path | None = None
    """Authorities of Nova's certificate; None: the system's."""


class Token(Protocol):
    """What Nova knows this server by."""

    async def token(self, *, fresh: bool) -> str:
        """Return a token; `fresh`: not the one that was returned last, Nova refuses it."""


class FixedToken:
    """A token that was written into a file; read when it is needed, so that it may be replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self, *, fresh: bool) -> str:
        """Return the token of the file. Raises Transient if the file cannot be read."""
        del fresh
        try:
            return self._path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Transient(f"cannot read Nova's token_file {self._path}: {error}", retry_after_s=5.0) from None


class _Taken(msgspec.Struct):
    code: int = 200
    server_uuid: str = ""
    tag: str = ""
    name: str = ""


class _Answer(msgspec.Struct):
    events: list[_Taken] = []


class NovaClient:
    """Sends events."""

    def __init__(self, url: str, token: Token | None, http: httpx.AsyncClient) -> None:
        """`token` None: Nova asks for none."""
        self._url = f"{url.rstrip('/')}/os-server-external-events"
        self._token = token
        self._http = http

    async def send(self, events: Sequence[ExternalEvent]) -> None:
        """Tell Nova. What Nova says cannot be used is logged and done with; raises Transient if it is to be told again.

        Nova answers 200 or 207 with a code for each event, and 404 if it knows none of the instances.
        """
        body = msgspec.json.encode({"events": events})
        answer = await self._post(body, fresh=False)
        if answer.status_code in {401, 403}:
            answer = await self._post(body, fresh=True)
        if answer.status_code in {200, 207}:
            self._look_at(answer.content)
        elif answer.status_code in {400, 404}:
            log.warning("nova_refuses_events", status=answer.status_code, events=len(events), answer=answer.text[:300])
        else:
            message = f"Nova answers {answer.status_code} to {len(events)} events: {answer.text[:300]}"
            raise Transient(message, retry_after_s=1.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _post(self, body: bytes, *, fresh: bool) -> httpx.Response:
        headers = {"Content-Type": "application/json", "OpenStack-API-Version": f"compute {MICROVERSION}"}
        if self._token is not None:
            headers["X-Auth-Token"] = await self._token.token(fresh=fresh)
        try:
            return await self._http.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            message = f"Nova does not answer at {self._url} ({error or type(error).__name__})"
            raise Transient(message, retry_after_s=1.0) from error

    def _look_at(self, content: bytes) -> None:
        try:
            taken = msgspec.json.decode(content, type=_Answer).events
        except msgspec.MsgspecError as error:
            log.warning("nova_answer_unreadable", reason=str(error))
            return
        for each in taken:
            if each.code != 200:
                shown = log.info if each.code in UNKNOWN_SERVER else log.warning
                shown("nova_refuses_event", code=each.code, event=each.name, server=each.server_uuid, port=each.tag)


def client_of(settings: NovaSettings, token: Token | None) -> NovaClient:
    """Return the client of a configured Nova; `token` is used where the settings name no file of one."""
    verify: bool | str = True if settings.ca_file is None else str(settings.ca_file)
    http = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=verify)
    return NovaClient(settings.url, FixedToken(settings.token_file) if settings.token_file else token, http)
