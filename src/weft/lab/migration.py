"""A live migration: what a cloud's software and the two hypervisors do together."""

import asyncio
import time

from weft.client import AsyncClient
from weft.lab import instances
from weft.lab.state import Instance
from weft.model.errors import Permanent

ACTIVE_TIMEOUT_S = 20.0
POLL_S = 0.02


async def migrate(client: AsyncClient, instance: Instance, node: str) -> Instance:
    """Move a running instance to another node: plug it there, bind its port there, change over when that is ACTIVE."""

    async def ready() -> None:
        await client.bind(instance.port_id, node)
        deadline = time.monotonic() + ACTIVE_TIMEOUT_S
        while (port := await client.port_status(instance.port_id)).state != "ACTIVE":
            if time.monotonic() > deadline:
                await client.bind(instance.port_id, instance.node, supersede=True)  # back to where it still runs
                raise Permanent(
                    f"{instance.name} stays on {instance.node}: its port is {port.state} on {node} after "
                    f"{ACTIVE_TIMEOUT_S:g} s; `weft port show {instance.name}` says who has not done what"
                )
            await asyncio.sleep(POLL_S)

    return await instances.move(instance.name, node, ready)
