"""PostgreSQL holds what SQLite holds: the same transactions, the same log, the same refusals."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from bench.postgres import PostgresServer
from core_world import Clock, World, small_dc
from old_database import goes_forward

from weft.intent.inventory import replace_inventory
from weft.intent.ports import FixedIpSpec, PortSpec, bind_port, create_port, create_ports, delete_port
from weft.intent.realizations import report
from weft.model.errors import Conflict, Permanent, Transient
from weft.model.ids import NetworkId, NodeName, PortId, Revision
from weft.model.intent import RealizationState
from weft.protocol.node import RealizationReport
from weft.store import Change, PortView, Snapshot, Store, Transaction, catching_up, schema, sweeping
from weft.store import changes as change_log
from weft.store.changes import Kind
from weft.store.check import contradictions
from weft.store.postgresql import PostgresEngine
from weft.store.postgresql_arrays import Blobs, Column, Floats, Integers, Texts
from weft.store.schema import metadata
from weft.store.sqlite import SqliteEngine
from weft.store.store import engine_of
from weft.store.transfer import export, load


@asynccontextmanager
async def world(url: str, clock: Clock | None = None, seed: int = 7) -> AsyncIterator[World]:
    """Open a store on a database, with an inventory in it."""
    clock = clock or Clock()
    store = await Store.open(url, clock=clock, random=random.Random(seed).getrandbits)
    try:
        await store.transact(lambda tx: replace_inventory(tx, small_dc()))
        yield World(store, clock)
    finally:
        await store.close()


async def test_a_ports_whole_life(url: str) -> None:
    async with world(url) as w:
        network, subnet = await w.segment()
        view = await w.active(network.id, "node1")
        assert view.life.state == "ACTIVE"
        assert await w.store.read(contradictions) == []
        revision = w.store.revision
        await w.store.transact(lambda tx: delete_port(tx, view.port.id))
        changes = await w.changes(revision)
        assert [(change.id, change.op) for change in changes if change.kind == "port"] == [(view.port.id, "delete")]
        with pytest.raises(Conflict, match=r"10\.0\.0\.2 already allocated"):
            await w.port(network.id, fixed_ips=(FixedIpSpec(address=ip_address("10.0.0.2")),))
        w.clock.advance(31)
        again = await w.port(network.id, fixed_ips=(FixedIpSpec(address=ip_address("10.0.0.2")),))
        assert await w.store.read(contradictions) == []
    async with world(url, w.clock) as w:
        assert (await w.view(again.port.id)).port == again.port
        assert await w.store.read(lambda snapshot: snapshot.subnet(subnet.id)) == subnet
        assert await w.store.read(lambda snapshot: [entry.step for entry in snapshot.history(again.port.id)])


async def test_what_is_over_goes_little_by_little(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound, value in {"AT_ONCE": 2, "PORTS_AT_ONCE": 2, "LOG_KEPT": 4, "SWEEP_EVERY": 1}.items():
        monkeypatch.setattr(sweeping, bound, value)
    tables = (schema.resting_ips, schema.released_ports)
    counting = [sa.select(sa.func.count()).select_from(table) for table in tables]
    async with world(url) as w:
        network, _ = await w.segment()
        views = [await w.port(network.id) for _ in range(5)]
        for view in views:
            await w.store.transact(lambda tx, id_=view.port.id: delete_port(tx, id_))  # type: ignore[misc]
        w.clock.advance(sweeping.RELEASED_HISTORY_S + 1)
        left = []
        for _ in range(4):
            await w.network()
            left.append(await w.store.read(lambda s: [s.run(each).fetchone()[0] for each in counting]))
        assert left == [[3, 3], [1, 1], [0, 0], [0, 0]]
        assert await w.store.read(lambda snapshot: snapshot.history(views[0].port.id)) == []
        assert await w.store.read(lambda s: s.run(sa.select(sa.func.min(schema.changes.c.revision))).fetchone()[0]) > 1


async def test_a_group_in_which_pieces_fail(url: str) -> None:
    async with world(url) as w:
        network, subnet = await w.segment()
        taken = (await w.port(network.id)).port

        def changes_its_mind(tx: Transaction) -> None:
            create_port(tx, PortSpec(project_id="p", network_id=network.id))
            tx.ports(network_id=network.id)  # writes what waits
            raise Conflict("no")

        def same_mac(tx: Transaction) -> PortView:
            other = msgspec.structs.replace(taken, id=PortId(tx.new_id()), fixed_ips=())
            view = PortView(other, create_port(tx, PortSpec(project_id="p", network_id=network.id)).life)
            tx.put_port(msgspec.structs.replace(view, port=other), None)
            return view

        def defect(tx: Transaction) -> None:
            tx.run(sa.text("SELECT nonsense"))

        outcomes = await asyncio.gather(
            w.port(network.id),
            w.store.transact(changes_its_mind),
            w.store.transact(same_mac),
            w.store.transact(defect),
            w.port(network.id),
            return_exceptions=True,
        )
        first, mind, mac, broken, last = outcomes
        assert isinstance(first, PortView)
        assert isinstance(last, PortView)
        assert str(mind) == "no"
        assert isinstance(mac, Conflict)
        assert mac.kind == "MacAddressInUse"
        assert "nonsense" in str(broken)
        assert len(await w.store.read(lambda snapshot: snapshot.ports())) == 3
        assert await w.store.transact(lambda tx: tx.pool(subnet).free) == 253 - 3
        assert await w.store.read(contradictions) == []


async def test_several_processes_use_up_a_subnet(url: str) -> None:
    """8 writers in 4 stores: exactly as many ports as addresses, and the rest is told so."""
    async with world(url) as w:
        network, _ = await w.segment("10.0.0.0/24")
        others = [await Store.open(url, clock=w.clock) for _ in range(3)]
        stores = [w.store, *others]
        refused: list[str] = []
        made: list[PortView] = []
        spec = PortSpec(project_id="p", network_id=network.id)

        async def writer(store: Store) -> None:
            for _ in range(40):
                try:
                    made.append(
                        await store.transact(
                            lambda tx: create_port(tx, PortSpec(project_id="p", network_id=network.id))
                        )
                    )
                except Conflict as error:
                    refused.append(error.kind)

        await asyncio.gather(*(writer(store) for store in stores for _ in range(2)))
        assert len(made) == 253
        assert set(refused) == {"IpAddressGenerationFailure"}
        assert len(refused) == 320 - 253
        assert len({view.port.fixed_ips[0].address for view in made}) == 253
        assert len({view.port.mac for view in made}) == 253
        assert await w.store.read(contradictions) == []
        # What one process frees, another finds.
        gone = made[17]
        await stores[1].transact(lambda tx: delete_port(tx, gone.port.id))
        w.clock.advance(31)
        again = await stores[2].transact(lambda tx: create_port(tx, spec))
        assert again.port.fixed_ips == gone.port.fixed_ips
        for store in others:
            await store.close()


async def test_every_process_sees_every_change_once_and_in_order(url: str) -> None:
    async with world(url) as w:
        other = await Store.open(url, clock=w.clock)
        start = w.store.revision
        seen: list[Change] = []

        async def follow() -> None:
            async for batch in other.watch(start):
                seen.extend(batch)
                if batch[-1].revision >= start + 60:
                    return

        following = asyncio.ensure_future(follow())
        both = World(other, w.clock)
        await asyncio.gather(*(each.network(str(at)) for at in range(30) for each in (w, both)))
        await asyncio.wait_for(following, 10)
        assert [change.revision for change in seen] == list(range(start + 1, start + 61))
        await other.close()


async def test_looking_for_what_others_have_written_takes_no_transaction(url: str) -> None:
    async with world(url) as w:
        before = await asyncio.to_thread(_rolled_back, url)
        other = await Store.open(url, clock=w.clock)
        for _ in range(20):
            await w.network()
            async with asyncio.timeout(10):
                while other.revision < w.store.revision:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.001)
        await other.close()
    assert await asyncio.to_thread(_rolled_back, url) - before < 10, "those of opening and closing"


def _rolled_back(url: str) -> int:
    """Return how many transactions of the sessions that have ended were not committed: all that only read."""
    with psycopg.connect(url, autocommit=True) as connection:
        asked = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        row = connection.execute(asked).fetchone()
    assert row is not None
    return int(row[0])


async def test_what_another_process_changed_is_not_remembered_wrongly(url: str) -> None:
    async with world(url) as w:
        network, subnet = await w.segment()
        await w.port(network.id)  # network and subnet are remembered now
        other = await Store.open(url, clock=w.clock)

        def rename(tx: Transaction) -> None:
            found = tx.network(network.id)
            assert found is not None
            tx.put_network(msgspec.structs.replace(found, name="renamed"))

        await other.transact(rename)
        name = await w.store.transact(lambda tx: tx.network(network.id).name)  # type: ignore[union-attr]
        assert name == "renamed"
        assert await w.store.transact(lambda tx: tx.usage("p1", "port")) == 1  # type: ignore[arg-type]
        await other.transact(lambda tx: create_port(tx, PortSpec(project_id="p1", network_id=network.id)))
        assert await w.store.transact(lambda tx: tx.usage("p1", "port")) == 2  # type: ignore[arg-type]
        assert subnet.network_id == network.id
        await other.close()


@pytest.mark.parametrize("looked_at", [3, 2_000])
async def test_numbers_of_objects_are_kept_right_beside_another_process(
    url: str, looked_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more projects than are read again at once, and of more changes than are looked at one by one."""
    monkeypatch.setattr(catching_up, "MAX_CHANGES", looked_at)
    async with world(url) as w:
        network, _ = await w.segment()
        other = await Store.open(url, clock=w.clock)
        projects = [f"p{at}" for at in range(catching_up.USAGES + 5)]
        for turn in range(4):
            for store in (w.store, other):
                for project in projects[turn:]:
                    spec = PortSpec(project_id=project, network_id=network.id)
                    await store.transact(lambda tx, spec=spec: create_port(tx, spec))  # type: ignore[misc]
        for store in (w.store, other):
            counts = await store.transact(lambda tx: [tx.usage(project, Kind.PORT) for project in projects])
            assert counts == [2 * min(at + 1, 4) for at in range(len(projects))]
        assert await w.store.read(contradictions) == []
        await other.close()


