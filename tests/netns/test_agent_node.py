"""The agent on a real Open vSwitch (userspace datapath) in namespaces of its own."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ovs_host import OvsHost, ovs_host, port, sh, until

from weft.agent.ovs.datapath import resolve
from weft.agent.settings import Datapath
from weft.model import steps
from weft.model.intent import RealizationState

pytestmark = pytest.mark.netns


@pytest.fixture
def host(tmp_path: Path) -> Iterator[OvsHost]:
    with ovs_host("node", tmp_path) as node:
        yield node


@pytest.fixture
def node(host: OvsHost) -> OvsHost:
    """A node whose agent is up and connected."""
    host.start_agent()
    until("the management address is on br-bond", lambda: host.is_alive("agent") and "172.31.1.11" in addresses(host))
    until("the agent watches", lambda: host.server.connections)
    return host


def addresses(host: OvsHost) -> str:
    return sh("ip", "-n", host.netns, "address", "show", "dev", "br-bond", check=False)


def leaf_bridge(host: OvsHost) -> None:
    """Make the leaf's ends of the cables one untagged network with the gateway's address."""
    sh("ip", "-n", host.leaf, "link", "add", "br0", "type", "bridge")
    for number in (0, 1):
        sh("ip", "-n", host.leaf, "link", "set", f"leaf{number}", "master", "br0")
    sh("ip", "-n", host.leaf, "address", "add", "172.31.1.1/24", "dev", "br0")
    sh("ip", "-n", host.leaf, "link", "set", "br0", "up")


def leaf_ping(host: OvsHost, target: str, count: int = 1) -> str:
    command = ("ip", "netns", "exec", host.leaf, "ping", "-n", "-c", str(count), "-i", "0.05", "-W", "1", target)
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


class Pings:
    """Pings between two instances in the background; says how many were lost."""

    def __init__(self, host: OvsHost, source: int, target: str, interval_s: float = 0.02) -> None:
        command = ["ip", "netns", "exec", f"{host.netns}-i{source}", "ping", "-n", "-i", str(interval_s), target]
        self._answers = host.folder / "pings"
        with self._answers.open("w") as answers:
            self._process = subprocess.Popen(command, stdout=answers)

    def lost(self) -> int:
        """End the pings; return how many before the last answered one had no answer: the newest are on their way."""
        so_far = max(self._answered(), default=0)
        until("they are answered still", lambda: max(self._answered(), default=0) > so_far + 10)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        answered = self._answered()
        return max(answered) - len(answered)

    def _answered(self) -> set[int]:
        return {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", self._answers.read_text())}


def test_bring_up(node: OvsHost) -> None:
    leaf_bridge(node)
    until("the leaf's gateway reaches the node", lambda: "1 received" in leaf_ping(node, "172.31.1.11"))
    until("guarded", lambda: "bpf" in sh("tc", "-n", node.netns, "filter", "show", "dev", "nic1", "ingress"))
    assert "DUP" not in leaf_ping(node, "172.31.1.11", 5)
    assert "default via 172.31.1.1 dev br-bond" in sh("ip", "-n", node.netns, "route")
    assert node.vsctl("get-fail-mode", "br-int") == "secure"
    assert node.vsctl("get", "port", "bond0", "bond_mode") == "active-backup"
    assert node.vsctl("get", "port", "br-bond", "tag") == "0"


def test_auto_finds_out_whether_the_kernel_has_a_datapath() -> None:
    found = resolve(Datapath.AUTO)  # loads the module, if there is one
    assert found == ("system" if Path("/sys/module/openvswitch").exists() else "netdev")


def test_the_bond_survives_its_active_member(node: OvsHost) -> None:
    leaf_bridge(node)
    until("the leaf's gateway reaches the node", lambda: "1 received" in leaf_ping(node, "172.31.1.11"))
    sh("ip", "-n", node.leaf, "link", "set", "leaf0", "down")
    until("by the other member", lambda: "1 received" in leaf_ping(node, "172.31.1.11"), 5)
    sh("ip", "-n", node.leaf, "link", "set", "leaf0", "up")
    sh("ip", "-n", node.leaf, "link", "set", "leaf1", "down")
    until("and back", lambda: "1 received" in leaf_ping(node, "172.31.1.11"), 5)


def test_a_second_agent_changes_nothing(node: OvsHost) -> None:
    node.server.put(port(1), port(2))
    for number in (1, 2):
        node.instance(number)
    until("up", lambda: node.server.up("port-1", "port-2"))
    until("the tags are set", lambda: node.vsctl("get", "port", "tap2", "tag") == "1")
    until("told is noted", lambda: "seen" not in node.vsctl("get", "bridge", "br-int", "external_ids"))
    flows = node.flows("br-int"), node.flows("br-bond")
    node.kill("agent")
    node.server.reports.clear()
    node.start_agent()
    until("up again", lambda: node.server.up("port-1", "port-2"))
    assert (node.flows("br-int"), node.flows("br-bond")) == flows
    second = node.log_of("agent").split("agent_started")[-1]
    assert all(report.steps == () for _, report in node.server.reports)
    assert not re.search("bridges_changed|links_changed|flows_changed", second)


def test_one_spawn_is_quick_and_reported_with_its_steps(node: OvsHost) -> None:
    node.server.put(port(1))
    node.instance(1, plug=False)
    started = time.time()
    node.plug(1)
    until("up", lambda: node.server.up("port-1"), every_s=0.002)
    at, report = node.server.reports[-1]
    assert [step.step for step in report.steps] == [steps.PLUGGED, steps.DETECTED, steps.FLOWS]
    assert started <= report.steps[0].at <= report.steps[2].at <= at
    assert at - started < 1.0


def test_traffic_and_isolation_on_the_node(node: OvsHost) -> None:
    node.server.put(port(1), port(2), port(3, "blue", 102), port(4, admin_state_up=False))
    for number in (1, 2, 3, 4, 5):
        node.instance(number)
    until("up", lambda: node.server.up("port-1", "port-2", "port-3", "port-4"))
    assert node.ping(1, "10.0.0.2")
    assert node.ping(1, "fd00::2")
    assert not node.ping(1, "10.0.0.3")  # another network, the same prefix
    assert not node.ping(1, "10.0.0.4")  # administratively down
    assert not node.ping(1, "10.0.0.5")  # plugged, but no port
    assert not node.ping(5, "10.0.0.1")
    assert tcp(node)


def tcp(node: OvsHost) -> bool:
    """Send a megabyte by TCP from instance 1 to instance 2."""
    listener = subprocess.Popen(
        ["ip", "netns", "exec", f"{node.netns}-i2", "python3", "-c", TCP_COUNTER], stdout=subprocess.PIPE, text=True
    )
    until("listening", lambda: ":5000" in sh("ip", "netns", "exec", f"{node.netns}-i2", "ss", "-ltn"))
    send = "import socket;c=socket.create_connection(('10.0.0.2',5000),5);c.sendall(bytes(1<<20))"
    sh("ip", "netns", "exec", f"{node.netns}-i1", "python3", "-c", send)
    return listener.communicate(timeout=10)[0].strip() == str(1 << 20)


TCP_COUNTER = """
import socket
connection = socket.create_server(("10.0.0.2", 5000)).accept()[0]
count = 0
while data := connection.recv(65536):
    count += len(data)
