"""Waiting for ports to become ACTIVE: one question to the server for all containers of the node that wait."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from weft.model.errors import Transient
from weft.protocol.workload import Workload

POLL_S = 0.03

List = Callable[[], Awaitable[Sequence[Workload]]]
"""Asks for all workloads of the node."""


class Waiting:
    """Looks at the node's workloads as long as anybody waits for one; costs the same for one and for a hundred."""

    def __init__(self, look: List) -> None:
        self._look = look
        self._seen: dict[str, Workload] = {}
        self._looked = asyncio.Condition()
        self._waiters = 0
        self._task: asyncio.Task[None] | None = None

    async def until(self, port_id: str, good: Callable[[Workload | None], bool], timeout_s: float) -> Workload | None:
        """Return a workload as it is when that is good, or as it was last seen when the time is over; None: not here.

        `good` is asked after each look that began after this call.
        """
        self._waiters += 1
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(timeout_s), self._looked:
                await self._looked.wait()  # this one may have begun before
                await self._looked.wait_for(lambda: good(self._seen.get(port_id)))
        except TimeoutError:
            pass
        finally:
            self._waiters -= 1
        return self._seen.get(port_id)

    async def _watch(self) -> None:
        try:
            while self._waiters:
                with contextlib.suppress(Transient):  # the server is away: whoever waits goes on until its time is over
                    self._seen = {each.port_id: each for each in await self._look()}
                    async with self._looked:
                        self._looked.notify_all()
                await asyncio.sleep(POLL_S)
        finally:
            self._task = None
