"""Pieces of work on their way through the writer, and which of them may be done as one."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from weft.model.ids import PortId
from weft.store.transaction import Transaction

Together = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
"""Does for several callers what each of them asks for, and returns what each shall have, in their order.

If it raises, nothing of it stays, and it is called again for each caller alone: so it need not know whose fault it is.
"""
MAX_TOGETHER = 32
"""Callers whose work is done as one: of these some repeat what they did if one of them errs."""
APART = 16
"""Groups in which work is done alone after some that was done together failed: callers that err come in flocks."""


class Work:
    """A piece of work, and what it asks of the function that does it."""

    def __init__(
        self,
        run: Together,
        item: Any,
        future: asyncio.Future[Any],
        asked_at: float,
        *,
        ports: Sequence[PortId] = (),
        is_shared: bool = False,
        is_early: bool = False,
    ) -> None:
        """`is_shared`: may be done together with other work of the same function.

        `is_early`: needs little but what is kept, so that it may be tried before the turn to write.
        """
        self.run = run
        self.item = item
        self.ports = ports
        self.asked_at = asked_at
        self.future = future
        self.is_shared = is_shared
        self.is_early = is_early
        self.begin()

    def begin(self) -> None:
        """Forget an attempt."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.transaction: Transaction | None = None
        self.is_drafted = False
        """Whether it was done before the turn to write."""

    def done(self, transaction: Transaction, works: Sequence["Work"]) -> None:
        """Do works that are alike, this the first of them, and remember what each shall have; raises as they do."""
        results = self.run(transaction, [each.item for each in works])
        transaction.finish()
        self.transaction = transaction
        for work, result in zip(works, results, strict=True):
            work.result = result

    def resolve(self) -> None:
        """Hand over the outcome; in the loop that waits for it."""
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def sorted_out(works: Sequence[Work]) -> list[list[Work]]:
    """Return works that may be done as one together, in lists of up to MAX_TOGETHER; others each alone.

    All of them wait at once, so none of their callers can tell in which order they were done.
    """
    found: list[list[Work]] = []
    alike: dict[Together, list[Work]] = {}
    for work in works:
        if not work.is_shared:
            found.append([work])
            continue
        others = alike.get(work.run)
        if others is None or len(others) == MAX_TOGETHER:
            others = alike[work.run] = []
            found.append(others)
        others.append(work)
    return found
