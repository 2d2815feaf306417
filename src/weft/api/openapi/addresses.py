"""The pages of /v1 about addresses: the plan, reservations, holds, blocks, checks."""

from collections.abc import Mapping

from weft.api.openapi.page import TEXT, Page, many, one
from weft.protocol.plan import (
    BlockLease,
    BlockOrder,
    BlockPoolOrder,
    BlockPoolStatus,
    BlockRenewal,
    BlockRenewalAnswer,
    BlockReturn,
    BlockStatus,
    CheckOrder,
    CheckReport,
    HeldName,
    HoldRelease,
    ImportReport,
    PlanImport,
    PlannedPrefix,
    PrefixMove,
    PrefixOrder,
    PrefixResize,
    ReleasePolicy,
    ReservationOrder,
    ReservationStatus,
    SubnetUse,
)

_PREFIX = one("prefix", PlannedPrefix)
_BLOCKS = many("blocks", BlockStatus)
_PREFIX_PATH = "/v1/plan/prefixes/{id}"
_RESERVATIONS = "/v1/ipam/subnets/{id}/reservations"

PAGES: Mapping[tuple[str, str], Page] = {
    ("GET", "/v1/plan"): Page(answers={200: many("prefixes", PlannedPrefix)}, query={"domain": TEXT}),
    ("POST", "/v1/plan/prefixes"): Page(takes=PrefixOrder, answers={201: _PREFIX}),
    ("GET", _PREFIX_PATH): Page(answers={200: _PREFIX}),
    ("DELETE", _PREFIX_PATH): Page(answers={204: None}),
    ("POST", f"{_PREFIX_PATH}/resize"): Page(takes=PrefixResize, answers={200: _PREFIX}),
    ("POST", f"{_PREFIX_PATH}/move"): Page(takes=PrefixMove, answers={200: _PREFIX}),
    ("POST", "/v1/plan/import"): Page(takes=PlanImport, answers={200: ImportReport}),
    ("GET", "/v1/ipam/subnets"): Page(answers={200: many("subnets", SubnetUse)}),
    ("POST", _RESERVATIONS): Page(takes=ReservationOrder, answers={201: many("reservations", ReservationStatus)}),
    ("DELETE", f"{_RESERVATIONS}/{{start}}"): Page(answers={204: None}),
    ("PUT", "/v1/ipam/networks/{id}/policy"): Page(takes=ReleasePolicy, answers={200: ReleasePolicy}),
    ("GET", "/v1/ipam/holds"): Page(answers={200: many("holds", HeldName)}, query={"network_id": TEXT}),
    ("POST", "/v1/ipam/holds/release"): Page(takes=HoldRelease, answers={204: None}),
    ("GET", "/v1/ipam/block-pools"): Page(answers={200: many("block_pools", BlockPoolStatus)}),
    ("POST", "/v1/ipam/block-pools"): Page(takes=BlockPoolOrder, answers={201: one("block_pool", BlockPoolStatus)}),
    ("DELETE", "/v1/ipam/block-pools/{id}"): Page(answers={204: None}),
    ("GET", "/v1/ipam/blocks"): Page(answers={200: _BLOCKS}),
    ("POST", "/v1/ipam/check"): Page(takes=CheckOrder, answers={200: CheckReport}),
    ("GET", "/v1/nodes/{node}/blocks"): Page(answers={200: _BLOCKS}),
    ("POST", "/v1/nodes/{node}/blocks"): Page(takes=BlockOrder, answers={201: one("lease", BlockLease)}),
    ("PUT", "/v1/nodes/{node}/blocks"): Page(takes=BlockRenewal, answers={200: BlockRenewalAnswer}),
    ("POST", "/v1/nodes/{node}/blocks/{id}/return"): Page(takes=BlockReturn, answers={204: None}),
}
