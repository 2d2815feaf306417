"""What the server is asked and told of containers: many items in one call, and one call at a time.

A container that asks for its name's port waits for the answer. What the server has only to know, that a warm port has
its container and that a container is gone, it is told soon after; until then it stands on the cable.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec
import structlog

from weft.agent.cni.cables import ANEW, CLAIM, LET_GO, Cable
from weft.client.endpoint import UNREACHABLE
from weft.client.outcomes import error_in, workload_in
from weft.model.errors import Transient, WeftError
from weft.protocol.workload import (
    MAX_BATCH,
    WarmOrder,
    Workload,
    WorkloadBatch,
    WorkloadClaim,
    WorkloadOutcome,
    WorkloadOutcomes,
    WorkloadRelease,
    WorkloadRequest,
    WorkloadsCompared,
    WorkloadsPresent,
)

TELL_AFTER_S = 0.05
"""How long what the server has only to know waits for more of it."""
RETRY_MIN_S = 0.5
RETRY_MAX_S = 10.0
MAX_DOUBLINGS = 8
"""Of the time between two attempts; more would exceed RETRY_MAX_S, and at last what a float holds."""
ATTACH_PATIENCE_S = 5.0
"""How long a container that is to be attached waits for a server that does not answer: one that is restarted is back by
then, and a kubelet that has been refused comes again after more than ten seconds."""
ATTACH_RETRY_S = 0.5
"""How often a server that does not answer is asked meanwhile."""
MAX_WAITING = 1024
"""Containers that wait to be attached. One more is sent away, to come again."""
MAX_LOOSE = 1024
"""Releases of containers that have no cable. More are forgotten: the server finds by itself what a node has not."""
SERVER_TIMEOUT_S = 10.0

log = structlog.get_logger()
T = TypeVar("T")


_Attachment = tuple[WorkloadRequest, "asyncio.Future[Workload]", float]
"""What is asked for, who waits for it, and until when, by the loop's clock, if no server answers."""


class Server(Protocol):
    """What is needed of the server; weft.client.AsyncClient is one."""

    async def workload_batch(self, node: str, asked: WorkloadBatch) -> WorkloadOutcomes: ...

    async def warm_workloads(self, node: str, asked: WarmOrder) -> tuple[Workload, ...]: ...

    async def workloads_present(self, node: str, asked: WorkloadsPresent) -> WorkloadsCompared: ...

    async def workload(self, node: str, port_id: str) -> Workload: ...

    async def close(self) -> None: ...


class Line:
    """A connection to one of the node's servers that is kept; the next is tried when one does not answer."""

    def __init__(self, connects: Sequence[Callable[[], Server]]) -> None:
        self._connects = connects
        self._at = 0
        self._server: Server | None = None

    async def call(self, work: Callable[[Server], Awaitable[T]]) -> T:
        """Call a server. Raises Transient if none of them answers."""
        last: Transient | None = None
        for _ in self._connects:
            if self._server is None:
                self._server = self._connects[self._at]()
            server = self._server
            try:
                async with asyncio.timeout(SERVER_TIMEOUT_S):
                    return await work(server)
            except TimeoutError:
                last = Transient(f"the server did not answer within {SERVER_TIMEOUT_S:g} s", retry_after_s=RETRY_MIN_S)
            except Transient as error:
                last = error
            except WeftError as error:
                if error.kind in {"Unauthorized", "Forbidden"}:
                    await self._leave(server, self._at)  # a renewed token is read at the next connection
                raise
            except Exception as error:
                if self._server is server:
                    raise
                last = Transient(f"the connection was given up: {error!r}", retry_after_s=RETRY_MIN_S)
            await self._leave(server, (self._at + 1) % len(self._connects))
        assert last is not None, "a node has a server"
        raise last

    async def close(self) -> None:
        """End the connection."""
        if self._server is not None:
            await self._leave(self._server, self._at)

    async def _leave(self, server: Server, then: int) -> None:
        """End a connection, unless another call has done so: then there may be a new one, which others use."""
        if self._server is not server:
            return
        self._server, self._at = None, then
        with contextlib.suppress(WeftError, OSError):
            await server.close()


