"""The agent's line to the server: follow what the node shall carry, report what it carries.

While the server is away nothing changes on the node. Reports are never queued: what was not acknowledged is still due
in the outbox, and is sent as it then stands.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import structlog

from weft.agent.settings import AgentSettings
from weft.agent.standing import Outbox
from weft.model.errors import Transient, WeftError
from weft.protocol.node import NodeChange, NodeDesired, RealizationReport, RealizationReports, ReportAnswer

RETRY_MIN_S = 0.2
RETRY_MAX_S = 2.0

log = structlog.get_logger()


class Server(Protocol):
    """What the agent needs of a server; weft.client.AsyncClient is one."""

    def watch_node(self, node: str) -> AsyncIterator[NodeDesired | NodeChange]: ...

    async def report(self, node: str, reports: RealizationReports) -> ReportAnswer: ...

    async def close(self) -> None: ...


class Backoff:
    """Waiting times that double up to RETRY_MAX_S, each shortened by chance: a restarted server is not stormed."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._failures = 0

    def reset(self) -> None:
        """Begin anew after a success."""
        self._failures = 0

    def next_s(self) -> float:
        """Return how long to wait now."""
        longest = min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return longest * (0.5 + 0.5 * self._jitter())


class ServerLink:
    """Watches and reports, for ever, at the first of the node's servers that answers.

    `connect` makes a client of a server by its URL; it is called for each attempt, so that a renewed token counts.
    Whoever sets `news` says that the outbox may have something to send; `told` is set when the server has taken
    something, which the node may note or forget then.
    """

    def __init__(
        self,
        settings: AgentSettings,
        connect: Callable[[str], Server],
        follow: Callable[[NodeDesired | NodeChange], None],
        outbox: Outbox,
        *,
        clock: Callable[[], float],
        news: asyncio.Event,
        told: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._follow = follow
        self._outbox = outbox
        self._clock = clock
        self._news = news
        self._told = told
        self._backoff = Backoff()

    async def run(self) -> None:
        """Keep the line up."""
        while True:
            for server in self._settings.servers:
                with contextlib.suppress(WeftError):
                    await self.attend(server)
                await asyncio.sleep(self._backoff.next_s())

    async def attend(self, server: str) -> None:
        """Watch and report at one server until the watch breaks; raise what broke it."""
        client: Server | None = None
        try:
            client = self._connect(server)
            await self._attend(server, client)
        except WeftError as error:
            log.warning("server_lost", server=server, error=error.message, kind=error.kind)
            raise
        finally:
            if client is not None:
                await client.close()

    async def _attend(self, server: str, client: Server) -> None:
        reporting = asyncio.create_task(self._report_for_ever(client))
        try:
            first = True
            async for message in client.watch_node(self._settings.node):
                if first:
                    log.info("server_found", server=server, revision=message.revision)
                    self._backoff.reset()
                    first = False
                self._follow(message)
        finally:
            reporting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reporting

    async def _report_for_ever(self, client: Server) -> None:
        backoff = Backoff()
        while True:
            self._news.clear()
            reports = self._outbox.due(self._clock())
            if not reports:
                await self._wait_for_news()
                continue
            try:
                await self.report(client, reports)
                backoff.reset()
            except Transient as error:
                log.warning("report_delayed", reports=len(reports), error=error.message)
                await asyncio.sleep(backoff.next_s())

    async def report(self, client: Server, reports: Sequence[RealizationReport]) -> None:
        """Send reports and note them as told; those that the server refuses for good are noted too, and logged.

        Raises Transient if the server could not take them now.
        """
        try:
            answer = await client.report(self._settings.node, RealizationReports(reports=tuple(reports)))
        except Transient:
            raise
        except WeftError as error:
            if len(reports) > 1:  # one bad report shall not hold back the others
                for report in reports:
                    await self.report(client, (report,))
                return
            log.warning("report_refused", port=reports[0].port_id, epoch=reports[0].epoch, error=error.message)
        else:
            for ignored in answer.ignored:
                log.info("report_ignored", port=ignored.port_id, epoch=ignored.epoch, reason=ignored.reason)
        self._outbox.acknowledge(reports)
        self._told.set()

    async def _wait_for_news(self) -> None:
        due_at = self._outbox.next_due_at()
        timeout_s = None if due_at is None else max(0.0, due_at - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
