"""Several servers on one PostgreSQL: one plan, one owner of what a name keeps, one lease of each block."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

from core_world import PROJECT, World
from test_postgresql import world

from weft.controller.addresses import check_addresses
from weft.intent.blocks import create_pool, grant
from weft.intent.held import set_policy
from weft.intent.plan import PrefixSpec, delegate
from weft.intent.plan_rows import tree_of
from weft.intent.ports import PortSpec, create_port, delete_port
from weft.intent.reservations import reserve
from weft.ipam.blocks import Block
from weft.model.errors import Conflict
from weft.model.ids import NodeName
from weft.model.intent import Reservation
from weft.model.plan import ROUTED, Delegation, Level, Owner
from weft.store import PortView, Store

REPLICAS = 4


@asynccontextmanager
async def replicas(url: str) -> AsyncIterator[tuple[World, list[Store]]]:
    async with world(url) as first:
        others = [await Store.open(url, clock=first.clock) for _ in range(REPLICAS - 1)]
        try:
            yield first, [first.store, *others]
        finally:
            for other in others:
                await other.close()


async def test_overlapping_prefixes_planned_at_once(url: str) -> None:
    async with replicas(url) as (w, stores):
        for base in range(10):
            # Each replica wants another length of the same space: no two of them fit together.
            wanted = [
                PrefixSpec(owner=Owner(Level.PROJECT, f"p{at}"), cidr=ip_network(f"10.{base}.0.0/{16 + at}"))
                for at in range(REPLICAS)
            ]
            outcomes = await asyncio.gather(
                *(
                    store.transact(lambda tx, spec=spec: delegate(tx, spec))  # type: ignore[misc]
                    for store, spec in zip(stores, wanted, strict=True)
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(each, Delegation) for each in outcomes) == 1, outcomes
            assert sum(isinstance(each, Conflict) for each in outcomes) == REPLICAS - 1, outcomes
        tree = await w.store.read(lambda snapshot: tree_of(snapshot, ROUTED))
        assert len(tree) == 10
        assert tree.problems() == []


async def test_prefixes_side_by_side_planned_at_once(url: str) -> None:
    async with replicas(url) as (w, stores):
        for base in range(10):
            wanted = [
                PrefixSpec(owner=Owner(Level.PROJECT, f"p{at}"), cidr=ip_network(f"10.{base}.{at}.0/24"))
                for at in range(REPLICAS)
            ]
            await asyncio.gather(
                *(
                    store.transact(lambda tx, spec=spec: delegate(tx, spec))  # type: ignore[misc]
                    for store, spec in zip(stores, wanted, strict=True)
                )
            )
        assert len(await w.store.read(lambda snapshot: tree_of(snapshot, ROUTED))) == 10 * REPLICAS


async def test_a_name_gets_its_address_back_from_another_replica(url: str) -> None:
    async with replicas(url) as (w, stores):
        network, _ = await w.segment("10.0.0.0/29")
        await w.store.transact(lambda tx: set_policy(tx, network.id, None))
        spec = PortSpec(project_id=PROJECT, network_id=network.id, name="db-0")
        before = await w.port(network.id, name="db-0")
        for store in stores:  # each has an allocator of its own
            await store.transact(lambda tx: create_port(tx, PortSpec(project_id=PROJECT, network_id=network.id)))
        await stores[1].transact(lambda tx: delete_port(tx, before.port.id))
        again = await stores[2].transact(lambda tx: create_port(tx, spec))
        assert again.port.fixed_ips == before.port.fixed_ips
        await stores[3].transact(lambda tx: delete_port(tx, again.port.id))
        outcomes = await asyncio.gather(
            *(store.transact(lambda tx: create_port(tx, spec)) for store in stores), return_exceptions=True
        )
        made = [each for each in outcomes if isinstance(each, PortView)]
        assert [each.port.fixed_ips for each in made] == [before.port.fixed_ips], "one has it, and no other is free"
        assert (await check_addresses(w.store, now=w.clock.now, fix=False)).findings == []


async def test_a_reservation_holds_on_every_replica(url: str) -> None:
    async with replicas(url) as (w, stores):
        network, subnet = await w.segment("10.0.0.0/29")
        for store in stores[:2]:
            await store.transact(lambda tx: create_port(tx, PortSpec(project_id=PROJECT, network_id=network.id)))
        kept = Reservation(start=ip_address("10.0.0.4"), end=ip_address("10.0.0.5"), reason="printers")
        await stores[3].transact(lambda tx: reserve(tx, subnet.id, kept))
        last = await stores[1].transact(lambda tx: create_port(tx, PortSpec(project_id=PROJECT, network_id=network.id)))
        assert str(last.port.fixed_ips[0].address) == "10.0.0.6"


async def test_blocks_granted_at_once(url: str) -> None:
    async with replicas(url) as (w, stores):
        _, subnet = await w.segment("10.0.0.0/24")
        pool = await w.store.transact(lambda tx: create_pool(tx, subnet.id, "10.0.0.128/25", largest=28, smallest=28))
        granted: list[Block] = []
        for _ in range(8):
            outcomes = await asyncio.gather(
                *(
                    store.transact(lambda tx, at=at: grant(tx, NodeName(f"node{at}"), pool.id, 16))  # type: ignore[misc]
                    for at, store in enumerate(stores)
                ),
                return_exceptions=True,
            )
            granted += [each[0] for each in outcomes if isinstance(each, tuple)]
        assert len({block.epoch for block in granted}) == len({block.cidr for block in granted}) == len(granted) == 8
