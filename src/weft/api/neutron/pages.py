"""The pages of everything that Neutron's clients ask for besides networks, subnets, ports and routers."""

from collections.abc import Callable

from weft.api.agents import Agents
from weft.api.neutron.address_scopes import ADDRESS_SCOPES
from weft.api.neutron.availability import AvailabilityPages
from weft.api.neutron.floating_ips import FLOATING_IPS
from weft.api.neutron.hosts import HostPages
from weft.api.neutron.quotas import QuotaPages
from weft.api.neutron.rbac_policies import RBAC_POLICIES
from weft.api.neutron.resource import ResourcePages
from weft.api.neutron.security_groups import SECURITY_GROUPS, SecurityGroupPages
from weft.api.neutron.security_rules import SECURITY_GROUP_RULES
from weft.api.neutron.subnet_pools import SUBNET_POOLS
from weft.api.neutron.tags import TagPages
from weft.api.routing import Operation
from weft.store import Store


def operations(store: Store, project: str, agents: Agents, clock: Callable[[], float]) -> list[Operation]:
    """Return the operations; `project` is what administrators act for who name none."""
    return [
        *SecurityGroupPages(SECURITY_GROUPS, store, project).operations(),
        *ResourcePages(SECURITY_GROUP_RULES, store, project).operations(),
        *ResourcePages(FLOATING_IPS, store, project).operations(),
        *TagPages(FLOATING_IPS, store, project).operations(),
        *ResourcePages(ADDRESS_SCOPES, store, project).operations(),
        *ResourcePages(SUBNET_POOLS, store, project).operations(),
        *TagPages(SUBNET_POOLS, store, project).operations(),
        *ResourcePages(RBAC_POLICIES, store, project).operations(),
        *QuotaPages(store, project).operations(),
        *AvailabilityPages(store).operations(),
        *HostPages(store, agents, clock).operations(),
        *TagPages(SECURITY_GROUPS, store, project).operations(),
    ]
