"""The inventory as it is read: the present one, also if it is another than the one that was read before."""

from pathlib import Path

import sqlalchemy as sa
from core_world import small_dc, world

from weft.intent.inventory import replace_inventory
from weft.model.inventory import Inventory
from weft.store import Store
from weft.store import schema as t

_FORGET = sa.delete(t.cursors).where(t.cursors.c.name == sa.literal_column("'inventory'"))


async def nodes(store: Store) -> set[str]:
    return set(await store.read(lambda snapshot: snapshot.topology().nodes))


def without_the_last_node(inventory: Inventory) -> Inventory:
    gone = inventory.nodes[-1].name
    return Inventory(
        sites=inventory.sites,
        switches=inventory.switches,
        nodes=inventory.nodes[:-1],
        links=tuple(link for link in inventory.links if gone not in (link.a.device, link.b.device)),
    )


async def test_a_new_inventory_is_seen_by_whoever_reads_and_writes(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        before = await nodes(w.store)
        smaller = without_the_last_node(small_dc())
        await w.store.transact(lambda tx: replace_inventory(tx, smaller))
        assert await nodes(w.store) == before - {small_dc().nodes[-1].name}
        assert set(await w.store.transact(lambda tx: tx.topology().nodes)) == await nodes(w.store)
        await w.store.transact(lambda tx: replace_inventory(tx, small_dc()))
        assert await nodes(w.store) == before


async def test_the_work_that_replaces_it_sees_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        smaller = without_the_last_node(small_dc())

        def work(tx):  # type: ignore[no-untyped-def]
            replace_inventory(tx, smaller)
            return set(tx.topology().nodes)

        assert await w.store.transact(work) == {node.name for node in smaller.nodes}


async def test_two_databases_have_their_own(tmp_path: Path) -> None:
    async with world(tmp_path / "a") as a, world(tmp_path / "b", inventory=without_the_last_node(small_dc())) as b:
        assert await nodes(a.store) != await nodes(b.store)


async def test_a_database_without_the_mark_is_read_as_it_is(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        before = await nodes(w.store)
        await w.store.transact(lambda tx: tx.run(_FORGET))
        assert await nodes(w.store) == before