async def test_looks_that_are_read_together_find_each_its_own(url: str) -> None:
    """Also one for a port that is not there, one that asks for another than it said, and one that fails."""
    async with world(url) as w:
        network, _ = await w.segment()
        ids = [(await w.port(network.id)).port.id for _ in range(20)]
        missing = PortId("missing")

        async def look(asked: PortId, said: PortId) -> str | None:
            view = await w.store.look(lambda rows: rows.port(asked), ports=(said,))
            return None if view is None else view.port.id

        def fail(rows: Snapshot) -> None:
            assert rows.port(ids[0]) is not None
            raise Conflict("as asked for")

        looks = [look(id_, id_) for id_ in ids] + [look(missing, missing), look(ids[3], ids[4])]
        *found, failed = await asyncio.gather(*looks, w.store.look(fail, ports=(ids[0],)), return_exceptions=True)
        assert found == [*ids, None, ids[3]]
        assert isinstance(failed, Conflict)
        await w.store.transact(lambda tx: delete_port(tx, ids[5]))
        assert await asyncio.gather(look(ids[5], ids[5]), look(ids[6], ids[6])) == [None, ids[6]]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Texts, ["", "a", "\u00fc\u2603", None, Kind.PORT, "x" * 70_000]),
        (Texts, [None]),
        (Blobs, [b"", b"\x00\xff", None, bytes(range(256))]),
        (Integers, [0, -1, None, 2**63 - 1, -(2**63)]),
        (Floats, [0.0, -1.5, None, 1e300, 7]),
    ],
)
def test_columns_arrive_as_they_were(url: str, kind: type[Column], values: list[object]) -> None:
    connection = PostgresEngine(url).connect()
    array = {Texts: "text[]", Blobs: "bytea[]", Integers: "int8[]", Floats: "float8[]"}[kind]
    rows = connection.execute(psycopg.sql.SQL(f"SELECT * FROM unnest(%b::{array})"), [kind(values)]).fetchall()  # type: ignore[arg-type]
    connection.close()
    assert [row[0] for row in rows] == values


