"""The switches as the lab runs them: each is a process of the lab, ``leaf1/switch``, with a machine's own insides."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from weft.lab import processes, state, switch
from weft.lab.commands import ip_batch, run
from weft.lab.programs import SWITCH_KEY
from weft.lab.state import LabState, Process
from weft.lab.switch_image import IMAGE, is_current
from weft.lab.topology import SWITCH_OOB_INTERFACE, namespace_of
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
        argv=switch.command(name, workdir, lab.devices[name]),
    )
    if (running := lab.processes.get(process.name)) is not None and processes.is_running(running, lab.id):
        raise Conflict(f"switch {name} is on; `weft lab restart {name}` switches it off and on again")
    await ip_batch([f"link set {port} up" for port in lab.switch_ports[name]], namespace=namespace_of(name))
    key = SWITCH_KEY.with_suffix(".pub").read_text()
    switch.prepare(name, workdir, key, vlans=name in lab.vlan_switches)
    started = processes.start(process, lab.id)
    try:
        await switch.ready(started.pid or 0, workdir)
    except Permanent as error:
        raise Permanent(f"switch {name} does not boot: {error.message}") from None


async def power_off(lab: LabState, name: str) -> None:
    """Cut a switch's power; raise Permanent if it is off.

    Its memory goes with it, also what the kernel holds of it, and whoever is cabled to it loses carrier. What is on its
    disk stays, and so does its out-of-band address.
    """
    await switch.stop(_running(lab, name))
    namespace, ports = namespace_of(name), lab.switch_ports[name]
    links = await run("ip", "-n", namespace, "-json", "link")
    made = [link["ifname"] for link in json.loads(links) if link["ifname"] not in {"lo", *ports}]
    for interface in made:
        await _if_there("ip", "-n", namespace, "link", "del", interface)  # the other end of a pair is gone by then
    for port in ports:
        await _if_there("tc", "-n", namespace, "qdisc", "del", "dev", port, "clsact")
    down = [f"link set {port} down" for port in ports]
    flush = [f"address flush dev {port}" for port in ("lo", *ports) if port != SWITCH_OOB_INTERFACE]
    await ip_batch([*down, *flush, "link set lo down"], namespace=namespace)


async def _if_there(*command: str) -> None:
    with contextlib.suppress(Permanent):
        await run(*command)


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
