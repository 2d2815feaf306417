"""Cutting subnets from pools: which prefix a new subnet gets, and giving it back."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from weft.intent.subnet_pools import pool_of, taken_of
from weft.model.addresses import IPNetwork
from weft.model.errors import Conflict, Invalid
from weft.model.intent import Subnet, overlap
from weft.model.supply import PoolPrefix, SubnetPool
from weft.store import Transaction
from weft.store.changes import Kind

SHARED_LENGTH = 64
"""What a pool's quota counts in for IPv6: /64 prefixes, each of which serves a network."""


def cut(
    tx: Transaction,
    pool_id: str,
    project_id: str,
    version: int,
    *,
    wanted: IPNetwork | None = None,
    prefixlen: int | None = None,
) -> IPNetwork:
    """Return the prefix that a new subnet shall have: `wanted`, or a free one of this length, or of the pool's default.

    Raises NotFound for the pool; Invalid for another IP version and for a length that the pool does not give; Conflict
    if the prefix is not free, none is, or the project would have more of the pool than it may.
    """
    pool = pool_of(tx, pool_id)
    if version != pool.ip_version:
        message = f"Cannot allocate IPv{version} subnet from IPv{pool.ip_version} subnet pool."
        raise Invalid(message, kind="SubnetPoolInvalidIpVersion")
    length = wanted.prefixlen if wanted is not None else pool.default_prefixlen if prefixlen is None else prefixlen
    _check_length(pool, length)
    taken = taken_of(tx, pool_id)
    _check_pool_quota(pool, project_id, length, taken)
    used = [ip_network(each.cidr) for each in taken]
    prefixes = [ip_network(prefix) for prefix in pool.prefixes]
    found = free_prefix(prefixes, used, length) if wanted is None else wanted
    if found is None:
        raise _cannot(f"Insufficient prefix space to allocate subnet size /{length}")
    if not _is_free(found, prefixes, used):
        raise _cannot("Cannot allocate requested subnet from the available set of prefixes")
    return found


def note_cut(tx: Transaction, subnet: Subnet) -> None:
    """Note what a new subnet has cut from its pool, if it has one.

    Raises Invalid (NetworkSubnetPoolAffinityError) if its network has subnets of this IP version from elsewhere.
    """
    for other in tx.subnets(subnet.network_id):
        if other.cidr.version == subnet.cidr.version and other.subnetpool_id != subnet.subnetpool_id:
            message = "Subnets hosted on the same network must be allocated from the same subnet pool."
            raise Invalid(message, kind="NetworkSubnetPoolAffinityError")
    if subnet.subnetpool_id is None:
        return
    pool_id = subnet.subnetpool_id
    cut_ = PoolPrefix(subnet_id=subnet.id, pool_id=pool_id, project_id=subnet.project_id, cidr=str(subnet.cidr))
    tx.put_record(Kind.POOL_PREFIX, subnet.id, cut_, parent=pool_id, unique=f"{pool_id}/{subnet.cidr}")


def give_back(tx: Transaction, subnet: Subnet) -> None:
    """Let others have what a deleted subnet had cut from its pool."""
    if subnet.subnetpool_id is not None:
        tx.delete_record(Kind.POOL_PREFIX, subnet.id)


def free_prefix(prefixes: Iterable[IPNetwork], used: Iterable[IPNetwork], length: int) -> IPNetwork | None:
    """Return the lowest prefix of a length that lies in one of `prefixes` and overlaps none that is used."""
    taken = sorted((int(each.network_address), int(each.broadcast_address)) for each in used)
    for prefix in prefixes:
        if prefix.prefixlen > length:
            continue
        size = 1 << (prefix.max_prefixlen - length)
        start, end = int(prefix.network_address), int(prefix.broadcast_address)
        for first, last in taken:
            if first >= start + size:
                break
            if last >= start:
                start = -(-(last + 1) // size) * size
        if start + size - 1 <= end:
            return type(prefix)((start, length))
    return None


def _is_free(wanted: IPNetwork, prefixes: Sequence[IPNetwork], used: Sequence[IPNetwork]) -> bool:
    inside = any(each.supernet_of(wanted) for each in prefixes)  # type: ignore[arg-type]
    return inside and not any(overlap(wanted, each) for each in used)


def _check_length(pool: SubnetPool, length: int) -> None:
    if length < pool.min_prefixlen:
        message = f"Unable to allocate subnet with prefix length {length}, minimum allowed prefix is"
        raise Invalid(f"{message} {pool.min_prefixlen}.", kind="MinPrefixSubnetAllocationError")
    if length > pool.max_prefixlen:
        message = f"Unable to allocate subnet with prefix length {length}, maximum allowed prefix is"
        raise Invalid(f"{message} {pool.max_prefixlen}.", kind="MaxPrefixSubnetAllocationError")


def _check_pool_quota(pool: SubnetPool, project_id: str, length: int, taken: Iterable[PoolPrefix]) -> None:
    if pool.default_quota is None:
        return
    unit = 32 if pool.ip_version == 4 else SHARED_LENGTH
    own = [ip_network(each.cidr).prefixlen for each in taken if each.project_id == project_id]
    if sum(1 << max(unit - each, 0) for each in [*own, length]) > pool.default_quota:
        message = f"Per-tenant subnet pool prefix quota exceeded: project {project_id} may have {pool.default_quota}."
        raise Conflict(message, kind="SubnetPoolQuotaExceeded")


def _cannot(reason: str) -> Conflict:
    return Conflict(f"Failed to allocate subnet: {reason}.", kind="SubnetAllocationError")
