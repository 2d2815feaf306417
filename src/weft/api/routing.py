"""From a request to its handler: who calls, whether they may, how long it took, and what an error looks like.

Every answer carries ``x-openstack-request-id``, as OpenStack's do; a failure is logged under the same id.
"""

import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from weft.api.access import CALLER, Access, authorize
from weft.api.answers import BODY_LIMIT, INTERNAL, error_answer
from weft.api.auth.authenticator import Authenticator
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
        await response(scope, receive, send)

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
            return await operation.handler(Request(scope, receive))
        finally:
            self._limits.end()


def _new_request_id() -> bytes:
    # Not uuid4: its system call gives up the interpreter's lock, and getting that back can take milliseconds.
    return b"req-%b" % str(uuid.UUID(int=random.getrandbits(128), version=4)).encode()


def routes_of(
    operations: Iterable[Operation], authenticator: Authenticator, limits: Limits, observe: Observer
) -> list[Route]:
    """Return one route for each path of `operations`, in the order in which the paths first stand."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [Route(path, Endpoint(path, found, authenticator, limits, observe)) for path, found in by_path.items()]


def unknown_path(request: Request, error: Exception) -> Response:
    """Answer a request for a path that no operation has."""
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/v2.0"):
        return error_answer(NotFound("The resource could not be found.", kind="HTTPNotFound"), request.url.path)
    return error_answer(NotFound(f"there is no page {request.url.path}"), request.url.path)
