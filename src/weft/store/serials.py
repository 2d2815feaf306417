"""Numbers that are given out once, from blocks that each process sets aside for itself."""

from collections import deque

BLOCK = 1024
"""Numbers that a process sets aside at once."""
AT_HAND = 2 * BLOCK
"""Numbers below which more are set aside before anybody asks for them."""


class Serials:
    """Numbers of one kind that this process has set aside, in order: what is made together lies together."""

    def __init__(self, bits: int) -> None:
        """They are below 2^bits."""
        self.bits = bits
        self.left = 0
        """How many there are."""
        self._blocks: deque[range] = deque()
        self._next = self._end = 0

    def next(self) -> int:
        """Return the next number; there must be one."""
        if self._next == self._end:
            block = self._blocks.popleft()
            self._next, self._end = block.start, block.stop
        self.left -= 1
        self._next += 1
        return self._next - 1

    def add(self, block: int) -> None:
        """Set aside the numbers of a block, counted from 0 on."""
        self._blocks.append(range(block * BLOCK, (block + 1) * BLOCK))
        self.left += BLOCK
