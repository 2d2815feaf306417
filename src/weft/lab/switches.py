"""The switches as the lab runs them: each is a process of the lab, ``leaf1/switch``, with a machine's own insides."""

import os
from collections.abc import Sequence
from pathlib import Path

from weft.lab import processes, state, switch
from weft.lab.programs import SWITCH_KEY
from weft.lab.state import LabState, Process
from weft.lab.switch_image import IMAGE, is_current
from weft.lab.topology import namespace_of
from weft.model.errors import Conflict, Permanent, Transient

PROGRAM = "switch"
SEARCH_PATH = "/usr/sbin:/usr/bin"


def refuse_missing_image() -> None:
    """Raise Permanent if there is no image to boot switches from."""
    if not is_current():
        raise Permanent(f"there is no current switch image in {IMAGE}: run scripts/setup (or scripts/switch-image)")


async def boot(lab: LabState, name: str) -> None:
    """Switch a switch on and return when it takes logins; raise Conflict if it is on."""
    workdir = _workdir(name)
    process = Process(
        name=process_name(name),
        namespace=namespace_of(name),
        argv=switch.command(name, workdir, lab.switches[name]),
    )
    if (running := lab.processes.get(process.name)) is not None and processes.is_running(running, lab.id):
        raise Conflict(f"switch {name} is on; `weft lab restart {name}` switches it off and on again")
    switch.prepare(name, workdir, SWITCH_KEY.with_suffix(".pub").read_text())
    started = processes.start(process, lab.id)
    try:
        await switch.ready(started.pid or 0, workdir)
    except Permanent as error:
        raise Permanent(f"switch {name} does not boot: {error.message}") from None


async def power_off(lab: LabState, name: str) -> None:
    """Cut a switch's power; raise Permanent if it is off."""
    await switch.stop(_running(lab, name))


def daemons(lab: LabState, name: str, program: str) -> tuple[int, ...]:
    """Return the pids of a program in a switch."""
    return switch.daemon_pids(_running(lab, name), program)


def argv_in(lab: LabState, name: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return the command line that runs a command on a switch: with its root folder, processes and network."""
    children = processes.children(_running(lab, name))
    if not children:
        raise Transient(f"switch {name} is booting", retry_after_s=1.0)
    environment = (f"PATH={SEARCH_PATH}", "HOME=/root", f"TERM={os.environ.get('TERM', 'dumb')}")
    enter = ("nsenter", f"--target={children[0]}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
    return (*enter, "/usr/bin/env", "-i", *environment, *command)


def process_name(name: str) -> str:
    """Return the name of a switch among the lab's processes."""
    return f"{name}/{PROGRAM}"


def _running(lab: LabState, name: str) -> int:
    process = lab.processes.get(process_name(name))
    if process is None or process.pid is None or not processes.is_running(process, lab.id):
        raise Permanent(f"switch {name} is off: `weft lab start {name}` switches it on")
    return process.pid


def _workdir(name: str) -> Path:
    return state.LAB_DIR / name
