"""Which projects may use a network besides its owner."""

from collections.abc import Callable
from functools import cache

from weft.intent.rbac import shared_ids, shared_with
from weft.model.intent import Network
from weft.model.sharing import Action, ObjectType
from weft.store import Snapshot


def network_visible(snapshot: Snapshot, network: Network, project_id: str) -> bool:
    """Tell whether a project may know of a network: its own, and those that are shared or lead outside."""
    if network.project_id == project_id or network.shared or network.external:
        return True
    return shared_with(snapshot, ObjectType.NETWORK, network.id, project_id)


def network_sharing(snapshot: Snapshot, project_id: str | None) -> Callable[[Network], bool]:
    """Return what tells whether a network is shared: with all projects, or with this one."""

    @cache
    def shared_with_it() -> frozenset[str]:
        if project_id is None:
            return frozenset()
        return shared_ids(snapshot, ObjectType.NETWORK, Action.ACCESS_AS_SHARED, project_id)

    return lambda network: network.shared or network.id in shared_with_it()
