"""Messages of rtnetlink(7) for a container's cable, as bytes. Pure.

By hand, not pyroute2: a whole vNIC takes 1.1 ms this way and 5.9 ms that way, and an ADD shall not take longer than a
bridge's. Constants and structures: include/uapi/linux/rtnetlink.h, if_link.h, pkt_cls.h and tc_act/tc_mirred.h.
"""

import ipaddress
import struct

import msgspec

from weft.model.addresses import parse_mac

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, NEWROUTE, NEWQDISC, NEWTFILTER = 20, 24, 36, 44
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
ERROR, DONE = 2, 3
GROUP_LINK = 1
"""Bit of the multicast group that tells of links that come, change and go (RTMGRP_LINK)."""

HEADER = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_TC = struct.Struct("=BxxxiIII")
_ATTRIBUTE = struct.Struct("=HH")

_IFF_UP = 1
_AF_UNSPEC, _AF_INET, _AF_INET6 = 0, 2, 10
_IFA_F_NODAD = 0x02
_CLSACT_PARENT, _CLSACT_HANDLE, _INGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2
_ETH_P_ALL_BIG_ENDIAN = 0x0300
_SHOT = struct.pack("=HBBI", 6, 0, 0, 2)
"""A classic BPF program of one instruction: return TC_ACT_SHOT."""

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_LINKINFO = 1, 3, 4, 5, 18
IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD = 26, 27, 28

REDIRECT, DROP = 10, 87
"""Preferences of the agent's filters: the redirection comes first, and while there is none everything is dropped."""


class Message(msgspec.Struct, frozen=True):
    """A request: its type, its flags besides REQUEST and ACK, and its body."""

    kind: int
    flags: int
    body: bytes


class LinkSeen(msgspec.Struct, frozen=True):
    """A link that the kernel told of."""

    index: int
    name: str
    gone: bool = False
    up: bool = True


def attribute(kind: int, payload: bytes) -> bytes:
    """Write an attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack("=I", number))


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of a MAC address."""
    return bytes.fromhex(parse_mac(mac).replace(":", ""))


def veth(name: str, *, mac: str, peer: str, peer_mac: str, peer_namespace: int, mtu_bytes: int) -> Message:
    """Make a pair; the peer is made in another namespace, which is a descriptor.

    Nothing has to be moved: that costs 16 ms of waiting for the kernel's readers.
    """
    there = LINK.pack(_AF_UNSPEC, 0, 0, 0, 0) + _text(IFLA_IFNAME, peer) + attribute(IFLA_ADDRESS, mac_bytes(peer_mac))
    there += _number(IFLA_MTU, mtu_bytes) + _number(IFLA_NET_NS_FD, peer_namespace)
    info = attribute(1, b"veth") + attribute(2, attribute(1, there))  # IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER
    body = LINK.pack(_AF_UNSPEC, 0, 0, 0, 0) + _text(IFLA_IFNAME, name) + attribute(IFLA_ADDRESS, mac_bytes(mac))
    body += _number(IFLA_MTU, mtu_bytes)
    return Message(NEWLINK, CREATE | EXCL, body + attribute(IFLA_LINKINFO, info))


def passthru(name: str, over: int) -> Message:
    """Make a macvlan device that takes all frames of another link, after that one's own filters."""
    info = attribute(1, b"macvlan") + attribute(2, _number(1, 8))  # MACVLAN_MODE_PASSTHRU
    body = LINK.pack(_AF_UNSPEC, 0, 0, 0, 0) + _text(IFLA_IFNAME, name) + _number(IFLA_LINK, over)
    return Message(NEWLINK, CREATE | EXCL, body + attribute(IFLA_LINKINFO, info))


def link_up(index: int) -> Message:
    """Set a link up."""
    return Message(NEWLINK, 0, LINK.pack(_AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP))


def without_own_addresses(index: int) -> Message:
    """Let a link make no link-local address of its own (IN6_ADDR_GEN_MODE_NONE): then the node sends nothing there."""
    mode = attribute(_AF_INET6, attribute(8, b"\x01"))
    return Message(SETLINK, 0, LINK.pack(_AF_UNSPEC, 0, index, 0, 0) + attribute(IFLA_AF_SPEC, mode))


def in_group(index: int, group: int) -> Message:
    """Put a link into a group."""
    return Message(SETLINK, 0, LINK.pack(_AF_UNSPEC, 0, index, 0, 0) + _number(IFLA_GROUP, group))


def delete_group(group: int) -> Message:
    """Delete all links of a group: a hundred take as long as one."""
    return Message(DELLINK, 0, LINK.pack(_AF_UNSPEC, 0, 0, 0, 0) + _number(IFLA_GROUP, group))


def all_links() -> Message:
    """Ask for all links."""
    return Message(GETLINK, DUMP, LINK.pack(_AF_UNSPEC, 0, 0, 0, 0))


