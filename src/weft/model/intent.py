"""The logical side: what tenants ask for. Routers (VRFs), networks, subnets, ports, and ports' bindings.

Times are Unix time in seconds. `project_id` is the tenant that owns the object. Values of which there are as many as
ports are left out of garbage collection (gc=False): they are frozen, so they form no cycles, and a collection that
looked at a million of them would stop the process for a second.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from weft.model.addresses import IPAddress, IPNetwork, Mac
from weft.model.ids import Epoch, NetworkId, NodeName, PortId, RouterId, SiteName, SubnetId, Vlan, Vni


class NetworkType(StrEnum):
    """How a network's segment is carried between leaves."""

    VLAN = "vlan"
    VXLAN = "vxlan"
    ROUTED = "routed"
    CLOUD = "cloud"


class Realizer(StrEnum):
    """Who makes a part of a binding real."""

    HOST = "host"
    FABRIC = "fabric"
    CLOUD = "cloud"


class RealizationState(StrEnum):
    """What a realizer has done for one binding epoch. gone: it has taken everything of it away again."""

    PENDING = "pending"
    UP = "up"
    FAILED = "failed"
    GONE = "gone"


class Ipv6Mode(StrEnum):
    """How hosts of an IPv6 subnet come by their addresses; by all but the first from their MAC (RFC 4291, EUI-64)."""

    DHCPV6_STATEFUL = "dhcpv6-stateful"
    DHCPV6_STATELESS = "dhcpv6-stateless"
    SLAAC = "slaac"


_FOLLOWING_MACS = (Ipv6Mode.SLAAC, Ipv6Mode.DHCPV6_STATELESS)


class Owned(msgspec.Struct, frozen=True, kw_only=True):
    """What every intent object carries, under Neutron's names."""

    project_id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    revision_number: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0


class RouterGateway(msgspec.Struct, frozen=True):
    """A router's way out; `port_id` holds its addresses on the external network."""

    network_id: NetworkId
    port_id: PortId
    enable_snat: bool = True


class Router(Owned, frozen=True, kw_only=True):
    """A tenant's routing domain (VPC): one VRF, one L3VNI. `vrf` is at most 15 bytes, as Linux wants it."""

    id: RouterId
    site: SiteName
    vrf: str
    l3vni: Vni
    admin_state_up: bool = True
    zone_hints: tuple[str, ...] = ()
    gateway: RouterGateway | None = None


class Network(Owned, frozen=True, kw_only=True):
    """One L2 segment. `vni` is set for vxlan, `vlan` for vlan; the VLAN that a vxlan network has on a leaf is no
    property of the network but of the leaf (see LeafVlan)."""

    id: NetworkId
    site: SiteName
    type: NetworkType = NetworkType.VXLAN
    vni: Vni | None = None
    vlan: Vlan | None = None
    physical_network: str | None = None
    mtu_bytes: int = 1500
    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    labels: Mapping[str, str] = {}
    hold_s: float | None = 0.0
    """How long the name of a deleted port keeps its addresses and MAC, for a port of that name; None: for ever."""
    port_security_enabled: bool = True
    """What its ports have unless they say otherwise."""
    dns_domain: str = ""
    zone_hints: tuple[str, ...] = ()


class AddressRange(msgspec.Struct, frozen=True):
    """An inclusive range of addresses of one family."""

    start: IPAddress
    end: IPAddress


class HostRoute(msgspec.Struct, frozen=True):
    """A route that a host of the subnet shall have."""

    destination: IPNetwork
    nexthop: IPAddress


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of a subnet that weft gives to no port, and why; or one that it keeps for the port of a name."""

    start: IPAddress
    end: IPAddress
    reason: str = ""
    project_id: str = ""
    port_name: str = ""
    """With `project_id`: the only port that may have the address, and that gets it."""


class Subnet(Owned, frozen=True, kw_only=True):
    """A CIDR of a network. `pools` are where weft picks addresses; a static request may lie outside them."""

    id: SubnetId
    network_id: NetworkId
    cidr: IPNetwork
    gateway: IPAddress | None
    pools: tuple[AddressRange, ...]
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()
    reserved: tuple[Reservation, ...] = ()
    """Apart from each other, in the order of addresses."""
    ipv6_ra_mode: Ipv6Mode | None = None
    """What the router's advertisements tell hosts to do."""
    ipv6_address_mode: Ipv6Mode | None = None
    subnetpool_id: str | None = None
    """What its prefix was cut from; None: from nothing, it was given."""

    @property
    def addresses_follow_macs(self) -> bool:
        """Whether hosts make their addresses of their MACs; then nothing is picked, and nothing can be asked for."""
        return self.ipv6_address_mode in _FOLLOWING_MACS or self.ipv6_ra_mode in _FOLLOWING_MACS


