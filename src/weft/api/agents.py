"""Which nodes' agents are alive: those that hold a watch open. When each was last heard is stored, now and then."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from weft.model.errors import WeftError
from weft.model.ids import NodeName
from weft.store import Store, Transaction

log = structlog.get_logger()

STORE_EVERY_S = 15.0
"""How often the times at which agents were heard are written, all in one transaction."""

ALIVE, DEAD, UNKNOWN = "alive", "dead", "unknown"
"""Connected; was connected once; was never seen."""


class Agents:
    """The agents that this process hears."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._open: Counter[NodeName] = Counter()
        self._heard: dict[NodeName, float] = {}
        """Of agents heard since it was last stored."""

    @contextmanager
    def connected(self, node: NodeName) -> Iterator[None]:
        """Take a node's agent for alive within the context."""
        self._open[node] += 1
        self._heard[node] = self._clock()
        log.info("agent_connected", node=node)
        try:
            yield
        finally:
            self._open[node] -= 1
            if not self._open[node]:
                del self._open[node]
            self._heard[node] = self._clock()
            log.info("agent_disconnected", node=node)

    def count(self) -> int:
        """Return how many nodes' agents are alive."""
        return len(self._open)

    def state(self, node: NodeName, stored: float | None) -> tuple[str, float | None]:
        """Return a node's agent's state and when it was last heard; `stored` is the time that the store knows."""
        if self._open[node]:
            return ALIVE, self._clock()
        last = self._heard.get(node, stored)
        return (UNKNOWN if last is None else DEAD), last

    async def run(self) -> None:
        """Store what was heard every STORE_EVERY_S, until cancelled."""
        while True:
            await asyncio.sleep(STORE_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Store when each agent was last heard; what cannot be stored now is stored the next time."""
        heard = {**self._heard, **dict.fromkeys(self._open, self._clock())}
        if not heard:
            return

        def work(tx: Transaction) -> None:
            for node, at in heard.items():
                tx.put_agent_seen(node, at)

        try:
            await self._store.transact(work)
        except WeftError as error:
            log.warning("agents_not_saved", reason=error.message)
            return
        self._heard = {node: at for node, at in self._heard.items() if at > heard[node]}
