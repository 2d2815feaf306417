"""Workloads in every order that container runtimes produce: only the present holder releases, and the name keeps."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from core_world import PROJECT, World, world
from msgspec.structs import replace

from weft.intent.inventory import replace_inventory
from weft.intent.workloads import attach, release, workload_of, workloads_on
from weft.model.errors import Conflict, Forbidden, Invalid, NotFound
from weft.model.ids import NodeName, PortId
from weft.protocol.workload import Workload, WorkloadRelease, WorkloadRequest

HERE, THERE = NodeName("node1"), NodeName("node2")


@pytest.fixture
async def dc(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.subnet(await made.network("pods"), "10.0.0.0/29")
        yield made


async def add(at: World, node: NodeName, holder: str, name: str = "db-0", **asked: object) -> Workload:
    request = WorkloadRequest(name=name, holder=holder, **{"network": "pods", **asked})  # type: ignore[arg-type]
    return await at.store.transact(lambda tx: attach(tx, node, request, project_id=PROJECT))


async def drop(at: World, node: NodeName, holder: str, name: str = "db-0") -> bool:
    gone = WorkloadRelease(name=name, holder=holder)
    return await at.store.transact(lambda tx: release(tx, node, gone, project_id=PROJECT))


async def on(at: World, node: NodeName) -> list[tuple[str, str]]:
    found = await at.store.read(lambda snapshot: workloads_on(snapshot, node))
    return [(each.name, each.holder) for each in found]


async def test_a_name_has_its_address_wherever_it_goes(dc: World) -> None:
    first = await add(dc, HERE, "a")
    second = await add(dc, THERE, "b")
    assert (second.port_id, second.mac, second.addresses) == (first.port_id, first.mac, first.addresses)
    assert second.epoch > first.epoch
    assert (await on(dc, HERE), await on(dc, THERE)) == ([], [("db-0", "b")])


async def test_late_and_repeated_deletions_of_others_change_nothing(dc: World) -> None:
    await add(dc, HERE, "a")
    held = await add(dc, THERE, "b")
    for node, holder in ((HERE, "a"), (HERE, "a"), (THERE, "a"), (HERE, "b"), (THERE, "stranger")):
        assert not await drop(dc, node, holder)
    assert await on(dc, THERE) == [("db-0", "b")]
    assert await drop(dc, THERE, "b")
    assert not await drop(dc, THERE, "b")
    view = await dc.view(PortId(held.port_id))
    assert view.life.current is None
    assert [str(ip.address) for ip in view.port.fixed_ips] == [held.addresses[0].address], "the name keeps it"


async def test_a_retry_on_the_same_node_takes_over(dc: World) -> None:
    first = await add(dc, HERE, "a")
    second = await add(dc, HERE, "b")
    assert second.port_id == first.port_id
    assert not await drop(dc, HERE, "a")
    assert await on(dc, HERE) == [("db-0", "b")]


async def test_the_same_call_twice_is_one(dc: World) -> None:
    first = await add(dc, HERE, "a")
    assert await add(dc, HERE, "a") == first


async def test_an_ephemeral_port_goes_with_its_holder(dc: World) -> None:
    made = await add(dc, HERE, "a", "web-x2x4z", ephemeral=True)
    assert await drop(dc, HERE, "a", "web-x2x4z")
    assert await dc.store.read(lambda snapshot: snapshot.port(PortId(made.port_id))) is None


async def test_what_is_not_a_workloads_is_not_touched(dc: World) -> None:
    network = next(each for each in await dc.store.read(lambda s: s.networks()) if each.name == "pods")
    vm = await dc.port(network.id, "node1", name="db-0")
    with pytest.raises(Conflict, match="not to a container"):
        await add(dc, THERE, "a")
    assert not await drop(dc, HERE, "a")
    assert await on(dc, HERE) == []
    with pytest.raises(NotFound):
        await dc.store.read(lambda snapshot: workload_of(snapshot, HERE, vm.port.id))


async def test_a_node_gets_ports_of_its_own_projects_only(dc: World) -> None:
    with pytest.raises(Forbidden, match="node 'node1' runs containers of p1, not of project 'p2'"):
        await add(dc, HERE, "a", project_id="p2")
    inventory = await dc.store.read(lambda snapshot: snapshot.inventory())
    nodes = tuple(replace(node, projects=("p2",)) if node.name == HERE else node for node in inventory.nodes)
    await dc.store.transact(lambda tx: replace_inventory(tx, replace(inventory, nodes=nodes)))
    with pytest.raises(Forbidden, match="runs containers of p2"):
        await add(dc, HERE, "a")
    with pytest.raises(NotFound, match="in project 'p2'"):
        await add(dc, HERE, "a", project_id="p2")


async def test_what_cannot_be_had_is_said(dc: World) -> None:
    with pytest.raises(NotFound, match="no network is called 'nowhere' in project 'p1'; it has pods"):
        await add(dc, HERE, "a", network="nowhere")
    with pytest.raises(Invalid, match="a name and a holder"):
        await add(dc, HERE, "")
    with pytest.raises(Invalid, match="names no network"):
        await add(dc, HERE, "a", network=None)
    for number in range(5):
        await add(dc, HERE, f"c{number}", f"w-{number}")
    with pytest.raises(Conflict):
        await add(dc, HERE, "c5", "w-5")
    assert len(await on(dc, HERE)) == 5
