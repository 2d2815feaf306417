"""A file with damaged pages: a start refuses it; a server that runs says so once, reads what it can, writes nothing."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from api_server import api_server
from core_world import world
from structlog.testing import capture_logs

from weft.intent.ports import PortSpec, create_port
from weft.model.errors import Permanent, Transient
from weft.store import Store, open_engine, sqlite
from weft.store.check import contradictions


def spoil(path: Path, table: str) -> None:
    """Overwrite the page of a file that a table begins with, as a disk does that has lost it."""
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x5a" * size)
        os.fsync(file.fileno())


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with a port, which nobody has open."""
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        await w.port(network.id)
    return tmp_path / "weft.db"


async def test_a_start_refuses_a_damaged_file_and_says_what_to_do(path: Path) -> None:
    spoil(path, "fixed_ips")
    with pytest.raises(Permanent) as raised:
        open_engine(f"sqlite:///{path}")
    assert raised.value.message.startswith(f"cannot open the database sqlite:///{path}: it is damaged: ")
    assert "`weft db check`" in raised.value.message


async def test_damage_that_is_met_is_said_once_and_nothing_is_written_any_more(path: Path) -> None:
    url = f"sqlite:///{path}"
    store = await Store.open(url)
    [network] = await store.read(lambda snapshot: snapshot.networks())
    spoil(path, "ports")
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(Transient, match=r"is damaged, .*; see what `weft db check` finds") as raised:
                await store.read(lambda snapshot: snapshot.ports())
            assert raised.value.kind == "DatabaseDamaged"
            with pytest.raises(Transient, match="is damaged"):
                await store.look(lambda snapshot: snapshot.ports())
            with pytest.raises(Transient, match="is damaged"):
                await store.transact(lambda tx: create_port(tx, PortSpec(project_id="p", network_id=network.id)))
        assert [each.id for each in await store.read(lambda snapshot: snapshot.networks())] == [network.id]
        await store.close()
    assert [each["event"] for each in logs] == ["database_damaged"]
    assert not any("exc_info" in each for each in logs)


async def test_damage_that_the_writer_meets_undoes_its_group(path: Path) -> None:
    store = await Store.open(f"sqlite:///{path}")
    try:
        [network] = await store.read(lambda snapshot: snapshot.networks())
        revision = store.revision
        spoil(path, "fixed_ips")
        with capture_logs() as logs, pytest.raises(Transient, match="is damaged"):
            await store.transact(lambda tx: create_port(tx, PortSpec(project_id="p", network_id=network.id)))
        assert [each["event"] for each in logs] == ["database_damaged"]
        assert store.revision == revision
        assert len(await store.read(lambda snapshot: snapshot.ports())) == 1
        with pytest.raises(Transient, match="is damaged"):
            await store.transact(lambda tx: tx.put_agent_seen("node1", 1.0))  # type: ignore[arg-type]
    finally:
        await store.close()


async def test_damage_that_is_met_in_what_a_query_said_it_would_ask_for_is_said_too(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        (port_id,) = connection.execute("SELECT id FROM ports").fetchone()
    connection.close()
    store = await Store.open(f"sqlite:///{path}")
    try:
        spoil(path, "ports")
        with capture_logs() as logs, pytest.raises(Transient, match="is damaged"):
            await store._readers.read(lambda snapshot: snapshot.port(port_id), (port_id,))
        assert [each["event"] for each in logs] == ["database_damaged"]
    finally:
        await store.close()


async def test_processes_of_a_server_tell_each_other(path: Path) -> None:
    engine = open_engine(f"sqlite:///{path}")
    engine.share()
    store = await Store.open(engine)
    try:
        engine.remember_damage("another process has met it")
        with capture_logs() as logs, pytest.raises(Transient, match="another process has met it"):
            await store.transact(lambda tx: tx.put_agent_seen("node1", 1.0))  # type: ignore[arg-type]
        assert [each["event"] for each in logs] == ["database_damaged"]
    finally:
        await store.close()


async def test_what_a_start_has_no_time_for_is_looked_at_when_it_was_met(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECK_S", 0.0)
    shutil.copy(path, copy := path.with_name("copy"))
    spoil(path, "ports")
    store = await Store.open(f"sqlite:///{path}")
    with pytest.raises(Transient, match="is damaged"):
        await store.read(lambda snapshot: snapshot.ports())
    await store.close()
    with pytest.raises(Permanent, match="it is damaged"):
        open_engine(f"sqlite:///{path}")
    shutil.copy(copy, path)
    store = await Store.open(f"sqlite:///{path}")
    assert await store.read(contradictions) == []
    await store.transact(lambda tx: tx.put_agent_seen("node1", 1.0))  # type: ignore[arg-type]
    await store.close()
    assert not path.with_name("weft.db.damaged").exists()


async def test_callers_are_told(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server:
        network, _ = await server.make_network()
        await server.make("port", network_id=network)
    async with api_server(tmp_path) as server:
        spoil(tmp_path / "weft.db", "ports")
        with capture_logs() as logs:
            for path in ("/v2.0/ports", "/v2.0/ports"):
                answer = await server.answer("GET", path)
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
                assert answer.json()["NeutronError"]["type"] == "DatabaseDamaged"
            answer = await server.answer("POST", "/v2.0/ports", json={"port": {"network_id": network}})
            assert (answer.status_code, "`weft db check`" in answer.text) == (503, True)
            assert (await server.answer("GET", f"/v2.0/networks/{network}")).status_code == 200
    assert [each["event"] for each in logs if each["log_level"] == "error"] == ["database_damaged"]
    assert not any("exc_info" in each for each in logs)
