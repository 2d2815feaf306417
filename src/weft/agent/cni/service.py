"""ADD, DEL, CHECK, GC and STATUS, as the agent does them.

One call of a container at a time, and calls of different containers side by side. Whatever ADD has made is taken away
again if it fails, so that the runtime can try anew; DEL is right however often it comes, without a namespace, and while
the server is away.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from weft.agent.cni import node_path, sandbox
from weft.agent.cni.cables import (
    ANEW,
    CLAIM,
    LET_GO,
    Cable,
    free_labels,
    labels_of,
    owing,
    owing_no_more,
    relabel,
    warm_labels,
    without_port,
)
from weft.agent.cni.courier import Courier, Line, Server
from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.keeper import Keeper, Links, Wires
from weft.agent.cni.ledger import Ledger, Rows
from weft.agent.cni.naming import Naming, naming
from weft.agent.cni.pool import WarmPolicy, want
from weft.agent.cni.request import Call, Configuration, check, configuration
from weft.agent.cni.result import result
from weft.agent.cni.states import ACTIVE, States
from weft.agent.ovs.tables import Operation
from weft.kubernetes.pod import PodFacts
from weft.model.errors import NotFound, Transient, WeftError
from weft.protocol.node import NodeChange, NodeDesired
from weft.protocol.workload import Workload, WorkloadPresent, WorkloadRelease, WorkloadRequest, WorkloadsPresent

ACTIVE_TIMEOUT_S = 20.0
"""How long an ADD waits until its port is ACTIVE; then it fails, and the runtime tries again."""
STATEMENT_S = 300.0
"""So often the server is told all that the node has."""
STATEMENT_RETRY_S = 5.0
MAX_TAKEN = 3
"""Warm ports that are tried for one ADD, if somebody deletes them as they are given."""
MAX_DELETED = 4096
"""Containers whose deletion is remembered: runtimes delete one two to five times."""
BANDWIDTH = "bandwidth"
"""The chained plugin that wants the host's end for itself."""

log = structlog.get_logger()


class Pods(Protocol):
    """What the orchestrator knows of pods."""

    async def facts(self, call: Call, document: Mapping[str, Any]) -> PodFacts | None:
        """Return what is known of a call's pod; None: the call must do. Raises CniError if it cannot."""


