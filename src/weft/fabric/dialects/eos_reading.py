"""EOS configuration text read as a SwitchConfig, and where it is not what weft would have written for that."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from weft.fabric.config import Attachment, FabricLink, ManagementSegment, Segment, SwitchConfig, Underlay
from weft.fabric.dialects.eos import MAX_MTU_BYTES, render
from weft.fabric.dialects.eos_owned import (
    BGP,
    MANAGEMENT_VLAN,
    is_node_port,
    is_uplink,
    number_of,
    owned,
    value_of,
    vxlan_vlans,
    vxlan_vrfs,
)
from weft.fabric.dialects.frr_text import Path, Tree, holds, paths
from weft.model.addresses import IPInterface

_OF_VLAN = re.compile(r"(?:vlan |interface Vlan|interface Vxlan1 / vxlan vlan |router bgp \d+ / vlan )(\d+)")
_OF_VRF = re.compile(
    r"(?:vrf instance |ip routing vrf |ipv6 unicast-routing vrf |interface Vxlan1 / vxlan vrf |router bgp \d+ / vrf )"
    r"(\S+)"
)
"""Whose a line is, of which the place is written with slashes."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a running configuration says; what is there only in part stands in it with the number 0."""

    config: SwitchConfig
    vlans: Mapping[int, int]
    """The VLAN of each VNI."""
    drift: tuple[str, ...] = ()


def read(running: Tree, like: SwitchConfig) -> Reading:
    """Return what a running configuration says; what it cannot say (the MTU of a segment without gateway) is as in
    `like`."""
    asn = next((int(found[1]) for line in running if (found := BGP.fullmatch(line))), None)
    vlans = {vni: vlan for vlan, vni in vxlan_vlans(running)}
    if asn is None:
        config = SwitchConfig(name=like.name, underlay=None, gateway_mac=like.gateway_mac)
        return Reading(config=config, vlans=vlans)
    claimed = _claimed(running, asn, vlans, like)
    known = tuple(each for each in claimed.attachments if each.vni)  # others are of a VLAN that is no segment
    written = render(msgspec.structs.replace(claimed, attachments=known), vlans)
    missing = [path for path in paths(written) if not holds(running, path)]
    extra = [path for path in paths(owned(running)) if not holds(written, path)]
    return Reading(
        config=_damaged([*missing, *extra], claimed, vlans),
        vlans=vlans,
        drift=tuple([f"- {' / '.join(path)}" for path in missing] + [f"+ {' / '.join(path)}" for path in extra]),
    )


def _claimed(running: Tree, asn: int, vlans: Mapping[int, int], like: SwitchConfig) -> SwitchConfig:
    bgp = running[f"router bgp {asn}"]
    loopback = ipaddress.IPv4Address(value_of(bgp, "router-id") or "0.0.0.0")
    mtus = {number_of(block, "mtu") for line, block in running.items() if is_uplink(line, block)}
    usual = like.underlay.mtu_bytes if like.underlay is not None else MAX_MTU_BYTES
    segments = tuple(sorted(_segments(running, vlans, like)))
    mac = next((line.split()[-1] for line in running if line.startswith("ip virtual-router mac-address ")), None)
    return SwitchConfig(
        name=like.name,
        underlay=Underlay(
            asn=asn,
            loopback=loopback,
            links=tuple(sorted(_links(running, bgp))),
            management=_management(running),
            mtu_bytes=mtus.pop() if len(mtus) == 1 else (0 if mtus else usual),
        ),
        vrfs=tuple(sorted(vxlan_vrfs(running))),
        segments=segments,
        attachments=tuple(sorted(_attachments(running, {vlan: vni for vni, vlan in vlans.items()}))),
        gateway_mac=mac or like.gateway_mac,
    )


def _segments(running: Tree, vlans: Mapping[int, int], like: SwitchConfig) -> Iterator[Segment]:
    before = {segment.vni: segment.mtu_bytes for segment in like.segments}
    for vni, vlan in vlans.items():
        block = running.get(f"interface Vlan{vlan}", {})
        gateways: list[IPInterface] = [
            ipaddress.ip_interface(line.split()[3]) for line in block if re.match(r"ip(v6)? address virtual ", line)
        ]
        yield Segment(
            vni=vni,
            vrf=value_of(block, "vrf"),
            gateways=tuple(sorted(gateways, key=lambda each: (each.version, each))),
            mtu_bytes=number_of(block, "mtu") if gateways else before.get(vni, 1500),
        )


