"""Transactions: alone or in a group, failing or interrupted, and what the allocators believe afterwards."""

import asyncio
import fcntl
import os
import sqlite3
import threading
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from core_world import World, world

from weft.intent.ports import FixedIpSpec, PortSpec, create_port, delete_port
from weft.model.errors import Conflict, Invalid, Permanent, Transient
from weft.model.ids import NetworkId, PortId
from weft.model.intent import FixedIp, HistoryEntry
from weft.store import PortView, Store, Transaction, open_engine, sqlite, sweeping
from weft.store.check import contradictions
from weft.store.migration import current, head
from weft.store.transaction import HISTORY_KEPT
from weft.store.writer import Writer

NOBODYS_PID = 2**22 + 1
"""Linux has none beyond 2^22."""


class FailingCommit(sqlite3.Connection):
    """A connection that fails to commit as often as it is told: a full disk, a broken cable."""

    failures = 0

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:  # type: ignore[override]
        if sql == "COMMIT" and FailingCommit.failures:
            FailingCommit.failures -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)


def spec(network_id: NetworkId, address: str | None = None) -> PortSpec:
    wanted = None if address is None else (FixedIpSpec(address=ip_address(address)),)
    return PortSpec(project_id="p", network_id=network_id, fixed_ips=wanted)


async def hold(w: World) -> threading.Event:
    """Keep the writer busy until the event is set, so that what comes meanwhile makes one group."""
    running, go = threading.Event(), threading.Event()

    def wait(_: Transaction) -> None:
        running.set()
        assert go.wait(10)

    w.store_task = asyncio.ensure_future(w.store.transact(wait))  # type: ignore[attr-defined]
    await asyncio.to_thread(running.wait)
    return go


async def test_concurrent_work_shares_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    commit = Writer._commit
    monkeypatch.setattr(Writer, "_commit", lambda self, group: (commit(self, group), groups.append(len(group)))[0])
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        before = w.store.revision
        go = await hold(w)
        waiting = [asyncio.ensure_future(w.port(network.id)) for _ in range(50)]
        for _ in range(3):  # they are handed over in portions
            await asyncio.sleep(0)
        go.set()
        views = await asyncio.gather(*waiting)
        assert groups[-1] == 50
        assert w.store.revision == before + 50
        assert len({view.port.fixed_ips for view in views}) == 50
        assert await w.store.read(contradictions) == []


async def test_failing_work_undoes_only_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        go = await hold(w)

        def fails(tx: Transaction) -> None:
            create_port(tx, spec(network.id))
            raise Conflict("changed my mind")

        outcomes = [
            asyncio.ensure_future(each)
            for each in (w.port(network.id), w.store.transact(fails), w.port(network.id, name="second"))
        ]
        await asyncio.sleep(0)
        go.set()
        first, failed, second = await asyncio.gather(*outcomes, return_exceptions=True)
        assert isinstance(failed, Conflict)
        assert isinstance(first, PortView)
        assert isinstance(second, PortView)
        ports = await w.store.read(lambda snapshot: snapshot.ports())
        assert {view.port.id for view in ports} == {first.port.id, second.port.id}
        await w.store.transact(lambda tx: create_port(tx, spec(network.id, "10.0.0.3")))
        assert await w.store.read(contradictions) == []


