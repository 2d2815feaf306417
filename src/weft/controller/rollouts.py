"""Roll-outs: begun when somebody asks, gone through switch by switch, each verified or rolled back.

All that a roll-out has done stands in its row: whoever leads next goes on where it stands. A switch is verified when it
has the foundation that was approved, and its sessions with all peers that agree on them are established. One that is
not within the time is given its former foundation back, and no other is begun.
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from weft.controller.clock import Clock, woken_or_after
from weft.controller.gatekeeper import Gatekeeper, put_approval
from weft.controller.worker import SwitchWorker
from weft.fabric.config import SwitchConfig
from weft.fabric.gate import Approval, foundation, same
from weft.fabric.intent_index import FabricIntent
from weft.fabric.risk import Finding
from weft.fabric.rollout import Order, Rollout, RolloutState, Target, TargetState, stepped, to_begin
from weft.fabric.verification import missing
from weft.model.errors import Conflict, Transient
from weft.model.ids import SwitchName
from weft.store import Kind, Store, Transaction

LOOK_EVERY_S = 0.5
"""A switch that was changed is looked at this often until it is verified."""
RETRY_S = 1.0
"""Pause after a step could not be written."""
MAX_MISSING_TOLD = 5
"""A note names at most this much of what a switch does not show."""
ROLLOUTS_KEPT = 100
"""Roll-outs that have ended and are remembered."""

Change = tuple[SwitchConfig, SwitchConfig]
"""What a switch is, and what it shall be."""

log = structlog.get_logger()


def ordered(
    order: Order, change: Mapping[SwitchName, Change], beyond: Sequence[Finding], intent: FabricIntent, now: float
) -> Rollout:
    """Return the roll-out that an order makes, the switch with the fewest ports first. Raises Conflict if bounds or
    an empty change forbid it."""
    if not change:
        raise Conflict("nothing waits to be applied; `weft fabric plan` shows what would change", kind="NothingToApply")
    if beyond and not order.override:
        told = "\n".join(f"  {finding.bound.value}: {finding.text}" for finding in beyond)
        raise Conflict(
            f"the plan goes beyond its bounds:\n{told}\nchange it, apply it to fewer switches, or override",
            kind="PlanRefused",
        )
    canary_first = sorted(change, key=lambda name: (intent.ports_on(name), name))
    safety = intent.topology.safety(canary_first[0])
    return Rollout(
        id=order.id,
        by=order.by,
        reason=order.reason,
        asked_at=now,
        targets=tuple(_target(name, change[name], now) for name in canary_first),
        at_once=safety.at_once,
        verify_s=float(safety.verify_s),
        findings=tuple(f"{finding.bound.value}: {finding.text}" for finding in beyond),
    )


def _target(switch: SwitchName, change: Change, now: float) -> Target:
    before, after = change
    return Target(switch=switch, ground=foundation(after), before=foundation(before), since=now)


class Rollouts:
    """The roll-outs of a fabric; `run` them. At most one runs at a time."""

    def __init__(
        self, store: Store, gate: Gatekeeper, workers: Mapping[SwitchName, SwitchWorker], clock: Clock
    ) -> None:
        self._store = store
        self._gate = gate
        self._workers = workers
        self._clock = clock
        self._rows: dict[str, Rollout] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        """Set while nothing is to be done: none runs, or it is not yet time to look again."""
        self._idle.set()

    def take(self, rows: Mapping[str, Rollout | None]) -> None:
        """Take the present rows."""
        for id_, row in rows.items():
            if row is not None:
                self._rows[id_] = row
            else:
                self._rows.pop(id_, None)
        if self.running is not None:
            self._idle.clear()
            self._wake.set()

    @property
    def running(self) -> Rollout | None:
        """The roll-out that runs."""
        return next((row for row in self._rows.values() if row.state is RolloutState.RUNNING), None)

    @property
    def is_idle(self) -> bool:
        """Whether none runs, or the one that runs waits until it looks again."""
        return self._idle.is_set()

    async def idle(self) -> None:
        """Return when none runs, or the one that runs waits until it looks again."""
        await self._idle.wait()

    async def begin(self, rollout: Rollout) -> None:
        """Write a roll-out, and begin it. Raises Conflict if another one runs."""

        def work(tx: Transaction) -> None:
            rows = tx.records(Kind.ROLLOUT, Rollout)
            if any(row.state is RolloutState.RUNNING for row in rows):
                message = "another roll-out is running; wait until it has ended (`weft fabric rollouts`)"
                raise Conflict(message, kind="RolloutRunning")
            for row in sorted(rows, key=lambda row: row.asked_at)[: max(0, len(rows) + 1 - ROLLOUTS_KEPT)]:
                tx.delete_record(Kind.ROLLOUT, row.id)
            tx.put_record(Kind.ROLLOUT, rollout.id, rollout)

        await self._store.transact(work)
        log.warning(
            "rollout_begun",
            rollout=rollout.id,
            by=rollout.by,
            reason=rollout.reason,
            switches=[target.switch for target in rollout.targets],
            overridden=list(rollout.findings),
        )
        self.take({rollout.id: rollout})

    async def run(self) -> None:
        """Go through them, until cancelled."""
        while True:
            running = self.running
            if running is None:
                self._idle.set()
                await self._wake.wait()
                self._wake.clear()
                continue
            try:
                after = await self._advance(running)
            except Transient as error:
                log.warning("rollout_delayed", rollout=running.id, error=error.message)
                await self._rest(RETRY_S)
            except Exception:
                log.exception("rollout_step_failed", rollout=running.id)
                await self._rest(RETRY_S)
            else:
                if after == running:
                    await self._rest(LOOK_EVERY_S)

    async def _rest(self, pause_s: float) -> None:
        self._wake.clear()
        self._idle.set()
        await woken_or_after(self._wake, pause_s, self._clock)
        self._idle.clear()

    async def _advance(self, rollout: Rollout) -> Rollout:
        """Take every step that can be taken now; return the roll-out as it stands then."""
        for target in to_begin(rollout):
            approval = Approval(
                switch=target.switch,
                ground=target.ground,
                unbounded=True,
                by=rollout.by,
                reason=rollout.reason,
                at=self._clock.now(),
            )
            rollout = await self._step(rollout, target, TargetState.CHANGING, approval)
        for target in rollout.targets:
            if target.state is TargetState.CHANGING:
                rollout = await self._look(rollout, target)
        return rollout

    async def _look(self, rollout: Rollout, target: Target) -> Rollout:
        """Look whether a switch is verified, or is to be rolled back."""
        lacks = self._missing(target)
        approval = self._gate.approval(target.switch)
        if not lacks and approval is not None:
            return await self._step(rollout, target, TargetState.VERIFIED, self._gate.bounded(approval))
        worker = self._workers.get(target.switch)
        lost = worker.lost_by(approval) if worker is not None else ""
        lacks = lost or lacks
        if self._clock.now() - target.since < rollout.verify_s and not lost:
            if worker is not None and worker.is_idle:
                worker.kick()
            return rollout
        note = f"rolled back: {lacks}"
        former = Approval(
            switch=target.switch,
            ground=target.before,
            rolled_back=True,
            reason=f"the roll-out failed here, and was {note}",
            by=rollout.by,
            at=self._clock.now(),
        )
        return await self._step(rollout, target, TargetState.ROLLED_BACK, former, note)

    def _missing(self, target: Target) -> str:
        """Return what a switch still lacks to be verified; empty if nothing."""
        worker = self._workers.get(target.switch)
        if worker is None:
            return "the switch is not in the inventory any more"
        if worker.observed is None or worker.carried is None:
            return worker.trouble or "it was not read since it was changed"
        if worker.refused:
            return "it refused " + ", ".join(worker.refused.values())
        if worker.done_for is None or worker.done_for[1] != self._gate.approval(target.switch):
            return "it was not changed yet"
        if not same(foundation(worker.observed.config), target.ground):
            return "it does not have the foundation that was approved"
        read = {name: each.observed.config for name, each in self._workers.items() if each.observed is not None}
        return "; ".join(missing(target.switch, read, worker.observed.facts)[:MAX_MISSING_TOLD])

    async def _step(
        self, rollout: Rollout, target: Target, state: TargetState, approval: Approval, note: str = ""
    ) -> Rollout:
        """Write a step, with what it approves."""
        after = stepped(rollout, target.switch, state, self._clock.now(), note)

        def work(tx: Transaction) -> None:
            put_approval(tx, approval)
            tx.put_record(Kind.ROLLOUT, after.id, after)

        await self._store.transact(work)
        log.info("rollout_step", rollout=rollout.id, switch=target.switch, state=state.value, note=note)
        self._rows[after.id] = after
        self._gate.take({target.switch: approval})
        if (worker := self._workers.get(target.switch)) is not None:
            worker.wake()
        return after
