"""Streams: they end with their source, with their client, or when told to; failures are events."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from api_stream import Stream
from starlette.types import Receive, Scope, Send

from weft.api.events import EventStream, event
from weft.model.errors import Transient


class Source:
    """Pieces that a test hands over one by one, and whether the stream has closed them."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.closed = False
        self.stop = asyncio.Event()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await EventStream(self.pieces(), [self.stop])(scope, receive, send)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            while piece := await self.given.get():
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed = True


def test_an_event_is_a_name_and_one_line_of_json() -> None:
    assert event("change", {"name": "a\nb\u2028"}) == 'event: change\ndata: {"name":"a\\nb\u2028"}\n\n'.encode()


async def test_pieces_come_as_they_are_made() -> None:
    source = Source()
    async with Stream(source.app, "/") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in stream.headers
        source.given.put_nowait(b"one")
        assert await stream.piece() == b"one"
        source.given.put_nowait(b"two")
        assert await stream.piece() == b"two"
    assert source.closed


async def test_the_end_of_the_source_ends_the_answer() -> None:
    source = Source()
    async with Stream(source.app, "/") as stream:
        source.given.put_nowait(b"")
        assert await stream.piece() == b""
        await stream.ended()
    assert source.closed


async def test_a_stop_ends_a_silent_stream() -> None:
    source = Source()
    async with Stream(source.app, "/") as stream:
        source.stop.set()
        assert await stream.piece() == b""
        await stream.ended()
    assert source.closed


async def test_a_stop_does_not_wait_for_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.api.events.FAREWELL_TIMEOUT_S", 0)
    source = Source()
    async with Stream(source.app, "/") as stream:
        stream.reads.clear()
        source.given.put_nowait(b"stuck")
        source.stop.set()
        await stream.ended()
    assert source.closed


async def test_a_failure_is_an_event_and_then_the_end() -> None:
    source = Source()
    async with Stream(source.app, "/") as stream:
        source.given.put_nowait(Transient("the log was compacted", retry_after_s=1, kind="Compacted"))
        assert await stream.piece() == event("error", {"kind": "Compacted", "message": "the log was compacted"})
        assert await stream.piece() == b""


async def test_an_unexpected_failure_tells_no_details() -> None:
    source = Source()
    async with Stream(source.app, "/") as stream:
        source.given.put_nowait(RuntimeError("secret"))
        piece = await stream.piece()
        assert b"InternalServerError" in piece
        assert b"secret" not in piece
