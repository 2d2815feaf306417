"""Changes of what carries all traffic, in the lab: one that cuts management, and a server killed in the middle."""

import copy
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from running_lab import Lab, until, weft

from weft.lab.topology import SERVER_OOB_INTERFACE

pytestmark = pytest.mark.e2e

CIDR = "203.0.113.0/24"
BACK_WITHIN_S = 90.0
"""The time for a confirmation, what it takes to notice, and a margin."""
MTU = 8000
PINGS = 1000


@pytest.fixture
def inventory(lab: Lab) -> Iterator[dict[str, Any]]:
    """The inventory, which may be changed and put; afterwards it is as it was, and so is every switch."""
    before = lab.client.inventory()
    numbers: Any = lab.client.put_inventory(before)["numbering"]
    for each in before["switches"]:
        each["loopback"] = numbers["switches"][each["name"]]["loopback"]  # else one that is written stays when it goes
    yield copy.deepcopy(before)
    lab.client.put_inventory(before)
    until(lambda: all(state in {"in-sync", "pending"} for state in states(lab).values()), "settled", BACK_WITHIN_S)
    if set(states(lab).values()) != {"in-sync"}:
        weft("fabric", "apply", "--override", "--reason", "back to what it was")


def states(lab: Lab) -> dict[str, str]:
    return {each["switch"]: each["state"] for each in lab.client.fabric_status()["switches"]}


def reason(lab: Lab, switch: str) -> str:
    return next(str(each["reason"]) for each in lab.client.fabric_status()["switches"] if each["switch"] == switch)


@pytest.fixture
def pair(lab: Lab) -> Iterator[tuple[str, str]]:
    """An instance on leaf1's node, and the address of one on leaf2's."""
    network = lab.client.networks.create({"name": "rollouts"})
    lab.client.subnets.create({"network_id": network["id"], "cidr": CIDR, "ip_version": 4})
    ports = []
    for name, node in (("r-1", "node1"), ("r-2", "node2")):
        ports.append(lab.client.ports.create({"name": name, "network_id": network["id"], "binding:host_id": node}))
        weft("lab", "instance", "add", name)
    address = str(ports[1]["fixed_ips"][0]["ip_address"])
    until(lambda: "bytes from" in lab.run("r-1", "ping", "-c", "1", "-W", "1", address, check=False), "r-2 answers")
    yield "r-1", address
    for port in ports:
        weft("lab", "instance", "delete", port["name"])
        lab.client.ports.delete(port["id"])
    lab.client.networks.delete(network["id"])


def oob_address(lab: Lab) -> str:
    rows: Any = lab.json(lab.state.server, "ip", "-j", "addr", "show", "dev", SERVER_OOB_INTERFACE)
    return str(next(each["local"] for each in rows[0]["addr_info"] if each["family"] == "inet"))


def test_a_change_that_cuts_management_is_undone_and_stops_the_roll_out(
    lab: Lab, inventory: dict[str, Any], pair: tuple[str, str]
) -> None:
    """The wrong line: the server's own address for a leaf's loopback."""
    leaf = next(each for each in inventory["switches"] if each["name"] == "leaf3")
    leaf["loopback"] = oob_address(lab)
    lab.client.put_inventory(inventory)
    until(lambda: "waits for `weft fabric apply`" in reason(lab, "leaf3"), "it waits")
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(weft, "fabric", "apply", "leaf3", "--override", check=False)
        assert applied.result().returncode != 0
    (newest, *_) = json.loads(weft("fabric", "rollouts", "--json").stdout)
    assert newest["state"] == "failed"
    (target,) = newest["switches"]
    assert target["state"] == "rolled-back"
    assert target["note"].startswith("rolled back: ")  # by the loss of contact, or by the time that a change may take
    until(lambda: states(lab)["leaf3"] == "quarantined", "leaf3 is back and quarantined", BACK_WITHIN_S)
    assert f"{leaf['loopback']}/32" not in lab.run("leaf3", "ip", "addr", "show", "dev", "lo")
    name, address = pair
    assert "bytes from" in lab.run(name, "ping", "-c", "1", "-W", "1", address)


def test_a_server_killed_in_the_middle_of_a_roll_out_loses_nothing(
    lab: Lab, inventory: dict[str, Any], pair: tuple[str, str]
) -> None:
    name, address = pair
    site = next(each for each in inventory["sites"] if each.get("fabric"))
    site["fabric"]["mtu_bytes"] = MTU
    lab.client.put_inventory(inventory)
    until(lambda: "waits for `weft fabric apply`" in reason(lab, "spine2"), "it waits")
    with ThreadPoolExecutor(1) as pool:
        pinging = pool.submit(lab.run, name, "ping", "-i", "0.02", "-c", str(PINGS), "-W", "1", address, check=False)
        weft("fabric", "apply", "--no-wait")
        weft("lab", "kill", "server")
        weft("lab", "start", "server")
        until(lambda: newest_state(lab) == "done", "the roll-out is done", BACK_WITHIN_S)
        lost = PINGS - int(re.search(r"(\d+) received", pinging.result())[1])  # type: ignore[index]
    assert set(states(lab).values()) == {"in-sync"}
    for switch in ("spine1", "spine2", "leaf1"):
        assert f"mtu {MTU}" in lab.run(switch, "ip", "link", "show", "dev", "eth1")
    assert lost <= 1, f"{lost} of {PINGS} pings lost"  # one may be on its way when ping ends


def newest_state(lab: Lab) -> str:
    return str(lab.client.fabric_rollouts()[0]["state"])
