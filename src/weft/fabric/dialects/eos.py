"""Arista EOS: a SwitchConfig as running configuration, and the lines that lead from one to the other.

The whole of a switch is text here: routing, VLANs, VXLAN, gateways and the ports of nodes. A segment is a VLAN of the
switch, which is the tag that it has on the nodes' cables, or an inner one from the top downward; EVPN takes it as a
VLAN-based service (RFC 7432, section 6.1), and an L3VNI without a VLAN of its own (RFC 9136, section 4.4.2).

weft owns what it writes, and knows it again: ``router bgp``, VLANs named ``vni-N``, VRFs that VXLAN has a VNI for, /31
addresses, Loopback0, Vxlan1, and ports with the description ``weft``. A line in them that should not be there is
drift, like one that is missing. Everything else (users, AAA, the management VRF, other ports) is somebody else's.
Nothing here has been proven on hardware; see docs/switches.md.
"""

import re
from collections.abc import Iterable, Mapping

from weft.fabric.config import (
    Segment,
    SwitchConfig,
    Underlay,
)
from weft.fabric.dialects.eos_owned import (
    MANAGEMENT_NAME,
    MANAGEMENT_VLAN,
    PORT_MARK,
    is_node_port,
    is_uplink,
    owned,
    value_of,
)
from weft.fabric.dialects.frr_text import Tree, put
from weft.model.errors import Permanent

PEER_GROUP = "fabric"
KEEPALIVE_S = 3
HOLD_S = 9
MAX_PATHS = 64
MAX_MTU_BYTES = 9214
"""The largest that an EOS interface takes."""
HIGHEST_INNER_VLAN = 4093
MULTI_AGENT = "service routing protocols model multi-agent"
"""What EVPN needs, and what a switch must be restarted for: its installer's business."""
INDENT = 3

_IPV4 = "address-family ipv4"
_EVPN = "address-family evpn"
_VALUED = (  # a second value replaces the first; of all other lines there may be several
    "mtu",
    "description",
    "name",
    "router-id",
    "rd",
    "timers bgp",
    "maximum-paths",
    "ip virtual-router mac-address",
    "switchport mode",
    "switchport trunk allowed vlan",
    "switchport trunk native vlan",
    "vxlan source-interface",
    "vxlan udp-port",
)


def text(tree: Tree, depth: int = 0) -> str:
    """Print a tree as ``show running-config`` does: three blanks for each level, blocks set apart."""
    lines: list[str] = []
    for line, block in tree.items():
        lines.append(" " * INDENT * depth + line + "\n")
        if block:
            lines.append(text(block, depth + 1))
        if depth == 0:
            lines.append("!\n")
    return "".join(lines)


def segment_vlans(config: SwitchConfig, present: Mapping[int, int]) -> dict[int, int]:
    """Return the VLAN that stands for each L2VNI on the switch; one without a tag keeps its inner VLAN.

    Raise Permanent if the tags contradict each other: on a switch a VLAN is one segment, and a segment one VLAN.
    """
    vlans: dict[int, int] = {}
    for attachment in config.attachments:
        if attachment.vlan and vlans.setdefault(attachment.vni, attachment.vlan) != attachment.vlan:
            raise Permanent(
                f"VNI {attachment.vni} has VLANs {vlans[attachment.vni]} and {attachment.vlan} on one switch"
            )
    if len(set(vlans.values())) < len(vlans) or MANAGEMENT_VLAN in vlans.values():
        raise Permanent(
            f"a VLAN stands for several VNIs on one switch, or is {MANAGEMENT_VLAN}: {sorted(vlans.items())}"
        )
    untagged = [segment.vni for segment in config.segments if segment.vni not in vlans]
    for vni in untagged:
        kept = present.get(vni)
        if kept is not None and kept not in vlans.values():
            vlans[vni] = kept
    free = (vlan for vlan in range(HIGHEST_INNER_VLAN, 0, -1) if vlan not in vlans.values())
    for vni in untagged:
        if vni not in vlans:
            vlans[vni] = next(free)
    return vlans


