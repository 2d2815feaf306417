"""Reading what nodes and switches print about themselves, into things of a kind. Pure; see weft.lab.demo.remains."""

import json
import re
from collections.abc import Iterator
from typing import Any

INSTANCE_NAMESPACES = "instance namespaces"
DEVICES = "devices in br-int"
FLOWS = "flows"
INTERFACES = "interfaces of switches"
VNIS = "VNIs"
VRFS = "VRFs"
ADDRESSES = "addresses"
ROUTES = "EVPN routes"

KINDS = (INSTANCE_NAMESPACES, DEVICES, FLOWS, INTERFACES, VNIS, VRFS, ADDRESSES, ROUTES)

Found = tuple[str, str]
"""A kind, and the thing with the device that it was found on."""

_ROUTE = re.compile(r"\[[235]\]:\[\S+")
"""EVPN routes as FRR writes them: a MAC with its address, a flooding list, a prefix (RFC 7432, RFC 9136)."""
_VRF = re.compile(r"^(?:vrf|router bgp \d+ vrf) (\S+)", re.MULTILINE)
_COOKIE = re.compile(r"cookie=0x[0-9a-f]+, ")


def flows(where: str, text: str) -> set[Found]:
    """Read ``ovs-ofctl --no-stats dump-flows``."""
    lines = (_COOKIE.sub("", line.strip()) for line in text.splitlines())
    return {(FLOWS, f"{where}: {line}") for line in lines if "actions=" in line}


def devices(where: str, text: str) -> set[Found]:
    """Read ``ovs-vsctl list-ports``."""
    return {(DEVICES, f"{where}: {name}") for name in text.split()}


def interfaces(where: str, text: str) -> set[Found]:
    """Read ``ip -j -d addr``, of one namespace a line: interfaces, their addresses, and the VNIs of VXLAN devices."""
    found: set[Found] = set()
    for interface in _json_lines(text):
        name = interface["ifname"]
        found.add((INTERFACES, f"{where}: {name}"))
        info = interface.get("linkinfo", {})
        if info.get("info_kind") == "vxlan" and "id" in info.get("info_data", {}):
            found.add((VNIS, f"{where}: {info['info_data']['id']}"))
        for address in interface.get("addr_info", []):
            if address["scope"] == "global":
                found.add((ADDRESSES, f"{where}: {address['local']}/{address['prefixlen']} on {name}"))
    return found


def vrfs(where: str, text: str) -> set[Found]:
    """Read FRR's ``show running-config``."""
    return {(VRFS, f"{where}: {name}") for name in _VRF.findall(text)}


def evpn_routes(where: str, text: str) -> set[Found]:
    """Read FRR's ``show bgp l2vpn evpn route``."""
    return {(ROUTES, f"{where}: {route}") for route in _ROUTE.findall(text)}


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.strip():
            yield from json.loads(line)
