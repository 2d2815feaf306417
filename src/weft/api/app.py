"""The API put together: one ASGI application, and what runs beside it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from weft.api.agents import Agents
from weft.api.auth.authenticator import Authentication, Authenticator
from weft.api.limits import Limits, LimitSettings
from weft.api.metrics import Metrics
from weft.api.native.blocks import BlockPages
from weft.api.native.fabric import Fabric, FabricPages
from weft.api.native.inventory import InventoryPages
from weft.api.native.ipam import IpamPages
from weft.api.native.networks import NetworkPages
from weft.api.native.nodes import NodePages
from weft.api.native.operations import OperationPages
from weft.api.native.peerings import PeeringPages
from weft.api.native.plan import PlanPages
from weft.api.native.port_requests import PortRequestPages
from weft.api.native.ports import PortPages
from weft.api.native.status import StatusPages
from weft.api.native.watch import WatchPages
from weft.api.native.workloads import WorkloadPages
from weft.api.neutron import discovery, pages
from weft.api.neutron.bindings import BindingPages
from weft.api.neutron.networks import NETWORKS
from weft.api.neutron.ports import PORTS
from weft.api.neutron.resource import ResourcePages
from weft.api.neutron.routers import ROUTERS, RouterInterfacePages
from weft.api.neutron.subnets import SUBNETS
from weft.api.neutron.tags import TagPages
from weft.api.openapi.document import DocumentPages
from weft.api.operations import OperationWorker
from weft.api.relay import Relay, RelayedOperations
from weft.api.routing import Operation, Paths
from weft.api.watches import NodeWatches
from weft.model.ids import NodeName
from weft.protocol.node import HEARTBEAT_S
from weft.store import Store


class Api:
    """The ASGI application `app`, to be used within `running`."""

    def __init__(
        self,
        store: Store,
        fabric: Fabric,
        *,
        authentication: Authentication = Authentication(),  # noqa: B008 - frozen
        limits: LimitSettings = LimitSettings(),  # noqa: B008 - frozen
        project: str = "default",
        clock: Callable[[], float] = time.time,
        heartbeat_s: float = HEARTBEAT_S,
        relay: Relay | None = None,
        is_first: bool = True,
    ) -> None:
        """`relay`: between the processes of a server that has several, of which this one is the first, or is not."""
        self._store = store
        self._project = project
        self._clock = clock
        self._stopping = asyncio.Event()
        self._watches = NodeWatches(store)
        self._agents = Agents(store, clock)
        self._metrics = Metrics()
        self._heartbeat_s = heartbeat_s
        relayed_for = relay.asked_for if relay is not None and is_first else lambda _: None
        self._authenticator = Authenticator(authentication, self._node_by_token, relayed_for)
        self._relayed = RelayedOperations(relay) if relay is not None and not is_first else None
        description = DocumentPages()
        self.operations = tuple(map(self._where_answered, (*self._operations(fabric), *description.operations())))
        description.describe(self.operations)
        self.worker = OperationWorker(store, self._watches, self.operations, clock)
        self.app = Paths(self.operations, self._authenticator, Limits(limits), self._metrics.observe)

    def stop_streams(self) -> None:
        """End every stream; a stream that is opened from now on ends at once."""
        self._stopping.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep watches fed, agents' times stored and operations worked on, within the context."""
        beside = [asyncio.create_task(each.run()) for each in (self._watches, self._agents, self.worker)]
        try:
            yield
        finally:
            self.stop_streams()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._agents.save()
            await self._authenticator.close()
            if self._relayed is not None:
                await self._relayed.close()

    def _where_answered(self, operation: Operation) -> Operation:
        """Return an operation as this process has it."""
        return self._relayed.of(operation) if self._relayed is not None and operation.by_controllers else operation

    def _operations(self, fabric: Fabric) -> list[Operation]:
        """Return all operations."""
        store = self._store
        native = (
            NodePages(store, self._watches, self._agents, self._stopping, heartbeat_s=self._heartbeat_s),
            PortRequestPages(store, self._project),
            PortPages(store),
            WorkloadPages(store, self._project, self._agents, self._clock),
            WatchPages(store, self._stopping, heartbeat_s=self._heartbeat_s),
            StatusPages(store, self._agents, self._metrics, self._clock),
            InventoryPages(store),
            FabricPages(store, fabric),
            NetworkPages(store),
            PeeringPages(store),
            PlanPages(store, self._clock),
            IpamPages(store, self._clock),
            BlockPages(store),
            OperationPages(store, self._watches, self._stopping, heartbeat_s=self._heartbeat_s),
        )
        return [
            *ResourcePages(PORTS, store, self._project).operations(),
            *ResourcePages(NETWORKS, store, self._project).operations(),
            *ResourcePages(SUBNETS, store, self._project).operations(),
            *ResourcePages(ROUTERS, store, self._project).operations(),
            *BindingPages(store, self._project).operations(),
            *RouterInterfacePages(store, self._project).operations(),
            *(operation for pages in native for operation in pages.operations()),
            *discovery.operations(),
            *TagPages(PORTS, store, self._project).operations(),
            *TagPages(NETWORKS, store, self._project).operations(),
            *TagPages(SUBNETS, store, self._project).operations(),
            *TagPages(ROUTERS, store, self._project).operations(),
            *pages.operations(store, self._project, self._agents, self._clock),
        ]

    async def _node_by_token(self, sha256: str) -> NodeName | None:
        return await self._store.read(lambda snapshot: snapshot.node_of_token(sha256))