class _Turn:
    """Who is at a container, and how many are, or want to be."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


class CniService:
    """Serves the containers of one node.

    `connects` make a client each, of one of the node's servers. `pods` None: there is no orchestrator to ask.
    """

    def __init__(
        self,
        node: str,
        rows: Rows,
        connects: Sequence[Callable[[], Server]],
        links: Links,
        wires: Wires,
        *,
        clock: Callable[[], float],
        policy: WarmPolicy | None = None,
        pods: Pods | None = None,
    ) -> None:
        self._node = node
        self._rows = rows
        self._wires = wires
        self._pods = pods
        self._turns: dict[str, _Turn] = {}
        self._deleted: dict[tuple[str, str], None] = {}
        self._line = Line(connects)
        self._ledger = Ledger(rows)
        self._states = States()
        self._courier = Courier(node, self._line, self._owed, self._settled, self._renew)
        self._keeper = Keeper(
            self._ledger,
            links,
            wires,
            self._states,
            order=lambda order: self._line.call(lambda server: server.warm_workloads(node, order)),
            policy=policy or WarmPolicy(),
            tell=self._courier.tell,
            release=self._courier.release,
            clock=clock,
        )
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep cables and ports ready and the server informed, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keeper.run())
                group.create_task(self._courier.run())
                group.create_task(self._state())
        finally:
            await self._line.close()

    def wake(self) -> None:
        """Something has changed on the node: rows of Open vSwitch's database, or links."""
        self._keeper.wake()

    def follow(self, message: NodeDesired | NodeChange) -> None:
        """Take a message of the server about the node's ports."""
        self._states.follow(message)
        self._keeper.wake()

    async def answer(self, call: Call) -> dict[str, Any] | None:
        """Carry out a call; return what it prints, None for nothing. Raises CniError."""
        check(call)
        found, document = configuration(call)
        try:
            match call.command:
                case "STATUS":
                    await self._status()
                case "GC":
                    await self._collect(found)
                case _:
                    async with self._only(call.container_id):
                        return await self._of_one(call, found, document)
        except Transient as error:
            raise CniError(Code.TRY_AGAIN_LATER, error.message) from None
        except WeftError as error:
            raise CniError(Code.REFUSED, error.message, error.kind) from None

        return None

    async def _of_one(self, call: Call, found: Configuration, document: Mapping[str, Any]) -> dict[str, Any] | None:
        if call.command == "CHECK":
            await self._check(call)
            return None
        pod = None if self._pods is None else await self._pods.facts(call, document)
        wanted = naming(call, found, document, pod)
        if call.command == "ADD":
            return await self._add(call, found, wanted)
        await self._delete(call, found, wanted)
        return None

    @contextlib.asynccontextmanager
    async def _only(self, container_id: str) -> AsyncIterator[None]:
        """Let one call of a container in at a time; the last one out forgets it."""
        turn = self._turns.setdefault(container_id, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[container_id]

    async def _add(self, call: Call, found: Configuration, wanted: Naming) -> dict[str, Any]:
        self._deleted.pop((call.container_id, call.ifname), None)
        await self._unplug([each for each in self._plugged() if _is_of(each, call)])  # an ADD that was broken off
        plugged = None
        if wanted.ephemeral and wanted.address is None and wanted.mac is None:
            plugged = await self._take(call, found, wanted)
        if plugged is None:
            plugged = await self._attach(call, found, wanted)
        assert plugged.workload is not None
        if found.node_path:
            await self._lead_the_node_to(plugged, call)
        self._later(self._wires.announce(plugged.name, plugged.workload.mac, plugged.workload.addresses))
        log.info("container_added", container=call.container_id, workload=wanted.name, port=plugged.workload.port_id)
        return result(found.version, plugged.workload, call.ifname, call.netns, host_end=plugged.host_end)

    async def _lead_the_node_to(self, plugged: Cable, call: Call) -> None:
        try:
            await node_path.lay(plugged, call.netns)
        except BaseException:
            self._later(self._unplug([plugged]))
            raise

    async def _take(self, call: Call, found: Configuration, wanted: Naming) -> Cable | None:
        """Give a container a warm port, another one if somebody deletes that meanwhile.

        Returns None if it is to be attached: there is none, or one after another was deleted.
        """
        wish = want(found.project, wanted.network, wanted.network_labels)
        for _ in range(MAX_TAKEN):
            warm = await self._keeper.take_warm(wish)
            if warm is None:
                return None
            plugged = await self._claim(warm, call, found, wanted)
            if not self._keeper.is_lost(plugged):
                self._keeper.put_back(plugged)
                self._courier.tell()
                return plugged
            log.info("warm_port_gone", port=warm.workload and warm.workload.port_id, cable=warm.name)
            await self._restore(warm)
        log.warning("warm_ports_deleted", ports=MAX_TAKEN, container=call.container_id)
        return None  # one of its own, which nobody takes for one that waits

    async def _claim(self, warm: Cable, call: Call, found: Configuration, wanted: Naming) -> Cable:
        """Give a warm port to a container. If that fails, it is as warm as before: the server knows of nothing."""
        assert warm.workload is not None
        workload = msgspec.structs.replace(warm.workload, name=wanted.name, holder=call.container_id)
        cable = _containers(warm, workload, call, found, wanted, owed=CLAIM)
        try:
            note = self._ledger.write([relabel(cable.interface, labels_of(cable))])
            await _both(note, self._keeper.plug(cable, call.netns, by_joint=BANDWIDTH in found.chained))
        except BaseException:
            self._later(self._restore(warm))
            raise
        return cable

    async def _restore(self, warm: Cable) -> None:
        assert warm.workload is not None
        try:
            await self._keeper.clear([warm])
            await self._ledger.write([relabel(warm.interface, warm_labels(warm.workload, warm.pool))])
        finally:
            self._keeper.put_back(warm)

    async def _attach(self, call: Call, found: Configuration, wanted: Naming) -> Cable:
        """Have the port of a container's name, wherever it was, and wait until it is ACTIVE here."""
        free = await self._keeper.take_free()
        asked = WorkloadRequest(
            name=wanted.name,
            holder=call.container_id,
            project_id=found.project,
            network=wanted.network,
            network_labels=wanted.network_labels,
            address=wanted.address,
            mac=wanted.mac,
            ephemeral=wanted.ephemeral,
            release=wanted.release,
        )
        try:
            workload = await self._courier.attach(asked)
        except BaseException:
            self._keeper.put_back(free)
            raise
        cable = _containers(free, workload, call, found, wanted)
        try:
            others = [each for each in self._keeper.cables() if _carries(each, [workload.port_id])]
            changes = [without_port(each.interface) for each in others]  # another container of this node had it
            note = self._ledger.write([*changes, relabel(cable.interface, labels_of(cable))])
            await _both(note, self._keeper.plug(cable, call.netns, by_joint=BANDWIDTH in found.chained))
            if workload.state != ACTIVE and not await self._states.until_active(
                workload.port_id, workload.epoch, ACTIVE_TIMEOUT_S
            ):
                await self._say_why(workload)
        except BaseException:
            gone = labels_of(msgspec.structs.replace(cable, owed=LET_GO))  # all of it: nothing may be written yet
            self._later(self._let_go([cable], [relabel(cable.interface, gone)]))
            raise
        self._keeper.put_back(cable)
        return cable

    async def _say_why(self, workload: Workload) -> None:
        """Raise what an ADD fails with whose port has not become ACTIVE."""
        now = None
        with contextlib.suppress(NotFound):
            now = await self._line.call(lambda server: server.workload(self._node, workload.port_id))
        if now is None or now.epoch != workload.epoch:
            holder = now.holder if now is not None else "another node"
            message = f"port {workload.port_id} went to {holder} while {workload.holder} was added"
            raise CniError(Code.TRY_AGAIN_LATER, message)
        if now.state != ACTIVE:
            message = f"port {workload.port_id} of {workload.name} is {now.state} after {ACTIVE_TIMEOUT_S:g} s"
            hint = now.reason or f"`weft port show {workload.name}` says who has not done what"
            raise CniError(Code.TRY_AGAIN_LATER, message, hint)

    async def _delete(self, call: Call, found: Configuration, wanted: Naming) -> None:
        """Take a container away. One of which nothing is here may be known to the server: it is told, once."""
        here = [each for each in self._plugged() if _is_of(each, call)]
        if here:
            await self._unplug(here)
            log.info("container_deleted", container=call.container_id, workload=wanted.name)
        elif (call.container_id, call.ifname) not in self._deleted:
            self._courier.release(WorkloadRelease(name=wanted.name, holder=call.container_id, project_id=found.project))
        self._deleted[call.container_id, call.ifname] = None
        while len(self._deleted) > MAX_DELETED:
            del self._deleted[next(iter(self._deleted))]

    async def _check(self, call: Call) -> None:
        here = next((each for each in self._plugged() if _is_of(each, call)), None)
        if here is None or here.workload is None:
            raise CniError(Code.UNKNOWN_CONTAINER, f"nothing is plugged for {call.container_id} {call.ifname}")
        port_id = here.workload.port_id
        try:
            workload = await self._line.call(lambda server: server.workload(self._node, port_id))
        except NotFound:
            raise CniError(Code.NOT_AS_ADDED, f"port {port_id} is not on this node any more") from None
        if workload.holder != call.container_id and not here.owed:
            raise CniError(Code.NOT_AS_ADDED, f"port {port_id} is held by {workload.holder} now")
        mac, addresses = await sandbox.seen(call.netns, call.ifname)
        wanted = {f"{each.address}/{each.prefixlen}" for each in workload.addresses}
        if mac != workload.mac or not wanted <= addresses:
            message = f"{call.ifname} has {mac} and {', '.join(sorted(addresses)) or 'no address'}"
            raise CniError(Code.NOT_AS_ADDED, message, f"it should have {workload.mac} and {', '.join(sorted(wanted))}")
        if workload.state != ACTIVE:
            raise CniError(Code.NOT_AS_ADDED, f"port {port_id} is {workload.state}", workload.reason)

    async def _collect(self, found: Configuration) -> None:
        """Take away what is plugged for containers of this network that are not there any more."""
        valid = set(found.valid)
        gone = [
            each
            for each in self._plugged()
            if each.network == found.name
            and (each.container_id, each.ifname) not in valid
            and each.container_id not in self._turns
        ]
        await self._unplug(gone)
        if gone:
            log.info("containers_collected", network=found.name, containers=[each.container_id for each in gone])

    async def _status(self) -> None:
        if not self._rows.connected:
            raise CniError(Code.NOT_AVAILABLE, "Open vSwitch does not answer on this node")
        if not self._states.complete:
            raise CniError(Code.NOT_AVAILABLE, "the server has not told yet what this node carries")

    def _plugged(self) -> list[Cable]:
        return [each for each in self._keeper.cables() if each.is_plugged]

    async def _unplug(self, cables: Sequence[Cable]) -> None:
        """Take containers from their cables."""
        if cables:
            self._keeper.hold(cables)
            await self._let_go(cables, [owing(each.interface, LET_GO) for each in cables])

    async def _let_go(self, cables: Sequence[Cable], changes: Sequence[Operation]) -> None:
        try:
            await self._ledger.write(changes)
            await self._keeper.clear(cables)
        finally:
            self._keeper.put_back(*cables)
        self._courier.tell()

    def _owed(self) -> list[Cable]:
        """Return the cables of which the server lacks news; not those of calls that may yet fail."""
        try:
            cables = self._keeper.cables()
        except Transient:
            return []
        return [each for each in cables if each.owed and each.workload is not None and not self._keeper.is_busy(each)]

    async def _settled(self, cables: Sequence[Cable]) -> None:
        """The server knows: what is gone is free again, unless something new is owed meanwhile."""
        now = {each.name: each for each in self._keeper.cables()}
        changes = []
        for cable in cables:
            current = now.get(cable.name)
            if current is None or (current.owed, current.workload) != (cable.owed, cable.workload):
                continue
            if cable.owed == LET_GO:
                changes.append(relabel(cable.interface, free_labels()))
            else:  # the container may be on its way out: then it owes that
                changes.append(owing_no_more(cable.interface, cable.owed))
        await self._ledger.write(changes)
        self._keeper.wake()

    async def _renew(self, cable: Cable, workload: Workload | None) -> None:
        """A container's port was deleted before it was claimed: have another asked for, or take what was given."""
        now = next((each for each in self._keeper.cables() if each.name == cable.name), None)
        here = now is not None and (now.owed, now.workload) == (cable.owed, cable.workload)
        if now is None or not here or self._keeper.is_busy(now):
            if workload is not None:  # the container was deleted while it was asked for
                project = cable.project or None
                given = WorkloadRelease(holder=cable.container_id, project_id=project, port_id=workload.port_id)
                self._courier.release(given)
            return
        if workload is None:
            change = owing(now.interface, ANEW)
        else:
            change = relabel(now.interface, labels_of(msgspec.structs.replace(now, owed="", workload=workload)))
            log.info("port_renewed", container=cable.container_id, workload=workload.name, port=workload.port_id)
        await self._ledger.write([change])
        self._keeper.wake()

    async def _state(self) -> None:
        """Tell the server now and then all that the node has, so that nothing of it is forgotten there; for ever."""
        while True:
            try:
                await self._compare()
            except WeftError:
                await asyncio.sleep(STATEMENT_RETRY_S)
            else:
                await asyncio.sleep(STATEMENT_S)

    async def _compare(self) -> None:
        here = [each for each in self._keeper.cables() if each.owed != LET_GO]
        asked = WorkloadsPresent(workloads=tuple(filter(None, map(_present, here))))
        compared = await self._line.call(lambda server: server.workloads_present(self._node, asked))
        if compared.stray or compared.missing:
            log.info("workloads_differ", stray=compared.stray, missing=compared.missing, released=compared.released)
        gone = [
            each
            for each in self._keeper.cables()
            if each.is_warm and not self._keeper.is_busy(each) and _carries(each, compared.stray)
        ]
        await self._ledger.write([relabel(each.interface, free_labels()) for each in gone])

    def _later(self, work: Awaitable[None]) -> None:
        """Do what nobody has to wait for."""

        async def carry_out() -> None:
            try:
                await work
            except WeftError as error:
                log.warning("left_for_later", error=error.message)

        task = asyncio.create_task(carry_out())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _both(first: Awaitable[None], second: Awaitable[None]) -> None:
    """Do two things side by side, and end when both have; raise what either raised."""
    for outcome in await asyncio.gather(first, second, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _is_of(cable: Cable, call: Call) -> bool:
    return (cable.container_id, cable.ifname) == (call.container_id, call.ifname)


def _carries(cable: Cable, port_ids: Sequence[str]) -> bool:
    return cable.workload is not None and cable.workload.port_id in port_ids


def _present(cable: Cable) -> WorkloadPresent | None:
    if cable.workload is None:
        return None
    return WorkloadPresent(port_id=cable.workload.port_id, epoch=cable.workload.epoch, holder=cable.container_id)


def _containers(
    cable: Cable, workload: Workload, call: Call, found: Configuration, wanted: Naming, *, owed: str = ""
) -> Cable:
    """Return a cable as it is when it is a container's."""
    return msgspec.structs.replace(
        cable,
        workload=workload,
        container_id=call.container_id,
        ifname=call.ifname,
        network=found.name,
        project=found.project or "",
        owed=owed,
        is_device=True,
        release=wanted.release or "",
    )
