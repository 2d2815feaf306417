"""A packet's path through the lab, put together from sightings of it: order, what lies between, what counts."""

import struct

import pytest

from weft.lab.hops import PINGS, WARM_UP, read_latency
from weft.lab.path.hop import Evidence, Ground, Kind, assemble
from weft.lab.path.ovs_trace import flow_of, passed, read_layout
from weft.lab.path.sighting import Probe, Sighting, read_probe, read_vlan
from weft.model.errors import Permanent

NONCE = b"0123456789abcdef"
SOURCE_MAC, TARGET_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"

VSCTL_SHOW = """5cc3a9a8-53ae-4b1c-8a10-0a4a1c9a1f6b
    Bridge br-int
        fail_mode: secure
        datapath_type: netdev
        Port tap1
            tag: 1
            Interface tap1
        Port int-br-bond
            Interface int-br-bond
                type: patch
                options: {peer=phy-br-bond}
    Bridge br-bond
        Port phy-br-bond
            Interface phy-br-bond
                type: patch
                options: {peer=int-br-bond}
        Port bond0
            Interface nic0
            Interface nic1
"""
OUTBOUND = """Flow: icmp,in_port=2
bridge("br-int")
----------------
 0. in_port=2
bridge("br-bond")
-----------------
 0. in_port=1
Final flow: unchanged
Datapath actions: 3
"""


def frame(*, tag: int | None = None, reply: bool = False, ttl: int = 64) -> bytes:
    """An Ethernet frame with an ICMP echo that begins with the nonce."""
    icmp = struct.pack("!BBHHH", 0 if reply else 8, 0, 0, 1, 1) + NONCE
    addresses = bytes([10, 0, 0, 1, 10, 0, 1, 2])
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, ttl, 1, 0) + addresses + icmp
    macs = bytes.fromhex((TARGET_MAC + SOURCE_MAC).replace(":", ""))
    return macs + (b"" if tag is None else struct.pack("!HH", 0x8100, 0xE000 | tag)) + b"\x08\x00" + ip


def in_vxlan(inner: bytes, vni: int) -> bytes:
    vxlan = struct.pack("!II", 0x08000000, vni << 8) + inner
    udp = struct.pack("!HHHH", 50000, 4789, 8 + len(vxlan), 0) + vxlan
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 60, 17, 0) + bytes(8) + udp
    return bytes(12) + b"\x08\x00" + ip


def test_a_probe_is_found_plain_tagged_and_in_vxlan_and_its_answer_is_none() -> None:
    plain = Probe(SOURCE_MAC, TARGET_MAC, "10.0.0.1", "10.0.1.2", 64)
    assert read_probe(frame(), NONCE) == plain
    assert read_probe(frame(tag=100), NONCE) == Probe(SOURCE_MAC, TARGET_MAC, "10.0.0.1", "10.0.1.2", 64, vlan=100)
    assert read_probe(in_vxlan(frame(), 50001), NONCE) == Probe(
        SOURCE_MAC, TARGET_MAC, "10.0.0.1", "10.0.1.2", 64, vni=50001
    )
    assert read_probe(frame(reply=True), NONCE) is None
    assert read_probe(frame(), b"another nonce...") is None
    assert read_probe(frame()[:30] + NONCE, NONCE) is None, "a frame that was cut off"


def test_the_kernel_says_the_tag_that_it_took_off() -> None:
    assert read_vlan(struct.pack("=IIIHHHH", 0x10, 0, 0, 0, 0, 0xE000 | 7, 0x8100)) == 7
    assert read_vlan(struct.pack("=IIIHHHH", 0x00, 0, 0, 0, 0, 0, 0)) is None


def test_what_open_vswitch_passes_a_frame_through_is_read_from_its_trace() -> None:
    layout = read_layout(VSCTL_SHOW)
    assert passed(OUTBOUND, layout, "tap1", "nic1") == (
        ("br-int", Kind.OVS_BRIDGE),
        ("int-br-bond", Kind.PATCH),
        ("phy-br-bond", Kind.PATCH),
        ("br-bond", Kind.OVS_BRIDGE),
        ("bond0", Kind.BOND),
    )
    traced = flow_of(Sighting(0, "node1", "", "tap1", outgoing=False, probe=_probe(), vlan=None))
    assert traced.startswith(f"in_port=tap1,icmp,dl_src={SOURCE_MAC}")


def test_a_path_is_put_in_order_and_completed_by_what_lies_between() -> None:
    sightings = [  # a frame keeps its time of arrival where it is passed on, and namespaces are read one by one
        _seen(70, "two", "eth0", outgoing=False, ttl=63),
        _seen(10, "node1", "tap1", outgoing=False),
        _seen(10, "node1", "nic1", outgoing=True, vlan=100),
        _seen(20, "leaf1", "eth11", outgoing=False, vlan=100),
        _seen(21, "leaf1", "br1", outgoing=False, inside="v1"),
        _seen(60, "node1", "nic1", outgoing=False, vlan=101, ttl=63),
        _seen(60, "node1", "qvb2", outgoing=False, ttl=63),
        _seen(61, "node1", "tap2", outgoing=True, ttl=63),
        _seen(22, "leaf1", "eth11", outgoing=True, ttl=63),
        _seen(0, "one", "eth0", outgoing=True),
    ]
    ground = _ground()
    path = assemble("one", "two", sightings, ground)
    assert path.arrived
    assert [hop.device for hop in path.hops] == [
        *("eth0", "tap1", "br-int", "nic1", "eth11", "br1", "eth11", "nic1", "qvb2", "qbr2", "tap2", "eth0"),
    ]  # fmt: skip
    assert path.counted == 11, "what a simulated switch has inside is no hop"
    assert path.switches == ("leaf1",)
    assert path.routers == 1
    assert path.hops[2].evidence is Evidence.TRACED
    assert path.hops[9].evidence is Evidence.LINKED


def test_a_probe_that_did_not_arrive_is_a_path_that_ends_where_it_was_seen_last() -> None:
    path = assemble("one", "two", [_seen(0, "one", "eth0", outgoing=True)], _ground())
    assert not path.arrived
    assert path.hops[-1].place == "one"


def test_too_few_answers_say_nothing_of_how_long_one_takes() -> None:
    answers = [f"64 bytes from 10.0.0.1: icmp_seq={n} ttl=63 time={n}.0 ms" for n in range(1, PINGS + WARM_UP + 1)]
    assert read_latency(["\n".join(answers)]).p50_ms == WARM_UP + (PINGS + 1) / 2
    with pytest.raises(Permanent, match="only 1 pings were answered"):
        read_latency(["\n".join(answers[: WARM_UP + 1])])


def _probe(ttl: int = 64) -> Probe:
    return Probe(SOURCE_MAC, TARGET_MAC, "10.0.0.1", "10.0.1.2", ttl)


def _seen(
    at: int, place: str, interface: str, *, outgoing: bool, inside: str = "", vlan: int | None = None, ttl: int = 64
) -> Sighting:
    return Sighting(at, place, inside, interface, outgoing, _probe(ttl), vlan)


def _ground() -> Ground:
    return Ground(
        switches=frozenset({"leaf1"}),
        switch_ports={"leaf1": frozenset({"eth11"})},
        instances=frozenset({"one", "two"}),
        nics={"node1": frozenset({"nic0", "nic1"})},
        devices=frozenset({("node1", "tap1"), ("node1", "tap2")}),
        masters={("node1", "", "qvb2"): "qbr2", ("node1", "", "tap2"): "qbr2"},
        traces={("node1", "tap1", "nic1"): (("br-int", Kind.OVS_BRIDGE),)},
    )