async def test_what_failed_leaves_the_allocator_as_it_was(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment("10.0.0.0/29")

        def fails(tx: Transaction) -> None:
            for _ in range(5):
                create_port(tx, spec(network.id))
            raise Conflict("no")

        for _ in range(3):
            with pytest.raises(Conflict, match="no"):
                await w.store.transact(fails)
        assert await w.store.transact(lambda tx: tx.pool(subnet).free) == 5
        assert len({(await w.port(network.id)).port.fixed_ips for _ in range(5)}) == 5
        with pytest.raises(Conflict, match="No more IP addresses available on network"):
            await w.port(network.id)


async def test_a_failed_delete_keeps_the_address(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.port(network.id)
        store = w.store

        def fails(tx: Transaction) -> None:
            delete_port(tx, view.port.id)
            raise Conflict("no")

        with pytest.raises(Conflict, match="no"):
            await store.transact(fails)
        w.clock.advance(60)
        with pytest.raises(Conflict, match=r"10\.0\.0\.2 already allocated"):
            await store.transact(lambda tx: create_port(tx, spec(network.id, "10.0.0.2")))
        assert await store.read(contradictions) == []


async def test_a_failed_delete_right_after_a_start_keeps_the_address(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.port(network.id)
    async with world(tmp_path) as w:  # the allocator is first built inside the work that fails

        def fails(tx: Transaction) -> None:
            delete_port(tx, view.port.id)
            raise Conflict("no")

        with pytest.raises(Conflict, match="no"):
            await w.store.transact(fails)
        w.clock.advance(60)
        with pytest.raises(Conflict, match=r"10\.0\.0\.2 already allocated"):
            await w.store.transact(lambda tx: create_port(tx, spec(network.id, "10.0.0.2")))


async def test_a_failed_commit_fails_the_whole_group_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite.sqlite3, "connect", lambda *args, **fields: connect(*args, factory=FailingCommit, **fields)
    )
    async with world(tmp_path) as w:
        network, subnet = await w.segment("10.0.0.0/29")
        revision = w.store.revision
        told: list[str] = []

        def work(tx: Transaction) -> PortView:
            tx.on_commit(lambda: told.append("committed"))
            return create_port(tx, spec(network.id))

        FailingCommit.failures = 1
        go = await hold(w)
        waiting = [asyncio.ensure_future(w.store.transact(work)) for _ in range(3)]
        await asyncio.sleep(0)
        FailingCommit.failures = 2  # the work that holds, and the group
        go.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcomes] == [Transient] * 3
        assert "disk I/O error" in str(outcomes[0])
        with pytest.raises(Transient):
            await w.store_task  # type: ignore[attr-defined]
        assert (w.store.revision, told) == (revision, [])
        assert await w.store.read(lambda snapshot: snapshot.ports()) == []
        assert await w.store.transact(lambda tx: tx.pool(subnet).free) == 5
        await w.store.transact(work)
        assert (w.store.revision, told) == (revision + 1, ["committed"])


async def test_a_defect_in_work_is_its_callers(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()

        def defect(tx: Transaction) -> None:
            create_port(tx, spec(network.id))
            raise ZeroDivisionError

        def bad_ending(tx: Transaction) -> None:
            tx.on_commit(lambda: 1 // 0)

        with pytest.raises(ZeroDivisionError):
            await w.store.transact(defect)
        await w.store.transact(bad_ending)
        assert (await w.port(network.id)).port.fixed_ips[0].address == ip_address("10.0.0.2")


async def test_the_unique_index_overrules_a_lying_allocator(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment()
        view = await w.port(network.id)

        def twice(tx: Transaction) -> None:
            other = msgspec.structs.replace(
                view.port, id=PortId(tx.new_id()), mac="fa:16:3e:00:00:01", fixed_ips=view.port.fixed_ips
            )
            tx.put_port(PortView(other, msgspec.structs.replace(view.life, port_id=other.id)), None)

        with pytest.raises(Conflict, match=r"IP address 10\.0\.0\.2 already allocated in subnet") as refused:
            await w.store.transact(twice)
        assert refused.value.kind == "IpAddressAlreadyAllocated"

        def same_mac(tx: Transaction) -> None:
            other = msgspec.structs.replace(
                view.port, id=PortId(tx.new_id()), fixed_ips=(FixedIp(subnet.id, ip_address("10.0.0.99")),)
            )
            tx.put_port(PortView(other, msgspec.structs.replace(view.life, port_id=other.id)), None)

        with pytest.raises(Conflict, match=f"The mac address {view.port.mac} is in use"):
            await w.store.transact(same_mac)
        assert len(await w.store.read(lambda snapshot: snapshot.ports())) == 1


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment()
        view = await w.active(network.id, "node1")
        router = await w.router()
        revision = w.store.revision
        inventory = await w.store.read(lambda snapshot: (snapshot.inventory(), snapshot.numbering()))
    async with world(tmp_path, w.clock) as again:
        assert again.store.revision == revision
        assert await again.view(view.port.id) == view
        found = await again.store.read(
            lambda snapshot: (snapshot.network(network.id), snapshot.subnet(subnet.id), snapshot.router(router.id))
        )
        assert found == (network, subnet, router)
        assert await again.store.read(lambda snapshot: (snapshot.inventory(), snapshot.numbering())) == inventory
        assert current(f"sqlite:///{tmp_path / 'weft.db'}") == head()


async def test_an_address_rests_through_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment("10.0.0.0/30")
        view = await w.port(network.id)
        await w.store.transact(lambda tx: delete_port(tx, view.port.id))
        with pytest.raises(Conflict, match="1 rest for up to 30 s"):
            await w.port(network.id)
    async with world(tmp_path, w.clock) as w:
        w.clock.advance(29.9)
        with pytest.raises(Conflict) as refused:
            await w.port(network.id)
        assert refused.value.kind == "IpAddressGenerationFailure"
        with pytest.raises(Conflict, match=r"10\.0\.0\.2 already allocated"):
            await w.store.transact(lambda tx: create_port(tx, spec(network.id, "10.0.0.2")))
        w.clock.advance(0.2)
        assert str((await w.port(network.id)).port.fixed_ips[0].address) == "10.0.0.2"


async def test_a_history_is_bounded(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.port(network.id)

        def more(tx: Transaction) -> None:
            for at in range(HISTORY_KEPT):
                tx.add_history(HistoryEntry(port_id=view.port.id, at=float(at), actor="a", step="s"))

        await w.store.transact(more)
        history = await w.store.read(lambda snapshot: snapshot.history(view.port.id))
        assert [entry.at for entry in history] == [float(at) for at in range(HISTORY_KEPT)]


async def test_a_deleted_ports_history_is_kept_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_EVERY", 1)
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.port(network.id)
        await w.store.transact(lambda tx: delete_port(tx, view.port.id))
        w.clock.advance(86_399)
        await w.network()
        assert await w.store.read(lambda snapshot: snapshot.history(view.port.id))
        w.clock.advance(2)
        await w.network()
        assert await w.store.read(lambda snapshot: snapshot.history(view.port.id)) == []


async def test_a_database_has_one_owner(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'weft.db'}"
    store = await Store.open(url)
    with pytest.raises(Permanent, match="is open in another process") as refused:
        await Store.open(url)
    assert refused.value.kind == "DatabaseInUse"
    await store.close()
    await (await Store.open(url)).close()


def test_what_a_killed_server_has_forked_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "weft.db.lock"
    lock.write_text(f"{NOBODYS_PID}\n")
    held = os.open(lock, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    waited = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            os.close(held)

    monkeypatch.setattr("weft.store.sqlite.time.sleep", pause)
    open_engine(f"sqlite:///{tmp_path}/weft.db").release()
    assert len(waited) == 3
    assert lock.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("url", ["mysql://db/weft", "weft.db", "sqlite:///", "sqlite://"])
async def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match=f"'{url}' is not a database"):
        await Store.open(url)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    path.write_text("this is no database " * 1000)
    with pytest.raises(Permanent, match=r"cannot open the database .*weft\.db"):
        await Store.open(f"sqlite:///{path}")


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path / 'weft.db'}")
    await store.close()
    await store.close()
    with pytest.raises(Transient, match="the server is stopping"):
        await store.transact(lambda tx: None)
