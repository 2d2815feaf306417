"""A port's history as people read it: what each step means, and how long after the request it came."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from weft.model import steps
from weft.protocol.port import HistoryStep

TITLES = {
    steps.CREATED: "port created, address allocated",
    steps.NETWORK_CHOSEN: "network chosen by labels",
    steps.SAVED: "saved",
    steps.BOUND: "host bound",
    steps.CLAIMED: "claimed for a container",
    steps.SENT: "sent to the fabric controller",
    steps.PLUGGED: "device plugged",
    steps.DETECTED: "agent detected the device",
    steps.FLOWS: "flows in place (underlay up)",
    steps.LEAF_FOUND: "leaf interface found",
    steps.CONFIGURED: "VLAN, VNI, VRF, gateway configured (overlay up)",
    steps.STALE_REPORT: "late report of an old epoch ignored",
}

CREATION = 0
"""The epoch of what is done before a port is first bound."""

SAME_REQUEST_S = 0.05
"""Creating and binding that are so close together are one request."""


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A step of a history, and the seconds since the request that it answers: less than 0 if it came before it."""

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
    """Yield the steps by time, each timed from the request that it answers: that of its epoch, else the creation.

    A device may be plugged in before its port is bound to the node, as in a live migration. Creating and binding that
    are close together came in one request.
    """
    steps_by_time = sorted(history, key=lambda step: step.at)
    begun: dict[int, float] = {}
    for step in steps_by_time:
        if step.step == steps.BOUND:
            created = begun.get(CREATION, step.at - 2 * SAME_REQUEST_S)
            begun[step.epoch] = created if step.at - created <= SAME_REQUEST_S else step.at
        elif step.step == steps.CREATED:
            begun[CREATION] = step.at
    for step in steps_by_time:
        request_at = begun.get(step.epoch, begun.get(CREATION, steps_by_time[0].at))
        yield TimedStep(step, step.at - request_at)
