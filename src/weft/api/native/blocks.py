"""What a node asks for its blocks of addresses: more of them, to keep them, to give them back."""

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.native.ipam import block_status
from weft.api.routing import Operation
from weft.intent.blocks import Holding, blocks_on, give_back, grant, ranges, renew
from weft.model.errors import Invalid, NotFound
from weft.model.ids import NodeName
from weft.protocol.plan import (
    BlockLease,
    BlockOrder,
    BlockRenewal,
    BlockRenewalAnswer,
    BlockReturn,
    RenewedBlock,
)
from weft.store import Snapshot, Store, Transaction

MAX_RENEWED = 1024
"""Blocks of one renewal."""


class BlockPages:
    """The pages under /v1/nodes/{node}/blocks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return the operations."""
        blocks = "/v1/nodes/{node}/blocks"
        return [
            Operation("GET", blocks, self.index, Access.OWN_NODE),
            Operation("POST", blocks, self.grant, Access.OWN_NODE),
            Operation("PUT", blocks, self.renew, Access.OWN_NODE),
            Operation("POST", f"{blocks}/{{id}}/return", self.give_back, Access.OWN_NODE),
        ]

    async def index(self, request: Request) -> Response:
        """Answer the blocks that are a node's, or rest after it."""
        node = _node(request)

        def find(snapshot: Snapshot) -> Response:
            _require(snapshot, node)
            return JsonAnswer({"blocks": [block_status(each) for each in blocks_on(snapshot, node)]})

        return await self._store.read(find)

    async def grant(self, request: Request) -> Response:
        """Lease a block to a node."""
        node, asked = _node(request), await read_json(request, BlockOrder)

        def work(tx: Transaction) -> BlockLease:
            _require(tx, node)
            block, pool, subnet = grant(tx, node, asked.pool_id, asked.wanted)
            return BlockLease(
                id=block.id,
                cidr=block.cidr,
                epoch=block.epoch,
                lease_s=pool.lease_s,
                ranges=ranges(block, subnet),
                subnet_id=subnet.id,
                subnet=str(subnet.cidr),
                gateway=None if subnet.gateway is None else str(subnet.gateway),
            )

        return JsonAnswer({"lease": await self._store.transact(work)}, status_code=201)

    async def renew(self, request: Request) -> Response:
        """Renew the leases of a node; the answer names those that it has lost."""
        node, asked = _node(request), await read_json(request, BlockRenewal)
        if len(asked.blocks) > MAX_RENEWED:
            raise Invalid(f"{len(asked.blocks)} blocks at once are too many: send at most {MAX_RENEWED}")
        held = [Holding(id=each.id, epoch=each.epoch, used=each.used) for each in asked.blocks]
        renewed, lost = await self._store.transact(lambda tx: renew(tx, node, held))
        kept = [RenewedBlock(block.id, block.epoch, lease_s) for block, lease_s in renewed]
        return JsonAnswer(BlockRenewalAnswer(renewed=kept, lost=lost))

    async def give_back(self, request: Request) -> Response:
        """Take back a block that its node has emptied."""
        node, id_ = _node(request), request.path_params["id"]
        asked = await read_json(request, BlockReturn)
        await self._store.transact(lambda tx: give_back(tx, node, id_, asked.epoch))
        return no_content()


def _node(request: Request) -> NodeName:
    return NodeName(request.path_params["node"])


def _require(snapshot: Snapshot, node: NodeName) -> None:
    if node not in snapshot.topology().nodes:
        raise NotFound(f"'{node}' is not a node of the inventory", kind="NodeNotFound")
