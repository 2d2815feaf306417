"""Real FRR switches, configured by the real driver over SSH: what is applied is read back, carries packets, heals."""

import os
import re
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from frr_fabric import LEAVES, PATIENCE, FrrFabric, Host, bare, both, segment, tenant, until

from weft.fabric.config import Attachment, SwitchConfig, Vrf
from weft.fabric.dialects import frr, frr_text
from weft.fabric.facts import Facts
from weft.fabric.limits import Resource
from weft.fabric.plan import plan
from weft.lab import switch
from weft.model.errors import Permanent, Transient

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def built() -> Iterator[FrrFabric]:
    if os.geteuid() != 0:
        pytest.fail("these tests make network namespaces: run them as root, with `make test`")
    fabric = FrrFabric()
    try:
        fabric.build()
        yield fabric
    finally:
        fabric.close()


@pytest.fixture
def fabric(built: FrrFabric) -> FrrFabric:
    """The fabric with its underlay, and nothing on it."""
    built.take_all(*(bare(name) for name in ("spine1", *LEAVES)))
    until("all BGP sessions are established", built.sessions_are_up)
    return built


def test_fresh_switch_gets_its_underlay_and_shows_it(built: FrrFabric) -> None:
    assert built.observe("leaf1").config == SwitchConfig(name=bare("leaf1").name, underlay=None)
    began = time.monotonic()
    built.take_all(*(bare(name) for name in ("spine1", *LEAVES)))
    until("all BGP sessions are established", built.sessions_are_up)
    assert time.monotonic() - began < 6.0 * PATIENCE
    until("the leaves' loopbacks reach each other", lambda: _ping(built, "leaf1", "10.255.0.11", "10.255.0.12"))


def test_text_is_in_the_form_of_frr_itself(fabric: FrrFabric) -> None:
    desired = both(tenant(1, "leaf1"), tenant(2, "leaf1"))
    fabric.take(desired)
    running = fabric.on("leaf1", "vtysh", "-c", "show running-config")
    written = frr_text.text(frr.render(desired))
    for block in written.split("\n!\n"):
        assert f"\n{block.strip()}\n" in running
    assert fabric.on("leaf1", "cat", "/etc/frr/frr.conf").count("\nrouter bgp ") == 3


def test_same_network_on_two_leaves(fabric: FrrFabric) -> None:
    fabric.take_all(*(tenant(1, leaf) for leaf in LEAVES))
    one = fabric.host("a1", "leaf1", "eth11", 101, "10.0.1.11/24", "10.0.1.1")
    other = fabric.host("a2", "leaf2", "eth11", 101, "10.0.1.12/24", "10.0.1.1")
    _reach(one, other)
    assert one.hops(other.address) == 0
    until("leaf1 has learnt the other host's MAC address", lambda: _facts(fabric).vnis[10101].macs >= 2)
    assert _facts(fabric).vnis[10101].remote_vteps == ("10.255.0.12",)
    until("the L3VNI is up", lambda: _facts(fabric).vrfs["v50001"].is_up)
    assert _facts(fabric).usage()[Resource.VNIS] == 3


def _facts(fabric: FrrFabric) -> Facts:
    return fabric.observe("leaf1").facts


def test_other_network_is_one_hop_away_wherever_it_is(fabric: FrrFabric) -> None:
    fabric.take_all(*(tenant(1, leaf) for leaf in LEAVES))
    one = fabric.host("b1", "leaf1", "eth11", 101, "10.0.1.21/24", "10.0.1.1")
    near = fabric.host("b2", "leaf1", "eth11", 102, "10.0.2.21/24", "10.0.2.1")
    far = fabric.host("b3", "leaf2", "eth11", 102, "10.0.2.22/24", "10.0.2.1")
    _reach(one, near)
    _reach(one, far)
    assert one.hops(near.address) == 1
    assert one.hops(far.address) in {1, 2}  # routed at the first leaf, and through the L3VNI once the host is known
    assert one.link_address("10.0.1.1") == "00:00:5e:00:01:01"


def test_network_that_only_the_other_leaf_has_is_reached_by_the_l3vni(fabric: FrrFabric) -> None:
    fabric.take_all(tenant(1, "leaf1", networks=(1,)), tenant(1, "leaf2", networks=(2,)))
    one = fabric.host("c1", "leaf1", "eth11", 101, "10.0.1.31/24", "10.0.1.1")
    far = fabric.host("c2", "leaf2", "eth11", 102, "10.0.2.32/24", "10.0.2.1")
    _reach(one, far)
    assert one.hops(far.address) == 2
    assert _facts(fabric).vrfs["v50001"].learnt_routes >= 1, "to the other network, or the other host"


