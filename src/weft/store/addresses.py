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


def address_rows(snapshot: Snapshot) -> Iterator[tuple[NetworkId, str, SubnetId, PortId]]:
    """Yield every row of the table that guards addresses."""
    for row in snapshot.run(_ALL):
        yield NetworkId(row[0]), row[1], SubnetId(row[2]), PortId(row[3])


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
_ALL = sa.select(t.fixed_ips.c.network_id, t.fixed_ips.c.address, t.fixed_ips.c.subnet_id, t.fixed_ips.c.port_id)
_ALL_RESTING = sa.select(
    t.resting_ips.c.network_id, t.resting_ips.c.address, t.resting_ips.c.subnet_id, t.resting_ips.c.until
).where(~_HELD_AGAIN)
