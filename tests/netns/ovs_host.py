"""A node for tests: a namespace with its own ovsdb-server, ovs-vswitchd and agent, a leaf's end of two cables, and a
server that speaks HTTP on a unix socket.

Everything has the prefix PREFIX or lives in one temporary folder, and goes with `close`.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from weft.model.intent import RealizationState
from weft.protocol.node import (
    AddressDesired,
    NodeChange,
    NodeDesired,
    PortDesired,
    RealizationReport,
    RealizationReports,
    ReportAnswer,
)

PREFIX = "wagent-"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
AGENT = (
    "import sys; from pathlib import Path; from weft.agent.main import run; from weft.agent.settings import load; "
    "run(load(Path(sys.argv[1])))"
)


def sh(*command: str, check: bool = True, **options: object) -> str:
    """Run a command and return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
    return str(done.stdout)


def until(what: str, condition: Callable[[], object], deadline_s: float = 10.0, every_s: float = 0.02) -> object:
    """Poll until the condition is true and return it; fail with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        if result := condition():
            return result
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(every_s)


def port(number: int, network: str = "red", vlan: int = 101, **changes: object) -> PortDesired:
    """Return a desired port whose MAC and addresses come from its number."""
    desired = PortDesired(
        port_id=f"port-{number}",
        epoch=1,
        network_id=network,
        vlan=vlan,
        mac=f"fa:16:3e:00:00:{number:02x}",
        addresses=(
            AddressDesired(address=f"10.0.0.{number}", prefixlen=24),
            AddressDesired(address=f"fd00::{number:x}", prefixlen=64),
        ),
    )
    return msgspec.structs.replace(desired, **changes)  # type: ignore[arg-type]


class FakeServer:
    """The server's three answers to an agent, on a unix socket, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ports: dict[str, PortDesired] = {}
        self.revision = 1
        self.reports: list[tuple[float, RealizationReport]] = []
        self.connections = 0
        self._streams: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._thread.start()

    def start(self) -> None:
        """Listen."""
        self._call(self._start())

    def stop(self) -> None:
        """Stop listening and break all connections."""
        self._call(self._stop())

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def put(self, *ports: PortDesired) -> None:
        """Want these ports."""
        self._change(NodeChange(revision=self.revision + 1, ports=ports))

    def remove(self, *port_ids: str) -> None:
        """Want these ports no more."""
        self._change(NodeChange(revision=self.revision + 1, gone=port_ids))

    def states(self, epoch: int = 1) -> dict[str, RealizationState]:
        """Return the last reported state of each port in an epoch."""
        return {report.port_id: report.state for _, report in list(self.reports) if report.epoch == epoch}

    def up(self, *port_ids: str, epoch: int = 1) -> bool:
        """Tell whether all these ports are reported up."""
        states = self.states(epoch)
        return all(states.get(port_id) is RealizationState.UP for port_id in port_ids)

    def _change(self, change: NodeChange) -> None:
        self.revision = change.revision
        self.ports = {id_: row for id_, row in self.ports.items() if id_ not in change.gone}
        self.ports.update((row.port_id, row) for row in change.ports)
        self._call(self._send(_event("change", change)))

    def _call(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(5)  # type: ignore[arg-type]

    async def _start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=1 << 24)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._streams):
                writer.close()
            self._server = None

    async def _send(self, data: bytes) -> None:
        for writer in list(self._streams):
            writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                if head.startswith("GET"):
                    await self._watch(reader, writer)
                    break
                self._take(writer, body)
        self._streams.discard(writer)
        writer.close()

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        writer.write(
            _event("snapshot", NodeDesired(node="node", revision=self.revision, ports=tuple(self.ports.values())))
        )
        self._streams.add(writer)
        while await reader.read(100):
            pass

    def _take(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        now = time.time()
        reports = msgspec.json.decode(body, type=RealizationReports).reports
        self.reports += [(now, report) for report in reports]
        answer = msgspec.json.encode(ReportAnswer(revision=self.revision))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


def _event(name: str, message: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(message))


class OvsHost:
    """A node. `folder` is for the daemons' files; namespaces are PREFIX + name and the leaf's PREFIX + name + -leaf."""

    def __init__(self, name: str, folder: Path) -> None:
        self.netns = f"{PREFIX}{name}"
        self.leaf = f"{self.netns}-leaf"
        self.folder = folder
        self.server = FakeServer(folder / "server.sock")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._instances: list[str] = []

    def open(self) -> None:
        """Make namespaces, cables and daemons; no agent yet."""
        for namespace in (self.netns, self.leaf):
            sh("ip", "netns", "add", namespace)
            sh("ip", "-n", namespace, "link", "set", "lo", "up")
        for number in (0, 1):
            peer = ("peer", "name", f"leaf{number}", "netns", self.leaf)
            sh("ip", "link", "add", f"nic{number}", "netns", self.netns, "type", "veth", *peer)
            sh("ip", "-n", self.leaf, "link", "set", f"leaf{number}", "up")
        sh("ovsdb-tool", "create", str(self.folder / "conf.db"), SCHEMA)
        self.start_database()
        self.vsctl("--no-wait", "init")
        self.start_vswitchd()
        self.server.start()

    def close(self) -> None:
        """Remove everything."""
        for name in list(self._processes):
            self.kill(name)
        self.server.close()
        for namespace in (*self._instances, self.leaf, self.netns):
            sh("ip", "netns", "del", namespace, check=False)

    def start_database(self) -> None:
        """Start ovsdb-server."""
        arguments = [str(self.folder / "conf.db"), f"--remote=punix:{self.folder}/db.sock"]
        self._start("ovsdb-server", ["ovsdb-server", *arguments])
        until("ovsdb-server listens", (self.folder / "db.sock").exists)

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd."""
        self._start("ovs-vswitchd", ["ovs-vswitchd", f"unix:{self.folder}/db.sock"])

    def start_agent(self, **changes: object) -> None:
        """Start the agent, with settings that differ from the usual by `changes`."""
        settings = {
            "node": "node",
            "server": f"unix:{self.server.path}",
            "nics": ["nic0", "nic1"],
            "management": "172.31.1.11/24",
            "gateway": "172.31.1.1",
            **changes,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        lines += ["[ovs]", f'run_dir = "{self.folder}"', 'datapath = "netdev"']
        path = self.folder / "agent.toml"
        path.write_text("\n".join(lines) + "\n")
        self._start("agent", [sys.executable, "-c", AGENT, str(path)])

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Kill a process by name and wait for its end."""
        process = self._processes.pop(name)
        process.send_signal(number)
        process.wait(10)

    def _start(self, name: str, command: list[str]) -> None:
        places = {key: str(self.folder) for key in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", self.netns, *command], env={**os.environ, **places}, stdout=log, stderr=log
            )

    def is_alive(self, name: str) -> bool:
        """Return True, or fail with what the process has said if it has ended."""
        assert self._processes[name].poll() is None, self.log_of(name)
        return True

    def log_of(self, name: str) -> str:
        """Return what a process has said."""
        return (self.folder / f"{name}.log").read_text()

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl on this node's database."""
        return sh("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", *arguments).strip()

    def flows(self, bridge: str) -> list[str]:
        """Return a bridge's flows as ovs-ofctl prints them, without counters."""
        target = f"unix:{self.folder}/{bridge}.mgmt"
        return sorted(sh("ovs-ofctl", "-O", "OpenFlow14", "--no-stats", "dump-flows", target).splitlines())

    def instance(self, number: int, *, plug: bool = True) -> str:
        """Make an instance: a namespace with eth0 that has the MAC and addresses of port `number`."""
        namespace = f"{self.netns}-i{number}"
        sh("ip", "netns", "add", namespace)
        self._instances.append(namespace)
        link = ("link", "add", f"tap{number}", "netns", self.netns, "type", "veth", "peer", "name", "eth0")
        sh("ip", *link, "address", port(number).mac, "netns", namespace)
        sh("ip", "-n", self.netns, "link", "set", f"tap{number}", "up")
        sh("ip", "netns", "exec", namespace, "ethtool", "-K", "eth0", "tx", "off")
        sh("ip", "-n", namespace, "address", "add", f"10.0.0.{number}/24", "dev", "eth0")
        sh("ip", "-n", namespace, "address", "add", f"fd00::{number:x}/64", "dev", "eth0", "nodad")
        for link_name in ("lo", "eth0"):
            sh("ip", "-n", namespace, "link", "set", link_name, "up")
        if plug:
            self.plug(number)
        return namespace

    def plug(self, number: int) -> None:
        """Add an instance's device to br-int as a hypervisor does."""
        ids = f"external_ids:iface-id=port-{number}"
        self.vsctl("--no-wait", "add-port", "br-int", f"tap{number}", "--", "set", "Interface", f"tap{number}", ids)

    def unplug(self, number: int) -> None:
        """Take an instance's device off br-int."""
        self.vsctl("--no-wait", "del-port", "br-int", f"tap{number}")

    def ping(self, number: int, target: str, *, count: int = 1, deadline_s: int = 1) -> bool:
        """Tell whether an instance gets an answer from an address."""
        namespace = f"{self.netns}-i{number}"
        command = ("ping", "-n", "-q", "-c", str(count), "-i", "0.05", "-W", str(deadline_s), target)
        return (
            subprocess.run(["ip", "netns", "exec", namespace, *command], capture_output=True, check=False).returncode
            == 0
        )


@contextlib.contextmanager
def ovs_host(name: str, folder: Path) -> Iterator[OvsHost]:
    """Make a node and remove it."""
    host = OvsHost(name, folder)
    try:
        host.open()
        yield host
    finally:
        host.close()
