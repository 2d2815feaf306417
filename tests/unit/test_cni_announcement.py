"""What is said for a container that has come: frames as the RFCs have them."""

import struct

from weft.agent.cni.announcement import announcements

MAC = "fa:16:3e:00:00:01"


def test_an_ipv4_address_is_announced_by_gratuitous_arp() -> None:
    [frame] = announcements(MAC, ["10.0.0.5"])
    assert frame.hex() == (
        "fffffffffffffa163e00000108060001080006040001"
        "fa163e0000010a0000050000000000000a000005"
    )  # fmt: skip


def test_an_ipv6_address_is_announced_by_an_advertisement_that_overrides() -> None:
    [frame] = announcements(MAC, ["2001:db8::5"])
    assert frame[:14].hex() == "333300000001fa163e00000186dd"
    ip, message = frame[14:54], frame[54:]
    assert (ip[6], ip[7]) == (58, 255), "ICMPv6, and a hop limit that no router has touched"
    assert message[0] == 136
    assert message[4] == 0x20, "override, neither router nor solicited"
    assert message[8:24] == ip[8:24], "the target is the sender"
    assert message[24:].hex() == "0201fa163e000001"
    pseudo = ip[8:40] + struct.pack("!II", len(message), 58)
    total = sum(struct.unpack(f"!{(len(pseudo) + len(message)) // 2}H", pseudo + message))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF, "the checksum is right (RFC 1071)"
