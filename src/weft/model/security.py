"""Security groups: which traffic a port's instance may send and receive. Stored and shown; nobody enforces them yet."""

import uuid
from enum import StrEnum
from functools import lru_cache

import msgspec

from weft.model.intent import Owned
from weft.model.numbers import whole_number

DEFAULT_GROUP = "default"
"""The name of the group that every project has."""

_DEFAULT_GROUPS = uuid.UUID("5c5dbe6c-4f0b-5e0c-9f5e-2f0f2b1d7a11")


class Direction(StrEnum):
    """Which way traffic goes, as the instance sees it."""

    INGRESS = "ingress"
    EGRESS = "egress"


class EtherType(StrEnum):
    """Which family a rule is about."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"

    @property
    def version(self) -> int:
        """The number of the IP version."""
        return 4 if self is EtherType.IPV4 else 6


class SecurityGroup(Owned, frozen=True, kw_only=True):
    """A set of rules that ports share; what no rule allows is refused."""

    id: str
    stateful: bool = True

    @property
    def is_default(self) -> bool:
        """Whether ports that name no group are in it."""
        return self.id == default_group_id(self.project_id)


class SecurityGroupRule(Owned, frozen=True, kw_only=True):
    """Something that a group allows; what is None is not looked at."""

    id: str
    security_group_id: str
    direction: Direction
    ethertype: EtherType
    protocol: str | None = None
    """A name that protocol_number knows, or a number 0 to 255."""
    port_range_min: int | None = None
    """The first port, or the ICMP type."""
    port_range_max: int | None = None
    """The last port, or the ICMP code."""
    remote_ip_prefix: str | None = None
    """As it was given: may have host bits."""
    remote_group_id: str | None = None


class SecurityGroupMember(msgspec.Struct, frozen=True, kw_only=True):
    """A port in a group that is not the default group of the port's project."""

    port_id: str
    security_group_id: str


@lru_cache(maxsize=4096)
def default_group_id(project_id: str) -> str:
    """Return the id of a project's default group: always the same, so that nobody has to look it up."""
    return str(uuid.uuid5(_DEFAULT_GROUPS, project_id))


_NUMBERS = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "icmp": 1,
    "icmpv6": 58,
    "igmp": 2,
    "ip": 0,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
"""IANA's numbers, under the names that Neutron knows."""

PROTOCOLS = tuple(_NUMBERS)

WITH_PORTS = frozenset(_NUMBERS[name] for name in ("dccp", "sctp", "tcp", "udp", "udplite"))
ICMP = frozenset((_NUMBERS["icmp"], _NUMBERS["icmpv6"]))
IPV6_ONLY = frozenset(
    _NUMBERS[name] for name in ("icmpv6", "ipv6-encap", "ipv6-frag", "ipv6-nonxt", "ipv6-opts", "ipv6-route")
)


def protocol_number(protocol: str) -> int | None:
    """Return the IANA number of a protocol that is written as a name or a number 0 to 255; None for anything else."""
    number = whole_number(protocol)
    return number if number is not None and number <= 255 else _NUMBERS.get(protocol)
