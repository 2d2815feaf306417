"""A node with containers, in memory: the service over a modelled OVSDB and kernel, at the transactions of a real store.

Every time the agent speaks to the outside is a point with a name. At one of them, before or after it took effect, the
agent can be killed: nothing that it still wanted to do happens any more, and another one starts over what is there.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import pytest
from agent_host import FakeRows, Faults
from core_world import PROJECT, World

from weft.agent.cni import courier, keeper
from weft.agent.cni.cables import CableIndex
from weft.agent.cni.kernel import Pair
from weft.agent.cni.pool import WarmPolicy
from weft.agent.cni.request import Call
from weft.agent.cni.service import CniService
from weft.agent.ovs.observed import INTEGRATION
from weft.agent.ovs.tables import Operation, Tables, ovs_set
from weft.intent.desired import node_desired
from weft.intent.realizations import report
from weft.intent.workload_presence import compare, settle
from weft.intent.workloads import attach, claim, release, warm, workload_of, workloads_on
from weft.model.errors import Transient, WeftError
from weft.model.ids import NodeName, PortId
from weft.model.intent import RealizationState, Realizer
from weft.protocol.node import AddressDesired, NodeDesired, RealizationReport
from weft.protocol.workload import (
    WarmOrder,
    Workload,
    WorkloadBatch,
    WorkloadError,
    WorkloadOutcome,
    WorkloadOutcomes,
    WorkloadsCompared,
    WorkloadsPresent,
)
from weft.store import Transaction

T = TypeVar("T")
NODE = NodeName("node1")
STEPS = 400
"""Turns of the event loop after which a node that is left alone has come to rest; far more than it takes."""


STILL = 12
"""Turns in which nothing happens, after which nothing will."""


class Killed(BaseException):
    """The agent is dead."""


class Points:
    """Where the agent speaks to the outside: counted, and one of them may be its end."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.kill_at: int | None = None
        self.dead = False

    def at(self, name: str) -> None:
        """Pass a point, or die there."""
        if self.dead:
            raise Killed
        self.names.append(name)
        if self.kill_at == len(self.names):
            self.dead = True
            raise Killed


