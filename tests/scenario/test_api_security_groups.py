"""Security groups and their rules, as Neutron's clients see them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from neutron_projects import ADMIN, BLUE, RED, Projects, projects

GROUPS, RULES = "security-groups", "security-group-rules"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Projects]:
    async with projects(tmp_path) as running:
        yield running


async def group_of(api: Projects, who: str, **attributes: object) -> dict[str, Any]:
    return await api.create(who, "security_group", GROUPS, **attributes)


async def rule_of(api: Projects, who: str, group: str, **attributes: object) -> dict[str, Any]:
    given = {"security_group_id": group, "direction": "ingress", **attributes}
    return await api.create(who, "security_group_rule", RULES, **given)


async def rule_refused(api: Projects, who: str, group: str, **attributes: object) -> tuple[int, str]:
    given = {"security_group_id": group, "direction": "ingress", **attributes}
    status, kind, _ = await api.refused(who, "POST", RULES, {"security_group_rule": given})
    return status, kind


async def test_every_project_finds_its_default_group(api: Projects) -> None:
    (red,) = await api.get(RED, GROUPS)
    (blue,) = await api.get(BLUE, GROUPS)
    assert (red["name"], red["project_id"], blue["project_id"]) == ("default", "red", "blue")
    rules = {(rule["direction"], rule["ethertype"], rule["remote_group_id"]) for rule in red["security_group_rules"]}
    assert rules == {
        ("ingress", "IPv4", red["id"]),
        ("ingress", "IPv6", red["id"]),
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
    }
    assert {rule["belongs_to_default_sg"] for rule in await api.get(RED, RULES)} == {True}
    assert await api.get(RED, GROUPS) == [red]


async def test_a_new_group_lets_everything_out_and_is_shown_as_recorded(api: Projects) -> None:
    made = await group_of(api, RED, name="sg")
    assert made.keys() == {
        *("id", "name", "stateful", "tenant_id", "project_id", "description", "shared", "security_group_rules"),
        *("tags", "created_at", "updated_at", "revision_number"),
    }
    assert [(rule["direction"], rule["ethertype"]) for rule in made["security_group_rules"]] == [
        ("egress", "IPv4"),
        ("egress", "IPv6"),
    ]
    assert sorted(group["name"] for group in await api.get(RED, GROUPS)) == ["default", "sg"]


async def test_a_rule_is_shown_as_recorded_and_changes_its_group(api: Projects) -> None:
    group = await group_of(api, RED, name="sg")
    rule = await rule_of(api, RED, group["id"], protocol="tcp", port_range_min=80, port_range_max=80)
    assert rule.keys() == {
        *("id", "project_id", "tenant_id", "security_group_id", "ethertype", "direction", "protocol", "created_at"),
        *("port_range_min", "port_range_max", "remote_ip_prefix", "remote_address_group_id", "normalized_cidr"),
        *("remote_group_id", "belongs_to_default_sg", "description", "updated_at", "revision_number"),
    }
    shown = await api.get(RED, f"{GROUPS}/{group['id']}")
    assert shown["revision_number"] > group["revision_number"]
    assert rule["id"] in {each["id"] for each in shown["security_group_rules"]}
    assert [each["id"] for each in await api.get(RED, f"{RULES}?protocol=tcp")] == [rule["id"]]
    changed = await api.update(RED, "security_group_rule", f"{RULES}/{rule['id']}", description="web")
    assert changed["description"] == "web"
    await api.delete(RED, f"{RULES}/{rule['id']}")
    assert len((await api.get(RED, f"{GROUPS}/{group['id']}"))["security_group_rules"]) == 2


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"port_range_min": 80, "port_range_max": 80}, (400, "SecurityGroupProtocolRequiredWithPorts")),
        ({"protocol": "tcp", "port_range_min": 90, "port_range_max": 80}, (400, "SecurityGroupInvalidPortRange")),
        ({"protocol": "tcp", "port_range_min": 80}, (400, "SecurityGroupInvalidPortRange")),
        ({"protocol": "udp", "port_range_min": 0, "port_range_max": 0}, (400, "SecurityGroupInvalidPortValue")),
        ({"protocol": "gre", "port_range_min": 1, "port_range_max": 1}, (400, "SecurityGroupInvalidProtocolForPort")),
        ({"protocol": "icmp", "port_range_min": 256}, (400, "SecurityGroupInvalidIcmpValue")),
        ({"protocol": "icmp", "port_range_max": 0}, (400, "SecurityGroupMissingIcmpType")),
        ({"protocol": "ipv6-icmp"}, (400, "SecurityGroupEthertypeConflictWithProtocol")),
        ({"remote_ip_prefix": "2001:db8::/32"}, (400, "SecurityGroupRuleParameterConflict")),
        ({"protocol": "nosuch"}, (400, "SecurityGroupRuleInvalidProtocol")),
        ({"protocol": "256"}, (400, "SecurityGroupRuleInvalidProtocol")),
        ({"remote_ip_prefix": "10.0.0.0/33"}, (400, "HTTPBadRequest")),
        ({"remote_group_id": "00000000-0000-0000-0000-000000000000"}, (404, "SecurityGroupNotFound")),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(
    api: Projects, rule: dict[str, object], error: tuple[int, str]
) -> None:
    group = (await group_of(api, RED))["id"]
    assert await rule_refused(api, RED, group, **rule) == error
    both = {"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": group}
    assert await rule_refused(api, RED, group, **both) == (400, "SecurityGroupRemoteGroupAndRemoteIpPrefix")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"protocol": "tcp"}, {"protocol": "6"}),
        ({"protocol": "TCP"}, {"protocol": 6}),
        ({}, {"remote_ip_prefix": "0.0.0.0/0", "protocol": "any"}),
        ({"remote_ip_prefix": "10.1.2.3/8"}, {"remote_ip_prefix": "10.0.0.0/8", "ethertype": "ipv4"}),
    ],
)
async def test_a_group_has_no_rule_twice_however_it_is_written(
    api: Projects, one: dict[str, object], other: dict[str, object]
) -> None:
    group = (await group_of(api, RED))["id"]
    first = await rule_of(api, RED, group, **one)
    given = {"security_group_id": group, "direction": "ingress", **other}
    found = await api.refused(RED, "POST", RULES, {"security_group_rule": given})
    message = f"Security group rule already exists. Rule id is {first['id']}."
    assert found == (409, "SecurityGroupRuleExists", message)
    twice = {"security_group_rules": [{**given, "ethertype": "IPv6", "remote_ip_prefix": None}] * 2}
    assert (await api.refused(RED, "POST", RULES, twice))[1] == "SecurityGroupRuleExists"
    assert len((await api.get(RED, f"{GROUPS}/{group}"))["security_group_rules"]) == 3


async def test_a_port_is_in_the_default_group_or_in_those_it_names(api: Projects) -> None:
    network, _ = await api.network(RED)
    default = (await api.create(RED, "port", network_id=network))["security_groups"]
    assert default == [(await api.get(RED, f"{GROUPS}?name=default"))[0]["id"]]
    group = (await group_of(api, RED, name="web"))["id"]
    port = await api.create(RED, "port", network_id=network, security_groups=[group])
    assert port["security_groups"] == [group]
    assert (await api.create(RED, "port", network_id=network, security_groups=[]))["security_groups"] == []
    assert [each["id"] for each in await api.get(RED, f"ports?security_groups={group}")] == [port["id"]]
    assert (await api.refused(RED, "DELETE", f"{GROUPS}/{group}"))[:2] == (409, "SecurityGroupInUse")
    assert (await api.refused(ADMIN, "DELETE", f"{GROUPS}/{default[0]}"))[:2] == (409, "SecurityGroupInUse")
    moved = await api.update(RED, "port", f"ports/{port['id']}", security_groups=default)
    assert moved["security_groups"] == default
    await api.delete(RED, f"{GROUPS}/{group}")


async def test_a_deleted_port_lets_go_of_its_group(api: Projects) -> None:
    network, _ = await api.network(RED)
    group = (await group_of(api, RED))["id"]
    port = (await api.create(RED, "port", network_id=network, security_groups=[group]))["id"]
    await api.delete(RED, f"ports/{port}")
    await api.delete(RED, f"{GROUPS}/{group}")


async def test_a_group_that_is_not_there_or_not_ones_own_is_not_found(api: Projects) -> None:
    network, _ = await api.network(RED)
    blue = (await group_of(api, BLUE, name="b"))["id"]
    for group in (blue, "00000000-0000-0000-0000-000000000000"):
        body = {"port": {"network_id": network, "security_groups": [group]}}
        assert (await api.refused(RED, "POST", "ports", body))[:2] == (404, "SecurityGroupNotFound")
        assert await rule_refused(api, RED, group) == (404, "SecurityGroupNotFound")
        assert (await api.refused(RED, "GET", f"{GROUPS}/{group}"))[0] == 404
    assert "b" not in {each["name"] for each in await api.get(RED, GROUPS)}
    assert {each["project_id"] for each in await api.get(RED, RULES)} == {"red"}


async def test_groups_and_port_security_go_together(api: Projects) -> None:
    network, _ = await api.network(RED)
    group = (await group_of(api, RED))["id"]
    open_port = await api.create(RED, "port", network_id=network, port_security_enabled=False)
    assert open_port["security_groups"] == []
    body = {"port": {"network_id": network, "port_security_enabled": False, "security_groups": [group]}}
    assert (await api.refused(RED, "POST", "ports", body))[0] == 409
    port = (await api.create(RED, "port", network_id=network))["id"]
    assert (await api.refused(RED, "PUT", f"ports/{port}", {"port": {"port_security_enabled": False}}))[0] == 409
    freed = await api.update(RED, "port", f"ports/{port}", port_security_enabled=False, security_groups=[])
    assert (freed["security_groups"], freed["port_security_enabled"]) == ([], False)


async def test_the_default_group_keeps_its_name_and_goes_last(api: Projects) -> None:
    (default,) = await api.get(RED, GROUPS)
    path = f"{GROUPS}/{default['id']}"
    assert (await api.refused(RED, "PUT", path, {"security_group": {"name": "x"}}))[1] == (
        "SecurityGroupCannotUpdateDefault"
    )
    other = (await group_of(api, RED, name="o"))["id"]
    assert (await api.refused(RED, "DELETE", path))[1] == "SecurityGroupCannotRemoveDefault"
    for name in ("default",):
        body = {"security_group": {"name": name}}
        assert (await api.refused(RED, "POST", GROUPS, body))[:2] == (409, "SecurityGroupDefaultAlreadyExists")
        assert (await api.refused(RED, "PUT", f"{GROUPS}/{other}", body))[0] == 409
    await api.delete(RED, f"{GROUPS}/{other}")
    await api.delete(RED, path)
    assert [each["name"] for each in await api.get(RED, GROUPS)] == ["default"]


async def test_a_deleted_group_takes_the_rules_about_it_along(api: Projects) -> None:
    web, db = [(await group_of(api, RED, name=name))["id"] for name in ("web", "db")]
    await rule_of(api, RED, db, protocol="tcp", remote_group_id=web)
    assert len(await api.get(RED, f"{RULES}?remote_group_id={web}")) == 1
    await api.delete(RED, f"{GROUPS}/{web}")
    assert await api.get(RED, f"{RULES}?remote_group_id={web}") == []
    assert len((await api.get(RED, f"{GROUPS}/{db}"))["security_group_rules"]) == 2


async def test_a_shared_group_is_seen_and_used_but_not_changed(api: Projects) -> None:
    group = (await group_of(api, RED, name="s"))["id"]
    policy = {"object_type": "security_group", "object_id": group, "action": "access_as_shared"}
    made = await api.create(RED, "rbac_policy", "rbac-policies", **policy, target_tenant="blue")
    network, _ = await api.network(BLUE)
    port = (await api.create(BLUE, "port", network_id=network, security_groups=[group]))["id"]
    assert "s" in {each["name"] for each in await api.get(BLUE, GROUPS)}
    assert (await api.refused(BLUE, "PUT", f"{GROUPS}/{group}", {"security_group": {"name": "x"}}))[0] == 403
    path = f"rbac-policies/{made['id']}"
    assert (await api.refused(RED, "DELETE", path))[:2] == (409, "RbacPolicyInUse")
    await api.delete(BLUE, f"ports/{port}")
    await api.delete(RED, path)
    assert (await api.refused(BLUE, "GET", f"{GROUPS}/{group}"))[0] == 404
