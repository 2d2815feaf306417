"""All controllers of a process together: each in its shard, in its term, and one that fails alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fabric_world import PATIENCE_S, World
from fake_switch import FakeDriver, FakeSwitch
from structlog.testing import capture_logs

from weft.controller.controllers import Controllers
from weft.controller.election import Standing
from weft.controller.leadership import RETRY_S, standing_of
from weft.controller.nova.client import NovaClient
from weft.kubernetes.settings import ClusterSettings
from weft.model.errors import Transient
from weft.model.inventory import Switch
from weft.store import Kind


class NoToken:
    async def token(self, *, fresh: bool) -> str:
        return f"none, {fresh}"


class Process:
    """The controllers of one process, with switches that they find empty."""

    def __init__(self, world: World, kubeconfig: Path) -> None:
        self.terms: set[int] = set()
        """In which terms drivers were made."""
        self._switches: dict[str, FakeSwitch] = {}
        nova = NovaClient("http://nova", NoToken(), httpx.AsyncClient(transport=httpx.MockTransport(_nobody_asks)))
        cluster = ClusterSettings(name="prod", kubeconfig=str(kubeconfig))
        self.controllers = Controllers(world.store, self._driver, nova=nova, clusters=[cluster], clock=world.clock)

    def _driver(self, switch: Switch, term: int) -> FakeDriver:
        self.terms.add(term)
        return FakeDriver(self._switches.setdefault(switch.name, FakeSwitch(switch.name)))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.controllers.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _nobody_asks(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"nothing is to be told: {request.url}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = await World.open(tmp_path / "weft.db")
    yield world
    await world.close()


async def comes(world: World, is_so: Callable[[Standing], bool]) -> Standing:
    """Return the standing once it is as it shall be; no time passes."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so(standing := await world.store.read(standing_of)):  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0)
    return standing


def led(world: World, standing: Standing) -> dict[str, int]:
    now = world.clock.now()
    leases = {shard: standing.leader_of(shard, now) for shard in standing.shards()}
    return {shard: lease.term for shard, lease in leases.items() if lease is not None}


async def test_each_is_a_shard_and_the_switches_are_driven_in_the_term_of_theirs(world: World, tmp_path: Path) -> None:
    everything = dict.fromkeys(("fabric", "addresses", "nova", "kubernetes/prod"), 1)
    for term in (1, 2):
        process = Process(world, tmp_path / "kubeconfig")
        async with process.running():
            standing = await comes(world, lambda standing: len(led(world, standing)) == len(everything))
            assert led(world, standing) == dict.fromkeys(everything, term)
            await comes(world, lambda _, made=process.terms: bool(made))  # type: ignore[misc]
            assert process.terms == {term}
            assert process.controllers.plans().keys() == {"spine1", "spine2", "leaf1", "leaf2", "leaf3"}
        assert led(world, await world.store.read(standing_of)) == {}


async def test_a_fabric_that_fails_takes_nothing_with_it_and_comes_back(world: World, tmp_path: Path) -> None:
    process = Process(world, tmp_path / "kubeconfig")
    # No roll-out, but a row where one should be: whoever reads it fails.
    await world.store.transact(lambda tx: tx.put_record(Kind.ROLLOUT, "broken", Standing()))
    with capture_logs() as logs:
        async with process.running():
            rest = {"addresses": 1, "nova": 1, "kubernetes/prod": 1}
            standing = await comes(world, lambda standing: led(world, standing) == rest)
            [candidate] = standing.candidates.values()
            assert candidate.failed == ("fabric",)
            with pytest.raises(Transient, match="does not lead the shard 'fabric' now"):
                process.controllers.plans()
            await world.store.transact(lambda tx: tx.delete_record(Kind.ROLLOUT, "broken"))
            world.clock.advance(RETRY_S)
            standing = await comes(world, lambda standing: "fabric" in led(world, standing))
            assert led(world, standing) == rest | {"fabric": 2}
            await comes(world, lambda _: bool(process.terms))
            assert process.terms == {2}
    assert [log["shard"] for log in logs if log["event"] == "shard_failed"] == ["fabric"]
