"""How many ports wait for containers, of which networks: by what was asked for lately. Pure; `now` is a parameter.

A node that starts many pods has many ports ready, one that starts none gives them back. More are ordered when half of
them are gone, in one call for all; so a pod costs the server a small part of a call.
"""

import json
from collections import deque
from collections.abc import Mapping

import msgspec

from weft.protocol.workload import MAX_WARM

WINDOW_S = 5.0
"""As many ports are kept ready as were asked for in this time."""
GIVE_BACK_AFTER_S = 60.0
"""Ports that are more than wanted for so long are given back."""
ORDER_AGAIN_AFTER_S = 2.0
ORDER_AGAIN_FOR_WAITING_AFTER_S = 0.5
"""After an order that failed."""
MAX_REMEMBERED = 4096
"""Containers of the last WINDOW_S that are counted."""


class WarmPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept ready on a node; the settings' `cni_warm_...`."""

    cables: int = 8
    ports: int = 8
    ports_max: int = 64
    hold_s: float = 600.0


class Want(msgspec.Struct, frozen=True, order=True):
    """What containers ask for that may have any port of it."""

    project: str = ""
    network: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def key(self) -> str:
        """Return it as a text, by which a port remembers what it was ordered for."""
        return json.dumps([self.project, self.network, [list(pair) for pair in self.labels]])

    def __str__(self) -> str:
        labels = ", ".join(f"{key}={value}" for key, value in self.labels)
        return f"network {self.network}" if self.network else f"any network with {labels or 'no label'}"


def want(project: str | None, network: str | None, labels: Mapping[str, str]) -> Want:
    """Return what a container asks for."""
    return Want(project or "", network or "", tuple(sorted(labels.items())))


def want_of(key: str) -> Want | None:
    """Read a key back; None for what is none."""
    try:
        project, network, labels = json.loads(key)
        return Want(project, network, tuple((str(key), str(value)) for key, value in labels))
    except (ValueError, TypeError):
        return None


class Stock(msgspec.Struct, frozen=True):
    """What there is of one want: ports that may be taken, and ports on their way."""

    ready: int = 0
    coming: int = 0

    @property
    def all(self) -> int:
        """All of them."""
        return self.ready + self.coming


class Demand:
    """What was asked for of one want lately, and what follows from that."""

    def __init__(self, policy: WarmPolicy, now: float) -> None:
        self._policy = policy
        self._asked: deque[float] = deque(maxlen=MAX_REMEMBERED)
        self._last_at = now
        self._enough_since: float | None = None
        self._failed_at: float | None = None

    def ask(self, now: float) -> None:
        """A container asks."""
        self._asked.append(now)
        self._last_at = now

    def failed(self, now: float) -> None:
        """An order has failed."""
        self._failed_at = now

    def target(self, now: float) -> int:
        """Return how many ports shall be there for those to come."""
        while self._asked and self._asked[0] <= now - WINDOW_S:
            self._asked.popleft()
        if self._policy.ports == 0 or self.is_over(now):
            return 0
        return min(self._policy.ports_max, max(self._policy.ports, len(self._asked)))

    def is_over(self, now: float) -> bool:
        """Tell whether nobody has asked for so long that nothing is kept."""
        return now - self._last_at >= self._policy.hold_s

    def order(self, stock: Stock, waiting: int, now: float) -> int:
        """Return how many ports to order now: when less than half of what shall be there is left."""
        again_after_s = ORDER_AGAIN_FOR_WAITING_AFTER_S if waiting else ORDER_AGAIN_AFTER_S
        if self._failed_at is not None and now - self._failed_at < again_after_s:
            return 0
        target = self.target(now)
        if stock.all >= waiting + (target + 1) // 2:
            return 0
        return min(MAX_WARM, waiting + target - stock.all)

    def give_back(self, stock: Stock, now: float) -> int:
        """Return how many ready ports to give back now: all when nobody asks, else what has been too much for long."""
        if self.is_over(now):
            return stock.ready
        surplus = stock.all - max(self.target(now), self._policy.ports)
        if surplus <= 0:
            self._enough_since = None
            return 0
        if self._enough_since is None:
            self._enough_since = now
        if now - self._enough_since < GIVE_BACK_AFTER_S:
            return 0
        self._enough_since = None
        return min(surplus, stock.ready)
