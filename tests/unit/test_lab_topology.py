"""From an inventory to namespaces and cables."""

import copy
import ipaddress
import tomllib
from pathlib import Path
from typing import Any

import pytest

from weft.lab.topology import OOB_NAMESPACE, Plug, wiring
from weft.model.errors import Invalid
from weft.protocol.inventory import decode

EXAMPLE = Path(__file__).parents[2] / "examples" / "small-dc.toml"


@pytest.fixture
def wire() -> dict[str, Any]:
    document = tomllib.loads(EXAMPLE.read_text())
    document.pop("lab")
    return document


def test_every_device_is_a_namespace_and_every_link_a_cable(wire: dict[str, Any]) -> None:
    made = wiring(decode(wire), "ctl1")
    devices = [row["name"] for table in ("switches", "nodes") for row in wire[table]]
    assert set(made.namespaces) == {OOB_NAMESPACE, *(f"weft-{device}" for device in devices)}
    ends = {(cable.a.namespace, cable.a.interface) for cable in made.cables} | {
        (cable.b.namespace, cable.b.interface) for cable in made.cables
    }
    for link in wire["links"]:
        for end in (link["a"], link["b"]):
            device, _, interface = end.partition(":")
            assert (f"weft-{device}", interface) in ends
    assert len(made.cables) == len(wire["links"]) + len(wire["switches"]) + 1
    assert made.plugs("weft-node1") == ("nic0", "nic1")


def test_switch_ports_carry_jumbo_frames_and_hosts_do_not(wire: dict[str, Any]) -> None:
    cable = next(each for each in wiring(decode(wire), "ctl1").cables if each.b.namespace == "weft-node1")
    assert cable.a == Plug("weft-leaf1", "eth11", 9216)
    assert cable.b == Plug("weft-node1", "nic0", 1500)


def test_the_out_of_band_network_reaches_every_switch_and_the_server(wire: dict[str, Any]) -> None:
    made = wiring(decode(wire), "ctl1")
    addresses = {each.namespace: each for each in made.oob_addresses}
    assert made.management["leaf3"] == "192.168.0.23"
    assert addresses["weft-leaf3"].address == ipaddress.IPv4Interface("192.168.0.23/24")
    assert addresses["weft-ctl1"].interface == "oob0"
    assert addresses["weft-ctl1"].address == ipaddress.IPv4Interface("192.168.0.1/24")
    assert set(made.oob_ports) == {each.namespace.removeprefix("weft-") for each in made.oob_addresses}


def test_the_server_gets_an_address_that_no_switch_has(wire: dict[str, Any]) -> None:
    wire["switches"][0]["management"] = "192.168.0.1"
    addresses = [each.address.ip for each in wiring(decode(wire), "ctl1").oob_addresses]
    assert len(set(addresses)) == len(addresses)
    assert ipaddress.IPv4Address("192.168.0.2") in addresses


def _without_management(wire: dict[str, Any]) -> None:
    del wire["switches"][0]["management"]


def _management_by_name(wire: dict[str, Any]) -> None:
    wire["switches"][0]["management"] = "spine1.example.net"


def _management_elsewhere(wire: dict[str, Any]) -> None:
    wire["switches"][0]["management"] = "192.168.7.11"


def _management_twice(wire: dict[str, Any]) -> None:
    wire["switches"][0]["management"] = wire["switches"][1]["management"]


def _cloud_node(wire: dict[str, Any]) -> None:
    wire["nodes"][0]["dataplane"] = "cloud"


def _long_interface(wire: dict[str, Any]) -> None:
    wire["links"][0]["a"] = "leaf1:TenGigabitEthernet1"


def _reserved_interface(wire: dict[str, Any]) -> None:
    wire["links"][0]["a"] = "leaf1:mgmt0"


def _reserved_name(wire: dict[str, Any]) -> None:
    wire["nodes"].append({"name": "oob", "site": "private"})


def _unknown_device(wire: dict[str, Any]) -> None:
    wire["links"][0]["a"] = "leaf9:eth1"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without_management, "spine1: management is nothing"),
        (_management_by_name, "management is spine1.example.net"),
        (_management_elsewhere, "192.168.7.0/24 (spine1)"),
        (_management_twice, "192.168.0.12 is that of spine1"),
        (_cloud_node, "node1: a lab has no dataplane 'cloud'"),
        (_long_interface, "leaf1:TenGigabitEthernet1"),
        (_reserved_interface, "'mgmt0' is the lab's"),
        (_reserved_name, "device 'oob'"),
        (_unknown_device, "no device 'leaf9'"),
    ],
)
def test_what_no_lab_can_build_is_named(wire: dict[str, Any], damage: Any, said: str) -> None:
    damage(wire)
    with pytest.raises(Invalid) as refused:
        wiring(decode(wire), "ctl1")
    assert said in refused.value.message


def test_all_problems_are_named_at_once(wire: dict[str, Any]) -> None:
    damaged = copy.deepcopy(wire)
    _without_management(damaged)
    _cloud_node(damaged)
    with pytest.raises(Invalid) as refused:
        wiring(decode(damaged), "ctl7")
    for said in ("management is nothing", "no dataplane 'cloud'", 'server = "ctl7"'):
        assert said in refused.value.message
