"""Keeps the cables: enough of them, ready, joined to their containers, with ports on them; what is wrong is put right.

Level-triggered: each pass compares the rows of Open vSwitch's database, the kernel's links and what the server says of
ports, whatever happened to lead there: an agent that was killed, ovs-vswitchd that came back with new devices, a
namespace that vanished with its pair. Nothing is removed before rows and links have been seen whole.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar, cast

import msgspec
import structlog

from weft.agent.cni.cables import (
    LET_GO,
    Cable,
    CableIndex,
    cable_of,
    free_labels,
    insertion,
    is_host_end,
    new_names,
    owing,
    relabel,
    removal,
    warm_labels,
)
from weft.agent.cni.kernel import Pair
from weft.agent.cni.ledger import Ledger
from weft.agent.cni.pool import Demand, Stock, Want, WarmPolicy, want_of
from weft.agent.cni.states import ACTIVE, States
from weft.agent.ovs.observed import INTEGRATION
from weft.agent.ovs.tables import Operation
from weft.model.errors import Permanent, Transient, WeftError
from weft.protocol.node import AddressDesired
from weft.protocol.workload import WarmOrder, Workload, WorkloadRelease

WAIT_S = 20.0
"""How long an ADD waits for a cable, or for a port on one; then it fails, and the runtime tries again."""
MAX_WAITING = 1024
"""Containers that wait. One more is sent away, to come again."""
LOOK_S = 5.0
"""A pass is made so often even if nothing moved: demand ends by time."""
VERIFY_S = 60.0
"""So often all links are read anew."""
RETRY_S = 0.5
SURPLUS_AFTER_S = 60.0
TRICKLE_S = 2.0
"""Deleting a port stalls forwarding for 15 ms: surplus cables go one by one."""
FAILURE_COUNTS_S = 0.5
"""Containers that come so soon after an order that failed are not let wait for the next one."""

NEVER_KEPT = frozenset({"", "now"})
"""What a warm port's release must be: one that would be kept for its container's name is its name's, not anybody's."""

log = structlog.get_logger()


class Links(Protocol):
    """The links of cables and pairs, by name; weft.agent.cni.kernel.LinkMonitor is one."""

    async def read(self) -> Mapping[str, int]: ...

    def is_down(self, name: str) -> bool: ...

    def distrust(self) -> None: ...


class Wires(Protocol):
    """What is asked of the kernel; weft.agent.cni.kernel.Kernel is one."""

    async def dress(self, indices: Sequence[int]) -> None: ...

    async def join(self, pairs: Sequence[tuple[int, int]]) -> None: ...

    async def make(self, pair: Pair) -> tuple[int, int]: ...

    async def remove(self, host_ends: Sequence[str]) -> None: ...

    async def announce(self, cable: str, mac: str, addresses: Sequence[AddressDesired]) -> None: ...


T = TypeVar("T")
Order = Callable[[WarmOrder], Awaitable[Sequence[Workload]]]


class _Pool:
    """The ports of one want: who waits for one, and what is on its way."""

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.waiting: deque[asyncio.Future[Cable | None]] = deque()
        self.ordered = 0
        self.failure: tuple[float, WeftError] | None = None
        self.kept = False
        """Whether its ports would be kept for their containers' names; then each name has to have its own."""


