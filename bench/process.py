"""A server process beside the load generator."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

WEFT = Path(sys.executable).with_name("weft")
START_TIMEOUT_S = 30.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Served:
    """Where a server listens, and the process that was started."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """Return the processor time that it and its children have used."""
        return _cpu_s(self.pid) + sum(map(_cpu_s, _children(self.pid)))

    def memory_mib(self) -> float:
        """Return the memory of it and its children, of pages that several have, their share each."""
        return sum(map(_memory_kib, [self.pid, *_children(self.pid)])) / 1024


@contextmanager
def weft_server(url: str) -> Iterator[Served]:
    """Run a server on a database within the context, with a process for each core."""
    processes = str(os.cpu_count())
    with serving(WEFT, "server", "--no-controllers", "--processes", processes, "--db", url) as server:
        yield server


@contextmanager
def serving(*command: str | Path) -> Iterator[Served]:
    """Run a server process within the context; it is told with --listen where."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            _until_it_listens(process, port)
            yield Served(port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=START_TIMEOUT_S)


def _until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT_S) as asking:
                asking.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                if not asking.recv(1):  # it was a socket that only showed that the address is free
                    raise ConnectionResetError
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server does not start") from None
            time.sleep(0.05)
        else:
            return


def _stat(pid: int) -> list[str]:
    # The name, in brackets, may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_s(pid: int) -> float:
    found = _stat(pid)
    return (int(found[11]) + int(found[12])) / _TICKS_PER_S


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _memory_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/{pid}/smaps_rollup tells no Pss")
