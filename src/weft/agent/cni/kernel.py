"""The kernel's part of cables: rtnetlink in the agent's namespace and in those of containers, in one thread.

The kernel lets one at a time change links anyway (its rtnl lock), so one thread does it, and the event loop stays free.
A container's end is made in its namespace from the start; the agent goes there only to open a socket.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from errno import EEXIST, ENOBUFS, ENODEV
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from weft.agent.cni import rtnetlink
from weft.agent.cni.announcement import announcements
from weft.agent.cni.result import host_mac
from weft.agent.cni.rtnetlink import LinkSeen, Message
from weft.model.errors import Transient
from weft.protocol.node import AddressDesired

CLONE_NEWNET = 0x40000000
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_CAP_ACK = 270, 11, 10
RECEIVE_BYTES = 1 << 18
MONITOR_BUFFER_BYTES = 1 << 20
ANSWER_TIMEOUT_S = 10
RETRY_AFTER_S = 0.5
MAX_AT_ONCE = 32
"""Requests that are sent before their answers are read: those have to fit into the socket's buffer."""
DOOMED_GROUP = 0x77656674
"""Links in this group are about to be deleted."""
LOOK_AGAIN_S = 0.0005
_LOOPBACK = 1

log = structlog.get_logger()
T = TypeVar("T")


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A container's pair as it shall be: its end in the container's namespace, and the host's end joined to a cable."""

    cable: str
    host_end: str
    netns: str
    ifname: str
    mac: str
    mtu_bytes: int
    addresses: tuple[AddressDesired, ...]
    joint: str | None = None
    """A macvlan device over the host's end that is joined to the cable in its stead: what limits a rate on that end
    (`bandwidth`) has its ingress then, which has room for one. None: the host's end itself is joined."""