def test_tenants_with_equal_addresses_do_not_meet(fabric: FrrFabric) -> None:
    fabric.take_all(*(both(tenant(1, leaf), tenant(2, leaf)) for leaf in LEAVES))
    red = fabric.host("d1", "leaf1", "eth11", 101, "10.0.1.41/24", "10.0.1.1")
    blue = fabric.host("d2", "leaf2", "eth11", 201, "10.0.1.42/24", "10.0.1.1")
    red_far = fabric.host("d3", "leaf2", "eth11", 101, "10.0.1.43/24", "10.0.1.1")
    _reach(red, red_far)
    assert not red.ping(blue.address)
    assert not blue.ping(red.address)


def test_bare_metal_is_untagged(fabric: FrrFabric) -> None:
    untagged = Attachment(interface="eth13", vlan=0, vni=10101)
    leaf2 = tenant(1, "leaf2")
    leaf2 = msgspec.structs.replace(leaf2, attachments=tuple(sorted((*leaf2.attachments, untagged))))
    fabric.take_all(tenant(1, "leaf1"), leaf2)
    vm = fabric.host("e1", "leaf1", "eth11", 101, "10.0.1.51/24", "10.0.1.1")
    metal = fabric.host("e2", "leaf2", "eth13", 0, "10.0.1.52/24", "10.0.1.1")
    _reach(vm, metal)


def test_unrouted_network_and_its_move_into_a_vrf(fabric: FrrFabric) -> None:
    vlan = Attachment(interface="eth11", vlan=109, vni=10109)

    def alone(leaf: str) -> SwitchConfig:
        return msgspec.structs.replace(bare(leaf), segments=(segment(10109, None),), attachments=(vlan,))

    fabric.take_all(*map(alone, LEAVES))
    one = fabric.host("f1", "leaf1", "eth11", 109, "10.0.9.11/24", "10.0.9.1")
    other = fabric.host("f2", "leaf2", "eth11", 109, "10.0.9.12/24", "10.0.9.1")
    _reach(one, other)
    assert not one.ping("10.0.9.1")
    vrf = Vrf(name="v50003", l3vni=50003)
    routed = [
        msgspec.structs.replace(
            alone(leaf), vrfs=(vrf,), segments=(segment(10109, "v50003", "10.0.9.1/24", "fd09::1/64"),)
        )
        for leaf in LEAVES
    ]
    fabric.take_all(*routed)
    until("the gateway answers", lambda: one.ping("10.0.9.1"))
    _reach(one, other)


def test_host_that_moves_to_another_leaf_is_found_there(fabric: FrrFabric) -> None:
    fabric.take_all(*(tenant(1, leaf) for leaf in LEAVES))
    still = fabric.host("g1", "leaf1", "eth11", 101, "10.0.1.61/24", "10.0.1.1")
    moving = fabric.host("g2", "leaf1", "eth12", 101, "10.0.1.62/24", "10.0.1.1")
    attached = Attachment(interface="eth12", vlan=101, vni=10101)
    leaf1 = tenant(1, "leaf1")
    fabric.take(msgspec.structs.replace(leaf1, attachments=tuple(sorted((*leaf1.attachments, attached)))))
    _reach(still, moving)
    fabric.unplug(moving)
    fabric.take(leaf1)
    moved = fabric.host("g3", "leaf2", "eth11", 101, "10.0.1.62/24", "10.0.1.1")
    assert moved.ping("10.0.1.1")
    _reach(still, moved)


def test_management_prefixes_reach_each_other(fabric: FrrFabric) -> None:
    one = fabric.host("h1", "leaf1", "eth12", 0, "172.31.1.50/24", "172.31.1.1")
    other = fabric.host("h2", "leaf2", "eth12", 0, "172.31.2.50/24", "172.31.2.1")
    _reach(one, other)


def test_unknown_vlan_reaches_nobody(fabric: FrrFabric) -> None:
    one = fabric.host("j1", "leaf1", "eth11", 777, "172.31.1.61/24", "172.31.1.1")
    other = fabric.host("j2", "leaf1", "eth12", 777, "172.31.1.62/24", "172.31.1.1")
    assert not one.ping(other.address)
    assert not one.ping("172.31.1.1")