class _Rows(FakeRows):
    def __init__(self) -> None:
        super().__init__(Faults())
        self.connected = True
        where = [["_uuid", "==", ["uuid", "root"]]]
        here = [["bridges", "insert", ovs_set([["named-uuid", "b"]])]]
        self.execute(
            [
                {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": INTEGRATION}},
                {"op": "mutate", "table": "Open_vSwitch", "where": where, "mutations": here},
            ]
        )

    @property
    def tables(self) -> Tables | None:
        return {table: {id_: dict(row) for id_, row in rows.items()} for table, rows in self.rows.items()}


class Machine:
    """What outlives the agent: OVSDB, the kernel's links, and the namespaces of containers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows = _Rows()
        self.pairs: dict[str, Pair] = {}
        """By the host's end."""
        self.joined: dict[str, str] = {}
        """Host's end, or what stands in for it, by cable."""
        self.down: set[str] = set()
        """Cables that somebody has set down."""
        self.namespaces: set[str] = set()
        self.server_away = False
        self.is_deaf = False
        """Whether what the server tells of the node's ports has not come yet."""
        self.working: set[asyncio.Future[Any]] = set()
        """What the server is doing now."""

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Have something done at the server."""
        return await self.doing(self.world.store.transact(work))

    def doing(self, work: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        """Have something done that `idle` waits for."""
        doing = asyncio.ensure_future(work)
        self.working.add(doing)
        doing.add_done_callback(self.working.discard)
        return doing

    async def idle(self) -> None:
        """Wait until the server has done what it was asked."""
        while self.working:
            await asyncio.wait(self.working)
            await asyncio.sleep(0)

    def links(self) -> dict[str, int]:
        names = [row["name"] for row in self.rows.rows["Interface"].values()]
        joints = (pair.joint for pair in self.pairs.values() if pair.joint is not None)
        return {name: hash(name) for name in (*names, *self.pairs, *joints)}

    def inside(self, netns: str) -> list[Pair]:
        """Return the pairs of a namespace."""
        return [pair for pair in self.pairs.values() if pair.netns == netns]


class _Agent:
    """One life of the agent: what it calls, with a point before and after each thing that it does."""

    def __init__(self, machine: Machine, points: Points, policy: WarmPolicy) -> None:
        self._machine = machine
        self._points = points
        self.told = 0
        self.service = CniService(NODE, self, [lambda: self], self, self, clock=machine.world.clock, policy=policy)
        self.tasks: set[asyncio.Task[Any]] = {asyncio.create_task(self._life())}

    async def _life(self) -> None:
        with contextlib.suppress(Killed, BaseExceptionGroup):
            await self.service.run()

    # Open vSwitch's database

    @property
    def tables(self) -> Tables | None:
        return self._machine.rows.tables

    @property
    def connected(self) -> bool:
        return self._machine.rows.connected

    async def transact(self, operations: Sequence[Operation]) -> None:
        await self._point("before a transaction")
        self._machine.rows.execute(operations)
        await self._point("after a transaction")

    # The kernel

    async def read(self) -> Mapping[str, int]:
        return self._machine.links()

    def is_down(self, name: str) -> bool:
        return name in self._machine.down

    def distrust(self) -> None:
        return

    async def dress(self, indices: Sequence[int]) -> None:
        await self._point(f"before {len(indices)} cables are made ready")
        self._machine.down -= {name for name, index in self._machine.links().items() if index in indices}

    async def join(self, pairs: Sequence[tuple[int, int]]) -> None:
        await self._point("before cables are joined")
        names = {index: name for name, index in self._machine.links().items()}
        self._machine.joined.update({names[cable]: names[end] for cable, end in pairs})

    async def make(self, pair: Pair) -> tuple[int, int]:
        await self._point("before a pair is made")
        if pair.netns not in self._machine.namespaces:
            raise Transient(f"cannot make {pair.ifname} in {pair.netns}: No such file or directory", retry_after_s=1)
        if any(each.ifname == pair.ifname for each in self._machine.inside(pair.netns)):
            raise Transient(f"cannot make {pair.ifname}: there is a {pair.ifname} already", retry_after_s=1)
        assert pair.host_end not in self._machine.pairs
        self._machine.pairs[pair.host_end] = pair
        await self._point("after a pair is made, before it is joined")
        end = self._machine.joined[pair.cable] = pair.joint or pair.host_end
        await self._point("after a pair is joined")
        return hash(pair.cable), hash(end)

    async def remove(self, host_ends: Sequence[str]) -> None:
        await self._point("before pairs are deleted")
        for name in host_ends:
            pair = self._machine.pairs.pop(name, None)
            gone = {name, pair.joint if pair is not None else None}
            self._machine.joined = {cable: end for cable, end in self._machine.joined.items() if end not in gone}
        await self._point("after pairs are deleted")

    async def announce(self, cable: str, mac: str, addresses: Sequence[AddressDesired]) -> None:
        await self._point("before an announcement")

    # The server

    async def workload_batch(self, node: str, asked: WorkloadBatch) -> WorkloadOutcomes:
        await self._point("before a batch")
        self._answered()
        self.told += 1
        transact = self._machine.transact
        released = [
            await _one(transact(lambda tx, each=each: release(tx, NODE, each, project_id=PROJECT)))
            for each in asked.release
        ]
        claimed = [
            await _one(transact(lambda tx, each=each: claim(tx, NODE, each, project_id=PROJECT)))
            for each in asked.claim
        ]
        attached = [
            await _one(transact(lambda tx, each=each: attach(tx, NODE, each, project_id=PROJECT)))
            for each in asked.attach
        ]
        await self._point("after a batch")
        return WorkloadOutcomes(attach=tuple(attached), claim=tuple(claimed), release=tuple(released))

    async def warm_workloads(self, node: str, asked: WarmOrder) -> tuple[Workload, ...]:
        await self._point("before an order")
        self._answered()
        transact = self._machine.transact
        made = tuple([await transact(lambda tx: warm(tx, NODE, asked, project_id=PROJECT)) for _ in range(asked.count)])
        await self._point("after an order")
        return made

    async def workloads_present(self, node: str, asked: WorkloadsPresent) -> WorkloadsCompared:
        await self._point("before a statement")
        self._answered()
        store = self._machine.world.store
        found = await store.read(lambda snapshot: compare(snapshot, NODE, asked.workloads))
        gone = await self._machine.transact(lambda tx: settle(tx, NODE, found))
        return WorkloadsCompared(missing=tuple(found.missing), released=tuple(gone), stray=found.stray)

    async def workload(self, node: str, port_id: str) -> Workload:
        self._answered()
        return await self._machine.world.store.read(lambda snapshot: workload_of(snapshot, NODE, PortId(port_id)))

    async def close(self) -> None:
        return

    def _answered(self) -> None:
        if self._machine.server_away:
            raise Transient("no weft server answers", retry_after_s=1.0)

    async def _point(self, name: str) -> None:
        await asyncio.sleep(0)
        self._points.at(name)


async def _one(work: Any) -> WorkloadOutcome:
    try:
        done = await work
    except WeftError as error:
        return WorkloadOutcome(error=WorkloadError(status=409, kind=error.kind, message=error.message))
    return WorkloadOutcome(released=done) if isinstance(done, bool) else WorkloadOutcome(workload=done)


class ContainerNode:
    """The node as a container runtime sees it."""

    def __init__(self, world: World, policy: WarmPolicy | None = None) -> None:
        self.machine = Machine(world)
        self.policy = policy or WarmPolicy(cables=2, ports=2, ports_max=8)
        self.points = Points()
        self.agent = _Agent(self.machine, self.points, self.policy)

    async def call(self, command: str, container: str, pod: str = "", *, netns: str | None = None, **conf: Any) -> Any:
        """Call the plugin; return the result. Raises CniError, and Killed if the agent died meanwhile."""
        document = {"cniVersion": "1.1.0", "name": "n", "type": "weft-cni", "network": "pods", "cluster": "c", **conf}
        call = Call(
            command=command,
            container_id=container,
            netns=f"/run/netns/{container}" if netns is None else netns,
            ifname="eth0",
            args=f"K8S_POD_NAMESPACE=d;K8S_POD_NAME={pod}" if pod else "",
            stdin=json.dumps(document),
        )
        if command == "ADD" and netns is None:
            self.machine.namespaces.add(call.netns)
        answer = asyncio.create_task(self.agent.service.answer(call))
        self.agent.tasks.add(answer)
        for _ in range(STEPS):
            if self.points.dead:
                raise Killed
            if answer.done():
                return answer.result()
            await self.live()
        raise AssertionError(f"{command} {container} does not end")

    async def live(self) -> None:
        """Let a little happen: on the node, in Open vSwitch, at the server."""
        for _ in range(3):
            await asyncio.sleep(0)
            await self.machine.idle()
        self.machine.rows.settle()
        if not self.machine.server_away:
            await self._realize()
            if not self.machine.is_deaf:
                self.agent.service.follow(await self.desired())
        self.agent.service.wake()

    async def rest(self) -> None:
        """Let all happen that is to happen: until nothing does for a while."""
        still, before = 0, None
        for _ in range(STEPS):
            await self.live()
            now = (len(self.points.names), self.machine.world.store.revision, self.machine.rows.transactions)
            still = still + 1 if now == before else 0
            before = now
            if still == STILL:
                return
        raise AssertionError(f"the node does not come to rest: {self.points.names[-6:]}")

    async def restart(self) -> None:
        """Start the agent anew, whatever became of the last one."""
        self.points.dead = True
        for task in self.agent.tasks:
            task.cancel()
        await asyncio.gather(*self.agent.tasks, return_exceptions=True)
        self.points = Points()
        self.agent = _Agent(self.machine, self.points, self.policy)
        await self.rest()

    async def close(self) -> None:
        """Stop the agent."""
        self.points.dead = True
        for task in self.agent.tasks:
            task.cancel()
        await asyncio.gather(*self.agent.tasks, return_exceptions=True)

    async def desired(self) -> NodeDesired:
        """Return what the server tells the node."""
        return await self.machine.world.store.read(lambda snapshot: node_desired(snapshot, NODE))

    async def bound(self) -> list[Workload]:
        """Return what the server has on the node."""
        return await self.machine.world.store.read(lambda snapshot: workloads_on(snapshot, NODE))

    async def _realize(self) -> None:
        """Be the node's reconciler and the fabric: what has a device is up."""
        store = self.machine.world.store
        devices = {dict(row["external_ids"][1]).get("iface-id") for row in self.machine.rows.rows["Interface"].values()}
        for each in await self.bound():
            if each.port_id in devices and each.state != "ACTIVE":
                for realizer, actor, node in (
                    (Realizer.HOST, f"agent/{NODE}", NODE),
                    (Realizer.FABRIC, "fabric/leaf1", None),
                ):
                    told = RealizationReport(
                        port_id=each.port_id, epoch=each.epoch, state=RealizationState.UP, realizer=realizer
                    )
                    await store.transact(lambda tx, t=told, a=actor, n=node: report(tx, [t], actor=a, node=n))

    def cables(self) -> list[Any]:
        """Return the cables."""
        tables = self.machine.rows.tables
        assert tables is not None
        return CableIndex().look(tables)

    async def check(self) -> None:
        """Assert what always holds of a node at rest: it and the plan agree on who has which address."""
        bound = {each.port_id: each for each in await self.bound()}
        cables = self.cables()
        carried = {each.workload.port_id: each for each in cables if each.workload is not None}
        assert len(carried) == sum(each.workload is not None for each in cables), "a port is on one cable"
        assert carried.keys() == bound.keys(), "the node has what the plan has"
        assert not any(each.owed for each in cables), "nothing is owed"
        for port_id, cable in carried.items():
            assert bound[port_id].holder == cable.container_id
            assert bound[port_id].epoch == cable.workload.epoch
        by_end = {each.host_end: each for each in cables if each.is_plugged}
        for end, pair in self.machine.pairs.items():
            assert end in by_end, f"{end} in {pair.netns} is nobody's"
            workload = by_end[end].workload
            assert (pair.mac, pair.addresses) == (workload.mac, workload.addresses)
            assert self.machine.joined.get(pair.cable) == (pair.joint or end)
        assert set(self.machine.joined) == {pair.cable for pair in self.machine.pairs.values()}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the agent wait for nothing but events."""
    monkeypatch.setattr(courier, "TELL_AFTER_S", 0.0)
    monkeypatch.setattr(courier, "RETRY_MIN_S", 0.0)
    monkeypatch.setattr(keeper, "RETRY_S", 0.0)
