"""Who plays: the tenants, their networks, and which instance stands where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TenantNetwork:
    """A network of a tenant; the other tenant has one with the same CIDR."""

    tenant: str
    role: str
    cidr: str

    @property
    def name(self) -> str:
        """Its name in the API."""
        return f"{self.tenant}-{self.role}"


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance, the network of its port, and the node that it starts on."""

    name: str
    network: TenantNetwork
    node: str

    @property
    def tenant(self) -> str:
        """The tenant that it belongs to."""
        return self.network.tenant


TENANTS = ("red", "blue")

RED_WEB = TenantNetwork("red", "web", "10.1.1.0/24")
RED_DB = TenantNetwork("red", "db", "10.1.2.0/24")
BLUE_WEB = TenantNetwork("blue", "web", "10.1.1.0/24")
BLUE_DB = TenantNetwork("blue", "db", "10.1.2.0/24")
NETWORKS = (RED_WEB, RED_DB, BLUE_WEB, BLUE_DB)

RED_WEB_1 = Instance("red-web-1", RED_WEB, "node1")
RED_WEB_2 = Instance("red-web-2", RED_WEB, "node2")
RED_DB_1 = Instance("red-db-1", RED_DB, "node1")
RED_DB_2 = Instance("red-db-2", RED_DB, "node3")
BLUE_WEB_1 = Instance("blue-web-1", BLUE_WEB, "node1")
BLUE_WEB_2 = Instance("blue-web-2", BLUE_WEB, "node2")
BLUE_DB_1 = Instance("blue-db-1", BLUE_DB, "node3")
BARE_METAL = Instance("bm1", RED_WEB, "bm1")
"""The bare-metal server is instance and node in one: the leaf's interface is its edge."""

INSTANCES = (RED_WEB_1, RED_WEB_2, RED_DB_1, RED_DB_2, BLUE_WEB_1, BLUE_WEB_2, BLUE_DB_1, BARE_METAL)

TWINS = ((RED_WEB_1, BLUE_WEB_1), (RED_WEB_2, BLUE_WEB_2), (RED_DB_1, BLUE_DB_1))
"""Instances of the two tenants that get the same address: the first ports of networks with the same CIDR."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A ping to an address that both tenants have: who sends it, who has to get it, and who must not."""

    sender: Instance
    own: Instance
    others: Instance


CROSSINGS = (
    Crossing(RED_WEB_1, RED_WEB_2, BLUE_WEB_2),
    Crossing(BLUE_WEB_1, BLUE_WEB_2, RED_WEB_2),
    Crossing(RED_WEB_2, RED_DB_1, BLUE_DB_1),
    Crossing(BLUE_WEB_2, BLUE_DB_1, RED_DB_1),
)
"""Within a network, and routed between two."""

MOVED = RED_WEB_2
MOVE_TO = "node3"
MOVE_SEEN_FROM = RED_WEB_1
