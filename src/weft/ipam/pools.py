"""Which address of a subnet is given out next: next-fit over the subnet's ranges, with rest after release.

The search goes on where the last one ended and wraps, so that an address that was just freed is the last to be given
out again. Addresses are integers here and nowhere else: this is the hot path. One byte stands for an address, in blocks
that exist only where something is not free, so that an IPv6 /64 costs what is used of it, and a search skips what is
full at the speed of memchr.
"""

from collections.abc import Iterable
from heapq import heappop, heappush

FREE, USED, RESTING = 0, 1, 2

DENSE_BLOCK = 4096
SPARSE_BLOCK = 256
SPARSE_FROM = 1 << 26
"""Pools of at least so many addresses are sparsely used: their blocks are small."""


class AddressPool:
    """The addresses of a subnet that are given out. Changes since the last `keep` can be undone."""

    def __init__(
        self,
        ranges: Iterable[tuple[int, int]],
        used: Iterable[int] = (),
        resting: Iterable[tuple[int, float]] = (),
        cursor: int | None = None,
    ) -> None:
        """`ranges` are inclusive and don't overlap; `resting` are addresses and the Unix time when each is free again.

        Used and resting addresses outside the ranges are none of the pool's business. `cursor` is where the search
        begins; None: after the highest address that is not free.
        """
        self._ranges = sorted(ranges)
        self.size = sum(last - first + 1 for first, last in self._ranges)
        self._block = DENSE_BLOCK if self.size < SPARSE_FROM else SPARSE_BLOCK
        self._blocks: dict[int, bytearray] = {}
        self._until: dict[int, float] = {}
        self._wakes: list[tuple[float, int]] = []
        self._busy = 0
        self._journal: list[tuple[int, int, float, int]] = []
        self._cursor = 0
        highest = -1
        for address in used:
            self._set(address, USED)
            highest = max(highest, address)
        for address, until in resting:
            self._set(address, RESTING, until)
            highest = max(highest, address)
        self._cursor = highest + 1 if cursor is None else cursor
        self._journal.clear()

    @property
    def free(self) -> int:
        """How many addresses are free; those that rest are not."""
        return self.size - self._busy

    @property
    def resting(self) -> int:
        """How many addresses rest after their release."""
        return len(self._until)

    def choose(self, now: float) -> int | None:
        """Take the next free address; None if there is none."""
        self._wake(now)
        if self._busy >= self.size:
            return None
        address = self._search()
        assert address is not None, "the count of free addresses and the blocks disagree"
        self._set(address, USED)
        self._cursor = address + 1
        return address

    def take(self, address: int) -> None:
        """Take this address; whether it may be taken is the store's to say."""
        self._set(address, USED)

    def release(self, address: int, until: float) -> None:
        """Let an address rest until a Unix time; then it is free."""
        self._set(address, RESTING, until)

    def keep(self) -> None:
        """Make what was done so far final."""
        self._journal.clear()

    def undo(self) -> None:
        """Take back what was done since the last `keep`, newest first."""
        journal, self._journal = self._journal, []
        for address, state, until, cursor in reversed(journal):
            self._set(address, state, until)
            self._cursor = cursor
        self._journal.clear()

    def _search(self) -> int | None:
        cursor = self._cursor
        for first, last in self._ranges:
            if cursor <= last and (found := self._find(max(first, cursor), last)) is not None:
                return found
        for first, last in self._ranges:
            if first < cursor and (found := self._find(first, min(last, cursor - 1))) is not None:
                return found
        return None

    def _find(self, first: int, last: int) -> int | None:
        """Return the first free address from `first` to `last`, both included."""
        size, address = self._block, first
        while address <= last:
            index, offset = divmod(address, size)
            block = self._blocks.get(index)
            if block is None:
                return address
            found = block.find(FREE, offset, min(size, last - index * size + 1))
            if found >= 0:
                return index * size + found
            address = (index + 1) * size
        return None

    def _wake(self, now: float) -> None:
        while self._wakes and self._wakes[0][0] <= now:
            until, address = heappop(self._wakes)
            if self._until.get(address) == until:
                self._set(address, FREE)
                # Time can't be undone: whatever is taken back, this address has rested.
                self._journal.pop()

    def _set(self, address: int, state: int, until: float = 0.0) -> None:
        if not any(first <= address <= last for first, last in self._ranges):
            return
        index, offset = divmod(address, self._block)
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = bytearray(self._block)
        before = block[offset]
        self._journal.append((address, before, self._until.pop(address, 0.0), self._cursor))
        block[offset] = state
        self._busy += (state != FREE) - (before != FREE)
        if state == RESTING:
            self._until[address] = until
            heappush(self._wakes, (until, address))
