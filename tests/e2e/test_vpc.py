"""VPC peering, and the way outside: two tenants, two border leaves, and a router that weft does not configure."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from running_lab import ROOT, Lab, until, weft

from weft.lab import reach
from weft.lab.outside import ADDRESS

pytestmark = pytest.mark.e2e

PINGS = 500
INTERVAL_S = 0.02
MAX_LOST = 250
"""Of PINGS, while one of two ways out is lost: the session's hold time is 3 s, if it was the way that they took."""


@pytest.fixture
def site(running: Callable[[Path], Lab]) -> Lab:
    """Tenants red, blue and green, each with a network and an instance: red and green on node1, blue on node2."""
    lab = running(ROOT / "examples" / "vpc-dc.toml")
    for name, third, node in (("red", 1, "node1"), ("blue", 2, "node2"), ("green", 3, "node1")):
        weft("router", "create", name)
        weft("network", "create", name)
        weft("subnet", "create", name, f"10.7.{third}.0/24")
        weft("router", "add", name, name)
        weft("port", "create", name, "--name", f"{name}-1", "--node", node)
        weft("lab", "instance", "add", f"{name}-1")
    return lab


def answers(lab: Lab, one: str, address: str) -> bool:
    return "bytes from" in lab.run(one, "ping", "-c", "1", "-W", "1", address, check=False)


def address_of(lab: Lab, name: str) -> str:
    return lab.state.instances[name].addresses[0].partition("/")[0]


def test_peered_vpcs_reach_each_other_and_nobody_beyond(site: Lab) -> None:
    red, blue, green = (address_of(site, f"{name}-1") for name in ("red", "blue", "green"))
    until(lambda: answers(site, "blue-1", "10.7.2.1"), "blue's gateway answers")
    assert not answers(site, "red-1", blue)
    weft("router", "peer", "red", "blue")
    until(lambda: answers(site, "red-1", blue), "red reaches blue")
    weft("router", "peer", "blue", "green")
    until(lambda: answers(site, "green-1", blue), "green reaches blue")
    assert not answers(site, "red-1", green), "a peering goes no further than the peer"
    assert not answers(site, "green-1", red)
    refused = weft("router", "peer", "red", "blue", check=False)
    assert "peered already" in refused.stderr
    weft("router", "unpeer", "red", "blue")
    until(lambda: not answers(site, "red-1", blue), "red does not reach blue any more")
    assert answers(site, "green-1", blue)

    # Known outside: by their own addresses, over both border leaves.
    weft("network", "create", "internet", "--external")
    weft("subnet", "create", "internet", "198.51.100.0/24")
    assert not answers(site, "red-1", ADDRESS)
    weft("router", "gateway", "red", "internet")
    until(lambda: answers(site, "red-1", ADDRESS), "red reaches the outside")
    until(lambda: len(ways_to(site, "10.7.1.0/24")) == 2, "the outside has a way to red over both borders")
    until(lambda: answers(site, "internet", red), "the outside reaches red, by its own address")
    assert not answers(site, "green-1", ADDRESS), "who has no gateway stays inside"
    states = json.loads(weft("fabric", "status", "--json").stdout)
    assert {each["state"] for each in states["switches"]} == {"in-sync"}

    pinging = subprocess.Popen(
        reach.argv_in(site.state, "red-1", ("ping", "-c", str(PINGS), "-i", str(INTERVAL_S), "-W", "1", ADDRESS)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert pinging.stdout is not None
    answered = next((line for line in pinging.stdout if " bytes from " in line), None)
    assert answered is not None, "an answer comes before the way out is lost"
    site.run("internet", "ip", "link", "set", "eth1", "down")
    said, _ = pinging.communicate()
    received = int(re.search(r"(\d+) received", said)[1])  # type: ignore[index]
    assert received >= PINGS - MAX_LOST, f"{PINGS - received} of {PINGS} pings lost when a way out was lost"
    until(lambda: len(ways_to(site, "10.7.1.0/24")) == 1, "one way is left")
    assert all(answers(site, "red-1", ADDRESS) for _ in range(5))

    weft("router", "gateway", "red")
    until(lambda: ways_to(site, "10.7.1.0/24") == [], "the outside knows nothing of red any more")
    assert not answers(site, "red-1", ADDRESS)


def ways_to(lab: Lab, prefix: str) -> list[str]:
    """Return the next hops of a prefix on the router outside."""
    routes = json.loads(lab.run("internet", "vtysh", "-c", f"show ip route {prefix} json") or "{}")
    entries = routes.get(prefix, [])
    return [str(hop["ip"]) for entry in entries for hop in entry["nexthops"] if hop.get("active")]
