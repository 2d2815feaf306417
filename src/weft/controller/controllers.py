"""All controllers of a server, in shards: each runs in the process that leads its shard, and only there."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from weft.controller.addresses import AddressKeeper
from weft.controller.clock import Clock
from weft.controller.fabric import FabricController
from weft.controller.leadership import Leadership, Work
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

FABRIC = "fabric"
"""The shard of the switches, and of stuck ports, whose leaves it has looked at again."""
ADDRESSES = "addresses"
NOVA = "nova"
KUBERNETES = "kubernetes/"
"""What the shard of a cluster's objects begins with; its name follows."""


class Controllers:
    """The controllers of this process; `run` them."""

    def __init__(
        self,
        store: Store,
        drivers: Callable[[Switch, int], SwitchDriver],
        *,
        nova: NovaClient | None = None,
        clusters: Sequence[ClusterSettings] = (),
        clock: Clock | None = None,
    ) -> None:
        """`drivers` makes the driver of a switch for a term of leadership; `nova` None: there is none to be told of its
        instances' ports; `clusters` are those whose objects ports are held for."""
        self._store = store
        self._drivers = drivers
        self._clock = clock
        self._fabric: FabricController | None = None
        shards: dict[str, Work] = {
            FABRIC: self._keep_fabric,
            ADDRESSES: lambda _: AddressKeeper(store, clock=clock).run(),
        }
        if nova is not None:
            shards[NOVA] = lambda _: NovaEvents(store, nova, clock=clock).run()
        for cluster in clusters:
            shards[KUBERNETES + cluster.name] = partial(self._keep_objects, cluster)
        self._leadership = Leadership(store, shards, clock=clock)

    async def run(self) -> None:
        """Run each of them whenever this process leads its shard, until cancelled."""
        await self._leadership.run()

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
            leader = self._leadership.leader_of(FABRIC)
            ask = f"{leader} does" if leader not in (None, self._leadership.holder) else "`weft status` shows who does"
            raise Transient(f"this server does not lead the shard '{FABRIC}' now: {ask}", retry_after_s=1.0)
        return self._fabric

    async def _keep_fabric(self, term: int) -> None:
        self._fabric = FabricController(self._store, lambda switch: self._drivers(switch, term), clock=self._clock)
        stuck = StuckPorts(self._store, self._fabric.kick_node, clock=self._clock)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._fabric.run(), name="fabric")
                tasks.create_task(stuck.run(), name="stuck-ports")
        finally:
            self._fabric = None

    async def _keep_objects(self, cluster: ClusterSettings, _: int) -> None:
        await _objects_of(self._store, cluster, self._clock).run()


def _objects_of(store: Store, cluster: ClusterSettings, clock: Clock | None) -> "WorkloadObjects":
    from weft.controller.orchestrator import WorkloadObjects  # noqa: PLC0415 - who has no cluster loads no client
    from weft.kubernetes.api import KubernetesApi  # noqa: PLC0415

    return WorkloadObjects(store, cluster, KubernetesApi(cluster), clock=clock)
