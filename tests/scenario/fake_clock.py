"""A clock that stands still until a test moves it."""

import asyncio
import heapq
from itertools import count


class FakeClock:
    """Time that passes by `advance` only; those who sleep wake in the order of their times."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        return self._now

    @property
    def sleeping(self) -> bool:
        """Whether anybody sleeps."""
        return any(not done.done() for _, _, done in self._sleepers)

    async def sleep(self, delay_s: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + delay_s, next(self._order), done))
        await done

    def advance(self, delay_s: float) -> None:
        """Let time pass, and wake who slept until then."""
        self._now += delay_s
        while self._sleepers and self._sleepers[0][0] <= self._now:
            done = heapq.heappop(self._sleepers)[2]
            if not done.done():
                done.set_result(None)

    def advance_to_next(self) -> float:
        """Let time pass until somebody wakes; return how long that was."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        assert self._sleepers, "nobody sleeps: nothing will ever happen"
        delay_s = max(self._sleepers[0][0] - self._now, 0.0)
        self.advance(delay_s)
        return delay_s
