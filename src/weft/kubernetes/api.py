"""Three requests to a Kubernetes API server: a piece of a list, one object, and a watch.

By hand, over lightkube's connection: its own list and watch ask for whole objects instead of their metadata, and for no
bookmarks, begin a watch that has ended again at once, and read lines of any length. Every failure is one of weft's
errors; nothing is tried twice here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import httpx2
import msgspec
from lightkube.config.kubeconfig import SERVICE_ACCOUNT
from lightkube.core.exceptions import ConfigError

from weft.kubernetes.access import TIMEOUT_S, connect
from weft.kubernetes.objects import Event, Object, ObjectList, Resource, Status
from weft.kubernetes.settings import ClusterAccess
from weft.model.errors import Permanent, Transient

PAGE = 500
"""Objects in one piece of a list."""
MAX_ANSWER_BYTES = 64 << 20
MAX_EVENT_BYTES = 4 << 20
"""An object is at most 1.5 MiB in etcd, and longer as JSON."""
WATCH_S = 180
"""After this time the server ends a watch, with a bookmark before it: Kubernetes 1.20 sends none sooner."""
SILENCE_S = WATCH_S + 15.0
"""A watch is given up after this time without a word: nobody is there any more."""
RETRY_AFTER_S = 1.0

T = TypeVar("T")

_PARTIAL = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"


class ExpiredError(Transient):
    """What is asked about is too old: begin with a new list (410 Gone)."""

    default_kind = "Expired"


class SilentError(Transient):
    """A watch said nothing for so long that it may be of a state that the server has never had."""

    default_kind = "Silent"


class KubernetesApi:
    """An API server. Its description is read at the first request, and again after a request that failed for that."""

    def __init__(
        self, access: ClusterAccess, *, service_account: str = SERVICE_ACCOUNT, silence_s: float = SILENCE_S
    ) -> None:
        self._access = access
        self._silence_s = silence_s
        self._service_account = service_account
        self._http: httpx2.AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._stale = False

    async def page(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        field_selector: str | None = None,
        limit: int | None = PAGE,
        resource_version: str | None = None,
        after: str | None = None,
    ) -> ObjectList:
        """Return a piece of a list; `after` is what the piece before said to continue with.

        `resource_version` None: the present state; "0": any that the server has at hand. Raises ExpiredError if the
        state of the first piece is not kept any more, Transient, Permanent and Invalid.
        """
        query = {"fieldSelector": field_selector, "limit": limit, "continue": after}
        if after is None:
            query["resourceVersion"] = resource_version
        body = await self._get(resource.path(namespace), query, accept=_PARTIAL.format("List"))
        found = _decoded(body, ObjectList)
        if not found.metadata.resource_version:
            # Something before the API answers, and what it says is not that there is nothing.
            raise Transient("the API server sends a list without a resourceVersion", retry_after_s=RETRY_AFTER_S)
        return found

    async def whole(self, resource: Resource, *, namespace: str | None = None) -> list[Object]:
        """Return all objects as they are at one moment, now: the whole list, or the failure of a piece of it."""
        found: list[Object] = []
        after: str | None = None
        while True:
            page = await self.page(resource, namespace=namespace, after=after)
            found += page.items or ()
            after = page.metadata.continue_ or None
            if after is None:
                return found

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """Return one object as it is now; None if there is none. Raises as `page` does."""
        try:
            body = await self._get(resource.path(namespace, name), {}, accept=_PARTIAL.format(""))
        except _NoSuchObjectError:
            return None
        return _decoded(body, Object)

    @contextlib.asynccontextmanager
    async def watch(
        self, resource: Resource, *, resource_version: str, field_selector: str | None = None
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """Have the server begin to say what changes after a state; iterate over what it says, until it ends.

        Raises as `page` does; an ERROR event is raised as the failure that it says, and silence as SilentError.
        """
        query = {
            "watch": "1",
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_S,
        }
        timeout = httpx2.Timeout(TIMEOUT_S, read=self._silence_s)
        async with self._stream(resource.path(), query, _PARTIAL.format(""), timeout) as response:
            yield _events(response)

    async def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _get(self, path: str, query: Mapping[str, Any], *, accept: str) -> bytes:
        try:
            async with asyncio.timeout(TIMEOUT_S), self._stream(path, query, accept, httpx2.Timeout(TIMEOUT_S)) as said:
                return await _body(said, MAX_ANSWER_BYTES)
        except TimeoutError:
            raise _silent(TIMEOUT_S) from None

    @contextlib.asynccontextmanager
    async def _stream(
        self, path: str, query: Mapping[str, Any], accept: str, timeout: httpx2.Timeout
    ) -> AsyncIterator[httpx2.Response]:
        http = await self._connected()
        given = {key: value for key, value in query.items() if value is not None}
        request = http.build_request("GET", path, params=given, headers={"Accept": accept}, timeout=timeout)
        response = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await http.send(request, stream=True)
            if response.status_code != 200:
                raise await _refusal(response)
            yield response
        except _UnauthorizedError:
            self._stale = True
            raise
        except httpx2.HTTPError as error:
            self._stale |= isinstance(error, httpx2.ConnectError)  # address or certificates may be others now
            message = f"the API server does not answer at {http.base_url} ({error or type(error).__name__})"
            raise Transient(message, retry_after_s=RETRY_AFTER_S) from error
        except TimeoutError:
            raise _silent(TIMEOUT_S) from None
        except (ConfigError, KeyError, OSError) as error:
            # A credential plugin, or a token file that is being replaced.
            message = f"no credential for {http.base_url}: {_reason(error)}"
            raise Transient(message, retry_after_s=RETRY_AFTER_S) from None
        finally:
            if response is not None:
                await response.aclose()

    async def _connected(self) -> httpx2.AsyncClient:
        async with self._connecting:  # of two that come at once, the second has what the first has made
            if self._stale:
                self._stale = False
                await self.close()
            if self._http is None:
                self._http = await asyncio.to_thread(connect, self._access, self._service_account)
            return self._http


class _NoSuchObjectError(Permanent):
    """404 for an object, by the API itself and not by something before it."""


class _UnauthorizedError(Transient):
    """401."""


def _silent(seconds: float) -> Transient:
    return Transient(f"the API server does not answer within {seconds:g} s", retry_after_s=RETRY_AFTER_S)


async def _refusal(response: httpx2.Response) -> Transient | Permanent:
    try:
        status = msgspec.json.decode(await _body(response, MAX_EVENT_BYTES), type=Status)
    except msgspec.MsgspecError:
        status = Status()
    return _failure(response.status_code, status, response.headers)


def _failure(code: int, status: Status, headers: Mapping[str, str]) -> Transient | Permanent:
    """Return what an HTTP status, or an ERROR event, means."""
    said = f"{code}: {status.message or status.reason or 'without a word'}"
    match code:
        case 410:
            return ExpiredError(f"the API server answers {said}", retry_after_s=0.0)
        case 401:
            return _UnauthorizedError(f"the API server does not know us ({said})", retry_after_s=RETRY_AFTER_S)
        case 404 if status.reason == "NotFound" and status.details is not None and status.details.name:
            return _NoSuchObjectError(said)
        case 429 | 500 | 502 | 503 | 504:
            return Transient(f"the API server answers {said}", retry_after_s=_retry_after_s(status, headers))
        case 403:
            return Permanent(
                f"the API server refuses ({said}); deploy/kubernetes/rbac.yaml has the rights that are needed"
            )
        case _:
            return Permanent(f"the API server answers {said}")


def _retry_after_s(status: Status, headers: Mapping[str, str]) -> float:
    given = headers.get("retry-after", "")
    if given.isdigit():
        return float(given)
    said = status.details.retry_after_seconds if status.details is not None else None
    return RETRY_AFTER_S if said is None else said


async def _body(response: httpx2.Response, most: int) -> bytes:
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > most:
            raise Permanent(f"the API server answers with more than {most} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def _events(response: httpx2.Response) -> AsyncIterator[Event]:
    try:
        async for line in _lines(response):
            event = _decoded(line, Event)
            if event.type == "ERROR":
                status = _decoded(event.object, Status)
                raise _failure(status.code or 500, status, {})
            yield event
    except httpx2.ReadTimeout:
        raise SilentError("the API server says nothing in a watch", retry_after_s=0.0) from None


async def _lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    left = b""
    async for piece in response.aiter_bytes():
        *lines, left = (left + piece).split(b"\n")
        if len(left) > MAX_EVENT_BYTES:
            raise Permanent(f"the API server sends a line of more than {MAX_EVENT_BYTES} bytes")
        for line in lines:
            if line.strip():
                yield line
    if left.strip():
        raise Transient("the API server ended a watch in the middle of a line", retry_after_s=RETRY_AFTER_S)


def _decoded(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Transient(
            f"the API server sends what is no {kind.__name__}: {error}", retry_after_s=RETRY_AFTER_S
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the credential plugin answers without {error}"
    return str(error) or type(error).__name__
