"""All controllers of a server: they run in the process that leads, and only there."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from weft.controller.addresses import AddressKeeper
from weft.controller.fabric import FabricController
from weft.controller.leadership import Leadership
from weft.controller.nova.client import NovaClient
from weft.controller.nova.events import NovaEvents
from weft.controller.stuck import StuckPorts
from weft.fabric.limits import Usage
from weft.fabric.planned import PlannedSwitch, UnreadSwitch
from weft.fabric.rollout import Order, Rollout
from weft.kubernetes.settings import ClusterSettings
from weft.model.errors import Transient
from weft.model.ids import SwitchName
from weft.model.inventory import Switch
from weft.store import Store
from weft.switches.driver import SwitchDriver

if TYPE_CHECKING:
    from weft.controller.orchestrator import WorkloadObjects

WHAT = "controllers"
"""The name of their lease."""


class Controllers:
    """The controllers of this process; `run` them."""

    def __init__(
        self,
        store: Store,
        drivers: Callable[[Switch, int], SwitchDriver],
        *,
        nova: NovaClient | None = None,
        clusters: Sequence[ClusterSettings] = (),
    ) -> None:
        """`drivers` makes the driver of a switch for a term of leadership; `nova` None: there is none to be told of its
        instances' ports; `clusters` are those whose objects ports are held for."""
        self._store = store
        self._nova = nova
        self._clusters = clusters
        self._drivers = drivers
        self._leadership = Leadership(store, WHAT)
        self._fabric: FabricController | None = None

    async def run(self) -> None:
        """Run them whenever this process leads, until cancelled."""
        await self._leadership.run(self._term)

    def plans(self) -> Mapping[SwitchName, PlannedSwitch | UnreadSwitch]:
        """Return what is to be done on every switch; raise Transient if another process knows that."""
        return self._leading().plans()

    def usages(self) -> Mapping[SwitchName, Usage]:
        """Return how full each switch says that its tables are; raise Transient if another process knows that."""
        return self._leading().usages()

    async def apply(self, order: Order) -> Rollout:
        """Begin a roll-out of what waits on switches; raise Transient if another process knows it."""
        return await self._leading().apply(order)

    def _leading(self) -> FabricController:
        if self._fabric is None:
            message = "the controllers do not run in this server but in another one on its database; ask that one"
            raise Transient(message, retry_after_s=1.0)
        return self._fabric

    async def _term(self) -> None:
        term = self._leadership.term
        self._fabric = FabricController(self._store, lambda switch: self._drivers(switch, term))
        stuck = StuckPorts(self._store, self._fabric.kick_node)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._fabric.run(), name="fabric")
                tasks.create_task(stuck.run(), name="stuck-ports")
                tasks.create_task(AddressKeeper(self._store).run(), name="addresses")
                if self._nova is not None:
                    tasks.create_task(NovaEvents(self._store, self._nova).run(), name="nova")
                for cluster in self._clusters:
                    tasks.create_task(_objects_of(self._store, cluster).run(), name=f"kubernetes-{cluster.name}")
        finally:
            self._fabric = None


def _objects_of(store: Store, cluster: ClusterSettings) -> "WorkloadObjects":
    from weft.controller.orchestrator import WorkloadObjects  # noqa: PLC0415 - who has no cluster loads no client
    from weft.kubernetes.api import KubernetesApi  # noqa: PLC0415

    return WorkloadObjects(store, cluster, KubernetesApi(cluster))
