"""A copy of some of an API server's objects, kept up by list and watch.

The copy is replaced by a complete list only, never by half of one, and changed by what a watch says after it. A watch
that ends is taken up where it was; where the server does not keep that place any more (410), or may never have had it
(it is silent), a new list is made. While the server is away the copy stays as it was, and `is_current` is false.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

import msgspec
import structlog

from weft.kubernetes.api import PAGE, ExpiredError, KubernetesApi, SilentError
from weft.kubernetes.objects import Event, Object, Resource
from weft.model.errors import Permanent, Transient, WeftError

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Pauses after failures, each shortened by chance by up to a half; the last one repeats."""
MAX_RETRY_AFTER_S = 60.0
"""The longest that a server may ask for."""
SHORTEST_WATCH_S = 1.0
"""A watch that ends sooner, and without a word, counts as a failure: something before the server ends them."""
RELIST_S = 1800.0
"""A new list is made in any case after this time: what went wrong unseen does not stay so."""
MAX_OBJECTS = 100_000
"""Objects beyond these are not kept: who looks for them must ask the server."""
AT_HAND = "0"
"""The resourceVersion of a list that the server may answer from its own cache, which costs it little."""

T = TypeVar("T")

log = structlog.get_logger()


class Reflector(Generic[T]):
    """`run` it; `objects`, by namespace and name, is the copy: of what `convert` makes of an object."""

    def __init__(
        self,
        api: KubernetesApi,
        resource: Resource,
        convert: Callable[[Object], T],
        *,
        field_selector: str | None = None,
        changed: Callable[[], None] = lambda: None,
        limit: int = MAX_OBJECTS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`changed` is called after every change of the copy or of its state; `limit` bounds the copy."""
        self._objects: dict[tuple[str, str], T] = {}
        self.is_complete = False
        """Whether there has been a complete list."""
        self.is_current = False
        """Whether the server is being followed at this moment."""
        self.trouble = ""
        """Why not; empty before the first try, too."""
        self._api = api
        self._resource = resource
        self._convert = convert
        self._field_selector = field_selector
        self._changed = changed
        self._limit = limit
        self._sleep = sleep
        self._now = now
        self._jitter = jitter
        self._version: str | None = None
        """Where the watch is; None: a new list is due."""
        self._list_from: str | None = AT_HAND
        self._listed_at = 0.0
        self._failures = 0
        self._overfull = False

    @property
    def objects(self) -> Mapping[tuple[str, str], T]:
        """The copy."""
        return self._objects

    async def run(self) -> None:
        """Keep the copy, until cancelled."""
        while True:
            pause_s = await self._once()
            if pause_s > 0:
                self._stands(current=False, trouble=self.trouble)
                await self._sleep(pause_s)

    async def _once(self) -> float:
        """Follow the server until that ends; return how long to pause, in seconds."""
        began, before = self._now(), self._version
        try:
            if self._version is None or began - self._listed_at >= RELIST_S:
                await self._list()
                before = self._version
            await self._watch()
        except ExpiredError as error:
            # What the server has at hand may be as old as what it has just refused.
            return self._begin_anew(error, list_from=None)
        except SilentError as error:
            return self._begin_anew(error, list_from=AT_HAND)
        except WeftError as error:
            return self._failed(error)
        except Exception as error:
            # Whatever an API server may bring about, the agent beside this goes on.
            log.exception("kubernetes_copy_failed", resource=self._resource.plural)
            self._version = None
            return self._failed(Permanent(f"unexpected: {error!r}"))
        if self._version == before and self._now() - began < SHORTEST_WATCH_S:
            return self._failed(Transient("watches end as soon as they have begun", retry_after_s=0.0))
        self._failures = 0
        return 0.0

    async def _list(self) -> None:
        """Make the copy anew, of a whole list."""
        found: dict[tuple[str, str], T] = {}
        after: str | None = None
        limit: int | None = PAGE
        while True:
            try:
                page = await self._api.page(
                    self._resource,
                    field_selector=self._field_selector,
                    limit=limit,
                    resource_version=self._list_from,
                    after=after,
                )
            except ExpiredError:
                if after is None:
                    raise
                # The list took longer than the server keeps a state: have it in one piece.
                found, after, limit, self._list_from = {}, None, None, None
                continue
            for each in page.items or ():
                if each.metadata.key in found or self._has_room(len(found)):
                    found[each.metadata.key] = self._convert(each)
            after = page.metadata.continue_ or None
            if after is None:
                break
        self._version = page.metadata.resource_version or ""
        self._objects, self.is_complete, self._listed_at, self._list_from = found, True, self._now(), AT_HAND
        self._changed()
        log.debug("kubernetes_listed", resource=self._resource.plural, objects=len(found), revision=self._version)

    async def _watch(self) -> None:
        """Follow what changes, until the server ends the watch or a new list is due."""
        assert self._version is not None
        heard, began = False, self._now()
        async with self._api.watch(
            self._resource, resource_version=self._version, field_selector=self._field_selector
        ) as events:
            self._stands(current=True, trouble="")
            async for event in events:
                heard = True
                self._take(event)
                self._failures = 0
                if self._now() - self._listed_at >= RELIST_S:
                    return
        if not heard and self._now() - began >= SHORTEST_WATCH_S:
            raise SilentError("a watch ended without even a bookmark", retry_after_s=0.0)

    def _take(self, event: Event) -> None:
        """Change the copy by an event. One that comes twice changes nothing the second time."""
        try:
            each = msgspec.json.decode(event.object, type=Object)
        except msgspec.MsgspecError as error:
            raise Transient(f"the API server sends an event that cannot be read: {error}", retry_after_s=0.0) from None
        objects = self._objects
        match event.type:
            case "ADDED" | "MODIFIED":
                if each.metadata.key in objects or self._has_room(len(objects)):
                    objects[each.metadata.key] = self._convert(each)
            case "DELETED":
                objects.pop(each.metadata.key, None)
            case "BOOKMARK":
                pass
            case _:
                log.warning("kubernetes_event_unknown", type=event.type)
        self._version = each.metadata.resource_version or self._version
        if event.type != "BOOKMARK":
            self._changed()

    def _has_room(self, count: int) -> bool:
        if count < self._limit:
            return True
        if not self._overfull:
            self._overfull = True
            log.warning(
                "kubernetes_too_many_objects", resource=self._resource.plural, kept=count, selector=self._field_selector
            )
        return False

    def _begin_anew(self, error: Transient, *, list_from: str | None) -> float:
        """Have a new list made: at once, but with pauses if that happens again and again."""
        log.info("kubernetes_relists", resource=self._resource.plural, reason=error.message)
        self._version, self._list_from = None, list_from
        self._stands(current=False, trouble=error.message)
        self._failures += 1
        return self._pause_s(self._failures - 1)

    def _failed(self, error: WeftError) -> float:
        self._failures += 1
        asked_s = error.retry_after_s if isinstance(error, Transient) else BACKOFF_S[-1]
        pause_s = max(self._pause_s(self._failures), min(asked_s, MAX_RETRY_AFTER_S))
        if self.trouble != error.message:
            log.warning("kubernetes_away", resource=self._resource.plural, reason=error.message, again_in_s=pause_s)
        self._stands(current=False, trouble=error.message)
        return pause_s

    def _pause_s(self, failures: int) -> float:
        """Return how long to wait after so many failures: servers that come back are not stormed."""
        if failures == 0:
            return 0.0
        return BACKOFF_S[min(failures, len(BACKOFF_S)) - 1] * (1.0 - 0.5 * self._jitter())

    def _stands(self, *, current: bool, trouble: str) -> None:
        was = self.is_current, self.trouble
        self.is_current, self.trouble = current, trouble
        if was != (current, trouble):
            self._changed()
