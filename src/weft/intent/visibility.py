"""Which projects may use a network besides its owner."""

from weft.intent.rbac import shared_with
from weft.model.intent import Network
from weft.model.sharing import ObjectType
from weft.store import Snapshot


def network_visible(snapshot: Snapshot, network: Network, project_id: str) -> bool:
    """Tell whether a project may know of a network: its own, and those that are shared or lead outside."""
    if network.project_id == project_id or network.shared or network.external:
        return True
    return shared_with(snapshot, ObjectType.NETWORK, network.id, project_id)
