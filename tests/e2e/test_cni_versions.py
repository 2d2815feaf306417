"""Every version of the CNI specification, called on a real node: what is printed has the form that the version has."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pod_nodes import host_ends
from running_lab import Lab, until, weft
from tests.runtimes.libcni import LibCni, PluginError
from tests.runtimes.mesos import MesosAgent

from weft.lab.programs import cni_socket

pytestmark = pytest.mark.e2e

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
GATEWAYS = {"4": "10.89.0.1", "6": "fd00:89::1"}
DEFAULTS = {"4": "0.0.0.0/0", "6": "::/0"}
TEXT = {"type": "string"}


def thing(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of an object with these keys and no others."""
    known = {"properties": required | optional, "additionalProperties": False}
    return {"type": "object", "required": sorted(required), **known}


def schema_of(version: str) -> dict[str, Any]:
    """Return what the specification says of a success, section "Result" (0.3.x, 0.4.0) or "ADD Success" (1.x)."""
    interface: dict[str, Any] = thing({"name": TEXT, "mac": TEXT}, sandbox=TEXT)
    address = {"address": TEXT, "interface": {"type": "integer"}, "gateway": TEXT}
    if version in {"0.3.0", "0.3.1", "0.4.0"}:
        address["version"] = {"enum": ["4", "6"]}
    if version == "1.1.0":
        interface = thing(
            {"name": TEXT, "mac": TEXT}, sandbox=TEXT, mtu={"type": "integer"}, socketPath=TEXT, pciID=TEXT
        )
    lists = {
        "interfaces": {"type": "array", "items": interface},
        "ips": {"type": "array", "items": thing(address)},
        "routes": {"type": "array", "items": thing({"dst": TEXT}, gw=TEXT)},
    }
    dns = thing({}, nameservers={"type": "array"}, domain=TEXT, search={"type": "array"}, options={"type": "array"})
    return thing({"cniVersion": {"const": version}, **lists}, dns=dns)


@pytest.fixture
def netns() -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", "weft-versions"], check=True)
    yield "/run/netns/weft-versions"
    subprocess.run(["ip", "netns", "del", "weft-versions"], check=True)