async def test_few_rows_are_read_of_tables_that_the_server_knows_nothing_of(url: str) -> None:
    """A database that grows fast from nothing is planned for without statistics until the server has looked at it."""
    spec = PortSpec(project_id="p1", network_id=NetworkId(""))
    async with world(url) as w:
        await asyncio.to_thread(_never_look, url)
        spec = msgspec.structs.replace(spec, network_id=(await w.segment("10.0.0.0/16"))[0].id)
        for _ in range(6):
            views = await w.store.transact(lambda tx: create_ports(tx, [spec] * 1_000))
    before = await asyncio.to_thread(_rows_read, url)
    one, other = await Store.open(url), await Store.open(url)
    for view in views[:8]:  # a plan for all parameters is made after five executions
        page = {"after_id": view.port.id, "limit": 100}
        for store in (one, other):
            await store.transact(lambda tx: create_port(tx, spec))
            await store.transact(lambda tx, id_=view.port.id: bind_port(tx, id_, NodeName("node1")))  # type: ignore[misc]
            await store.read(lambda rows, page=page: rows.ports(network_id=spec.network_id, **page))  # type: ignore[misc]
            await store.read(lambda rows, page=page: rows.ports(project_id="p1", **page))  # type: ignore[misc]
            await store.read(lambda rows: change_log.after(rows, Revision(rows.revision() - 5)))
    await one.close()
    await other.close()
    read = await asyncio.to_thread(_rows_read, url)
    grown = {table: read[table] - before[table] for table in read}
    assert max(grown.values()) < 3 * 6_000, grown  # each process has to know once which addresses are taken


