"""When each step of a binding's realization was made, and so the standing that a verdict amounts to. Pure."""

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from weft.agent.ovs.observed import Binding, Device
from weft.agent.ovs.plan import Verdict
from weft.agent.standing import Standing
from weft.model import steps
from weft.model.intent import RealizationState
from weft.protocol.node import StepReport

SWITCH_GRACE_S = 3.0
"""So long may the switch be away before ports that were up are reported pending: ovs-vswitchd restarts in 1.4-2.1 s,
and in the kernel datapath forwarding goes on meanwhile."""


class _Made(NamedTuple):
    """The steps of a binding with one device."""

    device: Device
    detected_at: float
    adopted: bool
    flows_at: float | None = None
    detail: str = ""


class Journal:
    """Remembers when devices were first seen and when steps were made, and turns verdicts into standings.

    A binding whose steps the server has acknowledged to a former agent of this node is *adopted*: it has no steps of
    this agent's time.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._made: dict[Binding, _Made] = {}
        self._standings: dict[Binding, Standing] = {}

    def see(self, devices: Mapping[str, Device], now: float) -> list[Device]:
        """Note devices that are new, forget those that left; return the new ones."""
        new = [device for device in devices.values() if device.interface not in self._seen]
        present = {device.interface for device in devices.values()}
        self._seen = {id_: at for id_, at in self._seen.items() if id_ in present}
        self._seen.update((device.interface, now) for device in new)
        return new

    def detect(self, verdicts: Iterable[Verdict], adopted: Container[Binding], now: float) -> None:
        """Note which bindings have a device, and forget the steps of those that have none or another one."""
        made: dict[Binding, _Made] = {}
        for verdict in verdicts:
            if verdict.device is not None:
                binding = (verdict.port_id, verdict.epoch)
                before = self._made.get(binding)
                same = before is not None and before.device.interface == verdict.device.interface
                made[binding] = (
                    before if before is not None and same else _Made(verdict.device, now, adopted=binding in adopted)
                )
        self._made = made

    def applied(self, verdicts: Iterable[Verdict], refused: Mapping[str, str], now: float) -> list[Standing]:
        """Return the standings after a plan was applied; `refused` says which owners' flows were not accepted."""
        standings: list[Standing] = []
        for verdict in verdicts:
            binding = (verdict.port_id, verdict.epoch)
            reasons = [refused[owner] for owner in verdict.owners if owner in refused]
            state, reason = verdict.state, verdict.reason
            if reasons and state is RealizationState.UP:
                state, reason = RealizationState.FAILED, reasons[0]
            made = self._made.get(binding)
            if state is RealizationState.UP and made is not None and made.flows_at is None:
                self._made[binding] = made._replace(flows_at=now, detail=verdict.detail)
            standings.append(self._standing(binding, state, reason))
        self._standings = {standing.binding: standing for standing in standings}
        return standings

    def failed(self, verdicts: Iterable[Verdict], error: str, failing_for_s: float) -> list[Standing]:
        """Return the standings after a plan could not be applied: what was up stays up for SWITCH_GRACE_S, what would
        be gone stays as it was."""
        standings: list[Standing] = []
        for verdict in verdicts:
            binding = (verdict.port_id, verdict.epoch)
            before = self._standings.get(binding)
            was_up = before is not None and before.state is RealizationState.UP
            state, reason = verdict.state, verdict.reason
            if state is RealizationState.UP and not (was_up and failing_for_s < SWITCH_GRACE_S):
                state, reason = RealizationState.PENDING, error
            elif state is RealizationState.GONE:
                if before is not None:
                    standings.append(before)
                continue
            standings.append(self._standing(binding, state, reason))
        self._standings = {standing.binding: standing for standing in standings}
        return standings

    def _standing(self, binding: Binding, state: RealizationState, reason: str) -> Standing:
        made = self._made.get(binding)
        reports = self._steps(made) if made is not None and not made.adopted else ()
        return Standing(port_id=binding[0], epoch=binding[1], state=state, reason=reason, steps=reports)

    def _steps(self, made: _Made) -> tuple[StepReport, ...]:
        plugged = StepReport(
            step=steps.PLUGGED, at=self._seen.get(made.device.interface, made.detected_at), detail=made.device.name
        )
        detected = StepReport(step=steps.DETECTED, at=made.detected_at)
        if made.flows_at is None:
            return (plugged, detected)
        return (plugged, detected, StepReport(step=steps.FLOWS, at=made.flows_at, detail=made.detail))
