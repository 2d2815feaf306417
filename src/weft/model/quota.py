"""Quotas: how many objects a project may have."""

from collections.abc import Mapping

import msgspec

UNLIMITED = -1

DEFAULTS: Mapping[str, int] = {
    "network": UNLIMITED,
    "subnet": UNLIMITED,
    "subnetpool": UNLIMITED,
    "port": UNLIMITED,
    "router": UNLIMITED,
    "floatingip": UNLIMITED,
    "rbac_policy": 10,
    "security_group": UNLIMITED,
    "security_group_rule": UNLIMITED,
}
"""What a project without a quota of its own may have: what Neutron gives."""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one project; what is not among them is as in DEFAULTS."""

    project_id: str
    limits: Mapping[str, int]
    """By resource; UNLIMITED or a number that may be reached, not passed."""

    def limit(self, resource: str) -> int:
        """Return how many of a resource the project may have."""
        return self.limits.get(resource, DEFAULTS[resource])
