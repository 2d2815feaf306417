"""Which addresses a port gets, and what becomes of those that it gives up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

import msgspec

from weft.ipam.plan import is_host
from weft.ipam.reservations import reservation_of, why
from weft.model.addresses import IPAddress, IPNetwork, Mac, ipv4_of
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, SubnetId
from weft.model.intent import FixedIp, Subnet
from weft.store import Transaction
from weft.store.transaction import address_in_use

QUARANTINE_S = 30.0
"""How long an address rests after its release: late frames, ARP entries and routes of its last owner die out."""

EUI64_PREFIXLEN = 64
"""Of the subnets whose hosts make addresses of their MACs."""

MAX_FIXED_IPS = 16
"""Addresses of one port."""


@dataclass(frozen=True, slots=True)
class NetworkSubnets:
    """The subnets of a network, by what a new port asks of them."""

    all: tuple[Subnet, ...]
    following_macs: tuple[Subnet, ...]
    with_reservations: tuple[Subnet, ...]
    families: tuple[tuple[Subnet, ...], ...]
    """Of each address family those that something can be picked from."""
    every_family: tuple[tuple[Subnet, ...], ...]


def subnets_of(tx: Transaction, network_id: NetworkId) -> NetworkSubnets:
    """Return the subnets of a network; sorted out once for all of its ports."""
    return tx.made(("sorted subnets", network_id), lambda: _sorted_out(tx.subnets(network_id)))


def _sorted_out(subnets: Sequence[Subnet]) -> NetworkSubnets:
    return NetworkSubnets(
        all=tuple(subnets),
        following_macs=tuple(subnet for subnet in subnets if subnet.addresses_follow_macs),
        with_reservations=tuple(subnet for subnet in subnets if subnet.reserved),
        families=_by_family([subnet for subnet in subnets if not subnet.addresses_follow_macs]),
        every_family=_by_family(subnets),
    )


class FixedIpSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An address that a caller asks for: exactly this one, any of a subnet, or one that weft finds the subnet of."""

    subnet_id: SubnetId | None = None
    address: IPAddress | None = None


def assign(
    tx: Transaction,
    network_id: NetworkId,
    wanted: Sequence[FixedIpSpec] | None,
    held: Sequence[FixedIp] = (),
    *,
    mac: Mac | None = None,
    given: tuple[FixedIp, ...] | None = None,
) -> tuple[FixedIp, ...]:
    """Return the addresses that a port shall have, taking those that are not among the ones `held`.

    `wanted` None: one of each address family that the network has a subnet of, which are `given` if they were taken
    before (see supply); empty: none. With a `mac`, a port that has any address has one in every subnet whose addresses
    follow MACs, too; the gateways of routers (None) are asked for there by address. Raises Invalid for an address or
    subnet that is none of the network's, Conflict for an address that is taken and for subnets without a free one.
    """
    subnets = subnets_of(tx, network_id)
    following = subnets.following_macs if mac else ()
    if wanted is None:
        found = given
        if found is None:
            families = subnets.families if mac else subnets.every_family
            found = _of_each(tx, network_id, families)
        return found + _following(tx, network_id, following, mac, held) if following else found
    if not wanted:
        return ()
    if len(wanted) > MAX_FIXED_IPS:
        raise _input(f"Exceeded maximum amount of fixed ips per port: {len(wanted)} are more than {MAX_FIXED_IPS}")
    placed = [_placed(spec, network_id, subnets.all) for spec in wanted]
    for subnet, address in placed:
        if subnet in following and address not in {None, eui64(subnet.cidr, mac)}:
            raise _not_to_be_chosen(subnet, address)
    explicit = [(subnet, address) for subnet, address in placed if subnet not in following]
    return _explicit(tx, network_id, explicit, held) + _following(tx, network_id, following, mac, held)


def supply(
    tx: Transaction, network_id: NetworkId, families: Sequence[Sequence[Subnet]], count: int
) -> list[tuple[FixedIp, ...]]:
    """Take addresses for so many ports, of each family one; the first port's are the last. Raises Conflict."""
    columns = []
    for family in families:
        column: list[FixedIp] = []
        for subnet in family:
            numbers = tx.take_addresses(subnet, count - len(column))
            column += [FixedIp(subnet.id, _address(subnet, number)) for number in numbers]
        if len(column) < count:
            raise _exhausted(tx, network_id, family)
        columns.append(reversed(column))
    return list(zip(*columns, strict=True)) if columns else [()] * count


def _explicit(
    tx: Transaction,
    network_id: NetworkId,
    explicit: Sequence[tuple[Subnet, IPAddress | None]],
    held: Sequence[FixedIp],
) -> tuple[FixedIp, ...]:
    """Return an address for each wish: one that is held where it fits, else a new one."""
    left = list(held)
    kept: dict[int, FixedIp] = {}
    # Exact addresses first: what a caller holds and names is not to be given to another of its wishes.
    for exact in (True, False):
        for at, (subnet, address) in enumerate(explicit):
            match = next((ip for ip in left if ip.subnet_id == subnet.id and address in {None, ip.address}), None)
            if match is not None and (address is not None) is exact:
                kept[at] = match
                left.remove(match)
    return tuple(
        kept.get(at) or _take(tx, network_id, subnet, address) for at, (subnet, address) in enumerate(explicit)
    )


