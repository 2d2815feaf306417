"""Building a lab: marks first, then namespaces and cables, then everything that runs, side by side."""

import asyncio
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from weft.client import AsyncClient
from weft.client.endpoint import UNREACHABLE
from weft.lab import file, namespaces, outside, ovs, processes, programs, state, switches
from weft.lab.commands import run
from weft.lab.convergence import until_converged
from weft.lab.file import LabFile
from weft.lab.nic import transmit_checksums_off
from weft.lab.progress import Progress
from weft.lab.state import LabState
from weft.lab.topology import namespace_of, ovs_nodes
from weft.model.errors import Conflict, Forbidden, Permanent, Transient
from weft.model.inventory import VLAN_ROLES, Inventory

POLL_S = 0.05
SERVER_START_TIMEOUT_S = 30.0
TOOLS = ("ip", "ovs-vsctl", "ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ssh-keygen")


async def up(path: Path, progress: Progress) -> LabState:
    """Build the lab of a file and return it when it has converged.

    Raise Invalid for a file that no lab can be built of, and Conflict if there is a lab already. If building fails,
    what was built stays, to be looked at; `down` removes it.
    """
    lab_file = file.read(path)
    _refuse_machine()
    with state.operating("up"):
        _refuse_second(state.find())
        lab = _planned(lab_file)
        state.write(lab)
        try:
            await _build(lab_file, progress)
        except BaseException as error:
            with state.changing() as draft:
                draft.set_phase("failed")
            raise _first(error) from error.__cause__
        with state.changing() as draft:
            draft.set_phase("up", progress.elapsed_s)
            return draft.state


