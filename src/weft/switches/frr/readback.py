"""What both layouts do alike when they add up what was read: underlay, management, gateway MAC.

What is there only in part is given the number 0 (a VRF's l3vni, a segment's mtu_bytes, an attachment's vni, a link's
peer_asn, the underlay's mtu_bytes). So it equals nothing that is desired, and the next plan repairs or removes it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from weft.fabric.config import FabricLink, Leak, ManagementSegment, SwitchConfig, Underlay, Vrf
from weft.fabric.dialects.frr import Reading, leak_addresses, leak_interface
from weft.model.addresses import parse_interface
from weft.switches.frr.changes import is_as_wanted
from weft.switches.frr.kernel import LEAK, LEAK_END, OWN_SPACE, Kernel, Link, Where
from weft.switches.remainders import usual_mtu

DEFAULT_VRF = "default"
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.fib_multipath_hash_policy": "1",  # by ports too: VXLAN puts the inner flow there
}


def underlay_of(
    kernel: Kernel,
    routing: Reading,
    management: ManagementSegment | None,
    like: SwitchConfig,
    sysctls: Mapping[str, str],
) -> Underlay | None:
    """Return the underlay as routing and kernel have it together; None if no routing is configured."""
    if routing.underlay is None:
        return None
    links = tuple(_link(kernel, link) for link in routing.underlay.links)
    sizes = {_mtu(kernel, link.interface) for link in links}
    mtu_bytes = sizes.pop() if len(sizes) == 1 else (0 if sizes else usual_mtu(like))
    sound = routing.sound and all(kernel.sysctls.get(name) == value for name, value in sysctls.items())
    return msgspec.structs.replace(
        routing.underlay, links=links, management=management, mtu_bytes=mtu_bytes if sound else 0
    )


def leak_links(vrfs: Iterable[Vrf], *, devices: bool) -> dict[Where, Link]:
    """Return the veth pairs between VRFs of a switch of which one hands packets over to the other.

    `devices`: VRFs are devices, which the ends are enslaved to; else they are namespaces, which the ends stand in. The
    near end is that of the lower L3VNI.
    """
    names = {vrf.l3vni: vrf.name for vrf in vrfs if vrf.l3vni}
    pairs = {
        (min(vrf.l3vni, leak.l3vni), max(vrf.l3vni, leak.l3vni))
        for vrf in vrfs
        for leak in vrf.leaks
        if vrf.l3vni and leak.l3vni in names
    }
    links: dict[Where, Link] = {}
    for low, high in sorted(pairs):
        near, far = leak_interface(low, high), leak_interface(high, low)
        near_at, far_at = ((OWN_SPACE, near), (OWN_SPACE, far)) if devices else ((names[low], near), (names[high], far))
        links[near_at] = _leak_end(near, low, names[low] if devices else "", LEAK, far_at)
        links[far_at] = _leak_end(far, high, names[high] if devices else "", LEAK_END, None)
    return links


def _leak_end(name: str, l3vni: int, master: str, alias: str, peer: Where | None) -> Link:
    return Link(
        name=name,
        kind="veth" if peer is not None else "",
        alias=alias,
        master=master,
        addresses=frozenset(map(str, leak_addresses(l3vni))),
        peer=peer,
    )


def with_sound_leaks(vrfs: Iterable[Vrf], kernel: Kernel, *, devices: bool) -> tuple[Vrf, ...]:
    """Return VRFs without those leaks whose link is not there as it should be."""
    known = list(vrfs)
    broken = {
        where[1]
        for where, link in leak_links(known, devices=devices).items()
        if not is_as_wanted(where, link, kernel.links)
    }
    numbers = {vrf.l3vni for vrf in known}

    def sound(vrf: Vrf, leak: Leak) -> bool:
        ends = {leak_interface(vrf.l3vni, leak.l3vni), leak_interface(leak.l3vni, vrf.l3vni)}
        return leak.l3vni in numbers and not ends & broken

    kept = (msgspec.structs.replace(vrf, leaks=tuple(leak for leak in vrf.leaks if sound(vrf, leak))) for vrf in known)
    return tuple(sorted(kept))


def management_of(bridge: Link | None, ports: Iterable[str], routing: Reading) -> ManagementSegment | None:
    """Return the management segment of a bridge with a gateway whose prefix is announced, None otherwise."""
    addresses = sorted((bridge.addresses or ()) if bridge is not None and bridge.up else ())
    if len(addresses) != 1:
        return None
    gateway = parse_interface(addresses[0])
    if gateway.version != 4 or gateway.network != routing.management:
        return None
    return ManagementSegment(gateway=gateway, interfaces=tuple(sorted(ports)))


def gateway_mac_of(links: Iterable[Link]) -> str | None:
    """Return the MAC address that most gateways have; None if there is no gateway."""
    gateways = (link for link in links if link.is_marked and link.addresses and _is_gateway(link.name))
    macs = Counter(link.mac for link in gateways if link.mac)
    return macs.most_common(1)[0][0] if macs else None


def vnis_of(name: str, prefixes: tuple[str, ...]) -> int | None:
    """Return the VNI that a link's name holds behind one of the prefixes, None if it holds none."""
    found = re.fullmatch(rf"(?:{'|'.join(prefixes)})(\d+)", name)
    return int(found[1]) if found else None


def _is_gateway(name: str) -> bool:
    return vnis_of(name, ("br", "svi")) is not None


def _link(kernel: Kernel, link: FabricLink) -> FabricLink:
    there = kernel.links.get((OWN_SPACE, link.interface))
    return link if there is not None and there.up else msgspec.structs.replace(link, peer_asn=0)


def _mtu(kernel: Kernel, interface: str) -> int:
    there = kernel.links.get((OWN_SPACE, interface))
    return (there.mtu_bytes or 0) if there else 0
