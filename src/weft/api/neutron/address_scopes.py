"""Address scopes."""

from collections.abc import Callable, Iterable

from weft.api.neutron.attributes import Attribute, Level, owned_attributes, project_of
from weft.api.neutron.listing import ListQuery, Rendered
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed
from weft.api.neutron.values import boolean, one_of, string
from weft.intent.address_scopes import (
    AddressScopeChanges,
    AddressScopeSpec,
    create_scope,
    delete_scope,
    update_scope,
)
from weft.intent.rbac import shared_with
from weft.model.sharing import ObjectType
from weft.model.supply import AddressScope
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

_OWNED = owned_attributes()


def who_shares(shared: object) -> Level:
    """Return who may share an object with every project."""
    return Level.ADMINISTRATOR if shared else Level.PROJECT


ATTRIBUTES = {
    **{name: _OWNED[name] for name in ("id", "project_id", "tenant_id")},
    "name": Attribute(string(255), put=True),
    "ip_version": Attribute(one_of(4, 6), required=True),
    "shared": Attribute(boolean, put=True, set_by=who_shares),
}

_FIELDS = {"name": "name", "shared": "shared"}


def _create(tx: Transaction, values: Values, project: str) -> AddressScope:
    fields = renamed(values, {**_FIELDS, "ip_version": "ip_version"})
    return create_scope(tx, AddressScopeSpec(project_id=project_of(values, project), **fields))


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[AddressScope]:
    return snapshot.records(Kind.ADDRESS_SCOPE, AddressScope, ids=query.filters.get("id"), name=query.only("name"))


def renderer(snapshot: Snapshot) -> Callable[[AddressScope], Rendered]:
    """Return what shows scopes of a snapshot."""
    del snapshot
    return render


def render(scope: AddressScope) -> Rendered:
    """Return a scope as Neutron shows it."""
    return {
        "id": scope.id,
        "project_id": scope.project_id,
        "tenant_id": scope.project_id,
        "name": scope.name,
        "shared": scope.shared,
        "ip_version": scope.ip_version,
    }


def scope_shared(snapshot: Snapshot, scope: AddressScope, project: str) -> bool:
    """Tell whether a project may see a scope that another owns."""
    return scope.shared or shared_with(snapshot, ObjectType.ADDRESS_SCOPE, scope.id, project)


ADDRESS_SCOPES = Resource(
    name="address_scope",
    collection="address_scopes",
    path="address-scopes",
    noun="AddressScope",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.record(Kind.ADDRESS_SCOPE, AddressScope, id_),
    select=_select,
    renderer=renderer,
    owned=lambda row: row,
    create=_create,
    update=lambda tx, id_, values: update_scope(tx, id_, AddressScopeChanges(**renamed(values, _FIELDS))),
    delete=delete_scope,
    shared=scope_shared,
)
