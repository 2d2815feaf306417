"""A server that does not answer, as a container that is to be attached finds it: waited for a while, not for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from weft.agent.cni import courier
from weft.agent.cni.courier import Courier, Line
from weft.client.endpoint import UNREACHABLE
from weft.model.errors import Transient
from weft.protocol.workload import Workload, WorkloadBatch, WorkloadOutcome, WorkloadOutcomes, WorkloadRequest


class AwayServer:
    """Does not answer so often, then does."""

    def __init__(self, times: int, kind: str = UNREACHABLE) -> None:
        self.times, self.kind = times, kind
        self.asked: list[list[str]] = []

    async def workload_batch(self, node: str, asked: WorkloadBatch) -> WorkloadOutcomes:
        self.asked.append([each.name for each in asked.attach])
        if len(self.asked) <= self.times:
            raise Transient("no weft server answers", retry_after_s=1.0, kind=self.kind)
        return WorkloadOutcomes(attach=tuple(map(_attached, asked.attach)), claim=(), release=())

    async def close(self) -> None:
        return


def _attached(asked: WorkloadRequest) -> WorkloadOutcome:
    made = Workload(
        port_id=f"port-{asked.name}",
        name=asked.name,
        holder=asked.holder,
        project_id="p",
        epoch=1,
        state="ACTIVE",
        mac="fa:16:3e:00:00:01",
        mtu_bytes=1500,
    )
    return WorkloadOutcome(workload=made)


@asynccontextmanager
async def running(server: AwayServer) -> AsyncIterator[Courier]:
    async def settled(cables: object) -> None:
        assert not cables

    async def renew(cable: object, workload: object) -> None:
        raise AssertionError(f"{cable} was not claimed")

    made = Courier("node1", Line([lambda: server]), list, settled, renew)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def request(name: str) -> WorkloadRequest:
    return WorkloadRequest(name=name, holder=f"h-{name}", network="pods")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass between attempts."""
    for name in ("RETRY_MIN_S", "ATTACH_RETRY_S", "TELL_AFTER_S"):
        monkeypatch.setattr(courier, name, 0.0)


async def test_a_server_that_is_restarted_is_waited_for() -> None:
    server = AwayServer(3)
    async with running(server) as made:
        found = await asyncio.gather(made.attach(request("a")), made.attach(request("b")))
    assert [each.holder for each in found] == ["h-a", "h-b"]
    assert server.asked == [["a", "b"]] * 4


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "ATTACH_PATIENCE_S", 0.05)
    server = AwayServer(10**9)
    async with running(server) as made:
        with pytest.raises(Transient, match="no weft server answers"):
            await made.attach(request("a"))
        assert len(server.asked) > 1
        server.times = 0
        assert (await made.attach(request("b"))).holder == "h-b"
    assert server.asked[-1] == ["b"], "what was given up is not asked for any more"


async def test_a_server_that_refuses_is_not_asked_again() -> None:
    server = AwayServer(1, kind="ServiceUnavailable")
    async with running(server) as made:
        with pytest.raises(Transient):
            await made.attach(request("a"))
    assert server.asked == [["a"]], "it is busy: who asks again and again makes it no better"


async def test_a_server_that_stays_away_for_days_is_asked_all_the_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "ATTACH_PATIENCE_S", 3600.0)
    server = AwayServer(2000)
    async with running(server) as made:
        assert (await made.attach(request("a"))).holder == "h-a"
    assert len(server.asked) == 2001
