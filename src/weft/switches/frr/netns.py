"""The layout for kernels without VRF devices and VLAN-aware bridges: a namespace per VRF, a bridge per segment.

A tenant's bridges stand in its namespace, which FRR takes for a VRF; their VXLAN devices are made there and send from
the switch's own. A veth pair per (interface, VLAN) leads from beside the cable's interface into the segment's bridge;
BPF moves frames between cable and pair (vlan_handoff.bpf.c). Untagged frames of management interfaces stay, and the
bridge br-mgmt takes them.
"""

import ipaddress
import zlib
from collections.abc import Iterator, Mapping

import msgspec

from weft.fabric.config import Attachment, ManagementSegment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.dialects.frr import Reading
from weft.switches.frr.changes import is_as_wanted
from weft.switches.frr.kernel import MARK, OWN_SPACE, VETH_END, Handoffs, Kernel, Link, Space, Wanted, Where, vxlan_link
from weft.switches.frr.readback import (
    DEFAULT_VRF,
    SYSCTLS,
    gateway_mac_of,
    leak_links,
    management_of,
    underlay_of,
    vnis_of,
    with_sound_leaks,
)

MANAGEMENT_BRIDGE = "br-mgmt"
INTERFACE_NAME_BYTES = 15  # IFNAMSIZ without its closing zero
FROM_CABLE = "from_cable"
FROM_SEGMENT = "from_segment"
STAYS = ("", 0)
"""Where an entry of the hand-off leads that leaves frames to the switch's own stack."""
TENANT_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.default.accept_dad": "0",  # the gateway's address is on every leaf: it is a duplicate by design
    "net.ipv4.conf.all.rp_filter": "0",  # a host's packets may come by another way than the route back to it
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.default.arp_accept": "1",  # a moved host announces itself: learn it, and tell the other leaves
}


class NetnsLayout:
    """Namespaces for VRFs; see the module."""

    name = "netns"
    sysctls: Mapping[str, str] = SYSCTLS
    hands_off = True

    def wanted(self, config: SwitchConfig, kernel: Kernel) -> Wanted:
        """Return all that the kernel shall hold for a configuration."""
        assert config.underlay is not None, config.name
        links = dict(_underlay_links(config.underlay))
        for vrf in config.vrfs:
            links |= _vrf_links(vrf, config.underlay.loopback)
        links |= leak_links(config.vrfs, devices=False)
        for segment in config.segments:
            links |= _segment_links(segment, config.underlay.loopback, config.gateway_mac)
        entries: dict[tuple[str, int], tuple[str, int]] = {}
        programs: dict[str, str] = {}
        for interface in config.underlay.management.interfaces if config.underlay.management else ():
            entries[interface, 0] = STAYS
            programs[interface] = FROM_CABLE
        segments = {segment.vni: segment for segment in config.segments}
        for attachment in config.attachments:
            segment = segments[attachment.vni]
            links.setdefault((OWN_SPACE, attachment.interface), Link(name=attachment.interface, master=""))
            links |= _attachment_links(attachment, segment.vrf or OWN_SPACE, segment.mtu_bytes)
            entries |= _attachment_entries(attachment)
            programs |= _attachment_programs(attachment)
        return Wanted(
            links=links,
            spaces=frozenset(vrf.name for vrf in config.vrfs),
            sysctls=SYSCTLS,
            handoffs=Handoffs(entries=entries, programs=programs),
        )

    def read(self, kernel: Kernel, routing: Reading, like: SwitchConfig) -> SwitchConfig:
        """Return what kernel and routing add up to; what cannot be read (the MTU without links) is as in `like`."""
        underlay = underlay_of(kernel, routing, _management(kernel, routing), like, SYSCTLS)
        loopback = routing.underlay.loopback if routing.underlay else ipaddress.IPv4Address(0)
        mac = gateway_mac_of(kernel.links.values()) or like.gateway_mac
        return SwitchConfig(
            name=like.name,
            underlay=underlay,
            vrfs=with_sound_leaks(_vrfs(kernel, routing, loopback), kernel, devices=False),
            segments=tuple(sorted(_segments(kernel, loopback, mac))),
            attachments=tuple(sorted(_attachments(kernel))),
            gateway_mac=mac,
        )

    def unsettled(self, kernel: Kernel) -> frozenset[int]:
        """Return the VNIs that the kernel has and zebra has not taken up, or not yet in the right VRF."""
        vxlans = ((space, link) for (space, _), link in kernel.links.items() if link.is_marked and link.vni and link.up)
        return frozenset(
            link.vni for space, link in vxlans if link.vni and kernel.known_vnis.get(link.vni) != (space or DEFAULT_VRF)
        )


