"""The change log as its readers see it: what changed, at which revision, and whom it concerns."""

from enum import StrEnum

import msgspec

from weft.model.errors import Transient
from weft.model.ids import NodeName, Revision


class Kind(StrEnum):
    """What kind of row changed."""

    NETWORK = "network"
    SUBNET = "subnet"
    ROUTER = "router"
    ROUTER_INTERFACE = "router_interface"
    """Its id is that of the subnet."""
    PORT = "port"
    NODE = "node"
    """A node's agent came, went, or said something new of itself."""
    SWITCH = "switch"
    INVENTORY = "inventory"
    """The whole inventory and its numbering; its id is ``inventory``."""
    LEAF_VLAN = "leaf_vlan"
    """Its id is ``DOMAIN/NETWORK``."""
    SWITCH_STATUS = "switch_status"


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
