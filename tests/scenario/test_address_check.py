"""The check of all addresses: what it finds in rows broken by hand, and that it frees only on second sight."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.controller.addresses import CheckResult, check_addresses
from weft.intent.addresses import QUARANTINE_S
from weft.intent.held import FOREVER, Held, HeldIp, holds, set_policy
from weft.intent.plan import PrefixSpec, delegate
from weft.intent.plan_rows import tree_of
from weft.intent.ports import delete_port
from weft.intent.routers import add_interface
from weft.ipam.blocks import Block
from weft.model.addresses import Mac, parse_network
from weft.model.ids import NodeName
from weft.model.plan import ROUTED, Level, Owner
from weft.store import Kind, Transaction


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as opened:
        yield opened


async def check(core: World, *, fix: bool = False) -> CheckResult:
    return await check_addresses(core.store, now=core.clock.now, fix=fix)


async def found(core: World, *, fix: bool = False) -> list[tuple[str, str, str]]:
    return [(each.about, each.trouble, state) for each, state in (await check(core, fix=fix)).findings]


async def seen_twice(core: World, subject: str, trouble: str) -> None:
    """A first check finds it, one too early does not trust it, one a quarantine later repairs it, and it is gone."""
    assert await found(core, fix=True) == [(subject, trouble, "new")]
    core.clock.advance(QUARANTINE_S - 1)
    assert await found(core, fix=True) == [(subject, trouble, "new")]
    core.clock.advance(1.0)
    assert await found(core) == [(subject, trouble, "confirmed")], "without --fix nothing is freed"
    assert await found(core, fix=True) == [(subject, trouble, "fixed")]
    core.clock.advance(QUARANTINE_S)
    assert await found(core, fix=True) == []


async def by_hand(tmp_path: Path, statement: str, *values: object) -> None:
    """Change a row as no transaction of weft would."""

    def run() -> None:
        connection = sqlite3.connect(tmp_path / "weft.db", timeout=10)
        with connection:
            assert connection.execute(statement, values).rowcount == 1
        connection.close()

    await asyncio.to_thread(run)


async def do(core: World, work: Callable[[Transaction], object]) -> None:
    await core.store.transact(work)


async def test_what_is_in_order(core: World) -> None:
    network, subnet = await core.segment()
    router = await core.router()
    await do(core, lambda tx: add_interface(tx, router.id, subnet_id=subnet.id))
    await do(core, lambda tx: set_policy(tx, network.id, None))
    view = await core.port(network.id, "node1", name="a")
    await do(core, lambda tx: delete_port(tx, view.port.id))
    await core.port(network.id, name="b")
    assert (await check(core)).findings == []


async def test_an_address_whose_port_is_gone(core: World, tmp_path: Path) -> None:
    network, _ = await core.segment("10.0.0.0/30")
    view = await core.port(network.id)
    await by_hand(tmp_path, "DELETE FROM ports WHERE id = ?", view.port.id)
    await seen_twice(core, "address", "leak")
    assert (await core.port(network.id)).port.fixed_ips[0].address == view.port.fixed_ips[0].address


async def test_an_address_that_its_port_does_not_know(core: World, tmp_path: Path) -> None:
    network, subnet = await core.segment("10.0.0.0/29")
    view = await core.port(network.id)
    statement = "INSERT INTO fixed_ips (network_id, address, subnet_id, port_id) VALUES (?, ?, ?, ?)"
    await by_hand(tmp_path, statement, network.id, "10.0.0.6", subnet.id, view.port.id)
    await seen_twice(core, "address", "leak")
    assert (await core.view(view.port.id)).port == view.port


async def test_an_address_that_two_ports_have(core: World, tmp_path: Path) -> None:
    network, _ = await core.segment()
    first, second = await core.port(network.id), await core.port(network.id)
    one, two = (str(view.port.fixed_ips[0].address) for view in (first, second))
    statement = "UPDATE ports SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB) WHERE id = ?"
    await by_hand(tmp_path, statement, f'"{two}"', f'"{one}"', second.port.id)
    result = await check(core)
    texts = sorted(each.text for each, _ in result.findings)
    assert texts == sorted(
        [
            f"port {second.port.id} has {one}, which is also port {first.port.id}'s",
            f"{two} of network {network.id} is held by port {second.port.id}, which does not know of it",
        ]
    )


async def test_an_address_that_rests_for_nobody(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/30")
    view = await core.port(network.id)
    address = view.port.fixed_ips[0].address
    await do(core, lambda tx: delete_port(tx, view.port.id))
    await do(core, lambda tx: tx.rest_address(subnet, address, FOREVER))
    await seen_twice(core, "rest", "leak")
    assert (await core.port(network.id)).port.fixed_ips[0].address == address


async def test_a_hold_of_what_another_port_has(core: World) -> None:
    network, subnet = await core.segment()
    view = await core.port(network.id)
    held = Held(
        id="h",
        project_id=PROJECT,
        network_id=network.id,
        port_name="old",
        ips=(HeldIp(subnet.id, str(view.port.fixed_ips[0].address)),),
        mac=Mac("fa:16:3e:00:00:01"),
        since=0.0,
    )
    await do(core, lambda tx: tx.put_record(Kind.HELD_ADDRESS, "h", held, parent=network.id))
    await seen_twice(core, "hold", "orphan")
    assert await core.store.read(holds) == []


async def test_a_gateway_without_its_interface(core: World) -> None:
    network, subnet = await core.segment()
    router = await core.router()
    await do(core, lambda tx: add_interface(tx, router.id, subnet_id=subnet.id))
    await do(core, lambda tx: tx.delete_router_interface(subnet.id))
    await seen_twice(core, "port", "orphan")
    assert await core.store.read(lambda snapshot: snapshot.ports(network_id=network.id)) == []


async def test_the_plan_of_what_is_gone(core: World) -> None:
    _, subnet = await core.segment("10.0.0.0/24")
    spec = PrefixSpec(owner=Owner(Level.PROJECT, PROJECT), cidr=parse_network("10.0.0.0/8"))
    await do(core, lambda tx: delegate(tx, spec))
    await do(core, lambda tx: tx.delete_subnet(subnet.id))
    await seen_twice(core, "plan", "orphan")
    assert len(await core.store.read(lambda snapshot: tree_of(snapshot, ROUTED))) == 1
    await do(core, lambda tx: tx.put_subnet(subnet))
    assert await found(core) == [("plan", "outside", "new")]


async def test_blocks_that_overlap_and_belong_to_nothing(core: World) -> None:
    def block(id_: str, cidr: str) -> Block:
        return Block(id=id_, pool_id="gone", cidr=cidr, node=NodeName("node1"), epoch=1, until=core.clock.now + 1e6)

    for id_, cidr in (("a", "10.0.0.0/26"), ("b", "10.0.0.0/27")):
        await do(core, lambda tx, id_=id_, cidr=cidr: tx.put_record(Kind.BLOCK, id_, block(id_, cidr), parent="gone"))  # type: ignore[misc]
    troubles = ["block double", "block orphan", "block orphan"]
    assert sorted(f"{about} {trouble}" for about, trouble, _ in await found(core)) == troubles
    core.clock.advance(QUARANTINE_S)
    assert sorted(state for _, _, state in await found(core, fix=True)) == ["confirmed", "fixed", "fixed"]
    assert await found(core) == []


async def test_what_passed_by_between_two_checks_is_forgotten(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/30")
    view = await core.port(network.id)
    address = view.port.fixed_ips[0].address
    await do(core, lambda tx: delete_port(tx, view.port.id))
    await do(core, lambda tx: tx.rest_address(subnet, address, FOREVER))
    assert await found(core) == [("rest", "leak", "new")]
    await do(core, lambda tx: tx.rest_address(subnet, address, core.clock.now))
    core.clock.advance(QUARANTINE_S)
    assert await found(core) == []
    await do(core, lambda tx: tx.rest_address(subnet, address, FOREVER))
    assert await found(core, fix=True) == [("rest", "leak", "new")], "it has to be found twice anew"
