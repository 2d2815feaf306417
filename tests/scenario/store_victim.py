"""A process that creates and deletes ports as fast as it can and says what was acknowledged, until it is killed."""

import asyncio
import sys
from pathlib import Path

import structlog
from core_world import Clock, World, world

from weft.intent.ports import delete_port
from weft.model.ids import NetworkId, PortId


async def delete(w: World, port_id: PortId) -> None:
    """Delete a port."""
    await w.store.transact(lambda tx: delete_port(tx, port_id))


async def main(folder: Path, network_id: NetworkId, life: int) -> None:
    """Run until killed; a line per acknowledged change: ``+ID`` of ports that stay, ``-ID`` of deleted ones."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # another thread's: lines would mix
    clock = Clock()
    clock.advance(3600 * life)
    async with world(folder, clock, seed=life) as w:

        async def churn(worker: int) -> None:
            while True:
                view = await w.port(network_id, f"node{worker % 3 + 1}")
                if worker % 2 == 0:
                    print(f"+{view.port.id}", flush=True)
                else:
                    await delete(w, view.port.id)
                    print(f"-{view.port.id}", flush=True)

        await asyncio.gather(*(churn(worker) for worker in range(8)))


asyncio.run(main(Path(sys.argv[1]), NetworkId(sys.argv[2]), int(sys.argv[3])))
