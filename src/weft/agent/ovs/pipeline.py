"""The flow tables: what is written here is what a packet meets. docs/agent.md draws them.

br-int forwards by flows alone, never by NORMAL: a device gets a frame only through a flow that names it, so whatever is
plugged and not (yet) known to the server neither sends nor receives. Frames cross the patch with their network's local
VLAN; br-bond writes the VLAN that the leaf expects, br-int reads that one on the way back. On br-bond the last step is
NORMAL, because only NORMAL chooses a member of a bond and drops what a bond must not accept.

Everything is computed from arguments; the functions for ports and networks remember their results, so that a plan for
500 ports of which one changed costs one.
"""

import ipaddress
import zlib
from functools import lru_cache

from weft.agent.ovs.flow import (
    LOCAL,
    NORMAL,
    VLAN_PRESENT,
    Action,
    Field,
    Flow,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    Term,
    mac_int,
    match,
)
from weft.model.addresses import IPNetwork, parse_address, parse_mac, parse_network
from weft.protocol.node import AllowedPair, PortDesired

CLASSIFY = 0
IDENTITY = 10
NEIGHBOUR = 15
FORWARD = 20
"""Tables of br-int; br-bond has CLASSIFY only."""

COOKIE_MARK = 0x77656674 << 32
"""High half of every cookie, "weft" in ASCII: whose flow it is. The low half says which owner's."""
COOKIE_MARK_MASK = 0xFFFFFFFF << 32

Flows = tuple[Flow, ...]
Pair = tuple[Field, int]

_MULTICAST = 0x010000000000
_ARP, _RARP, _IPV4, _IPV6 = 0x0806, 0x8035, 0x0800, 0x86DD
_UDP, _ICMPV6 = 17, 58
_ROUTER_ADVERTISEMENT, _NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT, _REDIRECT = 134, 135, 136, 137
_MLD_REPORTS = (131, 143)

_FORBIDDEN, _USUAL, _GROUP, _UNKNOWN, _REST = 100, 50, 40, 20, 10


def cookie(owner: str) -> int:
    """Return the cookie of an owner's flows; two owners may share one, so it groups and does not identify."""
    return COOKIE_MARK | zlib.crc32(owner.encode())


def port_owner(port_id: str) -> str:
    """Name the owner of a port's flows."""
    return f"port:{port_id}"


def network_owner(network_id: str) -> str:
    """Name the owner of a network's flows."""
    return f"network:{network_id}"


NODE_OWNER = "node"


def link_local(mac: str) -> ipaddress.IPv6Address:
    """Return the link-local address that a host makes from its MAC (modified EUI-64, RFC 4291 appendix A)."""
    value = mac_int(mac) ^ (0x02 << 40)
    eui64 = (value >> 24) << 40 | 0xFFFE << 24 | (value & 0xFFFFFF)
    return ipaddress.IPv6Address((0xFE80 << 112) | eui64)


class _Writer:
    """Collects the flows of one owner."""

    def __init__(self, owner: str) -> None:
        self.flows: list[Flow] = []
        self._cookie = cookie(owner)

    def add(
        self, table: int, priority: int, terms: list[Pair | Term], *actions: Action, goto: int | None = None
    ) -> None:
        self.flows.append(Flow(table, priority, match(terms), actions, goto, self._cookie))


@lru_cache(maxsize=1)
def integration_flows() -> Flows:
    """Return what br-int holds whatever its ports are: what no instance may send, and where checked frames go."""
    out = _Writer(NODE_OWNER)
    for eth_type, server, client in (
        (_IPV4, 67, 68),
        (_IPV6, 547, 546),
    ):  # DHCP is served by the network, not by guests
        udp: list[Pair | Term] = [(Field.ETH_TYPE, eth_type), (Field.IP_PROTO, _UDP)]
        out.add(IDENTITY, _FORBIDDEN, [*udp, (Field.UDP_SRC, server), (Field.UDP_DST, client)])
    for kind in (_ROUTER_ADVERTISEMENT, _REDIRECT):
        out.add(IDENTITY, _FORBIDDEN, _icmpv6(kind))
    out.add(NEIGHBOUR, _REST, _icmpv6(_NEIGHBOUR_ADVERTISEMENT))
    out.add(NEIGHBOUR, 0, [], goto=FORWARD)
    return tuple(out.flows)


