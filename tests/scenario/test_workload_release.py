"""What becomes of a container's port when the container is gone: by the workload's word, the network's, or its kind."""

from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from core_world import PROJECT, Clock, World, world
from msgspec.structs import replace

from weft.controller.addresses import AddressKeeper, check_addresses
from weft.intent.findings import LATE_S
from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkChanges, NetworkSpec, create_network, update_network
from weft.intent.ports import delete_port
from weft.intent.routers import RouterSpec, add_interface, create_router
from weft.intent.subnets import SubnetSpec, create_subnet
from weft.intent.workload_names import workload_by_name
from weft.intent.workload_presence import compare, settle
from weft.intent.workload_release import held_for_objects, release_held, release_lost
from weft.intent.workloads import attach, release
from weft.model.errors import Invalid
from weft.model.ids import Epoch, NodeName, PortId
from weft.model.retention import RELEASE_LABEL
from weft.protocol.workload import MISSING_S, Workload, WorkloadRelease, WorkloadRequest
from weft.store import Kind, Store

HERE, THERE = NodeName("node1"), NodeName("node2")


class Time:
    """The keeper's clock is the store's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a test sweeps by itself")


@pytest.fixture
async def dc(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.subnet(await made.network("pods"), "10.0.0.0/26")
        yield made


async def add(at: World, name: str, holder: str = "a", node: NodeName = HERE, **asked: object) -> Workload:
    request = WorkloadRequest(name=name, holder=holder, **{"network": "pods", **asked})  # type: ignore[arg-type]
    return await at.store.transact(lambda tx: attach(tx, node, request, project_id=PROJECT))


async def drop(at: World, name: str, holder: str = "a") -> bool:
    gone = WorkloadRelease(name=name, holder=holder)
    return await at.store.transact(lambda tx: release(tx, HERE, gone, project_id=PROJECT))


async def there(at: World, port: Workload) -> bool:
    return await at.store.read(lambda snapshot: snapshot.port(PortId(port.port_id))) is not None


async def sweep(at: World) -> None:
    await AddressKeeper(at.store, clock=Time(at.clock)).sweep()


async def label(at: World, text: str) -> None:
    [network] = await at.store.read(lambda snapshot: snapshot.networks())
    changes = NetworkChanges(labels={RELEASE_LABEL: text})
    await at.store.transact(lambda tx: update_network(tx, network.id, changes))


async def test_a_port_is_kept_for_its_time_and_no_longer(dc: World) -> None:
    port = await add(dc, "db-0", release="10m")
    assert port.release == "600s"
    assert await drop(dc, "db-0")
    dc.clock.advance(599.0)
    await sweep(dc)
    assert await there(dc, port)
    dc.clock.advance(1.5)
    await sweep(dc)
    assert not await there(dc, port)
    assert await dc.store.read(lambda s: workload_by_name(s, PROJECT, "db-0")) is None
    assert await dc.store.read(lambda s: s.count_records(Kind.HELD_WORKLOAD)) == 0
    assert await dc.store.read(lambda s: s.count_records(Kind.WORKLOAD_NAME)) == 0


async def test_who_comes_back_in_time_stops_the_clock(dc: World) -> None:
    port = await add(dc, "db-0", release="10m")
    await drop(dc, "db-0")
    dc.clock.advance(300.0)
    again = await add(dc, "db-0", "b", THERE, release="10m")
    assert (again.port_id, again.addresses) == (port.port_id, port.addresses)
    dc.clock.advance(10_000.0)
    await sweep(dc)
    assert await there(dc, port)


async def test_the_time_runs_on_while_no_server_does(dc: World, tmp_path: Path) -> None:
    port = await add(dc, "db-0", release="10m")
    await drop(dc, "db-0")
    await dc.store.close()
    dc.clock.advance(600.5)
    reopened = World(await Store.open(f"sqlite:///{tmp_path / 'weft.db'}", clock=dc.clock), dc.clock)
    await sweep(reopened)
    assert not await there(reopened, port)
    await reopened.store.close()


@pytest.mark.parametrize(
    ("network", "own", "ephemeral", "meant"),
    [
        (None, None, True, "now"),
        (None, None, False, "never"),
        ("10m", None, True, "600s"),
        ("10m", None, False, "600s"),
        ("10m", "now", False, "now"),
        ("now", "with-object", True, "with-object"),
        ("never", "1h", True, "3600s"),
        ("never", None, True, "never"),
    ],
)
async def test_the_workloads_own_word_wins(
    dc: World, network: str | None, own: str | None, ephemeral: bool, meant: str
) -> None:
    if network is not None:
        await label(dc, network)
    port = await add(dc, "w", ephemeral=ephemeral, release=own)
    assert port.release == meant
    assert await drop(dc, "w")
    assert await there(dc, port) == (meant != "now")


async def test_a_network_that_changes_its_mind_means_what_is_there(dc: World) -> None:
    port = await add(dc, "w")
    await label(dc, "now")
    await drop(dc, "w")
    assert not await there(dc, port)


async def test_a_label_that_is_no_policy_is_refused_where_it_is_set(dc: World) -> None:
    with pytest.raises(Invalid, match="release 'soon' is none"):
        await label(dc, "soon")
    spec = NetworkSpec(project_id=PROJECT, name="n", labels={RELEASE_LABEL: "later"})
    with pytest.raises(Invalid, match="release 'later' is none"):
        await dc.store.transact(lambda tx: create_network(tx, spec))


async def test_what_waits_for_its_object_is_listed_by_cluster_and_released_in_its_epoch(dc: World) -> None:
    port = await add(dc, "prod/shop/web-1", release="with-object", ephemeral=True)
    await add(dc, "test/shop/web-1", release="with-object", ephemeral=True)
    await add(dc, "prod/shop/db-0", release="10m")
    assert await dc.store.read(held_for_objects) == []
    for name in ("prod/shop/web-1", "test/shop/web-1", "prod/shop/db-0"):
        await drop(dc, name)
    assert {each.name for each in await dc.store.read(held_for_objects)} == {"prod/shop/web-1", "test/shop/web-1"}
    [held] = await dc.store.read(lambda snapshot: held_for_objects(snapshot, "prod"))
    assert (held.name, held.port_id, held.epoch) == ("prod/shop/web-1", port.port_id, port.epoch)
    dc.clock.advance(1e6)
    await sweep(dc)
    assert await there(dc, port), "no time ends that"

    async def let(epoch: int) -> bool:
        return await dc.store.transact(lambda tx: release_held(tx, held.port_id, Epoch(epoch), actor="kube"))

    await add(dc, "prod/shop/web-1", "b", release="with-object", ephemeral=True)
    assert not await let(held.epoch), "it was taken up meanwhile"
    await drop(dc, "prod/shop/web-1", "b")
    assert not await let(held.epoch), "and was let go of again, which is another wait"
    [held] = await dc.store.read(lambda snapshot: held_for_objects(snapshot, "prod"))
    assert await let(held.epoch)
    assert not await let(held.epoch)
    assert not await there(dc, port)


async def test_a_port_that_somebody_deletes_waits_for_nothing(dc: World) -> None:
    port = await add(dc, "db-0", release="with-object")
    await drop(dc, "db-0")
    await dc.store.transact(lambda tx: delete_port(tx, PortId(port.port_id)))
    assert await dc.store.read(held_for_objects) == []
    assert await dc.store.read(lambda s: s.count_records(Kind.HELD_WORKLOAD)) == 0
    assert (await add(dc, "db-0")).port_id != port.port_id


async def test_many_times_that_are_over_end_in_one_sweep(dc: World) -> None:
    for number in range(60):
        await add(dc, f"w-{number}", release="1s")
        await drop(dc, f"w-{number}")
    dc.clock.advance(2.0)
    await sweep(dc)
    assert await dc.store.read(lambda s: s.ports()) == []


async def test_a_node_that_is_lost_loses_what_it_had_and_nothing_that_has_moved(dc: World) -> None:
    stays = await add(dc, "db-0")
    moved = await add(dc, "db-1")
    await add(dc, "db-1", "b", THERE)

    async def lose(port: Workload) -> bool:
        return await dc.store.transact(
            lambda tx: release_lost(tx, HERE, PortId(port.port_id), Epoch(port.epoch), actor="operator")
        )

    assert (await lose(stays), await lose(moved)) == (True, False)
    assert not await lose(stays)
    assert (await add(dc, "db-0", "c", THERE)).addresses == stays.addresses


async def test_a_forced_delete_of_a_dead_nodes_pod_is_an_attachment_elsewhere(dc: World) -> None:
    first = await add(dc, "db-0")
    second = await add(dc, "db-0", "b", THERE)
    assert (second.port_id, second.epoch > first.epoch) == (first.port_id, True)
    assert not await drop(dc, "db-0"), "the dead node wakes up and deletes its pod"
    view = await dc.view(PortId(first.port_id))
    assert [each.node for each in view.life.bindings if not each.draining] == [THERE]


async def test_the_check_tells_what_nobody_lets_go_of(dc: World) -> None:
    await add(dc, "db-0", release="1s")
    await add(dc, "db-1")
    await drop(dc, "db-0")

    async def said() -> str:
        result = await check_addresses(dc.store, now=dc.clock.now, fix=True)
        return "\n".join(sorted(each.text for each, _ in result.findings))

    assert await said() == ""
    found = await dc.store.read(lambda snapshot: compare(snapshot, HERE, ()))
    await dc.store.transact(lambda tx: settle(tx, HERE, found))
    await dc.store.transact(lambda tx: tx.put_agent_seen(HERE, tx.clock()))
    dc.clock.advance(LATE_S + MISSING_S + 2)
    text = await said()
    assert "of workload 'db-1' is on node 'node1', whose agent has not had it for 962 s" in text
    assert "should have been let go of by workload 'db-0' 961 s ago: do controllers run?" in text
    assert "1 workloads are on node 'node1', whose agent was last heard 962 s ago" in text
    await add(dc, "db-1", "b", THERE)
    await sweep(dc)
    assert await said() == ""


async def test_two_clusters_with_the_same_names_and_addresses(dc: World) -> None:
    inventory = await dc.store.read(lambda snapshot: snapshot.inventory())
    nodes = tuple(replace(node, projects=("red", "blue")) for node in inventory.nodes)
    await dc.store.transact(lambda tx: replace_inventory(tx, replace(inventory, nodes=nodes)))
    for project in ("red", "blue"):
        network = await dc.store.transact(
            lambda tx, project=project: create_network(tx, NetworkSpec(project_id=project, name="pods"))  # type: ignore[misc]
        )
        subnet = SubnetSpec(project_id=project, network_id=network.id, cidr=ip_network("10.9.0.0/24"))
        made = await dc.store.transact(lambda tx, subnet=subnet: create_subnet(tx, subnet))  # type: ignore[misc]
        router = await dc.store.transact(
            lambda tx, project=project: create_router(tx, RouterSpec(project_id=project, name="vpc"))  # type: ignore[misc]
        )
        await dc.store.transact(
            lambda tx, router=router, made=made: add_interface(tx, router.id, subnet_id=made.id)  # type: ignore[misc]
        )
    red, blue = [await add(dc, "prod/shop/db-0", project, HERE, project_id=project) for project in ("red", "blue")]
    assert red.addresses == blue.addresses
    assert red.network_id != blue.network_id
    gone = WorkloadRelease(name="prod/shop/db-0", holder="red", project_id="blue")
    assert not await dc.store.transact(lambda tx: release(tx, HERE, gone, project_id=PROJECT)), "it is not blue's"
    gone = replace(gone, project_id="red")
    assert await dc.store.transact(lambda tx: release(tx, HERE, gone, project_id=PROJECT))
    assert (await dc.view(PortId(blue.port_id))).life.current is not None
    again = await add(dc, "prod/shop/db-0", "red2", THERE, project_id="red")
    assert again.addresses == red.addresses
