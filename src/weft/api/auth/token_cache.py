"""Remembers whose tokens were whose, so that proving one again costs nothing for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from weft.api.access import Caller, Unauthenticated

MAX_REMEMBERED = 10_000
"""Tokens of each kind, good and bad; beyond that, the one that was put first is forgotten."""
BAD_AGE_S = 10.0
"""How long a token that was refused is refused without asking again."""


@dataclass(frozen=True, slots=True)
class Proven:
    """Whose token it is, and until when (Unix time in seconds)."""

    caller: Caller
    expires_at: float


class TokenCache:
    """Callers by the digest of their tokens. For one event loop.

    Bad tokens are remembered apart from good ones: whoever tries many of them drives no good one out.
    """

    def __init__(self, max_age_s: float, clock: Callable[[], float]) -> None:
        """Nothing is believed for longer than `max_age_s`. `clock` tells Unix time."""
        self._max_age_s = max_age_s
        self._clock = clock
        self._good: dict[str, Proven] = {}
        self._bad: dict[str, tuple[str, float]] = {}
        """Why a token was refused, and until when that is believed."""
        self._proving: dict[str, asyncio.Task[Proven]] = {}

    async def caller_of(self, key: str, prove: Callable[[], Awaitable[Proven]]) -> Caller:
        """Return whose token `key` is the digest of, by `prove` if that is not known.

        Those who ask at once wait for one proof. Raises what `prove` raises, of which only Unauthenticated is
        remembered.
        """
        now = self._clock()
        good = self._good.get(key)
        if good is not None:
            if good.expires_at > now:
                return good.caller
            del self._good[key]
        bad = self._bad.get(key)
        if bad is not None:
            if bad[1] > now:
                raise Unauthenticated(bad[0])
            del self._bad[key]
        proving = self._proving.get(key)
        if proving is None:
            proving = asyncio.ensure_future(self._prove(key, prove))
            self._proving[key] = proving
            proving.add_done_callback(lambda task: self._proved(key, task))
        return (await asyncio.shield(proving)).caller  # one who goes away leaves the proof to the others

    async def _prove(self, key: str, prove: Callable[[], Awaitable[Proven]]) -> Proven:
        try:
            found = await prove()
        except Unauthenticated as error:
            self._bad[key] = (error.message, self._clock() + BAD_AGE_S)
            _bound(self._bad)
            raise
        until = min(found.expires_at, self._clock() + self._max_age_s)
        self._good[key] = Proven(found.caller, until)
        _bound(self._good)
        return found

    def _proved(self, key: str, task: asyncio.Task[Proven]) -> None:
        del self._proving[key]
        if not task.cancelled():
            task.exception()  # seen here also if nobody waits any more


def _bound(remembered: dict[str, Proven] | dict[str, tuple[str, float]]) -> None:
    if len(remembered) > MAX_REMEMBERED:
        del remembered[next(iter(remembered))]
