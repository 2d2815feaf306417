"""Forecasts from samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.ipam.forecast import DAY_S, MAX_SAMPLES, Forecast, Sample, add_sample, forecast

HOUR_S = 3600.0


@given(st.integers(1, 50), st.integers(0, 100), st.integers(3, 60))
def test_a_pool_that_grows_evenly_is_full_when_it_says(per_hour: int, start: int, hours: int) -> None:
    samples = [Sample(HOUR_S * at, start + per_hour * at) for at in range(hours)]
    size = start + per_hour * 1000
    found = forecast(samples, size)
    assert found.full_at == pytest.approx(HOUR_S * 1000)
    assert found.per_day == pytest.approx(24 * per_hour)


def test_a_burst_does_not_move_it() -> None:
    samples = [Sample(HOUR_S * at, at + (500 if at == 20 else 0)) for at in range(48)]
    assert forecast(samples, 1000).per_day == pytest.approx(24, rel=0.05)


def test_what_does_not_grow_is_never_full() -> None:
    assert forecast([Sample(HOUR_S * at, 50 - at) for at in range(10)], 100).full_at is None
    assert forecast([Sample(HOUR_S * at, 50) for at in range(10)], 100) == Forecast(per_day=0.0)


def test_too_little_is_known() -> None:
    assert forecast([], 10) == Forecast()
    assert forecast([Sample(0.0, 1), Sample(1.0, 2), Sample(2.0, 3)], 10) == Forecast()


def test_a_full_pool_is_full_now() -> None:
    assert forecast([Sample(HOUR_S * at, 10) for at in range(5)], 10).full_at == 4 * HOUR_S


def test_samples_are_bounded_and_reach_far_back() -> None:
    samples: tuple[Sample, ...] = ()
    for hour in range(24 * 365):
        samples = add_sample(samples, Sample(HOUR_S * hour, hour))
        assert len(samples) <= MAX_SAMPLES
    assert [each.at for each in samples] == sorted({each.at for each in samples})
    assert samples[-1].at - samples[0].at > 300 * DAY_S
    assert samples[-1].at - samples[-20].at == 19 * HOUR_S
