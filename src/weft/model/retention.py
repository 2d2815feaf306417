"""How long the port of a workload outlives its container: what people write, and what it means."""

import re
from enum import StrEnum

import msgspec

from weft.model.errors import Invalid

RELEASE_LABEL = "weft.dev/release"
"""The label of a network that says it for the workloads that do not say it themselves."""

MAX_RETENTION_S = 10 * 365 * 86400
"""The longest time that may be named; longer is for ever."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhd])+")
_PART = re.compile(r"([0-9]+)([smhd])")


class Until(StrEnum):
    """What ends the life of a workload's port after its container is gone."""

    NOW = "now"
    TIME = "time"
    WITH_OBJECT = "with-object"
    """The orchestrator's word that the object is gone that the port is named for, such as a pod."""
    NEVER = "never"
    """Nothing but somebody who deletes the port."""


class Retention(msgspec.Struct, frozen=True):
    """What ends a port's life, and after how long if that is time."""

    until: Until
    hold_s: int = 0

    def __str__(self) -> str:
        return self.until if self.until is not Until.TIME else f"{self.hold_s}s"


NOW, NEVER = Retention(Until.NOW), Retention(Until.NEVER)


def parse_retention(text: str) -> Retention:
    """Read ``now``, ``with-object``, ``never``, or a time such as ``10m`` or ``1h30m``. Raises Invalid."""
    if text in {Until.NOW, Until.WITH_OBJECT, Until.NEVER}:
        return Retention(Until(text))
    if not _DURATION.fullmatch(text):
        message = f"release '{text[:100]}' is none: write now, with-object, never, or a time such as 30s, 10m, 1h30m"
        raise Invalid(message, kind="InvalidReleasePolicy")
    seconds = sum(int(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    if seconds > MAX_RETENTION_S:
        message = f"release '{text[:100]}' is longer than {MAX_RETENTION_S // 86400} days: write never"
        raise Invalid(message, kind="InvalidReleasePolicy")
    return Retention(Until.TIME, seconds) if seconds else NOW
