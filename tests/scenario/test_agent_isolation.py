"""What the flows let through: identity of the sender, isolation of networks, VLANs on the uplink."""

import asyncio

import pytest
from agent_host import BROADCAST, FakeNode, Packet, ipv4, mac, port
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.thorough import examples

from weft.agent.ovs.flow import LOCAL, VLAN_PRESENT, Field, mac_int
from weft.agent.ovs.pipeline import link_local
from weft.protocol.node import AllowedPair, PortDesired

ARP, IPV4, IPV6, RARP = 0x0806, 0x0800, 0x86DD, 0x8035
ALL_NODES = "33:33:00:00:00:01"


async def wired(*desired: PortDesired) -> FakeNode:
    """Return a node with these ports, each with its device."""
    node = FakeNode()
    await node.turn(4)
    for row in desired:
        node.rows.plug(f"tap{row.port_id.removeprefix('p')}", row.port_id)
    node.rows.settle()
    node.snapshot(*desired)
    await node.turn(2)
    return node


def frame(source: int, kind: int, to_mac: str = BROADCAST, **fields: int) -> Packet:
    """Return a frame with the MAC of port `source`."""
    packet = {
        Field.ETH_SRC: mac_int(mac(source)),
        Field.ETH_DST: mac_int(to_mac),
        Field.VLAN_VID: 0,
        Field.ETH_TYPE: kind,
    }
    return {**packet, **{Field[name.upper()]: value for name, value in fields.items()}}


def arp(source: int, spa: int, tpa: int = 0x0A0000FE, sha: int | None = None) -> Packet:
    return frame(source, ARP, arp_op=1, arp_spa=spa, arp_tpa=tpa, arp_sha=mac_int(mac(source)) if sha is None else sha)


def icmpv6(source: int, kind: int, src: int, target: int = 0) -> Packet:
    return frame(source, IPV6, ALL_NODES, ip_proto=58, icmpv6_type=kind, ipv6_src=src, ipv6_dst=1, nd_target=target)


def address(number: int) -> int:
    return 0x0A000000 | number


def address6(number: int) -> int:
    return (0xFD00 << 112) | number


LINK_LOCAL_1 = int(link_local(mac(1)))

PASSES = {
    "IPv4 from its address": ipv4(1, BROADCAST),
    "ARP for its address": arp(1, address(1)),
    "ARP probe for its own address": arp(1, 0, address(1)),
    "DHCP discover": ipv4(1, BROADCAST, ipv4_src=0, ipv4_dst=0xFFFFFFFF, udp_src=68, udp_dst=67),
    "IPv6 from its address": frame(1, IPV6, ALL_NODES, ip_proto=17, ipv6_src=address6(1), udp_src=1, udp_dst=2),
    "IPv6 from its link-local address": frame(1, IPV6, ALL_NODES, ip_proto=17, ipv6_src=LINK_LOCAL_1, udp_src=1),
    "neighbour solicitation": icmpv6(1, 135, address6(1), address6(2)),
    "neighbour advertisement of its own address": icmpv6(1, 136, address6(1), address6(1)),
    "neighbour advertisement of its link-local address": icmpv6(1, 136, LINK_LOCAL_1, LINK_LOCAL_1),
    "duplicate address detection of its own address": icmpv6(1, 135, 0, address6(1)),
    "multicast listener report before an address": icmpv6(1, 143, 0),
    "announcement by a hypervisor (RARP)": frame(1, RARP),
}

DROPPED = {
    "a foreign MAC": {**ipv4(1, BROADCAST), Field.ETH_SRC: mac_int(mac(2))},
    "a foreign IPv4 address": ipv4(1, BROADCAST, ipv4_src=address(2)),
    "ARP for a foreign address": arp(1, address(2)),
    "ARP with a foreign sender MAC": arp(1, address(1), sha=mac_int(mac(2))),
    "ARP probe for a foreign address": arp(1, 0, address(2)),
    "DHCP offer": ipv4(1, BROADCAST, udp_src=67, udp_dst=68),
    "DHCPv6 reply": frame(1, IPV6, ALL_NODES, ip_proto=17, ipv6_src=address6(1), udp_src=547, udp_dst=546),
    "router advertisement": icmpv6(1, 134, LINK_LOCAL_1),
    "redirect": icmpv6(1, 137, LINK_LOCAL_1),
    "a foreign IPv6 address": frame(1, IPV6, ALL_NODES, ip_proto=17, ipv6_src=address6(2), udp_src=1, udp_dst=2),
    "a foreign link-local address": icmpv6(1, 135, int(link_local(mac(2))), address6(1)),
    "neighbour advertisement of a foreign address": icmpv6(1, 136, address6(1), address6(2)),
    "duplicate address detection of a foreign address": icmpv6(1, 135, 0, address6(2)),
    "neighbour advertisement from nowhere": icmpv6(1, 136, 0, address6(1)),
    "a tagged frame": {**ipv4(1, BROADCAST), Field.VLAN_VID: VLAN_PRESENT | 101},
    "a frame with priority tag": {**ipv4(1, BROADCAST), Field.VLAN_VID: VLAN_PRESENT},
    "another protocol": frame(1, 0x88CC),
}


