"""What a subnet may be: its prefix, gateway and pools, checked when it is planned. Errors are Neutron's."""

import itertools
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from weft.model.addresses import IPAddress, IPNetwork
from weft.model.errors import Conflict, Invalid
from weft.model.intent import AddressRange, overlap


def check_prefix(cidr: IPNetwork) -> None:
    """Refuse a prefix that no host can have an address of."""
    if cidr.prefixlen == 0:
        raise _input(f"0 is not allowed as CIDR prefix length in {cidr}")
    for wrong, what in (
        (cidr.is_multicast, "multicast"),
        (cidr.is_loopback, "loopback"),
        (cidr.is_link_local, "link-local"),
    ):
        if wrong:
            raise _input(f"{cidr} is a {what} prefix; a subnet needs unicast addresses")


def default_gateway(cidr: IPNetwork) -> IPAddress | None:
    """Return the first host address; none where the prefix holds a single address."""
    if cidr.num_addresses == 1:
        return None
    return cidr[0] if isinstance(cidr, IPv4Network) and cidr.prefixlen == 31 else cidr[1]


def default_pools(cidr: IPNetwork, gateway: IPAddress | None) -> tuple[AddressRange, ...]:
    """Return all host addresses but the gateway."""
    first, last = _hosts(cidr)
    if gateway is None or not first <= int(gateway) <= last:
        return (_range(cidr, first, last),)
    parts = [(first, int(gateway) - 1), (int(gateway) + 1, last)]
    return tuple(_range(cidr, low, high) for low, high in parts if low <= high)


def is_host(cidr: IPNetwork, address: IPAddress) -> bool:
    """Tell whether a host of the prefix may have the address: network and broadcast address may not be."""
    first, last = _hosts(cidr)
    return address.version == cidr.version and first <= int(address) <= last


def check_gateway(cidr: IPNetwork, gateway: IPAddress | None) -> None:
    """Refuse a gateway that is no host address of its prefix."""
    if gateway is not None and not is_host(cidr, gateway):
        raise _input(f"Gateway {gateway} is not valid on subnet {cidr}")


def check_pools(cidr: IPNetwork, pools: Sequence[AddressRange], gateway: IPAddress | None) -> None:
    """Refuse pools that are reversed, leave the prefix, overlap each other or hold the gateway."""
    for pool in pools:
        if pool.start.version != pool.end.version or int(pool.start) > int(pool.end):
            raise Invalid(f"The allocation pool {_text(pool)} is not valid.", kind="InvalidAllocationPool")
        if not (is_host(cidr, pool.start) and is_host(cidr, pool.end)):
            message = f"The allocation pool {_text(pool)} spans beyond the subnet cidr {cidr}."
            raise Invalid(message, kind="OutOfBoundsAllocationPool")
    ordered = sorted(pools, key=lambda pool: int(pool.start))
    for before, after in itertools.pairwise(ordered):
        if int(after.start) <= int(before.end):
            message = f"Found overlapping allocation pools: {_text(before)} {_text(after)} for subnet {cidr}."
            raise Conflict(message, kind="OverlappingAllocationPools")
    for pool in pools:
        if gateway is not None and int(pool.start) <= int(gateway) <= int(pool.end):
            message = f"Gateway ip {gateway} conflicts with allocation pool {_text(pool)}."
            raise Conflict(message, kind="GatewayConflictWithAllocationPools")


def overlapping(cidr: IPNetwork, others: Iterable[IPNetwork]) -> IPNetwork | None:
    """Return the first of `others` that shares an address with `cidr`."""
    return next((other for other in others if overlap(cidr, other)), None)


def _hosts(cidr: IPNetwork) -> tuple[int, int]:
    """Return the first and last address that a host may have (IPv6: the first is the routers' anycast, RFC 4291)."""
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    if isinstance(cidr, IPv4Network):
        return (first, last) if cidr.prefixlen >= 31 else (first + 1, last - 1)
    return (first, last) if cidr.prefixlen >= 127 else (first + 1, last)


def _range(cidr: IPNetwork, first: int, last: int) -> AddressRange:
    base = cidr.network_address
    offset = int(base)
    return AddressRange(base + (first - offset), base + (last - offset))


def _text(pool: AddressRange) -> str:
    return f"{pool.start}-{pool.end}"


def _input(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", kind="InvalidInput")
