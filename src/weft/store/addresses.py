"""Reads of addresses across ports: who has which, how many of each subnet, and what rests."""

from collections.abc import Iterator

import sqlalchemy as sa

from weft.model.addresses import IPAddress, parse_address
from weft.model.ids import NetworkId, PortId, SubnetId
from weft.model.intent import Subnet
from weft.store import schema as t
from weft.store.snapshot import Snapshot


def holders(snapshot: Snapshot, subnet: Subnet) -> Iterator[tuple[IPAddress, PortId]]:
    """Yield the addresses of a subnet that ports have, with the port."""
    for address, port_id in snapshot.run(_HOLDERS, network_id=subnet.network_id, subnet_id=subnet.id):
        yield parse_address(address), PortId(port_id)


def used_by_subnet(snapshot: Snapshot) -> dict[SubnetId, int]:
    """Return how many addresses of each subnet ports have; reads an index of all addresses."""
    return {SubnetId(row[0]): row[1] for row in snapshot.run(_USED)}


def resting_by_subnet(snapshot: Snapshot, now: float) -> dict[SubnetId, int]:
    """Return how many addresses of each subnet rest, or are held for a name."""
    return {SubnetId(row[0]): row[1] for row in snapshot.run(_RESTING, now=now)}


def address_page(
    snapshot: Snapshot, network_id: NetworkId, after: str, limit: int
) -> list[tuple[str, SubnetId, PortId]]:
    """Return so many addresses of a network as ports have them, with subnet and port, in the order of their text."""
    found = snapshot.run(_PAGE, network_id=network_id, after=after, page=limit)
    return [(row[0], SubnetId(row[1]), PortId(row[2])) for row in found]


def holder(snapshot: Snapshot, network_id: NetworkId, address: str) -> tuple[SubnetId, PortId] | None:
    """Return whose an address of a network is, as the unique index has it."""
    row = snapshot.run(_HOLDER, network_id=network_id, address=address).fetchone()
    return None if row is None else (SubnetId(row[0]), PortId(row[1]))


def rest_end(snapshot: Snapshot, network_id: NetworkId, address: str) -> tuple[SubnetId, float] | None:
    """Return when the rest of an address ends (Unix seconds); None if it does not rest."""
    row = snapshot.run(_REST_END, network_id=network_id, address=address).fetchone()
    return None if row is None else (SubnetId(row[0]), row[1])


def resting_rows(snapshot: Snapshot) -> Iterator[tuple[NetworkId, str, SubnetId, float]]:
    """Yield every resting address that no port has, with when its rest ends (Unix seconds)."""
    for row in snapshot.run(_ALL_RESTING):
        yield NetworkId(row[0]), row[1], SubnetId(row[2]), row[3]


_HOLDERS = sa.select(t.fixed_ips.c.address, t.fixed_ips.c.port_id).where(
    t.fixed_ips.c.network_id == sa.bindparam("network_id"), t.fixed_ips.c.subnet_id == sa.bindparam("subnet_id")
)
_USED = sa.select(t.fixed_ips.c.subnet_id, sa.func.count()).group_by(t.fixed_ips.c.subnet_id)
_HELD_AGAIN = sa.exists().where(
    t.fixed_ips.c.network_id == t.resting_ips.c.network_id, t.fixed_ips.c.address == t.resting_ips.c.address
)
_RESTING = (
    sa.select(t.resting_ips.c.subnet_id, sa.func.count())
    .where(t.resting_ips.c.until > sa.bindparam("now"), ~_HELD_AGAIN)
    .group_by(t.resting_ips.c.subnet_id)
)
_PAGE = (
    sa.select(t.fixed_ips.c.address, t.fixed_ips.c.subnet_id, t.fixed_ips.c.port_id)
    .where(t.fixed_ips.c.network_id == sa.bindparam("network_id"), t.fixed_ips.c.address > sa.bindparam("after"))
    .order_by(t.fixed_ips.c.address)
    .limit(sa.bindparam("page"))
    .offset(sa.literal_column("0"))  # else the toolkit adds a parameter of its own
)
_HOLDER = sa.select(t.fixed_ips.c.subnet_id, t.fixed_ips.c.port_id).where(
    t.fixed_ips.c.network_id == sa.bindparam("network_id"), t.fixed_ips.c.address == sa.bindparam("address")
)
_REST_END = sa.select(t.resting_ips.c.subnet_id, t.resting_ips.c.until).where(
    t.resting_ips.c.network_id == sa.bindparam("network_id"),
    t.resting_ips.c.address == sa.bindparam("address"),
    ~_HELD_AGAIN,
)
_ALL_RESTING = sa.select(
    t.resting_ips.c.network_id, t.resting_ips.c.address, t.resting_ips.c.subnet_id, t.resting_ips.c.until
).where(~_HELD_AGAIN)
