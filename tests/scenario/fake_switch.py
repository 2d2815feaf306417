"""A switch that really models its tables, and faults that strike at a chosen point of input or output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum

from msgspec.structs import replace

from weft.fabric.carriage import rests_on
from weft.fabric.config import SwitchConfig
from weft.fabric.facts import Facts, Session, VniFacts, VrfFacts
from weft.fabric.plan import AddSegment, ChangeSegment, Step, SwitchPlan
from weft.model.errors import Permanent, Transient
from weft.model.ids import SwitchName
from weft.switches.driver import Observed


class Fault(StrEnum):
    """What happens at a struck point."""

    BEFORE = "before"  # the connection is gone before anything happened
    AFTER = "after"  # it happened, but the answer was lost
    WIPED = "wiped"  # a switch was replaced by an empty one, right then
    REFUSED = "refused"  # the switch refuses this once
    DEFECT = "defect"  # an error that nobody foresaw


class Faults:
    """Counts points of input and output, and strikes at one of them. `at` None: at none."""

    def __init__(self, fault: Fault = Fault.BEFORE, at: int | None = None) -> None:
        self.fault = fault
        self.at = at
        self.points: list[str] = []
        self._passed = asyncio.Event()

    async def reached(self, count: int) -> None:
        """Return when this many points were passed."""
        while len(self.points) < count:
            self._passed = asyncio.Event()
            await self._passed.wait()

    def strikes(self, point: str) -> Fault | None:
        """Pass a point; return the fault that strikes there."""
        self.points.append(point)
        self._passed.set()
        return self.fault if len(self.points) - 1 == self.at else None


class FakeSwitch:
    """The device: tables, and how it misbehaves. What it did stands in `calls`."""

    def __init__(self, name: SwitchName, faults: Faults | None = None) -> None:
        self.name = name
        self.faults = faults or Faults()
        self.reachable = True
        self.refuses: Callable[[Step], str | None] = lambda _: None
        self.stuck_when: Callable[[], bool] = lambda: False
        """Tells whether it closes by itself."""
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        """Set while somebody waits for it to open."""
        self.dead_peers: set[str] = set()
        """Peers with whom no session comes up."""
        self.cut_off_by: Callable[[SwitchConfig], bool] = lambda _: False
        """Tells whether nobody reaches it while it has a configuration."""
        self.undo: SwitchConfig | None = None
        """What it goes back to unless what it has is confirmed."""
        self.others: Mapping[str, FakeSwitch] = {}
        """The switches of its fabric."""
        self.lost: Callable[[], None] = lambda: None
        """Tells its driver that the connection is lost."""
        self.changed: Callable[[], None] = lambda: None
        """Tells its driver that something on it changed."""
        self.calls: list[str] = []
        self.closed = 0
        self.config = SwitchConfig(name=name, underlay=None)

    def wipe(self) -> None:
        """Be replaced by an empty switch of the same name."""
        self.config = SwitchConfig(name=self.name, underlay=None)

    def time_is_up(self) -> None:
        """Let the time be over in which a change is to be confirmed."""
        if self.undo is not None:
            self.config = replace(self.config, underlay=self.undo.underlay, gateway_mac=self.undo.gateway_mac)
            self.undo = None

    def make(self, step: Step, gateway_mac: str) -> None:
        """Make one step, as a device would: what it rests on has to be there."""
        missing = rests_on(step, self.config)
        assert not missing, f"{self.name}: {step.before()} -> {step.after()} rests on {missing}, which is not there"
        self.config = step.made(self.config)
        if isinstance(step, AddSegment | ChangeSegment) and any(each.gateways for each in self.config.segments):
            self.config = replace(self.config, gateway_mac=gateway_mac)

    def sessions(self) -> tuple[Session, ...]:
        """Return the sessions over the links that it has."""
        links = self.config.underlay.links if self.config.underlay is not None else ()
        return tuple(
            Session(
                peer=link.peer,
                peer_address=str(link.peer_address),
                family="l2VpnEvpn",
                state="Active" if link.peer in self.dead_peers else "Established",
            )
            for link in links
        )

    def facts(self) -> Facts:
        """Return what it says of itself; a network has tunnels to the others that have it, but to dead peers."""
        alive = [each for name, each in self.others.items() if name not in {self.name, *self.dead_peers}]
        vteps = {
            segment.vni: [
                str(each.config.underlay.loopback)
                for each in alive
                if each.config.underlay is not None and segment.vni in {other.vni for other in each.config.segments}
            ]
            for segment in self.config.segments
        }
        return Facts(
            sessions=self.sessions(),
            vnis={vni: VniFacts(remote_vteps=tuple(sorted(known))) for vni, known in vteps.items()},
            vrfs={vrf.name: VrfFacts(is_up=True, routes=1) for vrf in self.config.vrfs},
            is_confirmed=self.undo is None,
        )

    @property
    def applied(self) -> int:
        """How many plans were applied."""
        return sum(call.startswith("apply") for call in self.calls)

    @property
    def observed(self) -> int:
        """How often it was read."""
        return self.calls.count("observe")


class FakeDriver:
    """A connection to a FakeSwitch."""

    def __init__(self, device: FakeSwitch) -> None:
        self._device = device

    async def observe(self) -> Observed:
        device = self._device
        device.calls.append("observe")
        await self._point("observe", lambda: None)
        return Observed(config=device.config, facts=device.facts())

    async def apply(
        self, plan: SwitchPlan, desired: SwitchConfig, observed: Observed, *, confirm_within_s: float | None = None
    ) -> None:
        device = self._device
        device.calls.append(f"apply {len(plan.steps)}")
        device.undo = device.config if confirm_within_s is not None else device.undo
        assert observed.config.name == desired.name == device.name
        for step in plan.steps:
            reason = device.refuses(step)
            if reason is not None:
                raise Permanent(reason)
            await self._point(f"{step.op} {step.noun}", lambda step=step: device.make(step, desired.gateway_mac))

    async def confirm(self) -> None:
        device = self._device
        device.calls.append("confirm")
        await self._point("confirm", lambda: None)
        if device.undo is None:
            raise Transient(f"{device.name} went back", retry_after_s=1.0)
        device.undo = None

    def watch(self, lost: Callable[[], None], changed: Callable[[], None]) -> None:
        self._device.lost, self._device.changed = lost, changed

    async def close(self) -> None:
        self._device.closed += 1

    async def _point(self, what: str, happen: Callable[[], None]) -> None:
        """Do one thing over the wire: slowly, if the device is, and with the fault that strikes here."""
        device = self._device
        await asyncio.sleep(0)
        if device.stuck_when():
            device.open.clear()
        if not device.open.is_set():
            device.asked.set()
            await device.open.wait()
            device.asked.clear()
        fault = device.faults.strikes(f"{device.name} {what}")
        if not device.reachable or device.cut_off_by(device.config) or fault is Fault.BEFORE:
            raise Transient(f"{device.name} does not answer", retry_after_s=1.0)
        if fault is Fault.WIPED:
            device.wipe()
            raise ConnectionResetError(f"{device.name} is rebooting")
        if fault is Fault.REFUSED:
            raise Permanent(f"{device.name} does not want to {what}")
        if fault is Fault.DEFECT:
            raise ZeroDivisionError(f"a defect at {what}")
        happen()
        if fault is Fault.AFTER:
            raise Transient(f"{device.name} gave no answer", retry_after_s=1.0)
