"""The plugin as a runtime calls it, in C and in Python: what it answers itself, what it hands on, what comes back."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from weft.agent.cni.errors import CniError
from weft.agent.cni.request import VERSIONS, Call
from weft.agent.cni.wire import call_of, failed, success
from weft.cni import INTERPRETED

SOURCE = INTERPRETED.with_suffix(".c")
MAX_STDIN_BYTES = 1 << 20

Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The plugin of the source as it is now."""
    program = tmp_path_factory.mktemp("cni") / "weft-cni"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(SOURCE)], check=True)
    return [str(program)]


@pytest.fixture(params=["C", "Python"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run the plugin as a runtime does: isolated, with nothing but its environment."""
    words = request.getfixturevalue("compiled") if request.param == "C" else [sys.executable, "-IS", str(INTERPRETED)]

    def run(stdin: str, **environment: str) -> tuple[int, Any]:
        done = subprocess.run(words, input=stdin, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    return run


class Agent:
    """A socket where somebody answers one call with some bytes, or with nothing."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.path, self.received = str(path), b""
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        wire, _ = self._listener.accept()
        with wire:
            while piece := wire.recv(1 << 16):
                self.received += piece
            wire.sendall(self._answer)

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[bytes], Agent]]:
    made: list[Agent] = []

    def make(answer: bytes) -> Agent:
        made.append(Agent(tmp_path / "cni.sock", answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_it_tells_its_versions_without_an_agent(run: Run) -> None:
    status, said = run("", CNI_COMMAND="VERSION")
    assert (status, said["supportedVersions"]) == (0, list(VERSIONS))


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        ("", 6),
        ("{", 6),
        ("[1]", 6),
        ("{} x", 6),
        ("{}{}", 6),
        ('{"a": "b', 6),
        ('"a"', 6),
        ("x" * (MAX_STDIN_BYTES + 1), 6),
        ('{"socket": "/nowhere.sock"}', 11),
        ('{"socket": "/' + "long" * 50 + '"}', 11),
    ],
)
def test_it_fails_as_the_specification_says(run: Run, stdin: str, code: int) -> None:
    status, said = run(stdin, CNI_COMMAND="ADD")
    assert (status, said["code"]) == (1, code)
    assert said["msg"]


def test_a_node_without_agent_is_not_available(run: Run) -> None:
    status, said = run('{"cniVersion": "1.1.0", "socket": "/nowhere.sock"}', CNI_COMMAND="STATUS")
    assert (status, said["code"], said["cniVersion"]) == (1, 50, "1.1.0")
    assert "/nowhere.sock" in said["msg"]


def test_it_hands_on_what_it_was_given_and_prints_what_it_gets(run: Run, agent: Callable[[bytes], Agent]) -> None:
    there = agent(success({"cniVersion": "1.0.0", "ips": []}))
    stdin = json.dumps({"name": "é\n", "socket": there.path})
    environment = {
        "CNI_CONTAINERID": "abc", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0", "CNI_ARGS": "K8S_POD_NAME=db-0"
    }  # fmt: skip
    assert run(stdin, CNI_COMMAND="ADD", **environment) == (0, {"cniVersion": "1.0.0", "ips": []})
    assert call_of(there.received) == Call(
        command="ADD", container_id="abc", netns="/run/netns/x", ifname="eth0", args="K8S_POD_NAME=db-0", stdin=stdin
    )


def test_the_agents_error_is_its_own(run: Run, agent: Callable[[bytes], Agent]) -> None:
    there = agent(failed({"code": 100, "msg": "no"}))
    assert run(json.dumps({"socket": there.path}), CNI_COMMAND="ADD") == (1, {"code": 100, "msg": "no"})


def test_a_call_that_prints_nothing_prints_nothing(run: Run, agent: Callable[[bytes], Agent]) -> None:
    there = agent(success(None))
    assert run(json.dumps({"socket": there.path}), CNI_COMMAND="DEL") == (0, None)


@pytest.mark.parametrize("nonsense", [b"", b"x"])
def test_an_agent_that_dies_in_a_call_is_tried_again_later(
    run: Run, agent: Callable[[bytes], Agent], nonsense: bytes
) -> None:
    there = agent(nonsense)
    status, said = run(json.dumps({"socket": there.path}), CNI_COMMAND="ADD")
    assert (status, said["code"]) == (1, 11)


def test_who_writes_annotations_does_not_choose_the_socket(run: Run) -> None:
    document = {
        "cniVersion": "1.0.0",
        "runtimeConfig": {"annotations": {"socket": "/evil.sock", "x": 'a"socket": "/evil.sock'}},
        "list": ["socket", "/evil.sock", {"socket": "/evil.sock"}],
        "quote": '\\"socket": "/evil.sock',
        "socket": "/nowhere.sock",
    }
    for text in (json.dumps(document), json.dumps(document, indent=1), json.dumps(dict(reversed(document.items())))):
        assert "at /nowhere.sock" in run(text, CNI_COMMAND="ADD")[1]["msg"]


def test_a_call_as_long_as_can_be_arrives_whole(run: Run, agent: Callable[[bytes], Agent]) -> None:
    there = agent(success(None))
    head = f'{{"socket": "{there.path}", "x": "'
    stdin = head + "y" * (MAX_STDIN_BYTES - len(head) - 2) + '"}'
    assert run(stdin, CNI_COMMAND="ADD", CNI_ARGS="a" * 100_000) == (0, None)
    assert call_of(there.received).stdin == stdin


def test_what_no_plugin_of_this_version_sends_is_refused() -> None:
    for received, text in (
        (b"", "another protocol"),
        (b'{"command": "ADD"}\n', "another protocol"),
        (b"1\0ADD\0", "early"),
    ):
        with pytest.raises(CniError, match=text):
            call_of(received)
