"""Networks: created with a VNI of their site, changed, deleted with their subnets once no port is left."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.blocks import check_no_pool
from weft.intent.held import forget_subnet
from weft.intent.plan import forget_owner, unplan_subnet
from weft.intent.provider_vlans import provide_vlan, rest_provider_vlan, site_of_physical_network
from weft.intent.quotas import check_quota
from weft.intent.rbac import follow_flags, forget_policies
from weft.intent.rows import changed, given, network_of
from weft.intent.sites import check_vni, choose_vni, fabric_of
from weft.intent.subnet_cuts import give_back
from weft.intent.workload_release import drop_warm
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, SiteName, Vlan, Vni
from weft.model.intent import Network, NetworkType
from weft.model.inventory import FabricPools
from weft.model.plan import Level, Owner
from weft.model.retention import RELEASE_LABEL, parse_retention
from weft.store import Transaction

MIN_MTU_BYTES = 68
"""The smallest MTU that IPv4 runs on (RFC 791)."""

VXLAN_OVERHEAD_BYTES = 50
"""Outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 (RFC 7348, section 5)."""

MAX_NAMED = 20
"""Ports that an error names."""


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is chosen by weft."""

    project_id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    site: SiteName | None = None
    """None: the first site that has a fabric."""
    type: NetworkType | None = None
    """None: vxlan; vlan in a site that has VLAN switches only."""
    vni: Vni | None = None
    vlan: Vlan | None = None
    physical_network: str | None = None
    mtu_bytes: int | None = None
    """None: the overlay MTU of the site's fabric."""
    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    labels: Mapping[str, str] = {}
    port_security_enabled: bool = True
    dns_domain: str = ""
    zone_hints: tuple[str, ...] = ()


class NetworkChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    mtu_bytes: int | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    external: bool | UnsetType = UNSET
    labels: Mapping[str, str] | UnsetType = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    dns_domain: str | UnsetType = UNSET


def create_network(tx: Transaction, spec: NetworkSpec) -> Network:
    """Create a network with a VNI, or a VLAN, of its site.

    Raises NotFound for an unknown site, Invalid for a type or MTU that it can't carry, Conflict if the number is taken
    or none is left.
    """
    check_quota(tx, spec.project_id, "network")
    _check_labels(spec.labels)
    site, pools = fabric_of(tx, spec.site or site_of_physical_network(tx, spec.physical_network))
    network_id = NetworkId(tx.new_id())
    kind = spec.type or _usual_type(tx, site)
    numbers = _numbers(tx, network_id, spec, kind, site, pools)
    now = tx.clock()
    network = Network(
        id=network_id,
        site=site,
        type=kind,
        vni=numbers.vni,
        vlan=numbers.vlan,
        physical_network=numbers.physical_network,
        mtu_bytes=pools.overlay_mtu_bytes if spec.mtu_bytes is None else _mtu(spec.mtu_bytes, pools),
        admin_state_up=spec.admin_state_up,
        shared=spec.shared,
        external=spec.external,
        labels=spec.labels,
        port_security_enabled=spec.port_security_enabled,
        dns_domain=spec.dns_domain,
        zone_hints=spec.zone_hints,
        project_id=spec.project_id,
        name=spec.name,
        description=spec.description,
        tags=spec.tags,
        created_at=now,
        updated_at=now,
    )
    tx.put_network(network)
    follow_flags(tx, None, network)
    return network


class _Numbers(msgspec.Struct, frozen=True, kw_only=True):
    vni: Vni | None = None
    vlan: Vlan | None = None
    physical_network: str | None = None


def _usual_type(tx: Transaction, site: SiteName) -> NetworkType:
    return NetworkType.VLAN if tx.topology().has_only_vlans(site) else NetworkType.VXLAN


def _numbers(  # noqa: PLR0917 - what a request says
    tx: Transaction, network_id: NetworkId, spec: NetworkSpec, kind: NetworkType, site: SiteName, pools: FabricPools
) -> _Numbers:
    if kind is NetworkType.VLAN:
        provided = provide_vlan(tx, network_id, site, pools, spec.vlan, spec.physical_network)
        return _Numbers(vlan=provided.vlan, physical_network=provided.physical_network)
    if kind is not NetworkType.VXLAN or spec.vlan is not None:
        raise network_input(f"site '{site}' carries no networks of type '{kind}'; ask for 'vxlan'")
    if tx.topology().has_only_vlans(site):
        raise network_input(f"site '{site}' has VLAN switches only and carries no networks of type 'vxlan'")
    vni = choose_vni(tx, f"{site}/l2vnis", pools.l2vnis) if spec.vni is None else check_vni(tx, spec.vni)
    return _Numbers(vni=vni, physical_network=spec.physical_network)


def update_network(tx: Transaction, network_id: NetworkId, changes: NetworkChanges) -> Network:
    """Change a network. Raises NotFound, and Invalid for an MTU that its site can't carry."""
    before = network_of(tx, network_id)
    fields = given(changes)
    _check_labels(fields.get("labels", {}))
    if "mtu_bytes" in fields:
        _mtu(fields["mtu_bytes"], fabric_of(tx, before.site)[1])
    network = changed(tx, before, **fields)
    follow_flags(tx, before, network)
    tx.put_network(network)
    return network


def delete_network(tx: Transaction, network_id: NetworkId) -> None:
    """Delete a network, its subnets and warm ports. Raises NotFound; Conflict (NetworkInUse) while it has others."""
    network = network_of(tx, network_id)
    ports = drop_warm(tx, tx.each_port(network_id), limit=MAX_NAMED + 1)
    if ports:
        named = ",".join(ports[:MAX_NAMED]) + (" and more" if len(ports) > MAX_NAMED else "")
        message = (
            f"Unable to complete operation on network {network_id}. There are one or more ports still in use on the "
            f"network, id for these ports is: {named}."
        )
        raise Conflict(message, kind="NetworkInUse")
    for subnet in tx.subnets(network_id):
        check_no_pool(tx, subnet.id)
        unplan_subnet(tx, subnet.id)
        forget_subnet(tx, subnet)
        give_back(tx, subnet)
        tx.delete_subnet(subnet.id)
    forget_owner(tx, Owner(Level.NETWORK, network_id))
    forget_policies(tx, network_id)
    rest_provider_vlan(tx, network)
    tx.delete_network(network_id)


def _check_labels(labels: Mapping[str, str]) -> None:
    """Refuse a label that weft itself reads, and could not."""
    if RELEASE_LABEL in labels:
        parse_retention(labels[RELEASE_LABEL])


def _mtu(wanted_bytes: int, pools: FabricPools) -> int:
    most = pools.mtu_bytes - VXLAN_OVERHEAD_BYTES
    if wanted_bytes > most:
        raise network_input(f"Requested MTU {wanted_bytes} is too big, maximum is {most}")
    if wanted_bytes < MIN_MTU_BYTES:
        raise network_input(f"Requested MTU {wanted_bytes} is too small, minimum is {MIN_MTU_BYTES}")
    return wanted_bytes


def network_input(reason: str) -> Invalid:
    """Return the error for a value of a network that a caller may not ask for."""
    return Invalid(f"Invalid input for operation: {reason}.", kind="InvalidInput")
