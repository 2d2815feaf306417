"""Plugins behind weft-cni in one conflist, called by containerd: `portmap`, `bandwidth`, `tuning`, each at its work."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from pod_nodes import Pods
from running_lab import Lab, until, weft
from tests.runtimes.containerd import Containerd, Sandbox
from tests.runtimes.libcni import LibCni, PluginError

pytestmark = pytest.mark.e2e

RATE_BITS = 4_000_000
BURST_BITS = 800_000
SENT_BYTES = 1_000_000
"""Two seconds of the rate; a burst lets through a fifth of a second's at once."""
LIMITS = {"type": "bandwidth"} | {
    f"{way}{what}": amount
    for way in ("ingress", "egress")
    for what, amount in (("Rate", RATE_BITS), ("Burst", BURST_BITS))
}
"""For every pod. A runtime that takes rates from annotations lets through 512 MB at once, before they count."""
KEEPALIVE_S = "321"
NETNS = "weft-chained"
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as wire:
    wire.sendall(bytes(int(sys.argv[3])))
    wire.shutdown(socket.SHUT_WR)
    wire.recv(1)
"""
TAKE = """
import socket, sys
with socket.create_server(("", int(sys.argv[1]))) as listener:
    print("ready", flush=True)
    wire, peer = listener.accept()
    while wire.recv(1 << 16):
        pass
    wire.sendall(b".")
"""
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=3).read().decode())"
WEB = "mkdir -p /srv; echo {} > /srv/index.html; httpd -f -p 80 -h /srv"


@pytest.fixture
def node(lab: Lab, pods: Pods) -> Iterator[Containerd]:
    """node1, whose conflist goes back to what it was, and which lets through what `portmap` translates."""
    forwards = lab.run("node1", "cat", "/proc/sys/net/ipv4/ip_forward").strip()
    lab.run("node1", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    node1, _ = pods.nodes
    yield node1
    for each in node1.sandboxes():
        node1.remove_sandbox(each)
    pods.with_conflist(node1)
    lab.run("node1", "sysctl", "-qw", f"net.ipv4.ip_forward={forwards}")


def pod_argv(sandbox: Sandbox, *command: str) -> list[str]:
    return ["nsenter", f"--net={sandbox.netns}", *command]


def timed(sender: list[str], receiver: list[str], address: str) -> float:
    """Return the seconds that sending takes, from the first byte to the receiver's word that it has the last."""
    port = "7777"
    with subprocess.Popen([*receiver, sys.executable, "-c", TAKE, port], stdout=subprocess.PIPE) as taking:
        try:
            assert taking.stdout is not None
            assert taking.stdout.readline() == b"ready\n"
            began = time.monotonic()
            subprocess.run(
                [*sender, sys.executable, "-c", SEND, address, port, str(SENT_BYTES)], check=True, timeout=60
            )
            return time.monotonic() - began
        finally:
            taking.kill()


def test_a_node_reaches_its_own_pod_if_it_shall_as_a_kubelet_probes_it(lab: Lab, pods: Pods, node: Containerd) -> None:
    pods.with_conflist(node, "--node-path")
    sandbox = node.run_sandbox("probed-0")
    node.run_container(sandbox, "/bin/sh", "-c", WEB.format("probed"))
    url = f"http://{node.sandbox(sandbox).address}/"
    until(lambda: "probed" in lab.run("node1", sys.executable, "-c", FETCH, url, check=False), "the node has an answer")


def test_a_port_of_the_node_leads_to_a_pod(lab: Lab, pods: Pods, node: Containerd) -> None:
    pods.with_conflist(node, "--chain", "portmap")
    mapping = {"host_port": 8088, "container_port": 80}
    sandbox = node.run_sandbox("mapped-0", port_mappings=[mapping])
    node.run_container(sandbox, "/bin/sh", "-c", WEB.format("mapped"))
    [management] = [
        each for each in lab.run("node1", "ip", "-4", "-br", "address", "show", "br-bond").split() if "/" in each
    ]
    address = management.partition("/")[0]
    for client, url in (("node2", f"http://{address}:8088/"), ("node1", "http://127.0.0.1:8088/")):
        fetched = lambda c=client, u=url: lab.run(c, sys.executable, "-c", FETCH, u, check=False).strip()  # noqa: E731
        until(lambda f=fetched: f() == "mapped", f"{client} reaches the pod by {url}")
    pod = node.sandbox(sandbox)
    node.stop_sandbox(sandbox)
    assert lab.run("node2", sys.executable, "-c", FETCH, f"http://{address}:8088/", check=False) == ""
    assert "8088" not in lab.run("node1", "iptables", "-t", "nat", "-S")
    assert pod.address not in lab.run("node1", "ip", "route")


