"""The layout of a real Linux switch: VRF devices, and one VLAN-aware bridge for all segments.

Each VNI has a VLAN of the bridge: its VXLAN device is an access port in it, and the switch's own interface on it (SVI)
holds the gateways. Where a VNI is attached by a tag, that tag is its VLAN; a VNI without tags (an L3VNI, bare metal)
gets an inner one, from the top downward. Untagged frames of management interfaces have the topmost VLAN.
"""

import ipaddress
from collections.abc import Iterator, Mapping

import msgspec

from weft.fabric.config import Attachment, ManagementSegment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.dialects.frr import Reading
from weft.model.errors import Permanent
from weft.switches.frr import readback
from weft.switches.frr.changes import is_as_wanted
from weft.switches.frr.kernel import MARK, OWN_SPACE, Kernel, Link, Wanted, Where, vxlan_link
from weft.switches.frr.readback import DEFAULT_VRF, vnis_of

BRIDGE = "br-weft"
MANAGEMENT_SVI = "br-mgmt"
MANAGEMENT_VLAN = 4094
HIGHEST_INNER_VLAN = 4093
SYSCTLS = {
    **readback.SYSCTLS,
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv4.conf.all.rp_filter": "0",  # a host's packets may come by another way than the route back to it
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.default.arp_accept": "1",  # a moved host announces itself: learn it, and tell the other leaves
}

Links = dict[Where, Link]


class VrfLayout:
    """VRF devices and a VLAN-aware bridge; see the module."""

    name = "vrf"
    sysctls: Mapping[str, str] = SYSCTLS
    hands_off = False

    def wanted(self, config: SwitchConfig, kernel: Kernel) -> Wanted:
        """Return all that the kernel shall hold; VNIs keep the inner VLANs that they have."""
        assert config.underlay is not None, config.name
        vlans = bridge_vlans(config, kernel)
        links: Links = {_own(link.interface): _cable(link.interface, config.underlay) for link in config.underlay.links}
        if config.underlay.management or vlans:
            links[_own(BRIDGE)] = _bridge(config, vlans)
        if config.underlay.management:
            links |= _management_links(config.underlay.management)
        for vrf in config.vrfs:
            links |= _vrf_links(vrf, vlans[vrf.l3vni], config.underlay.loopback)
        links |= readback.leak_links(config.vrfs, devices=True)
        for segment in config.segments:
            links |= _segment_links(segment, vlans[segment.vni], config.underlay.loopback, config.gateway_mac)
        for interface, port_vlans in _port_vlans(config, vlans).items():
            links[_own(interface)] = _port(interface, port_vlans)
        return Wanted(links=links, sysctls=SYSCTLS)

    def read(self, kernel: Kernel, routing: Reading, like: SwitchConfig) -> SwitchConfig:
        """Return what kernel and routing add up to; what cannot be read (the MTU without links) is as in `like`."""
        management = _management(kernel, routing)
        loopback = routing.underlay.loopback if routing.underlay else ipaddress.IPv4Address(0)
        mac = readback.gateway_mac_of(kernel.links.values()) or like.gateway_mac
        segments = tuple(sorted(_segments(kernel, loopback, mac)))
        return SwitchConfig(
            name=like.name,
            underlay=readback.underlay_of(kernel, routing, management, like, SYSCTLS),
            vrfs=readback.with_sound_leaks(_vrfs(kernel, routing, loopback), kernel, devices=True),
            segments=segments,
            attachments=tuple(sorted(_attachments(kernel, {segment.vni for segment in segments}))),
            gateway_mac=mac,
        )

    def unsettled(self, kernel: Kernel) -> frozenset[int]:
        """Return the VNIs that the kernel has and zebra has not taken up, or not yet in the right VRF."""
        expected = {}
        for link in kernel.links.values():
            if link.is_marked and link.up and link.vni:
                svi = kernel.links.get(_own(f"{'l3svi' if link.name.startswith('l3') else 'svi'}{link.vni}"))
                expected[link.vni] = (svi.master if svi else "") or DEFAULT_VRF
        return frozenset(vni for vni, vrf in expected.items() if kernel.known_vnis.get(vni) != vrf)