@pytest.fixture
def bin_dir(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """The plugin, installed, and a network with addresses of both families."""
    network = lab.client.networks.create({"name": "versions"})
    lab.client.subnets.create({"network_id": network["id"], "cidr": "10.89.0.0/24", "ip_version": 4})
    lab.client.subnets.create({"network_id": network["id"], "cidr": "fd00:89::/64", "ip_version": 6})
    weft("cni", "install", "--bin-dir", str(tmp_path), "--conf-dir", str(tmp_path), "--network", "versions")
    yield tmp_path
    lab.delete_network(network["id"])


def runtime(bin_dir: Path, version: str) -> LibCni:
    plugin = {"type": "weft-cni", "network": "versions", "cluster": "c1", "socket": str(cni_socket("node1"))}
    return LibCni("node1", [bin_dir], {"cniVersion": version, "name": "versions", "plugins": [plugin]})


def links(lab: Lab) -> set[str]:
    return host_ends(lab, "node1")


def inside(netns: str, *command: str) -> str:
    words = ["nsenter", f"--net={netns}", *command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_every_version_is_said_to_be_known(bin_dir: Path) -> None:
    said = runtime(bin_dir, "1.1.0").call("VERSION", {"type": "weft-cni"}, {"cniVersion": "1.1.0"})
    assert said is not None
    assert set(said["supportedVersions"]) == {"0.2.0", *VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_has_the_form_of_its_version_and_says_what_is(
    lab: Lab, bin_dir: Path, netns: str, version: str
) -> None:
    called = runtime(bin_dir, version)
    before = links(lab)
    pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=v-0;K8S_POD_INFRA_CONTAINER_ID=v1"
    result = called.add("v1", netns, args=pod)
    jsonschema.validate(result, schema_of(version))
    own = result["ips"][0]["interface"]
    assert result["interfaces"][own] | {"mtu": 1500} == {
        "name": "eth0",
        "mac": lab.client.ports.find("c1/default/v-0")["mac_address"],
        "sandbox": netns,
        "mtu": 1500,
    }
    assert all(each["interface"] == own for each in result["ips"])
    assert {each["gateway"] for each in result["ips"]} == set(GATEWAYS.values())
    assert {each["dst"]: each["gw"] for each in result["routes"]} == {
        DEFAULTS[each]: GATEWAYS[each] for each in DEFAULTS
    }

    # What it says is so: in the container, in the plan, and on the host.
    [link] = json.loads(inside(netns, "ip", "-j", "address", "show", "eth0"))
    wired = {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] == "global"}
    assert {each["address"] for each in result["ips"]} == wired
    planned = {each["ip_address"] for each in lab.client.ports.find("c1/default/v-0")["fixed_ips"]}
    assert {each["address"].partition("/")[0] for each in result["ips"]} == planned
    assert {each["name"] for each in result["interfaces"] if not each.get("sandbox")} <= links(lab) - before

    if called.version >= (0, 4, 0):
        called.check("v1", netns, args=pod)
        inside(netns, "ip", "address", "flush", "dev", "eth0")
        with pytest.raises(PluginError) as raised:
            called.check("v1", netns, args=pod)
        assert raised.value.code == 101
    if called.version >= (1, 1, 0):
        called.status()
        called.collect(("v1", "eth0"))
        assert links(lab) != before, "what is valid stays"
        called.collect()
        until(lambda: links(lab) == before, "what is not valid any more goes")
    for known in (netns, netns, ""):
        called.delete("v1", known, args=pod)
    until(lambda: links(lab) == before, "no device is left")


@pytest.mark.parametrize("version", ["0.2.0", *VERSIONS])
def test_an_error_has_the_form_of_its_version(bin_dir: Path, netns: str, version: str) -> None:
    called = runtime(bin_dir, version)
    [plugin] = called.conflist["plugins"]
    for wrong, code in (({"network": "nowhere"}, 100), ({"socket": "/nowhere"}, 11), ({"networkLabels": 7}, 7)):
        conf = {**plugin, **wrong, "name": "versions", "cniVersion": version}
        with pytest.raises(PluginError) as raised:
            called.call("ADD", plugin, conf, "e1", netns, "", "eth0")
        assert raised.value.code == code


def test_a_task_of_mesos_reads_the_oldest_result_and_keeps_its_address_by_a_label(
    lab: Lab, bin_dir: Path, netns: str
) -> None:
    network = {"type": "weft-cni", "name": "mesos-net", "network": "versions", "socket": str(cni_socket("node1"))}
    agent = MesosAgent("node1", bin_dir, network)
    before = links(lab)
    task = {"weft.dev/port-name": "batch/indexer", "team": "search"}
    info = agent.attach("6f1d2c1e-0f4a-4c6b-9d0e-3a7b8c9d0e1f", netns, task)
    port = lab.client.ports.find("batch/indexer")
    known = {each["ip_address"] for each in port["fixed_ips"]}
    assert {info[family]["ip"].partition("/")[0] for family in ("ip4", "ip6")} == known
    for family, number in (("ip4", "4"), ("ip6", "6")):
        assert info[family]["gateway"] == GATEWAYS[number]
        assert info[family]["routes"] == [{"dst": DEFAULTS[number], "gw": GATEWAYS[number]}]
    for _ in range(2):
        agent.detach("6f1d2c1e-0f4a-4c6b-9d0e-3a7b8c9d0e1f", netns, task)
    until(lambda: links(lab) == before, "no device is left")
    again = agent.attach("0b9a8c7d-0000-4c6b-9d0e-3a7b8c9d0e1f", netns, task)
    assert again == info, "another container of the same name has the same address"
    agent.detach("0b9a8c7d-0000-4c6b-9d0e-3a7b8c9d0e1f", netns, task)
    other = agent.attach("1c2d3e4f-0000-4c6b-9d0e-3a7b8c9d0e1f", netns, {"team": "search"})
    assert other["ip4"]["ip"] != info["ip4"]["ip"], "a task without a name of its own has an address of its own"
    agent.detach("1c2d3e4f-0000-4c6b-9d0e-3a7b8c9d0e1f", netns, {"team": "search"})
