"""Reserved ranges: nobody's but the named port's."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.ipam.reservations import kept_for, open_ranges, reservation_of, with_reservation, without_reservation
from weft.model.errors import Conflict, Invalid, WeftError
from weft.model.ids import NetworkId, SubnetId
from weft.model.intent import AddressRange, Reservation, Subnet


def reservation(first: str, last: str = "", **fields: str) -> Reservation:
    return Reservation(start=ip_address(first), end=ip_address(last or first), **fields)


def subnet(*reserved: Reservation, pools: tuple[tuple[str, str], ...] = (("10.0.0.2", "10.0.0.254"),)) -> Subnet:
    return Subnet(
        id=SubnetId("s"),
        network_id=NetworkId("n"),
        project_id="p",
        cidr=ip_network("10.0.0.0/24"),
        gateway=ip_address("10.0.0.1"),
        pools=tuple(AddressRange(ip_address(first), ip_address(last)) for first, last in pools),
        reserved=reserved,
    )


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 40)), max_size=6))
def test_the_open_ranges_are_the_pools_without_the_reserved_addresses(wanted: list[tuple[int, int]]) -> None:
    found = subnet(pools=(("10.0.0.2", "10.0.0.99"), ("10.0.0.120", "10.0.0.254")))
    base = int(found.cidr[0])
    for first, size in wanted:
        last = min(first + size, 255)
        new = reservation(str(ip_address(base + first)), str(ip_address(base + last)))
        try:
            found = subnet(
                *with_reservation(found, new), pools=(("10.0.0.2", "10.0.0.99"), ("10.0.0.120", "10.0.0.254"))
            )
        except WeftError:
            continue
    open_ = {number for first, last in open_ranges(found) for number in range(first, last + 1)}
    assert sum(last - first + 1 for first, last in open_ranges(found)) == len(open_), "no address stands in two ranges"
    pools = {base + at for at in [*range(2, 100), *range(120, 255)]}
    assert open_ == {number for number in pools if reservation_of(found, ip_address(number)) is None}


@pytest.mark.parametrize(
    ("new", "error", "message"),
    [
        (reservation("10.0.0.20", "10.0.0.10"), Invalid, "no range of IPv4"),
        (reservation("2001:db8::1"), Invalid, "no range of IPv4"),
        (reservation("10.0.0.250", "10.0.0.255"), Invalid, "not within the hosts of 10.0.0.0/24"),
        (reservation("10.0.0.5", "10.0.0.9", port_name="web"), Invalid, "a name keeps one address"),
        (reservation("10.0.0.45", "10.0.0.60"), Conflict, "overlaps 10.0.0.40-10.0.0.50, which is reserved: printers"),
        (reservation("10.0.0.7", port_name="db", project_id="p"), Conflict, "has 10.0.0.6 kept for it"),
        (reservation("10.0.0.2", "10.0.0.9"), Conflict, "overlaps 10.0.0.6, which is reserved: for port 'db'"),
    ],
)
def test_a_reservation_that_cannot_be(new: Reservation, error: type[WeftError], message: str) -> None:
    held = subnet(
        reservation("10.0.0.6", port_name="db", project_id="p"),
        reservation("10.0.0.40", "10.0.0.50", reason="printers"),
    )
    with pytest.raises(error) as refused:
        with_reservation(held, new)
    assert message in refused.value.message


def test_an_address_is_kept_for_a_name_of_a_project() -> None:
    held = subnet(reservation("10.0.0.6", port_name="db", project_id="p"))
    assert kept_for(held, "p", "db") == ip_address("10.0.0.6")
    assert kept_for(held, "q", "db") is None
    assert kept_for(held, "p", "") is None
    assert without_reservation(held, ip_address("10.0.0.6")) == ()
