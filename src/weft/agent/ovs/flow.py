"""An OpenFlow flow as a value, and its text in the notation of ovs-ofctl(8).

Fields are those the pipeline uses and no more; a field's number is its OXM class and field (OpenFlow 1.4, section
7.2.3.2), so that sorting a match by field also puts prerequisites first, as the protocol demands.
"""

import ipaddress
from collections.abc import Iterable
from enum import IntEnum

import msgspec

_BASIC = 0x8000 << 7
_NXM_1 = 0x0001 << 7

VLAN_PRESENT = 0x1000
"""The bit of vlan_vid that says that there is a tag (OFPVID_PRESENT); vlan_vid 0 means untagged (OFPVID_NONE)."""

IN_PORT = 0xFFFFFFF8
NORMAL = 0xFFFFFFFA
LOCAL = 0xFFFFFFFE
"""Reserved port numbers of OpenFlow (OFPP_*); LOCAL is the internal port that has the bridge's name."""


class Field(IntEnum):
    """A header field or register that a flow matches or sets."""

    NET = _NXM_1 | 5  # register 5: the local VLAN of the packet's network
    IN_PORT = _BASIC | 0
    ETH_DST = _BASIC | 3
    ETH_SRC = _BASIC | 4
    ETH_TYPE = _BASIC | 5
    VLAN_VID = _BASIC | 6
    IP_PROTO = _BASIC | 10
    IPV4_SRC = _BASIC | 11
    IPV4_DST = _BASIC | 12
    UDP_SRC = _BASIC | 15
    UDP_DST = _BASIC | 16
    ARP_OP = _BASIC | 21
    ARP_SPA = _BASIC | 22
    ARP_TPA = _BASIC | 23
    ARP_SHA = _BASIC | 24
    IPV6_SRC = _BASIC | 26
    IPV6_DST = _BASIC | 27
    ICMPV6_TYPE = _BASIC | 29
    ND_TARGET = _BASIC | 31


WIDTH_BYTES = {
    Field.NET: 4,
    Field.IN_PORT: 4,
    Field.ETH_DST: 6,
    Field.ETH_SRC: 6,
    Field.ETH_TYPE: 2,
    Field.VLAN_VID: 2,
    Field.IP_PROTO: 1,
    Field.IPV4_SRC: 4,
    Field.IPV4_DST: 4,
    Field.UDP_SRC: 2,
    Field.UDP_DST: 2,
    Field.ARP_OP: 2,
    Field.ARP_SPA: 4,
    Field.ARP_TPA: 4,
    Field.ARP_SHA: 6,
    Field.IPV6_SRC: 16,
    Field.IPV6_DST: 16,
    Field.ICMPV6_TYPE: 1,
    Field.ND_TARGET: 16,
}

Term = tuple[Field, int, int | None]
"""Field, value, mask; no mask: all bits."""

Match = tuple[Term, ...]
"""Terms in the order of their fields, each field at most once."""


class Output(msgspec.Struct, frozen=True):
    """Send a copy out of an OpenFlow port; never back where it came from (that needs IN_PORT)."""

    port: int


class PushVlan(msgspec.Struct, frozen=True):
    """Put an 802.1Q tag on the packet."""


class PopVlan(msgspec.Struct, frozen=True):
    """Take the outermost tag off."""


class SetField(msgspec.Struct, frozen=True):
    """Write a field."""

    field: Field
    value: int


Action = Output | PushVlan | PopVlan | SetField

Key = tuple[int, int, Match]
"""What identifies a flow in a bridge: table, priority, match."""


class Flow(msgspec.Struct, frozen=True):
    """A flow. No actions and no `goto`: the packet is dropped."""

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    cookie: int = 0

    @property
    def key(self) -> Key:
        """What identifies the flow in its bridge."""
        return (self.table, self.priority, self.match)

    def __str__(self) -> str:
        terms = "".join(f",{_term(term)}" for term in self.match)
        actions = [_action(action) for action in self.actions]
        if self.goto is not None:
            actions.append(f"goto_table:{self.goto}")
        return f"table={self.table},priority={self.priority}{terms} actions={','.join(actions) or 'drop'}"


def match(terms: Iterable[tuple[Field, int] | Term]) -> Match:
    """Return the normal form of `terms`: sorted by field, so that prerequisites come first."""
    return tuple(sorted((term[0], term[1], term[2] if len(term) > 2 else None) for term in terms))


_MAC_FIELDS = frozenset({Field.ETH_DST, Field.ETH_SRC, Field.ARP_SHA})
_IPV4_FIELDS = frozenset({Field.IPV4_SRC, Field.IPV4_DST, Field.ARP_SPA, Field.ARP_TPA})
_IPV6_FIELDS = frozenset({Field.IPV6_SRC, Field.IPV6_DST, Field.ND_TARGET})
_OFCTL_NAMES = {
    Field.NET: "reg5",
    Field.ETH_DST: "dl_dst",
    Field.ETH_SRC: "dl_src",
    Field.ETH_TYPE: "dl_type",
    Field.IP_PROTO: "nw_proto",
    Field.IPV4_SRC: "nw_src",
    Field.IPV4_DST: "nw_dst",
    Field.ICMPV6_TYPE: "icmp_type",
}


def mac_int(mac: str) -> int:
    """Return a MAC address as the number a flow carries."""
    return int(mac.replace(":", ""), 16)


def mac_text(value: int) -> str:
    """Return a MAC address in text form."""
    return ":".join(f"{octet:02x}" for octet in value.to_bytes(6, "big"))


def _value(field: Field, value: int) -> str:
    if field in _MAC_FIELDS:
        return mac_text(value)
    if field in _IPV4_FIELDS:
        return str(ipaddress.IPv4Address(value))
    if field in _IPV6_FIELDS:
        return str(ipaddress.IPv6Address(value))
    if field in {Field.ETH_TYPE, Field.NET, Field.VLAN_VID}:
        return f"{value:#x}"
    return str(value)


def _term(term: Term) -> str:
    field, value, mask = term
    name = _OFCTL_NAMES.get(field, field.name.lower())
    text = f"{name}={_value(field, value)}"
    return text if mask is None else f"{text}/{_value(field, mask)}"


def _action(action: Action) -> str:
    match action:
        case Output(port):
            names = {NORMAL: "NORMAL", LOCAL: "LOCAL", IN_PORT: "IN_PORT"}
            return names.get(port) or f"output:{port}"
        case PushVlan():
            return "push_vlan:0x8100"
        case PopVlan():
            return "pop_vlan"
        case SetField(field, value):
            name = _OFCTL_NAMES.get(field, field.name.lower())
            return f"set_field:{_value(field, value)}->{name}"
