"""Garbage collection around a load of very many objects that stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

FROZEN_FROM = 100_000
"""Objects that a load must have left for them to be worth freezing; so many are looked at in 10 ms."""


@contextmanager
def bulk_load() -> Iterator[None]:
    """Collect nothing inside, and never look at what was made inside again.

    The collector would go over all of a million objects again and again while they are made, which takes longer than
    making them, and later stop the process for a second at a time. What is frozen is still freed when its last
    reference goes; only cycles made inside would stay for ever, and rows and indexes have none.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > FROZEN_FROM:
            gc.freeze()
        if was_enabled:
            gc.enable()