def address(index: int, text: str, prefixlen: int) -> Message:
    """Give a link an address, without asking whether somebody has it: the plan knows."""
    value = ipaddress.ip_address(text)
    family = _AF_INET if value.version == 4 else _AF_INET6
    flags = 0 if value.version == 4 else _IFA_F_NODAD
    body = _ADDRESS.pack(family, prefixlen, flags, 0, index)
    body += attribute(2, value.packed) + attribute(1, value.packed)  # IFA_LOCAL, IFA_ADDRESS
    if isinstance(value, ipaddress.IPv4Address) and prefixlen < 31:
        broadcast = ipaddress.IPv4Network((value, prefixlen), strict=False).broadcast_address
        body += attribute(4, broadcast.packed)
    return Message(NEWADDR, CREATE | EXCL, body)


def default_route(index: int, gateway: str) -> Message:
    """Make a gateway the default of its family."""
    value = ipaddress.ip_address(gateway)
    family = _AF_INET if value.version == 4 else _AF_INET6
    # Table main, protocol boot (as iproute2 writes it), scope universe, unicast.
    body = _ROUTE.pack(family, 0, 0, 0, 254, 3, 0, 1, 0)
    return Message(NEWROUTE, CREATE | REPLACE, body + attribute(5, value.packed) + _number(4, index))


def clsact(index: int) -> Message:
    """Give a link the place where its filters are."""
    return Message(
        NEWQDISC, CREATE, _TC.pack(_AF_UNSPEC, index, _CLSACT_HANDLE, _CLSACT_PARENT, 0) + _text(1, "clsact")
    )


def redirect(index: int, to: int) -> Message:
    """Send all frames that come in by a link out by another one; where there is such a filter, it is changed."""
    mirred = struct.pack("=IIiiiiI", 0, 0, 4, 0, 0, 1, to)  # TC_ACT_STOLEN; TCA_EGRESS_REDIR
    action = attribute(1, attribute(1, b"mirred\0") + attribute(2, attribute(2, mirred)))
    everything = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + bytes(16)  # TC_U32_TERMINAL, one key without mask
    options = attribute(2, attribute(5, everything) + attribute(7, action))  # TCA_U32_SEL, TCA_U32_ACT
    return Message(NEWTFILTER, CREATE, _filter(index, REDIRECT, 0x80000800) + _text(1, "u32") + options)


def drop(index: int) -> Message:
    """Drop all frames that come in by a link and that no filter before has taken."""
    program = attribute(4, struct.pack("=H", 1)) + attribute(5, _SHOT) + _number(8, 1)  # OPS_LEN, OPS, ACT_DIRECT
    return Message(NEWTFILTER, CREATE | REPLACE, _filter(index, DROP, 1) + _text(1, "bpf") + attribute(2, program))


def _filter(index: int, preference: int, handle: int) -> bytes:
    return _TC.pack(_AF_UNSPEC, index, handle, _INGRESS, preference << 16 | _ETH_P_ALL_BIG_ENDIAN)


def pack(messages: list[Message], first: int) -> bytes:
    """Write requests that are numbered from `first` on, and ask for an acknowledgement of each."""
    packed = b""
    for number, message in enumerate(messages, first):
        length = HEADER.size + len(message.body)
        packed += HEADER.pack(length, message.kind, message.flags | REQUEST | ACK, number, 0)
        packed += message.body + bytes(-length % 4)
    return packed


def unpack(received: bytes) -> list[tuple[int, int, bytes]]:
    """Return type, number and body of each message."""
    messages, at = [], 0
    while at + HEADER.size <= len(received):
        length, kind, _, number, _ = HEADER.unpack_from(received, at)
        if length < HEADER.size:
            break
        messages.append((kind, number, received[at + HEADER.size : at + length]))
        at += (length + 3) & ~3
    return messages


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """Read the attributes that begin at an offset."""
    found: dict[int, bytes] = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = body[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def link_seen(kind: int, body: bytes) -> LinkSeen | None:
    """Return the link that a message tells of; None if it tells of none."""
    if kind not in {NEWLINK, DELLINK} or len(body) < LINK.size:
        return None
    _, _, index, flags, _ = LINK.unpack_from(body)
    name = attributes(body, LINK.size).get(IFLA_IFNAME)
    if name is None:
        return None
    text = name.rstrip(b"\0").decode(errors="replace")
    return LinkSeen(index, text, gone=kind == DELLINK, up=bool(flags & _IFF_UP))


def complaint(body: bytes) -> tuple[int, str]:
    """Return the error number of an acknowledgement, 0 if there was none, and the kernel's words if it has any."""
    (number,) = struct.unpack_from("=i", body)
    if number == 0 or len(body) < 4 + HEADER.size:
        return -number, ""
    capped = 4 + HEADER.size  # NETLINK_CAP_ACK: only the request's header is sent back
    words = attributes(body, capped).get(1, b"")
    return -number, words.rstrip(b"\0").decode(errors="replace")
