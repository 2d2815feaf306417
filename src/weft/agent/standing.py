"""How far each binding is on this node, and which part of that the server does not know yet."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from weft.agent.ovs.observed import Binding
from weft.model.intent import RealizationState
from weft.protocol.node import RealizationReport, StepReport

DEVICE_GRACE_S = 3.0
"""A binding whose device has never been seen is reported pending only after this time."""

WIRING_GRACE_S = 0.3
"""So is one whose device has come and is being wired. Usually it is up at once: its report then carries all steps
with their times, while a report in between would have to be answered first."""

MAX_REPORTS_PER_POST = 256


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far one binding is. `steps` are those made so far, each with its own time."""

    port_id: str
    epoch: int
    state: RealizationState
    reason: str = ""
    steps: tuple[StepReport, ...] = ()

    @property
    def binding(self) -> Binding:
        """The port's id and the epoch."""
        return (self.port_id, self.epoch)


class _Told(msgspec.Struct, frozen=True):
    state: RealizationState
    reason: str
    steps: frozenset[tuple[str, float]]


class Outbox:
    """What the server has to be told: present standings minus what it has acknowledged.

    Nothing is queued: only the latest standing of a binding exists, so the outbox is never larger than the node's
    ports, and what could not be sent is simply still due. Pure: `now` is a parameter.
    """

    def __init__(self) -> None:
        self._standings: dict[Binding, Standing] = {}
        self._since: dict[Binding, tuple[bool, float]] = {}
        self._told: dict[Binding, _Told] = {}

    def update(self, standings: Iterable[Standing], now: float) -> None:
        """Replace all standings."""
        self._standings = {standing.binding: standing for standing in standings}
        self._since = {
            binding: self._still(binding, bool(standing.steps), now) for binding, standing in self._standings.items()
        }
        self._told = {binding: told for binding, told in self._told.items() if binding in self._standings}

    def due(self, now: float) -> tuple[RealizationReport, ...]:
        """Return the reports to send now, at most MAX_REPORTS_PER_POST."""
        due: list[RealizationReport] = []
        for binding, standing in self._standings.items():
            if self._due_at(binding, standing) <= now:
                due.append(self._report(standing))
                if len(due) == MAX_REPORTS_PER_POST:
                    break
        return tuple(due)

    def next_due_at(self) -> float | None:
        """Return when there will be something to send; None: not by the passing of time alone."""
        times = [self._due_at(binding, standing) for binding, standing in self._standings.items()]
        return min((time for time in times if time != _NEVER), default=None)

    def acknowledge(self, reports: Sequence[RealizationReport]) -> None:
        """Note that the server has stored these, or ignored them for good."""
        for report in reports:
            binding = (report.port_id, report.epoch)
            if binding in self._standings:
                before = self._told.get(binding)
                steps = (before.steps if before else frozenset()) | {(step.step, step.at) for step in report.steps}
                self._told[binding] = _Told(report.state, report.reason, steps)

    def told(self) -> Mapping[Binding, RealizationState]:
        """Return what the server knows of each binding."""
        return {binding: told.state for binding, told in self._told.items()}

    def _still(self, binding: Binding, has_steps: bool, now: float) -> tuple[bool, float]:
        before = self._since.get(binding)
        return before if before is not None and before[0] == has_steps else (has_steps, now)

    def _due_at(self, binding: Binding, standing: Standing) -> float:
        told = self._told.get(binding)
        if told is None:
            if standing.state is not RealizationState.PENDING:
                return 0.0
            has_steps, since = self._since[binding]
            return since + (WIRING_GRACE_S if has_steps else DEVICE_GRACE_S)
        news = (standing.state, standing.reason) != (told.state, told.reason)
        return 0.0 if news or any((step.step, step.at) not in told.steps for step in standing.steps) else _NEVER

    def _report(self, standing: Standing) -> RealizationReport:
        told = self._told.get(standing.binding)
        known = told.steps if told else frozenset()
        return RealizationReport(
            port_id=standing.port_id,
            epoch=standing.epoch,
            state=standing.state,
            reason=standing.reason,
            steps=tuple(step for step in standing.steps if (step.step, step.at) not in known),
        )


_NEVER = float("inf")
