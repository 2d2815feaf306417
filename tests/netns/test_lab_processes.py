"""Starting, finding and ending processes of a lab in a real namespace: what is marked or lives there, nothing else."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.lab import namespaces, processes, state
from weft.lab.state import MARK, LabState, Process
from weft.model.errors import Permanent

pytestmark = pytest.mark.netns

NAMESPACE = "wlab-processes"
SLEEP = ("sleep", "60")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabState]:
    monkeypatch.setattr(state, "LAB_DIR", tmp_path / "lab")
    monkeypatch.setattr(state, "STATE_FILE", tmp_path / "lab" / "state.json")
    made = state.new(Path("/dc.toml"), "ctl1")
    state.write(made)
    asyncio.run(namespaces.create([NAMESPACE]))
    yield made
    asyncio.run(processes.kill_all(made.id, [NAMESPACE]))
    asyncio.run(namespaces.delete([NAMESPACE]))


def process(*argv: str, name: str = "node1/sleeper", listen: tuple[str, ...] = ()) -> Process:
    return Process(name=name, namespace=NAMESPACE, argv=argv, listen=listen)


def inode(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def wait_for_namespace(pid: int) -> None:
    """Wait until a process that was just started by ip(8) is where it belongs."""
    deadline = time.monotonic() + 5
    while inode(pid) not in processes.namespace_inodes([NAMESPACE]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_is_written_down_and_runs_in_its_namespace_and_session(lab: LabState) -> None:
    started = processes.start(process(*SLEEP), lab.id)
    assert started.pid is not None
    assert state.load().processes["node1/sleeper"] == started
    wait_for_namespace(started.pid)
    assert processes.is_running(started, lab.id)
    assert os.getsid(started.pid) == started.pid


def test_a_process_gets_nothing_of_its_callers_environment(lab: LabState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_SERVER", "http://elsewhere")
    started = processes.start(process("sh", "-c", "env; exec sleep 60"), lab.id)
    deadline = time.monotonic() + 5
    while f"{MARK}={lab.id}" not in started.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "elsewhere" not in started.log.read_text()


def test_a_killed_process_is_known_to_be_dead(lab: LabState) -> None:
    started = processes.start(process(*SLEEP), lab.id)
    asyncio.run(processes.kill(started, lab.id))
    assert not processes.is_running(started, lab.id)
    with pytest.raises(Permanent, match="does not run"):
        asyncio.run(processes.kill(started, lab.id))


def test_the_pid_of_somebody_else_is_not_taken_for_a_process_of_the_lab(lab: LabState) -> None:
    with subprocess.Popen(SLEEP) as stranger:
        claimed = Process(name="node1/sleeper", namespace=NAMESPACE, argv=SLEEP, pid=stranger.pid)
        assert not processes.is_running(claimed, lab.id)
        asyncio.run(processes.stop(claimed, lab.id))
        assert stranger.poll() is None
        stranger.kill()


def test_all_of_a_lab_are_killed_and_nobody_else(lab: LabState) -> None:
    marked = subprocess.Popen(SLEEP, env={**os.environ, MARK: lab.id})
    unmarked_inside = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, *SLEEP])
    of_another_lab = subprocess.Popen(SLEEP, env={**os.environ, MARK: "another"})
    stranger = subprocess.Popen(SLEEP)
    try:
        wait_for_namespace(unmarked_inside.pid)
        assert asyncio.run(processes.kill_all(lab.id, [NAMESPACE])) == 2
        assert marked.wait(5) < 0
        assert unmarked_inside.wait(5) < 0
        assert of_another_lab.poll() is None
        assert stranger.poll() is None
    finally:
        for each in (marked, unmarked_inside, of_another_lab, stranger):
            each.kill()
            each.wait()


def test_a_socket_of_the_machine_is_handed_into_the_namespace(lab: LabState) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        address = f"127.0.0.1:{found.getsockname()[1]}"
    program = (
        "import socket, sys; "
        "listener = socket.socket(fileno=int(sys.argv[1].removeprefix('fd:'))); "
        "listener.accept()[0].sendall(b'from inside')"
    )
    processes.start(process(sys.executable, "-c", program, "fd:{0}", listen=(address,)), lab.id)
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        assert connection.recv(100) == b"from inside"


def test_an_address_that_is_taken_is_named(lab: LabState) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Permanent, match=address):
            processes.start(process(*SLEEP, listen=(address,)), lab.id)