@lru_cache(maxsize=4)
def uplink_flows(patch: int) -> Flows:
    """Return what br-bond holds whatever its networks are: the node's own untagged traffic, and nothing else."""
    out = _Writer(NODE_OWNER)
    out.add(CLASSIFY, _GROUP, [(Field.IN_PORT, patch)])
    out.add(CLASSIFY, _USUAL, [(Field.IN_PORT, LOCAL), (Field.VLAN_VID, 0)], Output(NORMAL))
    out.add(CLASSIFY, _GROUP, [(Field.IN_PORT, LOCAL)])
    out.add(CLASSIFY, _REST, [(Field.VLAN_VID, 0)], Output(NORMAL))
    return tuple(out.flows)


@lru_cache(maxsize=8192)
def translation_flows(network_id: str, local_vlan: int, vlan: int, patch: int) -> Flows:
    """Return a network's flows on br-bond: local VLAN to the leaf's VLAN on the way out; the leaf's VLAN admitted."""
    out = _Writer(network_owner(network_id))
    outbound: list[Pair | Term] = [(Field.IN_PORT, patch), (Field.VLAN_VID, VLAN_PRESENT | local_vlan)]
    out.add(CLASSIFY, _USUAL, outbound, SetField(Field.VLAN_VID, VLAN_PRESENT | vlan), Output(NORMAL))
    out.add(CLASSIFY, _UNKNOWN, [(Field.VLAN_VID, VLAN_PRESENT | vlan)], Output(NORMAL))
    return tuple(out.flows)


@lru_cache(maxsize=8192)
def network_flows(
    network_id: str, *, local_vlan: int, vlan: int, uplink: int, members: tuple[int, ...], learned: tuple[int, ...]
) -> Flows:
    """Return a network's flows on br-int: in from the uplink, to everybody, and to nobody known.

    `members` are the OpenFlow ports of its devices; `learned` those among them that may use other MAC addresses than
    their own (see uses_other_macs), which therefore get every frame whose destination has no flow of its own.
    """
    out = _Writer(network_owner(network_id))
    inbound: list[Pair | Term] = [(Field.IN_PORT, uplink), (Field.VLAN_VID, VLAN_PRESENT | vlan)]
    out.add(CLASSIFY, _USUAL, inbound, PopVlan(), SetField(Field.NET, local_vlan), goto=FORWARD)
    # A frame is never sent back to where it came from: the same list serves frames of devices and of the uplink.
    away: tuple[Action, ...] = (PushVlan(), SetField(Field.VLAN_VID, VLAN_PRESENT | local_vlan), Output(uplink))
    net: Pair = (Field.NET, local_vlan)
    everybody: list[Pair | Term] = [net, (Field.ETH_DST, _MULTICAST, _MULTICAST)]
    out.add(FORWARD, _GROUP, everybody, *(Output(member) for member in members), *away)
    out.add(FORWARD, _REST, [net], *(Output(member) for member in learned), *away)
    return tuple(out.flows)


@lru_cache(maxsize=8192)
def port_flows(port: PortDesired, ofport: int, local_vlan: int) -> Flows:
    """Return a port's flows on br-int: into its network, as itself only, and to it. Raise Invalid for bad addresses.

    Tagged frames of a device match nothing: an instance cannot choose its VLAN.
    """
    mac = mac_int(parse_mac(port.mac))
    out = _Writer(port_owner(port.port_id))
    entry = IDENTITY if port.anti_spoofing else FORWARD
    untagged: list[Pair | Term] = [(Field.IN_PORT, ofport), (Field.VLAN_VID, 0)]
    out.add(CLASSIFY, _USUAL, untagged, SetField(Field.NET, local_vlan), goto=entry)
    if port.anti_spoofing:
        _identity(out, port, ofport, mac)
        for pair in port.allowed_pairs:
            _pair_identity(out, pair, ofport)
    out.add(FORWARD, _USUAL, [(Field.NET, local_vlan), (Field.ETH_DST, mac)], Output(ofport))
    return tuple(dict.fromkeys(out.flows))  # a pair may be the port's own address


def uses_other_macs(port: PortDesired) -> bool:
    """Tell whether a port may send from a MAC that is not its own: frames to that have to find it, too."""
    return not port.anti_spoofing or any(pair.mac != port.mac for pair in port.allowed_pairs)


def _icmpv6(kind: int) -> list[Pair | Term]:
    return [(Field.ETH_TYPE, _IPV6), (Field.IP_PROTO, _ICMPV6), (Field.ICMPV6_TYPE, kind)]


