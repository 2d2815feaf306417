"""How much of containers' work a server takes on at once: bounded for each node and in all; the rest comes again.

What is in work is counted in items, such as ports of an order or claims of a batch, not in requests. Beyond a bound a
request is refused as a whole before anything is done for it, with how long the server will take for what it has: a
crowd that starts at once is told to come when there is room, and other callers keep their way to the writer.
"""

import asyncio
import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable

from weft.model.errors import Transient
from weft.model.ids import NodeName

MAX_OF_NODE = 1_024
"""Items of one node that are in work or wait. More: 429."""
MAX_IN_ALL = 16_384
"""Items of all nodes that are in work or wait; some seconds' work. More: 503."""
IN_WORK = 512
"""Items that are handed to the writer at once, so that it is never far behind for others."""
USUAL_PER_S = 2_000.0
"""Items that a server is taken to do in a second, until it has done some."""
MEASURED_S = 1.0
"""How long items are counted to know how many are done in a second."""


class WorkloadQueue:
    """Lets requests in, in order. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._clock = clock
        self._of_node: Counter[NodeName] = Counter()
        self._in_all = 0
        self._in_work = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._per_s = USUAL_PER_S
        self._done = 0
        self._since: float | None = None

    @contextlib.asynccontextmanager
    async def turn(self, node: NodeName, items: int) -> AsyncIterator[None]:
        """Wait for room for so many items of a node, and keep it within the context.

        Raises Transient if the node, or all nodes together, have too much in work already.
        """
        self._admit(node, items)
        try:
            await self._until_room(items)
            try:
                yield
            finally:
                self._in_work -= items
                self._count(items)
                self._let_in()
        finally:
            self._in_all -= items
            self._of_node[node] -= items
            if not self._of_node[node]:
                del self._of_node[node]

    def _admit(self, node: NodeName, items: int) -> None:
        of_node = self._of_node[node]
        if of_node and of_node + items > MAX_OF_NODE:
            after_s = self._takes_s(of_node)
            message = f"node '{node}' has {of_node} ports in work, and may have {MAX_OF_NODE}"
            raise Transient(f"{message}; try again in {after_s} s", retry_after_s=after_s, kind="TooManyRequests")
        if self._in_all and self._in_all + items > MAX_IN_ALL:
            after_s = self._takes_s(self._in_all)
            message = (
                f"the server has {self._in_all} ports of containers in work, and takes on no more than {MAX_IN_ALL}"
            )
            raise Transient(f"{message}; try again in {after_s} s", retry_after_s=after_s)
        self._in_all += items
        self._of_node[node] += items

    async def _until_room(self, items: int) -> None:
        if not self._waiting and self._fits(items):
            self._in_work += items
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self._waiting = deque(each for each in self._waiting if each[1] is not mine)
            else:
                self._in_work -= items  # it was let in, and goes away in the same moment
            self._let_in()
            raise

    def _fits(self, items: int) -> bool:
        """Tell whether there is room; whoever asks for more than there ever is has all of it alone."""
        return not self._in_work or self._in_work + items <= IN_WORK

    def _let_in(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            items, first = self._waiting.popleft()
            if not first.done():
                self._in_work += items
                first.set_result(None)

    def _count(self, items: int) -> None:
        """Learn how many items are done in a second."""
        now = self._clock()
        if self._since is None:
            self._since = now
        self._done += items
        passed_s = now - self._since
        if passed_s >= MEASURED_S:
            # After a pause there was nothing to do for a while: that is no measure of what can be done.
            if passed_s < 2 * MEASURED_S:
                self._per_s = (self._per_s + self._done / passed_s) / 2
            self._since, self._done = now, 0

    def _takes_s(self, items: int) -> int:
        """Return in how many whole seconds so many items will be done."""
        return max(1, math.ceil(items / self._per_s))
