"""Blocks of a subnet on lease to nodes, beside central allocation in the same subnet."""

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from core_world import World, world

from weft.controller.addresses import AddressKeeper
from weft.intent.addresses import FixedIpSpec
from weft.intent.blocks import Holding, all_blocks, blocks_on, create_pool, delete_pool, give_back, grant, ranges, renew
from weft.intent.ports import delete_port
from weft.intent.subnets import delete_subnet
from weft.intent.use import histories, size_of
from weft.ipam.blocks import GRACE_S, REST_S, BlockPool
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NodeName, SubnetId

NODE1, NODE2 = NodeName("node1"), NodeName("node2")


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as opened:
        yield opened


class StoppedClock:
    """The world's clock, as controllers see it."""

    def __init__(self, core: World) -> None:
        self._core = core

    def now(self) -> float:
        return self._core.clock.now

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError("a sweep does not sleep")


async def make_pool(core: World, subnet_id: SubnetId, cidr: str = "10.0.0.128/25") -> BlockPool:
    return await core.store.transact(lambda tx: create_pool(tx, subnet_id, cidr, largest=26, smallest=28, lease_s=60.0))


async def test_central_allocation_keeps_out_of_the_pool_of_blocks(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/24")
    await make_pool(core, subnet.id)
    found = await core.store.read(lambda snapshot: snapshot.subnet(subnet.id))
    assert found is not None
    assert size_of(found) == 126
    with pytest.raises(Conflict, match="is reserved: blocks of nodes"):
        await core.port(network.id, fixed_ips=(FixedIpSpec(address=ip_address("10.0.0.200")),))
    with pytest.raises(Conflict, match="is a pool of blocks for nodes"):
        await core.store.transact(lambda tx: delete_subnet(tx, subnet.id))


async def test_a_pool_is_not_made_over_ports(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/24")
    view = await core.port(network.id)
    with pytest.raises(Conflict, match=f"in use by port {view.port.id}"):
        await make_pool(core, subnet.id, "10.0.0.0/25")
    await core.store.transact(lambda tx: delete_port(tx, view.port.id))
    await make_pool(core, subnet.id, "10.0.0.0/25")
    with pytest.raises(Conflict, match="which is reserved: blocks of nodes"):
        await make_pool(core, subnet.id, "10.0.0.0/26")
    with pytest.raises(NotFound):
        await make_pool(core, SubnetId("none"))


async def test_a_node_leases_renews_and_returns(core: World) -> None:
    _, subnet = await core.segment("10.0.0.0/24")
    pool = await make_pool(core, subnet.id)
    first, _, in_subnet = await core.store.transact(lambda tx: grant(tx, NODE1, pool.id, 20))
    second, _, _ = await core.store.transact(lambda tx: grant(tx, NODE2, pool.id, 64))
    assert (first.cidr, second.cidr) == ("10.0.0.128/27", "10.0.0.192/26")
    assert second.epoch > first.epoch
    assert ranges(second, in_subnet) == [("10.0.0.192", "10.0.0.254")]
    core.clock.advance(50.0)
    held = [Holding(id=first.id, epoch=first.epoch, used=3), Holding(id=second.id, epoch=second.epoch)]
    renewed, lost = await core.store.transact(lambda tx: renew(tx, NODE1, held))
    assert [block.id for block, _ in renewed] == [first.id]
    assert lost == [second.id], "another node's lease is not renewed"
    with pytest.raises(Conflict, match="stop using it"):
        await core.store.transact(lambda tx: give_back(tx, NODE2, first.id, first.epoch))
    with pytest.raises(Conflict, match="2 blocks of"):
        await core.store.transact(lambda tx: delete_pool(tx, pool.id))
    await core.store.transact(lambda tx: give_back(tx, NODE1, first.id, first.epoch))
    with pytest.raises(Invalid):
        await core.store.transact(lambda tx: grant(tx, NODE1, pool.id, 0))


async def test_a_dead_nodes_block_comes_back_after_its_lease_grace_and_rest(core: World) -> None:
    _, subnet = await core.segment("10.0.0.0/24")
    pool = await make_pool(core, subnet.id, "10.0.0.128/26")
    keeper = AddressKeeper(core.store, clock=StoppedClock(core))
    dead, _, _ = await core.store.transact(lambda tx: grant(tx, NODE1, pool.id, 64))
    for passed in (60.0, GRACE_S - 1, 1.0):
        with pytest.raises(Conflict, match="no block of"):
            await core.store.transact(lambda tx: grant(tx, NODE2, pool.id, 64))
        core.clock.advance(passed)
        await keeper.sweep()
    renewed, lost = await core.store.transact(lambda tx: renew(tx, NODE1, [Holding(id=dead.id, epoch=dead.epoch)]))
    assert (renewed, lost) == ([], [dead.id]), "what was recovered is lost, even while it rests"
    core.clock.advance(REST_S)
    await keeper.sweep()
    assert await core.store.read(all_blocks) == []
    heir, _, _ = await core.store.transact(lambda tx: grant(tx, NODE2, pool.id, 64))
    assert (heir.cidr, heir.epoch) == (dead.cidr, dead.epoch + 1)
    assert await core.store.read(lambda snapshot: blocks_on(snapshot, NODE1)) == []


async def test_an_empty_pool_gives_its_addresses_back(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/24")
    pool = await make_pool(core, subnet.id)
    await core.store.transact(lambda tx: delete_pool(tx, pool.id))
    await core.port(network.id, fixed_ips=(FixedIpSpec(address=ip_address("10.0.0.200")),))


async def test_use_is_sampled_once_an_hour(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/24")
    keeper = AddressKeeper(core.store, clock=StoppedClock(core))
    for _ in range(3):
        await core.port(network.id)
        await keeper.sweep()
        await keeper.sweep()
        core.clock.advance(3600.0)
    found = await core.store.read(histories)
    assert [each.used for each in found[subnet.id].samples] == [1, 2, 3]
