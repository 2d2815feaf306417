"""Quotas: shown, set, and kept to exactly by everything that creates what they count."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from neutron_projects import ADMIN, BLUE, RED, Projects, projects


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Projects]:
    async with projects(tmp_path) as running:
        yield running


async def limit(api: Projects, **limits: int) -> None:
    await api.update(ADMIN, "quota", "quotas/red", **limits)


async def used(api: Projects, resource: str) -> int:
    found: int = (await api.get(RED, "quotas/red/details.json"))[resource]["used"]
    return found


async def test_a_project_may_have_what_the_default_says_until_it_is_told_otherwise(api: Projects) -> None:
    default = await api.get(RED, "quotas/red")
    assert default["port"] == -1
    assert default["rbac_policy"] == 10
    assert await api.get(ADMIN, "quotas") == []
    await limit(api, port=3, network=2)
    await limit(api, port=4)
    assert await api.get(RED, "quotas/red") == default | {"port": 4, "network": 2}
    assert await api.get(RED, "quotas/red/default") == default
    assert [(each["project_id"], each["port"]) for each in await api.get(ADMIN, "quotas")] == [("red", 4)]
    await api.delete(ADMIN, "quotas/red")
    assert await api.get(RED, "quotas/red") == default


async def test_only_administrators_set_quotas_and_read_those_of_others(api: Projects) -> None:
    for method, path, body in (
        ("PUT", "quotas/red", {"quota": {"port": 9}}),
        ("DELETE", "quotas/red", None),
        ("GET", "quotas/blue", None),
        ("GET", "quotas", None),
    ):
        assert (await api.refused(RED, method, path, body))[0] == 403


@pytest.mark.parametrize("value", [-2, "x", 1.5, None, True, 2**31])
async def test_a_limit_that_is_none_is_refused(api: Projects, value: object) -> None:
    assert (await api.refused(ADMIN, "PUT", "quotas/red", {"quota": {"port": value}}))[0] == 400


async def test_an_unknown_resource_is_refused(api: Projects) -> None:
    found = await api.refused(ADMIN, "PUT", "quotas/red", {"quota": {"elephants": 1}})
    assert found == (400, "HTTPBadRequest", "Unrecognized attribute(s) 'elephants'")


@pytest.mark.parametrize(
    ("resource", "path", "body"),
    [
        ("network", "networks", {}),
        ("subnet", "subnets", {"ip_version": 4, "cidr": "10.{}.0.0/24"}),
        ("port", "ports", {}),
        ("router", "routers", {}),
        ("security_group", "security-groups", {}),
        ("security_group_rule", "security-group-rules", {"direction": "ingress", "protocol": "{}"}),
        ("subnetpool", "subnetpools", {"name": "p{}", "prefixes": ["10.{}.0.0/24"], "min_prefixlen": 24}),
        ("rbac_policy", "rbac-policies", {"target_tenant": "p{}"}),
    ],
)
async def test_a_project_gets_exactly_what_it_may_have(
    api: Projects, resource: str, path: str, body: dict[str, object]
) -> None:
    network, _ = await api.network(RED)
    (group,) = await api.get(RED, "security-groups")
    needed: dict[str, dict[str, object]] = {
        "subnet": {"network_id": network},
        "port": {"network_id": network},
        "security_group_rule": {"security_group_id": group["id"]},
        "rbac_policy": {"object_type": "network", "object_id": network, "action": "access_as_shared"},
    }

    def numbered(at: int) -> dict[str, object]:
        def fill(value: object) -> object:
            if isinstance(value, list):
                return [fill(each) for each in value]
            return value.format(at) if isinstance(value, str) else value

        return {**{name: fill(value) for name, value in body.items()}, **needed.get(resource, {})}

    before = await used(api, resource)
    await limit(api, **{resource: before + 3})
    bulk = {f"{resource}s" if resource != "rbac_policy" else "rbac_policies": [numbered(at) for at in range(4)]}
    assert (await api.refused(RED, "POST", path, bulk))[:2] == (409, "OverQuota")
    assert await used(api, resource) == before
    answers = await asyncio.gather(
        *(api.server.answer("POST", f"/v2.0/{path}", json={resource: numbered(at)}, token=RED) for at in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 3
    assert await used(api, resource) == before + 3
    assert (await api.get(BLUE, "quotas/blue/details"))[resource]["used"] == 0
    made = next(answer for answer in answers if answer.status_code == 201).json()[resource]
    await api.delete(RED, f"{path}/{made['id']}")
    await api.create(RED, resource, path, **numbered(7))
    status, kind, message = await api.refused(RED, "POST", path, {resource: numbered(8)})
    assert (status, kind) == (409, "OverQuota")
    assert message.startswith(f"Quota exceeded for resources: ['{resource}'].")


async def test_a_limit_below_what_there_is_stops_creation_and_is_refused_if_asked_to(api: Projects) -> None:
    await api.network(RED)
    await api.network(RED)
    body = {"quota": {"network": 1, "check_limit": True}}
    assert (await api.refused(ADMIN, "PUT", "quotas/red", body))[:2] == (409, "QuotaLimitTooLow")
    await limit(api, network=1)
    assert (await api.refused(RED, "POST", "networks", {"network": {}}))[1] == "OverQuota"
    assert len(await api.get(RED, "networks")) == 2


async def test_the_gateway_of_a_router_counts_as_a_port(api: Projects) -> None:
    _, subnet = await api.network(RED)
    router = (await api.create(RED, "router"))["id"]
    await limit(api, port=0)
    body = {"subnet_id": subnet}
    assert (await api.refused(RED, "PUT", f"routers/{router}/add_router_interface", body))[1] == "OverQuota"
