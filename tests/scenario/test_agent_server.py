"""The agent's line to the server: what it follows, what it reports, and what happens while the server is away."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from agent_host import SETTINGS, port

from weft.agent.server import RETRY_MAX_S, RETRY_MIN_S, Backoff, ServerLink
from weft.agent.standing import Outbox, Standing
from weft.model.errors import Forbidden, Invalid, Transient, WeftError
from weft.model.intent import RealizationState
from weft.protocol.node import (
    IgnoredReport,
    NodeChange,
    NodeDesired,
    RealizationReport,
    RealizationReports,
    ReportAnswer,
)

UP, PENDING = RealizationState.UP, RealizationState.PENDING
SNAPSHOT = NodeDesired(node="node1", revision=1, ports=(port(1),))
CHANGE = NodeChange(revision=2, gone=("p1",))


class FakeServer:
    """A server that says its messages and then breaks the watch, when `hold` allows."""

    def __init__(self, *messages: NodeDesired | NodeChange, hold: asyncio.Event | None = None) -> None:
        self.messages = messages
        self.hold = hold
        self.taken: list[RealizationReport] = []
        self.taking = asyncio.Event()
        self.refuse: Callable[[RealizationReport], WeftError | None] = lambda report: None
        self.ignored: tuple[IgnoredReport, ...] = ()
        self.closed = False

    async def watch_node(self, node: str) -> AsyncIterator[NodeDesired | NodeChange]:
        assert node == "node1"
        for message in self.messages:
            yield message
        if self.hold is not None:
            await self.hold.wait()
        raise Transient("ended the watch", retry_after_s=1.0)

    async def report(self, node: str, reports: RealizationReports) -> ReportAnswer:
        for report in reports.reports:
            if (error := self.refuse(report)) is not None:
                raise error
        self.taken += reports.reports
        self.taking.set()
        return ReportAnswer(revision=3, ignored=self.ignored)

    async def close(self) -> None:
        self.closed = True


class Line:
    """A link to one fake server, and what came by it."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.followed: list[NodeDesired | NodeChange] = []
        self.outbox = Outbox()
        self.news = asyncio.Event()
        self.now = 100.0
        self.told = asyncio.Event()
        self.link = ServerLink(
            SETTINGS,
            lambda url: server,
            self.followed.append,
            self.outbox,
            clock=lambda: self.now,
            news=self.news,
            told=self.told,
        )

    def stand(self, *standings: tuple[str, RealizationState]) -> None:
        self.outbox.update((Standing(port_id=id_, epoch=1, state=state) for id_, state in standings), self.now)
        self.news.set()

    async def attend(self) -> None:
        await self.link.attend("http://server:9696")


async def test_messages_are_followed_in_order_until_the_watch_breaks() -> None:
    line = Line(FakeServer(SNAPSHOT, CHANGE))
    with pytest.raises(Transient):
        await line.attend()
    assert line.followed == [SNAPSHOT, CHANGE]
    assert line.server.closed


async def test_standings_are_reported_once_and_again_only_as_news() -> None:
    line = Line(FakeServer(SNAPSHOT, hold=asyncio.Event()))
    attending = asyncio.create_task(line.attend())
    line.stand(("p1", UP), ("p2", UP))
    async with asyncio.timeout(5):
        await line.server.taking.wait()
    assert {report.port_id for report in line.server.taken} == {"p1", "p2"}
    line.server.taking.clear()
    line.stand(("p1", UP), ("p2", UP), ("p3", UP))
    async with asyncio.timeout(5):
        await line.server.taking.wait()
    assert [report.port_id for report in line.server.taken[2:]] == ["p3"]
    line.server.hold.set()
    with pytest.raises(Transient):
        await attending


async def test_what_could_not_be_sent_is_sent_as_it_stands_after_the_reconnect() -> None:
    line = Line(FakeServer())
    line.server.refuse = lambda report: Transient("away", retry_after_s=1.0)
    line.stand(("p1", UP))
    with pytest.raises(Transient):
        await line.link.report(line.server, line.outbox.due(line.now))
    assert not line.told.is_set()
    line.stand(("p1", RealizationState.FAILED))
    line.server.refuse = lambda report: None
    await line.link.report(line.server, line.outbox.due(line.now))
    assert [report.state for report in line.server.taken] == [RealizationState.FAILED]
    assert line.told.is_set()


async def test_one_refused_report_does_not_hold_back_the_others_and_is_not_repeated() -> None:
    line = Line(FakeServer())
    line.server.refuse = lambda report: Invalid("bad") if report.port_id == "p1" else None
    line.stand(("p1", UP), ("p2", UP))
    await line.link.report(line.server, line.outbox.due(line.now))
    assert [report.port_id for report in line.server.taken] == ["p2"]
    assert line.outbox.due(line.now) == ()


async def test_an_ignored_report_is_not_repeated() -> None:
    line = Line(FakeServer())
    line.server.ignored = (IgnoredReport(port_id="p1", epoch=1, current_epoch=2, reason="old"),)
    line.stand(("p1", UP))
    await line.link.report(line.server, line.outbox.due(line.now))
    assert line.outbox.due(line.now) == ()


async def test_a_client_that_cannot_be_made_is_a_failure_like_others() -> None:
    def connect(url: str) -> FakeServer:
        raise Invalid("the token file cannot be read")

    events = {"news": asyncio.Event(), "told": asyncio.Event()}
    link = ServerLink(SETTINGS, connect, print, Outbox(), clock=lambda: 0.0, **events)
    with pytest.raises(Invalid):
        await link.attend("http://server:9696")


async def test_a_forbidden_watch_says_so() -> None:
    class Closed(FakeServer):
        async def watch_node(self, node: str) -> AsyncIterator[NodeDesired | NodeChange]:
            raise Forbidden("token of another node")
            yield

    line = Line(Closed())
    with pytest.raises(Forbidden):
        await line.attend()


def test_waiting_times_double_up_to_a_bound_and_vary() -> None:
    longest, shortest = Backoff(lambda: 1.0), Backoff(lambda: 0.0)
    times = [longest.next_s() for _ in range(8)]
    assert times[:3] == [RETRY_MIN_S, 2 * RETRY_MIN_S, 4 * RETRY_MIN_S]
    assert times[-1] == RETRY_MAX_S
    assert shortest.next_s() == RETRY_MIN_S / 2
    longest.reset()
    assert longest.next_s() == RETRY_MIN_S
