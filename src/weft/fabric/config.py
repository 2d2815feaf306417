"""SwitchConfig: what a switch shall be, as one value that knows no vendor.

Every field can be read back from a running device; what cannot (which tenant, which port) is a reason and stands in the
plan. All tuples are sorted, so that equal states are equal values.
"""

import ipaddress
from collections.abc import Iterable

import msgspec

from weft.fabric.vlan_config import VlanSwitching
from weft.model.addresses import IPInterface, IPNetwork
from weft.model.ids import SwitchName


class FabricLink(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """A numbered point-to-point interface to another switch, with the eBGP session over it."""

    interface: str
    address: ipaddress.IPv4Interface
    peer: str
    """The peer's name; used as the neighbour's description."""
    peer_address: ipaddress.IPv4Address
    peer_asn: int


class ManagementSegment(msgspec.Struct, frozen=True, kw_only=True):
    """The leaf's in-band management prefix: untagged frames of `interfaces`, routed in the underlay."""

    gateway: ipaddress.IPv4Interface
    interfaces: tuple[str, ...]


class Underlay(msgspec.Struct, frozen=True, kw_only=True):
    """Routing between switches: eBGP (RFC 7938) for IPv4 unicast and L2VPN EVPN over the same sessions."""

    asn: int
    loopback: ipaddress.IPv4Address
    """Router id, and VTEP address on a switch that has VNIs."""
    links: tuple[FabricLink, ...] = ()
    management: ManagementSegment | None = None
    mtu_bytes: int = 9216


def sorted_prefixes(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return prefixes as a Leak has them: each once, IPv4 first, by address."""
    return tuple(sorted(set(prefixes), key=lambda each: (each.version, int(each.network_address), each.prefixlen)))


class Leak(msgspec.Struct, frozen=True, order=True, kw_only=True, gc=False):
    """What a VRF hands over to another VRF of the switch, which is named by its L3VNI: packets to these prefixes.

    The other VRF routes them on as if they had come from one of its own hosts. Prefixes are sorted, IPv4 first.
    """

    l3vni: int
    prefixes: tuple[IPNetwork, ...]


class ExitPeer(msgspec.Struct, frozen=True, order=True, kw_only=True, gc=False):
    """A router outside, with which a VRF speaks eBGP for IPv4 unicast (RFC 4271)."""

    address: ipaddress.IPv4Address
    asn: int
    name: str
    """Its name; used as the neighbour's description."""


class Vrf(msgspec.Struct, frozen=True, order=True, kw_only=True, gc=False):
    """A tenant's routing table with its L3VNI (RFC 9135, symmetric IRB)."""

    name: str
    l3vni: int
    leaks: tuple[Leak, ...] = ()
    peers: tuple[ExitPeer, ...] = ()
    """Of the VRF `outside`, on a border leaf."""


class Segment(msgspec.Struct, frozen=True, order=True, kw_only=True, gc=False):
    """An L2VNI on this switch; with a VRF and gateways if its network is routed."""

    vni: int
    vrf: str | None = None
    gateways: tuple[IPInterface, ...] = ()
    mtu_bytes: int = 1500


class Attachment(msgspec.Struct, frozen=True, order=True, kw_only=True, gc=False):
    """Frames with `vlan` on `interface` belong to `vni`; vlan 0: untagged frames (bare metal)."""

    interface: str
    vlan: int
    vni: int


class SwitchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The whole desired, or observed, state of a switch as far as weft owns it."""

    name: SwitchName
    underlay: Underlay | None
    """None only when observed: a switch that has no routing configured yet."""
    vrfs: tuple[Vrf, ...] = ()
    segments: tuple[Segment, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    gateway_mac: str = "00:00:5e:00:01:01"
    vlan: VlanSwitching | None = None
    """Of a switch of a three-layer VLAN site, which has no underlay; None on all others, and when observed on one that
    switches nothing yet."""
