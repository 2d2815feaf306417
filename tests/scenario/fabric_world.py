"""A data centre for the fabric controller: a real store, fake switches, a clock that tests move, and faults."""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

from empty_store import put_empty_store
from fake_clock import FakeClock
from fake_switch import FakeDriver, FakeSwitch, Fault, Faults

from weft.controller.fabric import FabricController
from weft.controller.rows import feed, read_all
from weft.fabric.intent_index import FabricIntent
from weft.fabric.numbering import number
from weft.fabric.rollout import Order, Rollout, RolloutState
from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkSpec, create_network
from weft.intent.ports import PortSpec, bind_port, create_port, delete_port, unbind_port
from weft.intent.realizations import report
from weft.intent.routers import RouterSpec, add_interface, create_router
from weft.intent.subnets import SubnetSpec, create_subnet
from weft.model.errors import Transient
from weft.model.ids import NetworkId, NodeName, PortId, Revision, SwitchName
from weft.model.intent import HistoryEntry, RealizationState, Realizer
from weft.model.inventory import Inventory, Switch
from weft.ports.machine import State
from weft.protocol.inventory import decode
from weft.protocol.node import RealizationReport
from weft.store import Change, CompactedError, Kind, PortView, Snapshot, Store, Transaction
from weft.store.views import SwitchState

T = TypeVar("T")

EXAMPLE = Path(__file__).parents[2] / "examples" / "small-dc.toml"
PATIENCE_S = 20.0
"""Real seconds after which a test that waits for threads is taken to hang."""
WAKING_STEPS = 20
"""Turns of the event loop within which whoever was woken by the clock has begun."""
MAX_ROUNDS = 60
"""Times that a world may wait for its next attempt before it must have converged."""
MAX_LOOKS = 500
"""Times that a world may wait until a roll-out looks again, before it must have ended."""


def small_dc() -> Inventory:
    wire = tomllib.loads(EXAMPLE.read_text())
    del wire["lab"]
    return decode(wire)


class ShakyStore:
    """The store as the controller sees it, with faults on the way; `garble` doubles and reverses changes."""

    def __init__(self, store: Store, faults: Faults, *, garble: bool = False) -> None:
        self._store = store
        self._faults = faults
        self._garble = garble
        self.compacted = False
        """Set: the next changes are no longer in the log."""
        self.held: asyncio.Event | None = None
        """Set to an event: changes come one revision at a time, once it is set; rows are then newer than they are."""
        self.watches = 0

    @property
    def revision(self) -> Revision:
        return self._store.revision

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        fault = self._faults.strikes("store write")
        if fault in {Fault.BEFORE, Fault.WIPED, Fault.REFUSED}:
            raise Transient("the database is busy", retry_after_s=1.0)
        if fault is Fault.DEFECT:
            raise ZeroDivisionError("a defect at writing")
        result = await self._store.transact(work)
        if fault is Fault.AFTER:
            raise Transient("the answer was lost", retry_after_s=1.0)
        return result

    async def read(self, query: Callable[[Snapshot], T]) -> T:
        if self._faults.strikes("store read") is not None:
            raise Transient("the database is busy", retry_after_s=1.0)
        return await self._store.read(query)

    async def watch(self, after: Revision) -> AsyncIterator[tuple[Change, ...]]:
        self.watches += 1
        async for changes in self._batches(after):
            if self.compacted:
                self.compacted = False
                raise CompactedError(after, changes[-1].revision)
            if self._garble:
                last = changes[-1]
                yield (*reversed(changes), *changes, last)
                yield (*changes, last)
            else:
                yield changes

    async def _batches(self, after: Revision) -> AsyncIterator[tuple[Change, ...]]:
        async for changes in self._store.watch(after):
            if self.held is None:
                yield changes
                continue
            await self.held.wait()
            for revision in dict.fromkeys(change.revision for change in changes):
                yield tuple(change for change in changes if change.revision == revision)


