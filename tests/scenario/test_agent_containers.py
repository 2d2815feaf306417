"""Containers of a node: added, deleted, moved, with the agent killed at every point where it speaks to the outside."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from container_node import NODE, STEPS, ContainerNode, Killed, at_once
from core_world import World, world
from structlog.testing import capture_logs
from tests.thorough import some

from weft.agent.cni.cables import new_names
from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.kernel import Pair
from weft.agent.cni.pool import ORDER_AGAIN_AFTER_S, WarmPolicy
from weft.agent.cni.server import serve
from weft.agent.cni.service import MAX_TAKEN, CniService
from weft.agent.ovs.tables import Operation
from weft.intent.ports import delete_port
from weft.intent.realizations import report
from weft.intent.workload_release import release_lost
from weft.intent.workloads import attach
from weft.model.errors import Permanent
from weft.model.ids import Epoch, NodeName, PortId
from weft.model.intent import RealizationState
from weft.protocol.node import RealizationReport
from weft.protocol.workload import MISSING_S, Workload, WorkloadBatch, WorkloadOutcomes, WorkloadRequest

__all__ = ["at_once"]
pytestmark = pytest.mark.usefixtures("at_once")

WEB, DB = "web-7c9d8f6b5-x2x4z", "db-0"


@pytest.fixture
async def dc(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.subnet(await made.network("pods"), "10.0.0.0/24")
        yield made


@pytest.fixture
async def node(dc: World) -> AsyncIterator[ContainerNode]:
    made = ContainerNode(dc)
    await made.rest()
    yield made
    await made.close()


async def test_a_container_takes_a_warm_port_and_the_server_hears_of_it_after(node: ContainerNode) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    assert [(each.name, each.holder) for each in await node.bound() if each.holder] == [(f"c/d/{WEB}", "first")]
    warm = [each for each in node.cables() if each.is_warm]
    assert warm, "more are ready"
    node.machine.server_away = True
    said = await node.call("ADD", "second", "web-7c9d8f6b5-aaaaa")
    assert said["ips"][0]["address"] in {f"{each.workload.addresses[0].address}/24" for each in warm}
    with pytest.raises(CniError, match="no weft server answers") as refused:
        await node.call("ADD", "third", DB)
    assert refused.value.code is Code.TRY_AGAIN_LATER
    node.machine.server_away = False
    await node.rest()
    assert {each.holder for each in await node.bound() if each.holder} == {"first", "second"}
    await node.check()


async def test_a_deletion_needs_no_server_and_may_come_often(node: ContainerNode) -> None:
    await node.call("ADD", "a", WEB)
    await node.call("ADD", "b", DB)
    node.machine.server_away = True
    for container, pod in (("a", WEB), ("b", DB)):
        for netns in (None, "", "", ""):
            await node.call("DEL", container, pod, netns=netns)
    assert node.machine.pairs == {}
    node.machine.server_away = False
    await node.rest()
    assert not any(each.holder for each in await node.bound())
    await node.check()


async def test_a_port_that_was_taken_and_left_before_the_server_heard_of_it_goes_back(node: ContainerNode) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    node.machine.server_away = True
    await node.call("ADD", "second", "web-7c9d8f6b5-ddddd")
    await node.call("DEL", "second", "web-7c9d8f6b5-ddddd")
    node.machine.server_away = False
    await node.rest()
    await node.check()


async def test_only_the_holder_releases(node: ContainerNode, dc: World) -> None:
    await node.call("ADD", "old", DB)
    request = WorkloadRequest(name=f"c/d/{DB}", holder="new", network="pods")
    moved = await dc.store.transact(lambda tx: attach(tx, NodeName("node2"), request, project_id="p1"))
    await node.call("DEL", "old", DB)
    await node.call("DEL", "old", DB, netns="")
    await node.rest()
    view = await dc.view(moved.port_id)  # type: ignore[arg-type]
    assert view.life.current is not None
    assert view.life.current.node == "node2"


async def test_a_node_that_was_called_lost_and_comes_back_harms_nobody(node: ContainerNode, dc: World) -> None:
    await node.call("ADD", "web", WEB)
    await node.call("ADD", "db", DB)
    await node.rest()
    node.machine.server_away = True
    late = "web-7c9d8f6b5-late1"
    untold = await node.call("ADD", "late", late)
    lost = await node.bound()
    for each in lost:
        gone = partial(release_lost, node=NODE, port_id=PortId(each.port_id), epoch=Epoch(each.epoch))
        assert await dc.store.transact(partial(gone, actor="operator"))
    request = WorkloadRequest(name=f"c/d/{DB}", holder="elsewhere", network="pods")
    moved = await dc.store.transact(lambda tx: attach(tx, NodeName("node2"), request, project_id="p1"))
    assert moved.addresses == next(each.addresses for each in lost if each.name == f"c/d/{DB}")
    for each in lost:  # what it said last, and was not heard
        told = RealizationReport(port_id=each.port_id, epoch=each.epoch, state=RealizationState.UP)
        answer = await dc.store.transact(lambda tx, told=told: report(tx, [told], actor="agent/x", node=NODE))  # type: ignore[misc]
        assert len(answer.ignored) == 1
    node.machine.server_away = False
    await node.rest()
    await node.restart()
    assert {each.name: each.holder for each in await node.bound() if each.holder} == {f"c/d/{late}": "late"}
    [renewed] = [each for each in await node.bound() if each.holder]
    assert f"{renewed.addresses[0].address}/24" == untold["ips"][0]["address"], "it is nobody else's"
    for container, pod in (("web", WEB), ("db", DB)):
        await node.call("DEL", container, pod)
    await node.rest()
    await node.check()
    view = await dc.view(PortId(moved.port_id))
    assert view.life.current is not None
    assert (view.life.current.node, view.life.current.profile["holder"]) == ("node2", "elsewhere")


async def test_the_next_container_of_a_name_on_the_same_node_has_its_port(node: ContainerNode) -> None:
    first = await node.call("ADD", "one", DB)
    second = await node.call("ADD", "two", DB)
    assert second["ips"] == first["ips"]
    await node.call("DEL", "one", DB)
    await node.rest()
    [held] = [each for each in await node.bound() if each.holder]
    assert held.holder == "two"
    await node.check()


async def test_what_fails_leaves_nothing(node: ContainerNode) -> None:
    await node.call("ADD", "first", WEB)
    for pod in (WEB, DB):
        with pytest.raises(CniError, match="No such file") as failed:
            await node.call("ADD", "second", pod, netns="/run/netns/not-there")
        assert failed.value.code is Code.TRY_AGAIN_LATER
    with pytest.raises(CniError, match="no network is called 'nowhere'"):
        await node.call("ADD", "second", WEB, network="nowhere")
    await node.rest()
    assert {each.holder for each in await node.bound()} == {"first", ""}
    assert len(node.machine.pairs) == 1
    await node.check()


async def test_a_taken_name_is_said_and_the_port_is_as_warm_as_before(node: ContainerNode) -> None:
    await node.call("ADD", "first", WEB)
    with pytest.raises(CniError, match="there is a eth0 already"):
        await node.call("ADD", "second", "web-7c9d8f6b5-bbbbb", netns="/run/netns/first")
    await node.rest()
    assert {each.holder for each in await node.bound()} == {"first", ""}
    await node.check()


async def test_collection_takes_what_is_not_valid_any_more(node: ContainerNode) -> None:
    await node.call("ADD", "a", WEB)
    await node.call("ADD", "b", DB)
    await node.call("GC", "", **{"cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]})
    await node.rest()
    assert {each.holder for each in await node.bound() if each.holder} == {"b"}
    await node.check()


async def test_the_host_end_is_left_to_a_plugin_that_limits_its_rate_also_after_a_restart(node: ContainerNode) -> None:
    await node.call("ADD", "a", WEB, chained=["bandwidth"])
    await node.call("ADD", "b", DB)
    await node.rest()
    limited, free = (next(each for each in node.cables() if each.container_id == name) for name in "ab")
    wanted = {limited.name: limited.joint, free.name: free.host_end}
    assert node.machine.joined == wanted
    node.machine.joined = {}  # ovs-vswitchd has made its devices anew
    await node.restart()
    assert node.machine.joined == wanted
    await node.check()
    await node.call("DEL", "a", WEB)
    await node.rest()
    assert node.machine.joined == {free.name: free.host_end}


async def test_many_starts_at_once_cost_the_server_few_calls(dc: World) -> None:
    node = ContainerNode(dc)
    await node.rest()
    adds = (node.call("ADD", f"c{number}", f"web-7c9d8f6b5-x2x{number:02d}") for number in range(20))
    said = await asyncio.gather(*adds)
    await node.rest()
    assert len({each["ips"][0]["address"] for each in said}) == 20
    calls = [each for each in node.points.names if each in {"before a batch", "before an order"}]
    assert len(calls) <= 10
    await node.check()
    await node.close()


async def test_a_port_that_the_server_takes_back_is_not_given_to_a_container(node: ContainerNode, dc: World) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    warm = [each for each in await node.bound() if not each.holder]
    assert warm
    for each in warm:
        await dc.store.transact(lambda tx, id_=each.port_id: delete_port(tx, id_))
    await node.rest()
    said = await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
    assert said["ips"][0]["address"].partition("/")[0] not in {each.addresses[0].address for each in warm}
    await node.rest()
    await node.check()


async def delete_warm(node: ContainerNode) -> list[Workload]:
    """Delete what waits for containers; the node may hear of it later."""
    warm = [each for each in await node.bound() if not each.holder]
    assert warm
    for each in warm:
        await node.machine.transact(partial(delete_port, port_id=PortId(each.port_id)))
    return warm


async def test_a_port_that_is_deleted_while_it_is_given_to_a_container_is_replaced_by_another(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    make, gone = node.agent.make, []
    deleting: list[asyncio.Future[list[Workload]]] = []

    async def slowly(pair: Pair) -> tuple[int, int]:
        made = await make(pair)
        if not deleting:  # of several cables that are made at once, one
            deleting.append(node.machine.doing(delete_warm(node)))
            gone.extend(await deleting[0])
            node.agent.service.follow(await node.desired())
        return made

    monkeypatch.setattr(node.agent, "make", slowly)
    said = await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
    assert said["ips"][0]["address"].partition("/")[0] not in {each.addresses[0].address for each in gone}
    await node.rest()
    assert {each.holder for each in await node.bound() if each.holder} == {"first", "second"}
    await node.check()


async def test_a_container_under_which_one_port_after_another_is_deleted_gets_one_of_its_own(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    make, gone = node.agent.make, []

    async def too_late(pair: Pair) -> tuple[int, int]:
        made = await make(pair)
        if len(gone) < MAX_TAKEN and any(not each.holder for each in await node.bound()):
            gone.append(await node.machine.doing(delete_warm(node)))
            node.agent.service.follow(await node.desired())
        return made

    monkeypatch.setattr(node.agent, "make", too_late)
    with capture_logs() as logs:
        said = await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
    assert [each["event"] for each in logs].count("warm_ports_deleted") == 1
    assert len(gone) == MAX_TAKEN
    await node.rest()
    [second] = [each for each in await node.bound() if each.holder == "second"]
    assert second.addresses[0].address == said["ips"][0]["address"].partition("/")[0]
    assert second.port_id not in {each.port_id for deleted in gone for each in deleted}
    await node.check()


async def test_a_container_keeps_its_addresses_if_its_port_was_deleted_before_anybody_could_say_so(
    node: ContainerNode,
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    node.machine.is_deaf = True
    gone = {each.addresses[0].address: each for each in await delete_warm(node)}
    said = await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
    former = gone[said["ips"][0]["address"].partition("/")[0]]
    await node.rest()
    node.machine.is_deaf = False
    await node.rest()
    [second] = [each for each in await node.bound() if each.holder == "second"]
    assert (second.mac, second.addresses) == (former.mac, former.addresses)
    assert (second.port_id != former.port_id, second.state) == (True, "ACTIVE")
    await node.check()
    await node.call("DEL", "second", "web-7c9d8f6b5-ccccc")
    await node.rest()
    assert {each.holder for each in await node.bound() if each.holder} == {"first"}
    await node.check()


async def test_a_statement_takes_nothing_from_a_container_that_is_just_being_added(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    transact, ledger = node.agent.transact, node.agent.service._ledger
    node.machine.is_deaf = True

    async def slowly(operations: Sequence[Operation]) -> None:
        monkeypatch.setattr(node.agent, "transact", transact)
        await delete_warm(node)
        stating = asyncio.create_task(node.agent.service._compare())
        node.agent.tasks.add(stating)
        # Until it has nothing to write, or waits for this to be written.
        while not (stating.done() or ledger._waiting):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await transact(operations)

    monkeypatch.setattr(node.agent, "transact", slowly)
    await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
    node.machine.is_deaf = False
    await node.rest()
    assert {each.holder for each in await node.bound() if each.holder} == {"first", "second"}
    assert set(node.machine.joined) == {pair.cable for pair in node.machine.pairs.values()}
    assert len(node.machine.pairs) == 2
    await node.check()


async def a_while() -> None:
    """Let everything go on that only waits for its turn."""
    for _ in range(STEPS):
        await asyncio.sleep(0)


def is_insertion(operations: Sequence[Operation]) -> bool:
    """Tell whether a transaction makes cables."""
    return any(each["op"] == "insert" for each in operations)


async def test_cables_that_are_made_for_ports_and_for_stock_at_once_have_names_of_their_own(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact, ledger = node.agent.transact, node.agent.service._ledger

    async def slowly(operations: Sequence[Operation]) -> None:
        if is_insertion(operations):
            monkeypatch.setattr(node.agent, "transact", transact)
            while not ledger._waiting:  # noqa: ASYNC110 - until others are to be made
                await asyncio.sleep(0)
            assert any(is_insertion(waiting) for waiting, _ in ledger._waiting)
        await transact(operations)

    monkeypatch.setattr(node.agent, "transact", slowly)
    assert (await node.call("ADD", "first", WEB))["ips"]
    await node.rest()
    await node.check()


async def test_ports_that_get_no_cable_go_back_at_once_and_the_names_that_it_had_are_free(
    node: ContainerNode, dc: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = node.agent.transact

    async def refuse(operations: Sequence[Operation]) -> None:
        if is_insertion(operations):
            raise Permanent("ovsdb-server refused it")
        await transact(operations)

    monkeypatch.setattr(node.agent, "transact", refuse)
    with pytest.raises(CniError, match="ovsdb-server refused it"):
        await node.call("ADD", "first", WEB)
    await node.rest()
    assert await node.bound() == []
    await node.check()
    monkeypatch.setattr(node.agent, "transact", transact)
    dc.clock.advance(ORDER_AGAIN_AFTER_S)
    assert (await node.call("ADD", "first", WEB))["ips"]
    await node.rest()
    await node.check()
    assert [each.name for each in node.cables()] == new_names((), len(node.cables()))


async def test_a_pass_that_began_while_a_port_was_warm_takes_it_from_no_container(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    read, seen = node.agent.read, asyncio.Event()

    async def slowly() -> Mapping[str, int]:
        monkeypatch.setattr(node.agent, "read", read)
        await seen.wait()
        return await read()

    monkeypatch.setattr(node.agent, "read", slowly)
    await node.live()  # a pass has begun
    await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
    await node.live()
    [port] = [each for each in await node.bound() if each.holder == "second"]
    await node.machine.transact(partial(delete_port, port_id=PortId(port.port_id)))  # an operator's mistake
    await node.live()
    seen.set()
    await node.rest()
    assert len(node.machine.inside("/run/netns/second")) == 1
    assert "second" in {each.container_id for each in node.cables()}


async def test_a_port_that_is_deleted_on_its_way_onto_a_cable_is_replaced(
    dc: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = ContainerNode(dc, WarmPolicy(cables=16, ports=2, ports_max=8))  # no pass has to make any
    await node.rest()
    transact, deleted = node.agent.transact, []

    async def slowly(operations: Sequence[Operation]) -> None:
        if any(each.port_id in str(operations) for each in await node.bound()):
            monkeypatch.setattr(node.agent, "transact", transact)
            node.agent.service.follow(await node.desired())
            deleted.extend(await delete_warm(node))
            node.agent.service.follow(await node.desired())
            await a_while()  # until a pass has seen to what is gone
        await transact(operations)

    monkeypatch.setattr(node.agent, "transact", slowly)
    said = await node.call("ADD", "first", WEB)
    assert deleted
    assert said["ips"]
    await node.rest()
    await node.check()
    await node.close()


def second_is_deleted(service: CniService) -> "asyncio.Task[None]":
    """Begin to take the second container from its cable."""
    return asyncio.create_task(service._unplug([each for each in service._plugged() if each.container_id == "second"]))


async def second_comes_and_goes(node: ContainerNode, deleting: list["asyncio.Task[None]"], *, is_anew: bool) -> None:
    """Add a second container, which is deleted meanwhile; assert that nothing of it is left, nor of its port.

    `is_anew`: the port that it is given was deleted, and it gets another one.
    """
    if is_anew:
        node.machine.is_deaf = True
        await delete_warm(node)
    await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
    await node.rest()
    node.machine.is_deaf = False
    await node.rest()
    assert deleting[0].done()
    assert {each.holder for each in await node.bound() if each.holder} == {"first"}
    await node.check()


@pytest.mark.parametrize("is_anew", [False, True])
async def test_a_deletion_that_is_on_its_way_is_not_undone_by_what_the_server_answers(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch, *, is_anew: bool
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    batch, transact, service = node.agent.workload_batch, node.agent.transact, node.agent.service
    deleting: list[asyncio.Task[None]] = []

    async def slowly(operations: Sequence[Operation]) -> None:
        monkeypatch.setattr(node.agent, "transact", transact)
        await a_while()  # until the answer is to be written, too
        await transact(operations)

    async def late(of: str, asked: WorkloadBatch) -> WorkloadOutcomes:
        outcomes = await batch(of, asked)
        if not deleting and (asked.attach if is_anew else asked.claim):
            monkeypatch.setattr(node.agent, "transact", slowly)
            deleting.append(second_is_deleted(service))
            await asyncio.sleep(0)
        return outcomes

    monkeypatch.setattr(node.agent, "workload_batch", late)
    await second_comes_and_goes(node, deleting, is_anew=is_anew)


async def test_a_container_that_is_deleted_as_it_gets_another_port_gives_that_back(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    batch, transact, service = node.agent.workload_batch, node.agent.transact, node.agent.service
    deleting: list[asyncio.Task[None]] = []

    async def slowly(operations: Sequence[Operation]) -> None:
        monkeypatch.setattr(node.agent, "transact", transact)
        deleting.append(second_is_deleted(service))
        await a_while()  # until the deletion is to be written, too
        await transact(operations)

    async def late(of: str, asked: WorkloadBatch) -> WorkloadOutcomes:
        outcomes = await batch(of, asked)
        if any(each.instead_of for each in asked.attach):
            monkeypatch.setattr(node.agent, "transact", slowly)
        return outcomes

    monkeypatch.setattr(node.agent, "workload_batch", late)
    await second_comes_and_goes(node, deleting, is_anew=True)


async def test_a_cable_that_was_set_down_after_it_was_ready_is_set_up_again(node: ContainerNode) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    [cable] = [each.name for each in node.cables() if each.container_id == "first"]
    node.machine.down.add(cable)
    await node.rest()
    assert node.machine.down == set()


async def test_nobody_gets_a_cable_before_all_who_tidy_it_up_are_done(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    keeper, service, remove = node.agent.service._keeper, node.agent.service, node.agent.remove
    first, second = asyncio.Event(), asyncio.Event()
    gates = [first, second]

    async def slowly(host_ends: Sequence[str]) -> None:
        gate = gates.pop(0)
        await gate.wait()
        await remove(host_ends)

    monkeypatch.setattr(node.agent, "remove", slowly)
    with pytest.raises(CniError, match="No such file"):
        await node.call("ADD", "second", "web-7c9d8f6b5-ccccc", netns="/run/netns/not-there")
    [cable] = [each for each in service._plugged() if each.container_id == "second"]
    deleting = asyncio.create_task(service._unplug([cable]))
    await a_while()
    first.set()
    await a_while()
    assert not deleting.done()
    assert keeper.is_busy(cable)
    second.set()
    await node.rest()
    assert deleting.done()
    assert not keeper.is_busy(cable)
    await node.check()


async def test_who_gives_up_in_the_moment_that_he_is_served_leaves_the_cable_to_others(node: ContainerNode) -> None:
    keeper = node.agent.service._keeper
    taken = [await keeper.take_free() for _ in keeper._free()]
    waiting = asyncio.create_task(keeper.take_free())
    await asyncio.sleep(0)
    keeper.put_back(*taken)
    keeper._serve(keeper._waiting, keeper._free())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not any(map(keeper.is_busy, taken))


async def test_a_port_that_comes_for_a_container_that_was_deleted_meanwhile_goes_back(
    node: ContainerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    batch, service = node.agent.workload_batch, node.agent.service

    async def late(of: str, asked: WorkloadBatch) -> WorkloadOutcomes:
        outcomes = await batch(of, asked)
        if any(each.instead_of for each in asked.attach):
            await service._unplug([each for each in service._plugged() if each.container_id == "second"])
        return outcomes

    monkeypatch.setattr(node.agent, "workload_batch", late)
    node.machine.is_deaf = True
    await delete_warm(node)
    await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
    await node.rest()
    node.machine.is_deaf = False
    await node.rest()
    assert {each.holder for each in await node.bound() if each.holder} == {"first"}
    await node.check()


async def test_a_container_whose_address_is_anothers_by_then_is_cut_off_and_that_is_said(
    node: ContainerNode, dc: World
) -> None:
    await node.call("ADD", "first", WEB)
    await node.rest()
    node.machine.is_deaf = True
    gone = await delete_warm(node)
    dc.clock.advance(60.0)  # the addresses have rested
    for each in gone:
        request = WorkloadRequest(name=each.port_id, holder="b", network="pods", address=each.addresses[0].address)
        await dc.store.transact(lambda tx, asked=request: attach(tx, NodeName("node2"), asked, project_id="p1"))
    with capture_logs() as logs:
        await node.call("ADD", "second", "web-7c9d8f6b5-ccccc")
        await node.rest()
    [said] = [each for each in logs if each["event"] == "container_cut_off"]
    assert (said["container"], said["log_level"]) == ("second", "error")
    with pytest.raises(CniError, match="is not on this node any more"):
        await node.call("CHECK", "second", "web-7c9d8f6b5-ccccc")
    await node.call("DEL", "second", "web-7c9d8f6b5-ccccc")
    node.machine.is_deaf = False
    await node.rest()
    await node.check()


async def test_a_name_that_keeps_a_port_keeps_it_beside_a_container_that_keeps_nothing(node: ContainerNode) -> None:
    kept = await node.call("ADD", "old", DB)
    await node.call("DEL", "old", DB)
    await node.rest()
    await node.call("ADD", "first", WEB)
    await node.rest()
    said = await node.call("ADD", "now", DB, stableNames=False)
    assert said["ips"] != kept["ips"]
    await node.rest()
    assert ("now", f"c/d/{DB}") in {(each.holder, each.name) for each in await node.bound()}
    await node.check()
    await node.call("DEL", "now", DB, stableNames=False)
    await node.rest()
    assert (await node.call("ADD", "again", DB))["ips"] == kept["ips"]
    await node.rest()
    await node.check()


async def start(node: ContainerNode) -> None:
    """A node with a container of each kind, and warm ports."""
    await node.call("ADD", "kept", "kept-0")
    await node.call("ADD", "other", "web-7c9d8f6b5-other")
    await node.rest()


async def add_warm(node: ContainerNode) -> None:
    await node.call("ADD", "x", WEB)
    await node.rest()


async def add_sticky(node: ContainerNode) -> None:
    await node.call("ADD", "x", DB)
    await node.rest()


async def add_and_delete_warm(node: ContainerNode) -> None:
    await node.call("ADD", "x", WEB)
    await node.call("DEL", "x", WEB)
    await node.rest()


async def add_and_delete_sticky(node: ContainerNode) -> None:
    await node.call("ADD", "x", DB)
    await node.rest()
    await node.call("DEL", "x", DB)
    await node.rest()


async def add_to_no_namespace(node: ContainerNode) -> None:
    for pod in (WEB, DB):
        with pytest.raises(CniError):
            await node.call("ADD", "x", pod, netns="/run/netns/not-there")
    await node.rest()


async def add_twice(node: ContainerNode) -> None:
    await node.call("ADD", "x", DB)
    await node.call("ADD", "y", DB)
    await node.call("DEL", "x", DB)
    await node.rest()


async def add_to_deleted(node: ContainerNode) -> None:
    node.machine.is_deaf = True
    await delete_warm(node)
    await node.call("ADD", "x", WEB)
    await node.rest()
    node.machine.is_deaf = False
    await node.rest()


Play = Callable[[ContainerNode], Awaitable[None]]
PLAYS: tuple[Play, ...] = (
    add_warm,
    add_sticky,
    add_and_delete_warm,
    add_and_delete_sticky,
    add_to_no_namespace,
    add_twice,
    add_to_deleted,
)


async def fault_points(dc: World, play: Play) -> list[str]:
    """Name every point of a play where the agent speaks to the outside."""
    node = ContainerNode(dc)
    await node.rest()
    await start(node)
    node.points.names.clear()
    await play(node)
    await node.close()
    return node.points.names


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
async def test_killed_anywhere_it_recovers_and_nothing_leaks(play: Play, tmp_path: Path) -> None:
    """The runtime deletes what was not added, as runtimes do; then node and plan agree, and all is gone that should."""
    async with world(tmp_path) as dc:
        await dc.subnet(await dc.network("pods"), "10.0.0.0/20")
        points = await fault_points(dc, play)
    assert points
    for number in some(range(1, len(points) + 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with world(folder) as dc:
            await dc.subnet(await dc.network("pods"), "10.0.0.0/24")
            await killed_at(dc, play, number, points[number - 1])


async def killed_at(dc: World, play: Play, number: int, name: str) -> None:
    node = ContainerNode(dc)
    await node.rest()
    await start(node)
    node.points.names.clear()
    node.points.kill_at = number
    added_to = {"x", "y"}
    with contextlib.suppress(Killed):
        await play(node)
    node.machine.is_deaf = False
    try:
        await node.restart()
        for container in sorted(added_to):
            for netns in (None, ""):
                await node.call("DEL", container, WEB, netns=netns)
                await node.call("DEL", container, DB, netns=netns)
        await node.rest()
        dc.clock.advance(MISSING_S + 1)
        await node.restart()  # its statement is the second that lacks what was lost
        dc.clock.advance(MISSING_S + 1)
        await node.restart()
        assert {each.holder for each in await node.bound() if each.holder} == {"kept", "other"}
        assert {pair.netns for pair in node.machine.pairs.values()} == {"/run/netns/kept", "/run/netns/other"}
        await node.check()
        assert (await node.call("ADD", "x", WEB))["ips"], "and the next container is added"
        await node.rest()
        await node.check()
    except AssertionError as error:
        raise AssertionError(f"killed at point {number}, {name}: {error}") from error
    finally:
        await node.close()


async def test_the_socket_is_there_although_all_threads_wait_for_names(node: ContainerNode, tmp_path: Path) -> None:
    answered = threading.Event()
    names = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(names)
    asyncio.get_running_loop().run_in_executor(None, answered.wait)  # a resolver that does not answer
    path = tmp_path / "run" / "cni.sock"
    serving = asyncio.create_task(serve(str(path), node.agent.service))
    try:
        for _ in range(STEPS):
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"0")
        writer.write_eof()
        assert b"another protocol" in await reader.read()
        writer.close()
    finally:
        answered.set()
        serving.cancel()
