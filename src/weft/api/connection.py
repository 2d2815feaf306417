"""One HTTP connection: uvicorn's, with bounds on how a request comes, and with the node whose certificate it showed.

uvicorn bounds neither the size of a request's head nor the time in which head and body come. Without that, whoever
reaches the socket could fill the memory before any token is asked for, or hold places among the requests in work.
"""

import asyncio
from collections.abc import Iterable
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from weft.api.auth.authenticator import CERTIFIED_NODE
from weft.api.tls import node_of_certificate
from weft.model.ids import NodeName

MAX_HEAD_BYTES = 64 << 10
"""Of a request's line and headers; and of whatever else is neither body nor ends a request."""

HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"  # RFC 6585
)

SWEEP_EVERY_S = 5
HEAD_SWEEPS = 6
"""A connection is closed when so many sweeps in a row find it without a request: after 25 to 30 s..."""
BODY_SWEEPS = 13
"""...or find its requests' bodies unfinished: after a minute."""


class Connection(HttpToolsProtocol):
    """A connection of the server."""

    _node: NodeName | None = None
    _progress = False
    """Whether the bytes that are being read bring a request further."""
    _head_bytes = 0
    _sweeps = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Begin; of an encrypted connection, after the handshake."""
        super().connection_made(transport)
        self._node = node_of_certificate(transport.get_extra_info("peercert"))

    def data_received(self, data: bytes) -> None:
        """Read bytes; close the connection if they are too many for what they say."""
        self._progress = False
        super().data_received(data)
        self._head_bytes = 0 if self._progress else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        if self._node is not None:
            cast("dict[str, object]", self.scope)[CERTIFIED_NODE] = self._node

    def on_headers_complete(self) -> None:
        """End a request's head."""
        self._progress = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._progress = True
        super().on_message_complete()

    def sweep(self) -> None:
        """Close the connection if what it has begun to send does not end, or if it never began."""
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self.timeout_keep_alive_task is None:
            allowed = HEAD_SWEEPS
        elif not answered and self.cycle.more_body:
            allowed = BODY_SWEEPS
        else:
            self._sweeps = 0
            return
        self._sweeps += 1
        if self._sweeps >= allowed:
            self.transport.close()


def sweep(connections: Iterable[asyncio.Protocol]) -> None:
    """Sweep all connections of a server; to be called every SWEEP_EVERY_S."""
    for each in list(connections):
        if isinstance(each, Connection):
            each.sweep()
