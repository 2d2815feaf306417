"""How full subnets are, and how they came to be."""

from collections.abc import Mapping

import msgspec

from weft.ipam.forecast import Sample, add_sample
from weft.ipam.reservations import open_ranges
from weft.model.ids import SubnetId
from weft.model.intent import Subnet
from weft.store import Kind, Snapshot, Transaction
from weft.store.addresses import resting_by_subnet, used_by_subnet


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of a subnet's use, the oldest first."""

    id: SubnetId
    samples: tuple[Sample, ...] = ()


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How many addresses of a subnet ports have, how many rest or are held, and how many weft may give out in all."""

    used: int
    resting: int
    size: int


def use_of_subnets(snapshot: Snapshot, now: float) -> dict[SubnetId, Use]:
    """Return the use of every subnet."""
    used, resting = used_by_subnet(snapshot), resting_by_subnet(snapshot, now)
    return {
        subnet.id: Use(used=used.get(subnet.id, 0), resting=resting.get(subnet.id, 0), size=size_of(subnet))
        for subnet in snapshot.subnets()
    }


def size_of(subnet: Subnet) -> int:
    """Return how many addresses of a subnet weft may give out by itself."""
    return sum(last - first + 1 for first, last in open_ranges(subnet))


def sample_use(tx: Transaction, used: Mapping[SubnetId, int]) -> None:
    """Note how many addresses of each subnet are in use now, and forget subnets that are gone."""
    now = tx.clock()
    known = {each.id: each for each in tx.records(Kind.SUBNET_USE, History)}
    for subnet in tx.subnets():
        before = known.pop(subnet.id, History(id=subnet.id))
        new = History(id=subnet.id, samples=add_sample(before.samples, Sample(now, used.get(subnet.id, 0))))
        tx.put_record(Kind.SUBNET_USE, subnet.id, new, project_id=subnet.project_id)
    for gone in known:
        tx.delete_record(Kind.SUBNET_USE, gone)


def histories(snapshot: Snapshot) -> dict[SubnetId, History]:
    """Return the samples of all subnets."""
    return {each.id: each for each in snapshot.records(Kind.SUBNET_USE, History)}