class Netlink:
    """A socket to the kernel's rtnetlink, for the namespace that it was opened in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._next = 1

    def ask(self, messages: Sequence[Message], *, ignore: frozenset[int] = frozenset()) -> list[LinkSeen]:
        """Carry out requests in order; raise OSError for the first that the kernel refused, after all are through.

        Returns the links that it told of.
        """
        told: list[LinkSeen] = []
        refused: OSError | None = None
        for at in range(0, len(messages), MAX_AT_ONCE):
            error = self._ask(messages[at : at + MAX_AT_ONCE], ignore, told)
            refused = refused or error
        if refused is not None:
            raise refused
        return told

    def _ask(self, messages: Sequence[Message], ignore: frozenset[int], told: list[LinkSeen]) -> OSError | None:
        first, self._next = self._next, self._next + len(messages)
        self._socket.send(rtnetlink.pack(list(messages), first))
        refused: OSError | None = None
        waiting = set(range(first, self._next))
        while waiting:
            for kind, number, body in rtnetlink.unpack(self._socket.recv(RECEIVE_BYTES)):
                if (link := rtnetlink.link_seen(kind, body)) is not None:
                    told.append(link)
                if kind not in {rtnetlink.ERROR, rtnetlink.DONE} or number not in waiting:
                    continue
                waiting.remove(number)
                error, words = rtnetlink.complaint(body) if kind == rtnetlink.ERROR else (0, "")
                if error and error not in ignore and refused is None:
                    refused = OSError(error, words or os.strerror(error))
        return refused

    def index_of(self, name: str) -> int:
        """Return a link's index."""
        for link in self.ask([rtnetlink.all_links()]):
            if link.name == name:
                return link.index
        raise OSError(ENODEV, f"{name} is not there")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Kernel:
    """What the agent asks of the kernel for containers. Every method raises Transient with the kernel's words."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "cni-kernel")
        self._netlink: Netlink | None = None

    async def links(self) -> list[LinkSeen]:
        """Return all links of the agent's namespace."""
        return await self._run("list links", lambda netlink: netlink.ask([rtnetlink.all_links()]))

    async def dress(self, indices: Sequence[int]) -> None:
        """Make cables ready: up, without addresses of their own, and dropping all frames that nothing redirects."""
        messages = [message for index in indices for message in _dressing(index)]
        await self._run("make cables ready", lambda netlink: netlink.ask(messages, ignore=frozenset({EEXIST, ENODEV})))

    async def join(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Join cables and host's ends anew, whatever they were joined to."""
        messages = [message for cable, end in pairs for message in _joining(cable, end)]
        await self._run("join cables", lambda netlink: netlink.ask(messages, ignore=frozenset({EEXIST, ENODEV})))

    async def make(self, pair: Pair) -> tuple[int, int]:
        """Make a container's pair; return the indices of its cable and its host's end. If it fails, nothing is left."""
        return await self._run(f"make {pair.ifname} in {pair.netns}", lambda netlink: _make(netlink, pair))

    async def remove(self, host_ends: Sequence[str]) -> None:
        """Delete pairs by their host's ends, all at once; what is gone is as good.

        A cable that was joined to one drops everything from then on: what its filter redirects to is gone. A pair is
        out of everybody's sight at once; that the kernel then waits 15 ms for its readers is not waited for here.
        """

        def work(netlink: Netlink) -> None:
            doomed = []
            for name in host_ends:
                with contextlib.suppress(OSError):
                    doomed.append(rtnetlink.in_group(socket.if_nametoindex(name), DOOMED_GROUP))
            if doomed:
                gone_as_well = frozenset({ENODEV})
                netlink.ask(doomed, ignore=gone_as_well)
                netlink.ask([rtnetlink.delete_group(DOOMED_GROUP)], ignore=gone_as_well)

        deleting = asyncio.ensure_future(self._run("delete pairs", work))
        # The kernel tells of a deletion only when it has ended.
        while not deleting.done() and any(map(_is_there, host_ends)):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN_S)
        if deleting.done():
            await deleting
        else:
            deleting.add_done_callback(_note_failure)

    async def announce(self, cable: str, mac: str, addresses: Sequence[AddressDesired]) -> None:
        """Send out by a cable what a container would say that has just come: switches and neighbours learn at once."""

        def work(netlink: Netlink) -> None:
            del netlink
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
                for frame in announcements(mac, [each.address for each in addresses]):
                    wire.sendto(frame, (cable, 0))

        await self._run(f"announce by {cable}", work)

    def close(self) -> None:
        """End the thread, after what it does now."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, what: str, work: Callable[[Netlink], T]) -> T:
        def carry_out() -> T:
            if self._netlink is None:
                self._netlink = Netlink()
            try:
                return work(self._netlink)
            except OSError as error:
                if error.errno in {None, ENOBUFS}:  # timed out, or answers were lost: those to come would be others'
                    self._netlink.close()
                    self._netlink = None
                raise

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, carry_out)
        except OSError as error:
            raise Transient(f"cannot {what}: {error.strerror or error}", retry_after_s=RETRY_AFTER_S) from None


def _is_there(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _note_failure(done: "asyncio.Future[None]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("pairs_not_deleted", error=str(error))


def _dressing(index: int) -> list[Message]:
    return [
        rtnetlink.clsact(index),
        rtnetlink.drop(index),
        rtnetlink.without_own_addresses(index),
        rtnetlink.link_up(index),
    ]


def _joining(cable: int, end: int) -> list[Message]:
    return [
        rtnetlink.without_own_addresses(end),
        rtnetlink.clsact(end),
        rtnetlink.redirect(end, cable),
        rtnetlink.redirect(cable, end),
        rtnetlink.link_up(end),
    ]


def _make(netlink: Netlink, pair: Pair) -> tuple[int, int]:
    with _namespace(pair.netns) as namespace, contextlib.closing(_socket_in(namespace)) as inside:
        try:
            cable = socket.if_nametoindex(pair.cable)
        except OSError:
            raise OSError(ENODEV, f"{pair.cable} is not there") from None
        with contextlib.suppress(OSError):  # of an ADD that was broken off
            _delete(netlink, socket.if_nametoindex(pair.host_end))
        made = rtnetlink.veth(
            pair.host_end,
            mac=host_mac(pair.mac),
            peer=pair.ifname,
            peer_mac=pair.mac,
            peer_namespace=namespace,
            mtu_bytes=pair.mtu_bytes,
        )
        try:
            netlink.ask([made])
        except FileExistsError:
            raise OSError(EEXIST, f"there is a {pair.ifname} already") from None
        end = joined = socket.if_nametoindex(pair.host_end)
        try:
            if pair.joint is not None:
                netlink.ask([rtnetlink.without_own_addresses(end), rtnetlink.link_up(end)])
                netlink.ask([rtnetlink.passthru(pair.joint, end)])
                joined = socket.if_nametoindex(pair.joint)
            netlink.ask(_joining(cable, joined))
            inside.ask(_inside(inside.index_of(pair.ifname), pair))
        except BaseException:
            _delete(netlink, end)
            raise
        return cable, joined


def _delete(netlink: Netlink, index: int) -> None:
    netlink.ask([rtnetlink.in_group(index, DOOMED_GROUP), rtnetlink.delete_group(DOOMED_GROUP)])


def _inside(index: int, pair: Pair) -> list[Message]:
    gateways = [each.gateway for each in reversed(pair.addresses) if each.gateway is not None]
    return [
        *(rtnetlink.address(index, each.address, each.prefixlen) for each in pair.addresses),
        rtnetlink.link_up(index),
        rtnetlink.link_up(_LOOPBACK),
        *(rtnetlink.default_route(index, gateway) for gateway in gateways),
    ]


@contextlib.contextmanager
def _namespace(path: str) -> Iterator[int]:
    """Open a container's network namespace."""
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would not open for a reader alone
    try:
        if os.path.samestat(os.fstat(namespace), Path("/proc/thread-self/ns/net").stat()):
            raise OSError(0, f"{path} is the node's own namespace")
        yield namespace
    finally:
        os.close(namespace)


