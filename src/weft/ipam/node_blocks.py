"""What a node does with the blocks that it holds: gives out their addresses, asks for more, gives back what is empty.

Times are of a clock that never goes back (monotonic seconds). No address is given out, and none may be in use, from
a block's deadline on: then the server may lease it to another node.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from weft.ipam.pools import AddressPool

SPARE = 8
"""Free addresses that a node keeps at hand; with fewer it asks for a block."""

STOP_BEFORE_S = 5.0
"""How long before its deadline a block gives out nothing: what is given out must not end at once."""


@dataclass(slots=True)
class Lease:
    """A block that this node holds."""

    id: str
    epoch: int
    deadline: float
    addresses: AddressPool
    in_use: set[int] = field(default_factory=set)


class NodeBlocks:
    """The blocks of one node in one subnet."""

    def __init__(self, spare: int = SPARE) -> None:
        self._spare = spare
        self._leases: dict[str, Lease] = {}

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def take_over(
        self, id_: str, epoch: int, ranges: Sequence[tuple[int, int]], *, asked_at: float, lease_s: float
    ) -> None:
        """Note a block that was granted; `asked_at` is when the request was sent, not when it was answered."""
        self._leases[id_] = Lease(id_, epoch, asked_at + lease_s, AddressPool(ranges))

    def renewed(self, id_: str, epoch: int, *, asked_at: float, lease_s: float) -> None:
        """Note that a lease was renewed; an answer about a lease that is no longer held changes nothing."""
        lease = self._leases.get(id_)
        if lease is not None and lease.epoch == epoch:
            lease.deadline = max(lease.deadline, asked_at + lease_s)

    def allocate(self, now: float) -> int | None:
        """Give out an address of the block with the fewest left, so that others become empty; None: ask for more."""
        usable = [lease for lease in self if now < lease.deadline - STOP_BEFORE_S]
        for lease in sorted(usable, key=lambda lease: (lease.addresses.free, lease.id)):
            address = lease.addresses.allocate(now)
            if address is not None:
                lease.in_use.add(address)
                return address
        return None

    def release(self, address: int, *, rest_until: float) -> None:
        """Take an address back, to be given out again from `rest_until` on."""
        for lease in self:
            if address in lease.in_use:
                lease.in_use.remove(address)
                lease.addresses.rest(address, rest_until)

    def lost(self, id_: str) -> set[int]:
        """Drop a block that the server says is not ours; return the addresses whose use has to end at once."""
        lease = self._leases.pop(id_, None)
        return set() if lease is None else lease.in_use

    def fence(self, now: float) -> set[int]:
        """Drop the blocks whose deadline has come; return the addresses whose use has to end at once."""
        ended = [lease.id for lease in self if lease.deadline <= now]
        return {address for id_ in ended for address in self.lost(id_)}

    def wanted(self) -> int:
        """Return how many addresses to ask for: as many as are in use, so that blocks grow with the node; 0: none."""
        free = sum(lease.addresses.free for lease in self)
        in_use = sum(len(lease.in_use) for lease in self)
        return 0 if free >= self._spare else max(in_use, self._spare)

    def surplus(self) -> list[Lease]:
        """Return the empty blocks that can be given back with enough addresses left at hand."""
        free = sum(lease.addresses.free for lease in self)
        found = []
        for lease in sorted(self, key=lambda lease: (-lease.addresses.size, lease.id)):
            # Twice the spare: else the next few addresses would have it asked for again.
            if not lease.in_use and not lease.addresses.resting and free - lease.addresses.size >= 2 * self._spare:
                free -= lease.addresses.size
                found.append(lease)
        return found
