"""Blocks of addresses on lease to nodes: pools of them in subnets, grants, renewals, returns, and what comes back.

A pool's prefix is reserved in its subnet, so that central allocation and nodes never give out the same address.
"""

from collections.abc import Sequence

import msgspec

from weft.intent.reservations import reserve, unreserve
from weft.intent.rows import subnet_of
from weft.ipam import blocks
from weft.ipam.blocks import Block, BlockPool, usable
from weft.ipam.plan import is_host
from weft.model.addresses import parse_network
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NodeName, SubnetId
from weft.model.intent import Reservation, Subnet
from weft.store import Kind, Snapshot, Transaction

LEASE_S = 300.0
MAX_WANTED = 1 << 20


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A block that a node says it holds, at which epoch, and how many of its addresses are in use."""

    id: str
    epoch: int
    used: int = 0


def create_pool(
    tx: Transaction, subnet_id: SubnetId, cidr: str, *, largest: int, smallest: int, lease_s: float = LEASE_S
) -> BlockPool:
    """Make a part of a subnet a pool of blocks. Raises NotFound, Invalid, and Conflict if a port is in its way."""
    subnet = subnet_of(tx, subnet_id)
    pool = BlockPool(
        id=tx.new_id(),
        subnet_id=subnet_id,
        cidr=str(parse_network(cidr)),
        largest=largest,
        smallest=smallest,
        lease_s=lease_s,
    )
    blocks.check_pool(pool, subnet)
    reserve(tx, subnet_id, _reservation(pool, subnet))
    tx.put_record(Kind.BLOCK_POOL, pool.id, pool, project_id=subnet.project_id, parent=subnet_id)
    return pool


def delete_pool(tx: Transaction, pool_id: str) -> None:
    """End a pool; its addresses are the subnet's again. Raises NotFound, and Conflict while there are blocks of it."""
    pool = pool_of(tx, pool_id)
    if held := blocks_of(tx, pool_id):
        message = f"{len(held)} blocks of {pool.cidr} are leased or rest, such as {held[0].cidr} of '{held[0].node}'"
        raise Conflict(f"{message}; they come back when their nodes return them or are gone", kind="BlockPoolInUse")
    subnet = tx.subnet(pool.subnet_id)
    if subnet is not None:
        unreserve(tx, subnet.id, _reservation(pool, subnet).start)
    tx.delete_record(Kind.BLOCK_POOL, pool_id)


def grant(tx: Transaction, node: NodeName, pool_id: str, wanted: int) -> tuple[Block, BlockPool, Subnet]:
    """Lease a new block to a node. Raises NotFound, Invalid, and Conflict if none is free."""
    if not 1 <= wanted <= MAX_WANTED:
        raise Invalid(f"a block of {wanted} addresses is not possible: ask for 1 to {MAX_WANTED}", kind="InvalidDemand")
    pool = pool_of(tx, pool_id)
    new_pool, block = blocks.grant(pool, blocks_of(tx, pool_id), node, wanted, id_=tx.new_id(), now=tx.clock())
    _put_pool(tx, new_pool)
    _put(tx, block)
    return block, pool, subnet_of(tx, pool.subnet_id)


def renew(tx: Transaction, node: NodeName, held: Sequence[Holding]) -> tuple[list[tuple[Block, float]], list[str]]:
    """Renew a node's leases; return the renewed blocks with their terms (seconds), and the ids of those it has lost."""
    renewed, lost = [], []
    for each in held:
        block = tx.record(Kind.BLOCK, Block, each.id)
        pool = None if block is None else tx.record(Kind.BLOCK_POOL, BlockPool, block.pool_id)
        if block is None or pool is None:
            lost.append(each.id)
            continue
        try:
            new = blocks.renew(pool, block, node, each.epoch, min(max(each.used, 0), MAX_WANTED), now=tx.clock())
        except Conflict:
            lost.append(each.id)
            continue
        _put(tx, new)
        renewed.append((new, pool.lease_s))
    return renewed, lost


