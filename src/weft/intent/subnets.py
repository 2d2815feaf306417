"""Subnets: planned without overlap, with gateway and pools, deleted once no port has an address of them."""

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.blocks import check_no_pool
from weft.intent.following import check_modes, give_addresses, take_addresses
from weft.intent.held import forget_subnet
from weft.intent.plan import plan_subnet, unplan_subnet
from weft.intent.quotas import check_quota
from weft.intent.rows import changed, given, network_of, subnet_of
from weft.intent.subnet_cuts import give_back, note_cut
from weft.intent.workload_release import drop_warm
from weft.ipam.plan import check_gateway, check_pools, check_prefix, default_gateway, default_pools, overlapping
from weft.model.addresses import IPAddress, IPNetwork
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, SubnetId
from weft.model.intent import AddressRange, HostRoute, Ipv6Mode, Subnet
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
    ipv6_ra_mode: Ipv6Mode | None = None
    ipv6_address_mode: Ipv6Mode | None = None
    subnetpool_id: str | None = None
    """What its prefix was cut from."""


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
    """Create a subnet of a network.

    Raises NotFound for the network; Invalid for a prefix that overlaps another of the network, a gateway outside it,
    pools outside it; Conflict for pools that overlap or hold the gateway.
    """
    check_quota(tx, spec.project_id, "subnet")
    network = network_of(tx, spec.network_id)
    check_prefix(spec.cidr)
    check_modes(spec.cidr, spec.ipv6_ra_mode, spec.ipv6_address_mode, enable_dhcp=spec.enable_dhcp)
    if overlapping(spec.cidr, (subnet.cidr for subnet in tx.subnets(network.id))) is not None:
        message = (
            f"Invalid input for operation: Requested subnet with cidr: {spec.cidr} for network: {network.id} overlaps "
            "with another subnet."
        )
        raise Invalid(message, kind="InvalidInput")
    gateway = default_gateway(spec.cidr) if isinstance(spec.gateway, UnsetType) else spec.gateway
    check_gateway(spec.cidr, gateway)
    pools = default_pools(spec.cidr, gateway) if isinstance(spec.pools, UnsetType) else spec.pools
    check_pools(spec.cidr, pools, gateway)
    now = tx.clock()
    subnet = Subnet(
        id=SubnetId(tx.new_id()),
        network_id=network.id,
        cidr=spec.cidr,
        gateway=gateway,
        pools=pools,
        enable_dhcp=spec.enable_dhcp,
        dns_nameservers=spec.dns_nameservers,
        host_routes=spec.host_routes,
        ipv6_ra_mode=spec.ipv6_ra_mode,
        ipv6_address_mode=spec.ipv6_address_mode,
        subnetpool_id=spec.subnetpool_id,
        project_id=spec.project_id,
        name=spec.name,
        description=spec.description,
        tags=spec.tags,
        created_at=now,
        updated_at=now,
    )
    plan_subnet(tx, network, subnet)
    note_cut(tx, subnet)
    tx.put_subnet(subnet)
    if subnet.addresses_follow_macs:
        give_addresses(tx, subnet)
    return subnet


def update_subnet(tx: Transaction, subnet_id: SubnetId, changes: SubnetChanges) -> Subnet:
    """Change a subnet. Raises as create_subnet, and Conflict (GatewayIpInUse) for the gateway of a router."""
    before = subnet_of(tx, subnet_id)
    fields = given(changes)
    if fields.get("enable_dhcp") is False and (before.ipv6_ra_mode or before.ipv6_address_mode):
        raise Invalid(
            "Invalid input for operation: Cannot disable enable_dhcp with ipv6 attributes set.", kind="InvalidInput"
        )
    gateway, pools = fields.get("gateway", before.gateway), fields.get("pools", before.pools)
    if gateway != before.gateway:
        check_gateway(before.cidr, gateway)
        _check_unused_gateway(tx, before)
    if (gateway, pools) != (before.gateway, before.pools):
        check_pools(before.cidr, pools, gateway)
    subnet = changed(tx, before, **fields)
    tx.put_subnet(subnet)
    return subnet


def delete_subnet(tx: Transaction, subnet_id: SubnetId) -> None:
    """Delete a subnet. Raises NotFound, and Conflict (SubnetInUse) while a port has an address of it."""
    subnet = subnet_of(tx, subnet_id)
    if subnet.addresses_follow_macs and tx.router_interface(subnet.id) is None:
        take_addresses(tx, subnet)
    if drop_warm(tx, tx.each_port_in(subnet)):
        message = (
            f"Unable to complete operation on subnet {subnet.id}: One or more ports have an IP allocation from this "
            "subnet."
        )
        raise Conflict(message, kind="SubnetInUse")
    check_no_pool(tx, subnet.id)
    unplan_subnet(tx, subnet.id)
    forget_subnet(tx, subnet)
    give_back(tx, subnet)
    tx.delete_subnet(subnet.id)


def _check_unused_gateway(tx: Transaction, subnet: Subnet) -> None:
    for interface in tx.router_interfaces():
        if interface.subnet_id == subnet.id:
            message = f"Current gateway ip {subnet.gateway} already in use by port {interface.port_id}. Unable to"
            raise Conflict(f"{message} update.", kind="GatewayIpInUse")
