"""The unmodified `openstack` command line against a server process."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openstack_program import DEADLINE_S, Shell
from openstack_server import ADMIN, MEMBER, openstack_server


@pytest.fixture(scope="module")
def openstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with openstack_server(tmp_path_factory.mktemp("server")) as url:
        shell = Shell(OS_AUTH_TYPE="none", OS_ENDPOINT=url)
        yield shell
        shell.close()


@pytest.fixture
def network(openstack: Shell) -> Iterator[str]:
    openstack("network create n")
    openstack("subnet create s --network n --subnet-range 10.61.0.0/24")
    yield "n"
    for port in openstack("port list --network n"):
        openstack(f"port delete {port['ID']}")
    openstack("network delete n")


def test_the_program_itself(openstack: Shell) -> None:
    program = Path(sys.executable).parent / "openstack"
    command = [str(program), "extension", "list", "--network", "-f", "json"]
    found = subprocess.run(
        command, env=openstack.environment, capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert {"quotas", "router"} <= {extension["Alias"] for extension in json.loads(found.stdout)}


def test_networks_and_subnets(openstack: Shell, network: str) -> None:
    openstack(f"network set {network} --description d --mtu 1400 --tag red --tag blue")
    shown = openstack(f"network show {network}")
    assert (shown["description"], shown["mtu"], sorted(shown["tags"])) == ("d", 1400, ["blue", "red"])
    assert [each["Name"] for each in openstack("network list --tags red,blue")] == [network]
    openstack(f"network unset {network} --tag red")
    assert openstack("network list --tags red") == []
    openstack(
        "subnet set s --dns-nameserver 10.61.0.2 --no-allocation-pool --allocation-pool start=10.61.0.9,end=10.61.0.99"
    )
    subnet = openstack("subnet show s")
    assert subnet["dns_nameservers"] == ["10.61.0.2"]
    assert subnet["allocation_pools"] == [{"start": "10.61.0.9", "end": "10.61.0.99"}]
    openstack(
        "subnet create six --network n --ip-version 6 --subnet-range 2001:db8::/64 "
        "--ipv6-address-mode slaac --ipv6-ra-mode slaac"
    )
    assert [each["Name"] for each in openstack("subnet list --network n --ip-version 6")] == ["six"]
    openstack("subnet delete six")
    assert "No Network found for nosuch" in openstack.refused("network show nosuch")


def test_ports(openstack: Shell, network: str) -> None:
    port = openstack(f"port create p --network {network} --fixed-ip subnet=s,ip-address=10.61.0.50")
    assert port["fixed_ips"][0]["ip_address"] == "10.61.0.50"
    openstack("port set p --host node1 --device vm --device-owner compute:nova --name q")
    (found,) = openstack("port list --fixed-ip ip-address=10.61.0.50 --long")
    assert (found["Name"], found["Device Owner"]) == ("q", "compute:nova")
    shown = openstack("port show q")
    assert (shown["binding_host_id"], shown["binding_vif_type"]) == ("node1", "ovs")
    openstack("port unset q --host")
    assert openstack("port show q")["status"] == "DOWN"
    assert [each["Name"] for each in openstack(f"port list --network {network} --sort-column Name")] == ["q"]
    message = openstack.refused(f"port create p2 --network {network} --fixed-ip ip-address=10.61.0.50")
    assert "IP address 10.61.0.50 already allocated" in message
    openstack("port delete q")


def test_routers_gateways_and_floating_ips(openstack: Shell, network: str) -> None:
    openstack("network create ext --external")
    openstack("subnet create exts --network ext --subnet-range 198.51.100.0/24")
    openstack("router create r")
    openstack("router add subnet r s")
    openstack("router set r --external-gateway ext")
    router = openstack("router show r")
    assert router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] == "198.51.100.2"
    assert [each["ip_address"] for each in router["interfaces_info"]] == ["10.61.0.1"]
    port = openstack(f"port create p --network {network}")
    address = openstack("floating ip create ext")["floating_ip_address"]
    openstack(f"floating ip set {address} --port p")
    (listed,) = openstack("floating ip list --router r")
    assert listed["Floating IP Address"] == address
    assert listed["Fixed IP Address"] == port["fixed_ips"][0]["ip_address"]
    assert openstack(f"floating ip show {address}")["status"] == "DOWN"
    assert "required by one or more floating IPs" in openstack.refused("router unset r --external-gateway")
    openstack(f"floating ip unset {address} --port")
    openstack(f"floating ip delete {address}")
    openstack("router unset r --external-gateway")
    openstack("router remove subnet r s")
    openstack("router delete r")
    openstack("network delete ext")


def test_security_groups(openstack: Shell, network: str) -> None:
    assert [each["Name"] for each in openstack("security group list")] == ["default"]
    openstack("security group create web --description d")
    rule = openstack("security group rule create web --protocol tcp --dst-port 80:81 --remote-ip 10.0.0.0/8")
    openstack("security group rule create web --protocol icmp --remote-group web")
    assert len(openstack("security group rule list web")) == 4
    assert openstack(f"security group rule show {rule['id']}")["port_range_max"] == 81
    assert "already exists" in openstack.refused("security group rule create web --protocol icmp --remote-group web")
    openstack("security group set web --name www")
    port = openstack(f"port create p --network {network} --security-group www")
    assert len(port["security_group_ids"]) == 1
    assert "in use" in openstack.refused("security group delete www")
    openstack("port set p --no-security-group --security-group default")
    openstack(f"security group rule delete {rule['id']}")
    openstack("security group delete www")


def test_subnet_pools_and_address_scopes(openstack: Shell) -> None:
    openstack("address scope create as --ip-version 4")
    openstack("subnet pool create sp --pool-prefix 10.70.0.0/16 --default-prefix-length 26 --address-scope as")
    openstack("network create pooled")
    assert openstack("subnet create a --network pooled --subnet-pool sp")["cidr"] == "10.70.0.0/26"
    assert openstack("subnet create b --network pooled --subnet-pool sp --prefix-length 28")["cidr"] == "10.70.0.64/28"
    openstack("subnet pool set sp --pool-prefix 10.71.0.0/16 --no-address-scope")
    assert openstack("subnet pool show sp")["prefixes"] == ["10.70.0.0/15"]
    assert "existing allocations" in openstack.refused("subnet pool delete sp")
    openstack("network delete pooled")
    openstack("subnet pool delete sp")
    openstack("address scope delete as")
    assert openstack("subnet pool list") == openstack("address scope list") == []


def test_availability_agents_and_zones(openstack: Shell, network: str) -> None:
    (found,) = openstack("ip availability list")
    assert (found["Network Name"], found["Total IPs"], found["Used IPs"]) == (network, 253, 0)
    assert openstack(f"ip availability show {network}")["total_ips"] == 253
    assert openstack("network agent list") == []
    assert {each["Zone Name"] for each in openstack("availability zone list --network")} == {"private"}
    assert openstack("network service provider list") == []


def test_a_token_says_who_asks(tmp_path: Path) -> None:
    with openstack_server(tmp_path, tokens=True) as url:
        admin, member = (
            Shell(OS_AUTH_TYPE="admin_token", OS_TOKEN=token, OS_ENDPOINT=url) for token in (ADMIN, MEMBER)
        )
        admin("network create hidden")
        member("network create own")
        assert [each["Name"] for each in member("network list")] == ["own"]
        assert {each["Name"] for each in admin("network list")} == {"hidden", "own"}
        assert "disallowed by policy" in member.refused("network create n --external")
        admin.close()
        member.close()
