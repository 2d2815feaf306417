"""Address scopes: spaces of addresses in which no two subnet pools overlap."""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.rbac import forget_policies
from weft.intent.rows import changed, given
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.intent import Subnet
from weft.model.supply import AddressScope, SubnetPool
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind


class AddressScopeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    project_id: str
    ip_version: int
    name: str = ""
    shared: bool = False


class AddressScopeChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays."""

    name: str | UnsetType = UNSET
    shared: bool | UnsetType = UNSET


def create_scope(tx: Transaction, spec: AddressScopeSpec) -> AddressScope:
    """Create an address scope."""
    fields = {name: getattr(spec, name) for name in spec.__struct_fields__}
    now = tx.clock()
    scope = AddressScope(id=tx.new_id(), created_at=now, updated_at=now, **fields)
    _put(tx, scope)
    return scope


def update_scope(tx: Transaction, scope_id: str, changes: AddressScopeChanges) -> AddressScope:
    """Change a scope. Raises NotFound, and Invalid for one that shall no longer be shared: others may use it."""
    before = scope_of(tx, scope_id)
    if before.shared and changes.shared is False:
        message = f"Unable to update address scope {scope_id} : Shared address scope can't be unshared."
        raise Invalid(message, kind="AddressScopeUpdateError")
    scope = changed(tx, before, **given(changes))
    _put(tx, scope)
    return scope


def delete_scope(tx: Transaction, scope_id: str) -> None:
    """Delete a scope. Raises NotFound, and Conflict (AddressScopeInUse) while a subnet pool is in it."""
    scope_of(tx, scope_id)
    if pools_in(tx, scope_id):
        message = f"Unable to complete operation on address scope {scope_id}. There are one or more subnet pools in use"
        raise Conflict(f"{message} on the address scope", kind="AddressScopeInUse")
    forget_policies(tx, scope_id)
    tx.delete_record(Kind.ADDRESS_SCOPE, scope_id)


def scope_of(snapshot: Snapshot, scope_id: str) -> AddressScope:
    """Return a scope; raise NotFound."""
    found = snapshot.record(Kind.ADDRESS_SCOPE, AddressScope, scope_id)
    if found is None:
        raise NotFound(f"Address scope {scope_id} could not be found", kind="AddressScopeNotFound")
    return found


def pools_in(snapshot: Snapshot, scope_id: str) -> list[SubnetPool]:
    """Return the subnet pools in a scope."""
    return snapshot.records(Kind.SUBNET_POOL, SubnetPool, parent=scope_id)


def scopes_of(snapshot: Snapshot, subnets: Iterable[Subnet]) -> dict[int, str]:
    """Return the address scope that a network's subnets are in, by IP version; none where they are from no pool."""
    found = {}
    for pool_id in {subnet.subnetpool_id for subnet in subnets if subnet.subnetpool_id is not None}:
        pool = snapshot.record(Kind.SUBNET_POOL, SubnetPool, pool_id)
        if pool is not None and pool.address_scope_id is not None:
            found[pool.ip_version] = pool.address_scope_id
    return found


def _put(tx: Transaction, scope: AddressScope) -> None:
    tx.put_record(Kind.ADDRESS_SCOPE, scope.id, scope, project_id=scope.project_id, name=scope.name)
