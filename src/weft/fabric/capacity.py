"""What a number of instances does to the tables of a leaf, before anybody has bought it.

Counted as weft configures leaves: EVPN with symmetric IRB (RFC 9135). A leaf carries a network if a node of it has an
instance there; it then knows the MAC address of every instance of the network, and of every tenant that it routes for
the addresses of all instances. What is saved by keeping each network within a rack (a routed network: a prefix per rack
and tenant instead of a network over all racks) is the same count with networks that do not cross leaves, and with
leaves that announce prefixes instead of hosts (RFC 9136).
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from weft.fabric.limits import Resource
from weft.model.errors import Invalid


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances, where. Instances are spread evenly over nodes, networks over tenants."""

    nodes: int
    instances_per_node: int
    nodes_per_leaf: int = 20
    """On a leaf, or on the pair that a node is bonded to."""
    networks: int = 100
    tenants: int = 10
    addresses_per_instance: int = 1


class Design(StrEnum):
    """How networks lie over racks."""

    STRETCHED = "stretched"
    """A network is wherever one of its instances is."""
    ROUTED = "routed"
    """A network is within a rack; other racks know the addresses of its instances."""
    AGGREGATED = "aggregated"
    """The same, and other racks know its prefix alone."""


def leaf_usage(fleet: Fleet, design: Design) -> Mapping[Resource, int]:
    """Return what one leaf holds. Raises Invalid for a fleet that there cannot be."""
    _check(fleet)
    leaves = -(-fleet.nodes // fleet.nodes_per_leaf)
    local = min(fleet.nodes, fleet.nodes_per_leaf) * fleet.instances_per_node
    everyone = fleet.nodes * fleet.instances_per_node
    if design is Design.STRETCHED:
        here = min(fleet.networks, local)
        macs, hosts = max(local, _share(everyone, here, fleet.networks)), everyone
    else:
        here = min(-(-fleet.networks // leaves), local)
        macs, hosts = local, everyone if design is Design.ROUTED else local
    tenants = min(fleet.tenants, here)
    routed = max(local, _share(hosts, tenants, fleet.tenants)) if design is not Design.AGGREGATED else hosts
    return {
        Resource.VLANS: here,
        Resource.VNIS: here + tenants,
        Resource.VRFS: tenants,
        Resource.MACS: macs,
        Resource.HOST_ROUTES: routed * fleet.addresses_per_instance,
        Resource.PREFIXES: _share(fleet.networks, tenants, fleet.tenants),
    }


def _share(whole: int, part: int, of: int) -> int:
    """Return how much of a whole, spread evenly, belongs to a part; rounded up."""
    return -(-whole * part // of)


def _check(fleet: Fleet) -> None:
    for field in fleet.__struct_fields__:
        if getattr(fleet, field) < 1:
            raise Invalid(f"{field.replace('_', ' ')}: {getattr(fleet, field)} is too few; it must be 1 or more")
    if fleet.tenants > fleet.networks:
        raise Invalid(f"{fleet.tenants} tenants with {fleet.networks} networks: each tenant has at least one")
