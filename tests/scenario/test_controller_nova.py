"""Nova hears of its instances' ports: each thing when it happens, late if it must be, and never something untrue."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from core_world import World, world
from fake_clock import FakeClock

from weft.controller.nova.client import NovaClient
from weft.controller.nova.events import BACKOFF_S, POSITION, NovaEvents, Position
from weft.controller.nova.news import NovaPort
from weft.intent.ports import PortChanges, delete_port, unbind_port, update_port
from weft.model.ids import PortId
from weft.model.intent import Network
from weft.store import Kind, PortView, Transaction

SERVER = "5a3c6d2e-0000-4000-8000-000000000001"
OTHER = "5a3c6d2e-0000-4000-8000-000000000002"
PLUGGED, UNPLUGGED, DELETED = "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted"
DEADLINE_S = 10.0


class Nova:
    """What Nova does with events: it takes them, unless a test says otherwise."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []
        self.tokens: list[str | None] = []
        self.answers: list[int] = []
        """Statuses of the next answers; then 200."""
        self.asked = asyncio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/v2.1/os-server-external-events")
        self.tokens.append(request.headers.get("x-auth-token"))
        self.asked.set()
        events = json.loads(request.content)["events"]
        status = self.answers.pop(0) if self.answers else 200
        if status == -1:
            raise httpx.ConnectError("refused")
        if status in {200, 207}:
            self.told += events
            return httpx.Response(status, json={"events": [{**event, "code": 200} for event in events]})
        return httpx.Response(status, text="no")

    @property
    def said(self) -> list[tuple[str, str, str]]:
        return [(event["name"], event["server_uuid"], event["tag"]) for event in self.told]


class Tokens:
    """Hands out tokens, numbered."""

    def __init__(self) -> None:
        self.number = 1

    async def token(self, *, fresh: bool) -> str:
        self.number += fresh
        return f"token-{self.number}"


def client(nova: Callable[[httpx.Request], httpx.Response]) -> NovaClient:
    return NovaClient("http://nova:8774/v2.1/", Tokens(), httpx.AsyncClient(transport=httpx.MockTransport(nova)))


@contextlib.asynccontextmanager
async def telling(here: World, nova: Nova, clock: FakeClock | None = None) -> AsyncIterator[NovaEvents]:
    events = NovaEvents(here.store, client(nova), clock=clock)
    await here.store.transact(_begin)
    task = asyncio.create_task(events.run())
    try:
        yield events
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _begin(tx: Transaction) -> None:
    """Have it told of what happens from now on, also before its first step."""
    if tx.record(Kind.NOVA_POSITION, Position, POSITION) is None:
        tx.put_record(Kind.NOVA_POSITION, POSITION, Position(tx.revision()))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - what is waited for happens in other tasks, and tells nobody
            await asyncio.sleep(0)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def network(here: World) -> Network:
    return (await here.segment())[0]


async def up(here: World, network: Network, **fields: object) -> PortView:
    view = await here.port(network.id, "node1", **{"device_id": SERVER, "device_owner": "compute:nova", **fields})
    await here.host(view, "node1")
    await here.fabric(view)
    return await here.view(view.port.id)


async def test_nova_hears_of_a_port_when_it_is_up_taken_off_and_deleted(here: World, network: Network) -> None:
    nova = Nova()
    async with telling(here, nova):
        port = (await up(here, network)).port.id
        await until(lambda: len(nova.told) == 1)
        await here.store.transact(lambda tx: unbind_port(tx, port))
        await until(lambda: len(nova.told) == 2)
        await here.store.transact(lambda tx: delete_port(tx, port))
        await until(lambda: len(nova.told) == 3)
    assert nova.said == [(name, SERVER, port) for name in (PLUGGED, UNPLUGGED, DELETED)]
    assert {event["status"] for event in nova.told} == {"completed"}


async def test_a_port_that_fails_is_told_of_as_failed_and_as_plugged_when_it_is_up_after_all(
    here: World, network: Network
) -> None:
    nova = Nova()
    async with telling(here, nova):
        view = await here.port(network.id, "node1", device_id=SERVER, device_owner="compute:nova")
        await here.host(view, "node1", "failed", reason="no device")
        await until(lambda: len(nova.told) == 1)
        await here.host(view, "node1")
        await here.fabric(view)
        await until(lambda: len(nova.told) == 2)
    assert [(event["name"], event["status"]) for event in nova.told] == [(PLUGGED, "failed"), (PLUGGED, "completed")]


