"""Address scopes and subnet pools: kept as given, and subnets cut from them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from neutron_projects import ADMIN, BLUE, RED, Projects, projects


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Projects]:
    async with projects(tmp_path) as running:
        yield running


async def pool_of(api: Projects, who: str = RED, **attributes: object) -> dict[str, Any]:
    return await api.create(who, "subnetpool", **({"name": "p", "prefixes": ["10.0.0.0/24"]} | attributes))


async def cut(api: Projects, pool: str, who: str = RED, **attributes: object) -> dict[str, Any]:
    network = (await api.create(who, "network"))["id"]
    return await api.create(
        who, "subnet", **({"network_id": network, "ip_version": 4, "subnetpool_id": pool} | attributes)
    )


async def not_cut(api: Projects, pool: str, who: str = RED, **attributes: object) -> tuple[int, str]:
    network = (await api.create(who, "network"))["id"]
    body = {"network_id": network, "ip_version": 4, "subnetpool_id": pool} | attributes
    return (await api.refused(who, "POST", "subnets", {"subnet": body}))[:2]


async def test_a_pool_is_shown_as_recorded(api: Projects) -> None:
    made = await pool_of(api, name="sp", prefixes=["10.62.0.0/16"], default_prefixlen=26)
    stamps = ("id", "created_at", "updated_at")
    assert {name: value for name, value in made.items() if name not in stamps} == {
        "name": "sp",
        "project_id": "red",
        "tenant_id": "red",
        "default_prefixlen": "26",
        "min_prefixlen": "8",
        "max_prefixlen": "32",
        "is_default": False,
        "shared": False,
        "prefixes": ["10.62.0.0/16"],
        "ip_version": 4,
        "default_quota": None,
        "address_scope_id": None,
        "description": "",
        "tags": [],
        "revision_number": 0,
    }


async def test_subnets_are_cut_from_a_pool_until_it_is_empty(api: Projects) -> None:
    pool = (await pool_of(api, default_prefixlen=26))["id"]
    first = await cut(api, pool)
    assert (first["cidr"], first["gateway_ip"], first["subnetpool_id"]) == ("10.0.0.0/26", "10.0.0.1", pool)
    assert (await cut(api, pool, prefixlen=25))["cidr"] == "10.0.0.128/25"
    assert (await cut(api, pool, cidr="10.0.0.64/27"))["cidr"] == "10.0.0.64/27"
    assert await not_cut(api, pool) == (409, "SubnetAllocationError")
    assert await not_cut(api, pool, cidr="10.0.0.64/28") == (409, "SubnetAllocationError")
    assert await not_cut(api, pool, cidr="10.1.0.0/28") == (409, "SubnetAllocationError")
    assert (await api.refused(RED, "DELETE", f"subnetpools/{pool}"))[:2] == (409, "SubnetPoolDeleteError")
    await api.delete(RED, f"subnets/{first['id']}")
    again = await cut(api, pool)
    assert again["cidr"] == "10.0.0.0/26"
    for subnet in await api.get(RED, "subnets"):
        await api.delete(RED, f"networks/{subnet['network_id']}")
    await api.delete(RED, f"subnetpools/{pool}")


async def test_a_pool_says_how_large_its_subnets_may_be(api: Projects) -> None:
    pool = (await pool_of(api, min_prefixlen=25, max_prefixlen=28))["id"]
    assert (await cut(api, pool))["cidr"] == "10.0.0.0/25"
    assert await not_cut(api, pool, prefixlen=24) == (400, "MinPrefixSubnetAllocationError")
    assert await not_cut(api, pool, prefixlen=29) == (400, "MaxPrefixSubnetAllocationError")
    assert await not_cut(api, pool, ip_version=6) == (400, "SubnetPoolInvalidIpVersion")
    assert await not_cut(api, pool, prefixlen=28, cidr="10.0.0.128/28") == (400, "HTTPBadRequest")


async def test_a_pool_lets_a_project_have_so_much(api: Projects) -> None:
    pool = (await pool_of(api, ADMIN, shared=True, default_prefixlen=26, default_quota=128))["id"]
    await cut(api, pool)
    await cut(api, pool)
    assert await not_cut(api, pool, prefixlen=32) == (409, "SubnetPoolQuotaExceeded")
    await cut(api, pool, BLUE)
    six = (
        await pool_of(
            api, ADMIN, shared=True, prefixes=["2001:db8::/56"], min_prefixlen=56, default_prefixlen=64, default_quota=3
        )
    )["id"]
    assert (await cut(api, six, ip_version=6))["cidr"] == "2001:db8::/64"
    assert (await cut(api, six, ip_version=6, prefixlen=63))["cidr"] == "2001:db8:0:2::/63"
    assert await not_cut(api, six, ip_version=6) == (409, "SubnetPoolQuotaExceeded")


async def test_the_default_pool_serves_who_names_none(api: Projects) -> None:
    network = (await api.create(RED, "network"))["id"]
    wish = {"network_id": network, "ip_version": 4, "use_default_subnetpool": True}
    assert (await api.refused(RED, "POST", "subnets", {"subnet": wish}))[:2] == (404, "NoDefaultSubnetPool")
    pool = (await pool_of(api, ADMIN, shared=True, is_default=True, default_prefixlen=28))["id"]
    assert (await api.create(RED, "subnet", **wish))["subnetpool_id"] == pool
    second = {"subnetpool": {"name": "second", "prefixes": ["10.9.0.0/24"], "is_default": True}}
    assert (await api.refused(ADMIN, "POST", "subnetpools", second))[0] == 400
    assert (await api.refused(RED, "POST", "subnetpools", second))[0] == 403


async def test_the_subnets_of_a_network_are_from_one_pool(api: Projects) -> None:
    pool = (await pool_of(api, default_prefixlen=28))["id"]
    network = (await cut(api, pool))["network_id"]
    own = {"network_id": network, "ip_version": 4, "cidr": "10.8.0.0/24"}
    found = await api.refused(RED, "POST", "subnets", {"subnet": own})
    assert found[:2] == (400, "NetworkSubnetPoolAffinityError")
    await api.create(RED, "subnet", network_id=network, ip_version=4, subnetpool_id=pool)


async def test_the_prefixes_of_a_pool_are_merged_and_only_grow(api: Projects) -> None:
    pool = await pool_of(api, prefixes=["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25"])
    assert pool["prefixes"] == ["10.0.0.0/23"]
    path = f"subnetpools/{pool['id']}"
    grown = await api.update(RED, "subnetpool", path, prefixes=["10.0.0.0/22"])
    assert grown["prefixes"] == ["10.0.0.0/22"]
    for prefixes, kind in (
        (["10.0.0.0/23"], "IllegalSubnetPoolPrefixUpdate"),
        ([], "EmptySubnetPoolPrefixList"),
        (["10.0.0.0/22", "2001:db8::/64"], "PrefixVersionMismatch"),
        (["2001:db8::/64"], "PrefixVersionMismatch"),
    ):
        assert (await api.refused(RED, "PUT", path, {"subnetpool": {"prefixes": prefixes}}))[:2] == (400, kind)


@pytest.mark.parametrize(
    "lengths",
    [
        {"min_prefixlen": 28, "max_prefixlen": 24},
        {"max_prefixlen": 33},
        {"default_prefixlen": 20, "min_prefixlen": 24},
        {"default_prefixlen": 30, "max_prefixlen": 28},
    ],
)
async def test_lengths_that_do_not_go_together_are_refused(api: Projects, lengths: dict[str, int]) -> None:
    body = {"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/16"], **lengths}}
    assert (await api.refused(RED, "POST", "subnetpools", body))[:2] == (400, "IllegalSubnetPoolPrefixBounds")


async def test_the_pools_of_a_scope_do_not_overlap(api: Projects) -> None:
    scope = await api.create(RED, "address_scope", "address-scopes", name="as", ip_version=4)
    shown = {"project_id": "red", "tenant_id": "red", "name": "as", "shared": False, "ip_version": 4}
    assert scope == shown | {"id": scope["id"]}
    pool = await pool_of(api, address_scope_id=scope["id"])
    body = {"name": "other", "prefixes": ["10.0.0.128/25"], "address_scope_id": scope["id"]}
    found = await api.refused(RED, "POST", "subnetpools", {"subnetpool": body})
    assert found[:2] == (409, "AddressScopePrefixConflict")
    six = body | {"prefixes": ["2001:db8::/48"]}
    assert (await api.refused(RED, "POST", "subnetpools", {"subnetpool": six}))[1] == (
        "IllegalSubnetPoolIpVersionAssociation"
    )
    network = (await cut(api, pool["id"], prefixlen=28))["network_id"]
    shown = await api.get(RED, f"networks/{network}")
    assert (shown["ipv4_address_scope"], shown["ipv6_address_scope"]) == (scope["id"], None)
    path = f"address-scopes/{scope['id']}"
    assert (await api.refused(RED, "DELETE", path))[:2] == (409, "AddressScopeInUse")
    await api.update(RED, "subnetpool", f"subnetpools/{pool['id']}", address_scope_id=None)
    await api.delete(RED, path)


async def test_a_pool_and_a_scope_are_seen_by_those_they_are_shared_with(api: Projects) -> None:
    pool = (await pool_of(api))["id"]
    scope = (await api.create(RED, "address_scope", "address-scopes", ip_version=4))["id"]
    assert (await api.get(BLUE, "subnetpools"), await api.get(BLUE, "address-scopes")) == ([], [])
    assert await not_cut(api, pool, BLUE) == (404, "SubnetPoolNotFound")
    for type_, id_ in (("subnetpool", pool), ("address_scope", scope)):
        fields = {"object_type": type_, "object_id": id_, "action": "access_as_shared", "target_tenant": "blue"}
        await api.create(RED, "rbac_policy", "rbac-policies", **fields)
    await cut(api, pool, BLUE, prefixlen=28)
    await pool_of(api, BLUE, address_scope_id=scope, prefixes=["10.8.0.0/24"])
    for policy in await api.get(RED, "rbac-policies"):
        found = await api.refused(RED, "DELETE", f"rbac-policies/{policy['id']}")
        assert found[:2] == (409, "RbacPolicyInUse"), "blue has what it allows"
    assert len(await api.get(BLUE, "address-scopes")) == 1
    assert (await api.refused(BLUE, "DELETE", f"subnetpools/{pool}"))[0] == 403
    for who, shared in ((RED, True), (ADMIN, False)):
        body = {"address_scope": {"ip_version": 4, "shared": shared}}
        answer = await api.server.answer("POST", "/v2.0/address-scopes", json=body, token=who)
        assert answer.status_code == (403 if who == RED else 201)
