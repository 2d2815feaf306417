"""Processes killed in the middle of a spawn: when they are back everything converges, no address doubled or lost."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from running_lab import Lab, until, weft

from weft.client import Client
from weft.lab.programs import MACHINE_ADDRESS
from weft.lab.state import LAB_DIR
from weft.model.errors import WeftError
from weft.model.intent import RealizationState
from weft.protocol.node import RealizationReport, RealizationReports

pytestmark = pytest.mark.e2e

CIDR = "198.51.100.0/24"
CONVERGED_S = 40.0
NODES = ("node1", "node2", "node3")
SPAWNED = 6


class Spawner:
    """Spawns a handful of instances on a network of its own, and retries what a dead server left undone."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.names = [f"f-{at}" for at in range(SPAWNED)]
        self.router = lab.client.routers.create({"name": "faults"})
        self.network = lab.client.networks.create({"name": "faults"})
        self.subnet = lab.client.subnets.create({"network_id": self.network["id"], "cidr": CIDR, "ip_version": 4})
        lab.client.routers.add_interface(self.router["id"], subnet_id=self.subnet["id"])

    def spawn(self, name: str) -> None:
        """Create, bind and start one instance; a port that an unanswered request made is found by its name."""
        node = NODES[self.names.index(name) % len(NODES)]
        until(lambda: self._port(name, node), f"port {name} is created")
        until(lambda: self._started(name), f"instance {name} is started")

    def ports(self) -> list[dict[str, Any]]:
        """Return the ports of the instances, as Neutron shows them."""
        return [port for port in self.lab.client.ports.list(network_id=self.network["id"]) if port["name"]]

    def remove(self) -> None:
        """Stop the instances and delete everything."""
        for port in self.ports():
            if port["name"] in self.lab.state.instances:
                weft("lab", "instance", "delete", port["name"])
            self.lab.client.ports.delete(port["id"])
        self.lab.client.routers.remove_interface(self.router["id"], subnet_id=self.subnet["id"])
        self.lab.client.routers.delete(self.router["id"])
        self.lab.client.networks.delete(self.network["id"])

    def _port(self, name: str, node: str) -> bool:
        try:
            if not self.lab.client.ports.list(network_id=self.network["id"], name=name):
                wanted = {"name": name, "network_id": self.network["id"], "binding:host_id": node}
                self.lab.client.ports.create(wanted)
        except WeftError:
            return False
        return True

    def _started(self, name: str) -> bool:
        weft("lab", "instance", "add", name, check=False)
        return name in self.lab.state.instances


@pytest.fixture
def spawner(lab: Lab) -> Iterator[Spawner]:
    """A spawner whose instances are gone after the test."""
    made = Spawner(lab)
    yield made
    made.remove()


def while_spawning(spawner: Spawner, fault: Callable[[], None]) -> None:
    """Spawn all instances side by side, and let `fault` happen when the first half has been asked for."""
    with ThreadPoolExecutor(SPAWNED) as pool:
        half = SPAWNED // 2
        spawns = [pool.submit(spawner.spawn, name) for name in spawner.names[:half]]
        spawns[0].result()
        spawns += [pool.submit(spawner.spawn, name) for name in spawner.names[half:]]
        fault()
        for spawn in spawns:
            spawn.result()


def assert_converged(spawner: Spawner) -> None:
    """Every port is ACTIVE, has an address of its own, and is reached from the first instance."""
    lab = spawner.lab
    until(lambda: {port["status"] for port in spawner.ports()} == {"ACTIVE"}, "all are ACTIVE", CONVERGED_S)
    ports = spawner.ports()
    assert Counter(port["name"] for port in ports) == Counter(spawner.names)
    addresses = [ip["ip_address"] for port in ports for ip in port["fixed_ips"]]
    assert len(set(addresses)) == len(ports)
    for address in addresses:
        until(lambda address=address: answers(lab, spawner.names[0], address), f"{address} answers", CONVERGED_S)


def answers(lab: Lab, name: str, address: str) -> bool:
    """Tell whether an address answers a ping from inside an instance."""
    return "bytes from" in lab.run(name, "ping", "-c", "1", "-W", "1", address, check=False)


def test_server_killed_in_the_middle(lab: Lab, spawner: Spawner) -> None:
    def fault() -> None:
        weft("lab", "kill", "server")
        weft("lab", "start", "server")

    while_spawning(spawner, fault)
    assert_converged(spawner)


def test_agent_killed_in_the_middle(lab: Lab, spawner: Spawner) -> None:
    def fault() -> None:
        weft("lab", "kill", "node1/agent")
        weft("lab", "start", "node1/agent")

    while_spawning(spawner, fault)
    assert_converged(spawner)


def test_bgpd_killed_in_the_middle(lab: Lab, spawner: Spawner) -> None:
    while_spawning(spawner, lambda: weft("lab", "kill", "leaf1/bgpd") and None)
    assert_converged(spawner)


def test_an_agent_that_starts_again_loses_no_packet(lab: Lab, spawner: Spawner) -> None:
    for name in spawner.names[:2]:
        spawner.spawn(name)
    first, second = sorted(spawner.ports(), key=lambda port: port["name"])
    target = second["fixed_ips"][0]["ip_address"]
    until(lambda: answers(lab, first["name"], target), f"{target} answers", CONVERGED_S)
    with ThreadPoolExecutor(1) as pool:
        pinging = pool.submit(lab.run, first["name"], "ping", "-i", "0.02", "-c", "250", "-W", "1", target)
        weft("lab", "kill", "node1/agent")
        weft("lab", "start", "node1/agent")
        weft("lab", "restart", "node2/agent")
        assert " 250 received" in pinging.result()


def test_a_report_of_an_old_epoch_is_ignored(lab: Lab, spawner: Spawner) -> None:
    spawner.spawn(spawner.names[0])
    until(lambda: [port["status"] for port in spawner.ports()] == ["ACTIVE"], "it is ACTIVE")
    (port,) = spawner.ports()
    weft("lab", "instance", "move", port["name"], "node2")
    until(lambda: lab.client.port_status(port["id"]).state == "ACTIVE", "it is ACTIVE on its new node")
    token = (LAB_DIR / "node1" / "agent.token").read_text().strip()
    late = RealizationReport(port_id=port["id"], epoch=1, state=RealizationState.FAILED, reason="too late")
    with Client(f"http://{MACHINE_ADDRESS}", token) as node1:
        answer = node1.report("node1", RealizationReports(reports=(late,)))
    assert [(each.epoch, each.current_epoch) for each in answer.ignored] == [(1, 2)]
    after = lab.client.port_status(port["id"])
    assert (after.state, after.epoch) == ("ACTIVE", 2)
    assert "stale_report" in [step.step for step in lab.client.history(port["id"])]
