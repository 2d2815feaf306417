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
    shared = _targets(snapshot, Action.ACCESS_AS_SHARED, project_id)
    return lambda network: network.shared or network.id in shared()


def leading_outside(snapshot: Snapshot, project_id: str | None) -> Callable[[Network], bool]:
    """Return what tells whether a network is external: for all projects, or for this one."""
    external = _targets(snapshot, Action.ACCESS_AS_EXTERNAL, project_id)
    return lambda network: network.external or network.id in external()


def _targets(snapshot: Snapshot, action: Action, project_id: str | None) -> Callable[[], frozenset[str]]:
    """Return what looks up, once and only if asked, the networks that policies for just this project name."""

    @cache
    def found() -> frozenset[str]:
        return frozenset() if project_id is None else shared_ids(snapshot, ObjectType.NETWORK, action, project_id)

    return found
