"""How much the tests try: everything in `make test`, a sample in `make check`, which is run all the time.

The sample is another one on every run, so that what it leaves out is tried in time.
"""

import os
import random
from collections.abc import Iterable
from typing import TypeVar

import pytest
from hypothesis import settings

T = TypeVar("T")

THOROUGH = os.environ.get("WEFT_TESTS") == "thorough"
SAMPLE = 10
"""One of so many cases is in the sample."""

settings.register_profile("thorough", deadline=None)
settings.register_profile("sample", deadline=None, max_examples=12)
settings.load_profile("thorough" if THOROUGH else "sample")


def examples(count: int) -> int:
    """Return how many examples to try where `count` are wanted."""
    return count if THOROUGH else max(8, count // SAMPLE)


def some(cases: Iterable[T]) -> list[T]:
    """Return all cases, or a sample of them in their order."""
    found = list(cases)
    if THOROUGH:
        return found
    chosen = random.sample(range(len(found)), max(1, len(found) // SAMPLE))
    return [found[at] for at in sorted(chosen)]


def now_and_then(runs: int) -> pytest.MarkDecorator:
    """Mark a test that takes seconds, such as one that starts servers: `make check` tries it once in so many runs."""
    skipped = not THOROUGH and random.randrange(runs) != 0
    return pytest.mark.skipif(skipped, reason=f"make test always tries it, make check once in {runs} runs")
