"""How far the node's ports are, as the server last told: it comes with what the node shall carry, nobody has to ask."""

import asyncio
from collections.abc import Iterator

from weft.protocol.node import NodeChange, NodeDesired

ACTIVE = "ACTIVE"


class States:
    """The state of each port that is on the node."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str]] = {}
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._gone: set[str] = set()
        self.complete = False
        """Whether the server has told all since the agent was started."""

    def follow(self, message: NodeDesired | NodeChange) -> None:
        """Take a message of the server."""
        known = {port.port_id: (port.epoch, port.state) for port in message.ports}
        if isinstance(message, NodeDesired):
            self._gone |= self._known.keys()
            self._known, self.complete = known, True
        else:
            for port_id in message.gone:
                self._known.pop(port_id, None)
                self._gone.add(port_id)
            self._known.update(known)
        self._gone -= known.keys()
        for port_id in [each for each in self._waiting if each in known]:
            for event in self._waiting.pop(port_id):
                event.set()

    def state(self, port_id: str, epoch: int) -> str | None:
        """Return a port's state in an epoch; None if the server has told of no such."""
        found = self._known.get(port_id)
        return found[1] if found is not None and found[0] == epoch else None

    def is_gone(self, port_id: str, epoch: int) -> bool:
        """Tell whether the server has taken back a port that it had told of."""
        return self.complete and self.state(port_id, epoch) is None

    def gone(self) -> Iterator[str]:
        """Yield the ports that the server took from the node since this was last asked."""
        while self._gone:
            yield self._gone.pop()

    async def until_active(self, port_id: str, epoch: int, timeout_s: float) -> bool:
        """Wait until a port is ACTIVE in an epoch; tell whether it is, or is in a later one or not in time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            known, state = self._known.get(port_id, (epoch, ""))
            if known > epoch:
                return False
            if (known, state) == (epoch, ACTIVE):
                return True
            event = asyncio.Event()
            self._waiting.setdefault(port_id, []).append(event)
            try:
                async with asyncio.timeout_at(deadline):
                    await event.wait()
            except TimeoutError:
                return False
            finally:
                waiting = self._waiting.get(port_id, [])
                if event in waiting:
                    waiting.remove(event)
                    if not waiting:
                        del self._waiting[port_id]
