"""The address plan and what else /v1 says of addresses, on the wire."""

import msgspec


class PrefixOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/plan/prefixes: `cidr`, or `under` (a prefix's id) and `prefixlen`."""

    owner: str
    """``LEVEL:ID``; ``global`` and ``reserved`` alone."""
    cidr: str | None = None
    under: str | None = None
    prefixlen: int | None = None
    domain: str = ""
    name: str = ""
    description: str = ""


class PrefixResize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/plan/prefixes/{id}/resize."""

    cidr: str


class PrefixMove(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/plan/prefixes/{id}/move; what is None stays."""

    owner: str | None = None
    domain: str | None = None


class PlannedPrefix(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix of the plan. `depth` is how many are around it; blocks of nodes are shown in their subnets."""

    id: str
    cidr: str
    level: str
    owner: str
    domain: str = ""
    name: str = ""
    description: str = ""
    depth: int = 0
    parent: str | None = None
    addresses: float
    """How many it has; beyond 2^53 to the precision that JSON readers have."""
    used: float
    """How many are delegated further; of a subnet, how many ports have, or rest."""
    use_percent: float
    full_at: float | None = None
    """Of a subnet: when it will be full, Unix seconds."""


class PlanImport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/plan/import."""

    text: str
    format: str = "csv"
    dry_run: bool = False
    skip_conflicts: bool = False


class ImportProblem(msgspec.Struct, frozen=True):
    """What cannot be imported, and why."""

    where: str
    prefix: str
    reason: str


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """How many prefixes were imported, or would be; how many were there already."""

    imported: int
    present: int
    problems: list[ImportProblem]


class ReservationOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/ipam/subnets/{id}/reservations; `end` None: one address."""

    start: str
    end: str | None = None
    reason: str = ""
    project_id: str = ""
    port_name: str = ""


class ReservationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A range that is kept out of allocation."""

    start: str
    end: str
    reason: str = ""
    project_id: str = ""
    port_name: str = ""


class SubnetUse(msgspec.Struct, frozen=True, kw_only=True):
    """How full a subnet is, and will be. `size`: how many addresses weft may give out by itself."""

    id: str
    name: str
    cidr: str
    network_id: str
    used: int
    resting: int
    size: float
    per_day: float | None
    full_at: float | None
    reservations: list[ReservationStatus]


class ReleasePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of PUT /v1/ipam/networks/{id}/policy. 0: at once; None: never."""

    hold_s: float | None


class HeldName(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of a deleted port keeps; `until` None: for ever."""

    id: str
    network_id: str
    project_id: str
    port_name: str
    addresses: list[str]
    mac: str
    since: float
    until: float | None


class HoldRelease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/ipam/holds/release."""

    id: str


class CheckOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/ipam/check."""

    fix: bool = False


class CheckFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong; `state` is ``new``, ``confirmed`` by a second check, or ``fixed``."""

    about: str
    trouble: str
    text: str
    remedy: str
    state: str


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found among so many ports and addresses."""

    ports: int
    addresses: int
    findings: list[CheckFinding]


class BlockPoolOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/ipam/block-pools. `largest` and `smallest` are prefix lengths of blocks."""

    subnet_id: str
    cidr: str
    largest: int
    smallest: int
    lease_s: float = 300.0


class BlockPoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A pool of blocks, and how many of its addresses are leased or rest."""

    id: str
    subnet_id: str
    cidr: str
    largest: int
    smallest: int
    lease_s: float
    blocks: int
    leased: int
    addresses: float


class BlockStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A block. `until` is when its lease or rest ends (Unix seconds)."""

    id: str
    pool_id: str
    cidr: str
    node: str
    epoch: int
    state: str
    until: float
    used: int


class BlockOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/nodes/{node}/blocks: how many addresses the node needs."""

    pool_id: str
    wanted: int


class BlockLease(msgspec.Struct, frozen=True, kw_only=True):
    """A granted block. The node counts `lease_s` from when it sent the request, and stops using the block then."""

    id: str
    cidr: str
    epoch: int
    lease_s: float
    ranges: list[tuple[str, str]]
    """What may be given out, inclusive."""
    subnet_id: str
    subnet: str
    gateway: str | None


class BlockHolding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block as its node sees it."""

    id: str
    epoch: int
    used: int = 0


class BlockRenewal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of PUT /v1/nodes/{node}/blocks: all blocks that the node holds."""

    blocks: list[BlockHolding]


class RenewedBlock(msgspec.Struct, frozen=True):
    """A lease that goes on for so long, from when the renewal was sent."""

    id: str
    epoch: int
    lease_s: float


class BlockRenewalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Which leases go on, and the ids of blocks whose use has to end at once."""

    renewed: list[RenewedBlock]
    lost: list[str]


class BlockReturn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/nodes/{node}/blocks/{id}/return."""

    epoch: int
