"""Blocks of addresses that nodes hold on lease, and give out with no server in the path.

A lease has an epoch, which is never used again, and an end. A node that could not renew has to stop using the block
before its lease ends; it counts from when it asked, the server from when it heard, so the node always stops first.
The server waits for GRACE_S more, because clocks do not run alike, lets the block rest, and only then leases it to
another: a dead node's block comes back, and no address is ever used by two.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache

import msgspec

from weft.ipam.plan import is_host
from weft.ipam.tree import Tree
from weft.model.addresses import IPNetwork, parse_network
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NodeName, SubnetId
from weft.model.intent import Subnet
from weft.model.plan import Delegation, Level, Owner

GRACE_S = 10.0
"""How long after its end a lease still counts: what two clocks may differ by in the time of one lease."""

REST_S = 30.0
"""How long a block rests before another node gets it: what was on its way when it was given up dies out."""

MIN_LEASE_S = 30.0
MAX_LEASE_S = 7 * 86400.0
MAX_BLOCKS = 4096
"""Blocks of one pool."""


class BlockState(StrEnum):
    """Leased to a node, or resting until it is free."""

    LEASED = "leased"
    RESTING = "resting"


class BlockPool(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a subnet that blocks are cut from, of `largest` to `smallest` prefix length."""

    id: str
    subnet_id: SubnetId
    cidr: str
    largest: int
    smallest: int
    lease_s: float
    next_epoch: int = 1


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A block and who holds it. `until` is when its lease or its rest ends (Unix seconds)."""

    id: str
    pool_id: str
    cidr: str
    node: NodeName
    epoch: int
    until: float
    state: BlockState = BlockState.LEASED
    used: int = 0
    """How many addresses its node said are in use."""

    @property
    def network(self) -> IPNetwork:
        """Its prefix."""
        return _parsed(self.cidr)


def check_pool(pool: BlockPool, subnet: Subnet) -> None:
    """Refuse a pool that blocks can't be cut from; raise Invalid."""
    cidr = _parsed(pool.cidr)
    inside = cidr.version == subnet.cidr.version and cidr.prefixlen >= subnet.cidr.prefixlen
    if not (inside and cidr.overlaps(subnet.cidr)):
        raise Invalid(f"{cidr} is not within subnet {subnet.cidr}", kind="InvalidBlockPool")
    if not cidr.prefixlen <= pool.largest <= pool.smallest <= cidr.max_prefixlen:
        message = f"blocks of /{pool.largest} to /{pool.smallest} cannot be cut from {cidr}: name lengths from"
        raise Invalid(
            f"{message} /{cidr.prefixlen} to /{cidr.max_prefixlen}, the larger block first", kind="InvalidBlockPool"
        )
    if not MIN_LEASE_S <= pool.lease_s <= MAX_LEASE_S:
        message = (
            f"a lease of {pool.lease_s:g} s is not possible: name {MIN_LEASE_S:g} s, which a node needs to renew it"
        )
        message += f" in time, to {MAX_LEASE_S:g} s, for which a dead node's block is lost"
        raise Invalid(message, kind="InvalidBlockPool")


def grant(
    pool: BlockPool, blocks: Sequence[Block], node: NodeName, wanted: int, *, id_: str, now: float
) -> tuple[BlockPool, Block]:
    """Return a new block that has `wanted` addresses if the pool can, else a smaller one, and the pool's next state.

    Raises Conflict if nothing is left.
    """
    if len(blocks) < MAX_BLOCKS:
        tree = _tree(pool, blocks)
        for prefixlen in range(_length_for(pool, wanted), pool.smallest + 1):
            cidr = tree.gap(pool.id, prefixlen)
            if cidr is not None:
                block = Block(
                    id=id_,
                    pool_id=pool.id,
                    cidr=str(cidr),
                    node=node,
                    epoch=pool.next_epoch,
                    until=now + pool.lease_s,
                )
                return msgspec.structs.replace(pool, next_epoch=pool.next_epoch + 1), block
    resting = sum(block.state is BlockState.RESTING for block in blocks)
    message = f"no block of {pool.cidr} is free for node '{node}': {len(blocks) - resting} are leased, {resting} rest"
    raise Conflict(f"{message}; give the pool a larger prefix, or wait until one comes back", kind="BlocksExhausted")


def renew(pool: BlockPool, block: Block, node: NodeName, epoch: int, used: int, *, now: float) -> Block:
    """Return a block with a new lease; raise Conflict (LeaseLost) if the lease is not this node's any more."""
    _check_lease(block, node, epoch)
    return msgspec.structs.replace(block, used=used, until=now + pool.lease_s)


def give_back(block: Block, node: NodeName, epoch: int, *, now: float) -> Block:
    """Return a block that its node has emptied, at rest; raise Conflict (LeaseLost) if it is not this node's."""
    _check_lease(block, node, epoch)
    return msgspec.structs.replace(block, state=BlockState.RESTING, used=0, until=now + REST_S)


def recover(blocks: Iterable[Block], *, now: float) -> tuple[list[Block], list[Block]]:
    """Return the blocks that come to rest because their leases are over, and those that have rested and are free."""
    ended, free = [], []
    for block in blocks:
        if block.state is BlockState.RESTING:
            if block.until <= now:
                free.append(block)
        elif block.until + GRACE_S <= now:
            ended.append(msgspec.structs.replace(block, state=BlockState.RESTING, used=0, until=now + REST_S))
    return ended, free


def usable(block: Block, subnet: Subnet) -> list[tuple[int, int]]:
    """Return the ranges of a block that hosts may have, as numbers: neither the subnet's ends nor its gateway."""
    cidr = block.network
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    if not is_host(subnet.cidr, cidr.network_address):
        first += 1
    if not is_host(subnet.cidr, cidr.broadcast_address):
        last -= 1
    gateway = None if subnet.gateway is None else int(subnet.gateway)
    if gateway is None or not first <= gateway <= last:
        return [(first, last)] if first <= last else []
    return [(low, high) for low, high in ((first, gateway - 1), (gateway + 1, last)) if low <= high]


def _length_for(pool: BlockPool, wanted: int) -> int:
    """Return the prefix length of the smallest block with so many addresses that the pool cuts."""
    bits = max(wanted - 1, 0).bit_length()
    return min(max(_parsed(pool.cidr).max_prefixlen - bits, pool.largest), pool.smallest)


def _check_lease(block: Block, node: NodeName, epoch: int) -> None:
    if block.state is BlockState.LEASED and (block.node, block.epoch) == (node, epoch):
        return
    message = f"block {block.cidr} is not leased to node '{node}' at epoch {epoch} any more: stop using it at once"
    raise Conflict(message, kind="LeaseLost")


def _tree(pool: BlockPool, blocks: Iterable[Block]) -> Tree:
    whole = Delegation(id=pool.id, cidr=_parsed(pool.cidr), owner=Owner(Level.SUBNET, pool.subnet_id))
    held = (Delegation(id=each.id, cidr=each.network, owner=Owner(Level.RESERVED)) for each in blocks)
    return Tree([whole, *held])


@lru_cache(maxsize=65536)
def _parsed(cidr: str) -> IPNetwork:
    return parse_network(cidr)
