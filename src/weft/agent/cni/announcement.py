"""What a host says that has just come to a place: gratuitous ARP and unsolicited neighbour advertisements. Pure.

RFC 5227, section 3 (an ARP request for one's own address, from it), and RFC 4861, section 7.2.6.
"""

import ipaddress
import struct
from collections.abc import Iterable

from weft.model.addresses import parse_mac

_BROADCAST = bytes([0xFF] * 6)
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ARP, _IPV6, _ICMPV6, _ADVERTISEMENT = 0x0806, 0x86DD, 58, 136
_OVERRIDE = 0x20000000


def announcements(mac: str, addresses: Iterable[str]) -> list[bytes]:
    """Return the Ethernet frames that announce addresses at a MAC."""
    source = bytes.fromhex(parse_mac(mac).replace(":", ""))
    frames = []
    for text in addresses:
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv4Address):
            frames.append(_gratuitous_arp(source, address))
        else:
            frames.append(_unsolicited_advertisement(source, address))
    return frames


def _gratuitous_arp(source: bytes, address: ipaddress.IPv4Address) -> bytes:
    header = _BROADCAST + source + struct.pack("!H", _ARP)
    kinds = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return header + kinds + source + address.packed + bytes(6) + address.packed


def _unsolicited_advertisement(source: bytes, address: ipaddress.IPv6Address) -> bytes:
    target_link_layer = b"\x02\x01" + source
    body = struct.pack("!I", _OVERRIDE) + address.packed + target_link_layer
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, 0) + body
    checksum = _checksum(address.packed + _ALL_NODES.packed + struct.pack("!II", len(message), _ICMPV6) + message)
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, checksum) + body
    ip = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + address.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + source + struct.pack("!H", _IPV6) + ip + message


def _checksum(data: bytes) -> int:
    """RFC 1071; the data is of even length."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
