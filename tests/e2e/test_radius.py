"""What `weft fabric radius` computes is what happens: switches of each role are killed, in both topologies."""

import re
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest
from running_lab import ROOT, Lab, until, weft

from weft.fabric.radius import expected
from weft.fabric.topology import Topology
from weft.model.ids import SiteName
from weft.protocol.inventory import decode

pytestmark = pytest.mark.e2e

SETTLED_S = 60.0
"""RSTP may take 6 s for a root that is gone, and twice that until every port forwards."""
Pairs = dict[tuple[str, str], tuple[bool, bool]]


class Instances:
    """An instance of each of two networks on each node; one network on bare metal."""

    def __init__(self, lab: Lab, nodes: list[str], metal: set[str]) -> None:
        self._lab = lab
        router = str(lab.client.routers.create({"name": "r"})["id"])
        self.addresses: dict[tuple[str, int], str] = {}
        for number in (1, 2):
            network = lab.client.networks.create({"name": f"n{number}"})
            cidr = f"10.7.{number}.0/24"
            subnet = lab.client.subnets.create({"network_id": network["id"], "cidr": cidr, "ip_version": 4})
            lab.client.routers.add_interface(router, subnet_id=subnet["id"])
            for node in nodes:
                if number == 1 or node not in metal:
                    self.addresses[node, number] = self._spawn(network["id"], node, number)
        self.nodes = nodes

    def _spawn(self, network: str, node: str, number: int) -> str:
        name = f"{node}-{number}"
        port = self._lab.client.ports.create({"name": name, "network_id": network, "binding:host_id": node})
        weft("lab", "instance", "add", name)
        return str(port["fixed_ips"][0]["ip_address"])

    def seen(self) -> Pairs:
        """Return for each two nodes whether a ping passes within a network, and to the other one."""
        pairs = list(combinations(sorted(self.nodes), 2))
        asked = [(one, other, number) for one, other in pairs for number in (1, 2)]
        with ThreadPoolExecutor(8) as pool:
            answered = dict(zip(asked, pool.map(lambda ask: self._answers(*ask), asked), strict=True))
        return {(one, other): (answered[one, other, 1], answered[one, other, 2]) for one, other in pairs}

    def _answers(self, one: str, other: str, number: int) -> bool:
        """Ping the other's instance of a network from the first's; a server of one network is pinged from the other."""
        if (other, number) not in self.addresses:
            one, other, number = other, one, 2 if (one, 2) in self.addresses else 1
        address = self.addresses[other, number]
        said = self._lab.run(f"{one}-1", "ping", "-c", "1", "-W", "1", address, check=False)
        return re.search(r"bytes from", said) is not None


@pytest.mark.parametrize(
    ("file", "site", "killed"),
    [
        ("small-dc.toml", "private", ["spine1", "leaf2", "leaf1:eth1 - spine1:eth1"]),
        ("vlan-dc.toml", "classic", ["core1", "core2", "agg1", "tor1", "agg1:eth1 - core1:eth11"]),
    ],
)
def test_what_is_computed_is_what_happens(
    running: Callable[[Path], Lab], file: str, site: str, killed: list[str]
) -> None:
    lab = running(ROOT / "examples" / file)
    wire = tomllib.loads((ROOT / "examples" / file).read_text())
    del wire["lab"]
    topology = Topology(decode(wire))
    metal = {str(name) for name, node in topology.nodes.items() if node.dataplane.value == "none"}
    nodes = [str(name) for name in topology.nodes if name != lab.state.server]
    instances = Instances(lab, nodes, metal)
    whole = dict.fromkeys(combinations(sorted(nodes), 2), (True, True))
    until(lambda: instances.seen() == whole, "every pair is reached", SETTLED_S)
    for name in killed:
        computed = {
            pair: passes for pair, passes in expected(topology, SiteName(site), name).items() if set(pair) <= set(nodes)
        }
        take_down(lab, name)
        until(lambda computed=computed: instances.seen() == computed, f"without {name}: {computed}", SETTLED_S)
        bring_back(lab, name)
        until(lambda: instances.seen() == whole, f"{name} is back, and every pair is reached", SETTLED_S)


def take_down(lab: Lab, name: str) -> None:
    """Switch a switch off; or pull a cable, while there is no server, which would set its ends up again."""
    if " - " not in name:
        weft("lab", "kill", name)
        return
    weft("lab", "kill", "server")
    plug(lab, name, "down")


def bring_back(lab: Lab, name: str) -> None:
    """Switch a switch on, or plug a cable in."""
    if " - " not in name:
        weft("lab", "start", name)
        return
    plug(lab, name, "up")
    weft("lab", "start", "server")


def plug(lab: Lab, cable: str, way: str) -> None:
    for end in cable.split(" - "):
        device, _, interface = end.partition(":")
        lab.run(device, "ip", "link", "set", interface, way)


def test_any_server_is_three_switches_away_from_any_other(lab: Lab) -> None:
    """Leaf, spine, leaf: from the time to live of the answers in the underlay, between nodes on different leaves."""
    nodes = {"node1": "172.31.0.", "node2": "172.31.1.", "node3": "172.31.2."}
    for one in nodes:
        for other, prefix in nodes.items():
            if one != other:
                address = next(
                    word.partition("/")[0]
                    for word in lab.run(other, "ip", "-br", "addr", "show", "dev", "br-bond").split()
                    if word.startswith(prefix)
                )
                said: list[str] = []

                def answered(one: str = one, address: str = address, said: list[str] = said) -> bool:
                    said.append(lab.run(one, "ping", "-c", "1", "-W", "1", address, check=False))
                    return "bytes from" in said[-1]

                until(answered, f"{other} answers {one}")  # sessions are up a moment before every route is in place
                assert "ttl=61 " in said[-1], f"{one} to {other}: {said[-1]}"
