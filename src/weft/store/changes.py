"""The change log as its readers see it: what changed, at which revision, and whom it concerns."""

from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from weft.model.errors import Transient
from weft.model.ids import NodeName, Revision
from weft.store import schema as t

if TYPE_CHECKING:
    from weft.store.snapshot import Snapshot

REVISION = "revision"
"""The cursor that holds the newest revision; whoever writes has its row first, and so writes alone."""
WATCH_BATCH = 1_000
"""Changes handed to a watcher at once."""
WATCH_REVISIONS = 10_000
"""Revisions that are looked at for them."""


class Kind(StrEnum):
    """What kind of row changed."""

    NETWORK = "network"
    SUBNET = "subnet"
    ROUTER = "router"
    ROUTER_INTERFACE = "router_interface"
    """Its id is that of the subnet."""
    PEERING = "peering"
    """Two routers whose networks reach each other."""
    PORT = "port"
    NODE = "node"
    """A node's agent came, went, or said something new of itself."""
    SWITCH = "switch"
    INVENTORY = "inventory"
    """The whole inventory and its numbering; its id is ``inventory``."""
    LEAF_VLAN = "leaf_vlan"
    """Its id is ``DOMAIN/NETWORK``."""
    SWITCH_STATUS = "switch_status"
    APPROVAL = "approval"
    """What was approved for a switch (weft.fabric.gate); its id is the switch's name."""
    ROLLOUT = "rollout"
    """A change of several switches that somebody asked for (weft.fabric.rollout)."""
    LEASE = "lease"
    """Which processes lead; see weft.controller.leadership."""
    PORT_NAME = "port_name"
    """A port's claim on a name that it was asked for by; its id is the port's."""
    WORKLOAD_NAME = "workload_name"
    """Which port is a workload's; its id is ``PROJECT/NAME``."""
    HELD_WORKLOAD = "held_workload"
    """A workload's port whose container is gone, and until when; its id is the port's, its name ``UNTIL``."""
    MISSING_WORKLOAD = "missing_workload"
    """A workload's port that its node's agent has not; its id is the port's, its parent the node."""
    CLUSTER = "cluster"
    """Which Kubernetes cluster has a name; its id is that."""
    KEPT_ANSWER = "kept_answer"
    """The answer to a request that may come again."""
    OPERATION = "operation"
    """A request that is worked on after it was answered."""
    PLAN = "plan"
    """One for each version of a routing domain's plan."""
    PREFIX = "prefix"
    HELD_ADDRESS = "held_address"
    """What a deleted port's name keeps."""
    BLOCK_POOL = "block_pool"
    BLOCK = "block"
    SUBNET_USE = "subnet_use"
    """Samples of how many addresses are in use; its id is the subnet's."""
    SUSPECT = "suspect"
    """What one check of the addresses found and another has to find again."""
    SECURITY_GROUP = "security_group"
    SECURITY_GROUP_RULE = "security_group_rule"
    """Its parent is the group, its name the remote group."""
    SECURITY_GROUP_MEMBER = "security_group_member"
    """One for each port and group, but for ports in the default group of their own project; ``PORT/GROUP``."""
    QUOTA = "quota"
    """What one project may have; its id is the project's."""
    ADDRESS_SCOPE = "address_scope"
    SUBNET_POOL = "subnet_pool"
    """Its parent is the address scope."""
    POOL_PREFIX = "pool_prefix"
    """What a subnet took from a subnet pool; its id is the subnet's, its parent the pool."""
    FLOATING_IP = "floating_ip"
    """Its parent is the port that it leads to, its name the address."""
    NOVA_PORT = "nova_port"
    """What Nova was told of a port; its id is the port's."""
    NOVA_POSITION = "nova_position"
    RBAC_POLICY = "rbac_policy"
    """Its parent is the object that it shares, its name ``TYPE/ACTION/PROJECT``."""


class Op(StrEnum):
    """What became of the row."""

    PUT = "put"
    DELETE = "delete"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One row that changed. The row itself is not in it: readers read the present one."""

    revision: Revision
    kind: Kind
    id: str
    op: Op
    nodes: tuple[NodeName, ...] = ()
    """The nodes whose desired state the change concerns, including those that a port has just left."""


class CompactedError(Transient):
    """The changes asked for are no longer in the log; take a new snapshot and watch from its revision."""

    default_kind = "RevisionCompacted"

    def __init__(self, after: Revision, held: Revision) -> None:
        """`held` is the revision nearest to `after` that the log has."""
        super().__init__(
            f"what changed after revision {after} is not in the change log, which has revision {held} next to it; "
            "read a new snapshot and watch from its revision",
            retry_after_s=0.0,
        )


def after(
    snapshot: "Snapshot", after: Revision, kinds: frozenset[Kind] | None = None
) -> tuple[tuple[Change, ...], Revision]:
    """Return the next changes after a revision, whole revisions only, at most about WATCH_BATCH; and how far that is.

    With `kinds` only changes of these, and those that concern a node. Raises CompactedError if the log no longer
    reaches back that far.
    """
    bounds = {"after": after, "last": after + WATCH_REVISIONS}
    [(oldest,)], head, rows = snapshot.ask(
        snapshot.question(_OLDEST),
        snapshot.question(HEAD),
        snapshot.question(_after(kinds, limited=True), **bounds, most=WATCH_BATCH),
    )
    if oldest is not None and after + 1 < oldest:
        raise CompactedError(after, Revision(oldest))
    up_to = Revision(min(head[0][0] if head else 0, after + WATCH_REVISIONS))
    if len(rows) == WATCH_BATCH:
        up_to = Revision(rows[-1][0])
        rows = snapshot.run(_after(kinds), after=after, last=up_to).fetchall()
    found = tuple(
        Change(
            revision=Revision(revision),
            kind=Kind(kind),
            id=id_,
            op=Op(op),
            nodes=tuple(NodeName(node) for node in nodes.split()),
        )
        for revision, kind, id_, op, nodes in rows
    )
    return found, up_to


@lru_cache(maxsize=32)
def _after(kinds: frozenset[Kind] | None, *, limited: bool = False) -> sa.Select[Any]:
    log = t.changes.c
    # Bounded on both sides: see weft.store.catching_up.
    statement = sa.select(*_COLUMNS).where(log.revision > sa.bindparam("after"), log.revision <= sa.bindparam("last"))
    statement = statement.order_by(log.revision, log.seq)
    if limited:
        statement = statement.limit(sa.bindparam("most")).offset(sa.literal_column("0"))
    if kinds is not None:
        wanted: list[Any] = [sa.literal_column(f"'{kind}'") for kind in sorted(kinds)]
        statement = statement.where(sa.or_(log.nodes != sa.literal_column("''"), log.kind.in_(wanted)))
    return statement


_COLUMNS = (t.changes.c.revision, t.changes.c.kind, t.changes.c.id, t.changes.c.op, t.changes.c.nodes)
_OLDEST = sa.select(sa.func.min(t.changes.c.revision))
HEAD = sa.select(t.cursors.c.value).where(t.cursors.c.name == sa.literal_column(f"'{REVISION}'"))
"""Reads the newest revision."""