def test_everything_is_taken_away_and_can_come_again(fabric: FrrFabric) -> None:
    for _ in range(3):
        fabric.take(both(tenant(1, "leaf1"), tenant(2, "leaf1")))
        fabric.take(tenant(2, "leaf1"))
        fabric.take(bare("leaf1"))
        links = fabric.on(
            "leaf1",
            "bash",
            "-c",
            "shopt -s nullglob; ip -o link; for n in /run/netns/*; do ip -n ${n##*/} -o link; done",
        )
        names = (" vx", " l3", " br1", " svi", ".1", " v50")
        assert not [line for line in links.splitlines() if any(name in line for name in names)]
        assert not fabric.observe("leaf1").drift


def test_applying_what_is_there_changes_nothing(fabric: FrrFabric) -> None:
    desired = tenant(1, "leaf1")
    fabric.take(desired)
    before = _state(fabric, "leaf1")
    observed = fabric.observe("leaf1")
    assert not plan(observed.config, desired)
    fabric.run(fabric.drivers["leaf1"].apply(plan(observed.config, desired), desired, observed))
    assert _state(fabric, "leaf1") == before


ROUTING_DAMAGES = {
    "a fabric link is down": "ip link set eth1 down",
    "a fabric link is small": "ip link set eth1 mtu 1500",
    "the switch does not forward": "sysctl -qw net.ipv4.ip_forward=0",
    "the management bridge is gone": "ip link del br-mgmt",
    "a management port is out": "ip link set eth12 nomaster",
    "the VNI of a VRF": "vtysh -c 'conf t' -c 'vrf v50001' -c 'no vni 50001'",
    "the BGP of a VRF": "vtysh -c 'conf t' -c 'vrf v50001' -c 'no vni 50001' -c exit; for i in {1..99}; do "
    "vtysh -c 'conf t' -c 'no router bgp 65101 vrf v50001' && break; sleep 0.05; done",
    "a family of all neighbours": "vtysh -c 'conf t' -c 'router bgp 65101' -c 'address-family l2vpn evpn' "
    "-c 'no neighbor fabric activate'",
    "a neighbour's group": "vtysh -c 'conf t' -c 'router bgp 65101' -c 'no neighbor 10.254.0.0 peer-group fabric'",
    "a neighbour": "vtysh -c 'conf t' -c 'router bgp 65101' -c 'no neighbor 10.254.0.0'",
    "a line too much": "vtysh -c 'conf t' -c 'router bgp 65101' -c 'neighbor 10.254.0.0 shutdown'",
    "a network too much": "vtysh -c 'conf t' -c 'router bgp 65101' -c 'address-family ipv4 unicast' "
    "-c 'network 9.9.9.0/24'",
    "an address": "vtysh -c 'conf t' -c 'interface eth1' -c 'no ip address 10.254.0.1/31'",
    "all of BGP": "vtysh -c 'conf t' -c 'vrf v50001' -c 'no vni 50001' -c exit; for i in {1..99}; do "
    "vtysh -c 'conf t' -c 'no router bgp 65101 vrf v50001' && vtysh -c 'conf t' -c 'no router bgp 65101' && break; "
    "sleep 0.05; done",
}

KERNEL_DAMAGES = {
    "netns": {
        "a vxlan device is gone": "ip -n v50001 link del vx10101",
        "a bridge is gone": "ip -n v50001 link del br10102",
        "a bridge is down": "ip -n v50001 link set br10102 down",
        "a gateway is gone": "ip -n v50001 addr flush dev br10101",
        "a gateway has another MAC": "ip -n v50001 link set br10101 address 02:00:00:00:00:01",
        "the L3VNI's device is gone": "ip -n v50001 link del l3vx50001",
        "a port has left its bridge": "ip -n v50001 link set eth11.101v nomaster",
        "a veth pair is gone": "ip link del eth11.101",
        "a hand-off entry is gone": "bpftool map delete pinned /sys/fs/bpf/weft-*/handoff "
        "key $(cat /sys/class/net/eth11/ifindex) 0 0 0 101 0 0 0",
        "a filter is gone": "tc qdisc del dev eth11 clsact",
        "a learning vxlan": "ip -n v50001 link set vx10101 type bridge_slave learning on",
        "a tenant does not forward": "nsenter --net=/run/netns/v50001 sysctl -qw net.ipv4.ip_forward=0",
    },
    "vrf": {
        "a vxlan device is gone": "ip link del vx10101",
        "the bridge is gone": "ip link del br-weft",
        "an SVI is down": "ip link set svi10102 down",
        "a gateway is gone": "ip addr flush dev svi10101",
        "a gateway has another MAC": "ip link set svi10101 address 02:00:00:00:00:01",
        "the L3VNI's device is gone": "ip link del l3vx50001",
        "the VRF is gone": "ip link del v50001",
        "the VRF is open": "ip route del unreachable default table 50001 metric 4278198272",
        "a port has left the bridge": "ip link set eth11 nomaster",
        "a VLAN is gone": "bridge vlan del dev eth11 vid 101",
        "a VLAN is not the switch's own": "bridge vlan del dev br-weft vid 101 self",
        "a VLAN of a vxlan": "bridge vlan del dev vx10101 vid 101",
        "a learning vxlan": "ip link set vx10101 type bridge_slave learning on",
    },
}


