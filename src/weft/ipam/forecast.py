"""When a pool will be full, from samples of how many of its addresses were in use.

The slope is the median of the slopes between all pairs of samples (Theil-Sen): a burst or a night's test run does not
move it, and no distribution is assumed.
"""

from collections.abc import Sequence
from statistics import median

import msgspec

MAX_SAMPLES = 96
MIN_SAMPLES = 3
MIN_SPAN_S = 3600.0
"""With less history than this there is no forecast."""
DAY_S = 86400.0


class Sample(msgspec.Struct, frozen=True):
    """How many addresses were in use at a time (Unix seconds)."""

    at: float
    used: int


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """How a pool fills. `full_at` is None if it does not fill, or too little is known."""

    per_day: float | None = None
    full_at: float | None = None


def add_sample(samples: Sequence[Sample], new: Sample) -> tuple[Sample, ...]:
    """Return samples with one more, thinned: the older half loses every second one when there are too many."""
    kept = [*samples, new]
    if len(kept) <= MAX_SAMPLES:
        return tuple(kept)
    half = len(kept) // 2
    return tuple(kept[:half:2] + kept[half:])


def forecast(samples: Sequence[Sample], size: int) -> Forecast:
    """Return when `size` addresses will be in use."""
    if len(samples) < MIN_SAMPLES or samples[-1].at - samples[0].at < MIN_SPAN_S:
        return Forecast()
    last = samples[-1]
    slopes = [
        (after.used - before.used) / (after.at - before.at)
        for at, after in enumerate(samples)
        for before in samples[:at]
        if after.at > before.at
    ]
    per_s = median(slopes)
    if last.used >= size:
        return Forecast(per_day=per_s * DAY_S, full_at=last.at)
    if per_s <= 0:
        return Forecast(per_day=per_s * DAY_S)
    return Forecast(per_day=per_s * DAY_S, full_at=last.at + (size - last.used) / per_s)
