"""Pods by a real container runtime: two containerds on two nodes, asked by CRI in the orders that a kubelet has."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pod_nodes import Pods
from running_lab import Lab, until, weft
from tests.runtimes.containerd import CallError, Containerd

pytestmark = pytest.mark.e2e

OBSERVER = "observer"
PING_INTERVAL_S = 0.02
MAX_LOST = 50
"""Of pings 20 ms apart: a second. More than a drift loses (docs/cni.md), far less than a fault that heals itself."""
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode())"
WEB = "mkdir -p /srv; echo {} > /srv/index.html; httpd -f -p 80 -h /srv"


@pytest.fixture
def observer(lab: Lab, pods: Pods) -> Iterator[str]:
    """A virtual machine of the pods' network on a third leaf; returns its address."""
    port = lab.client.ports.create({"name": OBSERVER, "network_id": pods.network, "binding:host_id": "node3"})
    weft("lab", "instance", "add", OBSERVER)
    until(lambda: lab.client.port_status(port["id"]).state == "ACTIVE", "the observer is ACTIVE")
    yield str(port["fixed_ips"][0]["ip_address"])
    weft("lab", "instance", "delete", OBSERVER)
    lab.client.ports.delete(port["id"])


def answers(lab: Lab, address: str) -> bool:
    return "bytes from" in lab.run(OBSERVER, "ping", "-c", "1", "-W", "1", address, check=False)


def web(lab: Lab, address: str) -> str:
    """Return what a pod's web server says, over TCP: which of two pods with one address is it?"""
    return lab.run(OBSERVER, sys.executable, "-c", FETCH, f"http://{address}/", check=False).strip()


@contextmanager
def pinged(lab: Lab, address: str) -> Iterator[list[int]]:
    """Ping an address from the observer all the while; the list then has how many were sent, and how many lost.

    It ends with the last that was answered: what was sent after that may be on its way still.
    """
    namespace = lab.state.instances[OBSERVER].namespace
    words = ["ip", "netns", "exec", namespace, "ping", "-n", "-i", str(PING_INTERVAL_S), address]
    counts: list[int] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as pinging:
        try:
            yield counts
        finally:
            pinging.send_signal(2)
            said, _ = pinging.communicate(timeout=10)
    answered = {int(each) for each in re.findall(r"icmp_seq=(\d+) ttl", said)}
    assert answered, said
    counts += [max(answered), max(answered) - len(answered)]


def mac(pods: Pods, node: Containerd, sandbox: str) -> str:
    return str(node.sandbox(sandbox).result["Interfaces"]["eth0"]["Mac"])


def test_a_pod_has_an_address_of_the_plan_and_is_reached_from_another_leaf(lab: Lab, pods: Pods, observer: str) -> None:
    node1, _ = pods.nodes
    assert node1.condition("NetworkReady") == (True, "")
    sandbox = node1.run_sandbox("web-7c9d8-x2x4z")
    address = node1.sandbox(sandbox).address
    named = lambda: lab.client.ports.list(name="c1/default/web-7c9d8-x2x4z")  # noqa: E731
    until(lambda: len(named()) == 1, "the server has been told whose the warm port is now")
    [port] = named()
    assert port["fixed_ips"][0]["ip_address"] == address
    assert port["mac_address"] == mac(pods, node1, sandbox)
    container = node1.run_container(sandbox, "/bin/sh", "-c", WEB.format("here"))
    until(lambda: node1.execute(container, "ping", "-c", "1", "-W", "1", observer)[0] == 0, "the pod pings the machine")
    assert web(lab, address) == "here", "and is asked by TCP"
    node1.stop_sandbox(sandbox)
    node1.remove_sandbox(sandbox)
    until(lambda: not lab.client.ports.list(name="c1/default/web-7c9d8-x2x4z"), "nobody will ask for its name again")
    assert pods.devices() == pods.devices_before


def test_a_pod_that_drifts_keeps_address_and_mac_in_both_orders(lab: Lab, pods: Pods, observer: str) -> None:
    node1, node2 = pods.nodes
    first = node1.run_sandbox("db-0")
    address = node1.sandbox(first).address
    until(lambda: answers(lab, address), "the pod answers on node1")

    # As a controller does that waits: the old is stopped, then the new is run.
    node1.stop_sandbox(first)
    second = node2.run_sandbox("db-0")
    assert (node2.sandbox(second).address, mac(pods, node2, second)) == (address, mac(pods, node1, first))
    until(lambda: answers(lab, address), "the pod answers on node2")
    node1.remove_sandbox(first)
    node1.remove_sandbox(first)
    assert answers(lab, address)

    # As after a failure: the new is run while the old is there; the old is stopped late, and more than once.
    with pinged(lab, address) as counts:
        third = node1.run_sandbox("db-0", attempt=1)
        assert node1.sandbox(third).address == address
        until(lambda: lab.client.ports.find("c1/default/db-0")["binding:host_id"] == "node1", "it is bound to node1")
        for _ in range(4):
            node2.stop_sandbox(second)
        node2.remove_sandbox(second)
        until(lambda: answers(lab, address), "the pod answers on node1 again")
    print(f"drift: {counts[1]} of {counts[0]} pings lost")
    assert counts[1] <= MAX_LOST, counts
    for _ in range(5):
        node1.stop_sandbox(third)
    assert not answers(lab, address)
    assert lab.client.ports.find("c1/default/db-0")["fixed_ips"][0]["ip_address"] == address, "kept for its name"


