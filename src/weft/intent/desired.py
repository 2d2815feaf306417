"""What a node shall carry, computed from the present rows."""

from collections.abc import Iterable

from weft.model.ids import NodeName, PortId
from weft.protocol.node import NodeChange, NodeDesired
from weft.store import Snapshot


def node_desired(snapshot: Snapshot, node: NodeName) -> NodeDesired:
    """Return all that a node shall carry."""
    raise NotImplementedError


def node_changes(snapshot: Snapshot, node: NodeName, port_ids: Iterable[PortId]) -> NodeChange:
    """Return the present rows of some ports as a node shall carry them."""
    raise NotImplementedError
