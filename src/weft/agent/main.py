"""The agent's process: the reconciler and the line to the server, side by side."""

import asyncio
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from weft.agent.cni.containers import Containers
from weft.agent.guard import NoGuard, TcGuard
from weft.agent.links import Links
from weft.agent.ovs import datapath
from weft.agent.ovs.database import Database
from weft.agent.ovs.observed import INTEGRATION, UPLINK
from weft.agent.ovs.switch import FlowSwitch
from weft.agent.reconciler import Host, Reconciler
from weft.agent.server import ServerLink
from weft.agent.settings import AgentSettings, Datapath, KubernetesSettings
from weft.agent.standing import Outbox
from weft.client import AsyncClient, TlsFiles
from weft.model.errors import Invalid
from weft.protocol.node import NodeChange, NodeDesired

if TYPE_CHECKING:
    from weft.agent.cni.pods import Pods

log = structlog.get_logger()


def run(settings: AgentSettings) -> None:
    """Run the agent until SIGTERM or SIGINT. It leaves everything on the node as it is."""
    asyncio.run(serve(settings))


async def serve(settings: AgentSettings) -> None:
    """Run the agent in this event loop until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    work = asyncio.create_task(attend(settings))
    stopped = asyncio.create_task(stop.wait())
    log.info("agent_started", node=settings.node, servers=settings.servers)
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        stopped.cancel()
        await work
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    log.info("agent_stopped", node=settings.node)


async def attend(settings: AgentSettings) -> None:
    """Reconcile the node and keep the line to the server, until cancelled."""
    wake, news = asyncio.Event(), asyncio.Event()
    containers: list[Containers] = []

    def on_change() -> None:
        wake.set()
        for each in containers:
            each.service.wake()

    def follow(message: NodeDesired | NodeChange) -> None:
        agent.follow(message)
        for each in containers:
            each.service.follow(message)

    rows = Database(settings.ovs.db_path, on_change)
    integration = FlowSwitch(f"{settings.ovs.run_dir}/{INTEGRATION}.mgmt", wake.set)
    uplink = FlowSwitch(f"{settings.ovs.run_dir}/{UPLINK}.mgmt", wake.set)
    datapath_type = datapath.resolve(settings.ovs.datapath)
    host = Host(
        rows=rows,
        integration=integration,
        uplink=uplink,
        links=Links(settings),
        guard=TcGuard() if datapath_type == Datapath.NETDEV else NoGuard(),
        datapath=datapath_type,
    )
    outbox = Outbox()
    agent = Reconciler(settings, host, outbox, clock=time.time, wake=wake, news=news)
    connect = partial(_client, settings)
    line = ServerLink(settings, connect, follow, outbox, clock=time.time, news=news, told=wake)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run())
            group.create_task(line.run())
            if settings.cni_socket is not None:
                pods = None if settings.kubernetes is None else _pods(settings.node, settings.kubernetes)
                if pods is not None:
                    group.create_task(pods.run())
                containers.append(Containers(settings, rows, connect, pods))
                group.create_task(containers[0].run(settings.cni_socket))
    finally:
        rows.close()
        integration.close()
        uplink.close()


def _pods(node: str, settings: KubernetesSettings) -> "Pods":
    try:
        from weft.agent.cni.pods import Pods  # noqa: PLC0415 - a Kubernetes client is loaded by those who have one
        from weft.kubernetes.api import KubernetesApi  # noqa: PLC0415
        from weft.kubernetes.settings import ClusterAccess  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Invalid(f"[kubernetes] needs {error.name}: install weft[kubernetes]") from None
    access = ClusterAccess(kubeconfig=settings.kubeconfig, context=settings.context)
    return Pods(KubernetesApi(access), settings.node or node, labels=settings.labels)


def _client(settings: AgentSettings, server: str) -> AsyncClient:
    token = None
    if settings.token_file is not None:
        try:
            token = Path(settings.token_file).read_text().strip()
        except OSError as error:
            raise Invalid(f"the token file {settings.token_file} cannot be read: {error.strerror}") from error
    tls = TlsFiles(settings.ca_file, settings.certificate_file, settings.key_file)
    return AsyncClient(server, token, tls=tls)
