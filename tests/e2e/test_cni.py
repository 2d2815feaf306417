"""Containers by the CNI plugin on two real nodes: added, reached, moved, deleted late, collected."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cni_runtime import Runtime, address, answers, pairs
from running_lab import Lab, until, weft

from weft.client.call import JsonObject
from weft.lab.programs import MACHINE_ADDRESS, admin_token

pytestmark = pytest.mark.e2e

CONTAINERS = 16


@pytest.fixture
def netns() -> Iterator[list[str]]:
    """Namespaces of containers, gone afterwards."""
    names = [f"weft-c-{number}" for number in range(CONTAINERS)]
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    yield names
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def nodes(lab: Lab, tmp_path: Path) -> Iterator[tuple[Runtime, Runtime]]:
    weft("network", "create", "pods")
    weft("subnet", "create", "pods", "10.88.0.0/24")
    yield Runtime("node1", tmp_path), Runtime("node2", tmp_path)
    lab.delete_network(lab.client.networks.find("pods")["id"])


def test_containers_reach_each_other_and_keep_their_address_where_they_go(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, there = nodes
    before = pairs(lab, "node1"), pairs(lab, "node2")
    assert here.call("STATUS", "")[0] == 0
    db, web = here.add("c-db-1", "db-0", netns[0]), there.add("c-web-1", "web-7c9d8-x2x4z", netns[1])
    until(lambda: answers(netns[0], address(web)), "the containers reach each other")  # BGP tells the other leaf
    assert here.call("CHECK", "c-db-1", "db-0", netns=netns[0]) == (0, None)

    # The pod drifts: its next sandbox is added before the old one is deleted, and the deletions come late and often.
    moved = there.add("c-db-2", "db-0", netns[2])
    assert (moved["ips"], moved["interfaces"][0]["mac"]) == (db["ips"], db["interfaces"][0]["mac"])
    until(lambda: answers(netns[1], address(db)), "the pod answers where it is now")
    for late in (netns[0], "", ""):
        assert here.call("DEL", "c-db-1", "db-0", netns=late) == (0, None)
    assert answers(netns[1], address(db)), "who is not the holder any more releases nothing"
    assert there.call("CHECK", "c-db-2", "db-0", netns=netns[2]) == (0, None)

    # Retried with another container: the same pod, the same node.
    again = there.add("c-db-3", "db-0", netns[3])
    assert again["ips"] == db["ips"]
    assert there.call("DEL", "c-db-2", "db-0", netns=netns[2]) == (0, None)
    until(lambda: answers(netns[1], address(db)), "the newest container answers")
    status, said = there.call("CHECK", "c-db-2", "db-0", netns=netns[2])
    assert (status, said["code"]) == (1, 3)

    # Deleted: a StatefulSet's pod keeps its address, another pod's port is gone.
    assert there.call("DEL", "c-db-3", "db-0", netns=netns[3]) == (0, None)
    assert there.call("DEL", "c-web-1", "web-7c9d8-x2x4z") == (0, None)
    until(lambda: not lab.client.ports.list(name="c1/default/web-7c9d8-x2x4z"), "the port is gone")
    assert lab.client.ports.find("c1/default/db-0")["fixed_ips"][0]["ip_address"] == address(db)
    assert here.add("c-db-4", "db-0", netns[0])["ips"] == db["ips"]

    # Collected: what the runtime does not know any more goes.
    assert here.call("GC", "", **{"cni.dev/valid-attachments": []}) == (0, None)
    assert (pairs(lab, "node1"), pairs(lab, "node2")) == before, "no device is left behind"


def test_many_at_once_are_all_added_and_all_deleted(lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]) -> None:
    here, _ = nodes
    before = pairs(lab, "node1")
    for round_ in ("a", "b"):  # the second time the names have their addresses
        with ThreadPoolExecutor(CONTAINERS) as pool:
            numbers = range(CONTAINERS)
            added = list(pool.map(lambda n, r=round_: here.add(f"{r}-{n}", f"many-{n}", netns[n]), numbers))
            assert len({address(each) for each in added}) == CONTAINERS
            assert answers(netns[0], address(added[-1])), "an ADD returns when packets flow"
            gone = list(pool.map(lambda n, r=round_: here.call("DEL", f"{r}-{n}", f"many-{n}"), numbers))
            assert gone == [(0, None)] * CONTAINERS
    assert pairs(lab, "node1") == before


def test_a_container_lives_whose_warm_port_is_deleted_as_it_is_added(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, there = nodes
    peer = there.add("c-peer", "peer-0", netns[0])
    here.add("c-first", "web-7c9d8-first", netns[1])
    for number in range(2, 8):
        until(lambda: warm_ports(lab) != [], "ports wait for containers")
        with ThreadPoolExecutor(2) as pool:
            adding = pool.submit(here.add, f"c-{number}", f"web-7c9d8-{number:05d}", netns[number])
            for port in warm_ports(lab):
                delete_as_seen(port)
            added = adding.result()
        until(lambda n=number: answers(netns[n], address(peer)), "the container reaches others")  # type: ignore[misc]
        name = f"c1/default/web-7c9d8-{number:05d}"
        until(lambda n=name: len(lab.client.ports.list(name=n)) == 1, "it has a port")  # type: ignore[misc]
        [port] = lab.client.ports.list(name=name)
        assert port["fixed_ips"][0]["ip_address"] == address(added), "the plan knows the address that it has"
        assert port["mac_address"] == added["interfaces"][0]["mac"]
    for number in range(2, 8):
        assert here.call("DEL", f"c-{number}", f"web-7c9d8-{number:05d}") == (0, None)
    for runtime, container, pod in ((here, "c-first", "web-7c9d8-first"), (there, "c-peer", "peer-0")):
        assert runtime.call("DEL", container, pod) == (0, None)


def warm_ports(lab: Lab) -> list[JsonObject]:
    """The ports that wait for containers."""
    ports = lab.client.ports.list(device_owner="container:workload")
    return [each for each in ports if not each["name"] and each["status"] == "ACTIVE"]


def delete_as_seen(port: JsonObject) -> None:
    """Delete a port that is as it was seen: one that a container has claimed since stays, or it would be cut off."""
    said = {"If-Match": f"revision_number={port['revision_number']}", "Authorization": f"Bearer {admin_token()}"}
    answer = httpx.delete(f"http://{MACHINE_ADDRESS}/v2.0/ports/{port['id']}", headers=said, trust_env=False)
    assert answer.status_code in {204, 404, 409, 412}, answer.text


def test_what_cannot_be_done_is_said_and_leaves_nothing(
    lab: Lab, nodes: tuple[Runtime, Runtime], netns: list[str]
) -> None:
    here, _ = nodes
    before = pairs(lab, "node1")
    for conf, code, text in (
        ({"network": "nowhere"}, 100, "no network is called 'nowhere'"),
        ({"cniVersion": "9.9.9"}, 1, "'9.9.9' is not known"),
        ({"networkLabels": 7}, 7, "networkLabels"),
        ({"socket": "/nowhere.sock"}, 11, "does not answer at /nowhere.sock"),
    ):
        status, said = here.call("ADD", "c-x", "x-0", netns=netns[0], **conf)  # type: ignore[arg-type]
        assert (status, said["code"]) == (1, code), said
        assert text in said["msg"]
    status, said = here.call("ADD", "c-x", "x-0", netns="not-there")
    assert (status, said["code"]) == (1, 11), said
    assert pairs(lab, "node1") == before
    until(lambda: lab.client.ports.find("c1/default/x-0")["binding:host_id"] == "", "it is held by nobody")
    weft("lab", "kill", "node1/agent")
    status, said = here.call("ADD", "c-x", "x-0", netns=netns[0])
    assert (status, said["code"]) == (1, 11), "the runtime tries again later"
    assert here.call("STATUS", "")[1]["code"] == 50
    weft("lab", "start", "node1/agent")
    until(lambda: here.call("STATUS", "")[0] == 0, "the agent is back")
    assert here.add("c-x", "x-0", netns[0])["ips"]
    assert here.call("DEL", "c-x", "x-0") == (0, None)
