"""Announcements on the wire, checked octet by octet against the RFCs."""

import ipaddress
import struct

from weft.lab.nic import advertisement, gratuitous_arp

MAC = bytes.fromhex("fa163e010203")


def test_a_gratuitous_arp_asks_for_its_own_address() -> None:
    frame = gratuitous_arp(MAC, ipaddress.IPv4Address("10.0.0.5"))
    assert frame[:14] == b"\xff" * 6 + MAC + b"\x08\x06"
    kind, protocol, hardware_length, protocol_length, operation = struct.unpack("!HHBBH", frame[14:22])
    assert (kind, protocol, hardware_length, protocol_length, operation) == (1, 0x0800, 6, 4, 1)
    assert frame[22:28] == MAC
    assert frame[28:32] == frame[38:42] == bytes([10, 0, 0, 5])


def test_an_unsolicited_advertisement_overrides_and_sums_up() -> None:
    address = ipaddress.IPv6Address("2001:db8::5")
    frame = advertisement(MAC, address)
    assert frame[:14] == bytes.fromhex("333300000001") + MAC + b"\x86\xdd"
    header, body = frame[14:54], frame[54:]
    assert struct.unpack("!H", header[4:6])[0] == len(body)
    assert header[6:8] == bytes([58, 255])
    assert header[8:24] == body[8:24] == address.packed
    assert body[0] == 136
    assert struct.unpack("!I", body[4:8])[0] == 0x20000000
    assert body[24:] == b"\x02\x01" + MAC
    pseudo = header[8:40] + struct.pack("!II", len(body), 58)
    total = sum(struct.unpack(f"!{len(pseudo + body) // 2}H", pseudo + body))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF  # RFC 1071: with the checksum in place, all ones
