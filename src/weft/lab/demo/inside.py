"""What the demo does inside an instance: ping, and listen at its NIC. Only what any program in it could do."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.lab.demo import ear
from weft.lab.demo.ping import PingResult, marker, parse_ping
from weft.model.errors import Permanent

NIC = "eth0"
PING_INTERVAL_S = 0.1
ANSWER_WAIT_S = 1
MOVE_PING_INTERVAL_S = 0.02
LAST_ANSWER_S = 0.5
"""How long the last pings of a series that is stopped may still be answered."""
READY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance is to be found: its namespace, and its NIC in it."""

    name: str
    namespace: str
    nic: str
    tenant: str

    def argv(self, *command: str) -> tuple[str, ...]:
        """Return the command line that runs a command inside."""
        return ("ip", "netns", "exec", self.namespace, *command)


async def ping(place: Place, address: str, *, count: int = 5, ttl: int | None = None) -> PingResult:
    """Ping an address from inside an instance; the packets carry its tenant's marker."""
    options = [] if ttl is None else ["-t", str(ttl)]
    options += ["-c", str(count), "-i", str(PING_INTERVAL_S), "-W", str(ANSWER_WAIT_S)]
    process = await _start_ping(place, address, options)
    output, errors = await process.communicate()
    return parse_ping((output + errors).decode())


@asynccontextmanager
async def pinging(place: Place, address: str) -> AsyncIterator["Series"]:
    """Ping an address every 20 ms for as long as the block runs; its result stands in the series afterwards."""
    process = await _start_ping(place, address, ["-i", str(MOVE_PING_INTERVAL_S)])
    series = Series()
    try:
        yield series
        await asyncio.sleep(LAST_ANSWER_S)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # ip netns exec has become ping: it prints its summary and ends
        output, errors = await process.communicate()
        series.output = (output + errors).decode()


class Series:
    """A series of pings that goes on beside something else."""

    output = ""

    @property
    def result(self) -> PingResult:
        """What came of it; once it has ended."""
        return parse_ping(self.output)


async def _start_ping(place: Place, address: str, options: Iterable[str]) -> asyncio.subprocess.Process:
    command = ("ping", "-n", "-p", marker(place.tenant), *options, address)
    return await asyncio.create_subprocess_exec(
        *place.argv(*command),
        env={**os.environ, "LC_ALL": "C"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


class Heard(msgspec.Struct, frozen=True):
    """What an ear heard: frames in all, and how many held each marker."""

    frames: int
    heard: dict[str, int]

    def of(self, tenant: str) -> int:
        """Return how many frames carried a tenant's marker."""
        return self.heard[marker(tenant)]


class Ear:
    """A program inside an instance that counts what arrives at its NIC."""

    def __init__(self, place: Place, process: asyncio.subprocess.Process) -> None:
        self._place = place
        self._process = process

    @classmethod
    async def open(cls, place: Place, tenants: Iterable[str]) -> "Ear":
        """Start listening; returns when it hears."""
        program = (sys.executable, "-I", "-S", str(Path(ear.__file__)), place.nic, *map(marker, tenants))
        process = await asyncio.create_subprocess_exec(
            *place.argv(*program), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(READY_TIMEOUT_S):
            said = await process.stdout.readline()
        if said.strip() != b"listening":
            raise Permanent(f"nothing can listen at {place.nic} of {place.name}")
        return cls(place, process)

    async def close(self) -> Heard:
        """Stop listening and return what was heard."""
        output, _ = await self._process.communicate(b"")  # which ends its standard input: it stops
        return msgspec.json.decode(output, type=Heard)


@asynccontextmanager
async def listening(places: Iterable[Place], tenants: Iterable[str]) -> AsyncIterator[dict[str, Heard]]:
    """Listen inside instances while the block runs; what each heard stands in the dictionary afterwards, by name."""
    wanted = tuple(tenants)
    ears: dict[str, Ear] = {}
    heard: dict[str, Heard] = {}
    try:
        for place in places:
            ears[place.name] = await Ear.open(place, wanted)
        yield heard
    finally:
        for name, each in ears.items():
            heard[name] = await each.close()
