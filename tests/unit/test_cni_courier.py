"""What is said to the server when it cannot take it, or answers what it was not asked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from weft.agent.cni import courier
from weft.agent.cni.cables import Cable
from weft.agent.cni.courier import Courier, Line
from weft.model.errors import Transient
from weft.protocol.workload import (
    WarmOrder,
    Workload,
    WorkloadBatch,
    WorkloadError,
    WorkloadOutcome,
    WorkloadOutcomes,
    WorkloadRelease,
    WorkloadRequest,
    WorkloadsCompared,
    WorkloadsPresent,
)

AWAY = WorkloadOutcome(error=WorkloadError(status=503, kind="Transient", message="no database", retry_after_s=1.0))


class Server:
    """Answers every item of a batch alike, and counts batches."""

    def __init__(self, answer: Callable[[WorkloadBatch], WorkloadOutcomes] = lambda _: WorkloadOutcomes()) -> None:
        self._answer = answer
        self.batches = 0
        self.is_closed = False

    async def workload_batch(self, node: str, asked: WorkloadBatch) -> WorkloadOutcomes:
        self.batches += 1
        return self._answer(asked)

    async def warm_workloads(self, node: str, asked: WarmOrder) -> tuple[Workload, ...]:
        raise NotImplementedError

    async def workloads_present(self, node: str, asked: WorkloadsPresent) -> WorkloadsCompared:
        raise NotImplementedError

    async def workload(self, node: str, port_id: str) -> Workload:
        raise NotImplementedError

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What fails is not tried again within a test; nothing else is waited for."""
    monkeypatch.setattr(courier, "TELL_AFTER_S", 0.0)
    monkeypatch.setattr(courier, "RETRY_MIN_S", 1_000.0)
    monkeypatch.setattr(courier, "RETRY_MAX_S", 1_000.0)
    return


async def run(server: Server, work: Callable[[Courier], "asyncio.Future[Workload] | None"]) -> None:
    """Let a courier run for some turns of the loop after it was given something to do."""

    async def settled(_: object) -> None:
        return

    async def renew(_: Cable, __: Workload | None) -> None:
        return

    made = Courier("node1", Line([lambda: server]), list, settled, renew)
    running = asyncio.create_task(made.run())
    waiting = work(made)
    try:
        for _ in range(300):
            await asyncio.sleep(0)
        if waiting is not None:
            await asyncio.wait_for(waiting, 1.0)
    finally:
        running.cancel()


async def test_a_release_that_the_server_cannot_take_now_is_not_said_without_a_pause() -> None:
    server = Server(lambda asked: WorkloadOutcomes(release=tuple(AWAY for _ in asked.release)))
    await run(server, lambda made: made.release(WorkloadRelease(name="c/d/web", holder="gone")))
    assert server.batches == 1


async def test_who_waits_hears_of_an_answer_that_makes_no_sense() -> None:
    server = Server(lambda _: WorkloadOutcomes())
    with pytest.raises(Transient, match="the agent failed"):
        await run(server, lambda made: asyncio.ensure_future(made.attach(WorkloadRequest(name="c/d/db-0", holder="a"))))


async def test_a_call_that_fails_late_ends_no_connection_that_others_have_made_since() -> None:
    made = [Server(), Server(), Server()]
    left = iter(made)
    line = Line([lambda: next(left)] * 2)
    fail = [asyncio.Event(), asyncio.Event()]

    def failing(event: asyncio.Event, error: Exception) -> Callable[[courier.Server], Awaitable[None]]:
        async def work(server: courier.Server) -> None:
            if server is made[0]:
                await event.wait()
                raise error

        return work

    works = (
        failing(fail[0], Transient("no answer", retry_after_s=1.0)),
        failing(fail[1], RuntimeError("the client has been closed")),
    )
    calls = [asyncio.create_task(line.call(work)) for work in works]
    await asyncio.sleep(0)
    for event, call in zip(fail, calls, strict=True):
        event.set()
        await call
    assert [each.is_closed for each in made] == [True, False, False]
    await line.close()
    assert [each.is_closed for each in made] == [True, True, False]
