"""The change log: every change once, in order, from any revision that it still has."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from core_world import Clock, World, world

from weft.intent.networks import NetworkChanges, update_network
from weft.intent.subnets import SubnetChanges, update_subnet
from weft.model.ids import Revision
from weft.store import Change, CompactedError, Kind, Op, Store, Transaction, sqlite, sweeping
from weft.store import changes as change_log


async def collect(store: Store, after: int, until: int) -> list[Change]:
    found: list[Change] = []
    async for batch in store.watch(Revision(after)):
        assert batch
        found += batch
        if batch[-1].revision >= until:
            break
    return found


async def nets(w: World, count: int) -> None:
    await asyncio.gather(*(w.network(str(at)) for at in range(count)))


async def test_a_watcher_from_any_revision_sees_all_that_follows(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        start = w.store.revision
        live = asyncio.ensure_future(collect(w.store, start, start + 200))
        await nets(w, 100)
        late = asyncio.ensure_future(collect(w.store, start, start + 200))
        await nets(w, 100)
        everything = await live
        assert await late == everything
        assert [change.revision for change in everything] == list(range(start + 1, start + 201))
        assert {(change.kind, change.op) for change in everything} == {(Kind.NETWORK, Op.PUT)}
        for after in (start + 1, start + 77, start + 199):
            assert await collect(w.store, after, start + 200) == everything[after - start :]


async def test_a_revision_is_never_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "WATCH_BATCH", 3)
    async with world(tmp_path) as w:
        start = w.store.revision
        network, _ = await w.segment()
        for _ in range(3):
            view = await w.active(network.id, "node1")
            assert view
        batches = []
        async for batch in w.store.watch(start):
            batches.append(batch)
            if batch[-1].revision == w.store.revision:
                break
        assert len(batches) > 1
        for before, after in pairwise(batches):
            assert before[-1].revision < after[0].revision


async def test_one_object_changes_once_in_one_piece_of_work(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        await w.port(network.id)  # the project's first, with which its default security group comes
        start = w.store.revision
        view = await w.port(network.id, "node1")
        changes = await collect(w.store, start, start + 1)
        assert sorted((change.kind, change.id) for change in changes) == [
            (Kind.LEAF_VLAN, f"leaf1/{network.id}"),
            (Kind.PORT, view.port.id),
        ]
        assert {change.nodes for change in changes if change.kind is Kind.PORT} == {("node1",)}


async def test_work_that_changes_nothing_has_no_revision(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        start = w.store.revision

        def nothing(tx: Transaction) -> int:
            return tx.revision_after()

        assert await w.store.transact(nothing) == start
        assert w.store.revision == start


async def test_a_compacted_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_EVERY", 1)
    monkeypatch.setattr(sweeping, "LOG_KEPT", 10)
    clock = Clock()
    async with world(tmp_path, clock) as w:
        for _ in range(30):
            await w.network()
        last = w.store.revision
        with pytest.raises(CompactedError, match="after revision 1 is not in the change log") as refused:
            await anext(aiter(w.store.watch(Revision(1))))
        assert refused.value.kind == "RevisionCompacted"
        assert len(await collect(w.store, last - 10, last)) == 10
    async with world(tmp_path, clock) as w:
        assert w.store.revision == last
        with pytest.raises(CompactedError):
            await anext(aiter(w.store.watch(Revision(1))))


async def test_a_watcher_that_has_seen_the_future_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        with pytest.raises(CompactedError, match="after revision 999"):
            await anext(aiter(w.store.watch(Revision(999))))


async def test_a_watch_ends_with_the_store(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        after = w.store.revision
        watching = asyncio.ensure_future(collect(w.store, after, after + 2))
        await w.network()
    assert len(await asyncio.wait_for(watching, 5)) == 1


async def test_what_a_watcher_reads_is_at_least_as_new_as_what_it_was_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        start = w.store.revision
        watching = asyncio.ensure_future(nets(w, 50))
        async for batch in w.store.watch(start):
            known = await w.store.read(lambda snapshot: {network.id for network in snapshot.networks()})
            assert {change.id for change in batch} <= known
            assert await w.store.read(lambda snapshot: snapshot.revision()) >= batch[-1].revision
            if batch[-1].revision == start + 50:
                break
        await watching


async def test_a_change_concerns_the_nodes_that_carry_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment()
        for node in ("node1", "node3"):
            await w.port(network.id, node)
        start = w.store.revision
        await w.store.transact(lambda tx: update_network(tx, network.id, NetworkChanges(mtu_bytes=1400)))
        await w.store.transact(lambda tx: update_subnet(tx, subnet.id, SubnetChanges(gateway=None)))
        changes = await collect(w.store, start, start + 2)
        assert [(change.kind, change.nodes) for change in changes] == [
            (Kind.NETWORK, ("node1", "node3")),
            (Kind.SUBNET, ("node1", "node3")),
        ]


async def test_a_realizers_word_concerns_no_node(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        view = await w.port(network.id, "node1")
        start = w.store.revision
        await w.host(view, "node1")
        await w.host(view, "node1")
        assert [change.nodes for change in await collect(w.store, start, start + 1)] == [()]
        assert w.store.revision == start + 1


async def test_who_watches_does_not_keep_the_log_of_the_file_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 40)
    async with world(tmp_path) as w:
        start = w.store.revision
        watching = asyncio.ensure_future(collect(w.store, start, start + 200))
        for at in range(200):
            await w.network(str(at))
            assert await w.store.look(lambda snapshot: snapshot.revision()) == start + at + 1
        assert len(await watching) == 200
        assert _log_bytes(tmp_path) < 4 * 40 * 4096


def _log_bytes(folder: Path) -> int:
    (log,) = folder.glob("*-wal")
    return log.stat().st_size