def _links(running: Tree, bgp: Tree) -> Iterator[FabricLink]:
    peers = {
        found[1]: int(found[2]) for line in bgp if (found := re.fullmatch(r"neighbor (\S+) remote-as (\d+)", line))
    }
    for line, block in running.items():
        if is_uplink(line, block):
            address = ipaddress.IPv4Interface(str(value_of(block, "ip address")))
            for peer, asn in peers.items():
                if peer != str(address.ip) and ipaddress.ip_address(peer) in address.network:
                    yield FabricLink(
                        interface=line.split()[1],
                        address=address,
                        peer=value_of(bgp, f"neighbor {peer} description") or "",
                        peer_address=ipaddress.IPv4Address(peer),
                        peer_asn=asn,
                    )


def _management(running: Tree) -> ManagementSegment | None:
    gateway = value_of(running.get(f"interface Vlan{MANAGEMENT_VLAN}", {}), "ip address")
    if gateway is None:
        return None
    native = f"switchport trunk native vlan {MANAGEMENT_VLAN}"
    ports = [line.split()[1] for line, block in running.items() if is_node_port(line, block) and native in block]
    return ManagementSegment(gateway=ipaddress.IPv4Interface(gateway), interfaces=tuple(sorted(ports)))


def _attachments(running: Tree, vnis: Mapping[int, int]) -> Iterator[Attachment]:
    for line, block in running.items():
        if is_node_port(line, block):
            native = number_of(block, "switchport trunk native vlan")
            for vlan in _from_ranges(value_of(block, "switchport trunk allowed vlan") or ""):
                if vlan != MANAGEMENT_VLAN:
                    tag = 0 if vlan == native else vlan
                    yield Attachment(interface=line.split()[1], vlan=tag, vni=vnis.get(vlan, 0))


def _damaged(differing: Iterable[Path], config: SwitchConfig, vlans: Mapping[int, int]) -> SwitchConfig:
    """Return a configuration with the number 0 on each element of which a line differs."""
    vni_of = {str(vlan): vni for vni, vlan in vlans.items()}
    underlay = config.underlay
    assert underlay is not None
    interface_of = {str(link.peer_address): link.interface for link in underlay.links}
    segments, vrfs, interfaces, sound = set[int](), set[str](), set[str](), True
    for path in differing:
        where = " / ".join(path)
        vlan, vrf = _OF_VLAN.match(where), _OF_VRF.match(where)
        neighbor = re.match(r"(?:no )?neighbor (\S+) ", path[-1])
        if vlan and vlan[1] in vni_of:
            segments.add(vni_of[vlan[1]])
        elif vrf:
            vrfs.add(vrf[1])
        elif neighbor and neighbor[1] in interface_of:
            interfaces.add(interface_of[neighbor[1]])
        elif re.match(r"interface (Ethernet|Port-Channel)", path[0]):
            interfaces.add(path[0].split()[1])
        else:
            sound = False
    replace = msgspec.structs.replace
    links = tuple(replace(link, peer_asn=0) if link.interface in interfaces else link for link in underlay.links)
    management = underlay.management
    if management is not None:
        whole = tuple(each for each in management.interfaces if each not in interfaces)
        management = replace(management, interfaces=whole)
    return replace(
        config,
        underlay=replace(underlay, links=links, management=management, mtu_bytes=underlay.mtu_bytes if sound else 0),
        vrfs=tuple(replace(vrf, l3vni=0) if vrf.name in vrfs else vrf for vrf in config.vrfs),
        segments=tuple(replace(each, mtu_bytes=0) if each.vni in segments else each for each in config.segments),
        attachments=tuple(
            replace(each, vni=0) if each.interface in interfaces else each for each in config.attachments
        ),
    )


def _from_ranges(listed: str) -> set[int]:
    found: set[int] = set()
    for run in listed.split(","):
        first, _, last = run.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.update(range(int(first), int(last or first) + 1))
    return found
