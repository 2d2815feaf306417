"""The programs of a cluster: each in its node's namespaces, marked as the lab's, with a log."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from weft.lab.namespaces import NETNS_DIR
from weft.lab.state import MARK
from weft.lab.topology import namespace_of

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOP_TIMEOUT_S = 20.0


def on_node(node: str) -> tuple[str, ...]:
    """Return what runs a command in a node's network namespace; it hides no cgroups, as `ip netns exec` does."""
    return ("nsenter", f"--net={NETNS_DIR / namespace_of(node)}")


class Program:
    """One program, which can be started more than once."""

    def __init__(
        self, argv: Sequence[str], log_file: Path, mark: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._argv = tuple(argv)
        self.log_file = log_file
        self._environment = {"PATH": PATH, "HOME": "/root", MARK: mark, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the program that runs."""
        assert self._process is not None, f"{self._argv} was not started"
        return self._process.pid

    def start(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                cwd="/",
            )

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self, signal_: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal, and wait until it has ended."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal_)
            self._process.wait(timeout=STOP_TIMEOUT_S)

    def stop(self) -> None:
        """End it as a service manager does."""
        try:
            self.kill(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            self.kill()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
