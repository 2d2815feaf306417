"""One switch taken to its desired state: observe, plan, apply, verify. Each can be called alone.

Nothing here knows a port or keeps a schedule: weft.controller.worker does. What always holds: a plan is made from what
was read from the device, and after an apply the device is read again, whatever the apply said.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from weft.fabric.carriage import Element, element_of, first_reason, rests_on
from weft.fabric.config import SwitchConfig
from weft.fabric.gate import foundation, same
from weft.fabric.plan import ChangeGatewayMac, Reasons, Step, SwitchPlan, no_reasons, plan
from weft.model.errors import Permanent, Transient
from weft.model.ids import SwitchName
from weft.switches.driver import Observed, SwitchDriver

T = TypeVar("T")

OBSERVE_TIMEOUT_S = 20.0
"""A switch that has not told its state by then is taken to be unreachable."""

APPLY_TIMEOUT_S = 60.0
"""A switch that has not taken a plan by then is taken to be unreachable; what it took is read when it is back."""

CONFIRM_WITHIN_S = 30.0
"""A switch whose underlay is changed goes back by itself if it is not reached anew within this time."""

RETRY_AFTER_S = 1.0
"""What a Transient made here suggests; the worker keeps its own schedule."""

log = structlog.get_logger()


class Unconfirmed(Transient):
    """A switch was not reached after its underlay was changed; it goes back by itself."""


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """How one reconciliation ended: what is there now, what is still to be done, and what the switch refused."""

    observed: Observed
    left: SwitchPlan
    refused: dict[Element, str] = {}
    """Why, by element. Empty although something is left: the switch took it, and does not show it yet."""


class SwitchReconciler:
    """Reads and writes one switch through its driver. Serial: one call at a time."""

    def __init__(self, switch: SwitchName, connect: Callable[[], SwitchDriver]) -> None:
        self.switch = switch
        self._connect = connect
        self._driver: SwitchDriver | None = None
        self.lost: Callable[[], None] = lambda: None
        """Called when contact with the switch is lost."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the switch tells that something on it changed."""

    async def observe(self) -> Observed:
        """Read the switch. Raises Transient if it can't be reached, Permanent if it can't be understood."""
        return await self._within(OBSERVE_TIMEOUT_S, self._connected().observe())

    def plan(self, observed: Observed, desired: SwitchConfig, why: Reasons = no_reasons) -> SwitchPlan:
        """Return what takes the switch from what was observed to what is desired."""
        return plan(observed.config, desired, why)

    async def apply(self, steps: SwitchPlan, desired: SwitchConfig, observed: Observed) -> None:
        """Make the plan. Raises Transient (try again) or Permanent (a step was refused; those before it are made).

        What changes the foundation has to be confirmed over a new connection: Unconfirmed is raised if that fails, and
        then the switch goes back by itself.
        """
        log.info("plan_applied", switch=self.switch, steps=len(steps.steps), lines=steps.lines())
        driver = self._connected()
        here = foundation(observed.config)
        if here is None or same(here, foundation(desired)):
            await self._within(APPLY_TIMEOUT_S, driver.apply(steps, desired, observed))
            return
        began_s = time.monotonic()
        try:
            changed = driver.apply(steps, desired, observed, confirm_within_s=CONFIRM_WITHIN_S)
            await self._within(CONFIRM_WITHIN_S, changed)
        except Transient as error:
            if await self._is_reached() and time.monotonic() - began_s < CONFIRM_WITHIN_S:
                raise  # it is reached, and has not gone back: it was too early for that
            raise self._unconfirmed(error) from None
        await self._read_back(desired)
        await self.confirm(desired)

    async def _read_back(self, desired: SwitchConfig) -> None:
        """Raise Unconfirmed if the switch is not reached any more, Transient if it does not show its new foundation."""
        try:
            observed = await self.observe()
        except Transient as error:
            raise self._unconfirmed(error) from None
        shown = replace(observed.config, gateway_mac=desired.gateway_mac)  # a MAC address shows with the first gateway
        if not same(foundation(shown), foundation(desired)):
            message = f"switch {self.switch} does not show its new underlay yet, and is not held to it"
            raise Transient(message, retry_after_s=RETRY_AFTER_S)

    async def confirm(self, desired: SwitchConfig) -> None:
        """Have what is on the switch stay there. Raises Unconfirmed if it is not reached, or went back already."""
        deadline_s = time.monotonic() + CONFIRM_WITHIN_S
        while True:
            try:
                await self._within(CONFIRM_WITHIN_S, self._connected().confirm())
            except Transient as error:
                if await self._is_confirmed(desired):
                    return
                if time.monotonic() > deadline_s:
                    raise self._unconfirmed(error) from None
            else:
                return

    async def _is_confirmed(self, desired: SwitchConfig) -> bool:
        """Tell whether only the answer was lost. Raises Unconfirmed if the switch is not reached, or went back."""
        try:
            observed = await self.observe()
        except Transient as error:
            raise self._unconfirmed(error) from None
        stands = same(foundation(observed.config), foundation(desired))
        if observed.facts.is_confirmed and not stands:
            raise self._unconfirmed(Transient("it went back", retry_after_s=RETRY_AFTER_S))
        return observed.facts.is_confirmed

    async def _is_reached(self) -> bool:
        try:
            await self.observe()
        except (Transient, Permanent):
            return False
        return True

    def _unconfirmed(self, error: Transient) -> Unconfirmed:
        return Unconfirmed(
            f"contact was lost by a change of the underlay, which the switch undoes by itself: {error.message}",
            retry_after_s=RETRY_AFTER_S,
        )

    async def verify(self, desired: SwitchConfig, refused: dict[Element, str]) -> Reconciled:
        """Read the switch again and tell what it still lacks."""
        observed = await self.observe()
        return Reconciled(observed=observed, left=self.plan(observed, desired), refused=refused)

    async def reconcile(self, observed: Observed, desired: SwitchConfig, why: Reasons = no_reasons) -> Reconciled:
        """Plan, apply and verify. A refused step does not stop the others: they are then tried one by one."""
        steps = self.plan(observed, desired, why)
        if not observed.facts.is_confirmed and same(foundation(observed.config), foundation(desired)):
            await self.confirm(desired)  # whoever changed it did not come to that
            observed = await self.observe()
        if not steps:
            return Reconciled(observed=observed, left=steps)
        refused: dict[Element, str] = {}
        try:
            await self.apply(steps, desired, observed)
        except Permanent as error:
            log.warning("plan_refused", switch=self.switch, reason=error.message, steps=len(steps.steps))
            refused = await self._one_by_one(desired)
        return await self.verify(desired, refused)

    async def close(self) -> None:
        """Let go of the switch."""
        if self._driver is not None:
            await self._driver.close()

    def _tell_lost(self) -> None:
        self.lost()

    def _tell_changed(self) -> None:
        self.changed()

    def _connected(self) -> SwitchDriver:
        """Return the driver, made when it is first needed: a switch that weft can't speak to fails then, and alone."""
        if self._driver is None:
            self._driver = self._connect()
            self._driver.watch(self._tell_lost, self._tell_changed)
        return self._driver

    async def _one_by_one(self, desired: SwitchConfig) -> dict[Element, str]:
        """Make every step that can be made, each alone; return the elements that were refused, and why.

        The switch is read after each, since a refused step may have left half of itself. Ends, because each round
        makes a step or counts its element as refused.
        """
        refused: dict[Element, str] = {}
        tried: set[Step] = set()
        while True:
            observed = await self.observe()
            step = _next_step(plan(observed.config, desired).steps, observed.config, refused)
            if step is None:
                return refused
            element = element_of(step)
            waiting = rests_on(step, observed.config)
            if waiting:
                refused[element] = first_reason(waiting, refused) or "what it rests on is not there"
            elif step in tried:
                refused[element] = "the switch took it, but does not show it"
            else:
                tried.add(step)
                single = SwitchPlan(switch=self.switch, steps=(step,), reasons=("",))
                target = replace(step.made(observed.config), gateway_mac=desired.gateway_mac)
                try:
                    await self.apply(single, target, observed)
                except Permanent as error:
                    refused[element] = error.message

    async def _within(self, limit_s: float, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(limit_s):
                return await call
        except TimeoutError:
            message = f"switch {self.switch} gave no answer within {limit_s:g} s"
            raise Transient(message, retry_after_s=RETRY_AFTER_S) from None
        except OSError as error:
            message = f"switch {self.switch} cannot be reached: {error}"
            raise Transient(message, retry_after_s=RETRY_AFTER_S) from error


def _next_step(steps: tuple[Step, ...], config: SwitchConfig, refused: dict[Element, str]) -> Step | None:
    """Return the first step that was not refused. The MAC address of gateways that are not there yet is no step: the
    segments will bring it."""
    gateways = any(segment.gateways for segment in config.segments)
    for step in steps:
        if element_of(step) not in refused and (gateways or not isinstance(step, ChangeGatewayMac)):
            return step
    return None
