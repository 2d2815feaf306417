"""External gateways and floating IPs: kept, counted and refused as Neutron does; nothing forwards by them yet."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from neutron_projects import ADMIN, BLUE, RED, Projects, projects

IPS = "floatingips"
NOWHERE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Projects]:
    async with projects(tmp_path) as running:
        yield running


async def outside(api: Projects, cidr: str = "198.51.100.0/24", **attributes: object) -> str:
    return (await api.network(ADMIN, cidr, **{"router:external": True, "name": "ext", **attributes}))[0]


async def inside(api: Projects, external: str, who: str = RED, cidr: str = "10.61.0.0/24") -> tuple[str, str, str]:
    """Create a network behind a router that has a gateway, and return router, subnet and network."""
    network, subnet = await api.network(who, cidr)
    router = (await api.create(who, "router", external_gateway_info={"network_id": external}))["id"]
    body = {"subnet_id": subnet}
    await api.server.call("PUT", f"/v2.0/routers/{router}/add_router_interface", body, token=who, status=200)
    return router, subnet, network


async def floating(api: Projects, external: str, who: str = RED, **attributes: object) -> dict[str, Any]:
    return await api.create(who, "floatingip", floating_network_id=external, **attributes)


async def not_floating(api: Projects, external: str, who: str = RED, **attributes: object) -> tuple[int, str]:
    body = {"floatingip": {"floating_network_id": external, **attributes}}
    return (await api.refused(who, "POST", IPS, body))[:2]


async def test_a_router_has_a_gateway_as_recorded(api: Projects) -> None:
    external = await outside(api)
    router = await api.create(RED, "router", external_gateway_info={"network_id": external})
    path = f"routers/{router['id']}"
    info = router["external_gateway_info"]
    (address,) = info["external_fixed_ips"]
    assert info == {"network_id": external, "enable_snat": True, "external_fixed_ips": [address]}
    (port,) = await api.get(ADMIN, f"ports?network_id={external}")
    assert (port["device_owner"], port["device_id"], port["status"], port["project_id"]) == (
        "network:router_gateway",
        router["id"],
        "DOWN",
        "",
    )
    assert port["fixed_ips"] == [address]
    assert await api.get(RED, "ports") == []
    assert (await api.refused(ADMIN, "DELETE", f"ports/{port['id']}"))[:2] == (409, "ServicePortInUse")
    taken = {"port": {"fixed_ips": []}}
    assert (await api.refused(ADMIN, "PUT", f"ports/{port['id']}", taken))[:2] == (409, "ServicePortInUse")
    without = await api.update(ADMIN, "router", path, external_gateway_info={**info, "enable_snat": False})
    assert without["external_gateway_info"] == info | {"enable_snat": False}
    assert (await api.get(RED, path))["external_gateway_info"]["enable_snat"] is False
    assert (await api.update(RED, "router", path, external_gateway_info=None))["external_gateway_info"] is None
    assert await api.get(ADMIN, f"ports?network_id={external}") == []


async def test_a_deleted_router_gives_its_gateway_back(api: Projects) -> None:
    external = await outside(api)
    router = await api.create(RED, "router", external_gateway_info={"network_id": external})
    assert (await api.refused(ADMIN, "DELETE", f"networks/{external}"))[:2] == (409, "NetworkInUse")
    unset = {"network": {"router:external": False}}
    assert (await api.refused(ADMIN, "PUT", f"networks/{external}", unset))[:2] == (409, "ExternalNetworkInUse")
    await api.delete(RED, f"routers/{router['id']}")
    await api.delete(ADMIN, f"networks/{external}")


async def test_a_gateway_that_cannot_be_is_refused(api: Projects) -> None:
    external = await outside(api)
    network, subnet = await api.network(RED, "198.51.100.128/25")
    hidden, _ = await api.network(BLUE)
    for target, status, kind in (
        (network, 400, "BadRequest"),
        (NOWHERE, 404, "NetworkNotFound"),
        (hidden, 404, "NetworkNotFound"),
        ("x", 400, "HTTPBadRequest"),
    ):
        body = {"router": {"external_gateway_info": {"network_id": target}}}
        assert (await api.refused(RED, "POST", "routers", body))[:2] == (status, kind)
    for info in ({"enable_snat": False}, {"external_fixed_ips": [{"ip_address": "198.51.100.9"}]}):
        body = {"router": {"external_gateway_info": {"network_id": external, **info}}}
        assert (await api.refused(RED, "POST", "routers", body))[0] == 403
        await api.server.call("POST", "/v2.0/routers", body, status=201)
    router = (await api.create(RED, "router"))["id"]
    attach = {"subnet_id": subnet}
    await api.server.call("PUT", f"/v2.0/routers/{router}/add_router_interface", attach, token=RED, status=200)
    body = {"router": {"external_gateway_info": {"network_id": external}}}
    status, _, message = await api.refused(RED, "PUT", f"routers/{router}", body)
    assert (status, "overlaps" in message) == (400, True)
    other = (await api.create(RED, "router", external_gateway_info={"network_id": external}))["id"]
    body = {"subnet_id": (await api.network(RED, "198.51.100.0/26"))[1]}
    status, _, message = await api.refused(RED, "PUT", f"routers/{other}/add_router_interface", body)
    assert (status, "overlaps" in message) == (400, True)


async def test_a_floating_ip_is_shown_as_recorded(api: Projects) -> None:
    external = await outside(api)
    router, _, network = await inside(api, external)
    port = await api.create(RED, "port", network_id=network, name="p")
    made = await floating(api, external, port_id=port["id"])
    stamps = ("id", "created_at", "updated_at", "floating_ip_address")
    assert {name: value for name, value in made.items() if name not in stamps} == {
        "tenant_id": "red",
        "project_id": "red",
        "floating_network_id": external,
        "router_id": router,
        "port_id": port["id"],
        "fixed_ip_address": port["fixed_ips"][0]["ip_address"],
        "status": "DOWN",
        "description": "",
        "qos_policy_id": None,
        "port_details": {
            "name": "p",
            "network_id": network,
            "mac_address": port["mac_address"],
            "admin_state_up": True,
            "status": "DOWN",
            "device_id": "",
            "device_owner": "",
        },
        "dns_domain": "",
        "dns_name": "",
        "tags": [],
        "revision_number": 0,
        "port_forwardings": [],
    }
    assert made["floating_ip_address"].startswith("198.51.100.")
    assert [each["id"] for each in await api.get(RED, f"{IPS}?port_id={port['id']}")] == [made["id"]]
    assert await api.get(RED, f"{IPS}?floating_ip_address={made['floating_ip_address']}") == [made]
    assert await api.get(BLUE, IPS) == []


async def test_a_floating_ip_leads_elsewhere_and_nowhere(api: Projects) -> None:
    external = await outside(api)
    router, subnet, network = await inside(api, external)
    first, second = [(await api.create(RED, "port", network_id=network))["id"] for _ in range(2)]
    ip = await floating(api, external)
    assert (ip["port_id"], ip["router_id"], ip["fixed_ip_address"], ip["port_details"]) == (None,) * 4
    path = f"{IPS}/{ip['id']}"
    led = await api.update(RED, "floatingip", path, port_id=first)
    assert (led["port_id"], led["router_id"]) == (first, router)
    assert await not_floating(api, external, port_id=first) == (409, "FloatingIPPortAlreadyAssociated")
    assert (await api.update(RED, "floatingip", path, port_id=second, description="d"))["port_id"] == second
    detach = {"subnet_id": subnet}
    found = await api.refused(RED, "PUT", f"routers/{router}/remove_router_interface", detach)
    assert found[:2] == (409, "RouterInterfaceInUseByFloatingIP")
    clear = {"router": {"external_gateway_info": None}}
    assert (await api.refused(RED, "PUT", f"routers/{router}", clear))[:2] == (
        409,
        "RouterExternalGatewayInUseByFloatingIp",
    )
    freed = await api.update(RED, "floatingip", path, port_id=None)
    assert (freed["port_id"], freed["router_id"], freed["description"]) == (None, None, "d")
    await api.update(RED, "router", f"routers/{router}", external_gateway_info=None)


async def test_a_port_that_goes_or_gives_its_address_up_takes_the_floating_ip_off(api: Projects) -> None:
    external = await outside(api)
    _, subnet, network = await inside(api, external)
    port = (await api.create(RED, "port", network_id=network))["id"]
    path = f"{IPS}/{(await floating(api, external, port_id=port))['id']}"
    wanted = [{"subnet_id": subnet, "ip_address": "10.61.0.99"}]
    await api.update(RED, "port", f"ports/{port}", fixed_ips=wanted)
    assert (await api.get(RED, path))["port_id"] is None
    await api.update(RED, "floatingip", path, port_id=port)
    await api.update(RED, "port", f"ports/{port}", name="kept", fixed_ips=wanted)
    assert (await api.get(RED, path))["fixed_ip_address"] == "10.61.0.99"
    await api.delete(RED, f"ports/{port}")
    assert (await api.get(RED, path))["port_id"] is None


async def test_a_floating_ip_gives_its_address_back(api: Projects) -> None:
    external = await outside(api, "198.51.100.0/30")
    ip = await floating(api, external)
    assert await not_floating(api, external) == (409, "IpAddressGenerationFailure")
    (holder,) = await api.get(ADMIN, f"ports?network_id={external}")
    assert (holder["device_owner"], holder["device_id"]) == ("network:floatingip", ip["id"])
    assert (await api.refused(ADMIN, "DELETE", f"ports/{holder['id']}"))[:2] == (409, "ServicePortInUse")
    await api.delete(RED, f"{IPS}/{ip['id']}")
    api.server.clock.now += 60
    await floating(api, external)


async def test_floating_ips_are_taken_from_every_subnet_of_the_network(api: Projects) -> None:
    external = await outside(api, "198.51.100.0/30")
    await api.create(ADMIN, "subnet", network_id=external, cidr="198.51.100.8/30", ip_version=4)
    found = [(await floating(api, external))["floating_ip_address"] for _ in range(2)]
    assert found == ["198.51.100.2", "198.51.100.10"]
    assert await not_floating(api, external) == (409, "IpAddressGenerationFailure")


async def test_what_a_floating_ip_cannot_be_is_refused(api: Projects) -> None:
    external = await outside(api)
    _, _, network = await inside(api, external)
    lone, _ = await api.network(RED, "10.62.0.0/24")
    six = (await api.create(ADMIN, "network", **{"router:external": True}))["id"]
    sixth = await api.create(ADMIN, "subnet", network_id=external, cidr="2001:db8:ee::/64", ip_version=6)
    port = (await api.create(RED, "port", network_id=network))["id"]
    alone = (await api.create(RED, "port", network_id=lone))["id"]
    blue, _ = await api.network(BLUE)
    theirs = (await api.create(BLUE, "port", network_id=blue))["id"]
    for target, attributes, found in (
        (network, {}, (400, "BadRequest")),
        (blue, {}, (404, "NetworkNotFound")),
        (NOWHERE, {}, (404, "NetworkNotFound")),
        (six, {}, (400, "BadRequest")),
        (external, {"subnet_id": sixth["id"]}, (400, "BadRequest")),
        (external, {"dns_name": "no name"}, (400, "HTTPBadRequest")),
        (external, {"dns_domain": "no.full.stop"}, (400, "HTTPBadRequest")),
        (external, {"port_id": NOWHERE}, (404, "PortNotFound")),
        (external, {"port_id": theirs}, (404, "PortNotFound")),
        (external, {"port_id": alone}, (404, "ExternalGatewayForFloatingIPNotFound")),
        (external, {"port_id": port, "fixed_ip_address": "10.61.0.250"}, (400, "BadRequest")),
        (external, {"fixed_ip_address": "10.61.0.250"}, (400, "BadRequest")),
        (external, {"floating_ip_address": "198.51.100.7"}, (403, "PolicyNotAuthorized")),
    ):
        assert await not_floating(api, target, **attributes) == found, (target, attributes)
    assert await api.get(RED, IPS) == []
    chosen = await floating(api, external, ADMIN, floating_ip_address="198.51.100.7")
    assert chosen["floating_ip_address"] == "198.51.100.7"
    again = await not_floating(api, external, ADMIN, floating_ip_address="198.51.100.7")
    assert again == (409, "IpAddressAlreadyAllocated")
    assert await not_floating(api, external, ADMIN, floating_ip_address="203.0.113.1") == (400, "InvalidIpForNetwork")


async def test_a_quota_counts_floating_ips_but_not_the_ports_that_hold_them(api: Projects) -> None:
    external = await outside(api)
    await api.update(ADMIN, "quota", "quotas/red", floatingip=1, port=0)
    ip = (await floating(api, external))["id"]
    assert await not_floating(api, external) == (409, "OverQuota")
    await api.delete(RED, f"{IPS}/{ip}")
    await floating(api, external)


async def test_an_external_network_may_be_for_one_project(api: Projects) -> None:
    network, _ = await api.network(ADMIN, "198.51.100.0/24")
    fields = {"object_type": "network", "object_id": network, "action": "access_as_external", "target_tenant": "red"}
    policy = (await api.create(ADMIN, "rbac_policy", "rbac-policies", **fields))["id"]
    for who, is_it in ((RED, True), (ADMIN, False)):
        for collection in ("networks?id", "subnets?network_id"):
            (found,) = await api.get(who, f"{collection}={network}&router:external={is_it}")
            assert found["router:external"] is is_it
    ip = (await floating(api, network))["id"]
    assert await not_floating(api, network, BLUE) == (404, "NetworkNotFound")
    assert (await api.refused(ADMIN, "DELETE", f"rbac-policies/{policy}"))[:2] == (409, "RbacPolicyInUse")
    await api.delete(RED, f"{IPS}/{ip}")
    await api.delete(ADMIN, f"rbac-policies/{policy}")
