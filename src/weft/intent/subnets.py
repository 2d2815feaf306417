"""Subnets: planned without overlap, with gateway and pools, deleted once no port has an address of them."""

import msgspec
from msgspec import UNSET, UnsetType

from weft.model.addresses import IPAddress, IPNetwork
from weft.model.ids import NetworkId, SubnetId
from weft.model.intent import AddressRange, HostRoute, Subnet
from weft.store import Transaction


class SubnetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for. Gateway UNSET: the first address; None: no gateway. Pools UNSET: all but the gateway."""

    project_id: str
    network_id: NetworkId
    cidr: IPNetwork
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    gateway: IPAddress | UnsetType | None = UNSET
    pools: tuple[AddressRange, ...] | UnsetType = UNSET
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()


class SubnetChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    gateway: IPAddress | UnsetType | None = UNSET
    pools: tuple[AddressRange, ...] | UnsetType = UNSET
    enable_dhcp: bool | UnsetType = UNSET
    dns_nameservers: tuple[str, ...] | UnsetType = UNSET
    host_routes: tuple[HostRoute, ...] | UnsetType = UNSET


def create_subnet(tx: Transaction, spec: SubnetSpec) -> Subnet:
    """Create a subnet."""
    raise NotImplementedError


def update_subnet(tx: Transaction, subnet_id: SubnetId, changes: SubnetChanges) -> Subnet:
    """Change a subnet."""
    raise NotImplementedError


def delete_subnet(tx: Transaction, subnet_id: SubnetId) -> None:
    """Delete a subnet."""
    raise NotImplementedError
