"""Server-sent events: framing, messages, silence, errors."""

from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.client import AsyncClient, Client
from weft.client.endpoint import UNREACHABLE
from weft.client.events import EventParser, ServerEvent
from weft.model.errors import Forbidden, Permanent, Transient
from weft.protocol.node import NodeChange, NodeDesired

STREAM = (
    b'event: snapshot\ndata: {"node": "node1", "revision": 4, "ports": []}\n\n'
    b": heartbeat\n\n"
    b'event: later-kind\ndata: {"x": 1}\n\n'
    b'event: change\r\ndata: {"revision": 5,\r\ndata: "gone": ["p1"]}\r\n\r\n'
)
EVENTS = [
    ServerEvent("snapshot", b'{"node": "node1", "revision": 4, "ports": []}'),
    ServerEvent("later-kind", b'{"x": 1}'),
    ServerEvent("change", b'{"revision": 5,\n"gone": ["p1"]}'),
]


class Stream(httpx.AsyncByteStream, httpx.SyncByteStream):
    def __init__(self, pieces: Iterable[bytes], then: Exception | None = None) -> None:
        self._pieces = list(pieces)
        self._then = then

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def __iter__(self) -> Iterable[bytes]:
        yield from self._pieces
        if self._then is not None:
            raise self._then


def transport(stream: Stream, status: int = 200) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(status, stream=stream))


def client(stream: Stream, status: int = 200) -> AsyncClient:
    return AsyncClient("http://weft.test", transport=transport(stream, status))


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_do_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    parser = EventParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [event for a, b in pairwise(edges) for event in parser.feed(STREAM[a:b])]
    assert found == EVENTS


def test_only_line_feeds_end_a_line() -> None:
    data = '{"name": "a\u2028b\x85c"}'.encode()
    assert EventParser().feed(b"data: " + data + b"\n\n") == [ServerEvent("message", data)]


def test_an_event_beyond_all_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.client.events.MAX_EVENT_BYTES", 100)
    parser = EventParser()
    with pytest.raises(Permanent, match="more than 100 bytes"):
        parser.feed(b"data: 12345678\n" * 20 + b"data: 1")


async def test_a_node_sees_its_snapshot_then_changes_then_the_end() -> None:
    watch = client(Stream([STREAM])).watch_node("node1")
    assert await anext(watch) == NodeDesired(node="node1", revision=4)
    assert await anext(watch) == NodeChange(revision=5, gone=("p1",))
    with pytest.raises(Transient, match="ended the watch"):
        await anext(watch)


async def test_silence_is_transient() -> None:
    stream = Stream([STREAM], then=httpx.ReadTimeout(""))
    with pytest.raises(Transient, match="silent") as caught:
        async for _ in client(stream).watch_node("node1"):
            pass
    assert caught.value.kind == UNREACHABLE


async def test_a_refused_watch_raises_the_servers_error() -> None:
    stream = Stream([b'{"error": {"kind": "Forbidden", "message": "the token is not node1\'s"}}'])
    with pytest.raises(Forbidden, match="not node1's"):
        async for _ in client(stream, 403).watch_node("node1"):
            pass


async def test_an_error_inside_a_stream_is_raised_with_its_kind() -> None:
    event = b'event: error\ndata: {"kind": "RevisionCompacted", "message": "revision 1 is no longer in the log"}\n\n'
    with pytest.raises(Transient, match="no longer in the log") as caught:
        async for _ in client(Stream([event])).watch(["port"], after=1):
            pass
    assert caught.value.kind == "RevisionCompacted"


def test_a_thread_can_watch_too() -> None:
    event = b'data: {"revision": 9, "kind": "port", "id": "p", "op": "put", "object": {"state": "ACTIVE"}}\n\n'
    watch = Client("http://weft.test", transport=transport(Stream([event]))).watch(["port"])
    change = next(watch)
    assert (change.revision, change.object) == (9, {"state": "ACTIVE"})
    with pytest.raises(Transient):
        next(watch)


async def test_garbage_in_a_stream_is_permanent() -> None:
    with pytest.raises(Permanent, match="cannot be read"):
        async for _ in client(Stream([b"event: snapshot\ndata: {}\n\n"])).watch_node("node1"):
            pass
