"""Following ports as they come to life: every step is shown when it happens, and can be waited for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from weft.client import AsyncClient
from weft.client.timeline import TimedStep, timeline
from weft.model.errors import Transient
from weft.protocol.port import HistoryStep, PortStatus, WatchEvent

T = TypeVar("T")

POLL_S = 0.02
RECONNECT_S = 0.2

Show = Callable[[str, TimedStep], None]


class Follower:
    """Shows the steps of ports from the server's watch, until it is stopped."""

    def __init__(self, client: AsyncClient, show: Show) -> None:
        self._client = client
        self._show = show
        self._steps: dict[str, list[HistoryStep]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with what happens from now on: what is known of the ports by now is not shown."""
        revision = (await self._client.status())["revision"]
        for port in await self._client.port_statuses():
            self._steps[port.id] = await self._client.history(port.id)
        self._task = asyncio.create_task(self._follow(revision))

    async def stop(self) -> None:
        """Follow no longer."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self, after: int) -> None:
        while True:
            try:
                async for event in self._client.watch(["port"], after):
                    after = event.revision
                    self._take(event)
            except Transient:
                await asyncio.sleep(RECONNECT_S)

    def _take(self, event: WatchEvent) -> None:
        if event.object is None:
            self._steps.pop(event.id, None)
            return
        name = str(event.object.get("name") or event.id)
        seen = self._steps.setdefault(event.id, [])
        new = [step for step in event.history if step not in seen]
        seen.extend(new)
        for timed in timeline(seen):
            if timed.step in new:
                self._show(name, timed)


async def until_active(client: AsyncClient, port_ids: Iterable[str], timeout_s: float) -> dict[str, PortStatus]:
    """Return ports when all are ACTIVE, or, after `timeout_s`, as they are."""

    async def states() -> dict[str, PortStatus]:
        return {port_id: await client.port_status(port_id) for port_id in port_ids}

    return await until(states, lambda found: all(port.state == "ACTIVE" for port in found.values()), timeout_s)


async def until(look: Callable[[], Awaitable[T]], good: Callable[[T], bool], timeout_s: float) -> T:
    """Look again and again; return the first sight that is good, or the last one before `timeout_s` is over."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        seen = await look()
        if good(seen) or asyncio.get_running_loop().time() > deadline:
            return seen
        await asyncio.sleep(POLL_S)