@pytest.mark.parametrize("name", PASSES)
async def test_an_instance_may_send(name: str) -> None:
    node = await wired(port(1), port(2), port(3, "blue", 102))
    assert node.send("tap1", PASSES[name]) == {"tap2", "leaf:101"}


@pytest.mark.parametrize("name", DROPPED)
async def test_an_instance_may_not_send(name: str) -> None:
    node = await wired(port(1), port(2), port(3, "blue", 102))
    assert node.send("tap1", DROPPED[name]) == set()


async def test_without_anti_spoofing_any_untagged_frame_goes() -> None:
    node = await wired(port(1, anti_spoofing=False), port(2))
    for name, packet in {**PASSES, **DROPPED}.items():
        expected = set() if "tag" in name else {"tap2", "leaf:101"}
        if packet[Field.ETH_SRC] == mac_int(mac(1)) or expected:
            assert node.send("tap1", packet) == expected, name


async def test_a_port_without_anti_spoofing_gets_what_has_no_destination_of_its_own() -> None:
    node = await wired(port(1, anti_spoofing=False), port(2), port(3, "blue", 102))
    unknown = "02:02:02:02:02:02"
    assert node.send("tap2", ipv4(2, unknown)) == {"tap1", "leaf:101"}
    assert node.receive(101, ipv4(9, unknown)) == {"tap1"}
    assert node.receive(102, ipv4(9, unknown)) == set()


SHARED = 0x0A0000C8
"""10.0.0.200, which several ports may answer for."""


async def test_an_allowed_pair_is_an_address_more() -> None:
    pairs = (AllowedPair(address="10.0.0.200", mac=mac(1)), AllowedPair(address="fd00:7::/64", mac=mac(1)))
    node = await wired(port(1, allowed_pairs=pairs), port(2))
    inside, outside = (0xFD000007 << 96) | 5, (0xFD000008 << 96) | 5
    reached = {"tap2", "leaf:101"}
    assert node.send("tap1", ipv4(1, BROADCAST, ipv4_src=SHARED)) == reached
    assert node.send("tap1", arp(1, SHARED)) == reached
    assert node.send("tap1", arp(1, 0, SHARED)) == reached
    assert node.send("tap1", icmpv6(1, 136, inside, inside)) == reached
    assert node.send("tap1", icmpv6(1, 136, inside, outside)) == set()
    assert node.send("tap1", frame(1, IPV6, ALL_NODES, ip_proto=17, ipv6_src=outside, udp_src=1)) == set()
    for packet in DROPPED.values():
        assert node.send("tap1", packet) == set()
    assert node.send("tap2", ipv4(2, BROADCAST, ipv4_src=SHARED)) == set()


async def test_a_pair_with_a_mac_of_its_own_is_good_for_that_mac_alone_and_finds_its_port() -> None:
    virtual = "00:00:5e:00:01:07"
    node = await wired(port(1, allowed_pairs=(AllowedPair(address="10.0.0.200", mac=virtual),)), port(2))
    as_virtual = {Field.ETH_SRC: mac_int(virtual)}
    assert node.send("tap1", {**ipv4(1, BROADCAST, ipv4_src=SHARED), **as_virtual}) == {"tap2", "leaf:101"}
    assert node.send("tap1", {**arp(1, SHARED, sha=mac_int(virtual)), **as_virtual}) == {"tap2", "leaf:101"}
    assert node.send("tap1", ipv4(1, BROADCAST, ipv4_src=SHARED)) == set()
    assert node.send("tap1", {**ipv4(1, BROADCAST), **as_virtual}) == set()
    assert node.send("tap2", ipv4(2, virtual)) == {"tap1", "leaf:101"}
    assert node.receive(101, ipv4(9, virtual)) == {"tap1"}


