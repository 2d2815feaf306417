"""Leased blocks: nodes that die, are cut off and come back never use an address that another uses."""

import itertools
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.thorough import examples

from weft.ipam.blocks import (
    GRACE_S,
    REST_S,
    Block,
    BlockPool,
    BlockState,
    check_pool,
    give_back,
    grant,
    recover,
    renew,
    usable,
)
from weft.ipam.node_blocks import NodeBlocks
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, NodeName, SubnetId
from weft.model.intent import Subnet

SUBNET = Subnet(
    id=SubnetId("s"),
    network_id=NetworkId("n"),
    project_id="p",
    cidr=ip_network("10.0.0.0/24"),
    gateway=ip_address("10.0.0.1"),
    pools=(),
)
POOL = BlockPool(id="pool", subnet_id=SUBNET.id, cidr="10.0.0.0/26", largest=28, smallest=30, lease_s=60.0)
NODES = st.sampled_from([NodeName("a"), NodeName("b"), NodeName("c")])


class World(RuleBasedStateMachine):
    """A server, three nodes, and messages that are late, lost, or answered to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.pool = POOL
        self.blocks: dict[str, Block] = {}
        self.nodes = {name: NodeBlocks(spare=2) for name in ("a", "b", "c")}
        self.made = 0
        self.epochs: set[int] = set()

    def tick(self, seconds: float) -> None:
        """Let time pass; every node that lives fences what has come to its deadline, cut off or not."""
        self.now += seconds
        for node in self.nodes.values():
            node.fence(self.now)

    def sweep(self) -> None:
        ended, free = recover(self.blocks.values(), now=self.now)
        self.blocks |= {block.id: block for block in ended}
        for block in free:
            del self.blocks[block.id]

    @rule(seconds=st.sampled_from([1.0, 20.0, 45.0, GRACE_S, REST_S]))
    def time_passes(self, seconds: float) -> None:
        self.tick(seconds)

    @rule()
    def server_sweeps(self) -> None:
        self.sweep()

    @rule(name=NODES, wanted=st.integers(1, 20), delay=st.sampled_from([0.0, 3.0, 100.0]), answered=st.booleans())
    def node_asks(self, name: NodeName, wanted: int, delay: float, answered: bool) -> None:
        asked_at = self.now
        self.tick(delay)
        self.made += 1
        try:
            self.pool, block = grant(
                self.pool, list(self.blocks.values()), name, wanted, id_=str(self.made), now=self.now
            )
        except Conflict:
            return
        assert block.epoch not in self.epochs
        self.epochs.add(block.epoch)
        self.blocks[block.id] = block
        if answered:
            ranges = usable(block, SUBNET)
            self.nodes[name].take_over(block.id, block.epoch, ranges, asked_at=asked_at, lease_s=self.pool.lease_s)
            self.nodes[name].fence(self.now)

    @rule(name=NODES, delay=st.sampled_from([0.0, 3.0, 50.0]), answered=st.booleans())
    def node_renews(self, name: NodeName, delay: float, answered: bool) -> None:
        node, asked_at = self.nodes[name], self.now
        asked = [(lease.id, lease.epoch, len(lease.in_use)) for lease in node]
        self.tick(delay)
        for id_, epoch, used in asked:
            renewed = self.renewed_by_server(id_, name, epoch, used)
            if answered and renewed:
                node.renewed(id_, epoch, asked_at=asked_at, lease_s=self.pool.lease_s)
            elif answered:
                node.lost(id_)

    def renewed_by_server(self, id_: str, name: NodeName, epoch: int, used: int) -> bool:
        try:
            self.blocks[id_] = renew(self.pool, self.blocks[id_], name, epoch, used, now=self.now)
        except (KeyError, Conflict):
            return False
        return True

    @rule(name=NODES)
    def node_allocates(self, name: NodeName) -> None:
        self.nodes[name].allocate(self.now)

    @rule(name=NODES, data=st.data())
    def node_releases(self, name: NodeName, data: st.DataObject) -> None:
        in_use = sorted(address for lease in self.nodes[name] for address in lease.in_use)
        if in_use:
            self.nodes[name].release(data.draw(st.sampled_from(in_use)), rest_until=self.now + 5)

    @rule(name=NODES)
    def node_gives_back(self, name: NodeName) -> None:
        for lease in self.nodes[name].surplus():
            self.nodes[name].lost(lease.id)
            if lease.id in self.blocks:
                self.blocks[lease.id] = give_back(self.blocks[lease.id], name, lease.epoch, now=self.now)

    @rule(name=NODES)
    def node_dies(self, name: NodeName) -> None:
        self.nodes[name] = NodeBlocks(spare=2)

    @invariant()
    def no_address_is_used_by_two(self) -> None:
        used = [address for node in self.nodes.values() for lease in node for address in lease.in_use]
        assert len(used) == len(set(used))

    @invariant()
    def every_address_in_use_is_leased(self) -> None:
        for name, node in self.nodes.items():
            for lease in node:
                block = self.blocks[lease.id]
                assert (block.node, block.epoch, block.state) == (name, lease.epoch, BlockState.LEASED)
                assert lease.deadline <= block.until

    @invariant()
    def blocks_do_not_overlap(self) -> None:
        held = sorted(self.blocks.values(), key=lambda block: int(block.network[0]))
        for before, after in itertools.pairwise(held):
            assert not before.network.overlaps(after.network)

    def teardown(self) -> None:
        """All nodes die: in the end every block is free again."""
        self.nodes = {}
        for _ in range(3):
            self.tick(self.pool.lease_s + GRACE_S + REST_S + 1)
            self.sweep()
        assert self.blocks == {}


World.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
test_nodes_and_blocks = World.TestCase


def block(cidr: str, id_: str = "b", epoch: int = 1) -> Block:
    return Block(id=id_, pool_id="pool", cidr=cidr, node=NodeName("a"), epoch=epoch, until=60.0)


@pytest.mark.parametrize(("wanted", "cidr"), [(1, "/30"), (4, "/30"), (5, "/29"), (9, "/28"), (1000, "/28")])
def test_a_block_is_as_large_as_the_demand(wanted: int, cidr: str) -> None:
    _, found = grant(POOL, [], NodeName("a"), wanted, id_="x", now=0.0)
    assert found.cidr == f"10.0.0.0{cidr}"


def test_what_is_left_is_given_even_if_it_is_smaller() -> None:
    taken = [block(f"10.0.0.{at * 16}/28", str(at)) for at in range(3)]
    taken.append(block("10.0.0.48/29", "x"))
    _, found = grant(POOL, taken, NodeName("a"), 100, id_="y", now=0.0)
    assert found.cidr == "10.0.0.56/29"
    with pytest.raises(Conflict, match="5 are leased, 0 rest"):
        grant(POOL, [*taken, found], NodeName("a"), 1, id_="z", now=0.0)


def test_a_lease_is_renewed_by_its_holder_at_its_epoch_only() -> None:
    held = block("10.0.0.0/28", epoch=7)
    assert renew(POOL, held, NodeName("a"), 7, 3, now=50.0).until == 110.0
    for node, epoch in (("a", 6), ("b", 7)):
        with pytest.raises(Conflict, match="stop using it at once"):
            renew(POOL, held, NodeName(node), epoch, 0, now=50.0)
    ((ended,), _) = recover([held], now=60.0 + GRACE_S)
    with pytest.raises(Conflict, match="stop using it at once"):
        renew(POOL, ended, NodeName("a"), 7, 0, now=200.0)


def test_ends_and_gateway_of_the_subnet_are_not_given_out() -> None:
    low, base = block("10.0.0.0/30"), int(ip_address("10.0.0.0"))
    assert usable(low, SUBNET) == [(base + 2, base + 3)]
    assert usable(block("10.0.0.252/30"), SUBNET) == [(base + 252, base + 254)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cidr": "10.0.1.0/26"}, "not within subnet"),
        ({"largest": 25}, "cannot be cut from"),
        ({"largest": 30, "smallest": 28}, "cannot be cut from"),
        ({"lease_s": 1.0}, "a lease of 1 s is not possible"),
        ({"lease_s": 1e9}, "is not possible"),
    ],
)
def test_a_pool_that_cannot_be(fields: dict[str, object], message: str) -> None:
    values = {name: getattr(POOL, name) for name in POOL.__struct_fields__} | fields
    with pytest.raises(Invalid, match=message):
        check_pool(BlockPool(**values), SUBNET)


def test_a_node_asks_for_more_as_it_grows_and_gives_back_what_is_empty() -> None:
    node = NodeBlocks(spare=2)
    assert node.wanted() == 2
    node.take_over("x", 1, [(0, 3)], asked_at=0.0, lease_s=60.0)
    node.take_over("y", 2, [(8, 15)], asked_at=0.0, lease_s=60.0)
    assert [node.allocate(1.0) for _ in range(3)] == [0, 1, 2], "the block with the fewest free first"
    assert node.surplus() == []
    for address in (0, 1, 2):
        node.release(address, rest_until=2.0)
    assert [lease.id for lease in node.surplus()] == []
    assert node.allocate(3.0) == 3
    assert node.allocate(58.0) is None, "shortly before its deadline a block gives out nothing"
    assert node.fence(60.0) == {3}
    assert list(node) == []
