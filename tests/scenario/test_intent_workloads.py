"""Workloads in every order that container runtimes produce: only the present holder releases, and the name keeps."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from core_world import PROJECT, World, world
from msgspec.structs import asdict, replace

from weft.intent.inventory import replace_inventory
from weft.intent.networks import delete_network
from weft.intent.ports import delete_port
from weft.intent.workloads import attach, claim, release, warm, workload_of, workloads_on
from weft.model.errors import Conflict, Forbidden, Invalid, NotFound
from weft.model.ids import NetworkId, NodeName, PortId
from weft.protocol.workload import WarmOrder, Workload, WorkloadClaim, WorkloadRelease, WorkloadRequest
from weft.store.check import contradictions

HERE, THERE = NodeName("node1"), NodeName("node2")


@pytest.fixture
async def dc(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.subnet(await made.network("pods"), "10.0.0.0/29")
        yield made


async def add(at: World, node: NodeName, holder: str, name: str = "db-0", **asked: object) -> Workload:
    request = WorkloadRequest(name=name, holder=holder, **{"network": "pods", **asked})  # type: ignore[arg-type]
    return await at.store.transact(lambda tx: attach(tx, node, request, project_id=PROJECT))


async def drop(at: World, node: NodeName, holder: str, name: str = "db-0", *, port_id: str | None = None) -> bool:
    gone = WorkloadRelease(name=name, holder=holder, port_id=port_id)
    return await at.store.transact(lambda tx: release(tx, node, gone, project_id=PROJECT))


async def warmed(at: World, node: NodeName = HERE, **asked: object) -> Workload:
    order = WarmOrder(count=1, **{"network": "pods", **asked})  # type: ignore[arg-type]
    return await at.store.transact(lambda tx: warm(tx, node, order, project_id=PROJECT))


async def take(
    at: World, port: Workload, holder: str, name: str = "web-x2x4z", *, node: NodeName = HERE, **asked: object
) -> Workload:
    request = WorkloadClaim(
        **{"port_id": port.port_id, "epoch": port.epoch, "name": name, "holder": holder, **asked}  # type: ignore[arg-type]
    )
    return await at.store.transact(lambda tx: claim(tx, node, request, project_id=PROJECT))


async def gone(at: World, port: Workload) -> bool:
    return await at.store.read(lambda snapshot: snapshot.port(PortId(port.port_id))) is None


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
    assert await gone(dc, made)


async def test_what_is_not_a_workloads_is_not_touched(dc: World) -> None:
    network = next(each for each in await dc.store.read(lambda s: s.networks()) if each.name == "pods")
    vm = await dc.port(network.id, "node1", name="db-0")
    assert not await drop(dc, HERE, "a")
    assert not await drop(dc, HERE, "a", port_id=vm.port.id)
    made = await add(dc, THERE, "a")
    assert made.port_id != vm.port.id, "the names of workloads are a space of their own"
    assert await on(dc, HERE) == []
    with pytest.raises(NotFound, match="no workload with port"):
        await take(dc, Workload(**{**asdict(made), "port_id": vm.port.id}), "b", node=HERE)
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


async def test_a_warm_port_gets_its_name_without_a_new_epoch(dc: World) -> None:
    ready = await warmed(dc)
    assert (ready.name, ready.holder, ready.ephemeral) == ("", "", True)
    taken = await take(dc, ready, "a")
    assert (taken.port_id, taken.epoch, taken.addresses) == (ready.port_id, ready.epoch, ready.addresses)
    assert (taken.name, taken.holder) == ("web-x2x4z", "a")
    assert await take(dc, ready, "a") == taken, "said twice, it is one"
    assert await on(dc, HERE) == [("web-x2x4z", "a")]
    steps = [each.step for each in await dc.store.read(lambda s: s.history(PortId(ready.port_id)))]
    assert steps.count("claimed") == 1
    assert await drop(dc, HERE, "a", "web-x2x4z")
    assert await gone(dc, ready)


async def test_a_warm_port_is_one_containers(dc: World) -> None:
    ready = await warmed(dc)
    await take(dc, ready, "a")
    with pytest.raises(Conflict, match="is web-x2x4z's, held by a; claim another for other"):
        await take(dc, ready, "b", "other")
    with pytest.raises(Conflict, match="held by a"):
        await take(dc, ready, "b")
    with pytest.raises(NotFound, match="node 'node2' has no workload"):
        await take(dc, ready, "b", node=THERE)
    with pytest.raises(Conflict, match=f"is at epoch {ready.epoch}, not {ready.epoch + 1}"):
        await take(dc, ready, "a", epoch=ready.epoch + 1)
    assert await on(dc, HERE) == [("web-x2x4z", "a")]


async def test_a_retried_pod_gets_another_warm_port_and_leaves_none_behind(dc: World) -> None:
    first, second = await warmed(dc), await warmed(dc)
    await take(dc, first, "a")
    await take(dc, second, "b")
    assert await gone(dc, first)
    assert not await drop(dc, HERE, "a", "web-x2x4z")
    assert not await drop(dc, HERE, "a", port_id=first.port_id)
    with pytest.raises(NotFound):
        await take(dc, first, "a")
    assert await on(dc, HERE) == [("web-x2x4z", "b")]


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_name_that_keeps_its_port_keeps_it_whatever_a_container_runs_on(dc: World, is_held: bool) -> None:
    kept = await add(dc, HERE, "a")
    ready = await warmed(dc)
    if not is_held:
        await drop(dc, HERE, "a")
    taken = await take(dc, ready, "b", "db-0", release="never")
    assert (taken.port_id, taken.name, taken.holder) == (ready.port_id, "db-0", "b")
    assert await take(dc, ready, "b", "db-0", release="never") == taken, "said twice, it is one"
    [told] = [e for e in await dc.store.read(lambda s: s.history(PortId(ready.port_id))) if e.step == "claimed"]
    assert told.detail == f"db-0, which keeps port {kept.port_id}"
    assert not await drop(dc, HERE, "b"), "by its name it is not found"
    assert await drop(dc, HERE, "b", port_id=ready.port_id)
    assert await gone(dc, ready), "nobody could find it again"
    assert (await add(dc, THERE, "c")).port_id == kept.port_id


async def lost(at: World, port: Workload, holder: str = "a", name: str = "web-x2x4z", **asked: object) -> Workload:
    """Have another port in place of one that somebody has deleted."""
    addresses = tuple(each.address for each in port.addresses)
    given = {"network": port.network_id, "mac": port.mac, "instead_of": port.port_id, "addresses": addresses, **asked}
    request = WorkloadRequest(name=name, holder=holder, ephemeral=True, **given)  # type: ignore[arg-type]
    return await at.store.transact(lambda tx: attach(tx, HERE, request, project_id=PROJECT))


async def test_a_container_whose_port_was_deleted_before_its_claim_has_its_addresses_again(dc: World) -> None:
    ready = await warmed(dc)
    await dc.subnet((await dc.store.read(lambda s: s.networks()))[0], "2001:db8::/64")
    both = await warmed(dc)
    assert len(both.addresses) == 2
    for at, port in enumerate((ready, both)):
        await dc.store.transact(lambda tx, id_=port.port_id: delete_port(tx, id_))
        with pytest.raises(NotFound):
            await take(dc, port, f"h{at}", f"web-{at}")
        again = await lost(dc, port, f"h{at}", f"web-{at}")
        assert again.port_id != port.port_id
        assert (again.mac, again.addresses, again.holder, again.epoch) == (port.mac, port.addresses, f"h{at}", 1)
        assert await lost(dc, port, f"h{at}", f"web-{at}") == again, "said twice, it is one"
    assert await drop(dc, HERE, "h0", "web-0")
    assert await dc.store.read(contradictions) == []


async def test_what_was_deleted_and_given_to_another_is_not_had_again(dc: World) -> None:
    ready = await warmed(dc)
    with pytest.raises(Conflict, match="is there: claim it"):
        await lost(dc, ready)
    await dc.store.transact(lambda tx: delete_port(tx, PortId(ready.port_id)))
    dc.clock.advance(60.0)
    other = await add(dc, THERE, "b", "other", address=ready.addresses[0].address)
    with pytest.raises(Conflict, match=ready.addresses[0].address):
        await lost(dc, ready)
    assert await on(dc, HERE) == []
    assert (await add(dc, THERE, "b", "other")) == other


async def test_what_a_container_has_in_place_of_a_port_leaves_the_port_that_its_name_keeps(dc: World) -> None:
    kept, ready = await add(dc, HERE, "a"), await warmed(dc)
    await drop(dc, HERE, "a")
    await dc.store.transact(lambda tx: delete_port(tx, PortId(ready.port_id)))
    again = await lost(dc, ready, "b", "db-0")
    assert again.addresses == ready.addresses
    assert await lost(dc, ready, "b", "db-0") == again
    assert (await add(dc, THERE, "c")).port_id == kept.port_id


async def test_a_warm_port_is_given_back_unless_it_is_claimed(dc: World) -> None:
    first, second = await warmed(dc), await warmed(dc)
    await take(dc, second, "a")
    assert await drop(dc, HERE, "", "", port_id=first.port_id)
    assert not await drop(dc, HERE, "", "", port_id=second.port_id)
    assert await gone(dc, first)
    with pytest.raises(Invalid, match="names a port_id, or a name with its holder"):
        await drop(dc, HERE, "", "")


async def test_a_container_that_asks_for_a_mac_has_that_or_is_told_why_not(dc: World) -> None:
    asked = await add(dc, HERE, "a", "one", mac="02-00-00-00-00-09")
    assert asked.mac == "02:00:00:00:00:09"
    assert (await add(dc, THERE, "b", "one", mac="02:00:00:00:00:09")).port_id == asked.port_id
    with pytest.raises(Conflict, match="has MAC address 02:00:00:00:00:09, not 02:00:00:00:00:0a"):
        await add(dc, HERE, "c", "one", mac="02:00:00:00:00:0a")
    with pytest.raises(Conflict, match="02:00:00:00:00:09"):
        await add(dc, HERE, "d", "two", mac="02:00:00:00:00:09")
    with pytest.raises(Invalid, match="'nonsense' is not a MAC address"):
        await add(dc, HERE, "e", "three", mac="nonsense")


async def test_ports_that_wait_for_containers_do_not_keep_their_network(dc: World) -> None:
    waiting, taken = await warmed(dc), await warmed(dc)
    await take(dc, taken, "a")
    network_id = NetworkId(waiting.network_id)
    with pytest.raises(Conflict, match=taken.port_id):
        await dc.store.transact(lambda tx: delete_network(tx, network_id))
    assert not await gone(dc, waiting), "nothing of a deletion that failed has happened"
    await drop(dc, HERE, "a", "web-x2x4z")
    await dc.store.transact(lambda tx: delete_network(tx, network_id))
    assert await gone(dc, waiting)