def test_a_rate_is_limited_in_both_directions(lab: Lab, pods: Pods, node: Containerd) -> None:
    other = pods.nodes[1]
    free = node.sandbox(node.run_sandbox("free-0"))
    peer = other.sandbox(other.run_sandbox("peer-0"))
    pods.with_conflist(node, "--chain", "bandwidth", chained=(LIMITS,))
    limited = node.sandbox(node.run_sandbox("limited-0"))
    here, there = pod_argv(limited), pod_argv(peer)
    reach = lambda: subprocess.run([*here, "ping", "-c1", "-W1", peer.address], capture_output=True, check=False)  # noqa: E731
    until(lambda: reach().returncode == 0, "the pods reach each other")
    fair_s = SENT_BYTES * 8 / RATE_BITS
    for way, took_s in (
        ("egress", timed(here, there, peer.address)),
        ("ingress", timed(there, here, limited.address)),
    ):
        print(f"{way}: {SENT_BYTES * 8 / took_s / 1e6:.1f} Mbit/s of {RATE_BITS / 1e6:g}")
        assert 0.7 * fair_s < took_s < 2 * fair_s, way
    took_s = timed(pod_argv(free), there, peer.address)
    assert took_s < 0.5 * fair_s, f"a pod without limits is limited: {took_s:.1f} s"

    # What the agent joins anew when it starts leaves the limit where it is.
    weft("lab", "restart", "node1/agent")
    pods.until_agent_answers(node)
    until(lambda: reach().returncode == 0, "the pods still reach each other")
    assert timed(here, there, peer.address) > 0.7 * fair_s
    for each in node.sandboxes():
        node.stop_sandbox(each)
    assert [each for each in pods.devices()["node1"] if each.startswith("bwp")] == []


def test_a_pod_is_tuned_and_mapped_and_limited_at_once(lab: Lab, pods: Pods, node: Containerd) -> None:
    tuning = {"type": "tuning", "sysctl": {"net.ipv4.tcp_keepalive_time": KEEPALIVE_S}}
    pods.with_conflist(node, "--chain", "portmap", "--chain", "bandwidth", chained=(tuning,))
    sandbox = node.run_sandbox(
        "all-0",
        port_mappings=[{"host_port": 8089, "container_port": 80}],
        annotations={"kubernetes.io/egress-bandwidth": f"{RATE_BITS}"},
    )
    container = node.run_container(sandbox, "/bin/sh", "-c", WEB.format("all"))
    assert node.execute(container, "cat", "/proc/sys/net/ipv4/tcp_keepalive_time") == (0, f"{KEEPALIVE_S}\n")
    url = "http://127.0.0.1:8089/"
    until(lambda: "all" in lab.run("node1", sys.executable, "-c", FETCH, url, check=False), "the port leads to the pod")
    assert [each for each in pods.devices()["node1"] if each.startswith("bwp")], "its rate is limited"
    node.stop_sandbox(sandbox)
    until(lambda: pods.devices() == pods.devices_before, "nothing of it is left")


def test_every_plugin_of_a_list_checks_what_it_has_added(lab: Lab, pods: Pods, node: Containerd) -> None:
    """containerd 1.6 calls no CHECK; this runner calls it as libcni does.

    Without `portmap`: that of containernetworking-plugins 1.1.1 misses IPv6 rules of its own that it made none of.
    """
    tuning = {"type": "tuning", "sysctl": {"net.ipv4.tcp_keepalive_time": KEEPALIVE_S}}
    pods.with_conflist(node, "--chain", "bandwidth", chained=(LIMITS, tuning))
    runtime = LibCni("node1", [node.bin_dir], json.loads(node.conflist()))
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    try:
        result = runtime.add("chained-1", f"/run/netns/{NETNS}")
        assert [each["name"].rstrip("0123456789abcdef") for each in result["interfaces"]] == ["eth", "weft-v", "bwp"]
        runtime.check("chained-1", f"/run/netns/{NETNS}")
        subprocess.run(["ip", "netns", "exec", NETNS, "sysctl", "-qw", "net.ipv4.tcp_keepalive_time=7"], check=True)
        with pytest.raises(PluginError, match="tuning"):
            runtime.check("chained-1", f"/run/netns/{NETNS}")
        for _ in range(2):
            runtime.delete("chained-1", f"/run/netns/{NETNS}")
    finally:
        subprocess.run(["ip", "netns", "del", NETNS], check=True)
    until(lambda: pods.devices() == pods.devices_before, "nothing of it is left")
