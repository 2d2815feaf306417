"""A crowd of pods that come and go at a given rate, whatever the server does; and what is left of them."""

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec

from bench.load import Client, connected, request
from bench.report import percentile
from weft.model.intent import RealizationState, Realizer
from weft.protocol.node import RealizationReport, RealizationReports
from weft.protocol.workload import (
    WarmOrder,
    WarmPorts,
    Workload,
    WorkloadBatch,
    WorkloadClaim,
    WorkloadOutcome,
    WorkloadOutcomes,
    WorkloadRelease,
)

CONNECTIONS = 64
PER_CALL = 100
TOLD_S = 20
POOL = 16
"""Ports that a node has ready; it orders as many as lack when half are left."""


class _Listed(msgspec.Struct):
    workloads: list[Workload]


@dataclass(slots=True)
class _Pod:
    node: str
    name: str


class Crowd:
    """Pods on simulated nodes, and what their requests took, by kind, from when each was due."""

    def __init__(self, port: int, nodes: Sequence[str], network: str) -> None:
        self.took_s: defaultdict[str, list[float]] = defaultdict(list)
        self.failed = 0
        self._port = port
        self._nodes = nodes
        self._network = network
        self._ready: dict[str, deque[Workload]] = {node: deque() for node in nodes}
        self._filling: dict[str, asyncio.Task[tuple[Workload, ...]]] = {}
        self._pods: deque[_Pod] = deque()
        self._born = 0
        self._told = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._free: asyncio.LifoQueue[Client] = asyncio.LifoQueue()

    async def __aenter__(self) -> Self:
        self._connections = connected(self._port, CONNECTIONS)
        for client in await self._connections.__aenter__():
            self._free.put_nowait(client)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connections.__aexit__(None, None, None)

    async def register(self, pods: int) -> None:
        """Have so many pods, evenly on the nodes, and ports for more to come."""
        each = pods // len(self._nodes)

        async def fill(node: str) -> None:
            for _ in range(0, each, PER_CALL):
                made = await self._order(node, PER_CALL)
                claims = tuple(self._claim(port) for port in made)
                for outcome in (await self._batch(node, WorkloadBatch(claim=claims))).claim:
                    self._took(node, outcome)
            # Not all nodes' pools are used up at the same time.
            self._ready[node].extend(await self._order(node, POOL - self._nodes.index(node) % (POOL // 2)))

        await asyncio.gather(*map(fill, self._nodes))
        self.took_s.clear()

    async def churn(self, per_second: float, seconds: float) -> None:
        """Create a pod and delete the oldest, so many times a second; say now and then how it goes."""
        began = time.perf_counter()
        for number in range(int(per_second * seconds)):
            due = began + number / per_second
            pause = due - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            self._begin(self._create(self._nodes[number % len(self._nodes)], due))
            self._begin(self._delete(self._pods.popleft(), due))
            if (number + 1) % int(per_second * TOLD_S) == 0:
                self._tell(number + 1, time.perf_counter() - began)
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _tell(self, pods: int, after_s: float) -> None:
        lately = self.took_s["claim"][self._told :]
        self._told += len(lately)
        p50, p99 = (percentile(lately, share) * 1000 for share in (0.5, 0.99))
        print(f"  {after_s:.0f} s: {pods} pods; of late, a claim p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)

    async def compare(self) -> list[str]:
        """Return what the server has and should not have, or has not and should have."""
        expected = {node: Counter[str]() for node in self._nodes}
        for pod in self._pods:
            expected[pod.node][pod.name] += 1
        addresses: Counter[str] = Counter()
        wrong = []
        for node in self._nodes:
            body = await self._ask("list", request("GET", f"/v1/nodes/{node}/workloads"))
            found = msgspec.json.decode(body, type=_Listed).workloads
            addresses.update(address.address for each in found for address in each.addresses)
            expected[node][""] = len(self._ready[node])
            there = Counter(each.name for each in found)
            wrong += [
                f"{node} leaks {name or 'a warm port'}, {count}" for name, count in (there - expected[node]).items()
            ]
            wrong += [
                f"{node} lacks {name or 'a warm port'}, {count}" for name, count in (expected[node] - there).items()
            ]
        wrong += [f"{count} ports have {address}" for address, count in addresses.items() if count > 1]
        del self.took_s["list"]
        return wrong

    async def _create(self, node: str, due: float) -> None:
        while not self._ready[node]:
            await self._fill(node)
        port = self._ready[node].popleft()
        if len(self._ready[node]) <= POOL // 2:
            self._begin(self._fill(node))
        claim = self._claim(port)
        [outcome] = (await self._batch(node, WorkloadBatch(claim=(claim,)), "claim", due)).claim
        self._took(node, outcome)

    async def _delete(self, pod: _Pod, due: float) -> None:
        gone = WorkloadRelease(name=pod.name, holder=pod.name)
        [outcome] = (await self._batch(pod.node, WorkloadBatch(release=(gone,)), "release", due)).release
        self.failed += not outcome.released

    async def _fill(self, node: str) -> None:
        """Fill up a node's pool, or wait until it is filled by whoever began."""
        if node not in self._filling:
            self._filling[node] = asyncio.create_task(self._order(node, POOL - len(self._ready[node])))
            self._filling[node].add_done_callback(lambda done: self._filled(node, done))
        await self._filling[node]

    def _filled(self, node: str, done: asyncio.Task[tuple[Workload, ...]]) -> None:
        del self._filling[node]
        self._ready[node].extend(done.result())

    async def _order(self, node: str, count: int) -> tuple[Workload, ...]:
        """Order warm ports, and report them up."""
        order = msgspec.json.encode(WarmOrder(network=self._network, count=count))
        body = await self._ask("warm", request("POST", f"/v1/nodes/{node}/workloads/warm", order))
        made = msgspec.json.decode(body, type=WarmPorts).workloads
        up = [
            RealizationReport(port_id=each.port_id, epoch=each.epoch, state=RealizationState.UP, realizer=Realizer.HOST)
            for each in made
        ]
        report = msgspec.json.encode(RealizationReports(reports=tuple(up)))
        await self._ask("report", request("POST", f"/v1/nodes/{node}/realizations", report))
        return made

    def _claim(self, port: Workload) -> WorkloadClaim:
        self._born += 1
        name = f"crowd/pods/pod-{self._born}"
        return WorkloadClaim(port_id=port.port_id, epoch=port.epoch, name=name, holder=name)

    def _took(self, node: str, outcome: WorkloadOutcome) -> None:
        if outcome.workload is None:
            self.failed += 1
        else:
            self._pods.append(_Pod(node, outcome.workload.name))

    async def _batch(
        self, node: str, batch: WorkloadBatch, kind: str = "batch", due: float | None = None
    ) -> WorkloadOutcomes:
        message = request("POST", f"/v1/nodes/{node}/workloads/batch", msgspec.json.encode(batch))
        return msgspec.json.decode(await self._ask(kind, message, due), type=WorkloadOutcomes)

    async def _ask(self, kind: str, message: bytes, due: float | None = None) -> bytes:
        due = time.perf_counter() if due is None else due
        client = await self._free.get()
        status, body = await client.ask(message)
        self._free.put_nowait(client)
        self.took_s[kind].append(time.perf_counter() - due)
        if status != 200:
            raise RuntimeError(f"the server answered {status}: {body[:500]!r}")
        return body

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