class World:
    """Rows, switches, a controller. `settle` after a change; `converge` lets time pass until all is as it shall be."""

    def __init__(self, store: Store, clock: FakeClock, faults: Faults, *, garble: bool) -> None:
        self.store = store
        self.clock = clock
        self.faults = faults
        self.garble = garble
        self.switches: dict[str, FakeSwitch] = {}
        self.controller: FabricController
        self.shaky: ShakyStore
        self._task: asyncio.Task[None] | None = None
        self._orders = 0

    @classmethod
    async def open(cls, database: Path, faults: Faults | None = None, *, garble: bool = False) -> "World":
        """A world with the small data centre in its rows, unless they are there already; nothing runs yet."""
        clock = FakeClock()
        await put_empty_store(database)
        store = await Store.open(f"sqlite:///{database}", clock=clock.now)
        world = cls(store, clock, faults or Faults(), garble=garble)
        if store.revision == 0:
            await world.put_inventory(small_dc())
        return world

    async def close(self) -> None:
        await self.kill()
        await self.store.close()

    # The controller, and what it sees.

    def start(self) -> None:
        """Start a controller, as after a restart of the server."""
        self.shaky = ShakyStore(self.store, self.faults, garble=self.garble)
        seen: Any = self.shaky
        self.controller = FabricController(seen, self._driver, clock=self.clock)
        self._task = asyncio.create_task(self.controller.run())

    async def kill(self) -> None:
        """End the controller at once, wherever it stands."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def settle(self) -> None:
        """Return when the controller has done all that it can do now."""
        assert self._task is not None
        for _ in range(WAKING_STEPS):
            await asyncio.sleep(0)
        settled = asyncio.create_task(self.controller.settled(self.store.revision))
        done, _ = await asyncio.wait({settled, self._task}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if settled not in done:
            settled.cancel()
            if self._task in done:
                self._task.result()
            raise AssertionError("the controller does not settle")
        settled.result()

    async def converge(self) -> None:
        """Let time pass until every switch is what it shall be and all that is bound is up."""
        for _ in range(MAX_ROUNDS):
            await self.settle()
            wrong = await self.wrong()
            if not wrong:
                return
            self.clock.advance_to_next()
        raise AssertionError(f"after {MAX_ROUNDS} rounds: {wrong}")

    async def roll_out(self, *switches: str, override: bool = False) -> Rollout:
        """Have what waits applied, let time pass until the roll-out has ended; return it. Raises what apply raises."""
        begun = await self.controller.apply(self.order(*switches, override=override))
        return await self.rolled_out(begun.id)

    def order(self, *switches: str, override: bool = False) -> Order:
        """Return what asks for a roll-out."""
        names = tuple(map(SwitchName, switches))
        self._orders += 1
        return Order(id=f"rollout-{self._orders}", by="tester", switches=names, reason="a test", override=override)

    async def rolled_out(self, rollout_id: str) -> Rollout:
        """Let time pass until a roll-out has ended; return it."""
        for _ in range(MAX_LOOKS):
            await self.settle()
            row = await self.store.read(lambda snapshot: snapshot.record(Kind.ROLLOUT, Rollout, rollout_id))
            assert row is not None
            if row.state is not RolloutState.RUNNING:
                await self.settle()
                return row
            self.clock.advance_to_next()
        raise AssertionError(f"after {MAX_LOOKS} rounds: {row}")

    async def wrong(self) -> list[str]:
        """Return what is not as it shall be, judged from the rows alone."""
        rows = await self.store.read(read_all)
        intent = FabricIntent()
        feed(intent, rows)
        statuses = await self.store.read(lambda snapshot: snapshot.switch_statuses())
        found = []
        for name in intent.topology.switches:
            if self.switch(name).config != intent.desired(name):
                found.append(f"{name} is not what it shall be")
            if name not in statuses or statuses[name].state is not SwitchState.IN_SYNC:
                found.append(f"{name} is {statuses.get(name)}")
        for view in rows.ports.values():
            assert view is not None
            found += [
                f"{view.port.name} in epoch {each.epoch}: {each.state} {each.reason}"
                for each in view.life.realizations
                if each.realizer is Realizer.FABRIC and each.state is not RealizationState.UP
            ]
        return found

    def switch(self, name: str) -> FakeSwitch:
        """Return a device, put there if it never was."""
        if name not in self.switches:
            self.switches[name] = FakeSwitch(SwitchName(name), self.faults)
            self.switches[name].others = self.switches
        return self.switches[name]

    def _driver(self, switch: Switch) -> FakeDriver:
        return FakeDriver(self.switch(switch.name))

    # What callers do.

    async def put_inventory(self, inventory: Inventory) -> None:
        await self.store.transact(lambda tx: replace_inventory(tx, inventory))

    async def force_inventory(self, inventory: Inventory) -> None:
        """Write an inventory past all checks."""
        await self.store.transact(lambda tx: tx.put_inventory(inventory, number(inventory, tx.numbering())))

    async def network(self, name: str, cidr: str, *, routed_by: str | None = None) -> NetworkId:
        """Create a network with a subnet, attached to a new router if one is named."""

        def work(tx: Transaction) -> NetworkId:
            network = create_network(tx, NetworkSpec(project_id="p", name=name))
            subnet = create_subnet(tx, SubnetSpec(project_id="p", network_id=network.id, cidr=ip_network(cidr)))
            if routed_by is not None:
                router = create_router(tx, RouterSpec(project_id="p", name=routed_by))
                add_interface(tx, router.id, subnet_id=subnet.id)
            return network.id

        return await self.store.transact(work)

    async def attach_router(self, network: NetworkId, name: str) -> None:
        """Attach a new router to the subnet of a network."""

        def work(tx: Transaction) -> None:
            router = create_router(tx, RouterSpec(project_id="p", name=name))
            add_interface(tx, router.id, subnet_id=tx.subnets(network)[0].id)

        await self.store.transact(work)

    async def spawn(self, network: NetworkId, *placed: tuple[str, str], host: bool = True) -> list[PortId]:
        """Create ports, each with name and node, in one transaction; with their hosts' legs up, unless told not to."""

        def work(tx: Transaction) -> list[PortId]:
            return [
                create_port(tx, PortSpec(project_id="p", network_id=network, name=name, node=NodeName(node))).port.id
                for name, node in placed
            ]

        ports = await self.store.transact(work)
        if host:
            for port in ports:
                await self.host_up(port)
        return ports

    async def create(self, network: NetworkId, name: str) -> PortId:
        """Create a port that is on no node."""
        spec = PortSpec(project_id="p", network_id=network, name=name)
        return (await self.store.transact(lambda tx: create_port(tx, spec))).port.id

    async def bind(self, port: PortId, node: str) -> None:
        await self.store.transact(lambda tx: bind_port(tx, port, NodeName(node)))

    async def rebind(self, port: PortId, node: NodeName) -> None:
        """Bind a port wherever it is, and have its host's leg up."""
        await self.store.transact(lambda tx: bind_port(tx, port, node, supersede=True))
        await self.host_up(port)

    async def unbind(self, port: PortId) -> None:
        await self.store.transact(lambda tx: unbind_port(tx, port))

    async def delete(self, *ports: PortId) -> None:
        for port in ports:
            await self.store.transact(lambda tx, port=port: delete_port(tx, port))

    async def host_up(self, port: PortId) -> None:
        """Have the agent of the port's node say that its leg is up."""
        view = await self.port(port)
        current = view.life.current
        if current is None or Realizer.HOST not in current.owed:
            return
        said = RealizationReport(port_id=port, epoch=current.epoch, state=RealizationState.UP)
        await self.store.transact(lambda tx: report(tx, [said], actor=f"agent/{current.node}", node=current.node))

    # What one sees.

    async def port(self, port: PortId) -> PortView:
        view = await self.store.read(lambda snapshot: snapshot.port(port))
        assert view is not None
        return view

    async def state(self, port: PortId) -> State:
        return (await self.port(port)).life.state

    async def fabric_of(self, port: PortId) -> tuple[RealizationState, str]:
        """Return what the fabric has told of a port's current epoch, and why."""
        life = (await self.port(port)).life
        told = life.realized(life.epoch)[Realizer.FABRIC]
        return told.state, told.reason

    async def history(self, port: PortId) -> list[HistoryEntry]:
        return await self.store.read(lambda snapshot: snapshot.history(port))

    async def fabric_steps(self, port: PortId) -> list[str]:
        """Return the steps that the fabric has told of a port."""
        return [
            entry.step
            for entry in await self.history(port)
            if entry.actor.startswith("fabric") and entry.step != "state"
        ]

    async def status(self, switch: str) -> tuple[SwitchState, str]:
        statuses = await self.store.read(lambda snapshot: snapshot.switch_statuses())
        status = statuses[SwitchName(switch)]
        return SwitchState(status.state), status.reason

    def calls(self) -> dict[str, Sequence[str]]:
        """Return what was asked of the switches since the last call."""
        asked = {name: tuple(device.calls) for name, device in self.switches.items() if device.calls}
        for device in self.switches.values():
            device.calls.clear()
        return asked
