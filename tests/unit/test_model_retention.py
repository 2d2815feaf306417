"""Release policies as people write them."""

import pytest

from weft.model.errors import Invalid
from weft.model.retention import MAX_RETENTION_S, NEVER, NOW, Retention, Until, parse_retention


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", NOW),
        ("never", NEVER),
        ("with-object", Retention(Until.WITH_OBJECT)),
        ("30s", Retention(Until.TIME, 30)),
        ("10m", Retention(Until.TIME, 600)),
        ("1h30m", Retention(Until.TIME, 5400)),
        ("7d", Retention(Until.TIME, 7 * 86400)),
        ("0s", NOW),
    ],
)
def test_a_policy_is_read_and_written(text: str, meant: Retention) -> None:
    assert parse_retention(text) == meant
    assert parse_retention(str(meant)) == meant


@pytest.mark.parametrize(
    "text", ["", "soon", "10", "m", "10 m", "-1s", "10M", "1.5h", "now ", "time", "\u0661s", "9" * 500]
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is none: write now, with-object, never, or a time such as"):
        parse_retention(text)


def test_what_lasts_too_long_is_for_ever() -> None:
    assert parse_retention(f"{MAX_RETENTION_S}s").hold_s == MAX_RETENTION_S
    with pytest.raises(Invalid, match="longer than 3650 days: write never"):
        parse_retention(f"{MAX_RETENTION_S}s1s")
