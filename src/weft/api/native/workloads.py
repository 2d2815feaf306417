"""What an agent asks for its node's containers."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.agents import Agents
from weft.api.answers import JsonAnswer, read_json, status_of
from weft.api.native.workload_queue import WorkloadQueue
from weft.api.routing import Operation
from weft.intent.workload_presence import Comparison, compare, settle
from weft.intent.workload_release import release_lost
from weft.intent.workloads import attach, claim, release, warm, workload_of, workloads_on
from weft.model.errors import Conflict, Invalid, NotFound, Transient, WeftError
from weft.model.ids import Epoch, NodeName, PortId
from weft.protocol.workload import (
    MAX_BATCH,
    MAX_PRESENT,
    MAX_WARM,
    WarmOrder,
    WarmPorts,
    Workload,
    WorkloadBatch,
    WorkloadError,
    WorkloadOutcome,
    WorkloadOutcomes,
    WorkloadsCompared,
    WorkloadsPresent,
)
from weft.store import Snapshot, Store, Transaction

T = TypeVar("T")

LOST_AFTER_S = 60.0
"""How long a node's agent must be silent before the node may be called lost; longer than its agent takes to start."""


class WorkloadPages:
    """The pages under /v1/nodes/{node}/workloads."""

    def __init__(self, store: Store, project: str, agents: Agents, clock: Callable[[], float]) -> None:
        """`project` owns workloads of which nobody says whose they are."""
        self._store = store
        self._project = project
        self._agents = agents
        self._clock = clock
        self._queue = WorkloadQueue()

    def operations(self) -> list[Operation]:
        """Return the operations."""
        path = "/v1/nodes/{node}/workloads"
        return [
            Operation("GET", path, self.all, Access.OWN_NODE),
            Operation("POST", f"{path}/warm", self.warm, Access.OWN_NODE),
            Operation("POST", f"{path}/batch", self.batch, Access.OWN_NODE),
            Operation("PUT", f"{path}/present", self.present, Access.OWN_NODE),
            Operation("POST", f"{path}/lost", self.lost),
            Operation("GET", f"{path}/{{port_id}}", self.show, Access.OWN_NODE),
        ]

    async def all(self, request: Request) -> Response:
        """Answer the workloads that are on a node."""
        node = _node(request)
        found = await self._store.read(lambda snapshot: workloads_on(snapshot, node))
        return JsonAnswer({"workloads": found})

    async def show(self, request: Request) -> Response:
        """Answer one of them."""
        node, port_id = _node(request), PortId(request.path_params["port_id"])
        return JsonAnswer({"workload": await self._store.read(lambda snapshot: workload_of(snapshot, node, port_id))})

    async def warm(self, request: Request) -> Response:
        """Answer ports for containers to come, as many as there are."""
        node, asked = _node(request), await read_json(request, WarmOrder)
        if not 1 <= asked.count <= MAX_WARM:
            raise Invalid(f"count {asked.count} is not possible: ask for 1 to {MAX_WARM} ports at once")
        make = partial(warm, node=node, asked=asked, project_id=self._project)
        async with self._queue.turn(node, asked.count):
            made = await self._each((make, None) for _ in range(asked.count))
        workloads = tuple(each for each in made if isinstance(each, Workload))
        for each in made:
            if isinstance(each, WeftError) and not workloads:
                raise each
        return JsonAnswer(WarmPorts(workloads=workloads))

    async def batch(self, request: Request) -> Response:
        """Answer what became of each item; what they do is committed together."""
        node, asked = _node(request), await read_json(request, WorkloadBatch)
        count = len(asked.attach) + len(asked.claim) + len(asked.release)
        if count > MAX_BATCH:
            raise Invalid(f"{count} items at once are too many: send at most {MAX_BATCH}")
        project = self._project
        works: list[tuple[Callable[[Transaction], Workload | bool], str | None]] = [
            *((partial(release, node=node, asked=each, project_id=project), each.port_id) for each in asked.release),
            *((partial(claim, node=node, asked=each, project_id=project), each.port_id) for each in asked.claim),
            *((partial(attach, node=node, asked=each, project_id=project), None) for each in asked.attach),
        ]
        async with self._queue.turn(node, count):
            done = iter([_outcome(each) for each in await self._each(works)])
        outcomes = WorkloadOutcomes(
            release=tuple(islice(done, len(asked.release))),
            claim=tuple(islice(done, len(asked.claim))),
            attach=tuple(done),
        )
        return JsonAnswer(outcomes)

    async def present(self, request: Request) -> Response:
        """Take all that an agent has, and answer what it and the server have not in common."""
        node, asked = _node(request), await read_json(request, WorkloadsPresent)
        if len(asked.workloads) > MAX_PRESENT:
            raise Invalid(f"{len(asked.workloads)} workloads of a node are too many: it may have {MAX_PRESENT}")

        def look(snapshot: Snapshot) -> Comparison:
            _require(snapshot, node)
            return compare(snapshot, node, asked.workloads)

        found = await self._store.read(look)
        released: list[PortId] = []
        if found.missing or found.suspected:
            released = await self._store.transact(lambda tx: settle(tx, node, found))
        compared = WorkloadsCompared(
            missing=tuple(sorted(found.missing.keys() - set(released))),
            released=tuple(sorted(released)),
            stray=found.stray,
            held_by_others=found.held_by_others,
        )
        return JsonAnswer(compared)

    async def lost(self, request: Request) -> Response:
        """Release all workloads of a node that will not come back with them; answer how many there were."""
        node = _node(request)

        def look(snapshot: Snapshot) -> tuple[float | None, list[Workload]]:
            _require(snapshot, node)
            return snapshot.agents().get(node), workloads_on(snapshot, node)

        stored, there = await self._store.read(look)
        _, heard = self._agents.state(node, stored)
        if heard is not None and (ago_s := self._clock() - heard) < LOST_AFTER_S:
            message = f"the agent of node '{node}' was heard {ago_s:.0f} s ago: it releases what containers leave"
            raise Conflict(f"{message}; a node is lost after {LOST_AFTER_S:.0f} s of silence", kind="NodeAlive")
        released = 0
        for start in range(0, len(there), MAX_BATCH):
            lost = there[start : start + MAX_BATCH]
            let_go = partial(release_lost, node=node, actor="operator")
            works = [partial(let_go, port_id=PortId(each.port_id), epoch=Epoch(each.epoch)) for each in lost]
            for done in await self._each(zip(works, (each.port_id for each in lost), strict=True)):
                if isinstance(done, WeftError):
                    raise done
                released += done
        return JsonAnswer({"released": released})

    async def _each(self, works: Iterable[tuple[Callable[[Transaction], T], str | None]]) -> list[T | WeftError]:
        """Do pieces of work that are independent of each other in as few commits as may be.

        With each comes the port that it asks for, where that is known before.
        """
        each = [self._one(work, port_id) for work, port_id in works]
        return [await each[0]] if len(each) == 1 else list(await asyncio.gather(*each))

    async def _one(self, work: Callable[[Transaction], T], port_id: str | None) -> T | WeftError:
        try:
            return await self._store.transact(work, ports=() if port_id is None else (PortId(port_id),))
        except WeftError as error:
            return error


def _node(request: Request) -> NodeName:
    return NodeName(request.path_params["node"])


def _require(snapshot: Snapshot, node: NodeName) -> None:
    if node not in snapshot.topology().nodes:
        raise NotFound(f"'{node}' is not a node of the inventory", kind="NodeNotFound")


def _outcome(done: Workload | bool | WeftError) -> WorkloadOutcome:
    if isinstance(done, WeftError):
        after_s = done.retry_after_s if isinstance(done, Transient) else None
        error = WorkloadError(status=status_of(done), kind=done.kind, message=done.message, retry_after_s=after_s)
        return WorkloadOutcome(error=error)
    return WorkloadOutcome(released=done) if isinstance(done, bool) else WorkloadOutcome(workload=done)