print(count)
"""


def test_frames_leave_with_the_vlan_of_the_leaf_and_come_back(node: OvsHost) -> None:
    node.server.put(port(1, vlan=777))
    node.instance(1)
    until("up", lambda: node.server.up("port-1"))
    # The leaf has no VLAN devices on every kernel: a frame is read and answered by hand.
    answer = subprocess.Popen(
        ["ip", "netns", "exec", node.leaf, "python3", "-c", ARP_RESPONDER], stdout=subprocess.PIPE, text=True
    )
    assert answer.stdout is not None
    assert answer.stdout.readline() == "listening\n"
    node.ping(1, "10.0.0.99")
    until("the answer arrived", lambda: "02:00:00:00:00:99" in sh("ip", "-n", f"{node.netns}-i1", "neighbour"), 5)
    assert answer.communicate(timeout=5)[0] == "asked by VLAN 777\n"
    (control,) = node.folder.glob("ovs-vswitchd.*.ctl")
    assert " 777 " not in sh("ovs-appctl", f"--target={control}", "fdb/show", "br-bond")


ARP_RESPONDER = """
import select, socket
links = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in (0, 1)]
for number, link in enumerate(links):
    link.bind((f"leaf{number}", 3))
    link.setsockopt(263, 8, 1)  # PACKET_AUXDATA: the kernel takes the tag off the frame
