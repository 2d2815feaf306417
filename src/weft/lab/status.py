"""What a lab is made of and whether it still stands: asked from the kernel and from the server, not remembered."""

import asyncio
import time
from typing import Any

import msgspec

from weft.client import AsyncClient
from weft.lab import namespaces, processes, state
from weft.lab.convergence import sessions_of
from weft.lab.programs import SERVER_SOCKET
from weft.model.errors import WeftError


class SwitchStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A switch: what the server says of it, and how many BGP sessions it says it has."""

    name: str
    state: str
    reason: str = ""
    sessions: int


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A node and its agent, as the server sees it; None: it needs no agent."""

    name: str
    dataplane: str
    agent: str | None


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A process that the lab started."""

    name: str
    pid: int | None
    running: bool
    log: str


class LabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A lab. `server_error` says why the server could not be asked, if it could not."""

    id: str
    file: str
    phase: str
    age_s: float
    up_after_s: float | None
    namespaces_missing: tuple[str, ...]
    switches: tuple[SwitchStatus, ...]
    nodes: tuple[NodeStatus, ...]
    processes: tuple[ProcessStatus, ...]
    instances: tuple[state.Instance, ...]
    server_error: str = ""


async def status() -> LabStatus:
    """Return the state of the machine's lab; raise NotFound if there is none."""
    lab = state.load()
    fabric, nodes, error = await _ask_server()
    sessions = await asyncio.gather(*(sessions_of(switch) for switch in lab.switches))
    there = namespaces.existing()
    return LabStatus(
        id=lab.id,
        file=lab.file,
        phase=lab.phase,
        age_s=time.time() - lab.began_at,
        up_after_s=lab.up_after_s,
        namespaces_missing=tuple(name for name in lab.namespaces if name not in there),
        switches=tuple(
            SwitchStatus(
                name=switch,
                state=str(fabric.get(switch, {}).get("state", "unknown")),
                reason=str(fabric.get(switch, {}).get("reason") or ""),
                sessions=count,
            )
            for switch, count in zip(lab.switches, sessions, strict=True)
        ),
        nodes=tuple(_node(lab, name, nodes.get(name, {})) for name in lab.nics),
        processes=tuple(_process(lab, process) for process in lab.processes.values()),
        instances=tuple(lab.instances.values()),
        server_error=error,
    )


async def _ask_server() -> tuple[dict[str, Any], dict[str, Any], str]:
    async with AsyncClient(f"unix:{SERVER_SOCKET}") as client:
        try:
            fabric = {row["switch"]: row for row in (await client.fabric_status())["switches"]}
            nodes = {row["name"]: row for row in await client.nodes()}
        except WeftError as error:
            return {}, {}, error.message
    return fabric, nodes, ""


def _node(lab: state.LabState, name: str, row: dict[str, Any]) -> NodeStatus:
    has_agent = name in lab.ovs_nodes
    agent = (row.get("agent") or {}).get("state", "unknown") if has_agent else None
    return NodeStatus(name=name, dataplane="ovs" if has_agent else "none", agent=agent)


def _process(lab: state.LabState, process: state.Process) -> ProcessStatus:
    running = processes.is_running(process, lab.id)
    return ProcessStatus(name=process.name, pid=process.pid if running else None, running=running, log=str(process.log))