def bridge_vlans(config: SwitchConfig, kernel: Kernel) -> dict[int, int]:
    """Return the VLAN of the bridge that each VNI has. Raise Permanent if the tags on the cables contradict that.

    A bridge has one VLAN for a segment: a VNI can't have two tags on one switch, nor a tag two VNIs.
    """
    vlans: dict[int, int] = {}
    for attachment in config.attachments:
        if attachment.vlan and vlans.setdefault(attachment.vni, attachment.vlan) != attachment.vlan:
            raise Permanent(
                f"VNI {attachment.vni} has VLANs {vlans[attachment.vni]} and {attachment.vlan} on one switch"
            )
    owner = {vlan: vni for vni, vlan in vlans.items()}
    if len(owner) < len(vlans):
        raise Permanent(f"a VLAN stands for several VNIs on one switch: {sorted(vlans.items())}")
    if MANAGEMENT_VLAN in owner:
        raise Permanent(f"VLAN {MANAGEMENT_VLAN} is the switch's own, for management: give the site's pool less")
    present = {link.vni: _access_vlan(link) for link in kernel.links.values() if link.is_marked and link.vni}
    inner = [vrf.l3vni for vrf in config.vrfs] + [s.vni for s in config.segments if s.vni not in vlans]
    for vni in inner:
        kept = present.get(vni)
        if kept and kept not in owner and kept != MANAGEMENT_VLAN:
            vlans[vni], owner[kept] = kept, vni
    free = (vlan for vlan in range(HIGHEST_INNER_VLAN, 0, -1) if vlan not in owner)
    for vni in inner:
        if vni not in vlans:
            vlans[vni] = next(free)
    return vlans


def _own(name: str) -> Where:
    return (OWN_SPACE, name)


def _cable(interface: str, underlay: Underlay) -> Link:
    return Link(name=interface, mtu_bytes=underlay.mtu_bytes, master="")


def _bridge(config: SwitchConfig, vlans: Mapping[int, int]) -> Link:
    assert config.underlay is not None
    routed = {vrf.l3vni for vrf in config.vrfs} | {s.vni for s in config.segments if _has_svi(s)}
    own = {vlans[vni] for vni in routed} | ({MANAGEMENT_VLAN} if config.underlay.management else set())
    return Link(
        name=BRIDGE,
        kind="bridge",
        alias=MARK,
        mtu_bytes=config.underlay.mtu_bytes,
        vlan_aware=True,
        vlans=frozenset(map(str, own)),
    )


def _has_svi(segment: Segment) -> bool:
    return segment.vrf is not None or bool(segment.gateways)


def _access(vlan: int) -> frozenset[str]:
    return frozenset({f"{vlan} pvid untagged"})


def _management_links(management: ManagementSegment) -> Links:
    svi = _svi(MANAGEMENT_SVI, MANAGEMENT_VLAN, "", frozenset({str(management.gateway)}))
    return {_own(MANAGEMENT_SVI): svi}


def _vrf_links(vrf: Vrf, vlan: int, loopback: ipaddress.IPv4Address) -> Links:
    """The VRF's table has the L3VNI's number; the SVI's MAC, that of the bridge, is the router MAC."""
    svi, vxlan = f"l3svi{vrf.l3vni}", f"l3vx{vrf.l3vni}"
    return {
        _own(vrf.name): Link(name=vrf.name, kind="vrf", alias=MARK, table=vrf.l3vni),
        _own(svi): _svi(svi, vlan, vrf.name, frozenset()),
        _own(vxlan): _vxlan(vxlan, vrf.l3vni, vlan, loopback, None),
    }


def _segment_links(segment: Segment, vlan: int, loopback: ipaddress.IPv4Address, mac: str) -> Links:
    svi, vxlan = f"svi{segment.vni}", f"vx{segment.vni}"
    links = {_own(vxlan): _vxlan(vxlan, segment.vni, vlan, loopback, segment.mtu_bytes)}
    if _has_svi(segment):
        made = _svi(svi, vlan, segment.vrf or "", frozenset(map(str, segment.gateways)))
        mac_of_gateway = mac if segment.gateways else None
        links[_own(svi)] = msgspec.structs.replace(made, mtu_bytes=segment.mtu_bytes, mac=mac_of_gateway)
    return links


def _svi(name: str, vlan: int, vrf: str, addresses: frozenset[str]) -> Link:
    return Link(name=name, kind="vlan", alias=MARK, lower=BRIDGE, vlan_id=vlan, master=vrf, addresses=addresses)


def _vxlan(name: str, vni: int, vlan: int, loopback: ipaddress.IPv4Address, mtu_bytes: int | None) -> Link:
    return msgspec.structs.replace(vxlan_link(name, vni, BRIDGE, loopback, mtu_bytes), vlans=_access(vlan))


def _port(interface: str, vlans: frozenset[str]) -> Link:
    return Link(name=interface, master=BRIDGE, vlans=vlans)


