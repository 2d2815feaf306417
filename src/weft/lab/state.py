"""What the lab has made, and is about to make: a file that is written before each thing is made.

After a kill -9 at any point, `down` finds in it all that may exist. There is one lab on a machine.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from weft.model.errors import Conflict, NotFound

RUN_DIR = Path("/run/weft")
LAB_DIR = RUN_DIR / "lab"
CLIENT_FILE = RUN_DIR / "client.toml"
"""Where every command of this machine finds the lab's server; see weft.client.context."""
LOCK_FILE = RUN_DIR / "lab.lock"
STATE_FILE = LAB_DIR / "state.json"
MOUNTS = Path("/proc/self/mounts")
MARK = "WEFT_LAB"
"""The environment variable that every process of a lab carries, with the lab's id."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the lab, named ``device/program``; all that is needed to start it again.

    `listen` are HOST:PORT sockets of the machine itself, opened by the lab and inherited; ``{0}``, ``{1}`` ... in
    `argv` become their file descriptors. `pid` is None while it does not run.
    """

    name: str
    namespace: str
    argv: tuple[str, ...]
    environment: dict[str, str] = {}
    listen: tuple[str, ...] = ()
    pid: int | None = None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return LAB_DIR / f"{self.name}.log"


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance and where it is plugged in; `device` is its interface on the node, None for bare metal.

    `hybrid`: a Linux bridge of its own lies between its device and br-int, as Neutron's classic design has it for
    security groups (``ovs_hybrid_plug``).
    """

    name: str
    port_id: str
    node: str
    namespace: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    mtu_bytes: int = 1500
    device: str | None = None
    moving_to: str | None = None
    hybrid: bool = False


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """A lab. `phase` is ``going up``, ``up`` or ``failed``; times are Unix time in seconds."""

    id: str
    file: str
    server: str
    began_at: float
    phase: str = "going up"
    up_after_s: float | None = None
    netns_mounted: bool = True
    """Whether /run/netns was there before; `down` leaves it as it was."""
    namespaces: tuple[str, ...] = ()
    switches: dict[str, str] = {}
    """Each switch's address on the out-of-band network."""
    vlan_switches: tuple[str, ...] = ()
    """Those of them that switch VLANs, by Open vSwitch."""
    switch_ports: dict[str, tuple[str, ...]] = {}
    """The interfaces of each switch that cables are in."""
    outsides: dict[str, str] = {}
    """The routers outside, which are no part of the inventory, as `switches` has its own."""
    ovs_nodes: tuple[str, ...] = ()
    nics: dict[str, tuple[str, ...]] = {}
    """The NICs of each node, in the order of its cables."""
    processes: dict[str, Process] = {}
    instances: dict[str, Instance] = {}

    @property
    def devices(self) -> dict[str, str]:
        """What boots from the switch image, with its out-of-band address: switches, and routers outside."""
        return {**self.switches, **self.outsides}


def new(file: Path, server: str) -> LabState:
    """Return the state of a lab of which nothing exists."""
    return LabState(
        id=uuid.uuid4().hex[:12],
        file=str(file),
        server=server,
        began_at=time.time(),
        netns_mounted=netns_mounted(),
    )


def netns_mounted() -> bool:
    """Tell whether /run/netns is a mount point; it is bound on itself, which only the kernel's list shows."""
    return any(line.split()[1] == "/run/netns" for line in MOUNTS.read_text().splitlines())


def load() -> LabState:
    """Return the state of this machine's lab; raise NotFound if there is none."""
    found = find()
    if found is None:
        raise NotFound("no lab is up on this machine: `weft lab up FILE` builds one", kind="NoLab")
    return found


def find() -> LabState | None:
    """Return the state of this machine's lab, None if there is none."""
    try:
        return msgspec.json.decode(STATE_FILE.read_bytes(), type=LabState)
    except (FileNotFoundError, PermissionError):
        return None


def write(state: LabState) -> None:
    """Replace the state, at once or not at all."""
    LAB_DIR.mkdir(parents=True, exist_ok=True, mode=0o755)
    draft = STATE_FILE.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1))
    draft.replace(STATE_FILE)


@contextmanager
def changing() -> Iterator["Draft"]:
    """Read, change and write the state, alone among all commands of the machine; an exception changes nothing."""
    LAB_DIR.mkdir(parents=True, exist_ok=True)
    with (LAB_DIR / "state.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        draft = Draft(load())
        yield draft
        write(draft.state)


class Draft:
    """A state that is being changed."""

    def __init__(self, state: LabState) -> None:
        self.state = state

    def set_phase(self, phase: str, up_after_s: float | None = None) -> None:
        """Say how far the lab is."""
        self.state = msgspec.structs.replace(self.state, phase=phase, up_after_s=up_after_s)

    def add_namespace(self, name: str) -> None:
        """Mark a namespace that is about to be made."""
        if name not in self.state.namespaces:
            self.state = msgspec.structs.replace(self.state, namespaces=(*self.state.namespaces, name))

    def remove_namespace(self, name: str) -> None:
        """Forget a namespace that is gone."""
        left = tuple(each for each in self.state.namespaces if each != name)
        self.state = msgspec.structs.replace(self.state, namespaces=left)

    def put_process(self, process: Process) -> None:
        """Write down a process."""
        self.state = msgspec.structs.replace(self.state, processes={**self.state.processes, process.name: process})

    def put_instance(self, instance: Instance) -> None:
        """Write down an instance."""
        self.state = msgspec.structs.replace(self.state, instances={**self.state.instances, instance.name: instance})

    def remove_instance(self, name: str) -> None:
        """Forget an instance that is gone."""
        left = {key: value for key, value in self.state.instances.items() if key != name}
        self.state = msgspec.structs.replace(self.state, instances=left)


@contextmanager
def operating(what: str) -> Iterator[None]:
    """Hold the machine's lab for an operation on the whole of it; raise Conflict if another holds it."""
    with _locked(what) as lock:
        lock.truncate(0)
        lock.write(f"`weft lab {what}` (pid {os.getpid()})")
        lock.flush()
        try:
            yield
        finally:
            if not LAB_DIR.exists():  # no lab is left to be held
                LOCK_FILE.unlink(missing_ok=True)
                with suppress(OSError):  # somebody else keeps something there
                    RUN_DIR.rmdir()


@contextmanager
def _locked(what: str) -> Iterator[IO[str]]:
    while True:
        RUN_DIR.mkdir(parents=True, exist_ok=True)
        with LOCK_FILE.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "another command"
                raise Conflict(f"cannot run `weft lab {what}` now: {holder} is at work on the lab") from None
            if _is_at(lock, LOCK_FILE):
                yield lock
                return


def _is_at(file: IO[str], path: Path) -> bool:
    """Tell whether an open file is the one at a path, and not one that was removed between opening and locking."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
