"""A load generator that costs little: keep-alive connections, one request at a time on each, raw bytes both ways."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "

Request = Callable[[], bytes]


@dataclass(slots=True)
class Tally:
    """What came of a run: seconds each answer took, the statuses that came, and how long all of it took."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    bodies: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests answered in a second."""
        return len(self.latencies_s) / self.seconds

    def quantile_ms(self, part: float) -> float:
        """Return the latency that this part of the answers did not exceed, in milliseconds."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000

    def failures(self) -> int:
        """How many answers were no success."""
        return sum(count for status, count in self.statuses.items() if not 200 <= status < 300)


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """Return the bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}content-length: {len(body)}\r\n"
    kind = "content-type: application/json\r\n" if body else ""
    return f"{head}{kind}\r\n".encode() + body


class Client(asyncio.Protocol):
    """One connection: sends a request when it is told to, and says when the answer is there."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by type

    def data_received(self, data: bytes) -> None:
        """Take what has come of an answer."""
        self._buffer += data
        end = self._buffer.find(_END_OF_HEAD)
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        at = head.find(_LENGTH)
        length = 0 if at < 0 else int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        whole = end + len(_END_OF_HEAD) + length
        if len(self._buffer) < whole:
            return
        body = bytes(self._buffer[end + len(_END_OF_HEAD) : whole])
        del self._buffer[:whole]
        if self._answered is not None and not self._answered.done():
            self._answered.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail a request that waits."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def ask(self, message: bytes) -> tuple[int, bytes]:
        """Send a request and return the answer's status and body."""
        assert self.transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return await self._answered


@contextlib.asynccontextmanager
async def connected(port: int, connections: int):  # type: ignore[no-untyped-def]
    """Open connections to a server on the loopback address."""
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(connections)]
    try:
        yield clients
    finally:
        for client in clients:
            if client.transport is not None:
                client.transport.abort()


async def as_fast_as_possible(port: int, connections: int, requests: Iterator[bytes], *, keep: bool = False) -> Tally:
    """Send all requests, each connection its next one when its last is answered."""
    tally = Tally()

    async def one(client: Client) -> None:
        for message in requests:
            began = time.perf_counter()
            status, body = await client.ask(message)
            tally.latencies_s.append(time.perf_counter() - began)
            tally.statuses[status] = tally.statuses.get(status, 0) + 1
            if keep:
                tally.bodies.append(body)

    async with connected(port, connections) as clients:
        began = time.perf_counter()
        await asyncio.gather(*(one(client) for client in clients))
        tally.seconds = time.perf_counter() - began
    return tally


async def at_a_rate(port: int, connections: int, requests: Iterator[bytes], per_second: float) -> Tally:
    """Send requests at given times, whoever is free sends; latency counts from when a request was due."""
    tally = Tally()
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

    async def one(client: Client) -> None:
        while (item := await due.get()) is not None:
            at, message = item
            status, _ = await client.ask(message)
            tally.latencies_s.append(time.perf_counter() - at)
            tally.statuses[status] = tally.statuses.get(status, 0) + 1

    async with connected(port, connections) as clients:
        workers = [asyncio.ensure_future(one(client)) for client in clients]
        began = time.perf_counter()
        for number, message in enumerate(requests):
            at = began + number / per_second
            pause = at - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            due.put_nowait((at, message))
        for _ in clients:
            due.put_nowait(None)
        await asyncio.gather(*workers)
        tally.seconds = time.perf_counter() - began
    return tally
