"""Ports that are deleted at once: each leaves what it had, and what they have in common is asked for once."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from core_world import PROJECT, World, world
from test_store_transact import hold

from weft.intent.floating_ips import FloatingIpSpec, create_floating_ip
from weft.intent.gateways import GatewaySpec, set_gateway
from weft.intent.networks import NetworkChanges, delete_network, update_network
from weft.intent.port_names import Selector, create_or_get, port_by_name
from weft.intent.ports import PortSpec, delete_port
from weft.intent.routers import add_interface
from weft.intent.subnets import delete_subnet
from weft.intent.workloads import claim, release, warm
from weft.model.errors import Conflict
from weft.model.ids import NetworkId, NodeName, PortId
from weft.model.supply import FloatingIp
from weft.protocol.workload import WarmOrder, WorkloadClaim, WorkloadRelease
from weft.store import Kind, PortView, Transaction, group
from weft.store.check import contradictions
from weft.store.group import Rows
from weft.store.sqlite import SqliteConnection

NODE = NodeName("node1")


class Asked:
    """How many statements have read something, and how many rows they were given."""

    def __init__(self) -> None:
        self.statements = 0
        self.rows = 0

    def read(self, cursor: sqlite3.Cursor) -> "Rows":
        """Count what a statement has found."""
        found = Rows(cursor.fetchall())
        self.statements += 1
        self.rows += len(found)
        return found


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Asked]]:
    """Count what connections read that are opened within the context, since the last call of what is yielded."""
    count = Asked()
    begin = SqliteConnection.__init__

    def init(self: SqliteConnection, *arguments: Any) -> None:
        begin(self, *arguments)
        run = self.execute

        def execute(sql: str, parameters: Any = ()) -> Any:
            cursor = run(sql, parameters)
            return count.read(cursor) if sql.startswith("SELECT") else cursor

        self.execute = execute  # type: ignore[assignment,method-assign]

    def since() -> Asked:
        nonlocal count
        before, count = count, Asked()
        return before

    with monkeypatch.context() as patch:
        patch.setattr(SqliteConnection, "__init__", init)
        yield since


async def delete_at_once(w: World, ids: Sequence[PortId]) -> None:
    """Delete ports in one group."""
    await do_at_once(w, {id_: partial(delete_port, port_id=id_) for id_ in ids})


async def do_at_once(w: World, each: Mapping[PortId, Callable[[Transaction], object]]) -> None:
    """Do something with each of some ports, all in one group."""
    go = await hold(w)
    works = [w.store.transact(work, ports=(id_,)) for id_, work in each.items()]
    waiting = [asyncio.ensure_future(work) for work in works]
    for _ in range(3):  # they are handed over in portions
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*waiting)


async def test_many_deletions_ask_no_more_than_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    with counted(monkeypatch) as since:
        async with world(tmp_path) as w:
            network, _ = await w.segment()
            for count in (4, 60):
                ids = [(await w.port(network.id, NODE)).port.id for _ in range(count)]
                await w.port(network.id, NODE)  # it stays: none of the others is the node's last
                since()
                await delete_at_once(w, ids)
                asked.append(since().statements)
            assert await w.store.read(contradictions) == []
    assert asked[1] <= asked[0]


async def test_containers_that_go_at_once_ask_no_more_than_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    with counted(monkeypatch) as since:
        async with world(tmp_path) as w:
            await w.segment("10.0.0.0/24")
            stay: list[PortId] = []
            for count in (4, 60):
                ids = await warmed(w, count)
                stay += await warmed(w, 1)  # none of the others is the node's last
                for id_ in ids:
                    said = WorkloadClaim(port_id=id_, epoch=1, name=f"c/{id_}", holder="h")
                    await w.store.transact(partial(claim, node=NODE, asked=said, project_id=PROJECT))
                gone = {id_: WorkloadRelease(port_id=id_, holder="h") for id_ in ids}
                work = partial(release, node=NODE, project_id=PROJECT)
                since()
                await do_at_once(w, {id_: partial(work, asked=each) for id_, each in gone.items()})
                asked.append(since().statements)
            assert [view.port.id for view in await w.store.read(lambda snapshot: snapshot.ports())] == stay
            assert await w.store.read(lambda snapshot: snapshot.count_records(Kind.WORKLOAD_NAME)) == 0
            assert await w.store.read(contradictions) == []
    assert asked[1] <= asked[0]


async def test_what_is_kept_of_deleted_ports_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "MAX_CACHED", 50)
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        for _ in range(8):
            await delete_at_once(w, [(await w.port(network.id, NODE)).port.id for _ in range(20)])
            assert len(w.store._writer.kept.rows) <= 50
        assert await w.store.read(contradictions) == []


async def named(w: World, network_id: NetworkId, name: str) -> PortView:
    spec = PortSpec(project_id=PROJECT, network_id=network_id, name=name)
    return (await w.store.transact(lambda tx: create_or_get(tx, spec, Selector(), in_network=False))).view


async def test_ports_that_go_at_once_leave_their_names_and_floating_ips(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        outside = await w.network("outside")
        await w.subnet(outside, "203.0.113.0/24")
        await w.store.transact(lambda tx: update_network(tx, outside.id, NetworkChanges(external=True)))
        network, subnet = await w.segment()
        router = await w.router()
        await w.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=subnet.id))
        await w.store.transact(lambda tx: set_gateway(tx, router, GatewaySpec(network_id=outside.id)))
        views = [await named(w, network.id, f"port-{at}") for at in range(4)]
        for view in views[1:3]:
            spec = FloatingIpSpec(project_id=PROJECT, network_id=outside.id, port_id=view.port.id)
            await w.store.transact(partial(create_floating_ip, spec=spec))
        await delete_at_once(w, [view.port.id for view in views[:3]])
        floating = await w.store.read(lambda snapshot: snapshot.records(Kind.FLOATING_IP, FloatingIp))
        assert [each.port_id for each in floating] == [None, None]
        for view in views[:3]:
            assert (
                await w.store.read(partial(port_by_name, project_id=PROJECT, network_id=None, name=view.port.name))
                is None
            )
        again = await named(w, network.id, "port-0")
        assert again.port.id != views[0].port.id
        assert (await named(w, network.id, "port-3")).port.id == views[3].port.id
        assert await w.store.read(contradictions) == []


async def warmed(w: World, count: int) -> list[PortId]:
    order = WarmOrder(count=1, network="n")
    made = [await w.store.transact(lambda tx: warm(tx, NODE, order, project_id=PROJECT)) for _ in range(count)]
    return [PortId(each.port_id) for each in made]


async def test_what_waits_for_containers_keeps_nobody_from_deleting(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment()
        second = await w.subnet(network, "2001:db8::/64")
        ids = await warmed(w, 70)  # more than are read at once
        await w.store.transact(lambda tx: delete_subnet(tx, subnet.id))
        assert await w.store.read(lambda snapshot: snapshot.ports(ids=ids)) == []
        await warmed(w, 70)
        await w.store.transact(lambda tx: delete_network(tx, network.id))
        assert await w.store.read(lambda snapshot: (snapshot.ports(), snapshot.subnets())) == ([], [])
        assert await w.store.read(contradictions) == []
        assert second.network_id == network.id


async def test_a_container_among_them_keeps_all(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment("10.0.0.0/20")
        ids = await warmed(w, 70)
        for at in range(23):
            said = WorkloadClaim(port_id=ids[3 * at], epoch=1, name=f"c/{at}", holder="h")
            await w.store.transact(partial(claim, node=NODE, asked=said, project_id=PROJECT))
        revision = w.store.revision
        with pytest.raises(Conflict) as raised:
            await w.store.transact(lambda tx: delete_network(tx, network.id))
        assert raised.value.kind == "NetworkInUse"
        assert raised.value.message.endswith(f"{ids[3 * 18]},{ids[3 * 19]} and more.")
        with pytest.raises(Conflict) as raised:
            await w.store.transact(lambda tx: delete_subnet(tx, subnet.id))
        assert raised.value.kind == "SubnetInUse"
        assert w.store.revision == revision
        assert len(await w.store.read(lambda snapshot: snapshot.ports())) == 70


async def test_how_much_is_read_does_not_grow_with_the_ports_of_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as since:
        async with world(tmp_path) as w:
            network, subnet = await w.segment("10.0.0.0/20")
            for _ in range(200):
                await w.port(network.id)
            works = (partial(delete_network, network_id=network.id), partial(delete_subnet, subnet_id=subnet.id))
            for work in works:
                since()
                with pytest.raises(Conflict):
                    await w.store.transact(work)
                assert since().rows < 100
