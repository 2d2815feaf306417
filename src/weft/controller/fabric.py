"""The fabric controller: follows the store, keeps every switch as it shall be, and reports what that makes real.

Intent is an index over the present rows (weft.fabric.intent_index), fed from the change log; each switch has a worker
of its own, so that one that fails stops no other. A port is up when every leaf of its node was read and has all that
the port needs; if they have it already, no device is asked.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial

import structlog

from weft.controller.bindings import FabricBindings
from weft.controller.bulk_load import bulk_load
from weft.controller.clock import Clock, SystemClock
from weft.controller.gatekeeper import Gatekeeper
from weft.controller.reports import Reporter
from weft.controller.rollouts import Rollouts, ordered
from weft.controller.rows import FABRIC_KINDS, Rows, feed, read_all, read_changed
from weft.controller.switch import SwitchReconciler
from weft.controller.worker import SwitchWorker
from weft.fabric.carriage import Carried, Element
from weft.fabric.config import SwitchConfig
from weft.fabric.gate import Admitted, Approval, Foundation
from weft.fabric.intent_index import FabricIntent
from weft.fabric.limits import Usage
from weft.fabric.plan import Reasons, plan
from weft.fabric.planned import PlannedSwitch, UnreadSwitch
from weft.fabric.reasons import reasons
from weft.fabric.risk import findings, risk
from weft.fabric.rollout import Order, Rollout
from weft.model.errors import Transient
from weft.model.ids import NodeName, Revision, SwitchName
from weft.model.inventory import DriftPolicy, Switch
from weft.store import Change, CompactedError, Snapshot, Store
from weft.store.views import SwitchState, SwitchStatus
from weft.switches.driver import SwitchDriver

MAX_SWITCHES_AT_ONCE = 64
"""Switches that are read or written at the same time."""

REREAD_AFTER_S = 1.0
"""Pause before everything is read anew after the store could not be followed."""

log = structlog.get_logger()


class FabricController:
    """One per set of switches. `run` it; everything else may be called from the same event loop while it runs."""

    def __init__(self, store: Store, drivers: Callable[[Switch], SwitchDriver], *, clock: Clock | None = None) -> None:
        self._store = store
        self._drivers = drivers
        self._clock = clock or SystemClock()
        self._io_slots = asyncio.Semaphore(MAX_SWITCHES_AT_ONCE)
        self._workers: dict[SwitchName, SwitchWorker] = {}
        self._kept: dict[SwitchName, tuple[Switch, asyncio.Task[None]]] = {}
        self._reporter = Reporter(store, self._clock)
        self._bindings = FabricBindings(self._workers, self._reporter, self._clock)
        self._reporter.written = self._bindings.written
        self._intent = FabricIntent()
        self._gate = Gatekeeper(store, self._clock)
        self.rollouts = Rollouts(store, self._gate, self._workers, self._clock)
        self._statuses: dict[SwitchName, SwitchStatus] = {}
        self._position = Revision(0)
        self._moved = asyncio.Event()
        self._pausing = False

    async def run(self) -> None:
        """Follow the store until it is closed, or until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(self._reporter.run(), name="fabric-reports")
            rolling = tasks.create_task(self.rollouts.run(), name="fabric-rollouts")
            try:
                await self._follow(tasks)
            finally:
                for _, task in self._kept.values():
                    task.cancel()
                reporting.cancel()
                rolling.cancel()

    def kick(self, switch: SwitchName | None = None) -> None:
        """Have a switch, or all of them, looked at now; one that is not kept here is none of our business."""
        for worker in self._workers.values() if switch is None else filter(None, [self._workers.get(switch)]):
            worker.kick()

    def kick_node(self, node: NodeName) -> None:
        """Have the leaves of a node looked at now."""
        for leaf in self._intent.topology.leaves_of(node):
            self.kick(leaf)

    def plan_of(self, switch: SwitchName) -> PlannedSwitch | UnreadSwitch:
        """Return what is to be done on a switch by what was last read from it, however long ago, if it ever was.

        Raises NotFound for a switch that is not in the inventory.
        """
        desired = self._intent.desired(switch)
        worker = self._workers.get(switch)
        if worker is None or worker.observed is None:
            return (
                UnreadSwitch(switch, worker.trouble) if worker is not None and worker.trouble else UnreadSwitch(switch)
            )
        observed = worker.observed.config
        return PlannedSwitch(
            plan=plan(observed, desired, reasons(self._intent, switch)),
            held=self.admitted(observed, desired, worker.kept).held,
            risk=risk(observed, desired, self._intent.ports_on, self._behind(switch)),
            trouble=worker.trouble,
        )

    def plans(self) -> dict[SwitchName, PlannedSwitch | UnreadSwitch]:
        """Return what is to be done on every switch; see plan_of."""
        return {switch: self.plan_of(switch) for switch in self._workers}

    def usages(self) -> dict[SwitchName, Usage]:
        """Return how much of each table is in use, by what was last read from each switch."""
        return {
            name: worker.observed.facts.usage() for name, worker in self._workers.items() if worker.observed is not None
        }

    async def apply(self, order: Order) -> Rollout:
        """Have what waits on switches made, in a roll-out; return it once it is durable.

        Raises NotFound for a switch that is not there; Conflict if nothing waits, if another roll-out runs, or if what
        is asked for goes beyond bounds and they are not overridden.
        """
        asked = order.switches or tuple(self._workers)
        for switch in asked:
            self._intent.desired(switch)
        read = {name: worker for name, worker in self._workers.items() if worker.observed is not None}
        before = {name: worker.observed.config for name, worker in read.items() if worker.observed is not None}
        waiting = [n for n in asked if n in read and self.admitted(before[n], self.desired(n), read[n].kept).held]
        after = {**before, **{name: self.desired(name) for name in waiting}}
        beyond = findings(self._intent.topology, before, after, self._intent.ports_on)
        change = {name: (before[name], after[name]) for name in waiting}
        rollout = ordered(order, change, beyond, self._intent, self._clock.now())
        await self.rollouts.begin(rollout)
        return rollout

    def _behind(self, switch: SwitchName) -> list[SwitchName]:
        """Return the leaves whose traffic passes through a switch."""
        peers = self._intent.topology.switch_links(switch)
        return [link.peer for link in peers if self._intent.topology.node_links(link.peer)]

    def status_of(self, switch: SwitchName) -> SwitchStatus | None:
        """Return how a switch stands to what it shall be; None before it was looked at for the first time."""
        return self._statuses.get(switch)

    async def followed(self, revision: Revision) -> None:
        """Return when the rows of a revision are known here, whatever is still to be done for them."""
        while self._position < revision:
            await self._moved.wait()

    async def settled(self, revision: Revision) -> None:
        """Return when all up to a revision is realized and reported, or is waiting for its next attempt."""
        while True:
            while self._position < max(revision, self._store.revision) and not self._pausing:
                await self._moved.wait()
            for worker in list(self._workers.values()):
                await worker.idle()
            await self.rollouts.idle()
            await self._reporter.idle()
            followed = self._position >= self._store.revision or self._pausing
            told = self._reporter.is_idle and self.rollouts.is_idle
            if followed and told and all(worker.is_idle for worker in self._workers.values()):
                return

    # What a worker asks and tells (weft.controller.worker.Surroundings).

    def desired(self, switch: SwitchName) -> SwitchConfig:
        """Return what a switch shall be."""
        return self._intent.desired(switch)

    def approval(self, switch: SwitchName) -> Approval | None:
        """Return what was approved for a switch last."""
        return self._gate.approval(switch)

    def admitted(self, observed: SwitchConfig, desired: SwitchConfig, kept: Collection[Element]) -> Admitted:
        """Return what a switch may be made now."""
        return self._gate.admitted(self._intent.topology, observed, desired, kept)

    async def approve(self, switch: SwitchName, ground: Foundation) -> None:
        """Note durably that a switch may have a foundation, which nobody needs to approve."""
        await self._gate.approve(switch, ground)

    def drift_policy(self, switch: SwitchName) -> DriftPolicy:
        """Return what becomes of what somebody changed on a switch by hand."""
        return self._intent.topology.drift_policy(switch)

    def reasons(self, switch: SwitchName) -> Reasons:
        """Return what tells why a step is to be made on a switch."""
        return reasons(self._intent, switch)

    def compared(self, switch: SwitchName, before: Carried | None) -> None:
        """Tell what was up and is lost on a switch that was found otherwise than it was left."""
        now = self._workers[switch].carried
        if now is not None:
            self._bindings.look_for_losses(switch, now, before)

    def looked_at(self, switch: SwitchName) -> None:
        """Judge the bindings that wait on a switch."""
        self._bindings.judge_waiting(switch)

    def stands(self, switch: SwitchName, state: SwitchState, reason: str, kept: Collection[Element] = ()) -> None:
        """Have a switch's status written, if it is news."""
        old = self._statuses.get(switch)
        if old is not None and (old.state, old.reason, frozenset(old.kept)) == (state, reason, frozenset(kept)):
            return
        since = old.since if old is not None and old.state == state else self._clock.now()
        status = SwitchStatus(switch=switch, state=state, since=since, reason=reason, kept=tuple(sorted(kept, key=str)))
        self._statuses[switch] = status
        log.info("switch_status", switch=switch, state=state, reason=reason)
        self._reporter.tell_status(switch, status)

    # Following the store.

    async def _follow(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                with bulk_load():
                    self._take_all(*await self._store.read(_read), tasks)
                async for changes in self._store.watch(self._position):
                    await self._take(changes, tasks)
            except CompactedError:
                log.warning("fabric_rereads", position=self._position)
            except Transient as error:
                log.warning("fabric_cannot_follow", error=error.message)
                self._pausing = True
                self._move_to(self._position)
                await self._clock.sleep(REREAD_AFTER_S)
                self._pausing = False
            else:
                return

    def _take_all(self, rows: Rows, statuses: Mapping[SwitchName, SwitchStatus], tasks: asyncio.TaskGroup) -> None:
        self._statuses = {**statuses, **self._statuses}
        self._intent = self._bindings.intent = FabricIntent()
        feed(self._intent, rows)
        self._gate.take(rows.approvals)
        self.rollouts.take(rows.rollouts)
        self._keep_switches(tasks)
        self._bindings.forget_all_but(rows.ports)
        self._after(rows, rows.revision)
        for worker in self._workers.values():
            worker.wake()
        self._move_to(rows.revision)

    async def _take(self, changes: tuple[Change, ...], tasks: asyncio.TaskGroup) -> None:
        concerning = [change for change in changes if change.kind in FABRIC_KINDS]
        if concerning:
            rows = await self._store.read(partial(read_changed, changes=concerning))
            touched = feed(self._intent, rows) | self._gate.take(rows.approvals)
            self.rollouts.take(rows.rollouts)
            if rows.inventory is not None:
                self._keep_switches(tasks)
                self._bindings.judge_nowhere()
            self._after(rows, changes[-1].revision)
            for switch in touched & self._workers.keys():
                self._workers[switch].wake()
        self._move_to(changes[-1].revision)

    def _after(self, rows: Rows, position: Revision) -> None:
        """Judge the ports whose rows were read, and those that could not be trusted until now."""
        keys = self._bindings.trusted(position)
        for port_id, view in rows.ports.items():
            keys += self._bindings.take(port_id, view.life if view is not None else None, rows.revision, position)
        self._bindings.judge(keys)

    def _move_to(self, position: Revision) -> None:
        self._position = position
        self._moved.set()
        self._moved = asyncio.Event()

    def _keep_switches(self, tasks: asyncio.TaskGroup) -> None:
        """Have a worker for every switch of the inventory, and none for any other."""
        present = {name: switch for name, switch in self._intent.topology.switches.items() if self._keeps(switch)}
        for name, (switch, task) in list(self._kept.items()):
            if present.get(name) != switch:
                task.cancel()
                del self._kept[name], self._workers[name]
        for name in self._statuses.keys() - present.keys():
            del self._statuses[name]
            self._reporter.tell_status(name, None)
        for name, switch in present.items():
            if name not in self._kept:
                reconciler = SwitchReconciler(name, partial(self._drivers, switch))
                worker = SwitchWorker(reconciler, self, self._clock, self._io_slots)
                if name in self._statuses:
                    worker.remember(self._statuses[name])
                self._workers[name] = worker
                self._kept[name] = (switch, tasks.create_task(worker.run(), name=f"fabric-{name}"))

    def _keeps(self, switch: Switch) -> bool:
        return self._intent.topology.pools(switch.site) is not None


def _read(snapshot: Snapshot) -> tuple[Rows, Mapping[SwitchName, SwitchStatus]]:
    return read_all(snapshot), snapshot.switch_statuses()
