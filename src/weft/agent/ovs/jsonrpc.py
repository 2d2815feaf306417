"""JSON-RPC 1.0 over a unix socket, as ovsdb-server speaks it (RFC 7047, section 4).

Messages follow each other on the stream without a separator, so the only way to find the end of one is to parse it.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from weft.model.errors import Permanent, Transient

READ_BYTES = 1 << 18
MAX_MESSAGE_BYTES = 64 << 20
CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 10.0
RETRY_AFTER_S = 0.2

_DECODER = json.JSONDecoder()


class Framer:
    """Cuts a stream of JSON objects into messages."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that are complete now; raise Permanent for what can never become one."""
        self._buffer += data
        if not self._buffer[-8:].rstrip().endswith(b"}"):  # the last message is cut; to parse it each time is dear
            return []
        text = self._buffer.decode(errors="surrogateescape").lstrip()
        messages: list[dict[str, Any]] = []
        at = 0
        while at < len(text):
            try:
                message, at = _DECODER.raw_decode(text, at)
            except ValueError:
                break
            messages.append(message)
            while at < len(text) and text[at].isspace():
                at += 1
        self._buffer = text[at:].encode(errors="surrogateescape")
        if len(self._buffer) > MAX_MESSAGE_BYTES or (self._buffer and not self._buffer.startswith(b"{")):
            raise Permanent(f"ovsdb-server sent what is no JSON-RPC message: {self._buffer[:40]!r}")
        return messages


class JsonRpc:
    """One connection. It ends once and for all: then every waiting call raises Transient, and `on_lost` is called."""

    def __init__(
        self,
        path: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_notification: Callable[[str, list[Any]], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.closed = False
        self._on_lost = on_lost
        self._path = path
        self._reader = reader
        self._writer = writer
        self._on_notification = on_notification
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def connect(
        cls, path: str, on_notification: Callable[[str, list[Any]], None], on_lost: Callable[[], None]
    ) -> "JsonRpc":
        """Connect to a unix socket; raise Transient if nobody listens there."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(path)
        except (OSError, TimeoutError) as error:
            raise Transient(f"nobody answers on {path}: {error}", retry_after_s=RETRY_AFTER_S) from error
        return cls(path, reader, writer, on_notification, on_lost)

    async def call(self, method: str, params: list[Any]) -> Any:
        """Send a request and return its result; raise Permanent for an error answer, Transient if there is none."""
        if self.closed:
            raise self._gone()
        self._next_id += 1
        call_id = self._next_id
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = future
        self._send({"method": method, "params": params, "id": call_id})
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await future
        except TimeoutError:
            self.close()
            text = f"{self._path} did not answer {method} within {CALL_TIMEOUT_S} s"
            raise Transient(text, retry_after_s=RETRY_AFTER_S) from None
        finally:
            self._calls.pop(call_id, None)

    def close(self) -> None:
        """End the connection."""
        self._reading.cancel()
        self._end()

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message, separators=(",", ":")).encode())

    async def _read(self) -> None:
        framer = Framer()
        try:
            while data := await self._reader.read(READ_BYTES):
                for message in framer.feed(data):
                    self._take(message)
        except (OSError, Permanent):
            pass  # whatever broke it, the connection is over; those who wait learn it from _end
        finally:
            self._end()

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "echo":
            self._send({"id": message["id"], "result": message["params"], "error": None})
        elif "method" in message:
            self._on_notification(message["method"], message["params"])
        elif (future := self._calls.get(message["id"])) is not None and not future.done():
            if message.get("error") is not None:
                future.set_exception(Permanent(f"{self._path} refused: {message['error']}"))
            else:
                future.set_result(message.get("result"))

    def _end(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._writer.close()
        self._on_lost()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(self._gone())

    def _gone(self) -> Transient:
        return Transient(f"the connection to {self._path} is closed", retry_after_s=RETRY_AFTER_S)
