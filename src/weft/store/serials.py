"""Numbers that are given out once, from blocks that each process sets aside for itself."""

BLOCK = 256
"""Numbers that a process sets aside at once."""


class Serials:
    """Numbers of one kind that this process has set aside, in order: what is made together lies together."""

    def __init__(self) -> None:
        self._next = self._end = 0

    def next(self) -> int | None:
        """Return the next number; None if none is left."""
        if self._next == self._end:
            return None
        self._next += 1
        return self._next - 1

    def refill(self, block: int) -> int:
        """Set aside the numbers of a block, counted from 0 on, and return the first."""
        self._next, self._end = block * BLOCK + 1, (block + 1) * BLOCK
        return block * BLOCK
