"""A store with a small data centre in it, a clock that stands still, and dice that always fall alike."""

import random
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

from empty_store import put_empty_store

from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkSpec, create_network
from weft.intent.ports import PortSpec, create_port
from weft.intent.realizations import report
from weft.intent.routers import RouterSpec, create_router
from weft.intent.subnets import SubnetSpec, create_subnet
from weft.model.ids import NetworkId, NodeName, PortId
from weft.model.intent import Network, RealizationState, Realizer, Router, Subnet
from weft.model.inventory import Inventory
from weft.protocol.inventory import decode
from weft.protocol.node import RealizationReport, ReportAnswer, StepReport
from weft.store import Change, PortView, Store

EXAMPLE = Path(__file__).parents[2] / "examples" / "small-dc.toml"
PROJECT = "p1"


def small_dc() -> Inventory:
    """Return the inventory of the example: three OVS nodes on a leaf each, one bare-metal server."""
    return example(EXAMPLE.name)


def example(name: str) -> Inventory:
    """Return the inventory of an example."""
    wire = tomllib.loads(EXAMPLE.with_name(name).read_text())
    del wire["lab"]
    return decode(wire)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class World:
    """A store, and short words for what tests do with it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def network(self, name: str = "n") -> Network:
        """Create a network."""
        return await self.store.transact(lambda tx: create_network(tx, NetworkSpec(project_id=PROJECT, name=name)))

    async def subnet(self, network: Network, cidr: str = "10.0.0.0/24") -> Subnet:
        """Create a subnet."""
        spec = SubnetSpec(project_id=PROJECT, network_id=network.id, cidr=ip_network(cidr))
        return await self.store.transact(lambda tx: create_subnet(tx, spec))

    async def segment(self, cidr: str = "10.0.0.0/24") -> tuple[Network, Subnet]:
        """Create a network with a subnet."""
        network = await self.network()
        return network, await self.subnet(network, cidr)

    async def router(self, name: str = "r") -> Router:
        """Create a router."""
        return await self.store.transact(lambda tx: create_router(tx, RouterSpec(project_id=PROJECT, name=name)))

    async def port(self, network_id: NetworkId, node: str | None = None, **fields: object) -> PortView:
        """Create a port, bound if a node is named."""
        bound = None if node is None else NodeName(node)
        spec = PortSpec(project_id=PROJECT, network_id=network_id, node=bound, **fields)  # type: ignore[arg-type]
        return await self.store.transact(lambda tx: create_port(tx, spec))

    async def view(self, port_id: PortId) -> PortView:
        """Return a port as it is now."""
        found = await self.store.read(lambda snapshot: snapshot.port(port_id))
        assert found is not None
        return found

    async def host(
        self,
        view: PortView,
        node: str,
        state: str = "up",
        *,
        epoch: int | None = None,
        reason: str = "",
        steps: tuple[StepReport, ...] = (),
    ) -> ReportAnswer:
        """Report as a node's agent."""
        told = RealizationReport(
            port_id=view.port.id,
            epoch=view.life.epoch if epoch is None else epoch,
            state=RealizationState(state),
            reason=reason,
            steps=steps,
        )
        return await self.store.transact(lambda tx: report(tx, [told], actor=f"agent/{node}", node=NodeName(node)))

    async def fabric(
        self, view: PortView, state: str = "up", *, epoch: int | None = None, reason: str = ""
    ) -> ReportAnswer:
        """Report as the fabric controller."""
        told = RealizationReport(
            port_id=view.port.id,
            epoch=view.life.epoch if epoch is None else epoch,
            state=RealizationState(state),
            realizer=Realizer.FABRIC,
            reason=reason,
        )
        return await self.store.transact(lambda tx: report(tx, [told], actor="fabric/leaf1", node=None))

    async def active(self, network_id: NetworkId, node: str) -> PortView:
        """Create a port on a node and report all of it up."""
        view = await self.port(network_id, node)
        await self.host(view, node)
        await self.fabric(view)
        return await self.view(view.port.id)

    async def changes(self, after: int, work: Callable[[], object] | None = None) -> list[Change]:
        """Return the changes that are in the log after a revision."""
        found: list[Change] = []
        if self.store.revision == after:
            return found
        async for batch in self.store.watch(after):  # type: ignore[arg-type]
            found += batch
            if batch[-1].revision >= self.store.revision:
                break
        return found


@asynccontextmanager
async def world(
    path: Path, clock: Clock | None = None, inventory: Inventory | None = None, seed: int = 7
) -> AsyncIterator[World]:
    """Open a store with an inventory in it."""
    clock = clock or Clock()
    await put_empty_store(path / "weft.db")
    store = await Store.open(f"sqlite:///{path / 'weft.db'}", clock=clock, random=random.Random(seed).getrandbits)
    try:
        wanted = inventory or small_dc()
        await store.transact(lambda tx: replace_inventory(tx, wanted))
        yield World(store, clock)
    finally:
        await store.close()
