"""The physical side: sites with their pools, switches, nodes, and the links that say where a node hangs.

An Inventory is what an engineer writes (as TOML or JSON). Its numbers - ASNs, loopbacks, point-to-point
addresses - may be left out: weft.fabric.numbering computes them once and keeps them.
"""

import ipaddress
from enum import StrEnum

import msgspec

from weft.model.ids import NodeName, SiteName, SwitchName


class SwitchRole(StrEnum):
    """Where a switch stands. core, aggregation and tor belong to a three-layer VLAN site."""

    SPINE = "spine"
    LEAF = "leaf"
    BORDER = "border"
    CORE = "core"
    AGGREGATION = "aggregation"
    TOR = "tor"


VLAN_ROLES = frozenset({SwitchRole.TOR, SwitchRole.AGGREGATION, SwitchRole.CORE})
"""Switches of a three-layer VLAN site, from the nodes upward."""


class Dialect(StrEnum):
    """What language a switch is configured in."""

    FRR = "frr"
    EOS = "eos"
    NXOS = "nxos"


class Dataplane(StrEnum):
    """What wires an instance on a node. none: the leaf's interface itself is the edge (bare metal)."""

    OVS = "ovs"
    EBPF = "ebpf"
    CLOUD = "cloud"
    NONE = "none"


class DriftPolicy(StrEnum):
    """What becomes of what somebody changed on a switch by hand.

    repair: it is changed back at once. keep: it stays until intent changes it or `weft fabric apply` names the switch.
    escalate: nothing more is changed on the switch until `weft fabric apply` names it.
    """

    REPAIR = "repair"
    KEEP = "keep"
    ESCALATE = "escalate"


class NumberRange(msgspec.Struct, frozen=True):
    """An inclusive range of numbers."""

    first: int
    last: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class FabricPools(msgspec.Struct, frozen=True, kw_only=True):
    """Where a site's fabric takes its numbers from. Defaults suit a first lab; a real site writes its own."""

    loopbacks: ipaddress.IPv4Network = ipaddress.IPv4Network("10.255.0.0/24")
    links: ipaddress.IPv4Network = ipaddress.IPv4Network("10.254.0.0/22")
    """Point-to-point links between switches, a /31 each (RFC 3021)."""
    management: ipaddress.IPv4Network = ipaddress.IPv4Network("172.31.0.0/16")
    """In-band management of nodes, a /24 per leaf."""
    spine_asn: int = 65000
    """All spines of a site share one ASN, every leaf has its own (RFC 7938, section 5.2.1)."""
    leaf_asns: NumberRange = NumberRange(65101, 65499)
    l2vnis: NumberRange = NumberRange(10000, 49999)
    l3vnis: NumberRange = NumberRange(50000, 59999)
    vlans: NumberRange = NumberRange(100, 3999)
    """VLANs that weft may use on node-facing interfaces; chosen per leaf."""
    exit_vnis: NumberRange = NumberRange(9000, 9999)
    """The first is the L3VNI of the VRF `outside`, in which border leaves meet routers outside; then one per exit."""
    provider_vlans: NumberRange | None = None
    """VLANs of the three-layer part's networks, the same on all its switches; None: no VLAN networks here."""
    physical_network: str | None = None
    """What VLAN networks of the site name as their `provider:physical_network`; None: the site's name."""
    mtu_bytes: int = 9216
    overlay_mtu_bytes: int = 1500
    gateway_mac: str = "00:00:5e:00:01:01"
    """The anycast gateway's MAC address, the same on every leaf."""


class Safety(msgspec.Struct, frozen=True, kw_only=True):
    """What a site's switches may be made to do without a human, and how a roll-out goes about it."""

    max_share: int = 50
    """Of the switches of a role, at most this many per cent may have sessions cut in one roll-out; one always may."""
    max_removed: int = 50
    """Of what a switch carries, at most this many per cent may go at once without a human, if it is much."""
    at_once: int = 4
    """Switches that are changed side by side once the first one is verified."""
    verify_s: int = 60
    """How long a changed switch may take until its sessions are up; then it is rolled back."""
    drift: DriftPolicy = DriftPolicy.REPAIR


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A region or availability zone."""

    name: SiteName
    fabric: FabricPools | None = None
    """None: a site without switches of ours, such as a public cloud."""
    safety: Safety | None = None
    """None: as Safety has it."""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """A device that weft configures."""

    name: SwitchName
    site: SiteName
    role: SwitchRole
    dialect: Dialect = Dialect.FRR
    management: str | None = None
    """Where the controller reaches it: host, or host:port, on the out-of-band network."""
    asn: int | None = None
    loopback: ipaddress.IPv4Address | None = None
    model: str | None = None
    """What its hardware can hold: a SwitchModel of the inventory, or one that weft knows (weft.fabric.limits). None:
    nothing is known to be limited but what 802.1Q limits."""
    drift: DriftPolicy | None = None
    """None: as its site says."""


class SwitchModel(msgspec.Struct, frozen=True, kw_only=True):
    """What switches of a kind can hold, and where that is written. None: not known, so not limited."""

    name: str
    vlans: int | None = None
    vnis: int | None = None
    """L2VNIs and L3VNIs together."""
    vrfs: int | None = None
    macs: int | None = None
    host_routes: int | None = None
    """ARP and ND entries and /32 and /128 routes, which share a table on most hardware."""
    prefixes: int | None = None
    acl_entries: int | None = None
    source: str = ""
    """The document that says so."""


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A host that instances run on, or a bare-metal server that is one."""

    name: NodeName
    site: SiteName
    dataplane: Dataplane = Dataplane.OVS
    management_address: ipaddress.IPv4Address | None = None
    """Its address in its leaf's management prefix; chosen by weft if left out."""
    projects: tuple[str, ...] = ()
    """Whose containers may run on it: its agent gets ports of no other project. Empty: of the server's own project."""


class LinkEnd(msgspec.Struct, frozen=True, order=True, gc=False):
    """One interface of one device (switch or node), written ``device:interface``."""

    device: str
    interface: str

    def __str__(self) -> str:
        return f"{self.device}:{self.interface}"


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A cable. The two ends are of two different devices; at least one is a switch.

    `management` holds for links to nodes: untagged frames on it belong to the leaf's management prefix. It is off
    where a bare-metal server's own network shall be the untagged one.
    """

    a: LinkEnd
    b: LinkEnd
    management: bool = True


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """A way out of a site: an interface of a border leaf, with a router behind it that weft does not configure.

    The two speak eBGP (IPv4 unicast). By it come routes to the outside, usually a default route; by it goes what
    tenants' routers announce: those that have an external gateway without SNAT.
    """

    switch: SwitchName
    interface: str
    vlan: int = 0
    """The tag of frames to the router; 0: none."""
    address: ipaddress.IPv4Interface
    """The border leaf's, with the length of the prefix that it shares with the router."""
    peer: str
    """What the router is called."""
    peer_address: ipaddress.IPv4Address
    peer_asn: int


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """All that is physically there. Checked as a whole by weft.fabric.topology.problems."""

    sites: tuple[Site, ...] = ()
    switches: tuple[Switch, ...] = ()
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    models: tuple[SwitchModel, ...] = ()
    """Models of switches that weft does not know, or of which the site knows better."""
    exits: tuple[Exit, ...] = ()
