"""The page that follows a request to its commit names functions that exist."""

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "hot-path.md"
NAMES = sorted(set(re.findall(r"`(weft\.[\w.]+)`", PAGE.read_text())))


def test_the_page_names_the_way() -> None:
    assert len(NAMES) > 20


@pytest.mark.parametrize("name", NAMES)
def test_what_it_names_exists(name: str) -> None:
    parts = name.split(".")
    # Modules are written in lower case; the first part that is none is a class or a function.
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        found = reduce(getattr, parts[length:], module)
        assert callable(found)
        return
    pytest.fail(f"{name} is in no module")
