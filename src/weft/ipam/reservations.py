"""What of a subnet is kept out of allocation, and for whom."""

import itertools

from weft.ipam.plan import is_host
from weft.model.addresses import IPAddress
from weft.model.errors import Conflict, Invalid
from weft.model.intent import Reservation, Subnet


def open_ranges(subnet: Subnet) -> list[tuple[int, int]]:
    """Return the inclusive ranges of a subnet's pools that are not reserved, as numbers."""
    closed = [(int(each.start), int(each.end)) for each in subnet.reserved]
    ranges = []
    for pool in subnet.pools:
        start, end = int(pool.start), int(pool.end)
        for first, last in closed:
            if last < start or first > end:
                continue
            if first > start:
                ranges.append((start, first - 1))
            start = last + 1
        if start <= end:
            ranges.append((start, end))
    return ranges


def reservation_of(subnet: Subnet, address: IPAddress) -> Reservation | None:
    """Return the reservation that an address lies in."""
    number = int(address)
    return next((each for each in subnet.reserved if int(each.start) <= number <= int(each.end)), None)


def kept_for(subnet: Subnet, project_id: str, port_name: str) -> IPAddress | None:
    """Return the address that a subnet keeps for the port of this name; None: none."""
    if not port_name:
        return None
    for each in subnet.reserved:
        if each.port_name == port_name and each.project_id == project_id:
            return each.start
    return None


def with_reservation(subnet: Subnet, new: Reservation) -> tuple[Reservation, ...]:
    """Return a subnet's reservations and one more; raise Invalid or Conflict if it can't be."""
    if (
        new.start.version != subnet.cidr.version
        or new.start.version != new.end.version
        or int(new.start) > int(new.end)
    ):
        raise Invalid(f"{_text(new)} is no range of IPv{subnet.cidr.version} addresses", kind="InvalidReservation")
    if not (is_host(subnet.cidr, new.start) and is_host(subnet.cidr, new.end)):
        raise Invalid(f"{_text(new)} is not within the hosts of {subnet.cidr}", kind="InvalidReservation")
    if new.port_name and new.start != new.end:
        message = f"{_text(new)} cannot be kept for port '{new.port_name}': a name keeps one address of a subnet"
        raise Invalid(message, kind="InvalidReservation")
    held = kept_for(subnet, new.project_id, new.port_name)
    if held is not None:
        message = f"port '{new.port_name}' of project '{new.project_id}' has {held} kept for it in subnet {subnet.id}"
        raise Conflict(message, kind="ReservationExists")
    ordered = sorted([*subnet.reserved, new], key=lambda each: int(each.start))
    for before, after in itertools.pairwise(ordered):
        if int(after.start) <= int(before.end):
            other = before if after is new else after
            message = f"{_text(new)} overlaps {_text(other)}, which is reserved: {why(other)}"
            raise Conflict(message, kind="ReservationExists")
    return tuple(ordered)


def without_reservation(subnet: Subnet, start: IPAddress) -> tuple[Reservation, ...]:
    """Return a subnet's reservations without the one that begins with an address."""
    return tuple(each for each in subnet.reserved if each.start != start)


def why(reservation: Reservation) -> str:
    """Return why a reservation is there, for whoever is refused an address of it."""
    named = f"for port '{reservation.port_name}'" if reservation.port_name else "no reason given"
    return reservation.reason or named


def _text(each: Reservation) -> str:
    return str(each.start) if each.start == each.end else f"{each.start}-{each.end}"