print("listening", flush=True)
while True:
    for link in select.select(links, [], [], 5)[0]:
        frame, auxiliary, _, address = link.recvmsg(2000, 100)
        vlan = int.from_bytes(auxiliary[0][2][16:18], "little") & 0xFFF if auxiliary else 0
        arp = frame[14:]
        if address[2] != 4 and frame[12:14] == b"\\x08\\x06" and arp[24:28] == bytes([10, 0, 0, 99]):
            mine = bytes.fromhex("020000000099")
            tag = b"\\x81\\x00" + vlan.to_bytes(2, "big")
            body = arp[:7] + b"\\x02" + mine + arp[24:28] + arp[8:18]
            link.send(frame[6:12] + mine + tag + b"\\x08\\x06" + body)
            print("asked by VLAN", vlan, flush=True)
            raise SystemExit
"""


def test_spoofing_is_dropped(node: OvsHost) -> None:
    node.server.put(port(1), port(2))
    first, _ = node.instance(1), node.instance(2)
    until("up", lambda: node.server.up("port-1", "port-2"))
    sh("ip", "-n", first, "address", "add", "10.0.0.77/24", "dev", "eth0")
    sh("ip", "-n", first, "address", "add", "fd00::77/64", "dev", "eth0", "nodad")
    assert not ping_from(first, "10.0.0.77", "10.0.0.2")
    assert not ping_from(first, "fd00::77", "fd00::2")
    assert ping_from(first, "10.0.0.1", "10.0.0.2")
    sh("ip", "-n", first, "link", "set", "eth0", "address", "02:66:66:66:66:66")
    assert not node.ping(1, "10.0.0.2")
    node.server.put(port(1, anti_spoofing=False))
    until("free", lambda: node.ping(1, "10.0.0.2"))
    assert ping_from(first, "10.0.0.77", "10.0.0.2")


def ping_from(namespace: str, source: str, target: str) -> bool:
    command = ("ip", "netns", "exec", namespace, "ping", "-n", "-q", "-c", "1", "-W", "1", "-I", source, target)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_an_instance_cannot_talk_to_the_nodes_own_stack(node: OvsHost) -> None:
    node.server.put(port(1))
    namespace = node.instance(1)
    until("up", lambda: node.server.up("port-1"))
    until("guarded", lambda: "bpf" in sh("tc", "-n", node.netns, "filter", "show", "dev", "tap1", "ingress"))
    sh("ip", "-n", namespace, "neighbour", "flush", "all")
    sh("ip", "-n", namespace, "route", "add", "172.31.1.11", "dev", "eth0")
    node.ping(1, "172.31.1.11")
    assert "lladdr" not in sh("ip", "-n", namespace, "neighbour", "show", "172.31.1.11")


def test_no_packet_is_lost_when_the_agent_is_killed_and_restarted(node: OvsHost) -> None:
    node.server.put(port(1), port(2))
    for number in (1, 2):
        node.instance(number)
    until("up", lambda: node.server.up("port-1", "port-2"))
    assert node.ping(1, "10.0.0.2")
    pings = Pings(node, 1, "10.0.0.2")
    node.kill("agent")
    node.server.reports.clear()
    node.start_agent()
    until("up again", lambda: node.server.up("port-1", "port-2"))
    node.server.put(port(3))  # a change under traffic
    node.instance(3)
    until("up", lambda: node.server.up("port-3"))
    assert pings.lost() == 0


def test_a_killed_vswitchd_is_repaired(node: OvsHost) -> None:
    leaf_bridge(node)
    node.server.put(port(1), port(2))
    for number in (1, 2):
        node.instance(number)
    until("up", lambda: node.server.up("port-1", "port-2"))
    node.kill("ovs-vswitchd")
    node.start_vswitchd()
    started = time.monotonic()
    until("traffic", lambda: node.ping(1, "10.0.0.2"), 10)
    until("management", lambda: "1 received" in leaf_ping(node, "172.31.1.11"), 10)
    print(f"repaired after {time.monotonic() - started:.2f} s")
    assert "default via 172.31.1.1 dev br-bond" in sh("ip", "-n", node.netns, "route")
    assert node.server.states() == {"port-1": RealizationState.UP, "port-2": RealizationState.UP}


def test_ovsdb_server_may_come_and_go(node: OvsHost) -> None:
    node.server.put(port(1), port(2))
    node.instance(1)
    until("up", lambda: node.server.up("port-1"))
    node.kill("ovsdb-server")
    (node.folder / "db.sock").unlink()
    node.start_database()
    node.instance(2)
    until("up", lambda: node.server.up("port-2"), 20)
    until("traffic", lambda: node.ping(1, "10.0.0.2"), 10)


def test_the_server_may_come_and_go(node: OvsHost) -> None:
    node.server.put(port(1), port(2))
    node.instance(1)
    until("up", lambda: node.server.up("port-1"))
    node.server.stop()
    node.instance(2)  # known and plugged while the server is away
    until("traffic", lambda: node.ping(1, "10.0.0.2"))
    node.server.ports["port-1"] = port(1, epoch=2)
    node.server.revision += 1
    (node.folder / "server.sock").unlink(missing_ok=True)
    node.server.start()
    until("up", lambda: node.server.up("port-2") and node.server.up("port-1", epoch=2), 15)
    until("the old epoch is gone", lambda: node.server.states()["port-1"] is RealizationState.GONE)


def test_a_port_that_leaves_takes_its_flows_along(node: OvsHost) -> None:
    node.server.put(port(1))
    before = node.flows("br-int"), node.flows("br-bond")
    node.instance(1)
    until("up", lambda: node.server.up("port-1"))
    node.server.remove("port-1")
    until("gone", lambda: node.server.states()["port-1"] is RealizationState.GONE)
    assert (node.flows("br-int"), node.flows("br-bond")) == before
    until("forgotten", lambda: "port-1" not in node.vsctl("get", "bridge", "br-int", "external_ids"))


def test_a_burst_of_fifty(node: OvsHost) -> None:
    numbers = range(1, 51)
    node.server.put(*(port(number) for number in numbers))
    batch = "\n".join(
        f"link add tap{number} type veth peer name peer{number}\nlink set tap{number} up" for number in numbers
    )
    sh("ip", "-n", node.netns, "-batch", "-", input=batch)
    arguments = []
    for number in numbers:
        ids = f"external_ids:iface-id=port-{number}"
        arguments += ["--", "add-port", "br-int", f"tap{number}", "--", "set", "Interface", f"tap{number}", ids]
    started = time.time()
    node.vsctl("--no-wait", *arguments[1:])
    until("all up", lambda: node.server.up(*(f"port-{number}" for number in numbers)), 20)
    last = max(at for at, _ in node.server.reports)
    print(f"fifty ports up after {last - started:.3f} s")
    commits = node.log_of("agent").count("flows_changed")
    assert commits < 20
    assert last - started < 3.0


def test_flows_read_back_as_ovs_ofctl_writes_them(node: OvsHost) -> None:
    """What the agent wrote in its own OpenFlow is what ovs-ofctl's parser makes of the same flow in text."""
    node.server.put(port(1))
    node.instance(1)
    until("up", lambda: node.server.up("port-1"))
    flows = "\n".join(node.flows("br-int"))
    mac = port(1).mac
    for expected in (
        f"table=10, priority=50,arp,in_port=2,dl_src={mac},arp_spa=10.0.0.1,arp_sha={mac} actions=goto_table:20",
        f"table=20, priority=50,reg5=0x1,dl_dst={mac} actions=output:2",
        "table=10, priority=100,udp,tp_src=67,tp_dst=68 actions=drop",
        "priority=50,in_port=1,dl_vlan=101 actions=pop_vlan,set_field:0x1->reg5,goto_table:20",
    ):
        assert expected in flows, flows
