"""Waiting for containers' ports: one look for all, and none when nobody waits."""

import asyncio

import pytest

from weft.agent.cni import waiting
from weft.agent.cni.waiting import Waiting
from weft.model.errors import Transient
from weft.protocol.workload import Workload


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.0)


def workload(port_id: str, state: str = "BINDING") -> Workload:
    return Workload(
        port_id=port_id, name=port_id, holder="c", project_id="p", epoch=1, state=state, mac="m", mtu_bytes=1500
    )


class Server:
    """Says what it is told, and counts how often it is asked."""

    def __init__(self) -> None:
        self.says: list[Workload] = []
        self.asked = 0
        self.away = False
        self._again = asyncio.Event()

    async def until_asked(self, times: int) -> None:
        """Wait until it was asked so often more."""
        wanted = self.asked + times
        while self.asked < wanted:
            self._again.clear()
            await self._again.wait()

    async def look(self) -> list[Workload]:
        self.asked += 1
        self._again.set()
        await asyncio.sleep(0)
        if self.away:
            raise Transient("away", retry_after_s=1.0)
        return self.says


def active(found: Workload | None) -> bool:
    return found is not None and found.state == "ACTIVE"


async def test_many_wait_by_one_question() -> None:
    server = Server()
    server.says = [workload(str(number)) for number in range(50)]
    line = Waiting(server.look)
    waiters = [asyncio.create_task(line.until(str(number), active, 5.0)) for number in range(50)]
    await server.until_asked(2)
    server.says = [workload(str(number), "ACTIVE") for number in range(50)]
    assert {each.state for each in await asyncio.gather(*waiters) if each is not None} == {"ACTIVE"}
    assert server.asked <= 5


async def test_nobody_waits_nobody_asks() -> None:
    server = Server()
    server.says = [workload("a", "ACTIVE")]
    line = Waiting(server.look)
    assert await line.until("a", active, 5.0) == workload("a", "ACTIVE")
    assert line._task is not None
    await line._task
    assert line._task is None
    assert await line.until("a", active, 5.0) is not None, "and it begins anew"


async def test_time_that_is_over_gives_what_was_seen_last_and_a_server_that_is_away_is_asked_on() -> None:
    server = Server()
    server.says = [workload("a")]
    line = Waiting(server.look)
    assert await line.until("a", active, 0.05) == workload("a")
    assert await line.until("b", active, 0.05) is None
    server.away = True
    waiter = asyncio.create_task(line.until("a", active, 5.0))
    await server.until_asked(2)
    server.away, server.says = False, [workload("a", "ACTIVE")]
    assert await waiter == workload("a", "ACTIVE")
