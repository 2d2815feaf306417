"""weft's own programs in the lab: the server, the agents, and the files that an installer writes for them."""

import os
import secrets
import sys
from pathlib import Path

from weft.lab import ovs, state
from weft.lab.commands import ip_batch, run
from weft.lab.state import Process
from weft.lab.topology import namespace_of
from weft.model.errors import Permanent
from weft.protocol.node import NodeBootstrap

API_PORT = 9696
MACHINE_ADDRESS = f"127.0.0.1:{API_PORT}"
"""Where the machine itself finds the lab's API; the server inherits this socket, it lives in another namespace."""
SERVER_SOCKET = state.LAB_DIR / "server.sock"
TOKEN_FILE = state.LAB_DIR / "admin.token"
SWITCH_KEY = state.LAB_DIR / "switch_key"
SERVER_PROGRAM = "server"
AGENT_PROGRAM = "agent"
WEFT = Path(sys.prefix) / "bin" / "weft"


async def write_credentials() -> None:
    """Make the administrator's token, and the SSH key that the switches accept."""
    _write_private(TOKEN_FILE, secrets.token_hex(32) + "\n")
    SWITCH_KEY.unlink(missing_ok=True)
    await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "weft lab", "-f", str(SWITCH_KEY))


def admin_token() -> str:
    """Return the administrator's token."""
    return TOKEN_FILE.read_text().strip()


def write_client_file() -> None:
    """Let every command of this machine find the lab's server."""
    _write_private(state.CLIENT_FILE, f'server = "http://{MACHINE_ADDRESS}"\ntoken = "{admin_token()}"\n')


def server_process(node: str) -> Process:
    """Return the server as it runs on its node; it keeps its database in the lab's directory."""
    database = state.LAB_DIR / node / "weft.db"
    argv = (
        str(WEFT),
        "server",
        *("--listen", f"unix:{SERVER_SOCKET}", "--listen", "fd:{0}", "--listen", f"0.0.0.0:{API_PORT}"),
        *("--db", f"sqlite:///{database}"),
        *("--token-file", str(TOKEN_FILE), "--switch-key", str(SWITCH_KEY)),
    )
    return Process(name=f"{node}/{SERVER_PROGRAM}", namespace=namespace_of(node), argv=argv, listen=(MACHINE_ADDRESS,))


async def install_server_node(node: str, nic: str, bootstrap: NodeBootstrap) -> None:
    """Give the server's node its in-band address, as its installer would."""
    if bootstrap.management is None or bootstrap.gateway is None:
        raise Permanent(
            f"the server gives node {node} no management address: is its link to a leaf one with management = true?"
        )
    await ip_batch(
        [
            f"address add {bootstrap.management} dev {nic}",
            f"link set {nic} up",
            f"route add default via {bootstrap.gateway} dev {nic}",
        ],
        namespace=namespace_of(node),
    )


def cni_socket(node: str) -> Path:
    """Return where a node's agent serves the CNI plugin; /run/weft/cni.sock on a machine of its own."""
    return state.LAB_DIR / node / "cni.sock"


def install_agent(bootstrap: NodeBootstrap, server_address: str) -> Process:
    """Write an agent's token and configuration on its node, as the node's installer would; return its process."""
    node = bootstrap.node
    own = state.LAB_DIR / node
    own.mkdir(parents=True, exist_ok=True)
    token_file, config_file = own / "agent.token", own / "agent.toml"
    _write_private(token_file, f"{bootstrap.token}\n")
    lines = [
        f'node = "{node}"',
        f'server = ["http://{server_address}:{API_PORT}"]',
        f'token_file = "{token_file}"',
        f"nics = {list(bootstrap.nics)}",
        *([f'management = "{bootstrap.management}"'] if bootstrap.management else []),
        *([f'gateway = "{bootstrap.gateway}"'] if bootstrap.gateway else []),
        f"mtu_bytes = {bootstrap.mtu_bytes}",
        f'cni_socket = "{cni_socket(node)}"',
        "",
        "[ovs]",
        f'run_dir = "{ovs.run_dir(node)}"',
        'datapath = "netdev"',
    ]
    config_file.write_text("\n".join(lines) + "\n")
    return Process(
        name=f"{node}/{AGENT_PROGRAM}",
        namespace=namespace_of(node),
        argv=(str(WEFT), "agent", "--config", str(config_file)),
    )


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
