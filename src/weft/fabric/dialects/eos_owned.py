"""What of an EOS configuration is weft's: how it is known again, and how its lines are taken apart."""

import re
from collections.abc import Iterator, Mapping

from weft.fabric.config import Vrf
from weft.fabric.dialects.frr_text import Tree

MANAGEMENT_VLAN = 4094
MANAGEMENT_NAME = "weft-management"
PORT_MARK = "weft"
"""The description of a port whose VLANs are weft's."""

BGP = re.compile(r"router bgp (\d+)")
_VLAN_NAME = re.compile(r"name vni-(\d+)")
_VXLAN_VLAN = re.compile(r"vxlan vlan (\d+) vni (\d+)")
_VXLAN_VRF = re.compile(r"vxlan vrf (\S+) vni (\d+)")


def owned(running: Tree) -> Tree:
    """Return the part of a running configuration that weft owns."""
    vrfs = {vrf.name for vrf in vxlan_vrfs(running)}
    bgp = next((block for line, block in running.items() if BGP.fullmatch(line)), {})
    vrfs |= {line.split()[1] for line in bgp if line.startswith("vrf ")}
    vlans = {vlan for vlan, _ in vxlan_vlans(running)} | {MANAGEMENT_VLAN}
    ours = {line: block for line, block in running.items() if _is_owned(line, block, vrfs, vlans)}
    loopback = running.get("interface Loopback0", {})
    addresses = {inner: below for inner, below in loopback.items() if inner.startswith("ip address ")}
    return {**ours, "interface Loopback0": addresses} if addresses else ours


def _is_owned(line: str, block: Tree, vrfs: set[str], vlans: set[int]) -> bool:
    vrf = re.fullmatch(r"(?:vrf instance|ip routing vrf|ipv6 unicast-routing vrf) (\S+)", line)
    svi = re.fullmatch(r"interface Vlan(\d+)", line)
    named = (f"name {MANAGEMENT_NAME}" in block) or any(_VLAN_NAME.fullmatch(each) for each in block)
    return (
        line == "interface Vxlan1"
        or line.startswith("ip virtual-router mac-address ")
        or BGP.fullmatch(line) is not None
        or (line.startswith("vlan ") and named)
        or (vrf is not None and vrf[1] in vrfs)
        or (svi is not None and int(svi[1]) in vlans)
        or is_uplink(line, block)
        or is_node_port(line, block)
    )


def vxlan_vlans(running: Tree) -> Iterator[tuple[int, int]]:
    """Yield the VLANs that VXLAN carries, each with its VNI."""
    for line in running.get("interface Vxlan1", {}):
        if found := _VXLAN_VLAN.fullmatch(line):
            yield int(found[1]), int(found[2])


def vxlan_vrfs(running: Tree) -> Iterator[Vrf]:
    """Yield the VRFs that VXLAN carries."""
    for line in running.get("interface Vxlan1", {}):
        if found := _VXLAN_VRF.fullmatch(line):
            yield Vrf(name=found[1], l3vni=int(found[2]))


def is_uplink(line: str, block: Tree) -> bool:
    """Tell whether an interface is a link of the fabric: routed, with a /31 (RFC 3021)."""
    address = value_of(block, "ip address") or ""
    return line.startswith("interface Ethernet") and "no switchport" in block and address.endswith("/31")


def is_node_port(line: str, block: Tree) -> bool:
    """Tell whether an interface is a node's, which weft knows by its own mark."""
    return line.startswith("interface ") and f"description {PORT_MARK}" in block


def value_of(block: Mapping[str, Tree], words: str) -> str | None:
    """Return what follows some words in a block; None if no line begins with them."""
    return next(
        (line[len(words) + 1 :] for line in block if line.startswith(f"{words} ") and "virtual" not in line), None
    )


def number_of(block: Mapping[str, Tree], words: str) -> int:
    """Return the number that follows some words in a block, 0 if none does."""
    value = value_of(block, words)
    return int(value) if value is not None and value.isdigit() else 0
