"""What a hypervisor does to an instance's NIC from inside the instance's namespace: offloads off, and announcing it."""

import ctypes
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable

SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17

ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
BROADCAST = b"\xff" * 6
ALL_NODES_MAC = bytes.fromhex("333300000001")
ALL_NODES = ipaddress.IPv6Address("ff02::1")
ICMPV6 = 58
NEIGHBOR_ADVERTISEMENT = 136
OVERRIDE = 0x20000000

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def transmit_checksums_off(interface: str) -> None:
    """Let the kernel, and not the NIC, write checksums (``ethtool -K INTERFACE tx off``).

    A veth never writes them, and Open vSwitch in user space passes the packet on as it came: TCP would hang.
    """
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0), 8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP", interface.encode(), ctypes.addressof(value)))


def announce(interface: str, mac: str, addresses: Iterable[Address]) -> None:
    """Tell the segment where these addresses are now: gratuitous ARP (RFC 5227) and unsolicited NA (RFC 4861)."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        for address in addresses:
            wire.send(gratuitous_arp(hardware, address) if address.version == 4 else advertisement(hardware, address))


def gratuitous_arp(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """Return an Ethernet frame with an ARP request of an address for itself."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address.packed + bytes(6) + address.packed
    return BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + body


def advertisement(mac: bytes, address: ipaddress.IPv6Address) -> bytes:
    """Return an Ethernet frame with an unsolicited neighbour advertisement to all nodes (RFC 4861, section 7.2.6)."""
    option = bytes([2, 1]) + mac
    body = struct.pack("!BBHI", NEIGHBOR_ADVERTISEMENT, 0, 0, OVERRIDE) + address.packed + option
    pseudo = address.packed + ALL_NODES.packed + struct.pack("!II", len(body), ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 255) + address.packed + ALL_NODES.packed
    return ALL_NODES_MAC + mac + struct.pack("!H", ETH_P_IPV6) + header + body


def _checksum(data: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