class Keeper:
    """The cables of a node. Who takes one has it to himself until he, and whoever holds it beside him, puts it back.

    `order` asks the server for warm ports; `tell` is called when a cable owes the server a word; `release` has a port
    taken back that is on no cable.
    """

    def __init__(
        self,
        ledger: Ledger,
        links: Links,
        wires: Wires,
        states: States,
        *,
        order: Order,
        policy: WarmPolicy,
        tell: Callable[[], None],
        release: Callable[[WorkloadRelease], None],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._links = links
        self._wires = wires
        self._states = states
        self._order_ports = order
        self._policy = policy
        self._tell = tell
        self._release = release
        self._clock = clock
        self._index = CableIndex()
        self._seen: Mapping[str, int] = {}
        self._dressed: dict[str, int] = {}
        self._joined: dict[str, tuple[int, int]] = {}
        self._busy: Counter[str] = Counter()
        """How many have a cable to themselves: an ADD that failed is tidied up beside the DEL of its container."""
        self._making: set[str] = set()
        """Names of cables that are on their way into the rows."""
        self._pools: dict[Want, _Pool] = {}
        self._waiting: deque[asyncio.Future[Cable]] = deque()
        self._orders: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._surplus_since: float | None = None
        self._verify_at = 0.0
        self._clearing: list[tuple[Sequence[Cable], asyncio.Future[None]]] = []
        self._clearer: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Ask for a pass."""
        self._wake.set()

    def cables(self) -> list[Cable]:
        """Return all cables. Raises Transient while Open vSwitch does not answer."""
        return self._index.look(self._ledger.tables)

    async def take_warm(self, want: Want) -> Cable | None:
        """Take a cable with a port that is ACTIVE, of what is wanted; wait for one if need be.

        None: such a port would be kept for its container's name, so that it has to be attached. Raises what the server
        says if it has none, and Transient if none is ready in time.
        """
        now = self._clock()
        pool = self._pool(want)
        pool.demand.ask(now)
        if pool.kept:
            return None
        if not pool.waiting and (cable := next(iter(self._ready(want)), None)) is not None:
            self.hold([cable])
            return cable
        if pool.failure is not None and now - pool.failure[0] < FAILURE_COUNTS_S:
            raise pool.failure[1]
        return await self._wait(pool.waiting, f"no port of {want} was ACTIVE in time")

    async def take_free(self) -> Cable:
        """Take a cable without a port; wait for one if need be. Raises Transient if there is none in time."""
        if not self._waiting and (cable := next(iter(self._free()), None)) is not None:
            self.hold([cable])
            return cable
        return await self._wait(self._waiting, "Open vSwitch has not made a cable in time")

    def hold(self, cables: Sequence[Cable]) -> None:
        """Take cables that are containers'."""
        self._busy.update(cable.name for cable in cables)

    def is_busy(self, cable: Cable) -> bool:
        """Tell whether somebody has a cable to himself."""
        return cable.name in self._busy

    def is_lost(self, cable: Cable) -> bool:
        """Tell whether a cable's port was ACTIVE and is the node's no more: somebody has deleted it."""
        port = cable.workload
        return port is not None and port.state == ACTIVE and self._states.is_gone(port.port_id, port.epoch)

    def put_back(self, *cables: Cable) -> None:
        """Give cables back, as they then stand in the database."""
        self._busy.subtract(cable.name for cable in cables)
        for cable in cables:
            if self._busy[cable.name] <= 0:
                del self._busy[cable.name]
        self.wake()

    async def plug(self, cable: Cable, netns: str, *, by_joint: bool = False) -> None:
        """Make the pair of a container, joined to its cable. Raises Transient with the kernel's words.

        `by_joint`: the host's end is left to chained plugins.
        """
        workload = cable.workload
        assert workload is not None
        pair = Pair(
            cable=cable.name,
            host_end=cable.host_end,
            netns=netns,
            ifname=cable.ifname,
            mac=workload.mac,
            mtu_bytes=workload.mtu_bytes,
            addresses=workload.addresses,
            joint=cable.joint if by_joint else None,
        )
        self._joined[cable.name] = await self._wires.make(pair)

    async def clear(self, cables: Sequence[Cable]) -> None:
        """Delete pairs; those of all that ask meanwhile go at once. Their cables drop everything then."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clearing.append((cables, done))
        if self._clearer is None:
            self._clearer = asyncio.create_task(self._clear())
        await done

    async def run(self) -> None:
        """Keep the cables, for ever."""
        while True:
            self._wake.clear()
            wait_s = LOOK_S
            try:
                await self.turn()
            except (Transient, Permanent) as error:
                log.warning("cables_not_kept", error=error.message)
                wait_s = RETRY_S
            except Exception:
                log.exception("cables_not_kept")
                wait_s = RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def turn(self) -> None:
        """Make one pass. Raises what stopped it."""
        now = self._clock()
        if now >= self._verify_at:
            self._links.distrust()
            self._dressed.clear()
            self._joined.clear()
            self._verify_at = now + VERIFY_S
        cables = self.cables()
        self._seen = await self._links.read()
        await self._dress(cables)
        await self._join(cables)
        await self._clear_garbage()
        await self._note_states()
        self._adopt(cables)
        for want, pool in list(self._pools.items()):
            await self._supply(want, pool, now)
        self._serve(self._waiting, self._free())
        await self._make_cables(now)

    async def _dress(self, cables: Sequence[Cable]) -> None:
        """Make ready what is not: what has just come, and what was ready and has been set down since.

        That does ovs-vswitchd to a device that it makes, as it writes back flags that it read before the device was up.
        """
        new = {name: index for name in (cable.name for cable in cables) if (index := self._undressed(name))}
        if new:
            await self._wires.dress(list(new.values()))
            self._dressed.update(new)

    def _undressed(self, name: str) -> int | None:
        index = self._seen.get(name)
        return index if index != self._dressed.get(name) or self._links.is_down(name) else None

    async def _join(self, cables: Sequence[Cable]) -> None:
        """Join what is a container's and is not joined: after a start, and when ovs-vswitchd has made a device anew."""
        wanted = {}
        for cable in cables:
            here = self._seen.get(cable.name)
            there = self._seen.get(cable.joint, self._seen.get(cable.host_end))
            if cable.is_plugged and cable.name not in self._busy and here is not None and there is not None:
                wanted[cable.name] = (here, there)
        new = {name: pair for name, pair in wanted.items() if self._joined.get(name) != pair}
        if new:
            await self._wires.join(list(new.values()))
            self._joined.update(new)

    async def _clear_garbage(self) -> None:
        """Delete pairs that are no container's: of calls that were broken off."""
        plugged = {cable.name for cable in self.cables() if cable.is_plugged} | self._busy.keys()
        garbage = [name for name in self._seen if is_host_end(name) and cable_of(name) not in plugged]
        if garbage:
            log.info("pairs_deleted", host_ends=garbage)
            await self._wires.remove(garbage)

    async def _note_states(self) -> None:
        """Write down which warm ports are ACTIVE: that has to be known when the server is away, too. Free the cables of
        those that the server has taken back."""
        changes = []
        for cable in self.cables():  # as they are now: one that was warm when the pass began may be a container's
            if not cable.is_warm or cable.name in self._busy or cable.workload is None:
                continue
            workload = cable.workload
            state = self._states.state(workload.port_id, workload.epoch)
            if self._states.is_taken_back(workload.port_id) or self.is_lost(cable):
                log.info("warm_port_gone", port=workload.port_id, cable=cable.name)
                changes.append(relabel(cable.interface, free_labels()))
            elif state is not None and state != workload.state:
                noted = msgspec.structs.replace(workload, state=state)
                changes.append(relabel(cable.interface, warm_labels(noted, cable.pool)))
        await self._ledger.write(changes)

    def _adopt(self, cables: Sequence[Cable]) -> None:
        """Go on with the pools of an agent before."""
        for key in {cable.pool for cable in cables if cable.is_warm}:
            if (want := want_of(key)) is not None:
                self._pool(want)

    async def _supply(self, want: Want, pool: _Pool, now: float) -> None:
        ready = self._ready(want)
        self._serve(cast("deque[asyncio.Future[Cable]]", pool.waiting), ready)
        ready = [cable for cable in ready if cable.name not in self._busy]
        key = want.key()
        warm = sum(cable.pool == key and cable.is_warm and cable.name not in self._busy for cable in self.cables())
        stock = Stock(len(ready), warm - len(ready) + pool.ordered)
        pool.waiting = deque(each for each in pool.waiting if not each.done())
        count = 0 if pool.kept else pool.demand.order(stock, len(pool.waiting), now)
        if count > 0:
            pool.ordered += count
            task = asyncio.create_task(self._order(want, pool, count))
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)
        elif not pool.waiting and (surplus := stock.ready if pool.kept else pool.demand.give_back(stock, now)) > 0:
            await self.give_back(ready[-surplus:])
        if pool.demand.is_over(now) and not stock.all and not pool.waiting:
            del self._pools[want]

    async def give_back(self, cables: Sequence[Cable]) -> None:
        """Let go of warm ports: their cables owe the server the word."""
        if cables:
            await self._ledger.write([owing(each.interface, LET_GO) for each in cables])
            log.info("warm_ports_given_back", ports=len(cables))
            self._tell()

    async def _order(self, want: Want, pool: _Pool, count: int) -> None:
        """Have ports, and put each on a cable."""
        labels = dict(want.labels)
        asked = WarmOrder(
            count=count, project_id=want.project or None, network=want.network or None, network_labels=labels
        )
        try:
            workloads = await self._order_ports(asked)
            try:
                await self._put_on_cables(want, pool, workloads)
            except Exception:
                for each in workloads:
                    self._release(WorkloadRelease(holder="", project_id=want.project or None, port_id=each.port_id))
                raise
            pool.failure = None
            log.info("ports_warmed", want=str(want), asked=count, got=len(workloads))
            if len(workloads) < count:
                pool.demand.failed(self._clock())
        except WeftError as error:
            log.warning("ports_not_warmed", want=str(want), asked=count, error=error.message)
            self._fail(pool, error)
        except Exception as error:
            log.exception("ports_not_warmed")
            self._fail(pool, Transient(f"the agent failed: {error!r}", retry_after_s=RETRY_S))
        finally:
            pool.ordered -= count
            self.wake()

    def _fail(self, pool: _Pool, error: WeftError) -> None:
        now = self._clock()
        pool.failure = (now, error)
        pool.demand.failed(now)
        while pool.waiting:
            waiter = pool.waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    async def _put_on_cables(self, want: Want, pool: _Pool, workloads: Sequence[Workload]) -> None:
        key = want.key()
        pool.kept = any(each.release not in NEVER_KEPT for each in workloads)
        if pool.kept:
            log.info("network_keeps_ports", want=str(want))
            while pool.waiting:
                waiter = pool.waiting.popleft()
                if not waiter.done():
                    waiter.set_result(None)
        free = [cable for cable in self.cables() if cable.is_free and cable.name not in self._busy]
        onto = list(zip(free, workloads, strict=False))
        taken = [cable for cable, _ in onto]
        self.hold(taken)
        try:
            changes = [relabel(cable.interface, warm_labels(each, key)) for cable, each in onto]
            await self._make([warm_labels(each, key) for each in workloads[len(onto) :]], changes)
        finally:
            self.put_back(*taken)

    async def _make(self, labels: Sequence[Mapping[str, str]], changes: Sequence[Operation] = ()) -> None:
        """Make cables that say this, and change others with it. Their names are nobody else's meanwhile."""
        names = new_names({cable.name for cable in self.cables()} | self._making, len(labels))
        self._making.update(names)
        try:
            new = insertion(self._ledger.tables, dict(zip(names, labels, strict=True)))
            if names and not new:
                raise Transient(f"there is no {INTEGRATION} to put cables into", retry_after_s=RETRY_S)
            await self._ledger.write([*changes, *new])
        finally:
            self._making.difference_update(names)

    async def _make_cables(self, now: float) -> None:
        """Make cables in bulk when there are few, delete one now and then when there are too many."""
        free = [cable for cable in self.cables() if cable.is_free and cable.name not in self._busy]
        due = sum(pool.ordered for pool in self._pools.values()) + len(self._waiting)
        if len(free) < due + (self._policy.cables + 1) // 2:
            count = due + self._policy.cables - len(free)
            await self._make([free_labels()] * count)
            log.info("cables_made", count=count)
        enough = due + 2 * self._policy.cables + self._policy.ports_max
        if len(free) <= enough:
            self._surplus_since = None
            return
        if self._surplus_since is None:
            self._surplus_since = now
        if now - self._surplus_since >= SURPLUS_AFTER_S:
            self._surplus_since = now - SURPLUS_AFTER_S + TRICKLE_S
            self.hold(free[-1:])
            try:
                await self._ledger.write(removal(self._ledger.tables, [free[-1].name]))
            finally:
                self.put_back(free[-1])

    def _pool(self, want: Want) -> _Pool:
        if want not in self._pools:
            self._pools[want] = _Pool(Demand(self._policy, self._clock()))
        return self._pools[want]

    def _is_usable(self, cable: Cable) -> bool:
        """Tell whether a container could be joined to a cable now."""
        index = self._seen.get(cable.name)
        known = index is not None and self._dressed.get(cable.name) == index
        return known and cable.name not in self._busy and cable.host_end not in self._seen

    def _ready(self, want: Want) -> list[Cable]:
        key = want.key()
        return [
            cable
            for cable in self.cables()
            if cable.pool == key
            and cable.is_warm
            and cable.workload is not None
            and cable.workload.state == ACTIVE
            and not self.is_lost(cable)
            and self._is_usable(cable)
        ]

    def _free(self) -> list[Cable]:
        return [cable for cable in self.cables() if cable.is_free and self._is_usable(cable)]

    def _serve(self, waiting: "deque[asyncio.Future[Cable]]", cables: Sequence[Cable]) -> None:
        """Give cables to those who wait, the first first."""
        for cable in cables:
            while waiting and waiting[0].done():
                waiting.popleft()
            if not waiting:
                return
            self.hold([cable])
            waiting.popleft().set_result(cable)
            self.wake()

    async def _wait(self, waiting: "deque[asyncio.Future[T]]", otherwise: str) -> T:
        if len(waiting) >= MAX_WAITING:
            raise Transient(f"{MAX_WAITING} containers wait already", retry_after_s=RETRY_S)
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiting.append(waiter)
        self.wake()
        try:
            async with asyncio.timeout(WAIT_S):
                return await waiter
        except TimeoutError:
            self._take_back(waiter)
            raise Transient(otherwise, retry_after_s=RETRY_S) from None
        except asyncio.CancelledError:
            self._take_back(waiter)
            raise

    def _take_back(self, waiter: "asyncio.Future[T]") -> None:
        """Have what somebody was given in the moment in which he gave up waiting."""
        if not waiter.cancelled() and waiter.done() and waiter.exception() is None:
            found = waiter.result()
            if isinstance(found, Cable):
                self.put_back(found)

    async def _clear(self) -> None:
        try:
            while self._clearing:
                taken, self._clearing = self._clearing, []
                cables = [cable for each, _ in taken for cable in each]
                for cable in cables:
                    self._joined.pop(cable.name, None)
                try:
                    await self._wires.remove([each.host_end for each in cables])
                except WeftError as error:
                    for _, done in taken:
                        if not done.done():
                            done.set_exception(error)
                else:
                    for _, done in taken:
                        if not done.done():
                            done.set_result(None)
        finally:
            self._clearer = None