async def test_a_port_that_moves_is_told_of_again_when_it_is_up_on_the_other_node(
    here: World, network: Network
) -> None:
    nova = Nova()
    async with telling(here, nova):
        port = (await up(here, network)).port.id
        await until(lambda: len(nova.told) == 1)
        moved = await here.store.transact(lambda tx: update_port(tx, port, PortChanges(node="node2")))  # type: ignore[arg-type]
        await here.host(moved, "node2")
        await here.fabric(moved)
        await until(lambda: len(nova.told) == 2)
    assert nova.said == [(PLUGGED, SERVER, port)] * 2


async def test_ports_of_no_instance_are_not_told_of(here: World, network: Network) -> None:
    nova = Nova()
    async with telling(here, nova):
        for fields in ({"device_owner": "network:dhcp"}, {"device_owner": ""}, {"device_id": "no-uuid"}):
            await up(here, network, **fields)
        port = (await up(here, network)).port.id
        await until(lambda: len(nova.told) == 1)
    assert nova.said == [(PLUGGED, SERVER, port)]


async def test_a_port_given_to_another_instance_is_told_of_there(here: World, network: Network) -> None:
    nova = Nova()
    async with telling(here, nova):
        port = (await up(here, network)).port.id
        await until(lambda: len(nova.told) == 1)
        await here.store.transact(lambda tx: update_port(tx, port, PortChanges(device_id=OTHER)))
        await until(lambda: len(nova.told) == 2)
    assert nova.said == [(PLUGGED, SERVER, port), (PLUGGED, OTHER, port)]


async def test_what_happens_while_nobody_tells_nova_is_told_later_and_nothing_twice(
    here: World, network: Network
) -> None:
    nova = Nova()
    async with telling(here, nova):
        first = (await up(here, network)).port.id
        await until(lambda: len(nova.told) == 1)
        while (await remembered(here, first)).status != "ACTIVE":
            pass
    second = (await up(here, network)).port.id
    await here.store.transact(lambda tx: delete_port(tx, first))
    async with telling(here, nova):
        await until(lambda: len(nova.told) == 3)
    assert set(nova.said[1:]) == {(PLUGGED, SERVER, second), (DELETED, SERVER, first)}
    assert nova.said.count((PLUGGED, SERVER, first)) == 1


@pytest.mark.parametrize("failure", [-1, 500, 503])
async def test_nova_is_told_again_after_a_while_if_it_could_not_be_told(
    here: World, network: Network, failure: int
) -> None:
    nova, clock = Nova(), FakeClock()
    nova.answers = [failure] * 3
    async with telling(here, nova, clock):
        port = (await up(here, network)).port.id
        waits = []
        for _ in range(3):
            await nova.asked.wait()
            nova.asked.clear()
            await until(lambda: bool(clock.sleeping))
            waits.append(clock.advance_to_next())
        await until(lambda: len(nova.told) == 1)
    assert waits == [BACKOFF_S, 2 * BACKOFF_S, 4 * BACKOFF_S]
    assert nova.said == [(PLUGGED, SERVER, port)]


async def test_a_port_that_is_gone_before_nova_could_be_told_of_it_is_told_of_as_gone(
    here: World, network: Network
) -> None:
    nova, clock = Nova(), FakeClock()
    async with telling(here, nova, clock):
        port = (await here.port(network.id, device_id=SERVER, device_owner="compute:nova")).port.id
        nova.answers = [503]
        await remembered(here, port)
        await here.store.transact(lambda tx: delete_port(tx, port))
        await until(lambda: bool(clock.sleeping))
        clock.advance_to_next()
        await until(lambda: len(nova.told) == 1)
    assert nova.said == [(DELETED, SERVER, port)]


async def remembered(here: World, port: PortId) -> NovaPort:
    """Return what Nova knows of a port, once that was written."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await here.store.read(lambda snapshot: snapshot.record(Kind.NOVA_PORT, NovaPort, port))
            if found is not None:
                return found


async def test_a_token_that_nova_refuses_is_replaced_once(here: World, network: Network) -> None:
    nova = Nova()
    nova.answers = [401]
    async with telling(here, nova):
        await up(here, network)
        await until(lambda: len(nova.told) == 1)
    assert nova.tokens == ["token-1", "token-2"]


@pytest.mark.parametrize("refusal", [400, 404])
async def test_what_nova_cannot_use_is_not_told_again(here: World, network: Network, refusal: int) -> None:
    nova = Nova()
    nova.answers = [refusal]
    async with telling(here, nova):
        await up(here, network)
        await until(nova.asked.is_set)
        second: Any = await up(here, network)
        await until(lambda: len(nova.told) >= 1)
    assert nova.said == [(PLUGGED, SERVER, second.port.id)]
