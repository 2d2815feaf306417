"""Which addresses of a subnet are free: an allocator in memory, one byte for each address that was ever touched.

Addresses are ints here, and only here, because this is the hot path: `bytearray.find` looks through a million of
them in some tens of microseconds, so the last free address of a /12 costs no more than the first. A chunk of
addresses none of which was ever taken has no bytearray at all, so an IPv6 /64 costs what its used addresses cost.

An AddressPool is a hint, rebuilt from the rows at any time; the unique index of the database decides who owns an
address. The search goes on from the last address given out, so that a freed address is used again as late as
possible.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

DENSE_CHUNK = 1 << 12
SPARSE_CHUNK = 1 << 8
"""Addresses to a chunk: few where addresses lie far apart and each makes a chunk, many where chunks are full."""
SPARSE_FROM = 1 << 26
"""Pools of so many addresses are never full, and used where callers ask for addresses of their own (IPv6)."""

LEAP = 1 << 20
"""Addresses that a search leaps over at most: in a large pool, those in use stay together."""

_FREE, _USED = 0, 1


class AddressPool:
    """The addresses of some inclusive ranges, and which of them are taken or resting."""

    def __init__(self, ranges: Sequence[tuple[int, int]], used: Iterable[int] = ()) -> None:
        """`ranges` are inclusive and do not overlap; `used` names no address twice."""
        self._ranges = tuple(sorted(ranges))
        sizes = [last - first + 1 for first, last in self._ranges]
        self._starts = [0, *accumulate(sizes)]
        self.size = self._starts[-1]
        """How many addresses the ranges hold."""
        self._firsts = [first for first, _ in self._ranges]
        self._chunk = DENSE_CHUNK if self._starts[-1] < SPARSE_FROM else SPARSE_CHUNK
        self._chunks: dict[int, bytearray] = {}
        self._taken_in: dict[int, int] = {}
        self._outside: set[int] = set()
        self._resting: list[tuple[float, int]] = []
        self._until: dict[int, float] = {}
        self._recalled: dict[int, float | None] = {}
        self._cursor = 0
        self._taken = 0
        highest = -1
        for address in used:
            index = self._index(address)
            if index is None:
                self._outside.add(address)
            else:
                self._mark(index)
                highest = max(highest, index)
        # Which was given out last is not known any more; after the highest is where next-fit mostly stands.
        self._cursor = highest + 1 if highest + 1 < self.size else 0

    @property
    def free(self) -> int:
        """How many of them are neither taken nor resting."""
        return self.size - self._taken

    @property
    def resting(self) -> int:
        """How many addresses rest after their release."""
        return len(self._until)

    def allocate(self, now: float) -> int | None:
        """Take the next free address after the last one given out; None if there is none."""
        self._wake(now)
        if self._taken >= self.size:
            return None
        index = self._find(self._cursor, self.size)
        if index is None:
            index = self._find(0, self._cursor)
        if index is None:
            return None
        self._mark(index)
        self._cursor = index + 1 if index + 1 < self.size else 0
        return self._address(index)

    def allocate_several(self, count: int, now: float) -> list[int]:
        """Take the addresses that so many calls of `allocate` would; fewer if there are no more."""
        self._wake(now)
        found: list[int] = []
        count = min(count, self.size - self._taken)
        while len(found) < count:
            index = self._find(self._cursor, self.size)
            if index is None:
                index = self._find(0, self._cursor)
            if index is None:
                break
            stop = index + self._mark_run(index, count - len(found))
            found += [self._address(each) for each in range(index, stop)]
            self._cursor = stop if stop < self.size else 0
        return found

    def leap(self, by: int) -> None:
        """Go on with the search further on, by up to LEAP addresses: where another searches, too, they part."""
        self._cursor = (self._cursor + by % min(self.size, LEAP)) % self.size if self.size else 0

    def take(self, address: int, now: float) -> bool:
        """Take this address, in the ranges or not; False if it is taken, or resting and not recalled."""
        self._wake(now)
        if address in self._recalled and address in self._until:
            self._recalled[address] = self._until.pop(address)
            return True
        return self._take(address)

    def release(self, address: int) -> None:
        """Make a taken or resting address free at once; one that was recalled rests again."""
        until = self._recalled.pop(address, None)
        if until is not None:
            self.rest(address, until)
            return
        self._until.pop(address, None)
        index = self._index(address)
        if index is None:
            self._outside.discard(address)
            return
        number, offset = divmod(index, self._chunk)
        chunk = self._chunks.get(number)
        if chunk is None or chunk[offset] == _FREE:
            return
        chunk[offset] = _FREE
        self._taken -= 1
        self._taken_in[number] -= 1
        if self._taken_in[number] == 0:
            del self._chunks[number], self._taken_in[number]

    def take_back(self, address: int) -> None:
        """Release an address as if it had not been given out: if it was the last one, it is the next again."""
        self.release(address)
        index = self._index(address)
        if index is not None and self._cursor == (index + 1 if index + 1 < self.size else 0):
            self._cursor = index

    def rest(self, address: int, until: float) -> None:
        """Keep a taken address from being used before `until` (Unix seconds); then it is free."""
        self._recalled.pop(address, None)
        self._take(address)
        self._until[address] = until
        heapq.heappush(self._resting, (until, address))

    def recall(self, address: int) -> None:
        """Let a resting address be taken, by whom it rests for; until then it still rests."""
        if address in self._until:
            self._recalled[address] = None

    def settle(self, address: int) -> None:
        """Remember no longer that an address was recalled: its being taken is durable."""
        self._recalled.pop(address, None)

    def hold(self, address: int) -> None:
        """Note that an address is taken, and not by us; it may have rested, or be taken already."""
        self._until.pop(address, None)
        self._take(address)

    def _take(self, address: int) -> bool:
        index = self._index(address)
        if index is None:
            if address in self._outside:
                return False
            self._outside.add(address)
            return True
        chunk = self._chunks.get(index // self._chunk)
        if chunk is not None and chunk[index % self._chunk] == _USED:
            return False
        self._mark(index)
        return True

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            until, address = heapq.heappop(self._resting)
            if self._until.get(address) == until:  # else it was released meanwhile, and may be taken again
                self.release(address)

    def _find(self, start: int, end: int) -> int | None:
        """Return the first free index in [start, end), skipping full chunks without looking into them."""
        while start < end:
            number, offset = divmod(start, self._chunk)
            chunk = self._chunks.get(number)
            if chunk is None:
                return start
            stop = min(end, (number + 1) * self._chunk)
            if self._taken_in[number] < len(chunk):
                found = chunk.find(_FREE, offset, stop - number * self._chunk)
                if found >= 0:
                    return number * self._chunk + found
            start = stop
        return None

    def _mark(self, index: int) -> None:
        number, offset = divmod(index, self._chunk)
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = bytearray(min(self._chunk, self.size - number * self._chunk))
            self._taken_in[number] = 0
        chunk[offset] = _USED
        self._taken += 1
        self._taken_in[number] += 1

    def _mark_run(self, index: int, most: int) -> int:
        """Take a free index and those after it, as long as they are free and of its chunk; return how many."""
        self._mark(index)
        number, offset = divmod(index, self._chunk)
        chunk = self._chunks[number]
        most = min(most, len(chunk) - offset)
        used = chunk.find(_USED, offset + 1, offset + most)
        run = most if used < 0 else used - offset
        chunk[offset : offset + run] = bytes([_USED]) * run
        self._taken += run - 1
        self._taken_in[number] += run - 1
        return run

    def _index(self, address: int) -> int | None:
        at = bisect_right(self._firsts, address) - 1
        if at < 0 or address > self._ranges[at][1]:
            return None
        return self._starts[at] + address - self._ranges[at][0]

    def _address(self, index: int) -> int:
        at = bisect_right(self._starts, index) - 1
        return self._ranges[at][0] + index - self._starts[at]
