"""Open vSwitch as it is installed on each node: a database, a switch daemon, both in the node's namespace.

The userspace datapath is used, which needs no kernel module. Bridges, bond and flows are the agent's work.
"""

from pathlib import Path

from weft.lab import state
from weft.lab.commands import run
from weft.lab.state import Process
from weft.lab.topology import namespace_of

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
DAEMON_DIR = Path("/usr/sbin")
DATABASE_PROGRAM = "ovsdb-server"
SWITCH_PROGRAM = "ovs-vswitchd"
INSTANCE_BRIDGE = "br-int"
TIMEOUT_S = 10


def run_dir(node: str) -> Path:
    """Return the directory of a node's sockets, database and logs."""
    return state.LAB_DIR / node / "ovs"


def database(node: str) -> str:
    """Return a node's database as Open vSwitch's own tools name it."""
    return f"unix:{run_dir(node) / 'db.sock'}"


def environment(node: str) -> dict[str, str]:
    """Return what makes Open vSwitch's programs use a node's own files and not the machine's."""
    own = str(run_dir(node))
    return dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), own)


def processes(node: str) -> tuple[Process, Process]:
    """Return the database and the switch daemon of a node, in the order in which they start."""
    own = run_dir(node)
    database_argv = (
        str(DAEMON_DIR / DATABASE_PROGRAM),
        str(own / "conf.db"),
        f"--remote=punix:{own / 'db.sock'}",
        "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
    )
    switch_argv = (str(DAEMON_DIR / SWITCH_PROGRAM), database(node))
    return (_process(node, DATABASE_PROGRAM, database_argv), _process(node, SWITCH_PROGRAM, switch_argv))


async def prepare(node: str) -> None:
    """Make a node's empty database."""
    own = run_dir(node)
    own.mkdir(parents=True, exist_ok=True)
    await run("ovsdb-tool", "create", str(own / "conf.db"), str(SCHEMA))


async def initialize(node: str) -> None:
    """Do what the package's start script does to a new database; the switch daemon need not run yet."""
    await _vsctl(node, "--no-wait", "--", "init", "--", "set", "Open_vSwitch", ".", f"external_ids:system-id={node}",
                 f"external_ids:hostname={node}")  # fmt: skip


async def add_port(node: str, device: str, port_id: str, mac: str) -> None:
    """Put an instance's device into br-int, as os-vif does; what the port's id means is the agent's business."""
    ids = (f"external_ids:iface-id={port_id}", f'external_ids:attached-mac="{mac}"', "external_ids:iface-status=active")
    await _vsctl(node, "--may-exist", "add-port", INSTANCE_BRIDGE, device, "--", "set", "Interface", device, *ids)


async def delete_port(node: str, device: str) -> None:
    """Take an instance's device out of br-int; one that is not there is as good."""
    await _vsctl(node, "--if-exists", "del-port", INSTANCE_BRIDGE, device)


async def _vsctl(node: str, *words: str) -> None:
    await run("ovs-vsctl", f"--db={database(node)}", f"--timeout={TIMEOUT_S}", *words)


def _process(node: str, program: str, argv: tuple[str, ...]) -> Process:
    options = (f"--pidfile={run_dir(node) / program}.pid", "--no-chdir", "-vconsole:info", "-vsyslog:off", "-vfile:off")
    return Process(
        name=f"{node}/{program}",
        namespace=namespace_of(node),
        argv=(*argv, *options),
        environment=environment(node),
    )
