"""One switch, kept as it shall be: when to look at it, when to try again, and what is known of it.

A worker is woken by changes, never polls for them, and looks at its switch anew every RESYNC_S in any case. Changes
that come while it works are taken together in its next round. What it trusts to be on the switch is what it last read
there; after any failure it trusts nothing and reads first.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, cast

import structlog

from weft.controller.clock import Clock, woken_or_after
from weft.controller.switch import Reconciled, SwitchReconciler, Unconfirmed
from weft.fabric.carriage import Carried, Element, element_of, named
from weft.fabric.config import SwitchConfig
from weft.fabric.gate import Admitted, Approval, Foundation, Hold
from weft.fabric.plan import Reasons, plan
from weft.model.errors import Permanent, Transient
from weft.model.ids import SwitchName
from weft.model.inventory import DriftPolicy
from weft.store.views import SwitchState, SwitchStatus
from weft.switches.driver import Observed

RESYNC_S = 60.0
"""A switch is looked at again after this time although nothing changed: drift is seen, what it refused is retried."""

BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 4.0, 8.0, 15.0)
"""Pauses between attempts at a switch that fails in passing; the last one repeats. A reboot is met within 2 s, a switch
that is gone for long costs little."""

CHANGE_RETRY_S = 1.0
"""During a pause a change is tried at once, but not within this time of the last failure."""

GATHER_S = 1.0
"""What a switch tells of changes on it is gathered for this long: much of it is what weft itself does there."""

MAX_DIFFERENCES_TOLD = 3
"""A status names at most this many lines that differ."""

log = structlog.get_logger()


class Surroundings(Protocol):
    """What a worker asks and tells; weft.controller.fabric is it."""

    def desired(self, switch: SwitchName) -> SwitchConfig:
        """Return what the switch shall be now."""

    def approval(self, switch: SwitchName) -> Approval | None:
        """Return what was approved for the switch last."""

    def admitted(self, observed: SwitchConfig, desired: SwitchConfig, kept: Collection[Element]) -> Admitted:
        """Return what the switch may be made now; `kept` are the elements that drifted and stay."""

    async def approve(self, switch: SwitchName, ground: Foundation) -> None:
        """Note durably that the switch may have a foundation. Raises Transient."""

    def drift_policy(self, switch: SwitchName) -> DriftPolicy:
        """Return what becomes of what somebody changed on the switch by hand."""

    def reasons(self, switch: SwitchName) -> Reasons:
        """Return what tells why a step is to be made."""

    def compared(self, switch: SwitchName, before: Carried | None) -> None:
        """Hear that the switch was found otherwise than it was left, `before` (None: never looked at before)."""

    def looked_at(self, switch: SwitchName) -> None:
        """Hear that more, or less, is known of the switch than before."""

    def stands(self, switch: SwitchName, state: SwitchState, reason: str, kept: Collection[Element] = ()) -> None:
        """Hear how the switch stands to what it shall be, and which elements drifted and are kept."""


class SwitchWorker:
    """The task that keeps one switch. `run` it; `wake` it when something changed, `kick` it to look at the device."""

    def __init__(
        self, reconciler: SwitchReconciler, around: Surroundings, clock: Clock, io_slots: asyncio.Semaphore
    ) -> None:
        self.switch = reconciler.switch
        self.carried: Carried | None = None
        """What is known to be on the switch; None while nothing is."""
        self.refused: Mapping[Element, str] = {}
        """What the switch refused in the last round, and why."""
        self.trouble = ""
        """Why nothing is known of the switch; empty, too, before it was looked at."""
        self.hopeless = False
        """Whether that trouble is one that waiting does not end."""
        self.observed: Observed | None = None
        """What was last read from the switch, however long ago."""
        self.kept: frozenset[Element] = frozenset()
        """Elements that drifted, and are left as somebody made them."""
        self.done_for: tuple[SwitchConfig, Approval | None] | None = None
        """What the switch was last brought to, as far as it was admitted, and what was approved then; None while
        that is not known."""
        self._unconfirmed: tuple[Approval | None, str] | None = None
        """What was approved when contact was lost by a change of the underlay, and how; that is not tried again."""
        self._reconciler = reconciler
        reconciler.lost = self.kick  # it may have restarted, or be gone
        reconciler.changed = self._look_soon
        self._around = around
        self._clock = clock
        self._io_slots = io_slots
        self._left_as: Carried | None = None
        self._kept_since = 0.0
        self._half_applied = False
        self._failures = 0
        self._resync_at = 0.0
        self._looking_soon: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._kicked = asyncio.Event()
        self._idle = asyncio.Event()
        self._pausing = False

    def wake(self) -> None:
        """Have the switch brought to what it shall be now."""
        if not self._pausing:
            self._idle.clear()
        self._wake.set()

    def kick(self) -> None:
        """Have the switch looked at now, even if nothing changed, even during a pause."""
        self._kicked.set()
        self._idle.clear()
        self._wake.set()

    def _look_soon(self) -> None:
        """Have the switch looked at once GATHER_S is over: something changed there."""

        async def look() -> None:
            await self._clock.sleep(GATHER_S)
            self._looking_soon = None
            self.kick()

        if self._looking_soon is None:
            self._looking_soon = asyncio.create_task(look(), name=f"fabric-look-{self.switch}")

    @property
    def is_idle(self) -> bool:
        """Whether the worker waits: for a change, or for its next attempt."""
        return self._idle.is_set()

    async def idle(self) -> None:
        """Return when the worker waits: for a change, or for its next attempt."""
        await self._idle.wait()

    def lost_by(self, approval: Approval | None) -> str:
        """Return how contact was lost by what was approved; empty if it was not."""
        return self._unconfirmed[1] if self._unconfirmed is not None and self._unconfirmed[0] == approval else ""

    def remember(self, status: SwitchStatus) -> None:
        """Take over what was known of drift before this worker began."""
        self.kept = frozenset(cast("tuple[Element, ...]", status.kept))
        self._kept_since = status.since

    async def run(self) -> None:
        """Keep the switch, until cancelled."""
        try:
            while True:
                kicked = self._kicked.is_set()
                self._wake.clear()
                self._kicked.clear()
                pause_s = await self._round(look=kicked)
                await self._rest(pause_s)
        finally:
            if self._looking_soon is not None:
                self._looking_soon.cancel()
            await self._reconciler.close()

    async def _rest(self, pause_s: float) -> None:
        """Wait for a change or until `pause_s` is over; after a failure, for no change within CHANGE_RETRY_S."""
        if self._failures:
            first_s = min(pause_s, CHANGE_RETRY_S)
            self._pausing = True
            self._idle.set()
            await woken_or_after(self._kicked, first_s, self._clock)
            self._pausing = False
            pause_s -= first_s
        if pause_s > 0 and not self._wake.is_set():
            self._idle.set()
            await woken_or_after(self._wake, pause_s, self._clock)
        self._idle.clear()

    async def _round(self, *, look: bool) -> float:
        """Bring the switch to what it shall be, if it is not known to be that. Return how long to rest, in seconds."""
        fresh = look or self.carried is None or self._clock.now() >= self._resync_at
        try:
            desired, approval = self._around.desired(self.switch), self._around.approval(self.switch)
            if not fresh and (desired, approval) == self.done_for:
                return self._until_resync()
            self._heed(approval)
            aim = (desired, approval)
            async with self._io_slots:
                if fresh or self.observed is None:
                    self.observed = await self._reconciler.observe()
                    self._compare(self.observed, desired)
                self._not_twice(approval)
                admitted = self._around.admitted(self.observed.config, desired, self.kept)
                if admitted.approves is not None:
                    await self._around.approve(self.switch, admitted.approves)
                    aim = (desired, self._around.approval(self.switch))
                ended = await self._reconcile(self.observed, admitted.config)
        except Unconfirmed as error:
            self._unconfirmed = (self._around.approval(self.switch), error.message)
            return self._failed(SwitchState.UNREACHABLE, error.message)
        except Transient as error:
            return self._failed(SwitchState.UNREACHABLE, error.message)
        except Permanent as error:
            return self._failed(SwitchState.FAILED, error.message, hopeless=True)
        except Exception as error:
            log.exception("switch_round_failed", switch=self.switch)
            return self._failed(SwitchState.FAILED, f"unexpected: {error!r}")
        return self._ended(ended, admitted, aim)

    def _not_twice(self, approval: Approval | None) -> None:
        """Raise Transient if what is approved has cut contact before."""
        if lost := self.lost_by(approval):
            raise Transient(lost, retry_after_s=RESYNC_S)

    def _heed(self, approval: Approval | None) -> None:
        """Keep drift no longer that a human has decided on since it was found."""
        if approval is not None and approval.at >= self._kept_since:
            self.kept = frozenset()

    async def _reconcile(self, observed: Observed, config: SwitchConfig) -> Reconciled:
        self._half_applied = True
        why = self._around.reasons(self.switch)
        return await self._reconciler.reconcile(observed, config, why)

    def _compare(self, observed: Observed, desired: SwitchConfig) -> None:
        """Tell what was found on a switch that was looked at afresh, if it is not as it was left."""
        before, self.carried = self._left_as, Carried(observed.config)
        self._resync_at = self._clock.now() + RESYNC_S
        if before is not None and before.config == observed.config:
            return
        if before is not None and not self._half_applied:
            drift = observed.drift or plan(before.config, observed.config).lines()
            policy = self._around.drift_policy(self.switch)
            log.warning("drift_found", switch=self.switch, lines=drift, policy=policy.value)
            if policy is not DriftPolicy.REPAIR and observed.config.underlay is not None:  # else it was replaced
                self.kept |= {element_of(step) for step in plan(before.config, observed.config).steps}
                self._kept_since = self._clock.now()
            self._around.stands(self.switch, SwitchState.DRIFTED, f"changed by hand: {_some(drift)}", self.kept)
        elif differs := plan(observed.config, desired):
            self._around.stands(
                self.switch, SwitchState.PENDING, f"to be configured: {_some(differs.lines())}", self.kept
            )
        self._around.compared(self.switch, before)

    def _ended(self, ended: Reconciled, admitted: Admitted, aim: tuple[SwitchConfig, Approval | None]) -> float:
        self.observed = ended.observed
        self.carried = self._left_as = Carried(ended.observed.config)
        self.refused = ended.refused
        self.hopeless = self._half_applied = False
        self._unconfirmed = None
        self.trouble = ""
        self.done_for = None if ended.left and not ended.refused else aim
        self._failures = self._failures + 1 if self.done_for is None else 0
        self._tell_how_it_stands(ended, admitted)
        self._around.looked_at(self.switch)
        return self._backoff() if self._failures else self._until_resync()

    def _tell_how_it_stands(self, ended: Reconciled, admitted: Admitted) -> None:
        if not ended.left:
            if not any(held.hold in {Hold.DRIFT, Hold.ESCALATED} for held in admitted.held):
                self.kept = frozenset()
            reason = "; ".join(held.reason for held in admitted.held)
            self._around.stands(self.switch, _state_of(admitted), reason, self.kept)
        elif ended.refused:
            reasons = [f"{named(element)}: {reason}" for element, reason in ended.refused.items()]
            self._around.stands(self.switch, SwitchState.FAILED, f"refused: {_some(reasons)}", self.kept)
        else:
            lines = ended.left.lines()
            log.warning("switch_differs", switch=self.switch, lines=lines, attempt=self._failures)
            reason = f"not shown by the switch yet: {_some(lines)}"
            self._around.stands(self.switch, SwitchState.PENDING, reason, self.kept)

    def _failed(self, state: SwitchState, reason: str, *, hopeless: bool = False) -> float:
        """Trust nothing, and try again later; a switch that refuses to be looked at, at the next resync."""
        self._failures += 1
        log.warning("switch_failed", switch=self.switch, state=state, reason=reason, attempt=self._failures)
        self.carried = self.done_for = None
        self.refused = {}
        self.trouble, self.hopeless = reason, hopeless
        self._around.stands(self.switch, state, reason, self.kept)
        self._around.looked_at(self.switch)
        return RESYNC_S if hopeless else self._backoff()

    def _backoff(self) -> float:
        return BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1]

    def _until_resync(self) -> float:
        return max(self._resync_at - self._clock.now(), 0.0)


def _state_of(admitted: Admitted) -> SwitchState:
    """Return the state of a switch that has all that was admitted."""
    holds = {held.hold for held in admitted.held}
    if holds & {Hold.ROLLED_BACK, Hold.ESCALATED}:
        return SwitchState.QUARANTINED
    if Hold.DRIFT in holds:
        return SwitchState.DRIFTED
    return SwitchState.PENDING if holds else SwitchState.IN_SYNC


def _some(lines: Sequence[str]) -> str:
    shown = lines[:MAX_DIFFERENCES_TOLD]
    rest = f" and {len(lines) - len(shown)} more" if len(lines) > len(shown) else ""
    return "; ".join(shown) + rest
