"""The address plan: prefixes, each delegated to one owner, and what is remembered of addresses besides their ports.

Times are Unix time in seconds. A routing domain is a space of addresses of its own: what is to be routed between
sites lies in one (`ROUTED`), and tenants that declare themselves isolated have others, which may overlap it.
"""

from enum import StrEnum

import msgspec

from weft.model.addresses import IPNetwork

ROUTED = ""
"""The routing domain of all that is, or may ever be, routed between sites."""


class Level(StrEnum):
    """How deep in the plan an owner stands, from the top down."""

    GLOBAL = "global"
    """Space that no one uses as it is: divided further. May lie in other such space."""
    SITE = "site"
    PROJECT = "project"
    ROUTER = "router"
    """A tenant's routing domain (VPC)."""
    NETWORK = "network"
    SUBNET = "subnet"
    """Written by weft itself, with the subnet of the same id."""
    RESERVED = "reserved"
    """Kept free, at any depth: nothing may lie in it."""


RANK = {level: rank for rank, level in enumerate(Level)}


class Owner(msgspec.Struct, frozen=True):
    """Who a prefix is delegated to: a site's name, or the id of another object; empty for global and reserved space."""

    level: Level
    id: str = ""

    def __str__(self) -> str:
        return f"{self.level}:{self.id}" if self.id else str(self.level)


class Delegation(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix in a routing domain, and its one owner."""

    id: str
    cidr: IPNetwork
    owner: Owner
    domain: str = ROUTED
    name: str = ""
    description: str = ""
    created_at: float = 0.0

    @property
    def level(self) -> Level:
        """How deep it stands."""
        return self.owner.level

    def __str__(self) -> str:
        return f"{self.cidr} ({self.owner})"
