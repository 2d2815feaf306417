"""Addresses left, agents and zones, as Neutron's clients see them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from neutron_projects import ADMIN, RED, Projects, projects

from weft.api.neutron.hosts import SILENT_AFTER_S
from weft.model.ids import NodeName

PATH = "network-ip-availabilities"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Projects]:
    async with projects(tmp_path) as running:
        yield running


def numbers(found: dict[str, Any]) -> tuple[int, ...]:
    details = found["ip_availability_details"]
    return (
        found["used_ips"],
        found["total_ips"],
        details["used_ips_in_subnet"],
        details["used_ips_in_allocation_pool"],
        details["total_ips_in_subnet"],
        details["total_ips_in_allocation_pool"],
    )


async def test_availability_counts_what_neutron_counts(api: Projects) -> None:
    network, subnet = await api.network(RED, "10.61.0.0/24", name="dump")
    six = (await api.create(RED, "subnet", network_id=network, cidr="2001:db8:61::/64", ip_version=6, gateway_ip=None))[
        "id"
    ]
    router = (await api.create(RED, "router"))["id"]
    body = {"subnet_id": subnet}
    await api.server.call("PUT", f"/v2.0/routers/{router}/add_router_interface", body, token=RED, status=200)
    for _ in range(4):
        await api.create(RED, "port", network_id=network)
    found = await api.get(ADMIN, f"{PATH}/{network}")
    assert (found["network_id"], found["network_name"], found["project_id"]) == (network, "dump", "red")
    each = {part["subnet_id"]: part for part in found["subnet_ip_availability"]}
    assert numbers(each[subnet]) == (5, 253, 5, 4, 254, 253)
    assert numbers(each[six]) == (4, 2**64 - 1, 4, 4, 2**64, 2**64 - 1)
    assert numbers(found) == (9, 2**64 + 252, 9, 8, 2**64 + 254, 2**64 + 252)
    assert await api.get(ADMIN, PATH) == [found]
    (four,) = await api.get(ADMIN, f"{PATH}?network_id={network}&ip_version=4")
    (none,) = await api.get(ADMIN, f"{PATH}?network_id={network}&ip_version=5")
    assert (none["total_ips"], none["subnet_ip_availability"]) == (0, [])
    assert numbers(four) == (5, 253, 5, 4, 254, 253)
    assert await api.get(ADMIN, f"{PATH}?network_name=other") == []


async def test_pages_of_what_has_no_table_end(api: Projects) -> None:
    made = [(await api.create(RED, "network"))["id"] for _ in range(3)]
    page = await api.server.call("GET", f"/v2.0/{PATH}?limit=2", status=200)
    assert [each["network_id"] for each in page["network_ip_availabilities"]] == made[:2]
    link = page["network_ip_availabilities_links"][0]["href"].partition("/v2.0/")[2]
    rest = await api.server.call("GET", f"/v2.0/{link}", status=200)
    assert [each["network_id"] for each in rest["network_ip_availabilities"]] == made[2:]
    for path in (PATH, "agents", "availability_zones"):
        assert (await api.refused(ADMIN, "GET", f"{path}?limit=1&marker=nosuch"))[0] == 400


async def test_many_addresses_outside_the_pools_are_counted(api: Projects) -> None:
    network = (await api.create(RED, "network"))["id"]
    pools = [{"start": "10.0.4.0", "end": "10.0.4.9"}]
    await api.create(RED, "subnet", network_id=network, cidr="10.0.0.0/20", ip_version=4, allocation_pools=pools)
    for address in ("10.0.0.9", "10.0.15.9", "10.0.4.9"):
        await api.create(RED, "port", network_id=network, fixed_ips=[{"ip_address": address}])
    assert numbers(await api.get(ADMIN, f"{PATH}/{network}")) == (3, 10, 3, 1, 4094, 10)


async def test_availability_is_for_administrators(api: Projects) -> None:
    network, _ = await api.network(RED)
    assert (await api.refused(RED, "GET", PATH))[0] == 403
    assert (await api.refused(RED, "GET", f"{PATH}/{network}"))[0] == 403
    assert (await api.refused(ADMIN, "GET", f"{PATH}/nosuch"))[:2] == (404, "NetworkNotFound")


async def test_agents_are_the_nodes_that_were_heard(api: Projects) -> None:
    assert await api.get(ADMIN, "agents") == []
    start = api.server.clock.now
    await api.server.store.transact(lambda tx: tx.put_agent_seen(NodeName("node1"), start))
    (agent,) = await api.get(ADMIN, "agents?host=node1&alive=true")
    assert agent == {
        "id": agent["id"],
        "agent_type": "Open vSwitch agent",
        "binary": "weft-agent",
        "topic": "N/A",
        "host": "node1",
        "admin_state_up": True,
        "alive": True,
        "availability_zone": "private",
        "description": None,
        "created_at": None,
        "started_at": None,
        "heartbeat_timestamp": "2023-11-14 22:13:20",
        "resources_synced": None,
        "configurations": {"integration_bridge": "br-int"},
    }
    api.server.clock.now += SILENT_AFTER_S
    assert (await api.get(ADMIN, f"agents/{agent['id']}"))["alive"] is False
    assert await api.get(ADMIN, "agents?alive=true") == []
    assert (await api.refused(RED, "GET", "agents"))[0] == 403


async def test_zones_are_the_sites(api: Projects) -> None:
    assert await api.get(RED, "availability_zones") == [
        {"name": "private", "resource": "network", "state": "available"},
        {"name": "private", "resource": "router", "state": "available"},
    ]
    assert len(await api.get(RED, "availability_zones?resource=network")) == 1
    assert await api.get(RED, "service-providers") == []
