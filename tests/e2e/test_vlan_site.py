"""The three-layer site of VLANs, end to end; and a network taken from there to spine-leaf while its pings go on."""

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from running_lab import ROOT, Lab, until, weft

pytestmark = pytest.mark.e2e

VLAN_DC = ROOT / "examples" / "vlan-dc.toml"
VLAN_TO_VXLAN = ROOT / "examples" / "vlan-to-vxlan.toml"
WEB, DB = "10.1.1.0/24", "10.1.2.0/24"
PINGS = 1000
MOST_LOST = 100
"""Of 1,000 pings at 20 ms, over two live migrations and two changes of who carries the network."""


def network(lab: Lab, name: str, cidr: str, router: str, **fields: object) -> str:
    found = lab.client.networks.create({"name": name, **fields})
    subnet = lab.client.subnets.create({"network_id": found["id"], "cidr": cidr, "ip_version": 4})
    lab.client.routers.add_interface(router, subnet_id=subnet["id"])
    return str(found["id"])


def spawn(lab: Lab, network_id: str, name: str, node: str) -> str:
    port = lab.client.ports.create({"name": name, "network_id": network_id, "binding:host_id": node})
    weft("lab", "instance", "add", name)
    until(lambda: lab.client.port_status(port["id"]).state == "ACTIVE", f"{name} is ACTIVE")
    return str(port["fixed_ips"][0]["ip_address"])


def ttl(lab: Lab, name: str, address: str) -> int | None:
    """Return the TTL of an answer to a ping; None without one."""
    said = lab.run(name, "ping", "-c", "1", "-W", "1", address, check=False)
    found = re.search(r"ttl=(\d+)", said)
    return int(found[1]) if found else None


def test_tenants_of_a_vlan_site_reach_their_own_over_the_core_and_nobody_else(running: Callable[[Path], Lab]) -> None:
    lab = running(VLAN_DC)
    for tenant in ("red", "blue"):
        router = str(lab.client.routers.create({"name": tenant})["id"])
        web, db = network(lab, f"{tenant}-web", WEB, router), network(lab, f"{tenant}-db", DB, router)
        spawn(lab, web, f"{tenant}-web-1", "node1")
        assert spawn(lab, web, f"{tenant}-web-2", "node2") == "10.1.1.3"
        assert spawn(lab, db, f"{tenant}-db-1", "node1") == "10.1.2.2"
        assert spawn(lab, db, f"{tenant}-db-2", "node2") == "10.1.2.3"
        if tenant == "red":
            assert spawn(lab, web, "bm1", "bm1") == "10.1.1.4"
    for tenant in ("red", "blue"):
        first = f"{tenant}-web-1"
        until(lambda first=first: ttl(lab, first, "10.1.1.3") == 64, f"{first} reaches its network, other rack")
        until(lambda first=first: ttl(lab, first, "10.1.2.2") == 63, f"{first} reaches the other network, same node")
        until(lambda first=first: ttl(lab, first, "10.1.2.3") == 63, f"{first} reaches the other network, other rack")
    until(lambda: ttl(lab, "red-web-1", "10.1.1.4") == 64, "red reaches its bare-metal server")
    assert ttl(lab, "blue-web-1", "10.1.1.4") is None, "which does not exist for blue"
    for core in ("core1", "core2", "agg1", "tor1"):
        assert "nothing to do" in lab.client.fabric_plan()["switches"][0]["text"], core


def test_a_network_goes_from_vlan_to_vxlan_while_its_instances_talk(running: Callable[[Path], Lab]) -> None:
    lab = running(VLAN_TO_VXLAN)
    router = str(lab.client.routers.create({"name": "red"})["id"])
    web = network(lab, "web", WEB, router, **{"provider:network_type": "vlan"})
    spawn(lab, web, "web-1", "node1")
    spawn(lab, web, "web-2", "node1")
    until(lambda: ttl(lab, "web-1", "10.1.1.3") is not None, "web-2 answers")
    until(lambda: ttl(lab, "web-1", "10.1.1.1") is not None, "the gateway on the core answers")
    with ThreadPoolExecutor(2) as pool:
        east = pool.submit(lost, lab, "10.1.1.3")
        north = pool.submit(lost, lab, "10.1.1.1")
        weft("network", "migrate", "web", "joined")
        refused = weft("network", "migrate", "web", "vxlan", check=False)
        assert refused.returncode != 0
        assert "it has ports on node1, which hang on the VLAN part; move them first" in refused.stderr
        weft("lab", "instance", "move", "web-2", "node2")
        weft("lab", "instance", "move", "web-1", "node3")
        weft("network", "migrate", "web", "vxlan")
        figures: list[Future[int]] = [east, north]
        assert [each.result() <= MOST_LOST for each in figures] == [True, True], [each.result() for each in figures]
    assert ttl(lab, "web-1", "10.1.1.3") == 64
    assert lab.client.networks.find(web)["provider:network_type"] == "vxlan"


def lost(lab: Lab, address: str) -> int:
    """Ping for 20 s from web-1; return how many pings were not answered."""
    said = lab.run("web-1", "ping", "-i", "0.02", "-c", str(PINGS), "-W", "1", address, check=False)
    found = re.search(r"(\d+) received", said)
    assert found is not None, said
    return PINGS - int(found[1])