def _never_look(url: str) -> None:
    """Have a server learn nothing about the tables that grow."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("ports", "fixed_ips", "history", "changes", "bindings"):
            connection.execute(
                psycopg.sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = false)").format(psycopg.sql.Identifier(table))
            )


def _rows_read(url: str) -> dict[str, int]:
    """Return how many rows a server has read of each table, in order or by an index, for sessions that have ended."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT relname, seq_tup_read + coalesce((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i"
            " WHERE i.relid = t.relid), 0) FROM pg_stat_user_tables t"
        ).fetchall()
    return {table: int(count) for table, count in rows}


async def test_a_server_that_dies_and_comes_back(server: PostgresServer, url: str) -> None:
    async with world(url) as w:
        network, _ = await w.segment()
        before = await w.port(network.id)
        server.kill()
        with pytest.raises(Transient):
            await w.port(network.id)
        with pytest.raises(Transient, match="cannot be read"):
            await w.view(before.port.id)
        server.start()
        after = await w.port(network.id)
        assert {view.port.id for view in await w.store.read(lambda snapshot: snapshot.ports())} >= {
            before.port.id,
            after.port.id,
        }
        told = RealizationReport(port_id=after.port.id, epoch=0, state=RealizationState.UP)
        answer = await w.store.transact(lambda tx: report(tx, [told], actor="agent/node1", node=NodeName("node1")))
        assert answer.ignored
        assert await w.store.read(contradictions) == []


async def test_the_schema_is_the_one_that_statements_are_written_for(url: str) -> None:
    store, second = await asyncio.gather(Store.open(url), Store.open(url))
    await store.close()
    await second.close()
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


async def test_a_database_of_the_first_version_goes_forward(url: str, tmp_path: Path) -> None:
    await goes_forward(tmp_path, url, "0001")


async def test_a_database_moves_from_sqlite_without_loss(url: str, tmp_path: Path) -> None:
    file = f"sqlite:///{tmp_path}/weft.db"
    async with world(file) as w:
        network, _ = await w.segment()
        view = await w.active(network.id, "node1")
        await w.router()
        w.store.revision  # noqa: B018
        history = await w.store.read(lambda snapshot: snapshot.history(view.port.id))
    source, target = SqliteEngine(file), engine_of(url)
    lines = list(export(source))
    source.release()
    assert load(target, lines) == len(lines) - 2
    assert list(export(target)) == lines
    async with world(url, w.clock) as w:
        assert (await w.view(view.port.id)).port == view.port
        assert await w.store.read(lambda snapshot: snapshot.history(view.port.id)) == history
        assert await w.store.read(contradictions) == []
        await w.active(network.id, "node2")
        assert await w.store.read(contradictions) == []


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(Permanent, match="cannot reach the database") as refused:
        await Store.open("postgresql://weft:secret@127.0.0.1:1/weft")
    assert "secret" not in str(refused.value)
