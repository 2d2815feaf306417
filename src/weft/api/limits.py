"""What a server takes on at once: how large a body, how many requests in work, how many a second of each caller.

Beyond a limit a request is refused before anything is done for it, with when to come again; none waits in a queue that
only grows.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated

import msgspec

from weft.api.access import Caller, NodeAgent, User
from weft.api.answers import MAX_BODY_BYTES
from weft.model.errors import Transient

MAX_CALLERS = 10_000
"""Callers whose use is remembered; beyond that, who called longest ago is forgotten, and begins anew."""

BUSY_RETRY_AFTER_S = 1.0

Positive = Annotated[int, msgspec.Meta(gt=0)]


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a server; ``[limits]`` in its file."""

    max_body_bytes: Positive = MAX_BODY_BYTES
    """Of one request. More: 413."""
    max_concurrent: Positive = 2048
    """Requests in work at once, of all callers; an open watch is not one. More: 503."""
    requests_per_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Of each caller in each process: a user, a node, or one token of the token file. More: 429. None: no limit."""
    burst: Positive = 100
    """Requests that a caller may make at once after a pause."""
    watches_per_caller: Positive = 100
    """Watches that a caller may have open, unless it is an administrator. More: 429."""

    def shared_by(self, processes: int) -> "LimitSettings":
        """Return what each of several processes may take on; a caller's connections may all be with one of them."""
        return msgspec.structs.replace(self, max_concurrent=-(-self.max_concurrent // processes))


class Limits:
    """Counts requests against the limits. For one event loop."""

    def __init__(self, settings: LimitSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self.max_body_bytes = settings.max_body_bytes
        self._max_concurrent = settings.max_concurrent
        self._working = 0
        self._watches_per_caller = settings.watches_per_caller
        self._watches: Counter[str] = Counter()
        self._rate = None if settings.requests_per_s is None else Rate(settings.requests_per_s, settings.burst, clock)

    def begin(self) -> None:
        """Begin a request, whose end is told by `end`; raise Transient if too many are in work."""
        if self._working >= self._max_concurrent:
            message = f"the server has {self._working} requests in work and takes on no more; try again in a moment"
            raise Transient(message, retry_after_s=BUSY_RETRY_AFTER_S, kind="ServiceUnavailable")
        self._working += 1

    def end(self) -> None:
        """End a request that has begun."""
        self._working -= 1

    def count(self, caller: Caller) -> None:
        """Count a request of `caller`; raise Transient, kind TooManyRequests, if it makes them too fast."""
        if self._rate is not None:
            self._rate.count(_name(caller))

    def begin_watch(self, caller: Caller) -> None:
        """Begin a watch, whose end is told by `end_watch`; raise Transient, kind TooManyRequests, beyond the limit."""
        name = _name(caller)
        if self._watches[name] >= self._watches_per_caller and not (isinstance(caller, User) and caller.is_admin):
            message = f"'{name}' has {self._watches[name]} watches open, and may have no more: close one"
            raise Transient(message, retry_after_s=BUSY_RETRY_AFTER_S, kind="TooManyRequests")
        self._watches[name] += 1

    def end_watch(self, caller: Caller) -> None:
        """End a watch that has begun."""
        name = _name(caller)
        self._watches[name] -= 1
        if not self._watches[name]:
            del self._watches[name]


class Rate:
    """A token bucket for each name, kept as one number: when the bucket will be full again (GCRA, ITU-T I.371)."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_s = per_s
        self._interval_s = 1 / per_s
        self._depth_s = burst / per_s
        self._clock = clock
        self._full_at: dict[str, float] = {}
        """Ordered by the last request, so that the first is whom to forget."""

    def count(self, name: str) -> None:
        """Take one token from a bucket; raise Transient if there is none."""
        now = self._clock()
        full_at = max(self._full_at.pop(name, now), now) + self._interval_s
        wait_s = full_at - now - self._depth_s
        if wait_s > 1e-9:  # of a sum of floats, the last digits say nothing
            self._full_at[name] = full_at - self._interval_s
            message = f"'{name}' makes more than {self._per_s:g} requests a second; try again in {wait_s:.3g} s"
            raise Transient(message, retry_after_s=wait_s, kind="TooManyRequests")
        self._full_at[name] = full_at
        if len(self._full_at) > MAX_CALLERS:
            del self._full_at[next(iter(self._full_at))]


def _name(caller: Caller) -> str:
    if isinstance(caller, NodeAgent):
        return f"node:{caller.node}"
    return caller.user_id or "administrator"
