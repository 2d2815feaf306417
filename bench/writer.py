"""A bare writer: the rows that the store writes for a work, put into a database again, in the same groups.

They are recorded from the store itself, on a file of its own, and nothing else is done with them than to write them: no
request is read, nothing is looked up, decided or encoded.
"""

import asyncio
import tempfile
import time
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkSpec, create_network
from weft.intent.ports import PortChanges, PortSpec, create_ports, update_port
from weft.intent.subnets import SubnetSpec, create_subnet
from weft.model.ids import NetworkId, NodeName, PortId
from weft.protocol.inventory import decode
from weft.store import PortView, Store, Transaction
from weft.store.layers import Layer
from weft.store.sqlite import PREFIX, SqliteConnection, SqliteEngine
from weft.store.store import engine_of

GROUPS = 300
BULK_GROUPS = 50
PROJECT = "bare"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What groups of work have written: each a layer of rows, and how many ports are in all of them."""

    layers: Sequence[Layer]
    ports: int


@dataclass(frozen=True, slots=True)
class Work:
    """Works that write something else each, in the order in which they can be put into an empty database."""

    creates: Recorded
    binds: Recorded
    bulk: Recorded


@dataclass(frozen=True, slots=True)
class Rates:
    """Ports a second whose rows are made durable, by work."""

    creates: float
    binds: float
    bulk: float


def bare_rates(url: str, work: Work) -> Rates:
    """Return how fast one writer puts recorded rows into a new database."""
    engine = engine_of(url)
    engine.upgrade()
    connection = engine.connect()

    def rate(recorded: Recorded) -> float:
        began = time.perf_counter()
        for layer in recorded.layers:
            connection.begin_write()
            connection.commit(layer)
        return recorded.ports / (time.perf_counter() - began)

    try:
        return Rates(rate(work.creates), rate(work.binds), rate(work.bulk))
    finally:
        connection.close()
        engine.release()


async def record(inventory: Path, nodes: Sequence[str], *, per_group: int, bulks_per_group: int, per_bulk: int) -> Work:
    """Return what the store writes, in groups of so many pieces of work, on a file that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        engine = _Recorder(Path(folder) / "recorded.db")
        engine.upgrade()
        store = await Store.open(engine)
        try:
            network = await store.transact(lambda tx: _prepare(tx, inventory.read_text()))
            made: list[PortId] = []

            async def create(count: int, name: str) -> None:
                spec = PortSpec(
                    project_id=PROJECT,
                    network_id=network,
                    name=name,
                    device_id=f"d-{name}",
                    device_owner="compute:nova",
                )
                specs = [spec] * count
                views: list[PortView] = await store.transact(lambda tx: create_ports(tx, specs))
                made.extend(view.port.id for view in views)

            async def bind(id_: PortId, node: str) -> None:
                await store.transact(lambda tx: update_port(tx, id_, PortChanges(node=NodeName(node))), ports=[id_])

            async def groups(count: int, works: Callable[[int], Sequence[Awaitable[None]]], ports: int) -> Recorded:
                engine.layers.clear()
                for number in range(count):
                    await asyncio.gather(*works(number))
                return Recorded(list(engine.layers), count * ports)

            creates = await groups(
                GROUPS, lambda at: [create(1, f"vm-{at * per_group + each}") for each in range(per_group)], per_group
            )
            binds = await groups(
                GROUPS,
                lambda at: [
                    bind(id_, nodes[each % len(nodes)])
                    for each, id_ in enumerate(made[at * per_group : (at + 1) * per_group])
                ],
                per_group,
            )
            bulk = await groups(
                BULK_GROUPS,
                lambda _: [create(per_bulk, "bulk") for _ in range(bulks_per_group)],
                bulks_per_group * per_bulk,
            )
            return Work(creates, binds, bulk)
        finally:
            await store.close()


class _Recorder(SqliteEngine):
    """A file that remembers what is written to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{PREFIX}{path}")
        self.layers: list[Layer] = []
        self._file = path

    def connect_to_write(self) -> SqliteConnection:
        return _RecordingConnection(self._file, self.layers)


class _RecordingConnection(SqliteConnection):
    def __init__(self, path: Path, layers: list[Layer]) -> None:
        super().__init__(path)
        self._layers = layers
        self._group = Layer()

    def write(self, layer: Layer) -> None:
        self._group.merge(layer)
        super().write(layer)

    def commit(self, layer: Layer | None = None) -> None:
        super().commit(layer)
        self._layers.append(self._group)
        self._group = Layer()


def _prepare(tx: Transaction, inventory: str) -> NetworkId:
    wire = tomllib.loads(inventory)
    wire.pop("lab", None)
    replace_inventory(tx, decode(wire))
    network = create_network(tx, NetworkSpec(project_id=PROJECT, name="bench"))
    create_subnet(tx, SubnetSpec(project_id=PROJECT, network_id=network.id, cidr=ip_network("10.0.0.0/9")))
    return network.id
