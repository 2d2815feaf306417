"""Rules of security groups."""

import ipaddress
from collections.abc import Callable, Iterable

from weft.api.neutron.attributes import Attribute, owned_attributes, shown
from weft.api.neutron.listing import ListQuery, Rendered
from weft.api.neutron.policy import missing
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed, render_owned
from weft.api.neutron.values import Refused, boolean, identifier, integer, one_of, only, or_none, string
from weft.intent.rbac import shared_with
from weft.intent.security_groups import group_of
from weft.intent.security_rules import (
    SecurityGroupRuleSpec,
    create_rule,
    delete_rule,
    describe_rule,
    rule_of,
)
from weft.model.errors import Invalid
from weft.model.numbers import whole_number
from weft.model.security import PROTOCOLS, Direction, EtherType, SecurityGroupRule, default_group_id, protocol_number
from weft.model.sharing import ObjectType
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

MAX_PORT = 65535

_OWNED = owned_attributes()
_FAMILIES = {each.lower(): each for each in EtherType}
_DIRECTION = one_of(*(each.value for each in Direction))


def direction(value: object) -> Direction:
    """Accept ingress and egress."""
    return Direction(str(_DIRECTION(value)))


def ethertype(value: object) -> EtherType:
    """Accept IPv4 and IPv6, however they are written."""
    found = _FAMILIES.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise Refused(f"'{value}' is not in {[str(each) for each in EtherType]}")
    return found


def protocol(value: object) -> str | None:
    """Accept a name or a number of a protocol; null and "any" are any protocol."""
    if value is None or value == "any":
        return None
    text = str(value).lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if protocol_number(text) is None:
        message = f"Security group rule protocol {str(value)[:100]} not supported. Only protocol values "
        message += f"{[None, *PROTOCOLS]} and integer representations [0 to 255] are supported."
        raise Invalid(message, kind="SecurityGroupRuleInvalidProtocol")
    number = whole_number(text)
    return text if number is None else str(number)


def prefix(value: object) -> str | None:
    """Accept a prefix or an address; null and the empty string are none."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_interface(value))
        except ValueError:
            pass
    raise Refused(f"'{value}' is neither a valid CIDR nor a valid IP address")


ATTRIBUTES = {
    **{name: _OWNED[name] for name in ("id", "project_id", "tenant_id", "revision_number", "created_at", "updated_at")},
    "description": Attribute(or_none(string(255)), put=True, sorts=False),
    "belongs_to_default_sg": shown(filter_as=boolean),
    "direction": Attribute(direction, required=True),
    "ethertype": Attribute(ethertype),
    "normalized_cidr": shown(filters=True, sorts=True),
    "port_range_max": Attribute(or_none(integer(0, MAX_PORT))),
    "port_range_min": Attribute(or_none(integer(0, MAX_PORT))),
    "protocol": Attribute(protocol),
    "remote_address_group_id": Attribute(only(None)),
    "remote_group_id": Attribute(or_none(identifier)),
    "remote_ip_prefix": Attribute(prefix),
    "security_group_id": Attribute(identifier, required=True),
}

_FIELDS = {
    name: name
    for name in (
        "direction",
        "ethertype",
        "port_range_max",
        "port_range_min",
        "protocol",
        "remote_group_id",
        "remote_ip_prefix",
        "security_group_id",
    )
}


def _create(tx: Transaction, values: Values, project: str) -> SecurityGroupRule:
    del project  # a rule is its group's
    spec = SecurityGroupRuleSpec(**renamed(values, _FIELDS), description=values.get("description") or "")
    return create_rule(tx, spec)


def _update(tx: Transaction, id_: str, values: Values) -> SecurityGroupRule:
    if "description" not in values:
        return rule_of(tx, id_)
    return describe_rule(tx, id_, values["description"] or "")


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[SecurityGroupRule]:
    return snapshot.records(
        Kind.SECURITY_GROUP_RULE,
        SecurityGroupRule,
        ids=query.filters.get("id"),
        parent=query.only("security_group_id"),
        name=query.only("remote_group_id") or None,
        project_id=query.only("project_id") or query.only("tenant_id"),
    )


def renderer(snapshot: Snapshot) -> Callable[[SecurityGroupRule], Rendered]:
    """Return what shows rules of a snapshot."""
    del snapshot
    return render_rule


def render_rule(rule: SecurityGroupRule) -> Rendered:
    """Return a rule as Neutron shows it."""
    owned = render_owned(rule)
    del owned["name"], owned["tags"]
    wanted = rule.remote_ip_prefix
    return {
        **owned,
        "security_group_id": rule.security_group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": wanted,
        "normalized_cidr": None if wanted is None else str(ipaddress.ip_interface(wanted).network),
        "remote_group_id": rule.remote_group_id,
        "remote_address_group_id": None,
        "belongs_to_default_sg": rule.security_group_id == default_group_id(rule.project_id),
    }


def _check_named(snapshot: Snapshot, values: Values, project: str) -> None:
    """Let a project add rules to its own groups only, about groups that it may use."""
    if (id_ := values.get("security_group_id")) and group_of(snapshot, id_).project_id != project:
        raise missing("SecurityGroup", id_)
    if id_ := values.get("remote_group_id"):
        remote = group_of(snapshot, id_)
        if remote.project_id != project and not shared_with(snapshot, ObjectType.SECURITY_GROUP, id_, project):
            raise missing("SecurityGroup", id_)


SECURITY_GROUP_RULES = Resource(
    name="security_group_rule",
    collection="security_group_rules",
    path="security-group-rules",
    noun="SecurityGroupRule",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.record(Kind.SECURITY_GROUP_RULE, SecurityGroupRule, id_),
    select=_select,
    renderer=renderer,
    owned=lambda row: row,
    create=_create,
    update=_update,
    delete=delete_rule,
    check_named=_check_named,
)
