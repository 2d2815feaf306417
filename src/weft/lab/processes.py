"""Starting, finding and stopping the lab's processes. Each runs in its namespace, in a session of its own, marked."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from weft.lab import state
from weft.lab.namespaces import NETNS_DIR
from weft.lab.state import MARK, Process
from weft.model.errors import Permanent, Transient

PROC = Path("/proc")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLL_S = 0.02
STOP_TIMEOUT_S = 5.0
"""How long a process may take to end on SIGTERM before it is killed."""
GONE_TIMEOUT_S = 4.0
"""How long killed processes may take to be gone."""
EXEC_POLLS = 20
EXEC_POLL_S = 0.002
"""How often, and how far apart, an empty environment is looked at again before it is taken for what it says."""
LOG_TAIL_LINES = 15


def start(process: Process, lab_id: str) -> Process:
    """Start a process and write down its pid; return it with the pid.

    Its environment is the one that a service manager gives, and not the caller's: nothing of the caller's session may
    change what a process of the lab does.
    """
    with state.changing() as draft:  # marked before it is made: what the next lines start is found by this
        draft.put_process(process)
    process.log.parent.mkdir(parents=True, exist_ok=True)
    sockets = [_listening(address) for address in process.listen]
    descriptors = [each.fileno() for each in sockets]
    argv = [part.format(*descriptors) if part.startswith("fd:") else part for part in process.argv]
    environment = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **process.environment, MARK: lab_id}
    try:
        with process.log.open("ab") as log:
            child = subprocess.Popen(
                ["ip", "netns", "exec", process.namespace, *argv],  # ip execs: the pid is the program's own
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=descriptors,
                start_new_session=True,
                cwd="/",
            )
    finally:
        for each in sockets:
            each.close()
    started = msgspec.structs.replace(process, pid=child.pid)
    with state.changing() as draft:
        draft.put_process(started)
    return started


def is_running(process: Process, lab_id: str) -> bool:
    """Tell whether a process that was started still runs; a pid that belongs to somebody else by now does not count."""
    return process.pid is not None and not _is_zombie(process.pid) and _is_marked(process.pid, lab_id)


async def stop(process: Process, lab_id: str) -> None:
    """End a process: SIGTERM, and SIGKILL if it has not ended in time. One that does not run is left alone."""
    if process.pid is None or not is_running(process, lab_id):
        return
    send(process.pid, signal.SIGTERM)
    if not await _ended(process, lab_id, STOP_TIMEOUT_S):
        await kill(process, lab_id)


async def kill(process: Process, lab_id: str, signal_: signal.Signals = signal.SIGKILL) -> None:
    """Send a process a signal, SIGKILL unless told otherwise, and wait until it is gone if the signal is deadly."""
    if process.pid is None or not is_running(process, lab_id):
        raise Permanent(f"{process.name} does not run")
    send(process.pid, signal_)
    if signal_ == signal.SIGKILL and not await _ended(process, lab_id, GONE_TIMEOUT_S):
        raise Transient(f"{process.name} (pid {process.pid}) is still there after SIGKILL", retry_after_s=1.0)


def send(pid: int, signal_: signal.Signals) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_)


def of_lab(lab_id: str, namespaces: Iterable[str]) -> frozenset[int]:
    """Return the pids of all processes that carry a lab's mark or live in one of its namespaces.

    The namespaces find what the mark does not: a program that writes over its own environment, such as sshd.
    """
    inodes = namespace_inodes(namespaces)
    own = os.getpid()
    return frozenset(
        pid
        for pid in _pids()
        if pid != own and not _is_zombie(pid) and (_namespace_inode(pid) in inodes or _is_marked(pid, lab_id))
    )


def children(pid: int) -> tuple[int, ...]:
    """Return the pids of a process's children."""
    return tuple(int(child) for child in _read(pid, f"task/{pid}/children").split())


async def kill_all(lab_id: str, namespaces: Iterable[str]) -> int:
    """Kill every process of a lab, also those that others of them start meanwhile; return how many there were."""
    names = tuple(namespaces)
    killed: set[int] = set()
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while found := of_lab(lab_id, names):
        killed |= found
        for pid in found:
            send(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            listed = ", ".join(f"{pid} ({_read(pid, 'comm')})" for pid in sorted(found))
            raise Transient(f"these processes of the lab do not die: {listed}", retry_after_s=1.0)
        await asyncio.sleep(POLL_S)
    return len(killed)


def log_tail(process: Process) -> str:
    """Return the last lines that a process has said."""
    try:
        lines = process.log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-LOG_TAIL_LINES:])


def namespace_inodes(namespaces: Iterable[str]) -> frozenset[int]:
    """Return what the kernel knows the namespaces by."""
    inodes = set()
    for namespace in namespaces:
        with contextlib.suppress(FileNotFoundError):
            inodes.add((NETNS_DIR / namespace).stat().st_ino)
    return frozenset(inodes)


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise Permanent(f"cannot listen on {address}: {error.strerror}; what else runs there?") from None
    return listener


async def _ended(process: Process, lab_id: str, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_running(process, lab_id):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


def _pids() -> Iterator[int]:
    return (int(path.name) for path in PROC.iterdir() if path.name.isdigit())


def _is_marked(pid: int, lab_id: str) -> bool:
    return f"{MARK}={lab_id}".encode() in _environment(pid).split(b"\0")


def _environment(pid: int) -> bytes:
    """Return the environment of a process; empty if it has none or is gone.

    While a program is being replaced by another, in execve(2), its environment reads as empty: it is read again.
    """
    directory = PROC / str(pid)
    for _ in range(EXEC_POLLS):
        try:
            if environment := (directory / "environ").read_bytes():
                return environment
            (directory / "exe").readlink()
        except OSError:  # it is gone, or a thread of the kernel, which has neither
            return b""
        time.sleep(EXEC_POLL_S)
    return b""


def _is_zombie(pid: int) -> bool:
    return not (stat := _read(pid, "stat")) or stat.rpartition(")")[2].split()[0] == "Z"


def _namespace_inode(pid: int) -> int | None:
    try:
        return (PROC / str(pid) / "ns" / "net").stat().st_ino
    except OSError:
        return None


def _read(pid: int, file: str) -> str:
    try:
        return (PROC / str(pid) / file).read_text(errors="replace").strip()
    except OSError:
        return ""
