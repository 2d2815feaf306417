"""A bridge's OpenFlow tables over ovs-vswitchd's own socket: read flows, change them as one, notice its death."""

import asyncio
from collections.abc import Callable, Sequence

from weft.agent.ovs import openflow
from weft.agent.ovs.flow import Flow
from weft.agent.ovs.openflow import Message, Wipe
from weft.agent.ovs.pipeline import COOKIE_MARK, COOKIE_MARK_MASK
from weft.agent.ovs.plan import FlowChange
from weft.model.errors import Permanent, Transient

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 15.0
"""ovs-vswitchd answers nothing while it takes ports in or out; with hundreds of them that lasts seconds."""

RETRY_AFTER_S = 0.05
READ_BYTES = 1 << 18
_EXACT = (1 << 64) - 1


class FlowSwitch:
    """The flow tables of one bridge. One request at a time.

    Only reading everything opens a connection: whoever changes flows builds on flows read from the same ovs-vswitchd,
    never on those of one that has died since. Every method raises Transient if ovs-vswitchd does not answer, and
    Permanent if it refuses.
    """

    def __init__(self, path: str, on_lost: Callable[[], None]) -> None:
        self._path = path
        self._on_lost = on_lost
        self._lock = asyncio.Lock()
        self._connection: _Connection | None = None
        self._xid = 1
        self._bundle_id = 0

    @property
    def connected(self) -> bool:
        """Whether the tables can still be those that were last read; false once ovs-vswitchd went away."""
        return self._connection is not None and not self._connection.closed

    async def dump(self, cookies: Sequence[int] | None = None) -> list[Flow]:
        """Return the agent's flows: all, or those with one of the cookies."""
        async with self._lock:
            if cookies is None:
                return await self._dump(await self._connect(), [(COOKIE_MARK, COOKIE_MARK_MASK)])
            return await self._dump(self._connected(), [(cookie, _EXACT) for cookie in cookies])

    async def commit(self, change: FlowChange, *, wipe: bool = False) -> None:
        """Apply a change as one: a packet meets the tables as before it or as after it. wipe: first, all own flows go.

        After an error the tables are not known: dump them.
        """
        self._bundle_id += 1

        def committed(message: Message) -> bool:
            return openflow.bundle_control(message.body) == (self._bundle_id, openflow.COMMITTED)

        async with self._lock:
            connection = self._connected()
            wiped = Wipe(COOKIE_MARK, COOKIE_MARK_MASK) if wipe else None
            first = self._xid
            messages, self._xid = openflow.bundle(first, self._bundle_id, change.delete, change.add, wiped)
            await connection.ask(messages, range(first, self._xid), openflow.BUNDLE_CONTROL, committed)

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()

    async def _connect(self) -> "_Connection":
        if self._connection is None or self._connection.closed:
            self._connection = await _Connection.open(self._path, self._on_lost)
        return self._connection

    def _connected(self) -> "_Connection":
        if self._connection is None:
            raise Transient(f"there is no connection to {self._path}", retry_after_s=RETRY_AFTER_S)
        return self._connection

    async def _dump(self, connection: "_Connection", filters: Sequence[tuple[int, int]]) -> list[Flow]:
        flows: list[Flow] = []
        left = len(filters)
        if not left:
            return flows

        def take(message: Message) -> bool:
            nonlocal left
            found, more = openflow.flow_reply(message.body)
            flows.extend(found)
            left -= not more
            return left == 0

        first, self._xid = self._xid, self._xid + left
        requests = b"".join(openflow.flow_request(first + n, *pair) for n, pair in enumerate(filters))
        await connection.ask(requests, range(first, self._xid), openflow.MULTIPART_REPLY, take)
        return flows


class _Exchange:
    """A request that waits for its answers; late answers to earlier requests have other transaction ids."""

    def __init__(self, xids: range, kind: int, take: Callable[[Message], bool]) -> None:
        self._xids = xids
        self._kind = kind
        self._take = take
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def offer(self, message: Message) -> None:
        """Look at a message: it may be the last that was waited for, or the refusal of what was asked."""
        if self.done.done() or message.xid not in self._xids:
            return
        if message.kind == openflow.ERROR:
            self.done.set_exception(Permanent(f"ovs-vswitchd refused: {openflow.error(message.body)}"))
        elif message.kind == self._kind:
            try:
                finished = self._take(message)
            except Permanent as error:
                self.done.set_exception(error)
            else:
                if finished:
                    self.done.set_result(None)


class _Connection:
    """One OpenFlow session. It ends once and for all."""

    def __init__(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_lost: Callable[[], None]
    ) -> None:
        self.closed = False
        self._path = path
        self._on_lost = on_lost
        self._reader = reader
        self._writer = writer
        self._exchange: _Exchange | None = None
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, path: str, on_lost: Callable[[], None]) -> "_Connection":
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(path)
        except (OSError, TimeoutError) as error:
            raise Transient(f"ovs-vswitchd does not answer on {path}: {error}", retry_after_s=RETRY_AFTER_S) from error
        connection = cls(path, reader, writer, on_lost)
        # The switch's hello has a transaction id of its own choice.
        await connection.ask(openflow.message(openflow.HELLO, 0), range(1 << 32), openflow.HELLO, lambda _: True)
        return connection

    async def ask(self, messages: bytes, xids: range, kind: int, take: Callable[[Message], bool]) -> None:
        """Send and wait until `take` has had enough messages of a kind."""
        if self.closed:
            raise self._gone()
        self._exchange = exchange = _Exchange(xids, kind, take)
        self._writer.write(messages)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await exchange.done
        except TimeoutError:
            self.close()
            text = f"ovs-vswitchd did not answer on {self._path} within {ANSWER_TIMEOUT_S} s"
            raise Transient(text, retry_after_s=RETRY_AFTER_S) from None
        finally:
            self._exchange = None

    def close(self) -> None:
        self._reading.cancel()
        self._end()

    async def _read(self) -> None:
        buffer = b""
        try:
            while data := await self._reader.read(READ_BYTES):
                messages, buffer = openflow.split(buffer + data)
                for message in messages:
                    self._take(message)
        except (OSError, Permanent):
            pass  # whatever broke it, the session is over; those who wait learn it from _end
        finally:
            self._end()

    def _take(self, message: Message) -> None:
        if message.kind == openflow.ECHO_REQUEST:
            self._writer.write(openflow.message(openflow.ECHO_REPLY, message.xid, message.body))
        elif self._exchange is not None:
            self._exchange.offer(message)

    def _end(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._writer.close()
        self._on_lost()
        if self._exchange is not None and not self._exchange.done.done():
            self._exchange.done.set_exception(self._gone())

    def _gone(self) -> Transient:
        return Transient(f"ovs-vswitchd closed {self._path}", retry_after_s=RETRY_AFTER_S)
