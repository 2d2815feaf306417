"""Watching every interface of many namespaces at once for one probe."""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from weft.lab import namespaces
from weft.lab.path.sighting import Sighting, read_probe, read_vlan
from weft.model.errors import Permanent

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_AUXDATA = 8
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
LARGEST_FRAME_BYTES = 65536
RECEIVE_BUFFER_BYTES = 8 << 20
POLL_S = 0.02
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Spot:
    """A namespace to watch: which device it is of, and which part of it ("" for the device's own)."""

    place: str
    inside: str
    namespace: str
    """Its name on the machine, or the path of its file."""


@dataclass(slots=True)
class Watch:
    """What is seen of a probe while the block runs."""

    nonce: bytes
    sightings: list[Sighting] = field(default_factory=list)


@contextlib.contextmanager
def watching(spots: tuple[Spot, ...], nonce: bytes) -> Iterator[Watch]:
    """Watch all interfaces of these namespaces for a probe with this nonce while the block runs."""
    watch = Watch(nonce)
    sockets = {}
    stop = threading.Event()
    try:
        for spot in spots:
            sockets[namespaces.inside(spot.namespace, _listen)] = spot
        thread = threading.Thread(target=_read, args=(sockets, watch, stop), name="watching", daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            stop.set()
            thread.join()
    finally:
        for each in sockets:
            each.close()


def _listen() -> socket.socket:
    """Open a socket that gets a copy of every frame of the caller's namespace, with its time and its VLAN."""
    watching = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    try:
        watching.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        watching.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        watching.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        watching.setblocking(False)
    except OSError as error:
        watching.close()
        raise Permanent(f"cannot watch a namespace: {error.strerror}") from None
    return watching


def _read(sockets: Mapping[socket.socket, Spot], watch: Watch, stop: threading.Event) -> None:
    with selectors.DefaultSelector() as selector:
        for each, spot in sockets.items():
            selector.register(each, selectors.EVENT_READ, spot)
        while True:
            ending = stop.is_set()  # looked at first: what came before it is still read
            ready = selector.select(0 if ending else POLL_S)
            for key, _ in ready:
                _drain(key.fileobj, key.data, watch)  # type: ignore[arg-type]
            if ending and not ready:
                return


def _drain(watching: socket.socket, spot: Spot, watch: Watch) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            frame, ancillary, _, address = watching.recvmsg(LARGEST_FRAME_BYTES, 256)
            probe = read_probe(frame, watch.nonce)
            if probe is None:
                continue
            at_ns, vlan = time.time_ns(), probe.vlan
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                    seconds, nanoseconds = struct.unpack("qq", data[:16])
                    at_ns = seconds * _NS_PER_S + nanoseconds
                elif (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    vlan = read_vlan(data) or vlan
            outgoing = address[2] == socket.PACKET_OUTGOING  # type: ignore[attr-defined,unused-ignore]
            watch.sightings.append(Sighting(at_ns, spot.place, spot.inside, address[0], outgoing, probe, vlan))
