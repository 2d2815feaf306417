"""ADD, DEL, CHECK, GC and STATUS, as the agent does them.

One call of a container at a time, and calls of different containers side by side. Whatever ADD has made is taken away
again if it fails, so that the runtime can try anew; DEL is right however often it comes, and without a namespace.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import structlog

from weft.agent.cni import sandbox
from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.naming import Naming, naming
from weft.agent.cni.request import Call, Configuration, check, configuration
from weft.agent.cni.result import result
from weft.agent.cni.sandbox import Plugged
from weft.agent.cni.waiting import Waiting
from weft.agent.ovs.tables import Operation, Tables
from weft.kubernetes.pod import PodFacts
from weft.model.errors import NotFound, Transient, WeftError
from weft.protocol.workload import Workload, WorkloadRelease, WorkloadRequest

ACTIVE_TIMEOUT_S = 20.0
"""How long an ADD waits until its port is ACTIVE; then it fails, and the runtime tries again."""

log = structlog.get_logger()


class Rows(Protocol):
    """What is needed of Open vSwitch's database; weft.agent.ovs.database.Database is one."""

    @property
    def tables(self) -> Tables | None: ...

    @property
    def connected(self) -> bool: ...

    async def transact(self, operations: list[Operation]) -> None: ...


class Server(Protocol):
    """What is needed of the server; weft.client.AsyncClient is one."""

    async def attach_workload(self, node: str, asked: WorkloadRequest) -> Workload: ...

    async def release_workload(self, node: str, asked: WorkloadRelease) -> bool: ...

    async def workload(self, node: str, port_id: str) -> Workload: ...

    async def workloads(self, node: str) -> list[Workload]: ...

    async def close(self) -> None: ...


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
    """Serves the containers of one node. `connect` makes a client of the server; a call has one of its own.

    `pods` None: there is no orchestrator to ask. `writes_checksums`: Open vSwitch forwards in user space, which takes
    packets as they are.
    """

    def __init__(
        self,
        node: str,
        rows: Rows,
        connect: Callable[[], Server],
        *,
        pods: Pods | None = None,
        writes_checksums: bool = False,
    ) -> None:
        self._node = node
        self._writes_checksums = writes_checksums
        self._rows = rows
        self._connect = connect
        self._pods = pods
        self._turns: dict[str, _Turn] = {}
        self._waiting = Waiting(self._workloads)

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
                        pod = None if self._pods is None else await self._pods.facts(call, document)
                        return await self._of_one(call, found, naming(call, found, document, pod))
        except Transient as error:
            raise CniError(Code.TRY_AGAIN_LATER, error.message) from None
        except WeftError as error:
            raise CniError(Code.REFUSED, error.message, error.kind) from None

        return None

    async def _of_one(self, call: Call, found: Configuration, wanted: Naming) -> dict[str, Any] | None:
        if call.command == "ADD":
            return await self._add(call, found, wanted)
        if call.command == "DEL":
            await self._delete(call, found, wanted)
        else:
            await self._check(call)
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
        self._refuse_without_switch()
        if any(_is_of(each, call) for each in self._plugged()):
            await self._unplug(call.container_id, call.ifname)  # an ADD that was broken off: a runtime adds once
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
        async with self._server() as server:
            workload = await server.attach_workload(self._node, asked)
            try:
                await self._unplug_port(workload.port_id)  # another container of this node had it until now
                await sandbox.make(call.netns, call.ifname, workload, writes_checksums=self._writes_checksums)
                await self._rows.transact(
                    sandbox.insertion(
                        self._tables(), workload, ifname=call.ifname, network=found.name, project=found.project
                    )
                )
                await self._until_active(workload)
            except BaseException:
                await self._undo(server, call, found, wanted, workload)
                raise
        log.info("container_added", container=call.container_id, workload=wanted.name, port=workload.port_id)
        return result(found.version, workload, call.ifname, call.netns)

    async def _undo(self, server: Server, call: Call, found: Configuration, wanted: Naming, workload: Workload) -> None:
        with contextlib.suppress(WeftError):
            await self._unplug_port(workload.port_id)
        with contextlib.suppress(WeftError):
            await sandbox.remove(sandbox.device_of(workload.port_id))
        with contextlib.suppress(WeftError):
            await server.release_workload(self._node, _release(call.container_id, found.project, wanted.name))

    async def _delete(self, call: Call, found: Configuration, wanted: Naming) -> None:
        """Take a container away. Its name comes from what was plugged for it, else from what the runtime says."""
        names = {(each.name, each.project) for each in self._plugged() if _is_of(each, call)}
        await self._unplug(call.container_id, call.ifname)
        async with self._server() as server:
            for name, project in names or {(wanted.name, found.project or "")}:
                await server.release_workload(self._node, _release(call.container_id, project or None, name))
        log.info("container_deleted", container=call.container_id, workload=wanted.name)

    async def _check(self, call: Call) -> None:
        here = next((each for each in self._plugged() if _is_of(each, call)), None)
        if here is None:
            raise CniError(Code.UNKNOWN_CONTAINER, f"nothing is plugged for {call.container_id} {call.ifname}")
        async with self._server() as server:
            try:
                workload = await server.workload(self._node, here.port_id)
            except NotFound:
                raise CniError(Code.NOT_AS_ADDED, f"port {here.port_id} is not on this node any more") from None
        if workload.holder != call.container_id:
            raise CniError(Code.NOT_AS_ADDED, f"port {here.port_id} is held by {workload.holder} now")
        mac, addresses = await sandbox.seen(call.netns, call.ifname)
        wanted = {f"{each.address}/{each.prefixlen}" for each in workload.addresses}
        if mac != workload.mac or not wanted <= addresses:
            message = f"{call.ifname} has {mac} and {', '.join(sorted(addresses)) or 'no address'}"
            raise CniError(Code.NOT_AS_ADDED, message, f"it should have {workload.mac} and {', '.join(sorted(wanted))}")
        if workload.state != "ACTIVE":
            raise CniError(Code.NOT_AS_ADDED, f"port {here.port_id} is {workload.state}", workload.reason)

    async def _collect(self, found: Configuration) -> None:
        """Take away what is plugged, or held, for containers of this network that are not there any more."""
        self._refuse_without_switch()
        valid = set(found.valid)
        gone = [
            each
            for each in self._plugged()
            if each.network == found.name and (each.container_id, each.ifname) not in valid
        ]
        for each in gone:
            await self._unplug(each.container_id, each.ifname)
        async with self._server() as server:
            for each in gone:
                asked = _release(each.container_id, each.project or None, each.name)
                await server.release_workload(self._node, asked)
        if gone:
            log.info("containers_collected", network=found.name, containers=[each.container_id for each in gone])

    async def _status(self) -> None:
        if not self._rows.connected:
            raise CniError(Code.NOT_AVAILABLE, "Open vSwitch does not answer on this node")
        try:
            async with self._server() as server:
                await server.workloads(self._node)
        except Transient as error:
            raise CniError(Code.NOT_AVAILABLE, f"the server does not answer: {error.message}") from None

    async def _until_active(self, workload: Workload) -> None:
        def settled(now: Workload | None) -> bool:
            return now is None or now.epoch != workload.epoch or now.state == "ACTIVE"

        now = await self._waiting.until(workload.port_id, settled, ACTIVE_TIMEOUT_S)
        if now is None or now.epoch != workload.epoch:
            holder = now.holder if now is not None else "another node"
            message = f"port {workload.port_id} went to {holder} while {workload.holder} was added"
            raise CniError(Code.TRY_AGAIN_LATER, message)
        if now.state != "ACTIVE":
            message = f"port {workload.port_id} of {workload.name} is {now.state} after {ACTIVE_TIMEOUT_S:g} s"
            hint = now.reason or f"`weft port show {workload.name}` says who has not done what"
            raise CniError(Code.TRY_AGAIN_LATER, message, hint)

    async def _workloads(self) -> list[Workload]:
        async with self._server() as server:
            return await server.workloads(self._node)

    def _refuse_without_switch(self) -> None:
        if not self._rows.connected or self._rows.tables is None:
            raise Transient("Open vSwitch does not answer on this node", retry_after_s=1.0)

    def _tables(self) -> Tables:
        self._refuse_without_switch()
        tables = self._rows.tables
        assert tables is not None
        return tables

    def _plugged(self) -> list[Plugged]:
        return list(sandbox.plugged(self._tables()))

    async def _unplug(self, container_id: str, ifname: str) -> None:
        for each in self._plugged():
            if (each.container_id, each.ifname) == (container_id, ifname):
                await self._rows.transact(sandbox.removal(self._tables(), each.port))
                await sandbox.remove(each.device)

    async def _unplug_port(self, port_id: str) -> None:
        for each in self._plugged():
            if each.port_id == port_id:
                await self._rows.transact(sandbox.removal(self._tables(), each.port))
                await sandbox.remove(each.device)

    @contextlib.asynccontextmanager
    async def _server(self) -> AsyncIterator[Server]:
        server = self._connect()
        try:
            yield server
        finally:
            await server.close()


def _is_of(plugged: Plugged, call: Call) -> bool:
    return (plugged.container_id, plugged.ifname) == (call.container_id, call.ifname)


def _release(container_id: str, project: str | None, name: str) -> WorkloadRelease:
    return WorkloadRelease(name=name, holder=container_id, project_id=project)
