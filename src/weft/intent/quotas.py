"""Quotas: read, set, and kept to by everything that creates what is counted, in the transaction that creates it."""

from collections.abc import Mapping

import msgspec

from weft.model.errors import Conflict
from weft.model.quota import DEFAULTS, UNLIMITED, Quota
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

KINDS: Mapping[str, Kind] = {
    "network": Kind.NETWORK,
    "subnet": Kind.SUBNET,
    "subnetpool": Kind.SUBNET_POOL,
    "port": Kind.PORT,
    "router": Kind.ROUTER,
    "floatingip": Kind.FLOATING_IP,
    "rbac_policy": Kind.RBAC_POLICY,
    "security_group": Kind.SECURITY_GROUP,
    "security_group_rule": Kind.SECURITY_GROUP_RULE,
}
"""What the objects of each resource are in the store."""

NOBODY = ""
"""Owns what weft makes for itself, such as the ports of floating IPs: not counted against anyone's quota."""


def check_quota(tx: Transaction, project_id: str, resource: str, wanted: int = 1) -> None:
    """Raise Conflict (OverQuota) if a project may not have so many more objects of a resource."""
    if project_id == NOBODY or (DEFAULTS[resource] == UNLIMITED and not tx.usage(NOBODY, Kind.QUOTA)):
        return  # without a look at the project's own limits: nobody has any, and ports are created by the thousand
    limit = quota_of(tx, project_id).limit(resource)
    if limit == UNLIMITED:
        return
    used = tx.usage(project_id, KINDS[resource])
    if used + wanted > limit:
        message = f"Quota exceeded for resources: ['{resource}']. Project {project_id} has {used} of {limit};"
        raise Conflict(f"{message} delete some, or ask an administrator for more.", kind="OverQuota")


def quota_of(snapshot: Snapshot, project_id: str) -> Quota:
    """Return a project's quota, its own or the default one."""
    found = snapshot.record(Kind.QUOTA, Quota, project_id)
    return found or Quota(project_id=project_id, limits={})


def used_by(snapshot: Snapshot, project_id: str) -> dict[str, int]:
    """Return how many objects of each resource a project has."""
    return {resource: snapshot.usage(project_id, kind) for resource, kind in KINDS.items()}


def set_quota(tx: Transaction, project_id: str, limits: Mapping[str, int], *, above_use: bool = False) -> Quota:
    """Change limits of a project; those not named stay.

    `above_use` raises Conflict (QuotaLimitTooLow) for a limit that the project is beyond already. Without it such a
    limit only keeps the project from creating more.
    """
    before = quota_of(tx, project_id)
    if above_use:
        _check_above_use(used_by(tx, project_id), limits)
    quota = msgspec.structs.replace(before, limits={**before.limits, **limits})
    tx.put_record(Kind.QUOTA, project_id, quota)
    return quota


def reset_quota(tx: Transaction, project_id: str) -> None:
    """Let a project have the default quota again."""
    tx.delete_record(Kind.QUOTA, project_id)


def own_quotas(snapshot: Snapshot) -> list[Quota]:
    """Return the quotas of the projects that have their own."""
    return snapshot.records(Kind.QUOTA, Quota)


def _check_above_use(used: Mapping[str, int], limits: Mapping[str, int]) -> None:
    for resource, limit in limits.items():
        if limit != UNLIMITED and limit < used[resource]:
            message = f"Quota limit {limit} for {resource} must be greater than or equal to already used"
            raise Conflict(f"{message} {used[resource]}.", kind="QuotaLimitTooLow")