def _first(error: BaseException) -> BaseException:
    """Return the error that made the tasks beside it stop."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _planned(lab_file: LabFile) -> LabState:
    """Return the state of a lab of which nothing is made yet, with every namespace that will be."""
    wiring, inventory = lab_file.wiring, lab_file.inventory
    outsides = outside.routers(inventory)
    return msgspec.structs.replace(
        state.new(lab_file.path.resolve(), wiring.server),
        namespaces=wiring.namespaces,
        switches={name: address for name, address in wiring.management.items() if name not in outsides},
        outsides={name: address for name, address in wiring.management.items() if name in outsides},
        vlan_switches=tuple(str(each.name) for each in inventory.switches if each.role in VLAN_ROLES),
        switch_ports={name: wiring.plugs(namespace_of(name)) for name in wiring.management},
        ovs_nodes=ovs_nodes(inventory),
        nics={str(node.name): lab_file.nics(node.name) for node in inventory.nodes},
    )


async def _build(lab_file: LabFile, progress: Progress) -> None:
    lab, wiring = state.load(), lab_file.wiring
    await namespaces.create(wiring.namespaces)
    await namespaces.cable(wiring)
    await asyncio.to_thread(_checksums_off, lab)
    progress.done(f"{len(wiring.namespaces)} namespaces, {len(wiring.cables)} cables")
    await programs.write_credentials()
    async with AsyncClient(f"unix:{programs.SERVER_SOCKET}") as client, asyncio.TaskGroup() as group:
        group.create_task(_boot_switches(lab, progress))
        vswitches = group.create_task(_start_vswitches(lab, progress))
        server = processes.start(programs.server_process(lab.server), lab.id)
        await _until_serving(client, server, lab)
        programs.write_client_file()
        progress.done(f"server answers at http://{programs.MACHINE_ADDRESS}")
        numbers = (await client.put_inventory(lab_file.wire))["numbering"]
        group.create_task(_boot_outsides(lab, lab_file.inventory, numbers["switches"], progress))
        address = await _install_server_node(lab, client)
        progress.done(f"inventory taken; the server's in-band address is {address}")
        await vswitches
        await asyncio.gather(*(_start_agent(lab, client, node, address) for node in lab.ovs_nodes))
        await until_converged(lab, lab_file.inventory, client, progress)


async def _boot_switches(lab: LabState, progress: Progress) -> None:
    await asyncio.gather(*(switches.boot(lab, name) for name in lab.switches))
    progress.done(f"{len(lab.switches)} switches booted")


async def _boot_outsides(
    lab: LabState, inventory: Inventory, numbers: Mapping[str, Mapping[str, int]], progress: Progress
) -> None:
    outside.write_configurations(inventory, {name: each["asn"] for name, each in numbers.items()}, state.LAB_DIR)
    for name in lab.outsides:
        await run("ip", "netns", "exec", namespace_of(name), "sysctl", "-qw", "net.ipv4.ip_forward=1")
        await switches.boot(lab, name)
        progress.done(f"router {name}, outside, booted")


async def _start_vswitches(lab: LabState, progress: Progress) -> None:
    async def start(node: str) -> None:
        await ovs.prepare(node)
        database, switch = ovs.processes(node)
        started = processes.start(database, lab.id)
        while not (ovs.run_dir(node) / "db.sock").exists():
            _refuse_dead(started, lab)
            await asyncio.sleep(POLL_S)
        await ovs.initialize(node)
        processes.start(switch, lab.id)

    await asyncio.gather(*(start(node) for node in lab.ovs_nodes))
    progress.done(f"Open vSwitch runs on {len(lab.ovs_nodes)} nodes")


async def _until_serving(client: AsyncClient, server: state.Process, lab: LabState) -> None:
    deadline = time.monotonic() + SERVER_START_TIMEOUT_S
    while True:
        try:
            await client.status()
        except Transient as error:
            if error.kind != UNREACHABLE or time.monotonic() > deadline:
                raise
            _refuse_dead(server, lab)
            await asyncio.sleep(POLL_S)
        else:
            return


async def _install_server_node(lab: LabState, client: AsyncClient) -> str:
    bootstrap = await client.bootstrap(lab.server)
    await programs.install_server_node(lab.server, lab.nics[lab.server][0], bootstrap)
    return str(bootstrap.management).partition("/")[0]


async def _start_agent(lab: LabState, client: AsyncClient, node: str, server_address: str) -> None:
    bootstrap = await client.new_token(node)
    processes.start(programs.install_agent(bootstrap, server_address), lab.id)


def _checksums_off(lab: LabState) -> None:
    for node, nics in lab.nics.items():
        for nic in nics:
            namespaces.inside(namespace_of(node), lambda nic=nic: transmit_checksums_off(nic))  # type: ignore[misc]


def _refuse_machine() -> None:
    if os.geteuid() != 0:
        raise Forbidden("a lab makes network namespaces: run `weft lab up` as root")
    missing = [tool for tool in TOOLS if shutil.which(tool, path=processes.PATH) is None]
    if missing:
        raise Permanent(f"this machine lacks {', '.join(missing)}: run scripts/setup")
    switches.refuse_missing_image()


def _refuse_second(lab: LabState | None) -> None:
    if lab is None:
        if state.CLIENT_FILE.exists():
            raise Conflict(
                f"{state.CLIENT_FILE} is there and not a lab's: it names another server for this machine; move it away"
            )
        return
    if lab.phase == "up":
        raise Conflict(f"a lab is up already, of {lab.file}: `weft lab status` shows it, `weft lab down` removes it")
    raise Conflict(f"an earlier `weft lab up {lab.file}` did not finish ({lab.phase}): `weft lab down` removes it")


def _refuse_dead(process: state.Process, lab: LabState) -> None:
    try:  # the parent knows; a process in the middle of exec shows no environment, and so no mark, for a moment
        ended = os.waitpid(process.pid or 0, os.WNOHANG)[0] != 0
    except ChildProcessError:
        ended = not processes.is_running(process, lab.id)
    if ended:
        raise Permanent(f"{process.name} ended at once; the end of {process.log}:\n{processes.log_tail(process)}")