class RouterInterface(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A subnet attached to a router; `port_id` holds the gateway's address on it."""

    router_id: RouterId
    subnet_id: SubnetId
    network_id: NetworkId
    port_id: PortId


class Peering(msgspec.Struct, frozen=True, kw_only=True):
    """Two routers whose networks reach each other, and nothing beyond; their prefixes do not overlap."""

    id: str
    routers: tuple[RouterId, RouterId]
    """Sorted."""
    project_id: str
    """Whose user asked for it."""
    created_at: float = 0.0


class FixedIp(msgspec.Struct, frozen=True, gc=False):
    """An address of a port, and the subnet it is from."""

    subnet_id: SubnetId
    address: IPAddress


class AddressPair(msgspec.Struct, frozen=True, gc=False):
    """An address or prefix that a port may use besides its own, as the sender of what it says."""

    ip_address: str
    mac: Mac


class DhcpOption(msgspec.Struct, frozen=True):
    """An option that DHCP shall give to a port."""

    name: str
    value: str
    ip_version: int = 4


class PreparedBinding(msgspec.Struct, frozen=True):
    """A node that a port may move to, or has moved from: known, and carrying nothing. `owed` as a binding there has."""

    node: NodeName
    owed: frozenset[Realizer]
    vnic_type: str = "normal"
    profile: Mapping[str, object] = {}


class Port(Owned, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What is an instance's own for life: a name, a MAC, addresses, an owner, labels. Outlives its bindings.

    What becomes of it on which node is its weft.ports.lifecycle.Lifecycle.
    """

    id: PortId
    network_id: NetworkId
    mac: Mac
    fixed_ips: tuple[FixedIp, ...] = ()
    device_id: str = ""
    device_owner: str = ""
    admin_state_up: bool = True
    port_security_enabled: bool = True
    labels: Mapping[str, str] = {}
    security_groups: tuple[str, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    extra_dhcp_opts: tuple[DhcpOption, ...] = ()
    dns_name: str = ""
    dns_domain: str = ""
    vnic_type: str = "normal"
    """As its next binding shall be; a binding keeps its own."""
    profile: Mapping[str, object] = {}
    prepared: tuple[PreparedBinding, ...] = ()
    """Its bindings that Neutron calls inactive."""


class LeafVlan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The VLAN that stands for a network on the node-facing interfaces of one VLAN domain.

    A domain is a set of leaves that share nodes (one leaf, or an MLAG pair), named after its first leaf; see
    weft.fabric.topology.Topology.vlan_domain. `released_at` is set while the number rests before reuse.
    """

    domain: str
    network_id: NetworkId
    vlan: Vlan
    released_at: float | None = None


class Binding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A port on a node, in one epoch. Draining: a newer epoch exists, and this one is being taken away."""

    port_id: PortId
    node: NodeName
    epoch: Epoch
    owed: frozenset[Realizer]
    """Whose realization the port needs to be ACTIVE; decided from the node's dataplane when it was bound."""
    draining: bool = False
    vnic_type: str = "normal"
    profile: Mapping[str, object] = {}

    @property
    def is_trunk(self) -> bool:
        """Whether a bare-metal server is to have the network by a tag, beside others."""
        return is_trunk(self.profile)


def is_trunk(profile: Mapping[str, object]) -> bool:
    """Tell whether a binding's profile asks for a trunk: ``{"trunk": true}``; for bare metal, as others have one."""
    return profile.get("trunk") is True


class Realization(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one realizer has done for one binding epoch."""

    port_id: PortId
    epoch: Epoch
    realizer: Realizer
    state: RealizationState
    reason: str = ""
    at: float = 0.0


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One step in a port's life, as shown to people: what happened, when, who did it, for which epoch."""

    port_id: PortId
    at: float
    actor: str
    """``api``, ``agent/NODE``, ``fabric/SWITCH``, ``controller``."""
    step: str
    """One of weft.model.steps, or ``state`` for a transition of the port's state."""
    epoch: Epoch = Epoch(0)
    before: str = ""
    after: str = ""
    detail: str = ""


def overlap(a: IPNetwork, b: IPNetwork) -> bool:
    """Tell whether two prefixes share an address; prefixes of different families never do."""
    return a.version == b.version and a.overlaps(b)
