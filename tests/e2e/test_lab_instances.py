"""The hypervisor's part: instances start, are reachable, move and stop."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from running_lab import Lab, until, weft

from weft.lab.topology import INSTANCE_PREFIX

pytestmark = pytest.mark.e2e

CIDR = "192.0.2.0/24"


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    """A network with a subnet; removed with its ports and their instances."""
    made = lab.client.networks.create({"name": "lab-test"})
    lab.client.subnets.create({"network_id": made["id"], "cidr": CIDR, "ip_version": 4})
    yield made["id"]
    for port in lab.client.ports.list(network_id=made["id"]):
        if port["name"] in lab.state.instances:
            weft("lab", "instance", "delete", port["name"])
        lab.client.ports.delete(port["id"])
    lab.client.networks.delete(made["id"])


def spawn(lab: Lab, network: str, name: str, node: str) -> str:
    """Start an instance and return its address when its port is ACTIVE."""
    port = lab.client.ports.create({"name": name, "network_id": network, "binding:host_id": node})
    weft("lab", "instance", "add", name)
    active(lab, port["id"])
    return str(port["fixed_ips"][0]["ip_address"])


def active(lab: Lab, port_id: str) -> None:
    """Wait until a port is ACTIVE."""
    until(lambda: lab.client.port_status(port_id).state == "ACTIVE", f"port {port_id} is ACTIVE")


def answers(lab: Lab, name: str, address: str) -> bool:
    """Tell whether an address answers a ping from inside an instance."""
    return "bytes from" in lab.run(name, "ping", "-c", "1", "-W", "1", address, check=False)


def test_instances_on_two_leaves_reach_each_other(lab: Lab, network: str) -> None:
    spawn(lab, network, "lab-a", "node1")
    address = spawn(lab, network, "lab-b", "node2")
    until(lambda: answers(lab, "lab-a", address), "lab-b answers lab-a")
    listed = json.loads(weft("lab", "instance", "list", "--json").stdout)
    assert {row["name"]: row["node"] for row in listed} == {"lab-a": "node1", "lab-b": "node2"}


def test_tcp_works_between_instances(lab: Lab, network: str) -> None:
    """A veth leaves checksums out; without `tx off` pings pass and TCP hangs."""
    spawn(lab, network, "lab-a", "node1")
    address = spawn(lab, network, "lab-b", "node2")
    until(lambda: answers(lab, "lab-a", address), "lab-b answers lab-a")
    serve = "import socket as s; l = s.create_server(('', 7)); c, _ = l.accept(); c.sendall(b'x' * 100000); c.close()"
    fetch = (
        f"import socket as s; c = s.create_connection(('{address}', 7), 5); c.settimeout(5); n = 0\n"
        "while d := c.recv(65536): n += len(d)\n"
        "print(n)"
    )
    instances = lab.state.instances
    listener = ["ip", "netns", "exec", instances["lab-b"].namespace, "python3", "-c", serve]
    with subprocess.Popen(listener) as server:
        until(lambda: ":0007" in lab.run("lab-b", "cat", "/proc/net/tcp"), "lab-b listens")
        assert lab.run("lab-a", "python3", "-c", fetch).strip() == "100000"
        server.wait(timeout=10)


def test_an_instance_moves_and_keeps_its_identity(lab: Lab, network: str) -> None:
    spawn(lab, network, "lab-a", "node1")
    address = spawn(lab, network, "lab-b", "node2")
    until(lambda: answers(lab, "lab-a", address), "lab-b answers lab-a")
    before = lab.state.instances["lab-b"]
    weft("lab", "instance", "move", "lab-b", "node3")
    after = lab.state.instances["lab-b"]
    assert (after.node, after.mac, after.addresses) == ("node3", before.mac, before.addresses)
    until(lambda: answers(lab, "lab-a", address), "lab-b answers lab-a from its new node")
    assert before.device is not None
    assert before.device not in lab.run("node2", "ovs-vsctl", "list-ports", "br-int").split()
    assert before.device in lab.run("node3", "ovs-vsctl", "list-ports", "br-int").split()
    links = [line.split()[1] for line in lab.run("lab-b", "ip", "-o", "link").splitlines()]
    assert [link.partition("@")[0] for link in links] == ["lo:", "eth0"]


def test_a_stopped_instance_leaves_nothing_on_its_node(lab: Lab, network: str) -> None:
    spawn(lab, network, "lab-a", "node1")
    instance = lab.state.instances["lab-a"]
    weft("lab", "instance", "delete", "lab-a")
    assert "lab-a" not in lab.state.instances
    assert INSTANCE_PREFIX + "lab-a" not in lab.state.namespaces
    assert instance.device not in lab.run("node1", "ovs-vsctl", "list-ports", "br-int").split()
    assert instance.namespace not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def test_an_instance_is_not_started_twice(lab: Lab, network: str) -> None:
    spawn(lab, network, "lab-a", "node1")
    done = weft("lab", "instance", "add", "lab-a", check=False)
    assert done.returncode == 1
    assert "already" in done.stderr


def test_a_port_without_a_node_is_refused(lab: Lab, network: str) -> None:
    lab.client.ports.create({"name": "lab-c", "network_id": network})
    done = weft("lab", "instance", "add", "lab-c", check=False)
    assert done.returncode == 1
    assert "lab-c" in done.stderr


def test_the_bare_metal_server_is_an_instance_of_its_own(lab: Lab, network: str) -> None:
    address = spawn(lab, network, "lab-bm", "bm1")
    spawn(lab, network, "lab-a", "node1")
    until(lambda: answers(lab, "lab-a", address), "the bare-metal server answers lab-a")
    moved = weft("lab", "instance", "move", "lab-bm", "node1", check=False)
    assert moved.returncode == 1
    assert "cannot move" in moved.stderr
    weft("lab", "instance", "delete", "lab-bm")
    assert address not in lab.run("bm1", "ip", "-br", "address")
