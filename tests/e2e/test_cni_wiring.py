"""Containers' cables under load and faults: large transfers, many deletions, killed agents, a server that is away."""

import hashlib
import itertools
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from cni_runtime import Runtime, address, answers, pairs
from running_lab import Lab, until, weft

pytestmark = pytest.mark.e2e

MANY = 100
_numbers = itertools.count(1)
TRANSFER_BYTES = 40_000_000
KILLS = 6
PLUGINS = 24
WAIT_S = 40.0

RECEIVE = """
import hashlib, socket, sys
listener = socket.create_server((sys.argv[1], 5001), family=socket.AF_INET)
print("ready", flush=True)
wire, _ = listener.accept()
seen = hashlib.sha256()
while piece := wire.recv(1 << 20):
    seen.update(piece)
print(seen.hexdigest())
"""
SEND = """
import random, socket, sys
wire = socket.create_connection((sys.argv[1], 5001))
wire.sendall(random.Random(7).randbytes(int(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def netns() -> Iterator[list[str]]:
    """Namespaces of containers, gone afterwards."""
    names = [f"weft-w-{number}" for number in range(MANY + 4)]
    subprocess.run(["ip", "-b", "-"], input="".join(f"netns add {each}\n" for each in names), text=True, check=True)
    yield names
    subprocess.run(["ip", "-b", "-"], input="".join(f"netns del {each}\n" for each in names), text=True, check=True)


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    """A network of a name of its own: what waits for containers of the last one is not for those of the next."""
    name = f"pods-{next(_numbers)}"
    weft("network", "create", name)
    weft("subnet", "create", name, "10.88.0.0/22")
    yield name
    lab.delete_network(lab.client.networks.find(name)["id"])


@pytest.fixture
def nodes(network: str, tmp_path: Path) -> tuple[Runtime, Runtime]:
    return Runtime("node1", tmp_path, network), Runtime("node2", tmp_path, network)


def inside(netns: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", netns, *words]


@contextmanager
def pinging(netns: str, target: str) -> Iterator[list[int]]:
    """Ping every 20 ms for as long as the context lasts; then the list has which of them were answered.

    What was not answered before a later one was is lost; what was sent last may be on its way still.
    """
    answered: list[int] = []
    words = inside(netns, "ping", "-n", "-i", "0.02", target)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield answered
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        answered += sorted({int(each) for each in re.findall(r"icmp_seq=(\d+) ttl", said)})


def lost(answered: list[int]) -> list[int]:
    """Return the numbers of pings that were lost."""
    return sorted(set(range(1, max(answered) + 1)) - set(answered))


def steady(netns: str, target: str) -> bool:
    """Tell whether a target answers every ping of half a second: a leaf that was just written may lose some."""
    words = inside(netns, "ping", "-n", "-q", "-c", "25", "-i", "0.02", "-W", "1", target)
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return "25 received" in said


def held(lab: Lab) -> set[str]:
    """The names of workloads that have a port on a node."""
    ports = lab.client.ports.list(device_owner="container:workload")
    return {port["name"] for port in ports if port["name"] and port["binding:host_id"]}


@pytest.mark.parametrize("where", ["the same node", "another leaf"])
def test_a_large_transfer_arrives_whole_with_checksums_left_to_the_device(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str], where: str
) -> None:
    here, there = nodes
    other = here if where == "the same node" else there
    sender, receiver = here.add("c-1", "sender-x2x4z", netns[0]), other.add("c-2", "receiver-x2x4z", netns[1])
    assert sender["interfaces"][1]["name"].startswith("weft-v"), "the pair's other half is named for chained plugins"
    until(lambda: answers(netns[0], address(receiver)), "they reach each other")
    words = inside(netns[1], sys.executable, "-c", RECEIVE, address(receiver))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as receiving:
        assert receiving.stdout is not None
        assert receiving.stdout.readline() == "ready\n"
        sending = inside(netns[0], sys.executable, "-c", SEND, address(receiver), str(TRANSFER_BYTES))
        subprocess.run(sending, check=True, timeout=WAIT_S)
        assert receiving.stdout.read().strip() == hashlib.sha256(random.Random(7).randbytes(TRANSFER_BYTES)).hexdigest()
    for runtime, container in ((here, "c-1"), (other, "c-2")):
        assert runtime.call("DEL", container, "x")[0] == 0


def test_a_hundred_deletions_at_once_lose_nobody_elses_ping(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, _ = nodes
    before = pairs(lab, "node1")
    quiet, talker = here.add("c-a", "quiet-x2x4z", netns[MANY]), here.add("c-b", "talker-x2x4z", netns[MANY + 1])
    assert talker["ips"]
    until(lambda: steady(netns[MANY + 1], address(quiet)), "they reach each other")
    with ThreadPoolExecutor(MANY) as pool:
        added = list(pool.map(lambda n: here.add(f"m-{n}", f"many-x{n}", netns[n]), range(MANY)))
        assert len({address(each) for each in added}) == MANY
        with pinging(netns[MANY + 1], address(quiet)) as answered:
            gone = list(pool.map(lambda n: here.call("DEL", f"m-{n}", f"many-x{n}", netns=netns[n]), range(MANY)))
            until(lambda: answers(netns[MANY + 1], address(quiet)), "the last ping before this one is answered, too")
    assert gone == [(0, None)] * MANY
    assert len(answered) >= 5
    assert lost(answered) == []
    for container in ("c-a", "c-b"):
        assert here.call("DEL", container)[0] == 0
    until(lambda: pairs(lab, "node1") == before, "no pair is left")
    until(lambda: held(lab) == set(), "no port is left", WAIT_S)


def test_an_agent_that_is_killed_in_the_middle_leaves_nothing_and_cuts_nobody_off(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, there = nodes
    before = pairs(lab, "node1")
    stays, far = here.add("c-stays", "stays-0", netns[0]), there.add("c-far", "far-x2x4z", netns[1])
    until(lambda: steady(netns[1], address(stays)), "they reach each other")
    own = pairs(lab, "node1") - before
    batch = [(f"k-{n}", f"killed-{n}" if n % 2 else f"killed-x{n}", netns[n + 2]) for n in range(8)]
    with pinging(netns[1], address(stays)) as answered:
        for number in range(KILLS):
            command = "ADD" if number % 2 == 0 else "DEL"
            with ThreadPoolExecutor(len(batch)) as pool:
                killer = threading.Timer(0.01 * 1.6**number, weft, ("lab", "kill", "node1/agent"))
                killer.start()
                calls = [pool.submit(here.call, command, id_, pod, netns=place) for id_, pod, place in batch]
                for call in calls:
                    call.result(WAIT_S)
                killer.join()
            weft("lab", "start", "node1/agent")
            until(lambda: here.call("STATUS", "")[0] == 0, "the agent is back")
            if command == "ADD":
                continue
            for id_, pod, _ in batch:  # what did not work is deleted again, as a runtime does
                assert here.call("DEL", id_, pod) == (0, None)
            until(lambda: pairs(lab, "node1") - before == own, "no pair is left", WAIT_S)
            until(lambda: held(lab) == {"c1/default/stays-0", "c1/default/far-x2x4z"}, "no port is left", WAIT_S)
    assert lost(answered) == []
    assert far["ips"]
    assert here.call("DEL", "c-stays", "stays-0")[0] == there.call("DEL", "c-far")[0] == 0


def test_a_plugin_that_is_killed_in_the_middle_leaves_nothing(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, _ = nodes
    before = pairs(lab, "node1")
    caught = 0
    for number in range(PLUGINS):
        pod = f"broken-{number}" if number % 4 == 0 else f"broken-x{number}z"
        after_s = 0.0005 * number if number % 4 else 0.004 * number
        caught += here.call_and_kill("ADD", f"b-{number}", pod, netns=netns[number], after_s=after_s)
        assert here.call("DEL", f"b-{number}", pod) == (0, None), "a runtime deletes what it could not add"
        again = here.add(f"a-{number}", pod, netns[number])  # and tries anew
        assert again["ips"]
        here.call_and_kill("DEL", f"a-{number}", pod, netns=netns[number], after_s=after_s)
        assert here.call("DEL", f"a-{number}", pod) == (0, None)
    assert caught >= PLUGINS // 4
    until(lambda: pairs(lab, "node1") == before, "no pair is left", WAIT_S)
    until(lambda: {name for name in held(lab) if "broken" in name} == set(), "no port is left", WAIT_S)


def test_while_the_server_is_away_warm_ports_are_served_and_others_are_told_so(
    lab: Lab, network: str, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, _ = nodes
    first = here.add("c-1", "web-x2x4z", netns[0])
    until(lambda: "c1/default/web-x2x4z" in held(lab), "it has told of the first")
    active = {"network_id": lab.client.networks.find(network)["id"], "status": "ACTIVE"}
    until(lambda: len(lab.client.ports.list(**active)) >= 4, "some are warm")
    weft("lab", "kill", "server")
    try:
        second = here.add("c-2", "web-aaaaa", netns[1])
        assert answers(netns[0], address(second)), "it can send at once"
        status, said = here.call("ADD", "c-3", "db-0", netns=netns[2])
        assert (status, said["code"]) == (1, 11), said
        assert "server" in said["msg"]
        assert here.call("DEL", "c-1", "web-x2x4z") == (0, None), "a deletion needs no server"
    finally:
        weft("lab", "start", "server")
    until(lambda: held(lab) == {"c1/default/web-aaaaa"}, "it is told what came and what went", WAIT_S)
    assert first["ips"] != second["ips"]
    assert here.call("DEL", "c-2", "web-aaaaa") == (0, None)


def test_cables_that_are_set_down_are_up_again_at_once(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, there = nodes
    one, two = here.add("c-1", "one-x2x4z", netns[0]), there.add("c-2", "two-x2x4z", netns[1])
    until(lambda: answers(netns[1], address(one)), "they reach each other")
    links = lab.run("node1", "ip", "-br", "link").split()
    for cable in (each for each in links if each.startswith("weft-c")):
        lab.run("node1", "ip", "link", "set", cable, "down")
    until(lambda: answers(netns[0], address(two)), "its cable is up again", 5.0)
    assert here.call("DEL", "c-1") == (0, None)
    assert there.call("DEL", "c-2") == (0, None)


def test_a_new_ovs_vswitchd_finds_its_containers_again_and_a_namespace_may_vanish(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, there = nodes
    before = pairs(lab, "node1")
    one, two = here.add("c-1", "one-x2x4z", netns[0]), there.add("c-2", "two-x2x4z", netns[1])
    until(lambda: answers(netns[1], address(one)), "they reach each other")
    weft("lab", "kill", "node1/ovs-vswitchd")
    weft("lab", "start", "node1/ovs-vswitchd")
    until(lambda: answers(netns[0], address(two)), "its devices are new, and joined again")
    subprocess.run(["ip", "netns", "add", "weft-w-gone"], check=True)
    here.add("c-3", "three-x2x4z", "weft-w-gone")
    subprocess.run(["ip", "netns", "del", "weft-w-gone"], check=True)
    for container in ("c-1", "c-3"):
        assert here.call("DEL", container, netns="weft-w-gone") == (0, None)
    assert there.call("DEL", "c-2") == (0, None)
    until(lambda: pairs(lab, "node1") == before, "no pair is left")
    until(lambda: held(lab) == set(), "no port is left", WAIT_S)
    again = here.add("c-4", "four-x2x4z", netns[2])
    assert here.call("CHECK", "c-4", "four-x2x4z", netns=netns[2]) == (0, None)
    assert again["ips"]
    assert here.call("DEL", "c-4") == (0, None)
