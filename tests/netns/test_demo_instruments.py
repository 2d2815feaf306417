"""The demo's instruments in real namespaces: two rooms behind a router, and one that must hear nothing."""

import asyncio
import subprocess
from collections.abc import Iterator

import pytest

from weft.lab.commands import ip_batch
from weft.lab.demo.inside import Place, listening, ping, pinging

pytestmark = pytest.mark.netns

LEFT, RIGHT, ROUTER = "weft-demo-left", "weft-demo-right", "weft-demo-router"
SCRIPT = f"""
netns add {LEFT}
netns add {RIGHT}
netns add {ROUTER}
link add eth0 netns {LEFT} type veth peer left netns {ROUTER}
link add eth0 netns {RIGHT} type veth peer right netns {ROUTER}
-n {LEFT} address add 10.1.1.2/24 dev eth0
-n {RIGHT} address add 10.1.2.2/24 dev eth0
-n {ROUTER} address add 10.1.1.1/24 dev left
-n {ROUTER} address add 10.1.2.1/24 dev right
-n {LEFT} link set eth0 up
-n {RIGHT} link set eth0 up
-n {ROUTER} link set left up
-n {ROUTER} link set right up
-n {LEFT} route add default via 10.1.1.1
-n {RIGHT} route add default via 10.1.2.1
"""


@pytest.fixture(scope="module")
def rooms() -> Iterator[tuple[Place, Place]]:
    try:
        for line in SCRIPT.strip().splitlines():
            subprocess.run(["ip", *line.split()], check=True)
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        subprocess.run(["ip", "netns", "exec", ROUTER, "sh", "-c", forward], check=True)
        yield Place("left", LEFT, "eth0", "red"), Place("right", RIGHT, "eth0", "blue")
    finally:
        for name in (LEFT, RIGHT, ROUTER):
            subprocess.run(["ip", "netns", "del", name], check=False)


async def test_the_path_is_measured(rooms: tuple[Place, Place]) -> None:
    left, _ = rooms
    result = await ping(left, "10.1.2.2", count=3)
    assert (result.lost, result.routers) == (0, 1)
    assert (await ping(left, "10.1.1.1", count=1)).routers == 0
    died = await ping(left, "10.1.2.2", count=1, ttl=1)
    assert (died.received, died.exceeded_at) == (0, {"10.1.1.1"})
    assert (await ping(left, "10.1.1.99", count=1)).received == 0


async def test_what_is_heard_is_counted_by_whose_it_is(rooms: tuple[Place, Place]) -> None:
    left, right = rooms
    async with listening(rooms, ["red", "blue"]) as heard:
        assert (await ping(left, "10.1.2.2", count=4)).lost == 0
        assert (await ping(right, "10.1.2.1", count=2)).lost == 0
    assert (heard["right"].of("red"), heard["right"].of("blue")) == (4, 2)  # the answers of the router carry blue
    assert (heard["left"].of("red"), heard["left"].of("blue")) == (4, 0)


async def test_a_series_counts_what_is_lost(rooms: tuple[Place, Place]) -> None:
    left, right = rooms
    async with pinging(left, "10.1.2.2") as series:
        await asyncio.sleep(0.3)
        await ip_batch(["link set eth0 down"], namespace=right.namespace)
        await asyncio.sleep(0.2)
        await ip_batch(["link set eth0 up", "route add default via 10.1.2.1"], namespace=right.namespace)
    assert 5 <= series.result.longest_gap <= series.result.lost < series.result.sent
