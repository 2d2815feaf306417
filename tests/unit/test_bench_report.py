"""The bench's arithmetic."""

import pytest
from bench.report import Figure, percentile


@pytest.mark.parametrize(("share", "value"), [(0.5, 25), (0.99, 50), (1.0, 50), (0.0, 1)])
def test_percentiles_are_measured_values(share: float, value: float) -> None:
    assert percentile(list(range(50, 0, -1)), share) == value


def test_a_target_is_a_bound() -> None:
    assert Figure("down", 5.0, "s", 3, at_most=5.0).reached
    assert not Figure("down", 5.1, "s", 3, at_most=5.0).reached
    assert Figure("down", 5.1, "s", 3).reached
