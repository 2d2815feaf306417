"""Stuck ports: those that have been in a state for longer than it may last are shown, and what holds them is retried.

A port is marked once per stay in a state, in its history and in the log, also over restarts; and as long as it is
stuck for want of the fabric, the leaves of its node are looked at again.
"""

from collections.abc import Callable
from functools import partial

import structlog

from weft.controller.clock import Clock, SystemClock
from weft.model import steps
from weft.model.ids import NodeName
from weft.model.intent import HistoryEntry, RealizationState, Realizer
from weft.ports.lifecycle import Lifecycle, stuck_since
from weft.ports.machine import STUCK_AFTER_S
from weft.store import PortView, Snapshot, Store, Transaction

SWEEP_S = 10.0
"""How often stuck ports are looked for."""

MAX_MARKED_AT_ONCE = 200
"""Ports that one sweep marks; the next sweep marks more. The writer is shared."""

log = structlog.get_logger()


class StuckPorts:
    """Looks for stuck ports. `look_again` has the fabric look at the leaves of a node."""

    def __init__(self, store: Store, look_again: Callable[[NodeName], None], *, clock: Clock | None = None) -> None:
        self._store = store
        self._look_again = look_again
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Sweep every SWEEP_S, until cancelled."""
        while True:
            await self._clock.sleep(SWEEP_S)
            try:
                await self.sweep()
            except Exception:
                # The next sweep begins anew: it needs nothing of this one.
                log.exception("stuck_sweep_failed")

    async def sweep(self) -> list[PortView]:
        """Look once: mark the ports that are newly stuck, have the fabric look again, return all that are stuck."""
        stuck = await self._store.read(partial(_stuck, now=self._clock.now()))
        if stuck:
            for view in await self._store.transact(partial(_mark, stuck=stuck, now=self._clock.now())):
                log.warning("port_stuck", port=view.port.id, state=view.life.state, waits_for=_waits_for(view.life))
        for node in dict.fromkeys(_node_of_missing_fabric(view.life) for view in stuck):
            if node is not None:
                self._look_again(node)
        return stuck


def _stuck(snapshot: Snapshot, now: float) -> list[PortView]:
    counts = snapshot.state_counts()
    states = [state for state in STUCK_AFTER_S if counts.get(state)]
    views = (view for state in states for view in snapshot.ports(state=state))
    return [view for view in views if stuck_since(view.life, now) is not None]


def _mark(tx: Transaction, stuck: list[PortView], now: float) -> list[PortView]:
    """Write into history what is not written there yet; return those ports."""
    marked: list[PortView] = []
    for seen in stuck:
        view = tx.port(seen.port.id)
        if view is None or stuck_since(view.life, now) is None or len(marked) == MAX_MARKED_AT_ONCE:
            continue
        if any(entry.step == steps.STUCK and entry.at > view.life.since for entry in tx.history(view.port.id)):
            continue
        detail = f"{view.life.state} for {now - view.life.since:.0f} s, waits for {_waits_for(view.life)}"
        tx.add_history(
            HistoryEntry(
                port_id=view.port.id,
                at=now,
                actor="controller",
                step=steps.STUCK,
                epoch=view.life.epoch,
                detail=detail,
            )
        )
        tx.note_port(view)
        marked.append(view)
    return marked


def _waits_for(life: Lifecycle) -> str:
    """Return the realizers that are not up, with what they say."""
    if life.current is None:
        return "nothing"
    realized = life.realized(life.epoch)
    missing = []
    for realizer in sorted(life.current.owed):
        said = realized.get(realizer)
        if said is None or said.state is not RealizationState.UP:
            reason = f" ({said.reason})" if said is not None and said.reason else ""
            missing.append(f"{realizer}{reason}")
    return ", ".join(missing) or "nothing"


def _node_of_missing_fabric(life: Lifecycle) -> NodeName | None:
    if life.current is None or Realizer.FABRIC not in life.current.owed:
        return None
    said = life.realized(life.epoch).get(Realizer.FABRIC)
    return None if said is not None and said.state is RealizationState.UP else life.current.node