def give_back(tx: Transaction, node: NodeName, block_id: str, epoch: int) -> None:
    """Take back a block that a node has emptied. Raises NotFound, and Conflict if it is not the node's any more."""
    block = tx.record(Kind.BLOCK, Block, block_id)
    if block is None:
        raise NotFound(
            f"there is no block {block_id}: it is given back already, or was recovered", kind="BlockNotFound"
        )
    _put(tx, blocks.give_back(block, node, epoch, now=tx.clock()))


def recover(tx: Transaction) -> list[Block]:
    """Take back the blocks whose leases are over, and free those that have rested; return the former."""
    ended, free = blocks.recover(all_blocks(tx), now=tx.clock())
    for block in ended:
        _put(tx, block)
    for block in free:
        tx.delete_record(Kind.BLOCK, block.id)
    return ended


def pool_of(snapshot: Snapshot, pool_id: str) -> BlockPool:
    """Return a pool; raise NotFound."""
    found = snapshot.record(Kind.BLOCK_POOL, BlockPool, pool_id)
    if found is None:
        raise NotFound(f"there is no block pool {pool_id}; `weft ipam blocks` lists all", kind="BlockPoolNotFound")
    return found


def pools(snapshot: Snapshot, subnet_id: SubnetId | None = None) -> list[BlockPool]:
    """Return all pools, or those of a subnet."""
    return snapshot.records(Kind.BLOCK_POOL, BlockPool, parent=subnet_id)


def blocks_of(snapshot: Snapshot, pool_id: str) -> list[Block]:
    """Return the blocks of a pool, leased and resting."""
    return snapshot.records(Kind.BLOCK, Block, parent=pool_id)


def blocks_on(snapshot: Snapshot, node: NodeName) -> list[Block]:
    """Return the blocks that are, or were last, a node's."""
    return snapshot.records(Kind.BLOCK, Block, name=node)


def all_blocks(snapshot: Snapshot) -> list[Block]:
    """Return the blocks of all pools."""
    return snapshot.records(Kind.BLOCK, Block)


def ranges(block: Block, subnet: Subnet) -> list[tuple[str, str]]:
    """Return the ranges of a block that its node may give out, as text."""
    base = subnet.cidr.network_address
    return [(str(base + (first - int(base))), str(base + (last - int(base)))) for first, last in usable(block, subnet)]


def check_no_pool(snapshot: Snapshot, subnet_id: SubnetId) -> None:
    """Refuse to delete a subnet that nodes have blocks of; raise Conflict."""
    for pool in pools(snapshot, subnet_id):
        message = f"Unable to complete operation on subnet {subnet_id}: {pool.cidr} of it is a pool of blocks for nodes"
        raise Conflict(f"{message} ({pool.id}); delete that first.", kind="SubnetInUse")


def _reservation(pool: BlockPool, subnet: Subnet) -> Reservation:
    """Return the pool's prefix as a reservation, which may not hold the ends of the subnet."""
    cidr = parse_network(pool.cidr)
    first, last = cidr.network_address, cidr.broadcast_address
    start = first if is_host(subnet.cidr, first) else first + 1
    end = last if is_host(subnet.cidr, last) else last - 1
    return Reservation(start=start, end=end, reason=f"blocks of nodes (pool {pool.id})")


def _put_pool(tx: Transaction, pool: BlockPool) -> None:
    subnet = subnet_of(tx, pool.subnet_id)
    tx.put_record(Kind.BLOCK_POOL, pool.id, pool, project_id=subnet.project_id, parent=pool.subnet_id)


def _put(tx: Transaction, block: Block) -> None:
    # Two replicas that grant at once find the same next epoch: the key lets one of them have it.
    key = f"{block.pool_id}@{block.epoch}"
    tx.put_record(Kind.BLOCK, block.id, block, name=block.node, parent=block.pool_id, unique=key, nodes=(block.node,))
