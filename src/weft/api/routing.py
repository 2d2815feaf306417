"""From a request to its handler: who calls, whether they may, how long it took, and what an error looks like.

Every answer carries ``x-openstack-request-id``, as OpenStack's do; a failure is logged under the same id.
"""

import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from weft.api.access import CALLER, Access, authorize
from weft.api.answers import BODY_LIMIT, INTERNAL, error_answer
from weft.api.auth.authenticator import Authenticator
from weft.api.events import EventStream
from weft.api.limits import Limits
from weft.model.errors import Invalid, NotFound, WeftError

log = structlog.get_logger()

Handler = Callable[[Request], Awaitable[Response]]
Observer = Callable[[str, str, int, float], None]
"""Called after each request with method, path template, status and seconds until the answer was ready."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path, who may call it, and what answers it."""

    method: str
    path: str
    handler: Handler
    access: Access = Access.ADMINISTRATOR
    by_controllers: bool = False
    """Whether only a process that leads the fabric can answer; the first one of a server may. See weft.api.relay."""


class Endpoint:
    """All operations on one path, as an ASGI application."""

    def __init__(
        self,
        path: str,
        operations: Mapping[str, Operation],
        authenticator: Authenticator,
        limits: Limits,
        observe: Observer,
    ) -> None:
        self._path = path
        self._operations = operations
        self._authenticator = authenticator
        self._limits = limits
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        method = scope["method"]
        request_id = _new_request_id()
        try:
            response = await self._answer(method, scope, receive)
        except WeftError as error:
            response = error_answer(error, scope["path"])
        except Exception:
            log.exception("request_failed", method=method, path=scope["path"], request=request_id.decode())
            response = error_answer(INTERNAL, scope["path"])
        self._observe(method, self._path, response.status_code, time.perf_counter() - started)
        response.raw_headers.append((b"x-openstack-request-id", request_id))
        if not isinstance(response, EventStream):
            await response(scope, receive, send)
            return
        try:
            await response(scope, receive, send)
        finally:
            self._limits.end_watch(scope[CALLER])

    async def _answer(self, method: str, scope: Scope, receive: Receive) -> Response:
        operation = self._operations.get(method)
        if operation is None:
            allowed = ", ".join(sorted(self._operations))
            message = f"{method} is not possible on {scope['path']}; possible: {allowed}"
            raise Invalid(message, kind="HTTPMethodNotAllowed")
        self._limits.begin()
        try:
            if operation.access is not Access.PUBLIC:
                caller = await self._authenticator.identify(scope)
                self._limits.count(caller)
                authorize(caller, operation.access, scope)
                scope[CALLER] = caller
            scope[BODY_LIMIT] = self._limits.max_body_bytes
            response = await operation.handler(Request(scope, receive))
            if isinstance(response, EventStream):
                self._limits.begin_watch(scope[CALLER])
            return response
        finally:
            self._limits.end()


def _new_request_id() -> bytes:
    # Not uuid4: its system call gives up the interpreter's lock, and getting that back can take milliseconds.
    text = b"%032x" % random.getrandbits(128)
    return b"req-%b-%b-4%b-8%b-%b" % (text[:8], text[8:12], text[13:16], text[17:20], text[20:])


class Paths:
    """The paths of an API as an ASGI application: finds the endpoint of a request in a tree of path segments.

    Starlette's router tries one regular expression after another and calls through four layers on the way: 30 us of the
    100 that a request costs before its handler begins, and more with every path; this costs 3.
    """

    def __init__(
        self, operations: Iterable[Operation], authenticator: Authenticator, limits: Limits, observe: Observer
    ) -> None:
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        self._root = _Segment()
        for path, found in by_path.items():
            self._root.add(path.split("/")[1:], Endpoint(path, found, authenticator, limits, observe))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        values: list[str] = []
        leaf = self._root.find(scope["path"].split("/"), 1, values)
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            refused = Invalid("the path or query holds the character U+0000, which nothing here is named with")
            await error_answer(refused, scope["path"])(scope, receive, send)
            return
        if leaf is None:
            await _unknown(scope["path"])(scope, receive, send)
            return
        endpoint, names = leaf
        scope["path_params"] = dict(zip(names, values, strict=True))
        await endpoint(scope, receive, send)


class _Segment:
    """What can follow one beginning of a path: a literal segment, or a parameter, any text but none."""

    def __init__(self) -> None:
        self._leaf: tuple[Endpoint, Sequence[str]] | None = None
        self._literals: dict[str, _Segment] = {}
        self._parameter: _Segment | None = None

    def add(self, segments: Sequence[str], endpoint: "Endpoint", names: Sequence[str] = ()) -> None:
        """Add an endpoint under what is left of its path; `names` are of the parameters before."""
        if not segments:
            self._leaf = (endpoint, names)
            return
        first, rest = segments[0], segments[1:]
        if not first.startswith("{"):
            self._literals.setdefault(first, _Segment()).add(rest, endpoint, names)
            return
        if self._parameter is None:
            self._parameter = _Segment()
        self._parameter.add(rest, endpoint, (*names, first.strip("{}")))

    def find(self, segments: Sequence[str], at: int, values: list[str]) -> tuple["Endpoint", Sequence[str]] | None:
        """Return the endpoint of segments[at:] and its parameters' names, and append their values.

        A literal goes before a parameter.
        """
        if at == len(segments):
            return self._leaf
        segment = segments[at]
        literal = self._literals.get(segment)
        found = None if literal is None else literal.find(segments, at + 1, values)
        if found is None and segment and self._parameter is not None:
            values.append(segment)
            found = self._parameter.find(segments, at + 1, values)
            if found is None:
                values.pop()
        return found


def _unknown(path: str) -> Response:
    """Return the answer for a path that no operation has."""
    if path.startswith("/v2.0"):
        return error_answer(NotFound("The resource could not be found.", kind="HTTPNotFound"), path)
    return error_answer(NotFound(f"there is no page {path}"), path)
