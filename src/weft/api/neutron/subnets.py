"""Subnets."""

from collections.abc import Callable, Iterable
from functools import cache

from weft.api.neutron.attributes import (
    NETWORK_ID,
    Attribute,
    Level,
    bad_request,
    owned_attributes,
    project_of,
    shown,
)
from weft.api.neutron.listing import ListQuery, Rendered, filter_value
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed, render_owned, rows_of
from weft.api.neutron.subnet_pools import check_pool_named
from weft.api.neutron.values import (
    address,
    addresses,
    boolean,
    cidr,
    host_routes,
    identifier,
    integer,
    one_of,
    only,
    or_none,
    pools,
)
from weft.intent.subnet_cuts import cut
from weft.intent.subnet_pools import LONGEST, default_pool
from weft.intent.subnets import SubnetChanges, SubnetSpec, create_subnet, delete_subnet, update_subnet
from weft.intent.visibility import leading_outside, network_sharing, network_visible
from weft.model.errors import Invalid
from weft.model.ids import NetworkId, SubnetId
from weft.model.intent import Ipv6Mode, Subnet
from weft.store import Snapshot, Transaction

SHARED = Attribute(sorts=False, filter_as=boolean, matched=False)
"""Whether its network is: subnets are looked for by it, and do not show it."""

ATTRIBUTES = {
    **owned_attributes(),
    "network_id": NETWORK_ID,
    "cidr": Attribute(or_none(cidr)),
    "ip_version": Attribute(one_of(4, 6), required=True),
    "gateway_ip": Attribute(or_none(address), put=True),
    "allocation_pools": Attribute(pools, put=True, filters=False, sorts=False),
    "enable_dhcp": Attribute(boolean, put=True),
    "dns_nameservers": Attribute(addresses, put=True, filters=False, sorts=False),
    "host_routes": Attribute(host_routes, put=True, filters=False, sorts=False),
    "ipv6_address_mode": Attribute(or_none(one_of(*(mode.value for mode in Ipv6Mode)))),
    "ipv6_ra_mode": Attribute(or_none(one_of(*(mode.value for mode in Ipv6Mode)))),
    "router:external": shown(filter_as=boolean),
    "shared": SHARED,
    "segment_id": Attribute(only(None), put=True, shown_to=Level.ADMINISTRATOR, set_by=Level.ADMINISTRATOR),
    "service_types": Attribute(only([]), put=True, filters=False, sorts=False, set_by=Level.ADMINISTRATOR, default=[]),
    "prefixlen": Attribute(or_none(integer(0, LONGEST[6])), filters=False, sorts=False),
    "subnetpool_id": Attribute(or_none(identifier)),
    "use_default_subnetpool": Attribute(boolean, filters=False, sorts=False),
}

_FIELDS = {
    "name": "name",
    "description": "description",
    "tags": "tags",
    "gateway_ip": "gateway",
    "allocation_pools": "pools",
    "enable_dhcp": "enable_dhcp",
    "dns_nameservers": "dns_nameservers",
    "host_routes": "host_routes",
}
_CREATED = {**_FIELDS, "ipv6_ra_mode": "ipv6_ra_mode", "ipv6_address_mode": "ipv6_address_mode"}


def _create(tx: Transaction, values: Values, project: str) -> Subnet:
    prefix, version = values.get("cidr"), values["ip_version"]
    owner, pool_id = project_of(values, project), _pool_named(tx, values)
    if prefix is None and pool_id is None:
        raise Invalid("Bad subnets request: a subnetpool must be specified in the absence of a cidr.")
    if prefix is not None and prefix.version != version:
        message = f"Invalid input for operation: cidr '{prefix}' does not match the ip_version '{version}'."
        raise Invalid(message, kind="InvalidInput")
    if pool_id is not None:
        prefix = cut(tx, pool_id, owner, version, wanted=prefix, prefixlen=values.get("prefixlen"))
    assert prefix is not None
    spec = SubnetSpec(
        project_id=owner,
        subnetpool_id=pool_id,
        network_id=NetworkId(values["network_id"]),
        cidr=prefix,
        **renamed({**values, **_modes(values)}, _CREATED),
    )
    return create_subnet(tx, spec)