def render(config: SwitchConfig, vlans: Mapping[int, int]) -> Tree:
    """Return the part of a running configuration that weft owns; `vlans` are those of its segments.

    Raise Permanent for what weft does not know to write for EOS yet.
    """
    underlay = config.underlay
    if underlay is None:
        raise Permanent(f"switch {config.name}: a configuration without routing cannot be written")
    if any(vrf.leaks or vrf.peers for vrf in config.vrfs):
        raise Permanent(f"switch {config.name}: weft does not write peered VPCs and exits for EOS yet")
    tree: Tree = {"ip routing": {}, "ipv6 unicast-routing": {}}
    if any(segment.gateways for segment in config.segments):
        put(tree, (f"ip virtual-router mac-address {config.gateway_mac}",))
    for segment in config.segments:
        put(tree, (f"vlan {vlans[segment.vni]}", f"name vni-{segment.vni}"))
    if underlay.management is not None:
        put(tree, (f"vlan {MANAGEMENT_VLAN}", f"name {MANAGEMENT_NAME}"))
    for vrf in config.vrfs:
        tree[f"vrf instance {vrf.name}"] = {}
        tree[f"ip routing vrf {vrf.name}"] = {}
        tree[f"ipv6 unicast-routing vrf {vrf.name}"] = {}
    for link in underlay.links:
        tree[f"interface {link.interface}"] = _lines(
            [f"description {link.peer}", "no switchport", f"mtu {underlay.mtu_bytes}", f"ip address {link.address}"]
        )
    tree |= _ports(config, vlans)
    put(tree, ("interface Loopback0", f"ip address {underlay.loopback}/32"))
    if underlay.management is not None:
        put(tree, (f"interface Vlan{MANAGEMENT_VLAN}", f"ip address {underlay.management.gateway}"))
    for segment in config.segments:
        if segment.gateways:
            tree[f"interface Vlan{vlans[segment.vni]}"] = _lines(_gateway(segment))
    tree |= _vxlan(config, vlans)
    tree[f"router bgp {underlay.asn}"] = _bgp(config, underlay, vlans)
    return tree


def patch(running: Tree, desired: Tree) -> list[str]:
    """Return the lines, for a configuration session, that lead from a running configuration to the desired blocks."""
    ours = owned(running)
    gone = [line for line in ours if line not in desired]
    typed = [line for line in (_removal(line, ours[line]) for line in gone if _goes_first(line)) if line]
    for line, block in desired.items():
        present = ours.get(line, running.get(line, {}) if line.startswith("interface ") else {})
        if line.startswith("interface Vlan") and _moved(present, block):
            typed.append(f"no {line}")  # an interface that goes to another VRF loses its addresses
            present = {}
        changes = _block_changes(present, block)
        if line not in running or changes:
            typed += [line, *changes, *(["exit"] if block else [])]
    typed += [line for line in (_removal(line, ours[line]) for line in reversed(gone) if not _goes_first(line)) if line]
    return typed


# --- what is written -------------------------------------------------------------------------------------------------


def _lines(lines: Iterable[str]) -> Tree:
    return {line: {} for line in lines}


def _gateway(segment: Segment) -> list[str]:
    lines = [f"vrf {segment.vrf}"] if segment.vrf is not None else []
    lines.append(f"mtu {segment.mtu_bytes}")
    seen = {4: 0, 6: 0}
    for gateway in segment.gateways:
        family = "ip" if gateway.version == 4 else "ipv6"
        secondary = " secondary" if gateway.version == 4 and seen[4] else ""
        seen[gateway.version] += 1
        lines.append(f"{family} address virtual {gateway}{secondary}")
    return lines


def _ports(config: SwitchConfig, vlans: Mapping[int, int]) -> Tree:
    """The ports of nodes: a trunk with the segments' VLANs; untagged frames are management's, or one segment's."""
    assert config.underlay is not None
    native: dict[str, int] = {}
    tagged: dict[str, set[int]] = {}
    for interface in config.underlay.management.interfaces if config.underlay.management else ():
        native[interface] = MANAGEMENT_VLAN
    for each in config.attachments:
        vlan = vlans[each.vni]
        if each.vlan:
            tagged.setdefault(each.interface, set()).add(vlan)
        elif native.setdefault(each.interface, vlan) != vlan:
            raise Permanent(
                f"untagged frames of {each.interface} cannot be both VNI {each.vni}'s and another network's"
            )
    tree: Tree = {}
    for interface in sorted({*native, *tagged}):
        allowed = tagged.get(interface, set()) | ({native[interface]} if interface in native else set())
        lines = [
            f"description {PORT_MARK}",
            "switchport mode trunk",
            f"switchport trunk allowed vlan {_ranges(allowed)}",
        ]
        if interface in native:
            lines.append(f"switchport trunk native vlan {native[interface]}")
        tree[f"interface {interface}"] = _lines([*lines, "spanning-tree portfast"])
    return tree


def _vxlan(config: SwitchConfig, vlans: Mapping[int, int]) -> Tree:
    if not config.segments and not config.vrfs:
        return {}
    lines = ["vxlan source-interface Loopback0", "vxlan udp-port 4789"]
    lines += [f"vxlan vlan {vlan} vni {vni}" for vlan, vni in sorted((vlans[s.vni], s.vni) for s in config.segments)]
    lines += [f"vxlan vrf {vrf.name} vni {vrf.l3vni}" for vrf in config.vrfs]
    return {"interface Vxlan1": _lines(lines)}