def near_end(interface: str, vlan: int) -> str:
    """Return the name of a veth pair's end beside the cable's interface: ``eth11.100``, hashed if that is too long."""
    name = f"{interface}.{vlan}"
    return name if len(name) < INTERFACE_NAME_BYTES else f"h{zlib.crc32(interface.encode()):08x}.{vlan}"


def far_end(interface: str, vlan: int) -> str:
    """Return the name of the end that is a port of the segment's bridge."""
    return near_end(interface, vlan) + "v"


def _underlay_links(underlay: Underlay) -> Iterator[tuple[Where, Link]]:
    for link in underlay.links:
        yield (OWN_SPACE, link.interface), Link(name=link.interface, mtu_bytes=underlay.mtu_bytes, master="")
    if underlay.management:
        yield (
            (OWN_SPACE, MANAGEMENT_BRIDGE),
            Link(
                name=MANAGEMENT_BRIDGE,
                kind="bridge",
                alias=MARK,
                addresses=frozenset({str(underlay.management.gateway)}),
            ),
        )
        for interface in underlay.management.interfaces:
            yield (OWN_SPACE, interface), Link(name=interface, master=MANAGEMENT_BRIDGE)


def _vrf_links(vrf: Vrf, loopback: ipaddress.IPv4Address) -> dict[Where, Link]:
    """The L3VNI: a bridge without an address, whose MAC is the switch's router MAC in this VRF."""
    bridge, vxlan = f"l3br{vrf.l3vni}", f"l3vx{vrf.l3vni}"
    return {
        (vrf.name, "lo"): Link(name="lo"),
        (vrf.name, bridge): Link(name=bridge, kind="bridge", alias=MARK),
        (vrf.name, vxlan): vxlan_link(vxlan, vrf.l3vni, bridge, loopback, None),
    }


def _segment_links(segment: Segment, loopback: ipaddress.IPv4Address, mac: str) -> dict[Where, Link]:
    bridge, vxlan = f"br{segment.vni}", f"vx{segment.vni}"
    space = segment.vrf or OWN_SPACE
    return {
        (space, bridge): Link(
            name=bridge,
            kind="bridge",
            alias=MARK,
            mtu_bytes=segment.mtu_bytes,
            mac=mac if segment.gateways else None,
            addresses=frozenset(str(gateway) for gateway in segment.gateways),
        ),
        (space, vxlan): vxlan_link(vxlan, segment.vni, bridge, loopback, segment.mtu_bytes),
    }


def _attachment_links(attachment: Attachment, space: Space, mtu_bytes: int) -> dict[Where, Link]:
    near = near_end(attachment.interface, attachment.vlan)
    far = far_end(attachment.interface, attachment.vlan)
    return {
        (OWN_SPACE, near): Link(
            name=near,
            kind="veth",
            alias=f"{MARK}:{attachment.interface}:{attachment.vlan}",
            mtu_bytes=mtu_bytes,
            peer=(space, far),
        ),
        (space, far): Link(name=far, alias=VETH_END, mtu_bytes=mtu_bytes, master=f"br{attachment.vni}"),
    }


def _attachment_entries(attachment: Attachment) -> dict[tuple[str, int], tuple[str, int]]:
    near = near_end(attachment.interface, attachment.vlan)
    cable = (attachment.interface, attachment.vlan)
    return {cable: (near, 0), (near, 0): cable}


def _attachment_programs(attachment: Attachment) -> dict[str, str]:
    return {
        attachment.interface: FROM_CABLE,
        near_end(attachment.interface, attachment.vlan): FROM_SEGMENT,
    }


# --- what is there ---------------------------------------------------------------------------------------------------


