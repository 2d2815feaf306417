"""A `weft server` in a process of its own, which can be killed and started again at the same address."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from core_world import EXAMPLE

WEFT = Path(sys.executable).with_name("weft")
DEADLINE_S = 60.0
"""Only reached by a failing test."""


class WeftProcess:
    """One server; `url` is where it listens once it was started."""

    def __init__(
        self, db: str, folder: Path, name: str = "server", *, processes: int = 1, settings: Sequence[str] = ()
    ) -> None:
        self.db = db
        self._options = ["--processes", str(processes), *settings]
        self.url = ""
        self.log = folder / f"{name}.log"
        self._listen = "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """Start it and wait until it listens: where it did before, or on a port that is free."""
        self._process = self._spawned()
        assert self._process.stdout is not None
        greeting = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), DEADLINE_S)
        assert greeting, f"the server did not start:\n{self.log.read_text()[-3000:]}"
        self.url = next(word for word in greeting.split() if word.startswith("http://127.0.0.1:")).rstrip(",")
        self._listen = self.url.removeprefix("http://")

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(DEADLINE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def _spawned(self) -> "subprocess.Popen[str]":
        command = [str(WEFT), "server", "--db", self.db, "--listen", self._listen, *self._options]
        with self.log.open("a") as log:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

    def kill_one(self, dice: random.Random) -> None:
        """kill -9 of one of its processes; the others go on."""
        (children,) = Path(f"/proc/{self.pid}/task").glob("*/children")
        with suppress(ProcessLookupError):
            os.kill(int(dice.choice(children.read_text().split())), signal.SIGKILL)

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process' id."""
        assert self._process is not None
        return self._process.pid

    def end(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None:
            self.kill()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what it has logged under a name."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Open a client of it."""
        async with httpx.AsyncClient(base_url=self.url, timeout=DEADLINE_S) as http:
            yield http


async def put_inventory(http: httpx.AsyncClient) -> None:
    """Give a server the inventory of the example, without its switches: there are none to be reached."""
    wire = tomllib.loads(EXAMPLE.read_text())
    del wire["lab"]
    (await http.put("/v1/inventory", json=wire)).raise_for_status()


async def make(http: httpx.AsyncClient, resource: str, **attributes: object) -> dict[str, Any]:
    """Create a Neutron object."""
    answer = await http.post(f"/v2.0/{resource}s", json={resource: attributes})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()[resource]
    return found


async def segment(http: httpx.AsyncClient, cidr: str) -> str:
    """Create a network with one subnet, and return the network's id."""
    network = await make(http, "network", name="n")
    await make(http, "subnet", network_id=network["id"], cidr=cidr, ip_version=4)
    return str(network["id"])
