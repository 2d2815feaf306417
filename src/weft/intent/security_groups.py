"""Security groups and their rules: every project has a default group, and every port is in some group.

Ports name their groups themselves. Which ports are in a group is looked up by member records; those in the default
group of their own project have none, because nearly every port is, and a project says which those are.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.quotas import NOBODY, check_quota
from weft.intent.rows import changed, given
from weft.intent.security_rules import SecurityGroupRuleSpec, add_rule
from weft.model.errors import Conflict, NotFound
from weft.model.intent import Port
from weft.model.security import (
    DEFAULT_GROUP,
    Direction,
    EtherType,
    SecurityGroup,
    SecurityGroupMember,
    SecurityGroupRule,
    default_group_id,
)
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind


class SecurityGroupSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    project_id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    stateful: bool = True


class SecurityGroupChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    stateful: bool | UnsetType = UNSET


def create_group(tx: Transaction, spec: SecurityGroupSpec) -> SecurityGroup:
    """Create a group that lets everything out and nothing in.

    Raises Conflict for the name of the default group, and for a project that may have no more groups.
    """
    if spec.name == DEFAULT_GROUP:
        raise Conflict("Default security group already exists.", kind="SecurityGroupDefaultAlreadyExists")
    ensure_default_group(tx, spec.project_id)
    return _put_new(tx, tx.new_id(), spec)


def update_group(tx: Transaction, group_id: str, changes: SecurityGroupChanges) -> SecurityGroup:
    """Change a group. Raises NotFound, and Conflict for a new name of the default group or new state while in use."""
    before = group_of(tx, group_id)
    fields = given(changes)
    name = fields.get("name", before.name)
    if name != before.name and before.is_default:
        raise Conflict("Updating default security group not allowed.", kind="SecurityGroupCannotUpdateDefault")
    if name != before.name and name == DEFAULT_GROUP:
        raise Conflict("Default security group already exists.", kind="SecurityGroupDefaultAlreadyExists")
    if fields.get("stateful", before.stateful) != before.stateful:
        _check_unused(tx, before)
    group = changed(tx, before, **fields)
    _put(tx, group)
    return group


def delete_group(tx: Transaction, group_id: str) -> None:
    """Delete a group, its rules, and the rules of others that name it as the remote group.

    Raises NotFound; Conflict while a port is in it, and for the default group while the project has another group.
    """
    group = group_of(tx, group_id)
    _check_unused(tx, group)
    if group.is_default and tx.usage(group.project_id, Kind.SECURITY_GROUP) > 1:
        message = "Insufficient rights for removing default security group. It goes last: the project has other groups."
        raise Conflict(message, kind="SecurityGroupCannotRemoveDefault")
    about = [
        *tx.records(Kind.SECURITY_GROUP_RULE, SecurityGroupRule, parent=group_id),
        *tx.records(Kind.SECURITY_GROUP_RULE, SecurityGroupRule, name=group_id),
    ]
    for rule_id in {rule.id for rule in about}:
        tx.delete_record(Kind.SECURITY_GROUP_RULE, rule_id)
    tx.delete_record(Kind.SECURITY_GROUP, group_id)


def ensure_default_group(tx: Transaction, project_id: str) -> str:
    """Return the id of a project's default group, which is created if the project has no group at all."""
    group_id = default_group_id(project_id)
    if project_id == NOBODY or tx.usage(project_id, Kind.SECURITY_GROUP):
        return group_id
    spec = SecurityGroupSpec(project_id=project_id, name=DEFAULT_GROUP, description="Default security group")
    _put_new(tx, group_id, spec)
    for ethertype in EtherType:
        let_in = SecurityGroupRuleSpec(
            security_group_id=group_id, direction=Direction.INGRESS, ethertype=ethertype, remote_group_id=group_id
        )
        add_rule(tx, project_id, let_in)
    return group_id


def groups_of_new_port(
    tx: Transaction, project_id: str, wanted: Sequence[str] | None, *, port_security: bool
) -> tuple[str, ...]:
    """Return the groups that a new port shall be in: those wanted; the default group if that is None.

    Raises NotFound for a group that is not there, Conflict for groups of a port without port security.
    """
    if wanted is None:
        return (ensure_default_group(tx, project_id),) if port_security and project_id != NOBODY else ()
    return checked_groups(tx, wanted, port_security=port_security)


def checked_groups(tx: Transaction, wanted: Sequence[str], *, port_security: bool) -> tuple[str, ...]:
    """Return groups that a port shall be in, each once. Raises as groups_of_new_port."""
    if wanted and not port_security:
        message = "Port Security must be enabled in order to have allowed address pairs or security groups on a port."
        raise Conflict(message, kind="PortSecurityAndIPRequiredForSecurityGroups")
    for group_id in wanted:
        group_of(tx, group_id)
    return tuple(sorted(set(wanted)))


def note_members(tx: Transaction, port: Port | None, before: Port | None) -> None:
    """Keep the member records of a port that is written, or deleted (None)."""
    old = set() if before is None else _recorded(before)
    new = set() if port is None else _recorded(port)
    for port_id, group_id in old - new:
        tx.delete_record(Kind.SECURITY_GROUP_MEMBER, f"{port_id}/{group_id}")
    for port_id, group_id in new - old:
        member = SecurityGroupMember(port_id=port_id, security_group_id=group_id)
        tx.put_record(Kind.SECURITY_GROUP_MEMBER, f"{port_id}/{group_id}", member, parent=group_id)


def group_of(snapshot: Snapshot, group_id: str) -> SecurityGroup:
    """Return a group; raise NotFound."""
    found = snapshot.record(Kind.SECURITY_GROUP, SecurityGroup, group_id)
    if found is None:
        raise NotFound(f"Security group {group_id} does not exist", kind="SecurityGroupNotFound")
    return found


def _recorded(port: Port) -> set[tuple[str, str]]:
    own = default_group_id(port.project_id)
    return {(port.id, group_id) for group_id in port.security_groups if group_id != own}


def _put_new(tx: Transaction, group_id: str, spec: SecurityGroupSpec) -> SecurityGroup:
    check_quota(tx, spec.project_id, "security_group")
    now = tx.clock()
    group = SecurityGroup(
        id=group_id,
        project_id=spec.project_id,
        name=spec.name,
        description=spec.description,
        tags=spec.tags,
        stateful=spec.stateful,
        created_at=now,
        updated_at=now,
    )
    _put(tx, group)
    for ethertype in EtherType:
        let_out = SecurityGroupRuleSpec(security_group_id=group_id, direction=Direction.EGRESS, ethertype=ethertype)
        add_rule(tx, spec.project_id, let_out)
    return group


def _put(tx: Transaction, group: SecurityGroup) -> None:
    tx.put_record(Kind.SECURITY_GROUP, group.id, group, project_id=group.project_id, name=group.name)


def _check_unused(tx: Transaction, group: SecurityGroup) -> None:
    used = tx.count_records(Kind.SECURITY_GROUP_MEMBER, parent=group.id) > 0
    if not used and group.is_default:
        used = any(group.id in view.port.security_groups for view in tx.ports(project_id=group.project_id))
    if used:
        raise Conflict(f"Security Group {group.id} in use.", kind="SecurityGroupInUse")
