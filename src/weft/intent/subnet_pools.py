"""Subnet pools: prefixes that subnets are cut from, so that whoever asks for a subnet need not choose its addresses."""

from collections.abc import Iterable, Sequence
from ipaddress import collapse_addresses, ip_network

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.address_scopes import pools_in, scope_of
from weft.intent.quotas import check_quota
from weft.intent.rbac import forget_policies
from weft.intent.rows import changed, given
from weft.model.addresses import IPNetwork
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.intent import overlap
from weft.model.supply import PoolPrefix, SubnetPool
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

LONGEST = {4: 32, 6: 128}
"""Prefix lengths that a subnet may have at most, by IP version."""

SHORTEST = {4: 8, 6: 64}
"""Prefix lengths that a subnet of a pool has at least, unless the pool says otherwise."""


class SubnetPoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is as SHORTEST and LONGEST have it."""

    project_id: str
    prefixes: tuple[IPNetwork, ...]
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    default_prefixlen: int | None = None
    """None: as short as may be."""
    min_prefixlen: int | None = None
    max_prefixlen: int | None = None
    default_quota: int | None = None
    address_scope_id: str | None = None
    is_default: bool = False
    shared: bool = False


class SubnetPoolChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays. Prefixes are all that the pool shall have."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    prefixes: tuple[IPNetwork, ...] | UnsetType = UNSET
    default_prefixlen: int | UnsetType = UNSET
    min_prefixlen: int | UnsetType = UNSET
    max_prefixlen: int | UnsetType = UNSET
    default_quota: int | UnsetType | None = UNSET
    address_scope_id: str | UnsetType | None = UNSET
    is_default: bool | UnsetType = UNSET


def create_pool(tx: Transaction, spec: SubnetPoolSpec) -> SubnetPool:
    """Create a subnet pool.

    Raises Invalid for prefixes of both families or none, lengths that do not go together, a second default pool;
    NotFound for the address scope; Conflict for prefixes that overlap others of the scope.
    """
    check_quota(tx, spec.project_id, "subnetpool")
    version = _version(spec.prefixes)
    shortest = SHORTEST[version] if spec.min_prefixlen is None else spec.min_prefixlen
    now = tx.clock()
    pool = SubnetPool(
        id=tx.new_id(),
        ip_version=version,
        prefixes=_merged(spec.prefixes),
        min_prefixlen=shortest,
        max_prefixlen=LONGEST[version] if spec.max_prefixlen is None else spec.max_prefixlen,
        default_prefixlen=shortest if spec.default_prefixlen is None else spec.default_prefixlen,
        default_quota=spec.default_quota,
        address_scope_id=spec.address_scope_id,
        is_default=spec.is_default,
        shared=spec.shared,
        project_id=spec.project_id,
        name=spec.name,
        description=spec.description,
        tags=spec.tags,
        created_at=now,
        updated_at=now,
    )
    _check(tx, pool)
    _put(tx, pool)
    return pool


def update_pool(tx: Transaction, pool_id: str, changes: SubnetPoolChanges) -> SubnetPool:
    """Change a pool. Raises as create_pool, and Invalid for prefixes that no longer hold all that it had."""
    before = pool_of(tx, pool_id)
    fields = given(changes)
    if "prefixes" in fields:
        if _version(fields["prefixes"]) != before.ip_version:
            raise _mixed()
        fields["prefixes"] = _merged(fields["prefixes"])
        _check_kept(before, fields["prefixes"])
    pool = changed(tx, before, **fields)
    _check(tx, pool)
    _put(tx, pool)
    return pool


def delete_pool(tx: Transaction, pool_id: str) -> None:
    """Delete a pool. Raises NotFound, and Conflict (SubnetPoolDeleteError) while a subnet is cut from it."""
    pool_of(tx, pool_id)
    if tx.count_records(Kind.POOL_PREFIX, parent=pool_id):
        message = "Unable to delete subnet pool: Subnet pool has existing allocations."
        raise Conflict(message, kind="SubnetPoolDeleteError")
    forget_policies(tx, pool_id)
    tx.delete_record(Kind.SUBNET_POOL, pool_id)


def pool_of(snapshot: Snapshot, pool_id: str) -> SubnetPool:
    """Return a pool; raise NotFound."""
    found = snapshot.record(Kind.SUBNET_POOL, SubnetPool, pool_id)
    if found is None:
        raise NotFound(f"Subnet pool {pool_id} could not be found.", kind="SubnetPoolNotFound")
    return found


def default_pool(snapshot: Snapshot, version: int) -> SubnetPool:
    """Return the pool that serves who asks for a subnet of no particular one; raise NotFound if there is none."""
    for pool in snapshot.records(Kind.SUBNET_POOL, SubnetPool):
        if pool.is_default and pool.ip_version == version:
            return pool
    raise NotFound(f"No default subnetpool found for IPv{version}.", kind="NoDefaultSubnetPool")


def taken_of(snapshot: Snapshot, pool_id: str) -> list[PoolPrefix]:
    """Return what subnets have cut from a pool."""
    return snapshot.records(Kind.POOL_PREFIX, PoolPrefix, parent=pool_id)


def _version(prefixes: Sequence[IPNetwork]) -> int:
    versions = {prefix.version for prefix in prefixes}
    if not versions:
        raise Invalid("Empty subnet pool prefix list.", kind="EmptySubnetPoolPrefixList")
    if len(versions) > 1:
        raise _mixed()
    return versions.pop()


def _mixed() -> Invalid:
    return Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", kind="PrefixVersionMismatch")


def _merged(prefixes: Iterable[IPNetwork]) -> tuple[str, ...]:
    """Return prefixes in order, neighbours merged and what lies in another left out."""
    return tuple(str(each) for each in collapse_addresses(prefixes))  # type: ignore[type-var]


def _check(tx: Transaction, pool: SubnetPool) -> None:
    _check_lengths(pool)
    if pool.is_default:
        _check_only_default(tx, pool)
    if pool.address_scope_id is not None:
        _check_scope(tx, pool, pool.address_scope_id)


def _check_lengths(pool: SubnetPool) -> None:
    longest = LONGEST[pool.ip_version]
    for name, low, high in (
        ("min_prefixlen", 0, pool.max_prefixlen),
        ("max_prefixlen", pool.min_prefixlen, longest),
        ("default_prefixlen", pool.min_prefixlen, pool.max_prefixlen),
    ):
        length = getattr(pool, name)
        if not low <= length <= high:
            message = f"Illegal prefix bounds: {name}={length}, it must be {low} to {high}."
            raise Invalid(message, kind="IllegalSubnetPoolPrefixBounds")


def _check_only_default(tx: Transaction, pool: SubnetPool) -> None:
    for other in tx.records(Kind.SUBNET_POOL, SubnetPool):
        if other.is_default and other.ip_version == pool.ip_version and other.id != pool.id:
            message = "Invalid input for operation: A default subnetpool for this IP family has already been set. Only"
            raise Invalid(f"{message} one default may exist per IP family: {other.id}.", kind="InvalidInput")


def _check_scope(tx: Transaction, pool: SubnetPool, scope_id: str) -> None:
    scope = scope_of(tx, scope_id)
    if scope.ip_version != pool.ip_version:
        message = f"Illegal subnetpool association: subnetpool {pool.id} cannot be associated with address scope"
        message += f" {scope_id} because subnetpool ip_version is not {scope.ip_version}."
        raise Invalid(message, kind="IllegalSubnetPoolIpVersionAssociation")
    own = [ip_network(prefix) for prefix in pool.prefixes]
    for other in pools_in(tx, scope_id):
        if other.id != pool.id and any(overlap(ip_network(prefix), each) for prefix in other.prefixes for each in own):
            message = (
                "Failed to associate address scope: subnetpools within an address scope must have unique prefixes."
            )
            raise Conflict(f"{message} Pool {other.id} overlaps.", kind="AddressScopePrefixConflict")


def _check_kept(before: SubnetPool, prefixes: Sequence[str]) -> None:
    """Refuse to take space from a pool: subnets may be cut from it."""
    present = [ip_network(prefix) for prefix in prefixes]
    for prefix in map(ip_network, before.prefixes):
        if not any(each.supernet_of(prefix) for each in present):  # type: ignore[arg-type]
            message = f"Illegal update to prefixes: existing prefix {prefix} must stay part of"
            raise Invalid(f"{message} [{', '.join(prefixes)}].", kind="IllegalSubnetPoolPrefixUpdate")


def _put(tx: Transaction, pool: SubnetPool) -> None:
    tx.put_record(
        Kind.SUBNET_POOL,
        pool.id,
        pool,
        project_id=pool.project_id,
        name=pool.name,
        parent=pool.address_scope_id or "",
        unique=f"default/{pool.ip_version}" if pool.is_default else None,
    )
