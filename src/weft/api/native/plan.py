"""The address plan: its tree with use, and how it is changed."""

from collections.abc import Callable
from functools import partial

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.routing import Operation
from weft.intent.blocks import all_blocks, pools
from weft.intent.plan import PrefixSpec, delegate, free, move, resize
from weft.intent.plan_import import examine, import_plan, read
from weft.intent.plan_rows import delegation_of, domains_of, tree_of
from weft.intent.use import Use, histories, use_of_subnets
from weft.ipam.blocks import Block
from weft.ipam.forecast import forecast
from weft.ipam.tree import Tree
from weft.model.addresses import parse_network
from weft.model.errors import Invalid
from weft.model.ids import SubnetId
from weft.model.plan import Delegation, Level, Owner
from weft.protocol.plan import (
    ImportProblem,
    ImportReport,
    PlanImport,
    PlannedPrefix,
    PrefixMove,
    PrefixOrder,
    PrefixResize,
)
from weft.store import Snapshot, Store


class PlanPages:
    """The pages under /v1/plan."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def operations(self) -> list[Operation]:
        """Return the operations."""
        prefix = "/v1/plan/prefixes/{id}"
        return [
            Operation("GET", "/v1/plan", self.index),
            Operation("POST", "/v1/plan/prefixes", self.delegate),
            Operation("GET", prefix, self.show),
            Operation("DELETE", prefix, self.free),
            Operation("POST", f"{prefix}/resize", self.resize),
            Operation("POST", f"{prefix}/move", self.move),
            Operation("POST", "/v1/plan/import", self.take_over),
        ]

    async def index(self, request: Request) -> Response:
        """Answer the plan of all domains, or of `domain`: prefixes in the order of a tree, with their use."""
        domain = request.query_params.get("domain")
        return JsonAnswer({"prefixes": await self._store.read(partial(_drawn, domain=domain, now=self._clock()))})

    async def delegate(self, request: Request) -> Response:
        """Delegate a prefix, or cut one of a length from free space."""
        asked = await read_json(request, PrefixOrder)
        spec = PrefixSpec(
            owner=owner_of(asked.owner),
            cidr=None if asked.cidr is None else parse_network(asked.cidr),
            under=asked.under,
            prefixlen=asked.prefixlen,
            domain=asked.domain,
            name=asked.name,
            description=asked.description,
        )
        made = await self._store.transact(lambda tx: delegate(tx, spec))
        return await self._answer(made.id, status_code=201)

    async def show(self, request: Request) -> Response:
        """Answer one prefix."""
        return await self._answer(request.path_params["id"])

    async def free(self, request: Request) -> Response:
        """Take a prefix back."""
        id_ = request.path_params["id"]
        await self._store.transact(lambda tx: free(tx, id_))
        return no_content()

    async def resize(self, request: Request) -> Response:
        """Grow or shrink a prefix."""
        id_, cidr = request.path_params["id"], parse_network((await read_json(request, PrefixResize)).cidr)
        await self._store.transact(lambda tx: resize(tx, id_, cidr))
        return await self._answer(id_)

    async def move(self, request: Request) -> Response:
        """Give a prefix to another owner, or take it to another domain."""
        id_, asked = request.path_params["id"], await read_json(request, PrefixMove)
        owner = UNSET if asked.owner is None else owner_of(asked.owner)
        domain = UNSET if asked.domain is None else asked.domain
        await self._store.transact(lambda tx: move(tx, id_, owner=owner, domain=domain))
        return await self._answer(id_)

    async def take_over(self, request: Request) -> Response:
        """Import a foreign plan, or say what would become of it."""
        asked = await read_json(request, PlanImport)
        entries, unread = read(asked.format, asked.text)
        if asked.dry_run:
            _, report = await self._store.read(lambda snapshot: examine(snapshot, entries, unread))
        else:
            report = await self._store.transact(lambda tx: import_plan(tx, entries, unread, skip=asked.skip_conflicts))
        problems = [ImportProblem(each.where, each.prefix, each.reason) for each in report.problems]
        return JsonAnswer(ImportReport(imported=report.imported, present=report.present, problems=problems))

    async def _answer(self, id_: str, status_code: int = 200) -> Response:
        """Answer a prefix as it is; counting what is used is no work for the writer."""

        def find(snapshot: Snapshot) -> PlannedPrefix:
            tree = tree_of(snapshot, delegation_of(snapshot, id_).domain)
            return _row(tree, tree.find(id_), use_of_subnets(snapshot, self._clock()))

        return JsonAnswer({"prefix": await self._store.read(find)}, status_code=status_code)


def owner_of(text: str) -> Owner:
    """Return the owner that ``LEVEL:ID`` writes; raise Invalid."""
    level, _, id_ = text.partition(":")
    if level not in set(Level):
        raise Invalid(f"'{text}' is no owner: write LEVEL:ID with a level of {', '.join(Level)}")
    return Owner(Level(level), id_)


def _drawn(snapshot: Snapshot, *, domain: str | None, now: float) -> list[PlannedPrefix]:
    domains = domains_of(snapshot) if domain is None else [domain]
    use, samples = use_of_subnets(snapshot, now), histories(snapshot)
    blocks = _blocks_by_subnet(snapshot)
    rows = []
    for name in domains:
        tree = tree_of(snapshot, name)
        for each in tree:
            subnet = SubnetId(each.id)
            full_at = None
            if each.level is Level.SUBNET and subnet in samples and subnet in use:
                full_at = forecast(samples[subnet].samples, use[subnet].size).full_at
            row = _row(tree, each, use, full_at)
            rows.append(row)
            rows += [_block_row(block, row) for block in blocks.get(subnet, [])]
    return rows


def _row(tree: Tree, each: Delegation, use: dict[SubnetId, Use], full_at: float | None = None) -> PlannedPrefix:
    parent = tree.parent(each.id)
    addresses, used = each.cidr.num_addresses, tree.delegated(each.id)
    size = addresses
    if each.level is Level.SUBNET and SubnetId(each.id) in use:
        counted = use[SubnetId(each.id)]
        used, size = counted.used + counted.resting, max(counted.size, 1)
    return PlannedPrefix(
        id=each.id,
        cidr=str(each.cidr),
        level=each.level,
        owner=str(each.owner),
        domain=each.domain,
        name=each.name,
        description=each.description,
        depth=tree.depth(each.id),
        parent=None if parent is None else parent.id,
        addresses=float(addresses),
        used=float(used),
        use_percent=round(min(100.0 * used / size, 100.0), 2),
        full_at=full_at,
    )


def _blocks_by_subnet(snapshot: Snapshot) -> dict[SubnetId, list[Block]]:
    subnets = {pool.id: pool.subnet_id for pool in pools(snapshot)}
    found: dict[SubnetId, list[Block]] = {}
    for block in sorted(all_blocks(snapshot), key=lambda block: int(block.network.network_address)):
        if block.pool_id in subnets:
            found.setdefault(subnets[block.pool_id], []).append(block)
    return found


def _block_row(block: Block, subnet: PlannedPrefix) -> PlannedPrefix:
    size = block.network.num_addresses
    return PlannedPrefix(
        id=block.id,
        cidr=block.cidr,
        level="block",
        owner=f"node:{block.node}",
        domain=subnet.domain,
        description=block.state,
        depth=subnet.depth + 1,
        parent=subnet.id,
        addresses=float(size),
        used=float(block.used),
        use_percent=round(min(100.0 * block.used / size, 100.0), 2),
    )