def test_a_pod_that_is_deleted_by_force_is_run_beside_the_old_one_on_the_same_node(
    lab: Lab, pods: Pods, observer: str
) -> None:
    node1, _ = pods.nodes
    old = node1.run_sandbox("db-1", uid="a")
    address = node1.sandbox(old).address
    node1.run_container(old, "/bin/sh", "-c", WEB.format("old"))
    until(lambda: web(lab, address) == "old", "the old pod answers")
    new = node1.run_sandbox("db-1", uid="b")
    node1.run_container(new, "/bin/sh", "-c", WEB.format("new"))
    assert node1.sandbox(new).address == address
    until(lambda: web(lab, address) == "new", "the new pod answers, although the old one runs")
    for _ in range(3):
        node1.stop_sandbox(old)
    node1.remove_sandbox(old)
    assert web(lab, address) == "new"


def test_a_pod_of_a_dead_node_runs_elsewhere_and_what_comes_back_changes_nothing(
    lab: Lab, pods: Pods, observer: str
) -> None:
    node1, node2 = pods.nodes
    old = node1.run_sandbox("db-2")
    address = node1.sandbox(old).address
    node1.run_container(old, "/bin/sh", "-c", WEB.format("old"))
    until(lambda: web(lab, address) == "old", "the pod answers on node1")
    node1.kill()
    weft("lab", "kill", "node1/agent")
    new = node2.run_sandbox("db-2")
    node2.run_container(new, "/bin/sh", "-c", WEB.format("new"))
    assert node2.sandbox(new).address == address
    until(lambda: web(lab, address) == "new", "the pod answers on node2, although nobody has stopped the old one")
    weft("lab", "start", "node1/agent")
    node1.start()
    until(lambda: node1.condition("NetworkReady")[0], "node1 is back")
    assert node1.sandboxes() == [old]
    pods.until_agent_answers(node1)
    for _ in range(2):
        node1.stop_sandbox(old)
    node1.remove_sandbox(old)
    # The old pod ran on without an agent, and may have answered an ARP request meanwhile: the next one puts that right.
    began = time.monotonic()
    until(lambda: web(lab, address) == "new", "the pod on node2 answers when the old one is gone")
    print(f"it answered after {time.monotonic() - began:.1f} s")
    assert lab.client.ports.find("c1/default/db-2")["binding:host_id"] == "node2"
    assert pods.devices()["node1"] == pods.devices_before["node1"]


def test_a_runtime_that_restarts_deletes_what_it_has_added(lab: Lab, pods: Pods, observer: str) -> None:
    node1, _ = pods.nodes
    sandbox = node1.run_sandbox("db-3")
    address = node1.sandbox(sandbox).address
    until(lambda: answers(lab, address), "the pod answers")
    node1.kill()
    assert answers(lab, address), "a pod does not need its runtime"
    node1.start()
    assert node1.sandbox(sandbox).address == address
    node1.stop_sandbox(sandbox)
    assert not answers(lab, address)
    assert pods.devices() == pods.devices_before


def test_without_its_agent_a_pod_is_not_run_and_says_why_and_is_run_later(lab: Lab, pods: Pods) -> None:
    node1, _ = pods.nodes
    weft("lab", "kill", "node1/agent")
    with pytest.raises(CallError, match=r"weft-cni.*weft's agent does not answer at .*cni\.sock"):
        node1.run_sandbox("db-4")
    weft("lab", "start", "node1/agent")
    pods.until_agent_answers(node1)
    again = node1.run_sandbox("db-4", attempt=1)  # a kubelet counts, and the runtime makes another id
    address = node1.sandbox(again).address
    assert address == lab.client.ports.find("c1/default/db-4")["fixed_ips"][0]["ip_address"]
    container = node1.run_container(again)
    status, said = node1.execute(container, "ip", "-4", "address", "show", "eth0")
    assert status == 0
    assert f"{address}/24" in said
    with pytest.raises(CallError, match="no network is called 'nowhere'"):
        pods.with_conflist(node1, network="nowhere").run_sandbox("db-5")
    pods.with_conflist(node1)
    assert lab.client.ports.list(name="c1/default/db-5") == []
