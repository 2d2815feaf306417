"""A running lab as tests see it: the command line, commands inside its devices, its server."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.client import Client
from weft.lab import reach, state
from weft.lab.programs import MACHINE_ADDRESS, admin_token
from weft.model.errors import NotFound

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "small-dc.toml"
WEFT = Path(sys.executable).with_name("weft")
COMMAND_TIMEOUT_S = 120.0
POLL_S = 0.05


def weft(*words: str, check: bool = True, timeout_s: float = COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does; a failure that was not expected shows what it said."""
    done = subprocess.run([WEFT, *words], capture_output=True, text=True, check=False, timeout=timeout_s)
    if check and done.returncode:
        pytest.fail(f"`weft {' '.join(words)}` exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


class Lab:
    """A lab that is up."""

    def __init__(self) -> None:
        self.client = Client(f"http://{MACHINE_ADDRESS}", admin_token())

    @property
    def state(self) -> state.LabState:
        """What the lab is made of, as it stands now."""
        return state.load()

    def run(self, name: str, *command: str, check: bool = True) -> str:
        """Run a command in a switch, node or instance and return what it prints."""
        argv = reach.argv_in(self.state, name, command)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S)
        if check and done.returncode:
            pytest.fail(f"`{' '.join(command)}` on {name} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, name: str, *command: str) -> object:
        """Run a command that prints JSON."""
        return json.loads(self.run(name, *command))

    def delete_network(self, network_id: str) -> None:
        """Delete a network with the ports that its containers have left; ports that wait for containers go with it."""
        for port in self.client.ports.list(network_id=network_id):
            if port["name"] or not port["device_owner"].startswith("container:"):
                with contextlib.suppress(NotFound):  # its agent has just let go of it
                    self.client.ports.delete(port["id"])
        self.client.networks.delete(network_id)


def until(look: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    """Wait until something is so; fail, saying what, if it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not look():
        if time.monotonic() > deadline:
            pytest.fail(f"not after {timeout_s:g} s: {what}")
        time.sleep(POLL_S)
