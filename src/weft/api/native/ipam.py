"""Addresses of subnets and networks: use, forecasts, reservations, release policies, holds, pools of blocks, checks."""

from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.routing import Operation
from weft.controller.addresses import check_addresses
from weft.intent.blocks import all_blocks, blocks_of, create_pool, delete_pool, pools
from weft.intent.held import Held, holds, release, set_policy
from weft.intent.reservations import reserve, unreserve
from weft.intent.use import histories, use_of_subnets
from weft.ipam.blocks import Block, BlockPool, BlockState
from weft.ipam.forecast import Forecast, forecast
from weft.model.addresses import parse_address, parse_network
from weft.model.ids import NetworkId, SubnetId
from weft.model.intent import Reservation, Subnet
from weft.protocol.plan import (
    BlockPoolOrder,
    BlockPoolStatus,
    BlockStatus,
    CheckFinding,
    CheckOrder,
    CheckReport,
    HeldName,
    HoldRelease,
    ReleasePolicy,
    ReservationOrder,
    ReservationStatus,
    SubnetUse,
)
from weft.store import Snapshot, Store, Transaction


class IpamPages:
    """The pages under /v1/ipam."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def operations(self) -> list[Operation]:
        """Return the operations."""
        reservations = "/v1/ipam/subnets/{id}/reservations"
        return [
            Operation("GET", "/v1/ipam/subnets", self.subnets),
            Operation("POST", reservations, self.reserve),
            Operation("DELETE", f"{reservations}/{{start}}", self.unreserve),
            Operation("PUT", "/v1/ipam/networks/{id}/policy", self.set_policy),
            Operation("GET", "/v1/ipam/holds", self.holds),
            Operation("POST", "/v1/ipam/holds/release", self.release),
            Operation("GET", "/v1/ipam/block-pools", self.pools),
            Operation("POST", "/v1/ipam/block-pools", self.create_pool),
            Operation("DELETE", "/v1/ipam/block-pools/{id}", self.delete_pool),
            Operation("GET", "/v1/ipam/blocks", self.blocks),
            Operation("POST", "/v1/ipam/check", self.check),
        ]

    async def subnets(self, request: Request) -> Response:
        """Answer how full each subnet is, and when it will be full."""
        del request
        return JsonAnswer({"subnets": await self._store.read(partial(_uses, now=self._clock()))})

    async def reserve(self, request: Request) -> Response:
        """Keep a range of a subnet out of allocation."""
        id_, asked = SubnetId(request.path_params["id"]), await read_json(request, ReservationOrder)
        start = parse_address(asked.start)
        wanted = Reservation(
            start=start,
            end=start if asked.end is None else parse_address(asked.end),
            reason=asked.reason,
            project_id=asked.project_id,
            port_name=asked.port_name,
        )
        subnet = await self._store.transact(lambda tx: reserve(tx, id_, wanted))
        return JsonAnswer({"reservations": reservations_of(subnet)}, status_code=201)

    async def unreserve(self, request: Request) -> Response:
        """End the reservation that begins with an address."""
        id_, start = SubnetId(request.path_params["id"]), parse_address(request.path_params["start"])
        await self._store.transact(lambda tx: unreserve(tx, id_, start))
        return no_content()

    async def set_policy(self, request: Request) -> Response:
        """Say how long the names of a network's deleted ports keep their addresses."""
        id_, asked = NetworkId(request.path_params["id"]), await read_json(request, ReleasePolicy)
        network = await self._store.transact(lambda tx: set_policy(tx, id_, asked.hold_s))
        return JsonAnswer(ReleasePolicy(hold_s=network.hold_s))

    async def holds(self, request: Request) -> Response:
        """Answer what names of deleted ports keep, in all networks or in `network_id`."""
        network_id = request.query_params.get("network_id")
        wanted = None if network_id is None else NetworkId(network_id)
        found = await self._store.read(lambda snapshot: holds(snapshot, wanted))
        return JsonAnswer({"holds": [_hold(each) for each in found]})

    async def release(self, request: Request) -> Response:
        """Let go of what a name keeps."""
        asked = await read_json(request, HoldRelease)
        await self._store.transact(lambda tx: release(tx, asked.id))
        return no_content()

    async def pools(self, request: Request) -> Response:
        """Answer the pools of blocks."""
        del request

        def collect(snapshot: Snapshot) -> list[BlockPoolStatus]:
            return [_pool(pool, blocks_of(snapshot, pool.id)) for pool in pools(snapshot)]

        return JsonAnswer({"block_pools": await self._store.read(collect)})

    async def create_pool(self, request: Request) -> Response:
        """Make a part of a subnet a pool of blocks."""
        asked = await read_json(request, BlockPoolOrder)

        def work(tx: Transaction) -> BlockPoolStatus:
            subnet_id = SubnetId(asked.subnet_id)
            sizes = {"largest": asked.largest, "smallest": asked.smallest}
            return _pool(create_pool(tx, subnet_id, asked.cidr, **sizes, lease_s=asked.lease_s), [])

        return JsonAnswer({"block_pool": await self._store.transact(work)}, status_code=201)

    async def delete_pool(self, request: Request) -> Response:
        """End a pool of blocks."""
        id_ = request.path_params["id"]
        await self._store.transact(lambda tx: delete_pool(tx, id_))
        return no_content()

    async def blocks(self, request: Request) -> Response:
        """Answer all blocks."""
        del request
        return JsonAnswer({"blocks": [block_status(each) for each in await self._store.read(all_blocks)]})

    async def check(self, request: Request) -> Response:
        """Look at all addresses; with `fix`, put right what the last check found as well."""
        asked = await read_json(request, CheckOrder)
        result = await check_addresses(self._store, now=self._clock(), fix=asked.fix)
        findings = [
            CheckFinding(about=each.about, trouble=each.trouble, text=each.text, remedy=each.remedy, state=state)
            for each, state in result.findings
        ]
        return JsonAnswer(CheckReport(ports=result.ports, addresses=result.addresses, findings=findings))


