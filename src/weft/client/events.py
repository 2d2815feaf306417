"""Server-sent events: from the bytes of a stream to events, and from events to weft's messages.

The stream format is that of the HTML standard, section 9.2. It is read as bytes, because only CR and LF end a line in
it, while Python's splitlines would also end one at U+2028, which may stand in a port's name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from weft.model.errors import Permanent, Transient
from weft.protocol.node import HEARTBEAT_S, NodeChange, NodeDesired
from weft.protocol.port import WatchEvent

T = TypeVar("T")

SILENCE_S = 3 * HEARTBEAT_S
"""A stream on which nothing came for so long is dead."""

MAX_EVENT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; `name` is ``message`` where the server gave none."""

    name: str
    data: bytes


class EventParser:
    """Reads a stream piece by piece. Comments (heartbeats) are read over."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size_bytes = 0

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Return the events that are complete with this piece; raise Permanent if one is beyond all bounds."""
        lines = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        found = [event for line in lines if (event := self._line(line)) is not None]
        if self._size_bytes + len(self._rest) > MAX_EVENT_BYTES:
            raise Permanent(f"the server sent an event of more than {MAX_EVENT_BYTES} bytes")
        return found

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode()
        elif field == b"data":
            self._data.append(value)
            self._size_bytes += len(value)
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name or "message", b"\n".join(self._data)
        self._name, self._data, self._size_bytes = "", [], 0
        return ServerEvent(name, data) if data else None


def node_message(event: ServerEvent) -> NodeDesired | NodeChange | None:
    """Return what an event of a node's watch says; None for an event of a kind that this version does not know."""
    if event.name == "snapshot":
        return _decode(event, NodeDesired)
    if event.name == "change":
        return _decode(event, NodeChange)
    _raise_error(event)
    return None


def watch_message(event: ServerEvent) -> WatchEvent | None:
    """Return what an event of /v1/watch says; None for an event of a kind that this version does not know."""
    if event.name in {"message", "change"}:
        return _decode(event, WatchEvent)
    _raise_error(event)
    return None


class _StreamError(msgspec.Struct):
    message: str
    kind: str = "ServiceUnavailable"


def _raise_error(event: ServerEvent) -> None:
    """A stream cannot change its HTTP status any more: what fails in it comes as an event named ``error``."""
    if event.name == "error":
        error = _decode(event, _StreamError)
        raise Transient(error.message, retry_after_s=1.0, kind=error.kind)


def _decode(event: ServerEvent, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(event.data, type=kind)
    except msgspec.MsgspecError as error:
        raise Permanent(f"the server sent an event '{event.name}' that cannot be read: {error}") from error


def watch_query(kinds: Sequence[str], after: int | None) -> tuple[str, dict[str, str]]:
    """Return path and query of a watch."""
    query = {}
    if kinds:
        query["kinds"] = ",".join(kinds)
    if after is not None:
        query["after"] = str(after)
    return "/v1/watch", query