async def test_a_pair_of_everything_lets_every_address_of_the_family_pass() -> None:
    node = await wired(port(1, allowed_pairs=(AllowedPair(address="0.0.0.0/0", mac=mac(1)),)), port(2))
    assert node.send("tap1", DROPPED["a foreign IPv4 address"]) == {"tap2", "leaf:101"}
    assert node.send("tap1", DROPPED["a foreign MAC"]) == set()
    assert node.send("tap1", DROPPED["a foreign IPv6 address"]) == set()


async def test_unicast_goes_to_one_device_and_the_rest_to_the_leaf() -> None:
    node = await wired(port(1), port(2), port(3, "blue", 102))
    assert node.send("tap1", ipv4(1, mac(2))) == {"tap2"}
    assert node.send("tap1", ipv4(1, mac(3))) == {"leaf:101"}
    assert node.receive(101, ipv4(9, mac(1))) == {"tap1"}
    assert node.receive(102, ipv4(9, mac(1))) == set()
    assert node.receive(103, ipv4(9, mac(1))) == set()
    assert node.receive(101, ipv4(9, BROADCAST)) == {"tap1", "tap2"}


async def test_nothing_crosses_the_patch_outwards_but_local_vlans() -> None:
    node = await wired(port(1), port(3, "blue", 102))
    patch = node.ofport("phy-br-bond")
    for vlan, expected in ((1, 102), (2, 101), (3, None), (101, None), (102, None)):
        packet = {**ipv4(1, BROADCAST), Field.IN_PORT: patch, Field.VLAN_VID: VLAN_PRESENT | vlan}
        left = [leaving[Field.VLAN_VID] & ~VLAN_PRESENT for _, leaving in node.uplink.process(packet)]
        assert left == ([] if expected is None else [expected])
    assert node.uplink.process({**ipv4(1, BROADCAST), Field.IN_PORT: patch}) == []
    assert node.uplink.process({**ipv4(1, BROADCAST), Field.IN_PORT: LOCAL, Field.VLAN_VID: VLAN_PRESENT | 101}) == []


async def test_a_vlan_that_two_networks_claim_joins_nobody() -> None:
    node = await wired(port(1), port(2, "blue", 101))
    assert node.send("tap1", ipv4(1, BROADCAST)) == set()  # network "blue" comes first and keeps the VLAN
    assert node.send("tap2", ipv4(2, BROADCAST)) == {"leaf:101"}
    assert {report.reason for report in node.told if report.port_id == "p1"} == {
        "VLAN 101 of network red is used on this node by network blue"
    }


async def test_a_mac_that_two_ports_claim_is_one_ports() -> None:
    node = await wired(port(1), port(2, mac=mac(1)))
    assert node.receive(101, ipv4(9, mac(1))) == {"tap1"}
    assert next(report.reason for report in node.told if report.port_id == "p2").startswith(f"MAC {mac(1)} is used")


PORTS = st.lists(
    st.tuples(st.sampled_from(["red", "blue", "green"]), st.booleans(), st.sampled_from([True, True, True, False])),
    min_size=1,
    max_size=6,
)
MACS = st.sampled_from([mac(n) for n in range(1, 8)] + [BROADCAST, ALL_NODES, "02:02:02:02:02:02"])
VLANS = {"red": 101, "blue": 102, "green": 103}


@given(rows=PORTS, data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_no_frame_ever_reaches_another_network(rows: list[tuple[str, bool, bool]], data: st.DataObject) -> None:
    desired = [
        port(number, network, VLANS[network], anti_spoofing=checked, admin_state_up=enabled)
        for number, (network, checked, enabled) in enumerate(rows, start=1)
    ]
    node = asyncio.run(wired(*desired))
    may_meet = {
        network: {f"tap{n}" for n, row in enumerate(rows, start=1) if row[0] == network and row[2]} for network in VLANS
    }
    sender = data.draw(st.integers(1, len(rows)))
    network, checked, enabled = rows[sender - 1]
    packet = {**ipv4(sender, data.draw(MACS)), Field.ETH_SRC: mac_int(data.draw(MACS))}
    reached = node.send(f"tap{sender}", packet)
    assert reached <= (may_meet[network] | {f"leaf:{VLANS[network]}"}) - {f"tap{sender}"}
    if not enabled or (checked and packet[Field.ETH_SRC] != mac_int(mac(sender))):
        assert reached == set()
    vlan = data.draw(st.integers(0, 110))
    arrived = node.receive(vlan, {**packet, Field.ETH_DST: mac_int(data.draw(MACS))})
    local = next((name for name, number in VLANS.items() if number == vlan), None)
    assert arrived <= (may_meet[local] if local else {"host"} if vlan == 0 else set())
