"""Reading what nodes and switches print about themselves, into things of a kind. Pure; see weft.lab.demo.remains."""

import json
import re
from collections.abc import Iterator
from typing import Any

INSTANCE_NAMESPACES = "instance namespaces"
DEVICES = "devices in br-int"
FLOWS = "flows"
INTERFACES = "interfaces of switches"
VLANS = "VLANs"
VNIS = "VNIs"
VRFS = "VRFs"
ADDRESSES = "addresses"
ROUTES = "EVPN routes"

KINDS = (INSTANCE_NAMESPACES, DEVICES, FLOWS, INTERFACES, VLANS, VNIS, VRFS, ADDRESSES, ROUTES)

Found = tuple[str, str]
"""A kind, and the thing with the device that it was found on."""

_ROUTE = re.compile(r"\[[235]\]:\[\S+")
"""EVPN routes as FRR writes them: a MAC with its address, a flooding list, a prefix (RFC 7432, RFC 9136)."""
_VRF = re.compile(r"^vrf (\S+)\n vni \d+|^router bgp \d+ vrf (\S+)", re.MULTILINE)
"""A VRF with its L3VNI, or its routing. Where VRFs are namespaces the empty namespace stays on purpose, and FRR
shows it as an empty VRF: FRR 10.3 does not survive that one is deleted under it."""
_CABLE_VLAN = re.compile(r"^(\S+)\.(\d+)$")
"""The interface that stands for a VLAN on a cable, where the kernel's bridges know no VLANs."""
_FLOW_VLAN = re.compile(r"dl_vlan=(\d+)")
_COOKIE = re.compile(r"cookie=0x[0-9a-f]+, ")


def flows(where: str, text: str) -> set[Found]:
    """Read ``ovs-ofctl --no-stats dump-flows``: the flows, and the VLANs that they tell apart."""
    lines = [_COOKIE.sub("", line.strip()) for line in text.splitlines() if "actions=" in line]
    vlans = {vlan for line in lines for vlan in _FLOW_VLAN.findall(line)}
    return {(FLOWS, f"{where}: {line}") for line in lines} | {(VLANS, f"{where}: {vlan}") for vlan in vlans}


def devices(where: str, text: str) -> set[Found]:
    """Read ``ovs-vsctl list-ports``."""
    return {(DEVICES, f"{where}: {name}") for name in text.split()}


def interfaces(where: str, text: str) -> set[Found]:
    """Read ``ip -j -d addr``, of one namespace a line: interfaces, their addresses, and the VNIs of VXLAN devices."""
    found: set[Found] = set()
    for interface in _json_lines(text):
        name = interface["ifname"]
        found.add((INTERFACES, f"{where}: {name}"))
        if on_cable := _CABLE_VLAN.match(name):
            found.add((VLANS, f"{where}: {on_cable[2]} on {on_cable[1]}"))
        info = interface.get("linkinfo", {})
        if info.get("info_kind") == "vxlan" and "id" in info.get("info_data", {}):
            found.add((VNIS, f"{where}: {info['info_data']['id']}"))
        for address in interface.get("addr_info", []):
            if address["scope"] == "global":
                found.add((ADDRESSES, f"{where}: {address['local']}/{address['prefixlen']} on {name}"))
    return found


def vrfs(where: str, text: str) -> set[Found]:
    """Read FRR's ``show running-config``."""
    return {(VRFS, f"{where}: {either or other}") for either, other in _VRF.findall(text)}


def bridge_vlans(where: str, text: str) -> set[Found]:
    """Read ``bridge -j vlan``; VLAN 1 is what the kernel gives every port."""
    found = set()
    for port in _json_lines(text):
        for vlan in port.get("vlans", []):
            numbers = range(vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]) + 1)
            found |= {(VLANS, f"{where}: {number} on {port['ifname']}") for number in numbers if number != 1}
    return found


def evpn_routes(where: str, text: str) -> set[Found]:
    """Read FRR's ``show bgp l2vpn evpn route``."""
    return {(ROUTES, f"{where}: {route}") for route in _ROUTE.findall(text)}


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.strip():
            yield from json.loads(line)
