"""Network namespaces and the cables between them, made in batches; and what only code inside a namespace can do."""

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from weft.lab.commands import ip_batch
from weft.lab.topology import OOB_BRIDGE, OOB_NAMESPACE, Cable, OobAddress, Plug, Wiring

T = TypeVar("T")

NETNS_DIR = Path("/run/netns")
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def existing() -> frozenset[str]:
    """Return the names of the machine's namespaces."""
    try:
        return frozenset(path.name for path in NETNS_DIR.iterdir())
    except FileNotFoundError:
        return frozenset()


async def create(names: Iterable[str]) -> None:
    """Make namespaces, with their loopback up."""
    made = tuple(names)
    await ip_batch(f"netns add {name}" for name in made)
    await asyncio.gather(*(ip_batch(["link set lo up"], namespace=name) for name in made))


async def delete(names: Iterable[str]) -> None:
    """Remove those of the namespaces that exist; their links go with them."""
    there = existing()
    await ip_batch(f"netns del {name}" for name in names if name in there)


async def cable(wiring: Wiring) -> None:
    """Make all cables of a lab, and its out-of-band bridge with addresses; all ends are up.

    Both ends of a veth pair are made where they belong: moving one later takes 30 times as long.
    """
    await ip_batch(_veth(each) for each in wiring.cables)
    await asyncio.gather(*(ip_batch(_lines(wiring, namespace), namespace=namespace) for namespace in wiring.namespaces))


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Call a function with a namespace as its own: sockets that it opens stay in that namespace.

    A namespace belongs to a thread, so this is a thread of its own, which ends with the call.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            _enter(namespace)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, name=f"in {namespace}", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _enter(namespace: str) -> None:
    descriptor = os.open(NETNS_DIR / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(NETNS_DIR / namespace))
    finally:
        os.close(descriptor)


def _veth(made: Cable) -> str:
    return f"link add {_end(made.a)} type veth peer {_end(made.b)}"


def _end(plug: Plug) -> str:
    return f"name {plug.interface} mtu {plug.mtu_bytes} netns {plug.namespace}"


def _lines(wiring: Wiring, namespace: str) -> list[str]:
    lines = [f"link set {interface} up" for interface in wiring.plugs(namespace)]
    if namespace == OOB_NAMESPACE:
        lines = [
            f"link add {OOB_BRIDGE} type bridge",
            f"link set {OOB_BRIDGE} up",
            *(f"link set {port} master {OOB_BRIDGE}" for port in wiring.oob_ports),
            *lines,
        ]
    return lines + [_address(each) for each in wiring.oob_addresses if each.namespace == namespace]


def _address(given: OobAddress) -> str:
    return f"address add {given.address} dev {given.interface}"
