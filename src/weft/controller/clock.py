"""Time as the controllers see it: one that tests can hold still."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting."""

    def now(self) -> float:
        """Return Unix time in seconds."""

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return Unix time in seconds."""
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds."""
        await asyncio.sleep(delay_s)


async def woken_or_after(event: asyncio.Event, delay_s: float, clock: Clock) -> None:
    """Return when the event is set, or after `delay_s` seconds."""
    waiting = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(delay_s))]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
