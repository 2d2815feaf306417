"""Subnet pools."""

from collections.abc import Callable, Iterable

from weft.api.neutron.address_scopes import scope_shared, who_shares
from weft.api.neutron.attributes import Attribute, Level, owned_attributes, project_of, shown
from weft.api.neutron.listing import ListQuery, Rendered
from weft.api.neutron.policy import missing
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed, render_owned
from weft.api.neutron.values import boolean, cidr, identifier, integer, items, oneline, or_none, strings
from weft.intent.address_scopes import scope_of
from weft.intent.rbac import shared_with
from weft.intent.subnet_pools import (
    LONGEST,
    SubnetPoolChanges,
    SubnetPoolSpec,
    create_pool,
    delete_pool,
    pool_of,
    update_pool,
)
from weft.model.addresses import IPNetwork
from weft.model.sharing import ObjectType
from weft.model.supply import SubnetPool
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

MAX_QUOTA = 2**63 - 1

_LENGTH = integer(0, LONGEST[6])


def prefixes(value: object) -> tuple[IPNetwork, ...]:
    """Accept a list of prefixes."""
    return tuple(cidr(each) for each in items(value))


ATTRIBUTES = {
    **owned_attributes(),
    "name": Attribute(oneline(255), put=True, required=True),
    "address_scope_id": Attribute(or_none(identifier), put=True),
    "default_prefixlen": Attribute(_LENGTH, put=True),
    "default_quota": Attribute(or_none(integer(0, MAX_QUOTA)), put=True),
    "ip_version": shown(filters=True, sorts=True),
    "is_default": Attribute(boolean, put=True, set_by=Level.ADMINISTRATOR, default=False),
    "max_prefixlen": Attribute(_LENGTH, put=True),
    "min_prefixlen": Attribute(_LENGTH, put=True),
    "prefixes": Attribute(prefixes, put=True, required=True, filters=False, sorts=False),
    "shared": Attribute(boolean, set_by=who_shares),
    "tags": Attribute(strings(255), sorts=False),
}

_CHANGED = {
    name: name
    for name in (
        "name",
        "description",
        "tags",
        "prefixes",
        "default_prefixlen",
        "min_prefixlen",
        "max_prefixlen",
        "default_quota",
        "address_scope_id",
        "is_default",
    )
}
_CREATED = {**_CHANGED, "shared": "shared"}


def _create(tx: Transaction, values: Values, project: str) -> SubnetPool:
    return create_pool(tx, SubnetPoolSpec(project_id=project_of(values, project), **renamed(values, _CREATED)))


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[SubnetPool]:
    return snapshot.records(
        Kind.SUBNET_POOL,
        SubnetPool,
        ids=query.filters.get("id"),
        name=query.only("name"),
        parent=query.only("address_scope_id") or None,
    )


def renderer(snapshot: Snapshot) -> Callable[[SubnetPool], Rendered]:
    """Return what shows pools of a snapshot."""
    del snapshot
    return render


def render(pool: SubnetPool) -> Rendered:
    """Return a pool as Neutron shows it: the lengths as strings."""
    return {
        **render_owned(pool),
        "address_scope_id": pool.address_scope_id,
        "default_prefixlen": str(pool.default_prefixlen),
        "default_quota": pool.default_quota,
        "ip_version": pool.ip_version,
        "is_default": pool.is_default,
        "max_prefixlen": str(pool.max_prefixlen),
        "min_prefixlen": str(pool.min_prefixlen),
        "prefixes": list(pool.prefixes),
        "shared": pool.shared,
    }


def pool_shared(snapshot: Snapshot, pool: SubnetPool, project: str) -> bool:
    """Tell whether a project may cut subnets from a pool that another owns."""
    return pool.shared or shared_with(snapshot, ObjectType.SUBNET_POOL, pool.id, project)


def _check_named(snapshot: Snapshot, values: Values, project: str) -> None:
    if (id_ := values.get("address_scope_id")) is None:
        return
    scope = scope_of(snapshot, id_)
    if scope.project_id != project and not scope_shared(snapshot, scope, project):
        raise missing("AddressScope", id_)


SUBNET_POOLS = Resource(
    name="subnetpool",
    collection="subnetpools",
    noun="SubnetPool",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.record(Kind.SUBNET_POOL, SubnetPool, id_),
    select=_select,
    renderer=renderer,
    owned=lambda row: row,
    create=_create,
    update=lambda tx, id_, values: update_pool(tx, id_, SubnetPoolChanges(**renamed(values, _CHANGED))),
    delete=delete_pool,
    shared=pool_shared,
    check_named=_check_named,
)


def check_pool_named(snapshot: Snapshot, values: Values, project: str) -> None:
    """Raise NotFound if a subnet is asked for of a pool that the project may not use."""
    if (id_ := values.get("subnetpool_id")) is None:
        return
    pool = pool_of(snapshot, id_)
    if pool.project_id != project and not pool_shared(snapshot, pool, project):
        raise missing("SubnetPool", id_)
