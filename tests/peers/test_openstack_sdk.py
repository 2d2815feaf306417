"""An unmodified openstacksdk against a server process: what it can ask of a network service, weft answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack import exceptions
from openstack.connection import Connection
from openstack_server import ADMIN, MEMBER, openstack_server


def connected(url: str, token: str | None = None) -> Connection:
    """Return a connection as clouds.yaml describes one without Keystone."""
    auth = {"endpoint": url} if token is None else {"endpoint": url, "token": token}
    kind = "none" if token is None else "admin_token"
    return Connection(auth_type=kind, auth=auth)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with openstack_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def cloud(url: str) -> Iterator[Any]:
    connection = connected(url)
    yield connection
    connection.close()


@pytest.fixture
def net(cloud: Any) -> Any:
    return cloud.network


@pytest.fixture
def network(net: Any) -> Iterator[Any]:
    """A network with a subnet and nothing else; deleted with all that a test left in it."""
    made = net.create_network(name="n")
    net.create_subnet(network_id=made.id, name="s", ip_version=4, cidr="10.61.0.0/24")
    yield made
    for port in net.ports(network_id=made.id):
        net.delete_port(port)
    net.delete_network(made)


def test_versions_and_extensions(net: Any, url: str) -> None:
    assert net.get_endpoint() == f"{url}/v2.0/"
    aliases = {extension.alias for extension in net.extensions()}
    assert {"quotas", "rbac-policies", "address-scope", "network-ip-availability"} <= aliases
    assert "security-group" not in aliases  # stored and shown, and not enforced yet
    assert net.find_extension("router").name == "Neutron L3 Router"


def test_networks_and_subnets(net: Any, network: Any) -> None:
    assert net.find_network("n").id == network.id
    changed = net.update_network(network.id, description="d", mtu=1400)
    assert (changed.description, changed.mtu, changed.revision_number > network.revision_number) == ("d", 1400, True)
    (subnet,) = net.subnets(network_id=network.id)
    assert net.get_network(network.id).subnet_ids == [subnet.id]
    assert (subnet.cidr, subnet.gateway_ip, subnet.is_dhcp_enabled) == ("10.61.0.0/24", "10.61.0.1", True)
    changed = net.update_subnet(subnet, dns_nameservers=["10.61.0.2"], name="t")
    assert net.find_subnet("t").dns_nameservers == changed.dns_nameservers == ["10.61.0.2"]
    six = net.create_subnet(network_id=network.id, ip_version=6, cidr="2001:db8::/64")
    assert [each.id for each in net.subnets(ip_version=6)] == [six.id]
    net.delete_subnet(six)
    with pytest.raises(exceptions.NotFoundException):
        net.get_subnet(six.id)


def test_ports_one_and_many(net: Any, network: Any) -> None:
    (subnet,) = net.subnets(network_id=network.id)
    port = net.create_port(network_id=network.id, name="p", fixed_ips=[{"ip_address": "10.61.0.9"}])
    assert (port.status, port.fixed_ips) == ("DOWN", [{"subnet_id": subnet.id, "ip_address": "10.61.0.9"}])
    many = list(net.create_ports([{"network_id": network.id, "name": f"p{at}"} for at in range(7)]))
    assert len({each.fixed_ips[0]["ip_address"] for each in many}) == 7
    assert [each.id for each in net.ports(fixed_ips="ip_address=10.61.0.9")] == [port.id]
    assert {each.id for each in net.ports(network_id=network.id, limit=3)} == {port.id, *(each.id for each in many)}
    assert len(list(net.ports(network_id=network.id, fixed_ips=f"subnet_id={subnet.id}"))) == 8
    bound = net.update_port(port, binding_host_id="node1", device_id="vm", device_owner="compute:nova")
    assert (bound.binding_host_id, bound.binding_vif_type, bound.status) == ("node1", "ovs", "BUILD")
    assert [each.name for each in net.ports(device_id="vm")] == ["p"]
    with pytest.raises(exceptions.ConflictException):
        net.create_port(network_id=network.id, fixed_ips=[{"ip_address": "10.61.0.9"}])
    with pytest.raises(exceptions.PreconditionFailedException):
        net.update_port(port, if_revision=port.revision_number - 1, name="q")
    net.delete_port(port.id)
    assert net.find_port("p") is None


def test_tags(net: Any, network: Any) -> None:
    net.set_tags(network, ["red", "blue"])
    net.add_tag(network, "green")
    assert net.get_network(network.id).tags == ["blue", "green", "red"]
    assert [each.id for each in net.networks(tags="red,blue")] == [network.id]
    assert list(net.networks(tags="pink")) == []
    net.remove_tag(network, "red")
    assert [each.id for each in net.networks(not_tags="red", name="n")] == [network.id]
    net.remove_all_tags(network)
    group = net.create_security_group(name="g")
    assert net.set_tags(group, ["x"]).tags == ["x"]
    net.delete_security_group(group)


def test_routers_gateways_and_floating_ips(net: Any, network: Any) -> None:
    (subnet,) = net.subnets(network_id=network.id)
    external = net.create_network(name="ext", is_router_external=True)
    net.create_subnet(network_id=external.id, ip_version=4, cidr="198.51.100.0/24")
    router = net.create_router(name="r", external_gateway_info={"network_id": external.id})
    assert router.external_gateway_info["enable_snat"] is True
    net.add_interface_to_router(router, subnet_id=subnet.id)
    port = net.create_port(network_id=network.id)
    ip = net.create_ip(floating_network_id=external.id)
    ip = net.update_ip(ip, port_id=port.id)
    assert (ip.router_id, ip.fixed_ip_address, ip.status) == (router.id, port.fixed_ips[0]["ip_address"], "DOWN")
    assert net.find_ip(ip.floating_ip_address).id == ip.id
    assert [each.id for each in net.ips(port_id=port.id)] == [ip.id]
    with pytest.raises(exceptions.ConflictException):
        net.remove_interface_from_router(router, subnet_id=subnet.id)
    net.delete_ip(ip)
    net.remove_interface_from_router(router, subnet_id=subnet.id)
    assert net.update_router(router, external_gateway_info={}).external_gateway_info is None
    net.delete_router(router)
    net.delete_network(external)


def test_security_groups(net: Any, network: Any) -> None:
    group = net.create_security_group(name="web", description="d")
    assert [rule["direction"] for rule in group.security_group_rules] == ["egress", "egress"]
    rule = net.create_security_group_rule(
        security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=80, port_range_max=81
    )
    assert net.find_security_group_rule(rule.id).port_range_max == 81
    assert [each.id for each in net.security_group_rules(security_group_id=group.id, direction="ingress")] == [rule.id]
    port = net.create_port(network_id=network.id, security_groups=[group.id])
    assert port.security_group_ids == [group.id]
    with pytest.raises(exceptions.ConflictException):
        net.delete_security_group(group)
    default = net.find_security_group("default")
    assert net.update_port(port, security_groups=[default.id]).security_group_ids == [default.id]
    net.delete_security_group_rule(rule)
    net.delete_security_group(group)


def test_subnet_pools_and_address_scopes(net: Any) -> None:
    scope = net.create_address_scope(name="as", ip_version=4)
    pool = net.create_subnet_pool(
        name="sp", prefixes=["10.70.0.0/16"], default_prefix_length=26, address_scope_id=scope.id
    )
    assert (pool.default_prefix_length, pool.minimum_prefix_length, pool.maximum_prefix_length) == (26, 8, 32)
    made = net.create_network(name="pooled")
    subnet = net.create_subnet(network_id=made.id, ip_version=4, subnet_pool_id=pool.id)
    assert (subnet.cidr, subnet.subnet_pool_id) == ("10.70.0.0/26", pool.id)
    with pytest.raises(exceptions.ConflictException):
        net.delete_subnet_pool(pool)
    net.delete_network(made)
    assert net.update_subnet_pool(pool, address_scope_id=None).address_scope_id is None
    net.delete_address_scope(scope)
    net.delete_subnet_pool(pool)
    assert (list(net.subnet_pools()), list(net.address_scopes())) == ([], [])


def test_quotas(net: Any) -> None:
    project = "0123456789abcdef0123456789abcdef"
    assert net.get_quota(project).ports == -1
    assert net.update_quota(project, ports=7, networks=1).ports == 7
    assert net.get_quota(project, details=True).networks == {"limit": 1, "used": 0, "reserved": 0}
    assert net.get_quota_default(project).ports == -1
    assert [each.project_id for each in net.quotas()] == [project]
    made = net.create_network(project_id=project)
    with pytest.raises(exceptions.ConflictException, match="Quota exceeded for resources"):
        net.create_network(project_id=project)
    net.delete_network(made)
    net.delete_quota(project)
    assert net.get_quota(project).networks == -1


def test_availability_agents_and_zones(net: Any, network: Any) -> None:
    net.create_port(network_id=network.id)
    found = net.find_network_ip_availability(network.id)
    assert [each.network_id for each in net.network_ip_availabilities(network_name="n")] == [network.id]
    assert (found.network_id, found.used_ips, found.total_ips) == (network.id, 1, 253)
    assert list(net.agents()) == []
    assert {(zone.name, zone.resource) for zone in net.availability_zones()} == {
        ("private", "network"),
        ("private", "router"),
    }
    assert list(net.service_providers()) == []


def test_sharing(net: Any, network: Any) -> None:
    policy = net.create_rbac_policy(
        object_type="network", object_id=network.id, action="access_as_shared", target_project_id="p2"
    )
    assert net.get_rbac_policy(policy.id).target_project_id == "p2"
    assert net.update_rbac_policy(policy, target_project_id="p3").target_project_id == "p3"
    assert [each.id for each in net.rbac_policies(object_id=network.id)] == [policy.id]
    net.delete_rbac_policy(policy)


def test_the_cloud_layer(cloud: Any) -> None:
    made = cloud.create_network("c", shared=False)
    subnet = cloud.create_subnet(made["id"], cidr="10.80.0.0/24", subnet_name="cs")
    port = cloud.create_port(made["id"], name="cp")
    group = cloud.create_security_group("cg", "d")
    cloud.create_security_group_rule(group["id"], 22, 22, "tcp", "0.0.0.0/0", direction="ingress")
    assert cloud.get_security_group("cg")["security_group_rules"][-1]["port_range_min"] == 22
    router = cloud.create_router("cr")
    cloud.add_router_interface(router, subnet_id=subnet["id"])
    assert [each["name"] for each in cloud.search_ports("cp")] == ["cp"]
    assert [each["device_id"] for each in cloud.list_router_interfaces(router)] == [router["id"]]
    cloud.remove_router_interface(router, subnet_id=subnet["id"])
    assert cloud.delete_router("cr")
    assert cloud.delete_port(port["id"])
    assert cloud.delete_security_group("cg")
    assert cloud.delete_network("c")


def test_a_token_says_who_asks(tmp_path: Path) -> None:
    with openstack_server(tmp_path, tokens=True) as url:
        admin, member = connected(url, ADMIN), connected(url, MEMBER)
        hidden = admin.network.create_network(name="hidden")  # type: ignore[attr-defined]
        own = member.network.create_network(name="own")  # type: ignore[attr-defined]
        assert (own.project_id, own.provider_network_type) == ("red", None)
        assert [each.name for each in member.network.networks()] == ["own"]  # type: ignore[attr-defined]
        assert [each.project_id for each in member.network.security_groups()] == ["red"]  # type: ignore[attr-defined]
        with pytest.raises(exceptions.NotFoundException):
            member.network.get_network(hidden.id)  # type: ignore[attr-defined]
        with pytest.raises(exceptions.ForbiddenException):
            member.network.update_quota("red", ports=1)  # type: ignore[attr-defined]
        with pytest.raises(exceptions.HttpException, match="401"):
            list(connected(url, "x" * 40).network.networks())  # type: ignore[attr-defined]
