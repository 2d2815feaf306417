"""RBAC policies: who else may use an object."""

from collections.abc import Callable, Iterable

from weft.api.neutron.attributes import Attribute, Level, owned_attributes
from weft.api.neutron.listing import ListQuery, Rendered
from weft.api.neutron.policy import denied
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values
from weft.api.neutron.values import Refused, identifier, one_of, string
from weft.intent.rbac import (
    create_policy,
    delete_policy,
    owner_of,
    policy_of,
    retarget_policy,
)
from weft.model.sharing import ALL, Action, ObjectType, RbacPolicy
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

_OWNED = owned_attributes()
_PROJECT = string(255)


def _target(value: object) -> object:
    """Accept the id of a project, or that of all."""
    if not _PROJECT(value):
        raise Refused(f"'{value}' is neither the id of a project nor '{ALL}'")
    return value


def _who_shares_with(target: object) -> Level:
    """Return who may share an object with a project: with all of them, administrators only."""
    return Level.ADMINISTRATOR if target == ALL else Level.PROJECT


def _who_does(action: object) -> Level:
    """Return who may let others do something: make a network lead outside, administrators only."""
    return Level.ADMINISTRATOR if action == Action.ACCESS_AS_EXTERNAL else Level.PROJECT


ATTRIBUTES = {
    **{name: _OWNED[name] for name in ("id", "project_id", "tenant_id")},
    "action": Attribute(one_of(*(each.value for each in Action)), required=True, sorts=False, set_by=_who_does),
    "object_id": Attribute(identifier, required=True, sorts=False),
    "object_type": Attribute(one_of(*(each.value for each in ObjectType)), required=True, sorts=False),
    "target_tenant": Attribute(_target, put=True, required=True, sorts=False, set_by=_who_shares_with),
}


def _create(tx: Transaction, values: Values, project: str) -> RbacPolicy:
    del project  # a policy is its object's owner's
    policy = RbacPolicy(
        id="",
        project_id="",
        object_type=ObjectType(values["object_type"]),
        object_id=values["object_id"],
        action=Action(values["action"]),
        target_project=values["target_tenant"],
    )
    return create_policy(tx, policy)


def _update(tx: Transaction, id_: str, values: Values) -> RbacPolicy:
    if "target_tenant" not in values:
        return policy_of(tx, id_)
    return retarget_policy(tx, id_, values["target_tenant"])


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[RbacPolicy]:
    return snapshot.records(
        Kind.RBAC_POLICY,
        RbacPolicy,
        ids=query.filters.get("id"),
        parent=query.only("object_id"),
        project_id=query.only("project_id") or query.only("tenant_id"),
    )


def renderer(snapshot: Snapshot) -> Callable[[RbacPolicy], Rendered]:
    """Return what shows policies of a snapshot."""
    del snapshot
    return render


def render(policy: RbacPolicy) -> Rendered:
    """Return a policy as Neutron shows it."""
    return {
        "id": policy.id,
        "project_id": policy.project_id,
        "tenant_id": policy.project_id,
        "object_type": policy.object_type,
        "object_id": policy.object_id,
        "action": policy.action,
        "target_tenant": policy.target_project,
    }


def _check_named(snapshot: Snapshot, values: Values, project: str) -> None:
    """Let a project share its own objects only."""
    if "object_id" not in values:
        return
    if owner_of(snapshot, ObjectType(values["object_type"]), values["object_id"]) != project:
        raise denied("rule:create_rbac_policy")


RBAC_POLICIES = Resource(
    name="rbac_policy",
    collection="rbac_policies",
    path="rbac-policies",
    noun="RbacPolicy",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.record(Kind.RBAC_POLICY, RbacPolicy, id_),
    select=_select,
    renderer=renderer,
    owned=lambda row: row,
    create=_create,
    update=_update,
    delete=delete_policy,
    check_named=_check_named,
)
