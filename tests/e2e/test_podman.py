"""Containers by podman, whose networks are CNI's: a second runtime that is nobody's kubelet."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_nodes import NODES, host_ends
from running_lab import Lab, until, weft
from tests.runtimes.images import write_image
from tests.runtimes.podman import Podman, PodmanError

from weft.lab.programs import cni_socket
from weft.lab.state import LAB_DIR, MARK

pytestmark = pytest.mark.e2e

NETWORK = "containers"


@pytest.fixture
def podmans(lab: Lab, tmp_path: Path) -> Iterator[tuple[Podman, Podman]]:
    """podman on two nodes, and the network of their containers."""
    network = lab.client.networks.create({"name": NETWORK})
    lab.client.subnets.create({"network_id": network["id"], "cidr": "10.90.0.0/24", "ip_version": 4})
    image = tmp_path / "busybox.tar"
    write_image(image, {MARK: lab.state.id})
    here, there = (Podman(node, LAB_DIR / node / "podman", lab.state.id) for node in NODES)
    for node, each in zip(NODES, (here, there), strict=True):
        each.prepare(image)
        weft("cni", "install", "--bin-dir", str(each.bin_dir), "--conf-dir", str(each.conf_dir), "--name", NETWORK,
             "--network", NETWORK, "--cluster", "hosts", "--socket", str(cni_socket(node)))  # fmt: skip
    yield here, there
    for each in (here, there):
        each.close()
    lab.delete_network(network["id"])


def answers(podman: Podman, name: str, address: str) -> bool:
    try:
        return "1 packets received" in podman.call("exec", name, "ping", "-c", "1", "-W", "1", address)
    except PodmanError:
        return False


def test_containers_of_podman_reach_each_other_and_have_what_they_ask_for(
    lab: Lab, podmans: tuple[Podman, Podman]
) -> None:
    here, there = podmans
    before = host_ends(lab, "node1"), host_ends(lab, "node2")
    first = here.run("first", NETWORK)
    address = here.address("first", NETWORK)
    [port] = lab.client.ports.list(name=f"hosts/{first}")
    assert port["fixed_ips"][0]["ip_address"] == address
    there.run("second", NETWORK, "--ip", "10.90.0.77", "--mac-address", "02:00:00:00:00:77")
    assert there.address("second", NETWORK) == "10.90.0.77"
    assert "02:00:00:00:00:77" in there.call("exec", "second", "ip", "link", "show", "eth0")
    until(lambda: answers(here, "first", "10.90.0.77"), "the containers reach each other")
    assert answers(there, "second", address)

    with pytest.raises(PodmanError, match=r"weft-cni failed: IP address 10\.90\.0\.77 already allocated"):
        here.run("third", NETWORK, "--ip", "10.90.0.77")
    here.call("rm", "--force", "third")

    here.call("restart", "--time", "0", "first")  # DEL and ADD of the same container
    until(lambda: answers(here, "first", "10.90.0.77"), "it is there again")
    here.call("stop", "--time", "0", "first")
    until(lambda: not lab.client.ports.list(name=f"hosts/{first}"), "what is stopped has no port")
    here.call("rm", "first")
    there.call("rm", "--force", "--time", "0", "second")
    own = {"network_id": port["network_id"], "device_owner": "container:workload"}
    until(lambda: not any(each["name"] for each in lab.client.ports.list(**own)), "no container has a port")
    until(lambda: (host_ends(lab, "node1"), host_ends(lab, "node2")) == before, "no device is left")
