"""The sockets a server listens on: opened before anything else starts, so that a wrong address fails at once."""

import contextlib
import ipaddress
import itertools
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.model.errors import Conflict, Invalid

BACKLOG = 2048
DEAD_PEER_MS = 15_000
"""A peer that leaves data unacknowledged for so long is dead: its connection, and with it its watch, is closed."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """``HOST:PORT``; port 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """``unix:/PATH``; the socket is made with mode 0600, and whoever may open it is an administrator."""

    path: Path


@dataclass(frozen=True, slots=True)
class InheritedAddress:
    """``fd:N``: a socket that already listens, opened by whoever started the process."""

    fd: int


Address = TcpAddress | UnixAddress | InheritedAddress


def parse_listen(text: str) -> Address:
    """Read one address to listen on; raise Invalid if it is none."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if path.startswith("/"):
            return UnixAddress(Path(path))
    elif text.startswith("fd:"):
        number = text.removeprefix("fd:")
        if number.isdecimal():
            return InheritedAddress(int(number))
    else:
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if host and port.isdecimal() and int(port) < 65536:
            return TcpAddress(host, int(port))
    raise Invalid(f"'{text}' is not an address to listen on: write HOST:PORT, unix:/PATH or fd:N")


class Listeners:
    """The open sockets of a server, and the files they left."""

    def __init__(
        self, shares: Sequence[Sequence[socket.socket]], paths: Sequence[Path], *, secure: bool = False
    ) -> None:
        self.shares = [list(share) for share in shares]
        """The sockets of each process."""
        self._paths = paths
        self._scheme = "https" if secure else "http"

    def __str__(self) -> str:
        return ", ".join(_shown(each, self._scheme) for each in self.shares[0])

    def close(self) -> None:
        """Close the sockets and remove their files."""
        for each in itertools.chain(*self.shares):
            each.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


def open_listeners(texts: Sequence[str], *, credentials: bool, secure: bool = False, processes: int = 1) -> Listeners:
    """Listen on every address, or on none of them.

    Of several `processes` each has a TCP socket of its own for an address, and the kernel deals connections out to
    them; the other sockets they share. Without `credentials` only loopback and unix sockets are accepted; `secure`: TCP
    sockets speak TLS. Raises Invalid or Conflict naming the address.
    """
    if not texts:
        raise Invalid("nothing to listen on: give at least one --listen")
    with contextlib.ExitStack() as opened:
        shares: list[list[socket.socket]] = [[] for _ in range(processes)]
        paths: list[Path] = []
        for text in texts:
            address = parse_listen(text)
            for each in _open(address, text, credentials=credentials):
                dealt = _dealt(each, processes) if isinstance(address, TcpAddress) else [each] * processes
                for share, its in zip(shares, dealt, strict=True):
                    opened.callback(its.close)
                    share.append(its)
            if isinstance(address, UnixAddress):
                opened.callback(address.path.unlink, missing_ok=True)
                paths.append(address.path)
        opened.pop_all()
    return Listeners(shares, paths, secure=secure)


def _open(address: Address, text: str, *, credentials: bool) -> list[socket.socket]:
    try:
        match address:
            case TcpAddress():
                return _open_tcp(address, text, credentials=credentials)
            case UnixAddress():
                return [_open_unix(address.path)]
            case InheritedAddress():
                return [_inherit(address.fd, text, credentials=credentials)]
    except OSError as error:
        raise Conflict(f"cannot listen on {text}: {error.strerror or error}") from error


def _open_tcp(address: TcpAddress, text: str, *, credentials: bool) -> list[socket.socket]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if not credentials:
        for *_, where in found:
            _require_loopback(str(where[0]), text)
    opened: list[socket.socket] = []
    try:
        for family, _, _, _, where in dict.fromkeys(found):
            opened.append(_listen_on(family, str(where[0]), int(where[1])))
    except OSError:
        for each in opened:
            each.close()
        raise
    return opened


def _listen_on(family: int, host: str, port: int, *, beside_others: bool = False) -> socket.socket:
    opened = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=beside_others)
    # Connections inherit these from the socket that accepts them: a node that lost its power is noticed.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
    return opened


def _dealt(listener: socket.socket, processes: int) -> list[socket.socket]:
    """Return the sockets of all processes in place of one, which has shown that nobody else listens there."""
    if processes == 1:
        return [listener]
    host, port, *_ = listener.getsockname()
    listener.close()
    return [_listen_on(listener.family, host, port, beside_others=True) for _ in range(processes)]


def _open_unix(path: Path) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # the file is 0600 from its first moment
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a server that is gone; raise Conflict if one still answers on it."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise Conflict(f"cannot listen on unix:{path}: another server answers there")


def _inherit(fd: int, text: str, *, credentials: bool) -> socket.socket:
    listener = socket.socket(fileno=fd)
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()  # it is not ours to close
        raise Invalid(f"{text} is not a listening stream socket")
    if listener.family != socket.AF_UNIX and not credentials:
        _require_loopback(str(listener.getsockname()[0]), text)
    return listener


def _require_loopback(host: str, text: str) -> None:
    if not ipaddress.ip_address(host).is_loopback:
        raise Invalid(
            f"refusing to listen on {text}: {host} is not loopback and no credential is configured; "
            "give --token-file or another credential, or listen on 127.0.0.1 or unix:/PATH"
        )


def _shown(listener: socket.socket, scheme: str) -> str:
    where = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{where}"
    host = f"[{where[0]}]" if listener.family == socket.AF_INET6 else where[0]
    return f"{scheme}://{host}:{where[1]}"
