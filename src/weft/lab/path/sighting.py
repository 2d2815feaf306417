"""Reading a probe in a frame: where it goes, whether it is wrapped in VXLAN, and when it was seen. Pure."""

import ipaddress
import struct
from dataclasses import dataclass, replace

ETH_HEADER_BYTES = 14
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_VLAN = 0x8100
VLAN_TAG_BYTES = 4
IPPROTO_ICMP = 1
IPPROTO_UDP = 17
VXLAN_PORT = 4789
VXLAN_HEADER_BYTES = 8
UDP_HEADER_BYTES = 8
ICMP_HEADER_BYTES = 8
ICMP_ECHO_REQUEST = 8
_VLAN_MASK = 0x0FFF


@dataclass(frozen=True, slots=True)
class Probe:
    """What a frame says of the probe in it; `vni` is None if the frame carries it unwrapped.

    `vlan` is that of a tag in the frame itself, as a program sends it; the kernel keeps the tag of one that came apart.
    """

    source_mac: str
    target_mac: str
    source: str
    target: str
    ttl: int
    vni: int | None = None
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A probe at an interface; `at_ns` is Unix time in ns, as the kernel of the machine noted it.

    `place` is a switch, node or instance, `inside` the namespace in it (a VRF of a switch) or empty.
    """

    at_ns: int
    place: str
    inside: str
    interface: str
    outgoing: bool
    probe: Probe
    vlan: int | None = None


def read_probe(frame: bytes, nonce: bytes) -> Probe | None:
    """Return the probe with this nonce in an Ethernet frame, plain or in VXLAN (RFC 7348); None if it is another frame.

    Only the way out is a probe: the answer, which carries the nonce back, is not.
    """
    if nonce not in frame:
        return None
    if int.from_bytes(frame[12:14]) == ETHERTYPE_VLAN:
        vlan = int.from_bytes(frame[14:16]) & _VLAN_MASK
        probe = _read(frame[:12] + frame[12 + VLAN_TAG_BYTES :], nonce, None)
        return replace(probe, vlan=vlan) if probe is not None else None
    return _read(frame, nonce, None)


def _read(frame: bytes, nonce: bytes, vni: int | None) -> Probe | None:
    if len(frame) < ETH_HEADER_BYTES + 20 or int.from_bytes(frame[12:14]) != ETHERTYPE_IPV4:
        return None
    packet = frame[ETH_HEADER_BYTES:]
    payload = packet[(packet[0] & 0x0F) * 4 :]
    if packet[9] == IPPROTO_ICMP:
        if payload[0] != ICMP_ECHO_REQUEST or not payload[ICMP_HEADER_BYTES:].startswith(nonce):
            return None
        source, target = (str(ipaddress.IPv4Address(packet[at : at + 4])) for at in (12, 16))
        return Probe(_mac(frame[6:12]), _mac(frame[0:6]), source, target, packet[8], vni)
    if packet[9] == IPPROTO_UDP and vni is None and int.from_bytes(payload[2:4]) == VXLAN_PORT:
        header = payload[UDP_HEADER_BYTES:]
        return _read(header[VXLAN_HEADER_BYTES:], nonce, int.from_bytes(header[4:7]))
    return None


def read_vlan(auxdata: bytes) -> int | None:
    """Return the VLAN of a frame from its ``struct tpacket_auxdata``; None if it has no tag (packet(7))."""
    status, *_, tci, _ = struct.unpack("=IIIHHHH", auxdata[:20])
    has_tag = bool(status & 0x10)  # TP_STATUS_VLAN_VALID
    return tci & _VLAN_MASK if has_tag else None


def _mac(data: bytes) -> str:
    return data.hex(":")