def _pool_named(tx: Transaction, values: Values) -> str | None:
    """Return the pool that a new subnet shall be cut from; None if it brings its own prefix."""
    pool_id: str | None = values.get("subnetpool_id")
    if values.get("use_default_subnetpool"):
        if pool_id is not None:
            raise bad_request("subnetpool_id and use_default_subnetpool cannot both be specified")
        pool_id = default_pool(tx, values["ip_version"]).id
    if values.get("prefixlen") is not None and (pool_id is None or values.get("cidr") is not None):
        raise bad_request("prefixlen says what to cut from a subnet pool: give it with a pool and without a cidr")
    return pool_id


def _modes(values: Values) -> Values:
    names = ("ipv6_ra_mode", "ipv6_address_mode")
    return {name: None if values.get(name) is None else Ipv6Mode(values[name]) for name in names}


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[Subnet]:
    found = _named(snapshot, query)
    if (values := query.filters.get("shared")) is None:
        return found
    wanted = {filter_value("shared", SHARED, value) for value in values}
    is_shared = network_sharing(snapshot, query.seen_by)

    @cache
    def of_shared(network_id: NetworkId) -> bool:
        network = snapshot.network(network_id)
        return network is not None and is_shared(network)

    return [subnet for subnet in found if str(of_shared(subnet.network_id)) in wanted]


def _named(snapshot: Snapshot, query: ListQuery) -> Iterable[Subnet]:
    if (ids := query.filters.get("id")) is not None:
        return rows_of(lambda id_: snapshot.subnet(SubnetId(id_)), ids)
    networks = query.filters.get("network_id")
    if networks is None:
        return snapshot.subnets()
    return [subnet for id_ in sorted(set(networks)) for subnet in snapshot.subnets(NetworkId(id_))]


def _shared(snapshot: Snapshot, subnet: Subnet, project: str) -> bool:
    network = snapshot.network(subnet.network_id)
    return network is not None and network_visible(snapshot, network, project)


def renderer(snapshot: Snapshot, project: str | None = None) -> Callable[[Subnet], Rendered]:
    """Return what shows subnets of a snapshot, to a project or (None) to nobody in particular."""
    is_external = leading_outside(snapshot, project)

    @cache
    def external(network_id: NetworkId) -> bool:
        network = snapshot.network(network_id)
        return network is not None and is_external(network)

    return lambda subnet: render(subnet, external=external(subnet.network_id))


def render(subnet: Subnet, *, external: bool) -> Rendered:
    """Return a subnet as Neutron shows it; `external` is its network's."""
    return {
        **render_owned(subnet),
        "network_id": subnet.network_id,
        "ip_version": subnet.cidr.version,
        "cidr": str(subnet.cidr),
        "gateway_ip": None if subnet.gateway is None else str(subnet.gateway),
        "allocation_pools": [{"start": str(pool.start), "end": str(pool.end)} for pool in subnet.pools],
        "enable_dhcp": subnet.enable_dhcp,
        "dns_nameservers": list(subnet.dns_nameservers),
        "host_routes": [
            {"destination": str(route.destination), "nexthop": str(route.nexthop)} for route in subnet.host_routes
        ],
        "ipv6_address_mode": subnet.ipv6_address_mode,
        "ipv6_ra_mode": subnet.ipv6_ra_mode,
        "router:external": external,
        "segment_id": None,
        "service_types": [],
        "subnetpool_id": subnet.subnetpool_id,
    }


SUBNETS = Resource(
    name="subnet",
    collection="subnets",
    noun="Subnet",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.subnet(SubnetId(id_)),
    select=_select,
    renderer=renderer,
    renderer_for=renderer,
    owned=lambda row: row,
    create=_create,
    update=lambda tx, id_, values: update_subnet(tx, SubnetId(id_), SubnetChanges(**renamed(values, _FIELDS))),
    delete=lambda tx, id_: delete_subnet(tx, SubnetId(id_)),
    shared=_shared,
    network_of=lambda row: row.network_id,
    in_own_networks_only=True,
    check_named=check_pool_named,
)
