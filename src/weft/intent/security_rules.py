"""Rules of security groups: checked as Neutron checks them, no two of a group the same."""

import ipaddress

import msgspec

from weft.intent.quotas import check_quota
from weft.intent.rows import changed
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.security import (
    ICMP,
    IPV6_ONLY,
    WITH_PORTS,
    Direction,
    EtherType,
    SecurityGroup,
    SecurityGroupRule,
    protocol_number,
)
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind


class SecurityGroupRuleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is not looked at."""

    security_group_id: str
    direction: Direction
    ethertype: EtherType = EtherType.IPV4
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    description: str = ""


def create_rule(tx: Transaction, spec: SecurityGroupRuleSpec) -> SecurityGroupRule:
    """Add a rule to a group.

    Raises NotFound for a group or remote group, Invalid for values that do not go together, Conflict if the group has
    this rule or its project may have no more rules.
    """
    group = _group(tx, spec.security_group_id)
    if spec.remote_group_id is not None:
        _group(tx, spec.remote_group_id)
    _check_remote(spec)
    _check_protocol(spec)
    _check_ports(spec)
    same = tx.records(Kind.SECURITY_GROUP_RULE, SecurityGroupRule, unique=_key(spec))
    if same:
        message = f"Security group rule already exists. Rule id is {same[0].id}."
        raise Conflict(message, kind="SecurityGroupRuleExists")
    rule = add_rule(tx, group.project_id, spec)
    _touch(tx, group)
    return rule


def add_rule(tx: Transaction, project_id: str, spec: SecurityGroupRuleSpec) -> SecurityGroupRule:
    """Write a rule that is known to be good. Raises Conflict if the project may have no more."""
    check_quota(tx, project_id, "security_group_rule")
    now = tx.clock()
    fields = {name: getattr(spec, name) for name in spec.__struct_fields__}
    rule = SecurityGroupRule(id=tx.new_id(), project_id=project_id, created_at=now, updated_at=now, **fields)
    _put(tx, rule)
    return rule


def describe_rule(tx: Transaction, rule_id: str, description: str) -> SecurityGroupRule:
    """Change what people say about a rule, all that can be changed of one. Raises NotFound."""
    rule = changed(tx, rule_of(tx, rule_id), description=description)
    _put(tx, rule)
    return rule


def delete_rule(tx: Transaction, rule_id: str) -> None:
    """Take a rule from its group. Raises NotFound."""
    rule = rule_of(tx, rule_id)
    tx.delete_record(Kind.SECURITY_GROUP_RULE, rule_id)
    _touch(tx, _group(tx, rule.security_group_id))


def rule_of(snapshot: Snapshot, rule_id: str) -> SecurityGroupRule:
    """Return a rule; raise NotFound."""
    found = snapshot.record(Kind.SECURITY_GROUP_RULE, SecurityGroupRule, rule_id)
    if found is None:
        raise NotFound(f"Security group rule {rule_id} does not exist", kind="SecurityGroupRuleNotFound")
    return found


def _group(tx: Transaction, group_id: str) -> SecurityGroup:
    found = tx.record(Kind.SECURITY_GROUP, SecurityGroup, group_id)
    if found is None:
        raise NotFound(f"Security group {group_id} does not exist", kind="SecurityGroupNotFound")
    return found


def _touch(tx: Transaction, group: SecurityGroup) -> None:
    """Count a change of a group's rules as one of the group."""
    later = changed(tx, group)
    tx.put_record(Kind.SECURITY_GROUP, group.id, later, project_id=group.project_id, name=group.name)


def _put(tx: Transaction, rule: SecurityGroupRule) -> None:
    tx.put_record(
        Kind.SECURITY_GROUP_RULE,
        rule.id,
        rule,
        project_id=rule.project_id,
        name=rule.remote_group_id or "",
        parent=rule.security_group_id,
        unique=_key(rule),
    )


def _key(rule: SecurityGroupRuleSpec | SecurityGroupRule) -> str:
    """Return what no two rules of a group may share."""
    number = None if rule.protocol is None else protocol_number(rule.protocol)
    parts = (
        rule.security_group_id,
        rule.direction,
        rule.ethertype,
        number,
        rule.port_range_min,
        rule.port_range_max,
        _whole(rule.remote_ip_prefix),
        rule.remote_group_id,
    )
    return "|".join("" if part is None else str(part) for part in parts)


def _whole(prefix: str | None) -> str | None:
    """Return a prefix without host bits, and None for the one that holds every address: it says as much as none."""
    network = None if prefix is None else ipaddress.ip_interface(prefix).network
    return None if network is None or network.prefixlen == 0 else str(network)


def _check_remote(spec: SecurityGroupRuleSpec) -> None:
    if spec.remote_ip_prefix is None:
        return
    if spec.remote_group_id is not None:
        message = "Only remote_ip_prefix or remote_group_id may be provided."
        raise Invalid(message, kind="SecurityGroupRemoteGroupAndRemoteIpPrefix")
    if ipaddress.ip_interface(spec.remote_ip_prefix).version != spec.ethertype.version:
        message = f"Conflicting value ethertype {spec.ethertype} for CIDR {spec.remote_ip_prefix}"
        raise Invalid(message, kind="SecurityGroupRuleParameterConflict")


def _check_protocol(spec: SecurityGroupRuleSpec) -> None:
    if spec.protocol is None or spec.ethertype is EtherType.IPV6:
        return
    if protocol_number(spec.protocol) in IPV6_ONLY:
        message = f"Invalid ethertype {spec.ethertype} for protocol {spec.protocol}."
        raise Invalid(message, kind="SecurityGroupEthertypeConflictWithProtocol")


def _check_ports(spec: SecurityGroupRuleSpec) -> None:
    first, last = spec.port_range_min, spec.port_range_max
    if first is None and last is None:
        return
    if spec.protocol is None:
        message = "Must also specify protocol if port range is given."
        raise Invalid(message, kind="SecurityGroupProtocolRequiredWithPorts")
    number = protocol_number(spec.protocol)
    if number in WITH_PORTS:
        if 0 in (first, last):
            raise Invalid("Invalid value for port 0", kind="SecurityGroupInvalidPortValue")
        if first is None or last is None or first > last:
            message = "For TCP/UDP protocols, port_range_min must be <= port_range_max"
            raise Invalid(message, kind="SecurityGroupInvalidPortRange")
    elif number in ICMP:
        _check_icmp(first, last)
    else:
        message = f"Invalid protocol {spec.protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP"
        raise Invalid(f"{message} and DCCP.", kind="SecurityGroupInvalidProtocolForPort")


def _check_icmp(type_: int | None, code: int | None) -> None:
    for field, attribute, value in (("type", "port-range-min", type_), ("code", "port-range-max", code)):
        if value is not None and value > 255:
            message = f"Invalid value for ICMP {field} ({attribute}) {value}. It must be 0 to 255."
            raise Invalid(message, kind="SecurityGroupInvalidIcmpValue")
    if type_ is None:
        message = f"ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."
        raise Invalid(message, kind="SecurityGroupMissingIcmpType")