class Courier:
    """Attaches, claims and releases.

    `owed` returns the cables whose news the server lacks; `settled` takes those of which it has them, or has refused
    them for good. `renew` takes a container's cable whose port was deleted before it was claimed, with the port in its
    place once there is one.
    """

    def __init__(
        self,
        node: str,
        line: Line,
        owed: Callable[[], list[Cable]],
        settled: Callable[[Sequence[Cable]], Awaitable[None]],
        renew: Callable[[Cable, Workload | None], Awaitable[None]],
    ) -> None:
        self._node = node
        self._line = line
        self._owed = owed
        self._settled = settled
        self._renew = renew
        self._attaching: list[_Attachment] = []
        self._sent: list[_Attachment] = []
        """Those of the last batch."""
        self._loose: dict[WorkloadRelease, None] = {}
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._failures = 0

    async def attach(self, asked: WorkloadRequest) -> Workload:
        """Have the port of a workload's name on this node. Raises what the server says."""
        if len(self._attaching) >= MAX_WAITING:
            raise Transient(f"{MAX_WAITING} containers wait for the server already", retry_after_s=RETRY_MIN_S)
        done: asyncio.Future[Workload] = asyncio.get_running_loop().create_future()
        self._attaching.append((asked, done, asyncio.get_running_loop().time() + ATTACH_PATIENCE_S))
        self._urgent.set()
        self._wake.set()
        return await done

    def tell(self) -> None:
        """Tell the server soon what stands on the cables."""
        self._wake.set()

    def release(self, asked: WorkloadRelease) -> None:
        """Tell the server soon that a container is gone that has no cable."""
        if len(self._loose) < MAX_LOOSE:
            self._loose[asked] = None
        self._wake.set()

    async def run(self) -> None:
        """Ask and tell, for ever."""
        while True:
            await self._occasion()
            try:
                await self._send()
            except Exception as error:
                log.exception("workloads_not_told")
                _fail(self._sent, Transient(f"the agent failed: {error!r}", retry_after_s=RETRY_MIN_S))
                self._failures += 1

    async def _occasion(self) -> None:
        """Wait until there is something to say: at once if somebody waits for it, else a little for more of it."""
        await _for(self._wake, self._retry_s())
        if not self._attaching:
            await _for(self._urgent, TELL_AFTER_S)
        self._wake.clear()
        self._urgent.clear()

    def _retry_s(self) -> float | None:
        """Return how long the server is let alone after what it did not do; None: there is nothing to try again."""
        if not self._failures:
            return None
        longest = ATTACH_RETRY_S if self._attaching else RETRY_MAX_S
        return min(longest, RETRY_MIN_S * 2.0 ** min(self._failures - 1, MAX_DOUBLINGS))

    async def _send(self) -> None:
        attaching, self._attaching = self._attaching[:MAX_BATCH], self._attaching[MAX_BATCH:]
        self._sent = attaching = [each for each in attaching if not each[1].done()]
        told = self._owed()[: (MAX_BATCH - len(attaching)) // 2]  # a release is said twice: see _releases
        claimed = [each for each in told if each.owed == CLAIM and each.workload is not None]
        gone = [each for each in told if each.owed == LET_GO]
        anew = [each for each in told if each.owed == ANEW and each.workload is not None]
        loose = list(self._loose)[: MAX_BATCH - len(attaching) - len(claimed) - len(anew) - 2 * len(gone)]
        releases = [each for cable in gone for each in _releases(cable)]
        if not (attaching or claimed or anew or releases or loose):
            self._failures = 0
            return
        batch = WorkloadBatch(
            attach=(*(asked for asked, _, _ in attaching), *map(_in_place, anew)),
            claim=tuple(map(_claim, claimed)),
            release=(*releases, *loose),
        )
        try:
            outcomes = await self._line.call(lambda server: server.workload_batch(self._node, batch))
        except WeftError as error:
            now = asyncio.get_running_loop().time() if error.kind == UNREACHABLE else math.inf
            self._attaching[:0] = [each for each in attaching if now < each[2]]
            _fail([each for each in attaching if now >= each[2]], error)
            self._failures += 1
            if items := len(claimed) + len(anew) + len(gone) + len(loose):
                log.warning("workloads_not_told", items=items, error=error.message)
            return
        except BaseException:
            _fail(attaching, Transient("the agent is stopping", retry_after_s=RETRY_MIN_S))
            raise
        for (_, done, _), outcome in zip(attaching, outcomes.attach[: len(attaching)], strict=True):
            _resolve(done, outcome)
        said = [
            *zip(claimed, outcomes.claim, strict=True),
            *zip(anew, outcomes.attach[len(attaching) :], strict=True),
        ]
        said = [(each, outcome) for each, outcome in said if not await self._is_renewed(each, outcome)]
        later = [each for each, outcome in said if not _is_settled(each, outcome)]
        halves = outcomes.release[: 2 * len(gone)]
        for each, first, second in zip(gone, halves[::2], halves[1::2], strict=True):
            if not (_is_settled(each, first) and _is_settled(each, second)):
                later.append(each)
        put_off = 0
        for release, outcome in zip(loose, outcomes.release[2 * len(gone) :], strict=True):
            if isinstance(_error(outcome), Transient):
                put_off += 1
            else:
                del self._loose[release]
        names = {each.name for each in later}
        await self._settled([each for each in (*(each for each, _ in said), *gone) if each.name not in names])
        self._failures = self._failures + 1 if later or put_off else 0
        if self._attaching or (not self._failures and (self._loose or self._owed())):
            self._wake.set()

    async def _is_renewed(self, cable: Cable, outcome: WorkloadOutcome) -> bool:
        """See to a container whose port was deleted before it was claimed; tell whether it is such a one."""
        if cable.owed == CLAIM and outcome.error is not None and outcome.error.kind == "WorkloadNotFound":
            await self._renew(cable, None)
        elif cable.owed == ANEW and outcome.workload is not None:
            await self._renew(cable, outcome.workload)
        else:
            return False
        return True


async def _for(event: asyncio.Event, timeout_s: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _claim(cable: Cable) -> WorkloadClaim:
    workload = cable.workload
    assert workload is not None
    return WorkloadClaim(
        port_id=workload.port_id,
        epoch=workload.epoch,
        name=workload.name,
        holder=cable.container_id,
        project_id=cable.project or None,
        release=cable.release or None,
    )


def _in_place(cable: Cable) -> WorkloadRequest:
    """Ask for a port in place of the one that a container runs on, with all that the container has of it."""
    workload = cable.workload
    assert workload is not None
    return WorkloadRequest(
        name=workload.name,
        holder=cable.container_id,
        project_id=cable.project or None,
        network=workload.network_id,
        mac=workload.mac,
        ephemeral=True,
        release=cable.release or None,
        instead_of=workload.port_id,
        addresses=tuple(each.address for each in workload.addresses),
    )


def _releases(cable: Cable) -> tuple[WorkloadRelease, WorkloadRelease]:
    """A warm port whose claim the server never took has no holder there; only one of the two is its holder's."""
    workload, project = cable.workload, cable.project or None
    assert workload is not None
    held = WorkloadRelease(holder=cable.container_id, project_id=project, port_id=workload.port_id)
    return held, msgspec.structs.replace(held, holder="")


def _error(outcome: WorkloadOutcome) -> WeftError | None:
    return None if outcome.error is None else error_in(outcome.error)


def _is_settled(cable: Cable, outcome: WorkloadOutcome) -> bool:
    """Tell whether the server knows it, or has refused it for good."""
    error = _error(outcome)
    if isinstance(error, Transient):
        return False
    if error is not None and cable.owed == ANEW:
        todo = "its addresses are not its own any more: have the container deleted and started anew"
        about = {"container": cable.container_id, "error": error.message}
        log.error("container_cut_off", workload=cable.workload and cable.workload.name, **about, todo=todo)
    elif error is not None:
        port = cable.workload.port_id if cable.workload is not None else ""
        log.warning("workload_refused", owed=cable.owed, port=port, container=cable.container_id, error=error.message)
    return True


def _resolve(done: "asyncio.Future[Workload]", outcome: WorkloadOutcome) -> None:
    if done.done():
        return
    try:
        done.set_result(workload_in(outcome))
    except WeftError as error:
        done.set_exception(error)


def _fail(attaching: list[_Attachment], error: WeftError) -> None:
    for _, done, _ in attaching:
        if not done.done():
            done.set_exception(error)