def _identity(out: _Writer, port: PortDesired, ofport: int, mac: int) -> None:
    """Let pass what has the port's own MAC and addresses, and what a host sends before it has an address."""
    source: list[Pair | Term] = [(Field.IN_PORT, ofport), (Field.ETH_SRC, mac)]
    addresses = [parse_address(address.address) for address in port.addresses]
    out.add(IDENTITY, _USUAL, [*source, (Field.ETH_TYPE, _RARP)], goto=FORWARD)  # a hypervisor announces a moved guest
    _dhcp_client(out, source)
    for address in addresses:
        if address.version == 4:
            _ipv4_identity(out, source, mac, ipaddress.IPv4Network(address))
    own_ipv6 = [ipaddress.IPv6Network(address) for address in addresses if address.version == 6]
    _ipv6_identity(out, source, ofport, [ipaddress.IPv6Network(link_local(port.mac)), *own_ipv6])


def _pair_identity(out: _Writer, pair: AllowedPair, ofport: int) -> None:
    """Let pass what has a MAC and an address that the port may also use."""
    mac = mac_int(parse_mac(pair.mac))
    source: list[Pair | Term] = [(Field.IN_PORT, ofport), (Field.ETH_SRC, mac)]
    network = parse_network(pair.address)
    if isinstance(network, ipaddress.IPv4Network):
        _ipv4_identity(out, source, mac, network)
    else:
        _ipv6_identity(out, source, ofport, [ipaddress.IPv6Network(link_local(pair.mac)), network])


def _within(field: Field, network: IPNetwork) -> list[Pair | Term]:
    """Return the term that a field is in a prefix; none if it holds everything."""
    value, mask = int(network.network_address), int(network.netmask)
    if network.prefixlen == network.max_prefixlen:
        return [(field, value)]
    return [(field, value, mask)] if mask else []


def _dhcp_client(out: _Writer, source: list[Pair | Term]) -> None:
    """RFC 2131, section 4.1: a client without an address sends from 0.0.0.0 to the broadcast address."""
    nobody: list[Pair | Term] = [(Field.IPV4_SRC, 0), (Field.IPV4_DST, 0xFFFFFFFF)]
    udp: list[Pair | Term] = [(Field.ETH_TYPE, _IPV4), (Field.IP_PROTO, _UDP), (Field.UDP_SRC, 68), (Field.UDP_DST, 67)]
    out.add(IDENTITY, _USUAL, [*source, *udp, *nobody], goto=FORWARD)


def _ipv4_identity(out: _Writer, source: list[Pair | Term], mac: int, own: ipaddress.IPv4Network) -> None:
    arp: list[Pair | Term] = [*source, (Field.ETH_TYPE, _ARP), (Field.ARP_SHA, mac)]
    out.add(IDENTITY, _USUAL, [*source, (Field.ETH_TYPE, _IPV4), *_within(Field.IPV4_SRC, own)], goto=FORWARD)
    out.add(IDENTITY, _USUAL, [*arp, *_within(Field.ARP_SPA, own)], goto=FORWARD)
    # A probe for one's own address (RFC 5227); for others' addresses it would make them believe in a conflict.
    out.add(IDENTITY, _USUAL, [*arp, (Field.ARP_SPA, 0), *_within(Field.ARP_TPA, own)], goto=FORWARD)


def _ipv6_identity(out: _Writer, source: list[Pair | Term], ofport: int, own: list[ipaddress.IPv6Network]) -> None:
    solicitation, advertisement = _icmpv6(_NEIGHBOUR_SOLICITATION), _icmpv6(_NEIGHBOUR_ADVERTISEMENT)
    unspecified: Pair = (Field.IPV6_SRC, 0)
    for network in own:
        target = _within(Field.ND_TARGET, network)
        sender = [*source, (Field.ETH_TYPE, _IPV6), *_within(Field.IPV6_SRC, network)]
        out.add(IDENTITY, _USUAL, sender, goto=NEIGHBOUR)
        # Duplicate address detection (RFC 4862, section 5.4.2), for one's own addresses only.
        out.add(IDENTITY, _USUAL, [*source, *solicitation, unspecified, *target], goto=FORWARD)
        out.add(NEIGHBOUR, _USUAL, [(Field.IN_PORT, ofport), *advertisement, *target], goto=FORWARD)
    for report in _MLD_REPORTS:  # a host joins its solicited-node group before it has an address (RFC 3590)
        out.add(IDENTITY, _USUAL, [*source, *_icmpv6(report), unspecified], goto=FORWARD)