def block_status(block: Block) -> BlockStatus:
    """Return a block as /v1 shows it."""
    return BlockStatus(
        id=block.id,
        pool_id=block.pool_id,
        cidr=block.cidr,
        node=block.node,
        epoch=block.epoch,
        state=block.state,
        until=block.until,
        used=block.used,
    )


def reservations_of(subnet: Subnet) -> list[ReservationStatus]:
    """Return a subnet's reservations as /v1 shows them."""
    return [
        ReservationStatus(
            start=str(each.start),
            end=str(each.end),
            reason=each.reason,
            project_id=each.project_id,
            port_name=each.port_name,
        )
        for each in subnet.reserved
    ]


def _uses(snapshot: Snapshot, *, now: float) -> list[SubnetUse]:
    use, samples = use_of_subnets(snapshot, now), histories(snapshot)
    rows = []
    for subnet in snapshot.subnets():
        size = use[subnet.id].size
        known = samples.get(subnet.id)
        ahead = Forecast() if known is None else forecast(known.samples, size)
        rows.append(
            SubnetUse(
                id=subnet.id,
                name=subnet.name,
                cidr=str(subnet.cidr),
                network_id=subnet.network_id,
                used=use[subnet.id].used,
                resting=use[subnet.id].resting,
                size=float(size),
                per_day=ahead.per_day,
                full_at=ahead.full_at,
                reservations=reservations_of(subnet),
            )
        )
    return rows


def _hold(held: Held) -> HeldName:
    return HeldName(
        id=held.id,
        network_id=held.network_id,
        project_id=held.project_id,
        port_name=held.port_name,
        addresses=[ip.address for ip in held.ips],
        mac=held.mac,
        since=held.since,
        until=held.until,
    )


def _pool(pool: BlockPool, blocks: list[Block]) -> BlockPoolStatus:
    return BlockPoolStatus(
        id=pool.id,
        subnet_id=pool.subnet_id,
        cidr=pool.cidr,
        largest=pool.largest,
        smallest=pool.smallest,
        lease_s=pool.lease_s,
        blocks=len(blocks),
        leased=sum(each.network.num_addresses for each in blocks if each.state is BlockState.LEASED),
        addresses=float(parse_network(pool.cidr).num_addresses),
    )
