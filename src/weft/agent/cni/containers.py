"""The containers of a node: the service, with the kernel that it works on and the socket that it is called by."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from weft.agent.cni.cables import LINK_PREFIX, is_cable
from weft.agent.cni.courier import Server
from weft.agent.cni.kernel import Kernel, LinkMonitor
from weft.agent.cni.ledger import Rows
from weft.agent.cni.pool import WarmPolicy
from weft.agent.cni.server import serve
from weft.agent.cni.service import CniService, Pods
from weft.agent.settings import AgentSettings


class Containers:
    """Serves the containers of the node that the agent runs on. To be made in the event loop that runs it."""

    def __init__(
        self, settings: AgentSettings, rows: Rows, connect: Callable[[str], Server], pods: Pods | None = None
    ) -> None:
        self._kernel = Kernel()
        self._links = LinkMonitor(LINK_PREFIX, self._kernel, self._woken, stays_up=is_cable)
        policy = WarmPolicy(
            cables=settings.cni_warm_cables,
            ports=settings.cni_warm_ports,
            ports_max=settings.cni_warm_ports_max,
            hold_s=settings.cni_warm_hold_s,
        )
        self.service = CniService(
            settings.node,
            rows,
            [partial(connect, server) for server in settings.servers],
            self._links,
            self._kernel,
            clock=time.time,
            policy=policy,
            pods=pods,
        )

    async def run(self, socket: str) -> None:
        """Serve, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.service.run())
                group.create_task(serve(socket, self.service))
        finally:
            self._links.close()
            self._kernel.close()

    def _woken(self) -> None:
        self.service.wake()
