"""What happens to addresses by itself: holds end, blocks of dead nodes come back, use is sampled; and the check of all.

Everything here can be left out for a while and done later; nothing is lost by it but time.
"""

from functools import partial

import msgspec
import structlog

from weft.controller.clock import Clock, SystemClock
from weft.intent.address_check import (
    is_still,
    of_addresses,
    of_blocks,
    of_holds,
    of_plan,
    of_port,
    of_rests,
    settle,
)
from weft.intent.blocks import all_blocks, recover
from weft.intent.findings import Finding
from weft.intent.held import forget_expired, has_expired
from weft.intent.use import sample_use
from weft.intent.workload_check import of_workloads
from weft.intent.workload_release import overdue, release_due
from weft.ipam import blocks
from weft.model.ids import NetworkId
from weft.store import Snapshot, Store
from weft.store.addresses import used_by_subnet

SWEEP_S = 10.0
EXPIRE_S = 300.0
"""How often names are looked through that have kept their addresses for long enough."""
SAMPLE_S = 3600.0
"""How often the use of subnets is noted, for forecasts."""

RELEASED_AT_ONCE = 50
"""Ports of containers that one piece of work deletes; other work comes in between."""
MAX_RELEASED = 5_000
"""Ports of containers that one sweep deletes; the next goes on."""

PAGE = 500
"""Ports or addresses that one read of a check looks at; others read in between."""

log = structlog.get_logger()


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found, what became of each finding (``new``, ``confirmed``, ``fixed``), and how much it saw."""

    findings: list[tuple[Finding, str]]
    ports: int
    addresses: int


class AddressKeeper:
    """Sweeps until it is cancelled."""

    def __init__(self, store: Store, *, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._sampled_at = self._expired_at = float("-inf")

    async def run(self) -> None:
        """Sweep every SWEEP_S, until cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception:
                # The next sweep begins anew: it needs nothing of this one.
                log.exception("address_sweep_failed")
            await self._clock.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Do once what is due."""
        now = self._clock.now()
        # Everything is looked for by readers: the writer is not for what is seldom found.
        if any(blocks.recover(await self._store.read(all_blocks), now=now)):
            for block in await self._store.transact(recover):
                log.warning("block_recovered", block=block.cidr, node=block.node, epoch=block.epoch)
        await self._release(now)
        if now - self._expired_at >= EXPIRE_S:
            self._expired_at = now
            if await self._store.read(lambda snapshot: has_expired(snapshot, now)):
                await self._store.transact(forget_expired)
        if now - self._sampled_at >= SAMPLE_S:
            self._sampled_at = now
            used = await self._store.read(used_by_subnet)
            await self._store.transact(lambda tx: sample_use(tx, used))

    async def _release(self, now: float) -> None:
        """Delete the ports of containers whose time is over."""
        released = 0
        while released < MAX_RELEASED and await self._store.read(lambda snapshot: bool(overdue(snapshot, now, 1))):
            done = await self._store.transact(lambda tx: release_due(tx, RELEASED_AT_ONCE))
            if not done:
                break  # by the store's clock it is not time yet
            released += done
        if released:
            log.info("workloads_released", ports=released)


async def check_addresses(store: Store, *, now: float, fix: bool) -> CheckResult:
    """Look at every address there is, in many small reads; with `fix`, put right what two checks agree on."""
    found: list[Finding] = []
    ports = 0
    last = ""
    while True:
        page = await store.read(partial(_ports, after=last))
        ports += page[1]
        found += page[2]
        if not page[0]:
            break
        last = page[0]
    addresses = 0
    for network in await store.read(Snapshot.networks):
        seen, more = await _addresses(store, network.id)
        addresses += seen
        found += more
    for look in (of_rests, of_holds, of_blocks, of_workloads):
        found += await store.read(lambda snapshot, look=look: list(look(snapshot, now)))  # type: ignore[misc]
    found += await store.read(lambda snapshot: list(of_plan(snapshot)))
    # Rows were read at different times: what is not so in one snapshot was only a change that passed by.
    real = await store.read(lambda snapshot: [each for each in found if is_still(snapshot, each, now)])
    settled = await store.transact(lambda tx: settle(tx, real, fix=fix))
    result = [(each, settled[each.key]) for each in real]
    for finding, state in result:
        if state == "fixed":
            log.warning("address_fixed", finding=finding.text, remedy=finding.remedy)
    return CheckResult(findings=result, ports=ports, addresses=addresses)


def _ports(snapshot: Snapshot, after: str) -> tuple[str, int, list[Finding]]:
    """Return the last id of a page (empty: no more), how many ports it had, and what is wrong with them."""
    page = snapshot.ports(after_id=after, limit=PAGE)
    found = [finding for view in page for finding in of_port(snapshot, view)]
    return (page[-1].port.id if len(page) == PAGE else ""), len(page), found


async def _addresses(store: Store, network_id: NetworkId) -> tuple[int, list[Finding]]:
    found: list[Finding] = []
    seen, last = 0, ""
    while True:
        position = last
        last, count, more = await store.read(
            lambda snapshot, position=position: of_addresses(snapshot, network_id, position, PAGE)  # type: ignore[misc]
        )
        found += more
        seen += count
        if not last:
            return seen, found
