"""What comes before a request is bounded: nobody fills the memory, or holds a connection, without asking anything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from weft.api import connection
from weft.api.app import Api
from weft.api.connection import MAX_HEAD_BYTES, Connection
from weft.api.listen import open_listeners
from weft.api.server import HttpServer
from weft.store import Store

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
DEADLINE_S = 10.0
"""Only reached by a failing test."""
MANY = 600
"""Kilobytes: more than the limit and what the server may read at once, with a head's last bytes, together."""


class Peer:
    """A client that writes bytes as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, data: bytes) -> None:
        """Send bytes; the server may have closed the connection."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def head(self) -> bytes:
        """Return the head of the next answer; nothing if the connection ends first."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self._reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""

    async def status(self) -> bytes:
        """Return the status of the next answer; nothing if the connection ends first."""
        head = await self.head()
        if not head:
            return b""
        async with asyncio.timeout(DEADLINE_S):
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await self._reader.readexactly(int(length.partition(b":")[2]))
        return head.split(b" ")[1]

    async def is_closed(self) -> bool:
        """Return when the server closes the connection."""
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                return await self._reader.read() == b""
        return True

    def close(self) -> None:
        """Go away."""
        self._writer.close()


class Server:
    """A server that listens on loopback."""

    def __init__(self, http: HttpServer, port: int) -> None:
        self.http = http
        self._port = port
        self._peers: list[Peer] = []

    async def peer(self) -> Peer:
        """Connect."""
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self._port))
        self._peers.append(peer)
        return peer

    def close(self) -> None:
        """Let all peers go away."""
        for peer in self._peers:
            peer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    store = await Store.open(f"sqlite:///{tmp_path / 'weft.db'}")
    listeners = open_listeners(["127.0.0.1:0"], credentials=False)
    api = Api(store, dict)
    http = HttpServer(api)
    async with api.running():
        running = asyncio.create_task(http.serve(listeners.shares[0]))
        served = Server(http, int(str(listeners).rpartition(":")[2]))
        yield served
        served.close()
        http.stop()
        await running
    await store.close()


@pytest.mark.parametrize(
    "endless",
    [
        [REQUEST, *[b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(MANY)]],
        [REQUEST + b"X: ", *[b"x" * 1000] * MANY],
        [b"GET /", *[b"x" * 1000] * MANY],
        [
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            *[b"X: %s\r\n" % (b"x" * 1000)] * MANY,
        ],
        [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;", *[b"x" * 1000] * MANY],
    ],
    ids=["headers", "one header", "path", "trailers", "chunk extension"],
)
async def test_a_head_that_does_not_end_ends_the_connection(server: Server, endless: list[bytes]) -> None:
    peer = await server.peer()
    for piece in endless:
        await peer.say(piece)
    statuses = []
    while status := await peer.status():
        statuses.append(status)
    assert statuses[-1:] in ([b"431"], [b"405"], [b"400"], [])
    assert await peer.is_closed()


async def test_heads_and_bodies_that_come_in_pieces_are_read(server: Server) -> None:
    peer = await server.peer()
    long = REQUEST + b"X: " + b"x" * (MAX_HEAD_BYTES - 1000) + b"\r\n\r\n"
    for _ in range(3):
        for at in range(0, len(long), 5000):
            await peer.say(long[at : at + 5000])
        assert await peer.status() == b"200"
    await peer.say(b"PUT /v1/inventory HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500002\r\n\r\n{")
    for _ in range(100):
        await peer.say(b" " * 5000)
    await peer.say(b"}")
    assert await peer.status() == b"200"


async def test_who_says_nothing_or_half_a_head_is_not_waited_for(server: Server) -> None:
    silent, half, asking = await server.peer(), await server.peer(), await server.peer()
    await half.say(REQUEST + b"\r\n")
    assert await half.status() == b"200"
    await half.say(REQUEST)
    await asking.say(REQUEST + b"\r\n")
    assert await asking.status() == b"200"
    await asking.say(REQUEST + b"\r\n")  # answered after what `half` said has been read
    assert await asking.status() == b"200"
    for _ in range(connection.HEAD_SWEEPS):
        connection.sweep(server.http.server_state.connections)
    assert await silent.is_closed()
    assert await half.is_closed()
    await asking.say(REQUEST + b"\r\n")  # it waits for its client's next request, as long as connections are kept
    assert await asking.status() == b"200"
    assert all(isinstance(each, Connection) for each in server.http.server_state.connections)


async def test_a_body_that_does_not_come_is_not_waited_for(server: Server) -> None:
    slow, streaming = await server.peer(), await server.peer()
    await slow.say(b"PUT /v1/inventory HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\n{")
    await streaming.say(b"GET /v1/watch HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert (await streaming.head()).startswith(b"HTTP/1.1 200")
    for _ in range(connection.BODY_SWEEPS):
        connection.sweep(server.http.server_state.connections)
    assert await slow.is_closed()
    other = await server.peer()
    await other.say(REQUEST + b"\r\n")
    assert await other.status() == b"200"
    assert len(server.http.server_state.connections) == 2  # a watch may last