def _following(
    tx: Transaction, network_id: NetworkId, subnets: Sequence[Subnet], mac: Mac | None, held: Sequence[FixedIp]
) -> tuple[FixedIp, ...]:
    """Return the addresses that hosts make of a MAC themselves."""
    found = []
    for subnet in subnets:
        ip = FixedIp(subnet.id, eui64(subnet.cidr, mac))
        found.append(ip if ip in held else _take(tx, network_id, subnet, ip.address))
    return tuple(found)


def eui64(cidr: IPNetwork, mac: Mac | None) -> IPAddress:
    """Return the address that a host with this MAC makes for itself in a /64 (RFC 4291, appendix A)."""
    assert mac is not None, "addresses that follow MACs are given to ports that have one"
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 0x02]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return cidr.network_address + int.from_bytes(identifier, "big")


def let_rest(tx: Transaction, given_up: Iterable[FixedIp]) -> None:
    """Put addresses that a port no longer has into quarantine."""
    now = tx.clock()
    for ip in given_up:
        subnet = tx.subnet(ip.subnet_id)
        assert subnet is not None, "a subnet outlives the addresses that ports have of it"
        # What follows a MAC is that MAC's for ever: a port that is made anew with it must get it at once.
        tx.rest_address(subnet, ip.address, now if subnet.addresses_follow_macs else now + QUARANTINE_S)


def _by_family(subnets: Sequence[Subnet]) -> tuple[tuple[Subnet, ...], ...]:
    families = (tuple(subnet for subnet in subnets if subnet.cidr.version == version) for version in (4, 6))
    return tuple(family for family in families if family)


def _of_each(tx: Transaction, network_id: NetworkId, families: Sequence[Sequence[Subnet]]) -> tuple[FixedIp, ...]:
    """Return an address of each family; if one has none left, those taken so far are given back: who asks may go on."""
    found: list[FixedIp] = []
    try:
        for family in families:
            found.append(_of_family(tx, network_id, family))
    except Conflict:
        for ip in found:
            subnet = tx.subnet(ip.subnet_id)
            assert subnet is not None, "an address was just taken of it"
            tx.pool(subnet).release(int(ip.address))
        raise
    return tuple(found)


def _of_family(tx: Transaction, network_id: NetworkId, subnets: Sequence[Subnet]) -> FixedIp:
    for subnet in subnets:
        number = tx.take_address(subnet)
        if number is not None:
            return FixedIp(subnet.id, _address(subnet, number))
    raise _exhausted(tx, network_id, subnets)


def _placed(spec: FixedIpSpec, network_id: NetworkId, subnets: Sequence[Subnet]) -> tuple[Subnet, IPAddress | None]:
    """Return the subnet that a wish is about, and the address if it names one."""
    if spec.subnet_id is None and spec.address is None:
        raise _input("IP allocation requires subnet_id or ip_address")
    if spec.subnet_id is None:
        assert spec.address is not None
        for subnet in subnets:
            if is_host(subnet.cidr, spec.address):
                return subnet, spec.address
        message = f"IP address {spec.address} is not a valid IP for any of the subnets on the specified network."
        raise Invalid(message, kind="InvalidIpForNetwork")
    found = next((subnet for subnet in subnets if subnet.id == spec.subnet_id), None)
    if found is None:
        raise _input(
            f"Failed to create port on network {network_id}, because fixed_ips included invalid subnet {spec.subnet_id}"
        )
    if spec.address is not None and not is_host(found.cidr, spec.address):
        message = f"IP address {spec.address} is not a valid IP for the specified subnet."
        raise Invalid(message, kind="InvalidIpForSubnet")
    return found, spec.address


def _take(tx: Transaction, network_id: NetworkId, subnet: Subnet, address: IPAddress | None) -> FixedIp:
    if address is not None:
        _check_not_reserved(subnet, address)
    number = tx.take_address(subnet, None if address is None else int(address))
    if number is not None:
        return FixedIp(subnet.id, _address(subnet, number))
    if address is None:
        raise _exhausted(tx, network_id, [subnet])
    raise address_in_use(str(address), subnet.id)


def _check_not_reserved(subnet: Subnet, address: IPAddress) -> None:
    """Refuse a reserved address, unless it is the gateway: what is kept for a port's name is in its claim already."""
    reservation = reservation_of(subnet, address)
    if reservation is None or address == subnet.gateway:
        return
    message = f"IP address {address} of subnet {subnet.id} is reserved: {why(reservation)}"
    raise Conflict(f"{message}. Ask for another, or end the reservation", kind="IpAddressReserved")


def _address(subnet: Subnet, number: int) -> IPAddress:
    return ipv4_of(number) if subnet.cidr.version == 4 else IPv6Address(number)


def _exhausted(tx: Transaction, network_id: NetworkId, subnets: Sequence[Subnet]) -> Conflict:
    message = f"No more IP addresses available on network {network_id}."
    resting = sum(tx.pool(subnet).resting for subnet in subnets)
    if resting:
        message += f" {resting} rest for up to {QUARANTINE_S:g} s after their release."
    return Conflict(message, kind="IpAddressGenerationFailure")


def _not_to_be_chosen(subnet: Subnet, address: IPAddress | None) -> Invalid:
    message = f"IPv6 address {address} can not be directly assigned to a port on subnet {subnet.id} since the subnet"
    return Invalid(f"{message} is configured for automatic addresses", kind="AllocationOnAutoAddressSubnet")


def _input(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", kind="InvalidInput")
