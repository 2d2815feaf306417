"""How many addresses networks have, and how many of them ports have."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network

import msgspec

from weft.model.addresses import IPNetwork
from weft.model.ids import SubnetId
from weft.model.intent import Network, Subnet
from weft.store import Snapshot
from weft.store.addresses import holder, holders, used_by_subnet

FEW = 256
"""Addresses outside a subnet's pools, such as its gateway's, that are looked up one by one."""


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of a subnet, or of all subnets of a network. Of IPv6 these are more than 64 bits can count."""

    in_subnet: int = 0
    in_pools: int = 0
    """Those that weft may pick."""
    used_in_subnet: int = 0
    used_in_pools: int = 0

    def __add__(self, other: "Availability") -> "Availability":
        return Availability(
            in_subnet=self.in_subnet + other.in_subnet,
            in_pools=self.in_pools + other.in_pools,
            used_in_subnet=self.used_in_subnet + other.used_in_subnet,
            used_in_pools=self.used_in_pools + other.used_in_pools,
        )


def availability_of(
    snapshot: Snapshot, network: Network, used: Mapping[SubnetId, int] | None = None
) -> list[tuple[Subnet, Availability]]:
    """Return the availability of each subnet of a network; `used` is used_by_subnet, where many networks are asked."""
    found = []
    for subnet in snapshot.subnets(network.id):
        count = sum(1 for _ in holders(snapshot, subnet)) if used is None else used.get(subnet.id, 0)
        found.append((subnet, _availability(snapshot, subnet, count)))
    return found


def availabilities(
    snapshot: Snapshot, networks: Iterable[Network]
) -> list[tuple[Network, list[tuple[Subnet, Availability]]]]:
    """Return the availability of each subnet of many networks."""
    used = used_by_subnet(snapshot)
    return [(network, availability_of(snapshot, network, used)) for network in networks]


def _availability(snapshot: Snapshot, subnet: Subnet, used: int) -> Availability:
    in_pools = sum(int(pool.end) - int(pool.start) + 1 for pool in subnet.pools)
    return Availability(
        in_subnet=_size(subnet.cidr),
        in_pools=in_pools,
        used_in_subnet=used,
        used_in_pools=used - _used_outside_pools(snapshot, subnet),
    )


def _used_outside_pools(snapshot: Snapshot, subnet: Subnet) -> int:
    gaps = _gaps(subnet)
    if sum(last - first + 1 for first, last in gaps) > FEW:
        return sum(any(first <= int(each) <= last for first, last in gaps) for each, _ in holders(snapshot, subnet))
    base = subnet.cidr.network_address
    outside = (str(base + (number - int(base))) for first, last in gaps for number in range(first, last + 1))
    return sum(holder(snapshot, subnet.network_id, address) is not None for address in outside)


def _gaps(subnet: Subnet) -> list[tuple[int, int]]:
    """Return the ranges of a subnet's prefix that no pool holds."""
    start, found = int(subnet.cidr.network_address), []
    for pool in sorted(subnet.pools, key=lambda each: int(each.start)):
        if int(pool.start) > start:
            found.append((start, int(pool.start) - 1))
        start = int(pool.end) + 1
    if start <= int(subnet.cidr.broadcast_address):
        found.append((start, int(subnet.cidr.broadcast_address)))
    return found


def _size(cidr: IPNetwork) -> int:
    """Return how many addresses a prefix has for hosts, as Neutron counts them."""
    two_are_none = isinstance(cidr, IPv4Network) and cidr.prefixlen < 31
    return cidr.num_addresses - 2 if two_are_none else cidr.num_addresses
