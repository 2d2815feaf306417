"""Between the processes of one server: what only the first of them can answer is asked of it.

It listens on a socket without a file, whose name anybody on the machine may read; so who asks shows a secret that the
processes have from their parent, and is an administrator: whether the caller may ask was decided before.
"""

import hmac
import secrets
import socket
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from weft.api.access import user_of
from weft.api.answers import header, read_body
from weft.api.routing import Operation
from weft.model.errors import Transient

TIMEOUT_S = 60.0
BACKLOG = 256
_SECRET = b"x-weft-relay"
_USER = b"x-weft-user"
_KEPT = ("content-type", "retry-after")
"""Headers of an answer that are handed on."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Where the first process is asked, and with what; made before the processes are forked."""

    name: str
    secret: str

    @classmethod
    def new(cls) -> "Relay":
        """Return one that nobody else has."""
        return cls(f"\0weft/{secrets.token_hex(8)}", secrets.token_hex(32))

    def listen(self) -> socket.socket:
        """Open the first process' end."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.name)
        listener.listen(BACKLOG)
        return listener

    def asked_for(self, scope: Scope) -> str | None:
        """Return the user for whom another process of the server makes a request; None if none of them makes it."""
        if scope.get("server") is not None:  # what uvicorn knows of every socket but one without a file
            return None
        asked = hmac.compare_digest(header(scope, _SECRET) or "", self.secret)
        return unquote(header(scope, _USER) or "") if asked else None


class RelayedOperations:
    """Operations whose requests are handed on to the first process."""

    def __init__(self, relay: Relay) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=relay.name),
            base_url="http://weft",
            headers={_SECRET.decode(): relay.secret},
            timeout=TIMEOUT_S,
        )

    def of(self, operation: Operation) -> Operation:
        """Return an operation that asks the first process."""
        return replace(operation, handler=self._ask)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, request: Request) -> Response:
        """Hand a request on, and return its answer."""
        kind = header(request.scope, b"content-type")
        kept_kind = {} if kind is None else {"content-type": kind}
        try:
            answer = await self._client.request(
                request.method,
                request.url.path,
                params=request.scope["query_string"],
                content=await read_body(request),
                headers={_USER.decode(): quote(user_of(request).user_id), **kept_kind},
            )
        except httpx.TransportError as error:
            message = f"the process of this server that runs the controllers does not answer: {error}"
            raise Transient(message, retry_after_s=1.0) from error
        kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        return Response(answer.content, answer.status_code, kept)
