"""The server process on a unix socket: it says where it listens, keeps what it answered, and stops at once."""

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

DEADLINE_S = 10.0
"""Only reached by a failing test."""

PROGRAM = """
from weft.api.server import run
from weft.api.settings import ServerSettings
import sys
run(ServerSettings(listen=("unix:" + sys.argv[1],), db="sqlite:///" + sys.argv[2]))
"""


class Process:
    """A server process that listens, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "server.sock"
        self.errors = folder / "errors"
        with self.errors.open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self.socket), str(folder / "weft.db")],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._process.stdout is not None
        self.greeting = self._process.stdout.readline()
        transport = httpx.HTTPTransport(uds=str(self.socket))
        self.http = httpx.Client(transport=transport, base_url="http://weft", timeout=DEADLINE_S)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        return self._process.wait(DEADLINE_S)

    def close(self) -> None:
        """End it, however it is."""
        self.http.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    running = Process(tmp_path)
    yield running
    running.close()


def test_a_server_says_where_it_listens_and_whom_it_trusts(process: Process) -> None:
    assert f"unix:{process.socket}" in process.greeting
    assert "no credential configured" in process.greeting
    assert stat.S_IMODE(process.socket.stat().st_mode) == 0o600


def test_an_open_stream_does_not_hold_up_the_stop(process: Process) -> None:
    with process.http.stream("GET", "/v1/watch") as stream:
        assert stream.status_code == 200
        assert process.stop(signal.SIGTERM) == 0
        assert list(stream.iter_bytes()) == []
    assert not process.socket.exists()
    assert "Traceback" not in process.errors.read_text()


def test_what_was_answered_outlives_a_kill(tmp_path: Path, process: Process) -> None:
    wire = {"sites": [{"name": "s", "fabric": {}}]}
    assert process.http.put("/v1/inventory", json=wire).status_code == 200
    made = process.http.post("/v2.0/networks", json={"network": {"name": "n"}})
    assert made.status_code == 201, made.text
    process.stop(signal.SIGKILL)
    again = Process(tmp_path)
    try:
        found = again.http.get("/v2.0/networks").json()
    finally:
        again.close()
    assert found == {"networks": [made.json()["network"]]}
