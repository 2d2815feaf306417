"""Records: objects of a kind, looked up by owner, name, parent or their one unique key."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from core_world import world

from weft.model.errors import Conflict
from weft.store import Change, Kind, Op, Transaction


class Thing(msgspec.Struct, frozen=True):
    """What the tests store."""

    text: str


async def test_records_are_found_by_what_they_are_filed_under(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.transact(
            lambda tx: [
                tx.put_record(Kind.NODE, "b", Thing("two"), project_id="p", name="n", parent="x", unique="u2"),
                tx.put_record(Kind.NODE, "a", Thing("one"), project_id="p", parent="y", unique="u1"),
                tx.put_record(Kind.SWITCH, "a", Thing("other kind"), project_id="p"),
            ]
        )
        seen = w.store.read
        assert await seen(lambda s: s.record(Kind.NODE, Thing, "a")) == Thing("one")
        assert await seen(lambda s: s.record(Kind.NODE, Thing, "c")) is None
        assert await seen(lambda s: s.records(Kind.NODE, Thing, project_id="p")) == [Thing("one"), Thing("two")]
        assert await seen(lambda s: s.records(Kind.NODE, Thing, name="n", parent="x")) == [Thing("two")]
        assert await seen(lambda s: s.records(Kind.NODE, Thing, unique="u1")) == [Thing("one")]
        assert await seen(lambda s: s.records(Kind.NODE, Thing, ids=["b", "c"])) == [Thing("two")]
        assert await seen(lambda s: s.count_records(Kind.NODE, project_id="p")) == 2
        assert await seen(lambda s: s.count_records(Kind.NODE, parent="x")) == 1


async def test_a_key_has_one_record_and_changes_are_logged(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.transact(lambda tx: tx.put_record(Kind.NODE, "a", Thing("one"), unique="u"))
        with pytest.raises(Conflict, match="'u' is taken"):
            await w.store.transact(lambda tx: tx.put_record(Kind.NODE, "b", Thing("two"), unique="u"))
        before = w.store.revision
        await w.store.transact(lambda tx: tx.put_record(Kind.NODE, "a", Thing("new"), unique="u"))
        await w.store.transact(lambda tx: tx.delete_record(Kind.NODE, "a"))
        changes = [change async for batch in _two(w.store.watch(before)) for change in batch]
        assert [(change.id, change.op) for change in changes] == [("a", Op.PUT), ("a", Op.DELETE)]
        assert await w.store.read(lambda s: s.count_records(Kind.NODE)) == 0


async def test_what_waits_to_be_written_is_not_read_ahead(tmp_path: Path) -> None:
    """The writer keeps what it reads: the row from before would be there when its next is in the database."""
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        mine, other, third = [(await w.port(network.id)).port.id for _ in range(3)]

        def look_ahead(tx: Transaction) -> Thing | None:
            tx.look_ahead([third])
            return tx.record(Kind.NODE, Thing, third)

        await asyncio.gather(
            w.store.transact(lambda tx: tx.put_record(Kind.NODE, mine, Thing("new")), ports=(mine, other)),
            w.store.transact(look_ahead),
        )
        assert await w.store.transact(lambda tx: tx.record(Kind.NODE, Thing, mine)) == Thing("new")


async def _two(batches: AsyncIterator[tuple[Change, ...]]) -> AsyncIterator[tuple[Change, ...]]:
    seen = 0
    async for batch in batches:
        yield batch
        seen += len(batch)
        if seen >= 2:
            return
