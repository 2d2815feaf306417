"""The power button: kill, start and restart one process of the lab, or a whole switch, as faults and operators do."""

import signal

import msgspec

from weft.lab import processes, state, switches
from weft.lab.programs import SERVER_PROGRAM
from weft.lab.state import LabState, Process
from weft.model.errors import Conflict, Invalid, NotFound


async def kill(name: str, signal_: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal, SIGKILL unless told otherwise, to ``server``, ``node1/agent``, ``leaf1/bgpd``, or a whole switch.

    Raise NotFound if nothing of that name is known, and Permanent if it does not run.
    """
    lab = state.load()
    if name in lab.devices:
        await switches.power_off(lab, name)
    elif (process := _find(lab, name)) is not None:
        await processes.kill(process, lab.id, signal_)
    else:
        for pid in _daemon(lab, name):
            processes.send(pid, signal_)


async def start(name: str) -> None:
    """Start a process of the lab, or a switch, that does not run; raise Conflict if it does."""
    lab = state.load()
    if name in lab.devices:
        await switches.boot(lab, name)
        return
    process = _own(lab, name)
    if processes.is_running(process, lab.id):
        raise Conflict(f"{process.name} runs (pid {process.pid}); `weft lab restart {process.name}` starts it again")
    processes.start(msgspec.structs.replace(process, pid=None), lab.id)


async def restart(name: str) -> None:
    """End a process of the lab by SIGTERM, or switch a switch off, and start it again."""
    lab = state.load()
    if name in lab.devices:
        await switches.power_off(lab, name)
        await switches.boot(lab, name)
        return
    process = _own(lab, name)
    await processes.stop(process, lab.id)
    processes.start(msgspec.structs.replace(process, pid=None), lab.id)


def _find(lab: LabState, name: str) -> Process | None:
    return lab.processes.get(f"{lab.server}/{SERVER_PROGRAM}" if name == SERVER_PROGRAM else name)


def _own(lab: LabState, name: str) -> Process:
    """Return a process that the lab starts itself; a switch's daemons are started by the switch."""
    process = _find(lab, name)
    if process is None:
        device = name.partition("/")[0]
        if device in lab.devices:
            raise Invalid(f"{name}: a switch starts its own daemons again; `weft lab restart {device}` restarts it")
        raise _unknown(lab, name)
    return process


def _daemon(lab: LabState, name: str) -> tuple[int, ...]:
    device, _, program = name.partition("/")
    if device not in lab.devices or not program:
        raise _unknown(lab, name)
    found = switches.daemons(lab, device, program)
    if not found:
        raise NotFound(f"no {program} runs on {device}")
    return found


def _unknown(lab: LabState, name: str) -> NotFound:
    known = ", ".join([SERVER_PROGRAM, *sorted(lab.processes), *lab.devices])
    return NotFound(f"the lab has no process '{name}'; it has {known}, and each switch's daemons, such as leaf1/bgpd")
