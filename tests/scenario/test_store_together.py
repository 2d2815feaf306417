"""Work that several callers share: done as one, or by each alone if one of them errs."""

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.intent.ports import FixedIpSpec, PortSpec, create_port, create_ports
from weft.model.errors import Conflict, Transient
from weft.model.ids import NetworkId
from weft.store import PortView, Transaction
from weft.store.check import contradictions
from weft.store.engine import Connection
from weft.store.sqlite import SqliteConnection
from weft.store.work import APART


class Maker:
    """Creates ports for several callers, and remembers for how many at a time."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def make(self, tx: Transaction, specs: Sequence[PortSpec]) -> Sequence[PortView]:
        self.calls.append(len(specs))
        return create_ports(tx, specs)


def spec(network_id: NetworkId, address: str | None = None) -> PortSpec:
    wanted = None if address is None else (FixedIpSpec(address=ip_address(address)),)
    return PortSpec(project_id=PROJECT, network_id=network_id, fixed_ips=wanted)


async def at_once(w: World, *asked: Awaitable[PortView]) -> list[PortView | BaseException]:
    """Have it all done in one group."""
    running, go = threading.Event(), threading.Event()

    def wait(_: Transaction) -> None:
        running.set()
        assert go.wait(10)

    waiting = asyncio.ensure_future(w.store.transact(wait))
    await asyncio.to_thread(running.wait)
    outcomes = [asyncio.ensure_future(each) for each in asked]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    go.set()
    await waiting
    return await asyncio.gather(*outcomes, return_exceptions=True)


def views_of(outcomes: Sequence[PortView | BaseException]) -> list[PortView]:
    return [each for each in outcomes if isinstance(each, PortView)]


async def test_what_several_ask_for_is_done_as_one(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        maker, before = Maker(), w.store.revision
        wanted = [f"10.0.0.{last}" for last in range(20, 30)]
        outcomes = await at_once(w, *(w.store.transact_together(maker.make, spec(network.id, each)) for each in wanted))
        assert maker.calls == [10]
        assert [str(view.port.fixed_ips[0].address) for view in views_of(outcomes)] == wanted
        assert w.store.revision == before + 1
        assert await w.store.read(contradictions) == []


async def test_only_the_same_work_is_done_as_one(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        one, other = Maker(), Maker()
        asked = [w.store.transact_together(each.make, spec(network.id)) for each in (one, other, one, other, one)]
        outcomes = await at_once(w, w.port(network.id), *asked, w.port(network.id))
        assert len(views_of(outcomes)) == 7
        assert (one.calls, other.calls) == ([3], [2])
        assert await w.store.read(contradictions) == []


async def test_who_errs_errs_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment("10.0.0.0/28")
        maker = Maker()
        addresses = (None, "10.0.0.9", None, "10.0.0.9", None)
        outcomes = await at_once(
            w, *(w.store.transact_together(maker.make, spec(network.id, each)) for each in addresses)
        )
        assert maker.calls == [5, 1, 1, 1, 1, 1]
        assert isinstance(outcomes[3], Conflict)
        assert len(views_of(outcomes)) == 4
        assert await w.store.transact(lambda tx: tx.pool(subnet).free) == 13 - 4
        assert await w.store.read(contradictions) == []


async def test_of_more_than_there_is_each_is_answered_for_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment("10.0.0.0/29")  # five addresses
        maker = Maker()
        outcomes = await at_once(w, *(w.store.transact_together(maker.make, spec(network.id)) for _ in range(8)))
        assert len(views_of(outcomes)) == 5
        assert {type(each) for each in outcomes} == {PortView, Conflict}


async def test_after_an_error_each_is_alone_for_a_while(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment("10.0.0.0/20")
        maker = Maker()

        async def two(*addresses: str | None) -> list[int]:
            maker.calls.clear()
            await at_once(w, *(w.store.transact_together(maker.make, spec(network.id, each)) for each in addresses))
            return list(maker.calls)

        assert await two("10.0.1.1", "10.0.1.1") == [2, 1, 1]
        for _ in range(APART // 2 - 1):  # the work that holds the writer up is a group, too
            assert await two(None, None) == [1, 1]
        assert await two(None, None) == [2]


async def test_what_cannot_be_committed_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment("10.0.0.0/28")
        await w.port(network.id)
        maker = Maker()
        commit = SqliteConnection.commit

        def fail(self: Connection, layer: object = None) -> None:
            if maker.calls:
                raise OSError("no space left on device")
            commit(self, layer)  # type: ignore[arg-type]

        monkeypatch.setattr(SqliteConnection, "commit", fail)
        outcomes = await at_once(w, *(w.store.transact_together(maker.make, spec(network.id)) for _ in range(4)))
        monkeypatch.setattr(SqliteConnection, "commit", commit)
        assert {type(each) for each in outcomes} == {Transient}
        assert await w.store.transact(lambda tx: tx.pool(subnet).free) == 13 - 1
        assert len(await w.store.read(lambda snapshot: snapshot.ports())) == 1


async def test_who_steps_on_a_lying_allocator_is_found_out(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment("10.0.0.0/28")
        taken = (await w.port(network.id)).port.fixed_ips[0]

        def lie(tx: Transaction) -> None:
            tx.on_commit(lambda: tx.pool(subnet).release(int(taken.address)))

        await w.store.transact(lie)
        maker = Maker()
        asked = [w.store.transact_together(maker.make, spec(network.id, each)) for each in (str(taken.address), None)]
        refused, made = await at_once(w, *asked)
        assert isinstance(refused, Conflict)
        assert isinstance(made, PortView)
        assert await w.store.read(contradictions) == []


async def test_alone_it_is_a_piece_like_any_other(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        maker = Maker()
        view = await w.store.transact_together(maker.make, spec(network.id))
        assert maker.calls == [1]
        assert await w.store.read(lambda snapshot: snapshot.port(view.port.id)) == view
        with pytest.raises(Conflict):
            await w.store.transact_together(maker.make, spec(network.id, str(view.port.fixed_ips[0].address)))
        await w.store.transact(lambda tx: create_port(tx, spec(network.id)))
