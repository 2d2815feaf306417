"""Bodies in and out: reading a request's JSON within bounds, and answering with JSON or with an error's body.

Neutron's paths answer errors as ``{"NeutronError": {"type", "message", "detail"}}``, all others as
``{"error": {"kind", "message"}}``.
"""

import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from weft.model.errors import Conflict, Forbidden, Invalid, NotFound, Transient, WeftError

MAX_BODY_BYTES = 1 << 20
"""How large a body may be, if the server was not told otherwise."""
BODY_LIMIT = "weft.max_body_bytes"
"""Where a request's scope holds how large its body may be."""
MAX_DEPTH = 100
"""How deep objects and lists of a body may be in each other: whoever reads what is stored must be able to, too."""

T = TypeVar("T")

_NUL = b"\\u0000"
_STEPS = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
_NO_BRACKETS = bytes(each for each in range(256) if each not in _STEPS)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_JSON = b"application/json"

_STATUS_BY_KIND = {
    "Unauthorized": 401,
    "HTTPMethodNotAllowed": 405,
    "RevisionNumberConstraintFailed": 412,
    "RequestTooLarge": 413,
    "IdempotencyKeyReused": 422,
    "TooManyRequests": 429,
}
"""Statuses that are finer than the error's class."""

_STATUS_BY_CLASS: tuple[tuple[type[WeftError], int], ...] = (
    (Invalid, 400),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Transient, 503),
)

INTERNAL = WeftError(
    "the server failed at this request; its log says why, under this answer's x-openstack-request-id",
    kind="InternalServerError",
)


ANSWER = "weft.answer"
"""Where a request's scope holds what sends an answer as a whole: status, headers, body. Not every server has it."""


class JsonAnswer(Response):
    """A JSON answer; `content` is anything msgspec encodes."""

    media_type = "application/json"

    def __init__(self, content: object, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Make the headers at once: Starlette's way there costs as much as encoding the body."""
        self.status_code = status_code
        self.background = None
        self.body = msgspec.json.encode(content)
        more = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in (headers or {}).items()]
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", _JSON), *more]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        at_once = scope.get(ANSWER)
        if at_once is None or not at_once(self.status_code, self.raw_headers, self.body):
            await super().__call__(scope, receive, send)


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of a name, in lower case; Starlette's mapping costs ten times that."""
    for found, value in scope["headers"]:
        if found == name:
            return str(value.decode("latin-1"))
    return None


def no_content() -> Response:
    """Return the answer to a deletion."""
    return Response(status_code=204)


def status_of(error: WeftError) -> int:
    """Return the HTTP status that says `error`."""
    by_kind = _STATUS_BY_KIND.get(error.kind)
    return by_kind or next((status for kind, status in _STATUS_BY_CLASS if isinstance(error, kind)), 500)


def error_answer(error: WeftError, path: str) -> Response:
    """Return the answer that says `error` in the manner of the API that `path` belongs to."""
    body: object
    if path.startswith("/v2.0"):
        body = {"NeutronError": {"type": error.kind, "message": error.message, "detail": ""}}
    else:
        body = {"error": {"kind": error.kind, "message": error.message}}
    headers = {}
    status = status_of(error)
    if isinstance(error, Transient):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JsonAnswer(body, status_code=status, headers=headers)


async def read_body(request: Request) -> bytes:
    """Return a request's body; raise Invalid if it is larger than the server's limit, before all of it is read."""
    limit: int = request.scope[BODY_LIMIT]
    declared = header(request.scope, b"content-length") or "0"
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":  # also of who lets a body not come: weft.api.connection
            raise Invalid("the connection was closed before the whole body had come")
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(limit: int) -> Invalid:
    return Invalid(f"the body is larger than {limit} bytes: send it in smaller parts", kind="RequestTooLarge")


async def read_json(request: Request, kind: type[T]) -> T:
    """Return a request's JSON body as a value of type `kind`; raise Invalid naming the field that is wrong."""
    body = await read_body(request)
    try:
        found = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"the body is not as it should be: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not body:
            raise Invalid("the request has no body: send a JSON object, {} if there is nothing to say") from None
        raise Invalid(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise _too_deep() from None
    if _is_too_deep(body):
        raise _too_deep()
    if _NUL in body and _has_nul(msgspec.json.decode(body)):
        raise Invalid("the body holds the character U+0000, which no database keeps in a text")
    return found


def _too_deep() -> Invalid:
    return Invalid(f"the body is nested too deeply: objects and lists may be {MAX_DEPTH} deep in each other")


def _is_too_deep(body: bytes) -> bool:
    """Tell whether a valid JSON text is deeper than MAX_DEPTH.

    Brackets in strings are counted, too, until that decides: most bodies need not be looked at that closely.
    """
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH or _depth(body) <= MAX_DEPTH:
        return False
    return _depth(_STRING.sub(b"", body)) > MAX_DEPTH


def _depth(text: bytes) -> int:
    """Return how deep brackets of a text are in each other."""
    return max(accumulate(map(_STEPS.__getitem__, text.translate(None, _NO_BRACKETS))))


def _has_nul(value: object) -> bool:
    """Tell whether a text somewhere in a JSON value has the one character that PostgreSQL's texts may not have."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(map(_has_nul, value))
