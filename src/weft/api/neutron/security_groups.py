"""Security groups."""

from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response

from weft.api.neutron.attributes import Attribute, owned_attributes, project_of, shown
from weft.api.neutron.listing import ListQuery, Rendered
from weft.api.neutron.policy import acting_in, missing
from weft.api.neutron.resource import Resource, ResourcePages
from weft.api.neutron.rows import Values, renamed, render_owned
from weft.api.neutron.security_rules import render_rule
from weft.api.neutron.values import boolean, strings
from weft.intent.rbac import shared_ids, shared_with
from weft.intent.security_groups import (
    SecurityGroupChanges,
    SecurityGroupSpec,
    create_group,
    delete_group,
    ensure_default_group,
    group_of,
    update_group,
)
from weft.model.security import SecurityGroup, SecurityGroupRule
from weft.model.sharing import Action, ObjectType
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

ATTRIBUTES = {
    **owned_attributes(),
    "security_group_rules": shown(),
    "shared": shown(filter_as=boolean),
    "stateful": Attribute(boolean, put=True, sorts=False),
    "tags": Attribute(strings(255), sorts=False),
}

_FIELDS = {"name": "name", "description": "description", "tags": "tags", "stateful": "stateful"}


def _create(tx: Transaction, values: Values, project: str) -> SecurityGroup:
    return create_group(tx, SecurityGroupSpec(project_id=project_of(values, project), **renamed(values, _FIELDS)))


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[SecurityGroup]:
    owner = query.only("project_id") or query.only("tenant_id")
    return snapshot.records(
        Kind.SECURITY_GROUP,
        SecurityGroup,
        ids=query.filters.get("id"),
        project_id=owner,
        name=query.only("name"),
    )


def renderer(snapshot: Snapshot) -> Callable[[SecurityGroup], Rendered]:
    """Return what shows groups of a snapshot."""
    with_all = shared_ids(snapshot, ObjectType.SECURITY_GROUP, Action.ACCESS_AS_SHARED)

    def render(group: SecurityGroup) -> Rendered:
        rules = snapshot.records(Kind.SECURITY_GROUP_RULE, SecurityGroupRule, parent=group.id)
        return {
            **render_owned(group),
            "stateful": group.stateful,
            "shared": group.id in with_all,
            "security_group_rules": [{**render_rule(rule), "tags": []} for rule in rules],
        }

    return render


def group_shared(snapshot: Snapshot, group: SecurityGroup, project: str) -> bool:
    """Tell whether a project may use a group that another owns."""
    return shared_with(snapshot, ObjectType.SECURITY_GROUP, group.id, project)


def check_groups_named(snapshot: Snapshot, values: Values, project: str) -> None:
    """Raise NotFound if a port shall be in a group that the project may not use."""
    for id_ in values.get("security_groups", ()):
        group = group_of(snapshot, id_)
        if group.project_id != project and not group_shared(snapshot, group, project):
            raise missing("SecurityGroup", id_)


SECURITY_GROUPS = Resource(
    name="security_group",
    collection="security_groups",
    path="security-groups",
    noun="SecurityGroup",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.record(Kind.SECURITY_GROUP, SecurityGroup, id_),
    select=_select,
    renderer=renderer,
    owned=lambda row: row,
    create=_create,
    update=lambda tx, id_, values: update_group(tx, id_, SecurityGroupChanges(**renamed(values, _FIELDS))),
    delete=delete_group,
    shared=group_shared,
)


class SecurityGroupPages(ResourcePages[SecurityGroup]):
    """The pages of groups: whoever looks for theirs finds the default group."""

    async def index(self, request: Request) -> Response:
        """Answer the groups that the caller sees; its project's default group is among them."""
        project = acting_in(request, self._project).project
        if not await self._store.read(lambda snapshot: snapshot.usage(project, Kind.SECURITY_GROUP)):
            await self._store.transact(lambda tx: ensure_default_group(tx, project))
        return await super().index(request)
