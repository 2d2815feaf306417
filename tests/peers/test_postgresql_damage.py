"""A PostgreSQL with damaged pages: what it says of them is said once, the rest is read, and nothing is written."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from bench.postgres import PostgresServer
from click.testing import CliRunner
from structlog.testing import capture_logs
from test_postgresql import world

from weft.cli.db import db
from weft.intent.ports import PortSpec, create_port
from weft.model.errors import Permanent, Transient
from weft.store import PortView, Store

pytestmark = [  # a connection that failed is closed
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

PAGE_BYTES = 8192


def torn(page: bytes) -> bytes:
    """Return a page of which a part is another's: its header is right, its checksum is not."""
    return page[: PAGE_BYTES // 2] + b"\x5a" * (PAGE_BYTES // 2)


def lost(page: bytes) -> bytes:
    """Return what a disk gives back of a page that was never written, which is no page of an index."""
    return bytes(len(page))


def spoil(server: PostgresServer, url: str, relation: str, number: int, change: Callable[[bytes], bytes]) -> None:
    """Stop a server, change a page of a table or an index in its file, and start it again."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pg_relation_filepath(%s)", [relation]).fetchone()
    assert found is not None
    server.stop()
    with server.file(found[0]).open("r+b") as file:
        file.seek(number * PAGE_BYTES)
        page = file.read(PAGE_BYTES)
        assert len(page) == PAGE_BYTES
        file.seek(number * PAGE_BYTES)
        file.write(change(page))
    server.start()


async def test_a_torn_page_of_a_table_is_said_once_and_nothing_is_written_any_more(
    server: PostgresServer, url: str
) -> None:
    async with world(url) as w:
        network, _ = await w.segment()
        port = (await w.port(network.id)).port
    spoil(server, url, "ports", 0, torn)
    with capture_logs() as logs:
        store = await Store.open(url)
        for _ in range(3):
            with pytest.raises(Transient, match=r"is damaged, .*: invalid page in block 0 of relation") as raised:
                await store.read(lambda snapshot: snapshot.ports())
            assert raised.value.kind == "DatabaseDamaged"
            with pytest.raises(Transient, match="is damaged"):
                await store.look(lambda snapshot: snapshot.port(port.id), ports=(port.id,))
            with pytest.raises(Transient, match="is damaged"):
                await store.transact(lambda tx: tx.put_agent_seen("node1", 1.0))  # type: ignore[arg-type]
        assert [each.id for each in await store.read(lambda snapshot: snapshot.networks())] == [network.id]
        assert await store.read(lambda snapshot: snapshot.agents()) == {}
        await store.close()
    assert [each["event"] for each in logs] == ["database_damaged"]
    assert not any("exc_info" in each for each in logs)


async def test_who_reads_beside_one_that_meets_it_is_answered(server: PostgresServer, url: str) -> None:
    async with world(url) as w:
        network, _ = await w.segment()
        ids = [(await w.port(network.id)).port.id for _ in range(3)]
    spoil(server, url, "history", 0, torn)
    store = await Store.open(url)
    [found, history, networks] = await asyncio.gather(
        store.read(lambda snapshot: snapshot.port(ids[0]), ports=(ids[0],)),
        store.read(lambda snapshot: snapshot.history(ids[1])),
        store.read(lambda snapshot: snapshot.networks()),
        return_exceptions=True,
    )
    await store.close()
    assert isinstance(found, PortView)
    assert isinstance(history, Transient)
    assert history.kind == "DatabaseDamaged"
    assert networks == [network]


async def test_a_lost_page_of_an_index_undoes_the_group_that_meets_it(server: PostgresServer, url: str) -> None:
    async with world(url) as w:
        network, _ = await w.segment()
        await w.port(network.id)
        revision = w.store.revision
    spoil(server, url, "fixed_ips_pkey", 1, lost)
    spec = PortSpec(project_id="p", network_id=network.id)
    with capture_logs() as logs:
        store = await Store.open(url)
        with pytest.raises(
            Transient,
            match=r"is damaged, .*: index .* contains unexpected zero page .*; see what",
        ):
            await store.transact(lambda tx: create_port(tx, spec))
        with pytest.raises(Transient, match="is damaged"):
            await store.transact(lambda tx: tx.put_agent_seen("node1", 1.0))  # type: ignore[arg-type]
        assert (store.revision, await store.read(lambda snapshot: snapshot.revision())) == (revision, revision)
        assert len(await store.read(lambda snapshot: snapshot.ports())) == 1
        await store.close()
    assert [each["event"] for each in logs] == ["database_damaged"]


async def test_a_start_that_meets_it_says_so_in_a_line(server: PostgresServer, url: str) -> None:
    async with world(url):
        pass
    spoil(server, url, "cursors", 0, torn)
    with pytest.raises(Permanent, match=r"^cannot open the database .*: invalid page in block 0 of .*$"):
        await Store.open(url)


async def test_a_check_finds_it(server: PostgresServer, url: str) -> None:
    async with world(url) as w:
        network, _ = await w.segment()
        await w.port(network.id)
    spoil(server, url, "history", 0, torn)
    answer = await asyncio.to_thread(CliRunner().invoke, db, ["check", "--db", url])
    assert isinstance(answer.exception, Permanent)
    assert "invalid page in block 0 of relation" in answer.exception.message
