"""What Nova and people say of a port besides its network: pairs, DHCP options, names, MACs, IPv6; kept and shown."""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server

RECORDED = json.loads((Path(__file__).parent / "recordings" / "neutron_29.json").read_text())
CALLS = {call["note"]: call for call in RECORDED["calls"]}

MAC = "fa:16:3e:e1:75:fc"
"""The recorded one, so that addresses made of it are the recorded ones."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


async def update(server: ApiServer, port: dict[str, Any], **attributes: object) -> dict[str, Any]:
    path = f"/v2.0/ports/{port['id']}"
    found: dict[str, Any] = (await server.call("PUT", path, {"port": attributes}, status=200))["port"]
    return found


async def refused(server: ApiServer, request: str, body: object, status: int) -> str:
    method, path = request.split()
    answer = await server.answer(method, f"/v2.0/{path}", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["NeutronError"]
    return f"{error['type']}: {error['message']}"


async def slaac(server: ApiServer, network: str, cidr: str = "2001:db8:61::/64", **attributes: object) -> str:
    modes = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    made = await server.make("subnet", network_id=network, cidr=cidr, ip_version=6, **{**modes, **attributes})
    return str(made["id"])


def addresses(port: dict[str, Any]) -> list[str]:
    return [each["ip_address"] for each in port["fixed_ips"]]


# --- address pairs


async def test_a_pair_has_the_ports_mac_unless_it_names_one(server: ApiServer) -> None:
    network, _ = await server.make_network()
    pairs = [{"ip_address": "10.61.0.200"}, {"ip_address": "10.9.0.1/24", "mac_address": "FA-16-3E-00-00-01"}]
    port = await server.make("port", network_id=network, mac_address=MAC, allowed_address_pairs=pairs)
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.61.0.200", "mac_address": MAC},
        {"ip_address": "10.9.0.0/24", "mac_address": "fa:16:3e:00:00:01"},
    ]
    assert (await update(server, port, allowed_address_pairs=[]))["allowed_address_pairs"] == []


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([{}], "HTTPBadRequest: Invalid input for allowed_address_pairs. Reason: AllowedAddressPair must contain"),
        ([{"ip_address": "x"}], "HTTPBadRequest: Invalid input for allowed_address_pairs. Reason: 'x' is neither"),
        (
            [{"ip_address": "10.0.0.1"}, {"ip_address": "10.0.0.1"}],
            "DuplicateAddressPairInRequest: Request contains duplicate address pair: mac_address",
        ),
        (
            [{"ip_address": f"10.0.0.{n}"} for n in range(11)],
            "AllowedAddressPairExhausted: The number of allowed address pair exceeds the maximum 10.",
        ),
        *(
            ([{"ip_address": each}], f"HTTPBadRequest: Invalid input for allowed_address_pairs. Reason: '{each}' is")
            for each in ("224.0.0.18", "239.0.0.0/8", "ff02::1")
        ),
    ],
)
async def test_pairs_that_cannot_be_are_refused(server: ApiServer, pairs: list[object], message: str) -> None:
    network, _ = await server.make_network()
    body = {"port": {"network_id": network, "allowed_address_pairs": pairs}}
    assert (await refused(server, "POST ports", body, 400)).startswith(message)


async def test_pairs_need_something_that_checks_what_a_port_sends(server: ApiServer) -> None:
    network, _ = await server.make_network(port_security_enabled=False)
    open_port = await server.make("port", network_id=network)
    assert open_port["port_security_enabled"] is False
    wanted = (
        "AddressPairAndPortSecurityRequired: Port Security must be enabled in order to have allowed address pairs on a "
        "port."
    )
    body = {"port": {"allowed_address_pairs": [{"ip_address": "10.0.0.1"}]}}
    assert await refused(server, f"PUT ports/{open_port['id']}", body, 409) == wanted
    body["port"]["port_security_enabled"] = True  # type: ignore[assignment]
    await server.call("PUT", f"/v2.0/ports/{open_port['id']}", body, status=200)
    body = {"port": {"port_security_enabled": False}}  # type: ignore[dict-item]
    assert await refused(server, f"PUT ports/{open_port['id']}", body, 409) == wanted


# --- DHCP options


async def test_dhcp_options_change_one_by_one(server: ApiServer) -> None:
    network, _ = await server.make_network()
    boot = {"opt_name": "bootfile-name", "opt_value": "pxelinux.0"}
    server_address = {"opt_name": "tftp-server", "opt_value": "10.0.0.9", "ip_version": 4}
    port = await server.make("port", network_id=network, extra_dhcp_opts=[boot, server_address])
    assert port["extra_dhcp_opts"] == [{**boot, "ip_version": 4}, server_address]
    changed = await update(
        server,
        port,
        extra_dhcp_opts=[
            {"opt_name": "bootfile-name", "opt_value": None},
            {"opt_name": "tftp-server", "opt_value": "::9", "ip_version": "6"},
        ],
    )
    assert changed["extra_dhcp_opts"] == [server_address, {**server_address, "opt_value": "::9", "ip_version": 6}]
    for wrong in ([{"opt_name": "x"}], [{"opt_name": " ", "opt_value": "1"}], [{"opt_name": "x", "opt_value": "a\nb"}]):
        await refused(server, f"PUT ports/{port['id']}", {"port": {"extra_dhcp_opts": wrong}}, 400)


# --- names


async def test_addresses_have_names_as_recorded(server: ApiServer) -> None:
    network, _ = await server.make_network()
    await slaac(server, network)
    wanted = CALLS["port bound to a host with an OVS agent"]["response"]["body"]["port"]["dns_assignment"]
    port = await server.make(
        "port", network_id=network, mac_address=MAC, fixed_ips=[{"ip_address": wanted[0]["ip_address"]}]
    )
    assert port["dns_assignment"] == wanted


async def test_a_name_is_in_the_domain_of_its_port_or_network(server: ApiServer) -> None:
    network, _ = await server.make_network(dns_domain="net.example.")
    port = await server.make("port", network_id=network, dns_name="Web", fixed_ips=[{"ip_address": "10.61.0.9"}])
    assert port["dns_name"] == "web"
    name = {"ip_address": "10.61.0.9", "hostname": "web", "fqdn": "web.net.example."}
    assert port["dns_assignment"] == [name]
    changed = await update(server, port, dns_domain="port.example.")
    assert changed["dns_assignment"] == [{**name, "fqdn": "web.port.example."}]
    found = await server.call("GET", "/v2.0/ports?dns_name=WEB&fields=dns_name", status=200)
    assert found == {"ports": [{"dns_name": "web"}]}
    for attribute, value in (("dns_name", "a_b"), ("dns_domain", "no-full-stop"), ("dns_name", "-a")):
        await refused(server, f"PUT ports/{port['id']}", {"port": {attribute: value}}, 400)


# --- MAC, binding


async def test_a_mac_that_is_null_is_chosen_anew(server: ApiServer) -> None:
    network, _ = await server.make_network()
    port = await server.make("port", network_id=network, mac_address=None)
    changed = await update(server, port, mac_address=None)
    assert changed["mac_address"] != port["mac_address"]
    bound = await update(server, port, **{"binding:host_id": "node1"})
    message = await refused(server, f"PUT ports/{port['id']}", {"port": {"mac_address": MAC}}, 409)
    assert message == (
        f"PortBound: Unable to complete operation on port {port['id']}, port is already bound, port type: ovs, old_mac "
        f"{bound['mac_address']}, new_mac {MAC}."
    )


async def test_an_unbound_port_keeps_what_its_binding_shall_be(server: ApiServer) -> None:
    network, _ = await server.make_network()
    given = {"binding:vnic_type": "baremetal", "binding:profile": {"local_link_information": [{"port_id": "x"}]}}
    port = await server.make("port", network_id=network, **given)
    assert {name: port[name] for name in given} == given
    bound = await update(server, port, **{"binding:host_id": "bm1"})
    assert {name: bound[name] for name in given} == given
    unbound = await update(server, port, **{"binding:host_id": "", "binding:profile": {}})
    assert (unbound["binding:vnic_type"], unbound["binding:profile"]) == ("baremetal", {})


# --- IPv6


async def test_hosts_of_a_slaac_subnet_have_the_recorded_addresses(server: ApiServer) -> None:
    network, subnet = await server.make_network()
    wanted = CALLS["subnet v6 slaac"]["response"]["body"]["subnet"]
    made = await server.make(
        "subnet", **{**CALLS["subnet v6 slaac"]["request"]["body"]["subnet"], "network_id": network}
    )
    ours = ("id", "network_id", "project_id", "tenant_id", "created_at", "updated_at", "gateway_ip", "allocation_pools")
    assert {name: made[name] for name in wanted if name not in ours} == {
        name: wanted[name] for name in wanted if name not in ours
    }
    port = await server.make("port", network_id=network, mac_address=MAC)
    recorded = CALLS["port bound to a host with an OVS agent"]["response"]["body"]["port"]["fixed_ips"]
    assert addresses(port)[1:] == [recorded[1]["ip_address"]]
    assert [each["subnet_id"] for each in port["fixed_ips"]] == [subnet, made["id"]]


async def test_an_address_that_a_host_makes_cannot_be_chosen(server: ApiServer) -> None:
    network, _ = await server.make_network()
    subnet = await slaac(server, network)
    body = {"port": {"network_id": network, "fixed_ips": [{"ip_address": "2001:db8:61::5"}]}}
    assert await refused(server, "POST ports", body, 400) == (
        f"AllocationOnAutoAddressSubnet: IPv6 address 2001:db8:61::5 can not be directly assigned to a port on subnet "
        f"{subnet} since the subnet is configured for automatic addresses"
    )
    only = await server.make("port", network_id=network, mac_address=MAC, fixed_ips=[{"subnet_id": subnet}])
    assert addresses(only) == ["2001:db8:61:0:f816:3eff:fee1:75fc"]
    assert addresses(await server.make("port", network_id=network, fixed_ips=[])) == []


async def test_addresses_follow_the_mac(server: ApiServer) -> None:
    network, _ = await server.make_network()
    await slaac(server, network)
    port = await server.make("port", network_id=network)
    changed = await update(server, port, mac_address=MAC)
    assert addresses(changed) == [addresses(port)[0], "2001:db8:61:0:f816:3eff:fee1:75fc"]
    # Nobody else can make it: who comes back with the MAC has the address at once.
    await server.call("DELETE", f"/v2.0/ports/{port['id']}", status=204)
    again = await server.make("port", network_id=network, mac_address=MAC)
    assert addresses(again)[1] == addresses(changed)[1]


async def test_a_slaac_subnet_comes_to_ports_that_exist_and_goes_from_them(server: ApiServer) -> None:
    network, v4 = await server.make_network()
    router = (await server.make("router"))["id"]
    await server.call("PUT", f"/v2.0/routers/{router}/add_router_interface", {"subnet_id": v4}, status=200)
    port = await server.make("port", network_id=network, mac_address=MAC)
    subnet = await slaac(server, network, ipv6_ra_mode="dhcpv6-stateless", ipv6_address_mode="dhcpv6-stateless")
    shown = (await server.call("GET", f"/v2.0/ports/{port['id']}", status=200))["port"]
    assert addresses(shown) == [*addresses(port), "2001:db8:61:0:f816:3eff:fee1:75fc"]
    gateways = await server.call("GET", f"/v2.0/ports?device_id={router}", status=200)
    assert [addresses(each) for each in gateways["ports"]] == [["10.61.0.1"]]
    await server.call("DELETE", f"/v2.0/subnets/{subnet}", status=204)
    shown = (await server.call("GET", f"/v2.0/ports/{port['id']}", status=200))["port"]
    assert addresses(shown) == addresses(port)


async def test_a_gateway_on_a_slaac_subnet_is_the_subnets(server: ApiServer) -> None:
    network, _ = await server.make_network()
    subnet = await slaac(server, network)
    router = (await server.make("router"))["id"]
    path = f"/v2.0/routers/{router}/add_router_interface"
    port = (await server.call("PUT", path, {"subnet_id": subnet}, status=200))["port_id"]
    shown = (await server.call("GET", f"/v2.0/ports/{port}", status=200))["port"]
    gateway = (await server.call("GET", f"/v2.0/subnets/{subnet}", status=200))["subnet"]["gateway_ip"]
    assert addresses(shown) == [gateway]
    await refused(server, f"DELETE subnets/{subnet}", None, 409)


async def test_a_dhcpv6_subnet_gives_addresses_of_its_pool(server: ApiServer) -> None:
    network, _ = await server.make_network()
    modes = {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
    await server.make("subnet", network_id=network, cidr="2001:db8:7::/64", ip_version=6, **modes)
    port = await server.make("port", network_id=network)
    v4, v6 = map(ipaddress.ip_address, addresses(port))
    assert v4 in ipaddress.ip_network("10.61.0.0/24")
    assert v6 == ipaddress.ip_address("2001:db8:7::2")
    chosen = await server.make("port", network_id=network, fixed_ips=[{"ip_address": "2001:DB8:7::abc"}])
    assert addresses(chosen) == ["2001:db8:7::abc"]
    found = await server.call("GET", "/v2.0/ports?fixed_ips=ip_address=2001:DB8:7::ABC&fields=id", status=200)
    assert found == {"ports": [{"id": chosen["id"]}]}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"}, "is not valid. If both attributes are set"),
        ({"ipv6_ra_mode": "slaac", "enable_dhcp": False}, "cannot be set when enable_dhcp is set to False"),
        ({"ipv6_address_mode": "slaac", "cidr": "2001:db8::/80"}, "requires the prefix to be /64"),
        (
            {"ipv6_ra_mode": "slaac", "cidr": "10.1.0.0/24", "ip_version": 4},
            "ipv6_ra_mode is not valid when ip_version is 4",
        ),
        ({"ipv6_ra_mode": "nosuch"}, "Invalid input for ipv6_ra_mode. Reason: 'nosuch' is not in ['dhcpv6-stateful'"),
    ],
)
async def test_modes_that_contradict_are_refused(
    server: ApiServer, attributes: dict[str, object], message: str
) -> None:
    network, _ = await server.make_network()
    body = {"subnet": {"network_id": network, "cidr": "2001:db8::/64", "ip_version": 6, **attributes}}
    assert message in await refused(server, "POST subnets", body, 400)


# --- requests that come together


async def test_of_requests_that_come_together_one_that_fails_fails_alone(server: ApiServer) -> None:
    network, _ = await server.make_network()
    elsewhere = "00000000-0000-4000-8000-000000000000"
    networks = [network, network, elsewhere, network]
    bodies = [{"port": {"network_id": each, "name": f"p{at}"}} for at, each in enumerate(networks)]
    answers = await asyncio.gather(*(server.answer("POST", "/v2.0/ports", json=body) for body in bodies))
    assert [answer.status_code for answer in answers] == [201, 201, 404, 201]
    made = [answer.json()["port"] for answer in answers if answer.status_code == 201]
    assert [port["name"] for port in made] == ["p0", "p1", "p3"]
    assert len({addresses(port)[0] for port in made}) == 3


async def test_changes_of_one_port_that_come_together_are_all_made(server: ApiServer) -> None:
    network, _ = await server.make_network()
    port = await server.make("port", network_id=network)
    path = f"/v2.0/ports/{port['id']}"
    changes: list[dict[str, object]] = [{"name": "new"}, {"binding:host_id": "node1"}, {"description": "said"}]
    answers = await asyncio.gather(*(server.call("PUT", path, {"port": each}, status=200) for each in changes))
    assert len({answer["port"]["revision_number"] for answer in answers}) == 3
    found = (await server.call("GET", path))["port"]
    assert (found["name"], found["binding:host_id"], found["description"]) == ("new", "node1", "said")
    assert found["revision_number"] == port["revision_number"] + 3


async def test_of_changes_that_expect_one_revision_one_is_made(server: ApiServer) -> None:
    network, _ = await server.make_network()
    port = await server.make("port", network_id=network)
    expected = {"If-Match": f"revision_number={port['revision_number']}"}
    answers = await asyncio.gather(
        *(
            server.answer("PUT", f"/v2.0/ports/{port['id']}", json={"port": {"name": name}}, headers=expected)
            for name in ("a", "b", "c")
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]


async def test_a_port_that_several_delete_at_once_is_deleted_once(server: ApiServer) -> None:
    network, _ = await server.make_network()
    port = await server.make("port", network_id=network)
    other = await server.make("port", network_id=network)
    paths = [f"/v2.0/ports/{each['id']}" for each in (port, port, other)]
    answers = await asyncio.gather(*(server.answer("DELETE", path) for path in paths))
    assert sorted(answer.status_code for answer in answers) == [204, 204, 404]
    assert (await server.call("GET", f"/v2.0/ports?network_id={network}"))["ports"] == []


async def test_a_port_without_an_address_says_that_it_was_given_none(server: ApiServer) -> None:
    network, _ = await server.make_network()
    none = await server.make("port", network_id=network, fixed_ips=[])
    one = await server.make("port", network_id=network)
    assert (none["fixed_ips"], none["ip_allocation"], one["ip_allocation"]) == ([], "none", "immediate")
    found = await server.call("GET", "/v2.0/ports?ip_allocation=none", status=200)
    assert [each["id"] for each in found["ports"]] == [none["id"]]


async def test_a_port_that_only_calls_itself_a_routers_can_be_given_up(server: ApiServer) -> None:
    network, subnet = await server.make_network()
    called = await server.make("port", network_id=network, device_owner="network:router_interface", device_id="none")
    renamed = await server.make("port", network_id=network)
    for owner in ("network:router_interface", "compute:nova"):
        body = {"port": {"device_owner": owner, "binding:host_id": "node1"}}
        await server.call("PUT", f"/v2.0/ports/{renamed['id']}", body, status=200)
    await server.call("DELETE", f"/v2.0/ports/{called['id']}", status=204)
    router = (await server.make("router"))["id"]
    path = f"/v2.0/routers/{router}/add_router_interface"
    real = (await server.call("PUT", path, {"subnet_id": subnet}, status=200))["port_id"]
    message = await refused(server, f"DELETE ports/{real}", None, 409)
    assert message.startswith(f"ServicePortInUse: Port {real} cannot be deleted directly via the port API")
    message = await refused(server, f"PUT ports/{real}", {"port": {"device_owner": ""}}, 409)
    assert message.startswith("ServicePortInUse")
