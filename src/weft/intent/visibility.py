"""Which projects may use a network besides its owner."""

from weft.model.intent import Network
from weft.store import Snapshot


def network_visible(snapshot: Snapshot, network: Network, project_id: str) -> bool:
    """Tell whether a project may know of a network: its own, and those that are shared or lead outside."""
    del snapshot
    return network.project_id == project_id or network.shared or network.external