def _bgp(config: SwitchConfig, underlay: Underlay, vlans: Mapping[int, int]) -> Tree:
    lines = [
        f"router-id {underlay.loopback}",
        "no bgp default ipv4-unicast",
        f"timers bgp {KEEPALIVE_S} {HOLD_S}",
        f"maximum-paths {MAX_PATHS}",
        f"neighbor {PEER_GROUP} peer group",
        f"neighbor {PEER_GROUP} send-community extended",
        f"neighbor {PEER_GROUP} maximum-routes 0",
    ]
    for link in underlay.links:
        lines += [
            f"neighbor {link.peer_address} peer group {PEER_GROUP}",
            f"neighbor {link.peer_address} remote-as {link.peer_asn}",
            f"neighbor {link.peer_address} description {link.peer}",
        ]
    tree = _lines(lines)
    for vlan, vni in sorted((vlans[segment.vni], segment.vni) for segment in config.segments):
        target = _route_target(underlay, vni)
        tree[f"vlan {vlan}"] = _lines(
            [f"rd {underlay.loopback}:{vlan}", f"route-target both {target}", "redistribute learned"]
        )
    networks = [f"{underlay.loopback}/32", *([str(underlay.management.gateway.network)] if underlay.management else [])]
    tree[_EVPN] = _lines([f"neighbor {PEER_GROUP} activate", "bgp next-hop-unchanged"])
    tree[_IPV4] = _lines([f"neighbor {PEER_GROUP} activate", *(f"network {network}" for network in sorted(networks))])
    for vrf in config.vrfs:
        target = _route_target(underlay, vrf.l3vni)
        tree[f"vrf {vrf.name}"] = _lines(
            [
                f"rd {underlay.loopback}:{vrf.l3vni & 0xFFFF}",
                f"route-target import evpn {target}",
                f"route-target export evpn {target}",
                f"router-id {underlay.loopback}",
                "redistribute connected",
            ]
        )
    return tree


def _route_target(underlay: Underlay, vni: int) -> str:
    """Return the target of a VNI, the same on all leaves of a site: the spines' ASN (two bytes of it), and the VNI."""
    asn = min((link.peer_asn for link in underlay.links), default=underlay.asn)
    return f"{asn & 0xFFFF}:{vni}"


def _ranges(vlans: Iterable[int]) -> str:
    """Return VLANs as EOS lists them: ``100-102,200``."""
    runs: list[list[int]] = []
    for vlan in sorted(vlans):
        if runs and vlan == runs[-1][1] + 1:
            runs[-1][1] = vlan
        else:
            runs.append([vlan, vlan])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


# --- what leads from one to the other --------------------------------------------------------------------------------


def _goes_first(line: str) -> bool:
    """Tell whether a block goes before others come: another AS number, and interfaces; VLANs and VRFs go last."""
    return not line.startswith(("vlan ", "vrf instance ", "ip routing vrf", "ipv6 unicast-routing vrf"))


def _removal(line: str, block: Tree) -> str:
    if is_uplink(line, block) or is_node_port(line, block):
        return f"default {line}"
    return "" if line == "interface Loopback0" else f"no {line}"


def _moved(present: Tree, desired: Tree) -> bool:
    return bool(present) and value_of(present, "vrf") != value_of(desired, "vrf")


def _block_changes(present: Tree, desired: Tree) -> list[str]:
    dropped = _dropped_neighbors(present, desired)
    typed = [f"no neighbor {neighbor}" for neighbor in dropped]
    for line in present:
        neighbor = re.match(r"neighbor (\S+) ", line)
        if line not in desired and not _is_replaced(line, desired) and not (neighbor and neighbor[1] in dropped):
            typed.append(line.removeprefix("no ") if line.startswith("no ") else f"no {line}")
    for line, block in desired.items():
        inner = _block_changes(present.get(line, {}), block)
        if block and (line not in present or inner):
            typed += [line, *inner, "exit"]
        elif line not in present:
            typed.append(line)
    return typed


def _is_replaced(line: str, desired: Tree) -> bool:
    if re.match(r"ip address \S+$", line):
        return any(re.match(r"ip address \S+$", each) for each in desired)
    if found := re.match(r"neighbor \S+ (remote-as|description|peer group) ", line):
        return any(each.startswith(found[0]) for each in desired)
    return any(line.startswith(f"{key} ") and any(each.startswith(f"{key} ") for each in desired) for key in _VALUED)


def _dropped_neighbors(present: Tree, desired: Tree) -> list[str]:
    """Return the neighbours that go as a whole: one line takes all their lines away."""
    named = [found[1] for line in present if (found := re.fullmatch(r"neighbor (\S+) remote-as .*", line))]
    return [neighbor for neighbor in named if not any(line.startswith(f"neighbor {neighbor} ") for line in desired)]