def _management(kernel: Kernel, routing: Reading) -> ManagementSegment | None:
    bridge = kernel.links.get((OWN_SPACE, MANAGEMENT_BRIDGE))
    ports = (
        name
        for (space, name), link in kernel.links.items()
        if space == OWN_SPACE and link.master == MANAGEMENT_BRIDGE and link.up
    )
    sound = (
        name
        for name in ports
        if kernel.handoffs.entries.get((name, 0)) == STAYS and kernel.handoffs.programs.get(name) == FROM_CABLE
    )
    return management_of(bridge, sound, routing)


def _segments(kernel: Kernel, loopback: ipaddress.IPv4Address, mac: str) -> Iterator[Segment]:
    places = {
        (space, vni)
        for (space, name), link in kernel.links.items()
        if link.is_marked and (vni := vnis_of(name, ("br", "vx"))) is not None
    }
    for space, vni in places:
        bridge = kernel.links.get((space, f"br{vni}"))
        gateways = sorted((bridge.addresses or ()) if bridge else ())
        segment = Segment(
            vni=vni,
            vrf=space or None,
            gateways=tuple(sorted(map(ipaddress.ip_interface, gateways), key=lambda each: (each.version, each))),
            mtu_bytes=(bridge.mtu_bytes or 0) if bridge else 0,
        )
        wanted = _segment_links(segment, loopback, mac)
        whole = all(is_as_wanted(where, link, kernel.links) for where, link in wanted.items())
        whole = whole and kernel.known_vnis.get(vni) == (space or DEFAULT_VRF)
        yield segment if whole else msgspec.structs.replace(segment, mtu_bytes=0)


def _vrfs(kernel: Kernel, routing: Reading, loopback: ipaddress.IPv4Address) -> Iterator[Vrf]:
    configured = {vrf.name: vrf for vrf in routing.vrfs}
    inhabited = {space for (space, name) in kernel.links if space in kernel.spaces and name != "lo"}
    for name in configured.keys() | inhabited:
        vrf = configured.get(name, Vrf(name=name, l3vni=0))
        whole = (
            name in kernel.forwarding
            and kernel.known_vnis.get(vrf.l3vni) == name
            and all(is_as_wanted(where, link, kernel.links) for where, link in _vrf_links(vrf, loopback).items())
        )
        yield vrf if whole else Vrf(name=name, l3vni=0)


def _attachments(kernel: Kernel) -> Iterator[Attachment]:
    fars = {name: space for (space, name), link in kernel.links.items() if link.is_veth_end}
    seen = set()
    for link in kernel.links.values():
        if link.is_marked and link.kind == "veth" and not link.is_veth_end and not link.is_routed_link:
            _, interface, vlan = (link.alias or "").split(":")
            space = fars.get(f"{link.name}v", OWN_SPACE)
            far = kernel.links.get((space, f"{link.name}v"))
            vni = vnis_of((far.master or "") if far else "", ("br",)) or 0
            claimed = Attachment(interface=interface, vlan=int(vlan), vni=vni)
            seen.add((interface, int(vlan)))
            yield claimed if _is_whole(kernel, claimed, space) else msgspec.structs.replace(claimed, vni=0)
    for (interface, number), (to, _) in kernel.handoffs.entries.items():
        if to and kernel.handoffs.programs.get(interface) == FROM_CABLE and (interface, number) not in seen:
            yield Attachment(interface=interface, vlan=number, vni=0)


def _is_whole(kernel: Kernel, attachment: Attachment, space: Space) -> bool:
    bridge = kernel.links.get((space, f"br{attachment.vni}"))
    cable = kernel.links.get((OWN_SPACE, attachment.interface))
    if bridge is None or cable is None or not cable.up:
        return False
    links = _attachment_links(attachment, space, bridge.mtu_bytes or 0)
    entries = _attachment_entries(attachment)
    programs = _attachment_programs(attachment)
    return (
        all(is_as_wanted(where, link, kernel.links) for where, link in links.items())
        and all(kernel.handoffs.entries.get(key) == value for key, value in entries.items())
        and all(kernel.handoffs.programs.get(name) == program for name, program in programs.items())
    )
