"""`python -m bench.filling URL NETWORK COUNT`: create ports in a network, through the store as the server does.

A thousand to a piece of work and four pieces to a commit, without HTTP: a million take the time of their rows. Prints
every thousandth port's id, a line each.
"""

import asyncio
import gc
import sys

from weft.intent.ports import PortSpec, create_ports
from weft.model.ids import NetworkId
from weft.store import Store, Transaction

PIECE = 1_000
AT_ONCE = 4
PROJECT = "filling"


async def fill(url: str, network: str, count: int) -> None:
    """Create ports."""
    store = await Store.open(url)
    gc.disable()  # what is made is garbage by reference counts, and a million frozen values are none
    turn = asyncio.Semaphore(AT_ONCE)

    async def piece(first: int) -> str:
        async with turn:
            return await store.transact(lambda tx: _create(tx, network, range(first, min(first + PIECE, count))))

    for id_ in await asyncio.gather(*(piece(first) for first in range(0, count, PIECE))):
        print(id_)
    await store.close()


def _create(tx: Transaction, network: str, numbers: range) -> str:
    specs = [
        PortSpec(
            project_id=PROJECT,
            network_id=NetworkId(network),
            name=f"filled-{number}",
            device_id=f"f-{number}",
            device_owner="compute:nova",
        )
        for number in numbers
    ]
    return create_ports(tx, specs)[0].port.id


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], sys.argv[2], int(sys.argv[3])))