def test_what_is_lost_in_the_kernel_shows_and_is_repaired(fabric: FrrFabric) -> None:
    for damage, command in KERNEL_DAMAGES[fabric.layout].items():
        _damage_and_repair(fabric, damage, command)


@pytest.mark.parametrize("damage", ROUTING_DAMAGES)
def test_what_is_lost_in_routing_shows_and_is_repaired(fabric: FrrFabric, damage: str) -> None:
    _damage_and_repair(fabric, damage, ROUTING_DAMAGES[damage])


def _damage_and_repair(fabric: FrrFabric, damage: str, command: str) -> None:
    desired = tenant(1, "leaf1")
    fabric.take(desired)
    fabric.on("leaf1", "bash", "-c", command)
    assert plan(fabric.observe("leaf1").config, desired), f"{damage}, and it does not show"
    fabric.take(desired)
    assert not fabric.observe("leaf1").drift, damage


def test_killed_bgpd_comes_back_as_it_was(fabric: FrrFabric) -> None:
    desired = tenant(1, "leaf1")
    fabric.take(desired)
    (killed,) = switch.kill_daemon(fabric.pids["leaf1"], "bgpd")
    until("bgpd runs again", lambda: set(switch.daemon_pids(fabric.pids["leaf1"], "bgpd")) - {killed})
    until("all BGP sessions are established", lambda: _quietly(fabric.sessions_are_up))
    assert fabric.observe("leaf1").config == desired


def test_switch_that_lost_its_power_is_configured_again(fabric: FrrFabric) -> None:
    fabric.take_all(*(tenant(1, leaf) for leaf in LEAVES))
    one = fabric.host("k1", "leaf1", "eth11", 101, "10.0.1.71/24", "10.0.1.1")
    fabric.run(fabric.power_off("leaf1"))
    fabric.run(fabric.boot("leaf1"))
    observed = fabric.observe("leaf1")
    assert plan(observed.config, tenant(1, "leaf1"))
    fabric.take(tenant(1, "leaf1"))
    until("all BGP sessions are established", fabric.sessions_are_up)
    assert one.ping("10.0.1.1") or one.ping("10.0.1.1")


def test_refused_interface_names_what_is_there(fabric: FrrFabric) -> None:
    wrong = tenant(1, "leaf1", cable="eth99")
    observed = fabric.observe("leaf1")
    with pytest.raises(Permanent, match=r"no interface eth99; it has .*eth11"):
        fabric.run(fabric.drivers["leaf1"].apply(plan(observed.config, wrong), wrong, observed))


def _reach(one: Host, other: Host) -> None:
    until(f"{one.netns} reaches {other.netns}", lambda: one.ping(other.address), deadline_s=8.0)


def _ping(fabric: FrrFabric, name: str, source: str, target: str) -> bool:
    said = fabric.on(name, "bash", "-c", f"ping -n -q -c 1 -W 1 -I {source} {target} || true")
    return " 0% packet loss" in said


def _state(fabric: FrrFabric, name: str) -> str:
    """Return all that a switch is, without what its kernel counts and finds out by itself."""
    spaces = "shopt -s nullglob; for n in /run/netns/*; do ip -n ${n##*/} -d addr; done"
    commands = f"vtysh -c 'show running-config'; ip -d addr; {spaces}"
    lines = fabric.on(name, "bash", "-c", commands).splitlines()
    return re.sub(r"state \w+|,LOWER_UP", "", "\n".join(line for line in lines if "timer" not in line))


def _quietly(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except Transient:  # the switch may not answer while it recovers
        return False
