"""`weft lab hops`: paths as the live system shows them."""

import json

import pytest
from running_lab import Lab, weft

pytestmark = pytest.mark.e2e


def test_a_path_between_networks_of_a_host_has_18_hops_and_24_in_the_classic_design(lab: Lab) -> None:
    before = lab.run("node1", "ip", "-br", "link")
    ours, classic = json.loads(weft("lab", "hops", "--node", "node1", "--json").stdout)
    assert (ours["hops"], classic["hops"]) == (18, 24)
    assert (ours["routers"], classic["routers"]) == (1, 1), "the leaf's anycast gateway, and nothing else, routes"
    assert [hop["device"][:3] for hop in ours["devices"]].count("qbr") == 0
    assert [hop["device"][:3] for hop in classic["devices"]].count("qbr") == 2
    assert 0 < ours["ping_ms"]["p50_ms"] < 100
    assert lab.run("node1", "ip", "-br", "link") == before, "a comparison leaves no device behind"
    assert lab.client.routers.list(name="weft-hops") == []


def test_a_path_between_leaves_is_three_switches_long(lab: Lab) -> None:
    network = lab.client.networks.create({"name": "hops"})
    lab.client.subnets.create({"network_id": network["id"], "cidr": "10.9.0.0/24", "ip_version": 4})
    for name, node in (("hops-a", "node1"), ("hops-b", "node2")):
        lab.client.ports.create({"name": name, "network_id": network["id"], "binding:host_id": node})
        weft("lab", "instance", "add", name)
        weft("port", "bind", name, node, "--wait")
    [path] = json.loads(weft("lab", "hops", "hops-a", "hops-b", "--json").stdout)
    assert [name[:4] for name in path["switches"]] == ["leaf", "spin", "leaf"]
    assert path["routers"] == 0, "within a network nobody routes"
    assert any(hop["vni"] for hop in path["devices"])
    assert "is one instance" in weft("lab", "hops", "hops-a", "hops-a", check=False).stderr
    assert "no instance 'nobody'" in weft("lab", "hops", "hops-a", "nobody", check=False).stderr
    weft("lab", "instance", "delete", "hops-a", "hops-b")
    for name in ("hops-a", "hops-b"):
        weft("port", "delete", name)
    weft("network", "delete", "hops")
