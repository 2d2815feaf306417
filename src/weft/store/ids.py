"""Identifiers for new rows: time-ordered UUIDs, each later than the one before, even within a millisecond."""

from collections.abc import Callable

from weft.model.ids import time_ordered_id

_COUNTED = 1 << 12
"""Ids of one millisecond; more borrow from the next (RFC 9562, section 6.2, method 1)."""


class Ids:
    """The ids that one server gives out. For the writer thread alone."""

    def __init__(self, random: Callable[[int], int]) -> None:
        self._random = random
        self._now_ms = 0
        self._count = 0

    def next(self, now_ms: int) -> str:
        """Return a new id; rows that are listed by id are so listed as they were made."""
        if now_ms > self._now_ms:
            self._now_ms, self._count = now_ms, 0
        elif self._count + 1 < _COUNTED:
            self._count += 1
        else:
            self._now_ms, self._count = self._now_ms + 1, 0
        return time_ordered_id(self._now_ms, self._count << 62 | self._random(62))
