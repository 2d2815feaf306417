"""How values stand in what the command line prints."""

import pytest

from weft.cli.output import cell


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        (True, "yes"),
        (["a", "b"], "a, b"),
        ([{"start": "10.0.0.2", "end": "10.0.0.9"}], "10.0.0.2-10.0.0.9"),
        ({"tier": "web", "zone": ""}, "tier=web, zone="),
        ({}, "-"),
        (17, "17"),
    ],
)
def test_a_value_is_shown_as_one_would_write_it(value: object, shown: str) -> None:
    assert cell(value).plain == shown