def _socket_in(namespace: int) -> Netlink:
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            return Netlink()
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(namespace: int) -> None:
    """Take this thread into a network namespace (setns(2); os.setns is there from Python 3.12 on)."""
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"it is no network namespace ({os.strerror(number)})")


_libc = ctypes.CDLL(None, use_errno=True)


class LinkMonitor:
    """The links of the agent's namespace whose names begin with a prefix, kept up to date by the kernel's word.

    `on_change` is called when a link has come or gone, and when one has been set down of which `stays_up` says that it
    shall be up. What is known is complete from `read` on.
    """

    def __init__(
        self, prefix: str, kernel: Kernel, on_change: Callable[[], None], *, stays_up: Callable[[str], bool]
    ) -> None:
        self._prefix = prefix
        self._stays_up = stays_up
        self._kernel = kernel
        self._on_change = on_change
        self._links: dict[str, LinkSeen] = {}
        self._trusted = False
        self._meanwhile: list[LinkSeen] | None = None
        """What the kernel has said since it was asked for all links; None: nobody has asked."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MONITOR_BUFFER_BYTES)
        self._socket.setblocking(False)
        self._socket.bind((0, rtnetlink.GROUP_LINK))
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    async def read(self) -> Mapping[str, int]:
        """Return the links by name, with their indices; read all anew if the kernel's word was lost."""
        while not self._trusted:
            self._trusted, self._meanwhile = True, []
            try:
                found = await self._kernel.links()
            except BaseException:
                self._trusted, self._meanwhile = False, None
                raise
            self._links = {link.name: link for link in found if link.name.startswith(self._prefix)}
            # The answer may be older than what was heard while it came: that is heard again.
            heard, self._meanwhile = self._meanwhile, None
            for link in heard:
                self._take(link)
        return {name: link.index for name, link in self._links.items()}

    def is_down(self, name: str) -> bool:
        """Tell whether a link is there and down, as far as the kernel's word has come."""
        link = self._links.get(name)
        return link is not None and not link.up

    def distrust(self) -> None:
        """Read all links anew at the next occasion."""
        self._trusted = False

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        changed = False
        try:
            while True:
                for kind, _, body in rtnetlink.unpack(self._socket.recv(RECEIVE_BYTES)):
                    link = rtnetlink.link_seen(kind, body)
                    if link is not None and link.name.startswith(self._prefix):
                        changed |= self._take(link)
        except BlockingIOError:
            pass
        except OSError:  # ENOBUFS: more was said than fits
            self._trusted = False
            changed = True
        if changed:
            self._on_change()

    def _take(self, link: LinkSeen) -> bool:
        if self._meanwhile is not None:
            self._meanwhile.append(link)
        known = self._links.get(link.name)
        is_new = known is None or known.index != link.index
        if link.gone:
            if not is_new:
                del self._links[link.name]
            return not is_new
        self._links[link.name] = link
        return is_new or (known is not None and known.up and not link.up and self._stays_up(link.name))
