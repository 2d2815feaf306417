"""An ASGI client for streams: httpx's own waits for the end of an answer, which a stream does not have."""

import asyncio
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp

DEADLINE_S = 10.0
"""Only reached by a failing test."""

Message = MutableMapping[str, Any]


class Stream:
    """One GET request whose answer is read piece by piece; leaving the context closes the connection."""

    def __init__(self, app: ASGIApp, path: str, *, headers: dict[str, str] | None = None, query: str = "") -> None:
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "server": ("127.0.0.1", 9696),
            "client": ("127.0.0.1", 40000),
        }
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self._closed = asyncio.Event()
        self._asked = False
        self.reads = asyncio.Event()
        """Cleared by a test whose client stops reading: then nothing more can be sent."""
        self.reads.set()

    async def __aenter__(self) -> Self:
        """Send the request and wait for the answer's first line."""
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        start = await self._next()
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Close the connection and wait until the application has noticed."""
        self._closed.set()
        self.reads.set()
        async with asyncio.timeout(DEADLINE_S):
            await self._task

    async def piece(self) -> bytes:
        """Return the next piece of the body; an empty one is the end."""
        message = await self._next()
        return bytes(message["body"])

    async def ended(self) -> None:
        """Wait until the application has finished by itself."""
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.shield(self._task)

    async def _next(self) -> Message:
        async with asyncio.timeout(DEADLINE_S):
            return await self._sent.get()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._closed.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        self._sent.put_nowait(message)
