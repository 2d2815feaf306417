"""Databases as older versions have left them: what is in one of today, in the tables of then."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import command
from core_world import PROJECT, world

from weft.intent.ports import PortSpec, create_port, delete_port
from weft.intent.quotas import used_by
from weft.store import Store
from weft.store.check import contradictions
from weft.store.migration import configuration, current, head

KEPT_COUNTS = "0003"
"""Since when the newest revision is a row, and history is written by piece of work."""


def put_back(source: str, target: str, schema: str) -> None:
    """Make a database of an older schema and fill it with what is in another; both by their SQLAlchemy URLs."""
    command.upgrade(configuration(target), schema)
    old, new = sa.MetaData(), sa.MetaData()
    written, read = sa.create_engine(target), sa.create_engine(source)
    with read.connect() as there, written.begin() as here:
        old.reflect(here)
        new.reflect(there)
        for table in old.sorted_tables:
            if table.name == "alembic_version":
                continue
            rows = [dict(row) for row in there.execute(sa.select(new.tables[table.name])).mappings()]
            here.execute(sa.delete(table))
            if schema < KEPT_COUNTS:
                rows = _before_counts(table.name, rows)
            for row in rows:
                here.execute(sa.insert(table), {column.name: row[column.name] for column in table.c})
        if here.dialect.name == "postgresql":
            here.execute(sa.text("SELECT setval('history_seq_seq', 1 + (SELECT max(seq) FROM history))"))
    written.dispose()
    read.dispose()


def _before_counts(table: str, rows: list[Any]) -> list[dict[str, Any]]:
    if table == "cursors":
        return [row for row in rows if row["name"] != "revision"]
    if table == "history":
        entries = [(row, entry) for row in rows for entry in _entries(row)]
        return [row | {"seq": seq, "body": bytes(entry)} for seq, (row, entry) in enumerate(entries, 1)]
    return rows


def _entries(row: Mapping[str, Any]) -> list[msgspec.Raw]:
    return msgspec.json.decode(bytes(row["body"]), type=list[msgspec.Raw])


async def goes_forward(folder: Path, url: str, schema: str) -> None:
    """Hold that a store which opens a database of an older schema has all that was in it, and goes on."""
    now, then = f"sqlite:///{folder}/now/weft.db", url.replace("postgresql:", "postgresql+psycopg:")
    async with world(folder / "now") as w:
        network, _ = await w.segment()
        await w.router()
        view = await w.active(network.id, "node1")
        gone = await w.port(network.id)
        await w.store.transact(lambda tx: delete_port(tx, gone.port.id))
        history = await w.store.read(lambda snapshot: snapshot.history(view.port.id))
        revision = w.store.revision
    await asyncio.to_thread(put_back, now, then, schema)
    assert current(then) == schema
    store = await Store.open(url, clock=w.clock)
    try:
        assert current(then) == head()
        assert store.revision == revision
        assert await store.read(contradictions) == []
        assert await store.read(lambda snapshot: snapshot.port(view.port.id)) == view
        assert await store.read(lambda snapshot: snapshot.history(view.port.id)) == history
        used = await store.read(lambda snapshot: used_by(snapshot, PROJECT))
        assert [used[kind] for kind in ("network", "subnet", "router", "port")] == [1, 1, 1, 1]
        made = await store.transact(lambda tx: create_port(tx, PortSpec(project_id=PROJECT, network_id=network.id)))
        assert made.port.fixed_ips[0].address not in {view.port.fixed_ips[0].address, gone.port.fixed_ips[0].address}
        assert store.revision == revision + 1
        assert await store.read(contradictions) == []
    finally:
        await store.close()
