"""A port's history as people read it: what each step means, and how long after the request it came."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from weft.model import steps
from weft.protocol.port import HistoryStep

TITLES = {
    steps.CREATED: "port created, address allocated",
    steps.SAVED: "saved",
    steps.BOUND: "host bound",
    steps.SENT: "sent to the fabric controller",
    steps.PLUGGED: "device plugged",
    steps.DETECTED: "agent detected the device",
    steps.FLOWS: "flows in place (underlay up)",
    steps.LEAF_FOUND: "leaf interface found",
    steps.CONFIGURED: "VLAN, VNI, VRF, gateway configured (overlay up)",
    steps.STALE_REPORT: "late report of an old epoch ignored",
}

REQUESTS = frozenset({steps.CREATED, steps.BOUND})
"""Steps with which a request begins: later steps are timed from the last of them."""


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A step of a history, and the seconds since the request that it answers."""

    step: HistoryStep
    after_s: float

    @property
    def title(self) -> str:
        """What the step means, in words."""
        return title_of(self.step)


def title_of(step: HistoryStep) -> str:
    """Return what a step means, in words; a step that this version does not know is named as it is."""
    if step.step == steps.STATE:
        return f"{step.before} -> {step.after}" if step.before else step.after
    return TITLES.get(step.step, step.step.replace("_", " "))


def timeline(history: Iterable[HistoryStep]) -> Iterator[TimedStep]:
    """Yield the steps by time, each timed from the last request before it.

    Clocks of nodes and server differ a little, and steps arrive in batches: order is by time, and for equal times as
    given. A port that is created on a node makes one request, not two.
    """
    begun = None
    for step in sorted(history, key=lambda each: each.at):
        if begun is None or (step.step in REQUESTS and step.at - begun > SAME_REQUEST_S):
            begun = step.at
        yield TimedStep(step, step.at - begun)


SAME_REQUEST_S = 0.005
"""Creating and binding that are so close together came in one request."""
