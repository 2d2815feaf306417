"""The allocators of all subnets, each built from the rows when it is first asked. For the writer thread alone."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from weft.ipam.pools import AddressPool
from weft.ipam.reservations import open_ranges
from weft.model.ids import SubnetId
from weft.model.intent import Subnet
from weft.store import schema as t

if TYPE_CHECKING:
    from weft.store.snapshot import Snapshot


class Pools:
    """Allocators by subnet. They are hints: losing one costs a rebuild, nothing else."""

    def __init__(self) -> None:
        self._pools: dict[SubnetId, AddressPool] = {}
        self._doubted: set[SubnetId] = set()

    def of(self, subnet: Subnet, snapshot: "Snapshot") -> AddressPool:
        """Return the allocator of a subnet; `snapshot` must see all rows written so far."""
        pool = self._pools.get(subnet.id)
        if pool is None:
            pool = self._pools[subnet.id] = self._build(subnet, snapshot)
        return pool

    def __contains__(self, id_: object) -> bool:
        return id_ in self._pools

    def forget(self, id_: SubnetId) -> None:
        """Drop the allocator of a subnet; the next to ask builds it anew."""
        self._pools.pop(id_, None)
        self._doubted.discard(id_)

    def clear(self) -> None:
        """Drop all allocators."""
        self._pools.clear()
        self._doubted.clear()

    def doubt(self) -> None:
        """Remember that another process may have freed addresses of any subnet."""
        self._doubted.update(self._pools)

    def is_doubted(self, id_: SubnetId) -> bool:
        """Tell whether an allocator may take for taken what is free."""
        return id_ in self._doubted

    def learn(self, id_: SubnetId, address: int) -> None:
        """Take an address that a port has in the database."""
        pool = self._pools.get(id_)
        if pool is not None:
            pool.hold(address)

    def leap(self, id_: SubnetId, random: Callable[[int], int]) -> None:
        """Go on further on in a subnet, where no other process is at work."""
        pool = self._pools.get(id_)
        if pool is not None:
            pool.leap(random(64))

    def _build(self, subnet: Subnet, snapshot: "Snapshot") -> AddressPool:
        ranges = open_ranges(subnet)
        used = (_number(row[0]) for row in snapshot.run(_USED, network_id=subnet.network_id, subnet_id=subnet.id))
        pool = AddressPool(ranges, used)
        for address, until in snapshot.run(_RESTING, subnet_id=subnet.id):
            pool.rest(_number(address), until)
        return pool


def _number(address: str) -> int:
    """Return an address as a number; a full /12 has a million of them to be read, at a tenth of ip_address's cost."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return int.from_bytes(socket.inet_pton(family, address), "big")


_USED = sa.select(t.fixed_ips.c.address).where(
    t.fixed_ips.c.network_id == sa.bindparam("network_id"), t.fixed_ips.c.subnet_id == sa.bindparam("subnet_id")
)
_HELD_AGAIN = sa.exists().where(
    t.fixed_ips.c.network_id == t.resting_ips.c.network_id, t.fixed_ips.c.address == t.resting_ips.c.address
)
_RESTING = sa.select(t.resting_ips.c.address, t.resting_ips.c.until).where(
    t.resting_ips.c.subnet_id == sa.bindparam("subnet_id"), ~_HELD_AGAIN
)
