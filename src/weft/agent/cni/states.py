"""How far the node's ports are, as the server last told: it comes with what the node shall carry, nobody has to ask."""

import asyncio

from weft.protocol.node import NodeChange, NodeDesired

ACTIVE = "ACTIVE"
MAX_TAKEN_BACK = 4096
"""Ports that the server has taken from the node that are remembered; many more than are on their way onto cables."""


class States:
    """The state of each port that is on the node."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str]] = {}
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._taken_back: dict[str, None] = {}
        self.complete = False
        """Whether the server has told all since the agent was started."""

    def follow(self, message: NodeDesired | NodeChange) -> None:
        """Take a message of the server."""
        known = {port.port_id: (port.epoch, port.state) for port in message.ports}
        if isinstance(message, NodeDesired):
            gone = [port_id for port_id in self._known if port_id not in known]
            self._known, self.complete = known, True
        else:
            gone = [port_id for port_id in message.gone if port_id not in known]
            for port_id in gone:
                self._known.pop(port_id, None)
            self._known.update(known)
        for port_id in known:
            self._taken_back.pop(port_id, None)
        self._taken_back.update(dict.fromkeys(gone))
        while len(self._taken_back) > MAX_TAKEN_BACK:
            del self._taken_back[next(iter(self._taken_back))]
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

    def is_taken_back(self, port_id: str) -> bool:
        """Tell whether the server took a port from the node, and has not given it back since."""
        return port_id in self._taken_back

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
