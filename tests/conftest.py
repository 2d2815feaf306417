"""What holds for all tests: see tests/thorough.py; and that `ip netns add` leaves no mount behind."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from tests import thorough

from weft.lab import namespaces, state

__all__ = ["thorough"]


@pytest.fixture(scope="session", autouse=True)
def netns_folder() -> Iterator[None]:
    """Leave /run/netns as it was: the first namespace that is named on a machine makes a mount of it.

    Of tests side by side, each process leaves it to the others while any namespace is there.
    """
    before = state.netns_mounted()
    yield
    if os.geteuid() == 0 and not before and state.netns_mounted() and not namespaces.existing():
        subprocess.run(["umount", str(namespaces.NETNS_DIR)], check=False)
