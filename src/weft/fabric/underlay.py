"""The underlay of one switch: eBGP between leaves and spines over numbered links (RFC 7938), from topology and numbers.

Every session carries IPv4 unicast (loopbacks, management prefixes) and L2VPN EVPN. Nothing here depends on tenants, so
an underlay only changes when the inventory does.
"""

import ipaddress

from weft.fabric.config import FabricLink, ManagementSegment, Underlay
from weft.fabric.numbering import Numbering
from weft.fabric.topology import SwitchLink, Topology
from weft.model.ids import SwitchName
from weft.model.inventory import LinkEnd


def underlay(topology: Topology, numbering: Numbering, switch: SwitchName) -> Underlay:
    """Return the underlay of a switch of the inventory that `numbering` numbers."""
    pools = topology.pools(topology.switches[switch].site)
    assert pools is not None, f"{switch} is in a site without a fabric"
    numbers = numbering.switches[switch]
    prefixes = {(link.a, link.b): link.prefix for link in numbering.links if switch in (link.a.device, link.b.device)}
    links = (
        _link(switch, link, prefixes, numbering)
        for link in topology.switch_links(switch)
        if not topology.vlan.has(link.peer)
    )
    return Underlay(
        asn=numbers.asn,
        loopback=numbers.loopback,
        links=tuple(sorted(links)),
        management=_management(topology, numbers.gateway, switch),
        mtu_bytes=pools.mtu_bytes,
    )


def _link(
    switch: SwitchName,
    link: SwitchLink,
    prefixes: dict[tuple[LinkEnd, LinkEnd], ipaddress.IPv4Network],
    numbering: Numbering,
) -> FabricLink:
    near, far = LinkEnd(switch, link.interface), LinkEnd(link.peer, link.peer_interface)
    a, b = sorted((near, far))
    prefix = prefixes[a, b]
    first, second = prefix[0], prefix[1]
    own, peer = (first, second) if near == a else (second, first)
    return FabricLink(
        interface=link.interface,
        address=ipaddress.IPv4Interface((own, prefix.prefixlen)),
        peer=link.peer,
        peer_address=peer,
        peer_asn=numbering.switches[link.peer].asn,
    )


def _management(
    topology: Topology, gateway: ipaddress.IPv4Interface | None, switch: SwitchName
) -> ManagementSegment | None:
    join = topology.vlan.join(topology.switches[switch].site)
    joined = () if join is None or join.border != switch else (join.border_interface,)
    nodes = (link.interface for link in topology.node_links(switch) if link.management)
    interfaces = tuple(sorted((*nodes, *joined)))
    if gateway is None or not interfaces:
        return None
    return ManagementSegment(gateway=gateway, interfaces=interfaces)
