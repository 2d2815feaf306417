"""Server-sent events (HTML standard, section 9.2): one long answer, a piece at a time.

A stream ends when its client leaves, when its source ends, or when it is told to stop; it never keeps a server from
stopping, and a client that reads too slowly is cut instead of waited for.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import msgspec
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from weft.api.answers import INTERNAL
from weft.model.errors import WeftError

log = structlog.get_logger()

HEARTBEAT = b": heartbeat\n\n"
FAREWELL_TIMEOUT_S = 0.2
"""How long a client that does not read may hold up the end of its stream."""


def event(name: str, value: object) -> bytes:
    """Return one event with `value` as JSON; msgspec writes JSON on one line, so it needs no escaping."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))


class EventStream(Response):
    """An answer that sends what `pieces` yields, until one of `stops` is set or the client has gone.

    A failure on the way is sent as an event named ``error``: the status cannot be changed any more.
    """

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncGenerator[bytes, None], stops: Sequence[asyncio.Event]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pieces = pieces
        self._stops = stops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; whatever ends it, `pieces` is closed."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_disconnected(receive))
        tasks = [sending, leaving, *(asyncio.create_task(stop.wait()) for stop in self._stops)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            gone = leaving.done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not gone:
            await _say_farewell(send)

    async def _send(self, send: Send) -> None:
        try:
            async for piece in self._pieces:
                await _send_piece(send, piece)
        except WeftError as error:
            await _send_piece(send, event("error", {"kind": error.kind, "message": error.message}))
        except Exception:
            log.exception("stream_failed")
            await _send_piece(send, event("error", {"kind": INTERNAL.kind, "message": INTERNAL.message}))
        finally:
            await self._pieces.aclose()


async def _send_piece(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _say_farewell(send: Send) -> None:
    try:
        async with asyncio.timeout(FAREWELL_TIMEOUT_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    except TimeoutError:
        log.warning("stream_cut", reason="the client does not read")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