def _port_vlans(config: SwitchConfig, vlans: Mapping[int, int]) -> dict[str, frozenset[str]]:
    """Return the VLANs of the cables' interfaces. Untagged frames are either management's or one segment's."""
    assert config.underlay is not None
    ports: dict[str, frozenset[str]] = {}
    for interface in config.underlay.management.interfaces if config.underlay.management else ():
        ports[interface] = _access(MANAGEMENT_VLAN)
    for each in config.attachments:
        present = ports.get(each.interface, frozenset())
        if each.vlan:
            ports[each.interface] = present | {str(each.vlan)}
        elif any("pvid" in vlan for vlan in present):
            raise Permanent(
                f"untagged frames of {each.interface} cannot be both VNI {each.vni}'s and another network's"
            )
        else:
            ports[each.interface] = present | _access(vlans[each.vni])
    return ports


# --- what is there ---------------------------------------------------------------------------------------------------


def _access_vlan(link: Link | None) -> int:
    """Return the VLAN of a link's untagged frames, 0 if it has none."""
    vlans = (link.vlans if link else None) or frozenset()
    return next((int(vlan.split()[0]) for vlan in vlans if vlan.endswith(" pvid untagged")), 0)


def _ports(kernel: Kernel) -> Iterator[Link]:
    """Yield the cables' interfaces that are plugged into the bridge."""
    return (link for link in kernel.links.values() if link.master == BRIDGE and not link.is_marked and link.up)


def _management(kernel: Kernel, routing: Reading) -> ManagementSegment | None:
    svi = kernel.links.get(_own(MANAGEMENT_SVI))
    whole = svi is not None and svi.vlan_id == MANAGEMENT_VLAN and _has_own(kernel, MANAGEMENT_VLAN)
    ports = (link.name for link in _ports(kernel) if _access_vlan(link) == MANAGEMENT_VLAN)
    return readback.management_of(svi if whole else None, ports, routing)


def _has_own(kernel: Kernel, vlan: int) -> bool:
    """Tell whether the switch itself is in a VLAN of the bridge."""
    bridge = kernel.links.get(_own(BRIDGE))
    return bridge is not None and bridge.up and bool(bridge.vlan_aware) and str(vlan) in (bridge.vlans or ())


def _segments(kernel: Kernel, loopback: ipaddress.IPv4Address, mac: str) -> Iterator[Segment]:
    marked = (name for (_, name), link in kernel.links.items() if link.is_marked)
    for vni in {vni for name in marked if (vni := vnis_of(name, ("vx", "svi"))) is not None}:
        vxlan, svi = (kernel.links.get(_own(f"{kind}{vni}")) for kind in ("vx", "svi"))
        addresses = map(ipaddress.ip_interface, (svi.addresses or ()) if svi else ())
        segment = Segment(
            vni=vni,
            vrf=(svi.master or None) if svi else None,
            gateways=tuple(sorted(addresses, key=lambda each: (each.version, each))),
            mtu_bytes=(vxlan.mtu_bytes or 0) if vxlan else 0,
        )
        vlan = _access_vlan(vxlan)
        whole = (
            _are_as_wanted(_segment_links(segment, vlan, loopback, mac), kernel)
            and (not _has_svi(segment) or _has_own(kernel, vlan))
            and kernel.known_vnis.get(vni) == (segment.vrf or DEFAULT_VRF)
        )
        yield segment if whole else msgspec.structs.replace(segment, mtu_bytes=0)


def _vrfs(kernel: Kernel, routing: Reading, loopback: ipaddress.IPv4Address) -> Iterator[Vrf]:
    configured = {vrf.name: vrf for vrf in routing.vrfs}
    devices = {name for (_, name), link in kernel.links.items() if link.is_marked and link.kind == "vrf"}
    for name in configured.keys() | devices:
        vrf = configured.get(name, Vrf(name=name, l3vni=0))
        vlan = _access_vlan(kernel.links.get(_own(f"l3vx{vrf.l3vni}")))
        whole = (
            vrf.l3vni != 0
            and _are_as_wanted(_vrf_links(vrf, vlan, loopback), kernel)
            and _has_own(kernel, vlan)
            and vrf.l3vni in kernel.closed_tables
            and kernel.known_vnis.get(vrf.l3vni) == name
        )
        yield vrf if whole else Vrf(name=name, l3vni=0)


def _are_as_wanted(links: Links, kernel: Kernel) -> bool:
    return all(is_as_wanted(where, link, kernel.links) for where, link in links.items())


def _attachments(kernel: Kernel, segments: set[int]) -> Iterator[Attachment]:
    vxlans = (link for link in kernel.links.values() if link.is_marked and link.vni in segments)
    vni_of = {_access_vlan(link): link.vni or 0 for link in vxlans}
    for port in _ports(kernel):
        for vlan in port.vlans or ():
            number, _, flags = vlan.partition(" ")
            if int(number) != MANAGEMENT_VLAN:
                tag = 0 if flags else int(number)
                yield Attachment(interface=port.name, vlan=tag, vni=vni_of.get(int(number), 0))
