"""The agent's view of links while it is read, and what it opens."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.agent.cni.cables import is_cable
from weft.agent.cni.kernel import Kernel, LinkMonitor, _namespace, _socket_in
from weft.agent.cni.rtnetlink import LinkSeen
from weft.model.errors import Transient


class Links(Kernel):
    """A kernel whose list of links takes a while: meanwhile something happens."""

    def __init__(self, there: list[LinkSeen], meanwhile: Callable[[], None]) -> None:
        self._there = there
        self._meanwhile = meanwhile

    async def links(self) -> list[LinkSeen]:
        self._meanwhile()
        return self._there


async def test_what_is_heard_while_links_are_read_counts_after_what_was_read() -> None:
    def happens() -> None:
        for link in (LinkSeen(7, "weft-c7"), LinkSeen(3, "weft-v3", gone=True)):
            monitor._take(link)

    there = [LinkSeen(3, "weft-v3"), LinkSeen(5, "weft-c5")]
    monitor = LinkMonitor("weft-", Links(there, happens), lambda: None, stays_up=is_cable)
    try:
        assert await monitor.read() == {"weft-c5": 5, "weft-c7": 7}
        assert await monitor.read() == {"weft-c5": 5, "weft-c7": 7}
    finally:
        monitor.close()


async def test_links_that_could_not_be_read_are_read_at_the_next_occasion() -> None:
    failing = [True]

    def happens() -> None:
        if failing:
            failing.pop()
            raise Transient("cannot list links: no buffer space", retry_after_s=0.5)

    monitor = LinkMonitor("weft-", Links([LinkSeen(5, "weft-c5")], happens), lambda: None, stays_up=is_cable)
    try:
        with pytest.raises(Transient):
            await monitor.read()
        assert await monitor.read() == {"weft-c5": 5}
    finally:
        monitor.close()


async def test_a_cable_that_is_set_down_is_told_of_and_nothing_else_of_how_links_are() -> None:
    there = [LinkSeen(3, "weft-v3"), LinkSeen(5, "weft-c5", up=False)]
    monitor = LinkMonitor("weft-", Links(there, lambda: None), lambda: None, stays_up=is_cable)
    try:
        await monitor.read()
        assert [monitor.is_down(name) for name in ("weft-v3", "weft-c5", "weft-c6")] == [False, True, False]
        assert not monitor._take(LinkSeen(5, "weft-c5"))
        assert not monitor.is_down("weft-c5")
        assert monitor._take(LinkSeen(5, "weft-c5", up=False))
        assert monitor.is_down("weft-c5")
        assert not monitor._take(LinkSeen(3, "weft-v3", up=False)), "as before each deletion"
        assert monitor._take(LinkSeen(5, "weft-c5", gone=True))
        assert not monitor.is_down("weft-c5")
    finally:
        monitor.close()


def test_a_pipe_is_no_namespace_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "netns")
    with (
        pytest.raises(OSError, match="it is no network namespace") as raised,
        _namespace(f"{tmp_path}/netns") as opened,
    ):
        _socket_in(opened)
    assert raised.value.errno in {errno.EINVAL, errno.EPERM}
