"""What addresses come from besides a subnet's own prefix: address scopes, subnet pools, floating IPs."""

from ipaddress import IPv4Address

import msgspec

from weft.model.ids import NetworkId, PortId, RouterId, SubnetId
from weft.model.intent import Owned


class AddressScope(Owned, frozen=True, kw_only=True):
    """A space of addresses of one family: the subnet pools in it do not overlap."""

    id: str
    ip_version: int
    shared: bool = False


class SubnetPool(Owned, frozen=True, kw_only=True):
    """Prefixes that subnets are cut from."""

    id: str
    prefixes: tuple[str, ...]
    """In order, and none next to another: neighbours are merged."""
    ip_version: int
    default_prefixlen: int
    min_prefixlen: int
    max_prefixlen: int
    default_quota: int | None = None
    """What one project may take: addresses (IPv4) or /64 prefixes (IPv6). None: as much as there is."""
    address_scope_id: str | None = None
    is_default: bool = False
    """Whether it serves who asks for a subnet of no particular pool."""
    shared: bool = False


class PoolPrefix(msgspec.Struct, frozen=True, kw_only=True):
    """What one subnet took from a pool."""

    subnet_id: SubnetId
    pool_id: str
    project_id: str
    cidr: str


class FloatingIp(Owned, frozen=True, kw_only=True):
    """An address of an external network that leads to a port's address behind a router."""

    id: str
    network_id: NetworkId
    """The external one."""
    holder_id: PortId
    """weft's own port on it, which has the address."""
    address: str
    port_id: PortId | None = None
    """Where it leads; None: nowhere."""
    fixed_ip: IPv4Address | None = None
    router_id: RouterId | None = None
    dns_name: str = ""
    dns_domain: str = ""
