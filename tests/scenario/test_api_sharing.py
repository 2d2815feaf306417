"""RBAC policies: a project lets others use its objects."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from neutron_projects import ADMIN, BLUE, RED, Projects, projects

POLICIES = "rbac-policies"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Projects]:
    async with projects(tmp_path) as running:
        yield running


async def share(api: Projects, who: str, network: str, target: str, action: str = "access_as_shared") -> dict[str, Any]:
    fields = {"object_type": "network", "object_id": network, "action": action, "target_tenant": target}
    return await api.create(who, "rbac_policy", POLICIES, **fields)


async def networks(api: Projects, who: str) -> list[str]:
    return [each["name"] for each in await api.get(who, "networks")]


async def test_a_network_is_shared_with_one_project(api: Projects) -> None:
    network, _ = await api.network(RED, name="n")
    assert await networks(api, BLUE) == []
    made = await share(api, RED, network, "blue")
    assert made.keys() == {
        *("id", "project_id", "tenant_id", "object_type", "object_id", "action", "target_tenant"),
    }
    assert await networks(api, BLUE) == ["n"]
    # As Neutron has it, a network is shared for whom it is: Nova looks for the networks of a project so.
    for who, project_has_it in ((BLUE, True), (RED, False), (ADMIN, False)):
        assert (await api.get(who, f"networks/{network}"))["shared"] is project_has_it
        for wanted, word in ((True, "true"), (False, "False")):
            for collection in ("networks?id", "subnets?network_id"):
                found = await api.get(who, f"{collection}={network}&shared={word}")
                assert len(found) == (wanted is project_has_it), (who, collection, word)
    assert (await api.refused(BLUE, "GET", "subnets?shared=maybe"))[:2] == (400, "HTTPBadRequest")
    port = await api.create(BLUE, "port", network_id=network)
    assert (await api.refused(BLUE, "PUT", f"networks/{network}", {"network": {"name": "x"}}))[0] == 403
    assert (await api.refused(RED, "DELETE", f"{POLICIES}/{made['id']}"))[:2] == (409, "RbacPolicyInUse")
    await api.delete(BLUE, f"ports/{port['id']}")
    await api.delete(RED, f"{POLICIES}/{made['id']}")
    assert await networks(api, BLUE) == []


async def test_the_flag_of_a_network_and_the_policy_for_all_are_one(api: Projects) -> None:
    network, _ = await api.network(ADMIN, name="n")
    made = await share(api, ADMIN, network, "*")
    assert (await api.get(BLUE, f"networks/{network}"))["shared"] is True
    await api.update(ADMIN, "network", f"networks/{network}", shared=False)
    assert await api.get(ADMIN, f"{POLICIES}?object_id={network}") == []
    assert await networks(api, BLUE) == []
    await api.update(ADMIN, "network", f"networks/{network}", shared=True)
    (again,) = await api.get(ADMIN, f"{POLICIES}?object_id={network}")
    assert (again["target_tenant"], again["action"], again["id"] != made["id"]) == ("*", "access_as_shared", True)
    moved = await api.update(ADMIN, "rbac_policy", f"{POLICIES}/{again['id']}", target_tenant="red")
    assert moved["target_tenant"] == "red"
    assert (await networks(api, RED), await networks(api, BLUE)) == (["n"], [])
    assert (await api.get(ADMIN, f"networks/{network}"))["shared"] is False


async def test_an_external_network_has_its_policy(api: Projects) -> None:
    network = (await api.create(ADMIN, "network", **{"router:external": True}))["id"]
    (policy,) = await api.get(ADMIN, f"{POLICIES}?object_id={network}")
    assert (policy["action"], policy["target_tenant"]) == ("access_as_external", "*")
    await api.delete(ADMIN, f"{POLICIES}/{policy['id']}")
    assert (await api.get(ADMIN, f"networks/{network}"))["router:external"] is False
    await api.delete(ADMIN, f"networks/{network}")


async def test_a_network_that_others_use_stays_shared(api: Projects) -> None:
    network, _ = await api.network(ADMIN, shared=True)
    port = (await api.create(BLUE, "port", network_id=network))["id"]
    found = await api.refused(ADMIN, "PUT", f"networks/{network}", {"network": {"shared": False}})
    assert found[:2] == (409, "InvalidSharedSetting")
    await share(api, ADMIN, network, "blue")
    await api.update(ADMIN, "network", f"networks/{network}", shared=False)
    assert [each["id"] for each in await api.get(BLUE, "ports")] == [port]


async def test_a_deleted_network_takes_its_policies_along(api: Projects) -> None:
    network, _ = await api.network(RED)
    await share(api, RED, network, "blue")
    await api.delete(RED, f"networks/{network}")
    assert await api.get(ADMIN, POLICIES) == []


async def test_nobody_shares_what_is_not_theirs_and_only_administrators_with_all(api: Projects) -> None:
    network, _ = await api.network(RED)
    fields = {"object_type": "network", "object_id": network, "action": "access_as_shared", "target_tenant": "green"}
    for who, changes in (
        (BLUE, {}),
        (RED, {"target_tenant": "*"}),
        (RED, {"action": "access_as_external"}),
    ):
        assert (await api.refused(who, "POST", POLICIES, {"rbac_policy": fields | changes}))[0] == 403
    mine = (await share(api, RED, network, "green"))["id"]
    assert (await api.refused(RED, "POST", POLICIES, {"rbac_policy": fields}))[:2] == (409, "DuplicateRbacPolicy")
    assert (await api.refused(BLUE, "GET", f"{POLICIES}/{mine}"))[0] == 404
    assert (await api.refused(RED, "PUT", f"{POLICIES}/{mine}", {"rbac_policy": {"target_tenant": "*"}}))[0] == 403
    gone = fields | {"object_id": "00000000-0000-0000-0000-000000000000"}
    assert (await api.refused(ADMIN, "POST", POLICIES, {"rbac_policy": gone}))[0] == 404
