"""The loop of the agent: observe, plan, apply, verify; again whenever something moved, and now and then anyway.

One pass at a time. What happens during a pass wakes the next one, so a burst of fifty devices is two passes, not
fifty. Whatever goes wrong ends the pass and leaves the rest as it was; the next pass starts from what it then sees.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from weft.agent.desired import Desired, after
from weft.agent.guard import Guard
from weft.agent.journal import Journal
from weft.agent.links import LinkKeeper, NodeLinks
from weft.agent.ovs.bridges import plan_bridges, plan_dress, plan_notes
from weft.agent.ovs.keeper import FlowKeeper, FlowTables
from weft.agent.ovs.observed import INTEGRATION, TOLD, UPLINK, Binding, Observed
from weft.agent.ovs.plan import Dress, Plan, plan
from weft.agent.ovs.tables import Operation, Tables, observe
from weft.agent.settings import AgentSettings
from weft.agent.standing import Outbox, Standing
from weft.model.errors import Permanent, Transient, WeftError
from weft.protocol.node import NodeChange, NodeDesired

VERIFY_INTERVAL_S = 30.0
"""All flows, rows and links are read anew so often, in case somebody changed them by hand."""

RETRY_MAX_S = 0.4
"""Longest wait between passes while the switch is away: an attempt is a connect(2) to a unix socket."""

RETRY_PERMANENT_S = 5.0
RETRY_GUARD_S = 1.0

log = structlog.get_logger()


class Rows(Protocol):
    """The switch's database; weft.agent.ovs.database.Database is one."""

    @property
    def tables(self) -> Tables | None: ...

    async def connect(self) -> None: ...

    async def transact(self, operations: Sequence[Operation]) -> None: ...


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What a node consists of, as far as the agent touches it."""

    rows: Rows
    integration: FlowTables
    uplink: FlowTables
    links: NodeLinks
    guard: Guard
    datapath: str
    """``system`` or ``netdev``."""


class Reconciler:
    """Makes the node as desired and says in the outbox how far it is.

    `clock` gives Unix time in seconds. Whoever sets `wake` asks for a pass; `news` is set when the outbox may have
    something to send.
    """

    def __init__(
        self,
        settings: AgentSettings,
        host: Host,
        outbox: Outbox,
        *,
        clock: Callable[[], float],
        wake: asyncio.Event,
        news: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._host = host
        self._outbox = outbox
        self._clock = clock
        self._wake = wake
        self._news = news
        self._desired: Desired | None = None
        self._journal = Journal()
        self._integration = FlowKeeper(INTEGRATION, host.integration)
        self._uplink = FlowKeeper(UPLINK, host.uplink)
        self._links = LinkKeeper(settings, host.links)
        self._adopted: frozenset[Binding] | None = None
        """Bindings whose steps the server knew when this agent saw its first snapshot; None before."""
        self._refused: set[Dress] = set()
        self._bridges_due_at = 0.0
        self._verify_at = 0.0
        self._failing_since: float | None = None
        self._failures = 0

    def follow(self, message: NodeDesired | NodeChange) -> None:
        """Take a message of the server, and ask for a pass."""
        self._desired = after(self._desired, message)
        self._wake.set()

    async def run(self) -> None:
        """Reconcile for ever."""
        while True:
            delay_s = await self.turn()
            if self._failing_since is not None:
                await asyncio.sleep(delay_s)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._wake.wait()

    async def turn(self) -> float:
        """Make one pass, whatever comes of it, and return the seconds until the next one is due by itself."""
        self._wake.clear()
        now = self._clock()
        try:
            wait_s = await self.reconcile()
        except WeftError as error:
            self._failing_since = now if self._failing_since is None else self._failing_since
            self._failures += 1
            if isinstance(error, Permanent):
                log.warning("pass_refused", error=error.message, failures=self._failures)
                return RETRY_PERMANENT_S
            if self._failures == 1:
                log.warning("pass_failed", error=error.message)
            after_s = error.retry_after_s if isinstance(error, Transient) else RETRY_MAX_S
            return min(RETRY_MAX_S, after_s * 2.0 ** min(self._failures - 1, 8))
        if self._failing_since is not None:
            log.info(
                "pass_recovered", failures=self._failures, failing_for_s=round(self._clock() - self._failing_since, 3)
            )
        self._failing_since, self._failures = None, 0
        return wait_s

    async def reconcile(self) -> float:
        """Make one pass and return the seconds until the next one is due by itself; raise what stopped it."""
        if self._clock() >= self._verify_at:
            self._distrust()
        tables = await self._observe()
        observed = observe(tables)
        now = self._clock()
        for device in self._journal.see(observed.devices, now):
            log.info("device_seen", port=device.port_id, device=device.name, ofport=device.ofport)
        intended = plan(self._desired, observed, self._outbox.told())
        self._journal.detect(intended.verdicts, self._adopt(observed), now)
        try:
            await self._apply(tables, intended)
        except WeftError as error:
            failing_for_s = 0.0 if self._failing_since is None else now - self._failing_since
            self._publish(self._journal.failed(intended.verdicts, error.message, failing_for_s))
            raise
        await self._tidy(intended)
        await self._links.keep(self._clock())
        guard_wait_s = await self._guard(observed)
        return max(0.0, min(self._verify_at - self._clock(), self._links.due_at - self._clock(), guard_wait_s))

    def _distrust(self) -> None:
        self._integration.distrust()
        self._uplink.distrust()
        self._bridges_due_at = 0.0
        self._links.distrust()
        self._host.guard.distrust()
        self._verify_at = self._clock() + VERIFY_INTERVAL_S

    async def _observe(self) -> Tables:
        """Return the rows, with the bridges in them."""
        await self._host.rows.connect()
        hardware_address = await self._links.hardware_address()
        tables = self._host.rows.tables or {}
        operations = plan_bridges(self._settings, self._host.datapath, hardware_address, tables)
        if operations and self._clock() >= self._bridges_due_at:
            await self._change_bridges(operations)
        return self._host.rows.tables or {}

    async def _change_bridges(self, operations: Sequence[Operation]) -> None:
        """Make the bridges right. If they can't be, such as for a NIC that sits in another bridge, what there is of
        them still gets its flows."""
        try:
            await self._host.rows.transact(operations)
        except Permanent as error:
            log.warning("bridges_refused", error=error.message)
            self._bridges_due_at = self._clock() + RETRY_PERMANENT_S
        else:
            log.info("bridges_changed", operations=len(operations))
            self._links.distrust()

    def _adopt(self, observed: Observed) -> frozenset[Binding]:
        if self._desired is None:
            return frozenset()
        if self._adopted is None:
            bindings = observed.memory.bindings.items()
            self._adopted = frozenset(binding for binding, value in bindings if value == TOLD)
        return self._adopted

    async def _apply(self, tables: Tables, intended: Plan) -> None:
        """Note, then flows, then tell."""
        await self._transact(plan_notes(tables, intended.note))
        refused: dict[str, str] = {}
        if intended.integration:
            if not self._uplink.trusted:
                self._links.distrust()  # with a userspace datapath br-bond went away with ovs-vswitchd
            refused |= await self._uplink.reach(intended.uplink, prune=intended.prune)
            refused |= await self._integration.reach(intended.integration, prune=intended.prune)
        self._publish(self._journal.applied(intended.verdicts, refused, self._clock()))

    async def _tidy(self, intended: Plan) -> None:
        """Write what nothing forwards by: what need not be remembered any more, and the devices' tags."""
        tables = self._host.rows.tables or {}
        await self._transact(plan_notes(tables, intended.note_later))
        self._refused &= set(intended.dress)
        dresses = [dress for dress in intended.dress if dress not in self._refused]
        try:
            await self._transact([operation for dress in dresses for operation in plan_dress(dress, tables)])
        except Permanent:
            for dress in dresses:  # one bad MTU shall not hold back the others
                try:
                    await self._transact(plan_dress(dress, tables))
                except Permanent as error:
                    log.warning("device_refused", device=dress.device.name, error=error.message)
                    self._refused.add(dress)

    async def _guard(self, observed: Observed) -> float:
        """Guard devices, and return after how many seconds to try again."""
        # Before br-bond has the address, a NIC may be what the node is reached by.
        nics = self._settings.nics if self._links.right else ()
        devices = observed.devices.values()
        taps = {device.name for device in devices if device.kind == "" and device.ofport is not None}
        try:
            await self._host.guard.keep({*nics, *taps})
        except Transient as error:
            log.warning("guard_failed", error=error.message)
            return RETRY_GUARD_S
        return VERIFY_INTERVAL_S

    async def _transact(self, operations: Sequence[Operation]) -> None:
        if operations:
            await self._host.rows.transact(operations)

    def _publish(self, standings: Sequence[Standing]) -> None:
        now = self._clock()
        self._outbox.update(standings, now)
        if self._outbox.due(now):
            self._news.set()
