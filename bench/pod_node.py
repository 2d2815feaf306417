"""A node that has no containers: it asks the server for their ports as an agent does, by the same client and messages.

What would be wired is wired at once, and reported up.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from weft.client import AsyncClient
from weft.client.outcomes import released_in, workload_in
from weft.model.errors import Transient
from weft.model.intent import RealizationState
from weft.protocol.node import NodeDesired, RealizationReport, RealizationReports
from weft.protocol.workload import (
    MAX_BATCH,
    MAX_WARM,
    WarmOrder,
    Workload,
    WorkloadBatch,
    WorkloadClaim,
    WorkloadOutcome,
    WorkloadOutcomes,
    WorkloadRelease,
)

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """Collects what is asked while the last request is away, and asks for all of it in the next."""

    def __init__(self, ask: Callable[[list[T]], Awaitable[list[R]]]) -> None:
        self._ask = ask
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def do(self, item: T) -> R:
        """Ask for one item, and return its answer."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            for (_, future), answer in zip(some, await self._ask([item for item, _ in some]), strict=True):
                future.set_result(answer)
        self._task = None


class PodNode:
    """One simulated node."""

    def __init__(self, name: str, client: AsyncClient, network: str) -> None:
        self.name = name
        self.calls = 0
        """Requests that it has made of the server, but for the watch."""
        self._client = client
        self._network = network
        self.refused = 0
        self.following = asyncio.Event()
        """Set once it follows what the server wants of it."""
        self._wired: dict[str, asyncio.Event] = {}
        self._pool: deque[Workload] = deque()
        self._filled = asyncio.Condition()
        self._claims: Together[WorkloadClaim, WorkloadOutcome] = Together(self._claim)
        self._releases: Together[WorkloadRelease, WorkloadOutcome] = Together(self._release)

    async def follow(self) -> None:
        """Follow what the node shall carry, and report it up; until cancelled."""
        reported: set[tuple[str, int]] = set()
        async for message in self._client.watch_node(self.name):
            self.following.set()
            news = [port for port in message.ports if (port.port_id, port.epoch) not in reported]
            if news:
                reported |= {(port.port_id, port.epoch) for port in news}
                up = tuple(
                    RealizationReport(port_id=each.port_id, epoch=each.epoch, state=RealizationState.UP)
                    for each in news
                )
                self.calls += 1
                await self._client.report(self.name, RealizationReports(reports=up))
                for port in news:
                    self._wired.setdefault(port.port_id, asyncio.Event()).set()
            for port_id in () if isinstance(message, NodeDesired) else message.gone:
                self._wired.pop(port_id, None)

    async def fill(self, count: int) -> None:
        """Have so many ports ready."""
        while count > 0:
            self.calls += 1
            order = WarmOrder(network=self._network, count=min(count, MAX_WARM))
            try:
                made = await self._client.warm_workloads(self.name, order)
            except Transient as error:
                self.refused += 1
                await asyncio.sleep(error.retry_after_s)
                continue
            count -= len(made)
            for each in made:
                await self._wired.setdefault(each.port_id, asyncio.Event()).wait()
            async with self._filled:
                self._pool.extend(made)
                self._filled.notify_all()

    async def add(self, name: str, holder: str) -> float:
        """Give a pod a port that is wired, and tell the server; return how long it took."""
        began = time.perf_counter()
        async with self._filled:
            await self._filled.wait_for(lambda: bool(self._pool))
            port = self._pool.popleft()
        claim = WorkloadClaim(port_id=port.port_id, epoch=port.epoch, name=name, holder=holder)
        taken = workload_in(await self._claims.do(claim))
        assert (taken.port_id, taken.name, taken.holder) == (port.port_id, name, holder), taken
        return time.perf_counter() - began

    async def delete(self, name: str, holder: str) -> None:
        """Take a pod away."""
        done = await self._releases.do(WorkloadRelease(name=name, holder=holder))
        assert released_in(done), name

    async def _claim(self, claims: list[WorkloadClaim]) -> list[WorkloadOutcome]:
        return list((await self._send(WorkloadBatch(claim=tuple(claims)))).claim)

    async def _release(self, releases: list[WorkloadRelease]) -> list[WorkloadOutcome]:
        return list((await self._send(WorkloadBatch(release=tuple(releases)))).release)

    async def _send(self, batch: WorkloadBatch) -> WorkloadOutcomes:
        while True:
            self.calls += 1
            try:
                return await self._client.workload_batch(self.name, batch)
            except Transient as error:
                self.refused += 1
                await asyncio.sleep(error.retry_after_s)
