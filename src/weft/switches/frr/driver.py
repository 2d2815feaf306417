"""The driver of FRR switches: observe, plan's apply, over one SSH connection and two scripts."""

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from weft.fabric.config import SwitchConfig
from weft.fabric.dialects import frr, frr_text
from weft.fabric.dialects.frr_text import Tree
from weft.fabric.facts import Facts
from weft.fabric.plan import SwitchPlan
from weft.model.errors import Invalid, Permanent, Transient
from weft.model.ids import SwitchName
from weft.switches import guard
from weft.switches.driver import DriverSettings, Observed
from weft.switches.frr import scripts
from weft.switches.frr.changes import link_changes
from weft.switches.frr.kernel import Kernel, Table, Wanted, after_changes
from weft.switches.frr.netns import NetnsLayout
from weft.switches.frr.parts import END_PART, FrrSaid, read_frr, read_kernel, read_sessions, read_vnis, read_vrfs, split
from weft.switches.frr.vrf import VrfLayout
from weft.switches.remainders import without_remainders
from weft.switches.ssh import SshSession, check, last_words

BPF_OBJECT = Path(__file__).with_name("vlan_handoff.bpf.o")
NEEDED_DAEMONS = frozenset({"zebra", "bgpd", "mgmtd"})
SETTLE_TRIES = 6
SETTLE_WAIT_S = 0.03
"""How often, and how far apart, a switch is read again while zebra has not taken up links that the kernel has."""
RETRY_AFTER_S = 1.0
YOUNG_S = 60
"""A zebra that is younger may have missed which neighbours the kernel knows; an older one has heard of them since."""

log = structlog.get_logger()


class Layout(Protocol):
    """How a SwitchConfig stands in a kernel."""

    name: str
    sysctls: Mapping[str, str]
    hands_off: bool
    """Whether it needs the VLAN hand-off in BPF."""

    def wanted(self, config: SwitchConfig, kernel: Kernel) -> Wanted:
        """Return all that the kernel shall hold, given what it holds."""
        ...

    def read(self, kernel: Kernel, routing: frr.Reading, like: SwitchConfig) -> SwitchConfig:
        """Return what kernel and routing add up to; what cannot be read is as in `like`."""
        ...

    def unsettled(self, kernel: Kernel) -> frozenset[int]:
        """Return the VNIs that the kernel has and zebra has not taken up, or not yet in the right VRF."""
        ...


LAYOUTS: Mapping[str, Layout] = {"Namespaces": NetnsLayout(), "l3mdev": VrfLayout()}
"""By what zebra says its VRFs are."""


class FrrObserved(Observed, frozen=True, kw_only=True):
    """What was read, with what apply needs of it."""

    running: Tree
    kernel: Kernel
    zebra_began: int = 0
    """By the switch's clock, in seconds; 0 if that was long ago."""


class FrrDriver:
    """Drives one FRR switch; see weft.switches.driver.SwitchDriver."""

    def __init__(self, name: SwitchName, management: str, settings: DriverSettings) -> None:
        self._name = name
        self._session = SshSession(name, management, settings, monitor=scripts.monitor())
        self._layout: Layout | None = None
        self._like = SwitchConfig(name=name, underlay=None)
        """What was last applied: for the few fields that leave no trace on a switch without links or gateways."""
        self._zebra_of = 0
        """When the zebra began that knows the neighbours, by the switch's clock."""

    async def observe(self) -> FrrObserved:
        """Return what the switch is, read from it now."""
        layout = await self._probed()
        for _ in range(SETTLE_TRIES):
            observed = await self._read(layout)
            if not layout.unsettled(observed.kernel):
                break
            await asyncio.sleep(SETTLE_WAIT_S)
        else:
            return observed
        await self._introduce(observed.zebra_began)
        return observed

    async def _introduce(self, began: int) -> None:
        """Have a zebra that has just begun hear of the neighbours: it looks at them before it knows their networks, and
        what it missed no other leaf knows the way to."""
        if began and began != self._zebra_of:
            await self._session.run(scripts.ask_neighbours())
            self._zebra_of = began
            log.info("switch_neighbours_asked", switch=self._name)

    async def apply(
        self, plan: SwitchPlan, desired: SwitchConfig, observed: Observed, *, confirm_within_s: float | None = None
    ) -> None:
        """Make the switch what is desired, from what was observed."""
        if desired.underlay is None:
            raise Permanent(f"switch {self._name}: a configuration without routing cannot be applied")
        layout = await self._probed()
        seen = observed if isinstance(observed, FrrObserved) else await self._read(layout)
        desired = without_remainders(desired, self._like)
        wanted = layout.wanted(desired, seen.kernel)
        script = scripts.apply(
            seen.kernel,
            wanted,
            link_changes(_doubted(seen.kernel, layout.unsettled(seen.kernel)), wanted.links, seen.kernel.closed_tables),
            frr.patch(seen.running, frr.render(desired)),
            bpf_object=self._bpf(layout),
            new_vrfs=[vrf.name for vrf in desired.vrfs if vrf not in seen.config.vrfs],
            gone_vrfs=_gone_vrf_devices(seen, wanted),
            saves=confirm_within_s is None,
        )
        undoable = confirm_within_s is not None and seen.config.underlay is not None
        if confirm_within_s is not None and undoable:
            script = guard.to_be_confirmed(script, self._undo(layout, seen, desired, wanted), confirm_within_s)
        self._like = desired
        log.debug("switch_apply", switch=self._name, steps=len(plan.steps), confirm_within_s=confirm_within_s)
        check(self._name, await self._session.write(script, once=undoable))

    def _undo(self, layout: Layout, seen: FrrObserved, desired: SwitchConfig, wanted: Wanted) -> str:
        """Return the script that gives the switch its former foundation back, once it is what is desired."""
        former = msgspec.structs.replace(desired, underlay=seen.config.underlay, gateway_mac=seen.config.gateway_mac)
        former = without_remainders(former, self._like)
        after = after_changes(seen.kernel, wanted)
        before = layout.wanted(former, after)
        return scripts.apply(
            after,
            before,
            link_changes(after.links, before.links),
            frr.patch(frr.render(desired), frr.render(former)),
            bpf_object=self._bpf(layout),
            new_vrfs=(),
            gone_vrfs=(),
            goes_on=True,
        )

    async def confirm(self) -> None:
        """Have what was applied stay: by a new connection, since an old one may outlive what it came by."""
        await self._session.close()
        check(self._name, await self._session.write(guard.confirm() + scripts.save()))

    def watch(self, lost: Callable[[], None], changed: Callable[[], None]) -> None:
        """Have `lost` called whenever a connection that stood is lost, `changed` when links, addresses or the routes of
        the underlay changed. What FRR is told and no route follows from, nobody tells."""
        self._session.lost, self._session.changed = lost, changed

    async def close(self) -> None:
        """Give the connection up."""
        await self._session.close()

    async def _probed(self) -> Layout:
        """Return the switch's layout; asked once per connection, since a switch may come back as another."""
        if self._layout is None or not self._session.is_connected:
            probed = await self._session.run(scripts.probe())
            kind = scripts.vrf_kind(probed.output)
            if probed.status or kind is None:
                raise self._not_ready(probed.errors or probed.output or "zebra does not answer")
            if kind not in LAYOUTS:
                raise Permanent(f"switch {self._name}: weft does not know VRFs of the kind '{kind}' (see `show zebra`)")
            self._layout = LAYOUTS[kind]
            log.info("switch_probed", switch=self._name, layout=self._layout.name)
        return self._layout

    async def _read(self, layout: Layout) -> FrrObserved:
        observing = scripts.observe(layout.sysctls, self._bpf(layout), vrf_devices=not layout.hands_off)
        done = await self._session.run(observing)
        parts = split(done.output)
        said = read_frr(parts.get("frr", ""))
        if not said.configuration:
            raise self._not_ready(parts.get("frr", "") or done.errors or "the answer was cut off")
        if END_PART not in parts:
            raise self._not_ready(done.errors or "the answer was cut off")
        if missing := NEEDED_DAEMONS - said.daemons:
            raise self._not_ready(f"without {', '.join(sorted(missing))}")
        try:
            return self._made_of(layout, parts, said)
        except (ValueError, LookupError, TypeError, AttributeError, Invalid) as error:
            raise self._not_ready(f"it said what cannot be read: {error!r}") from None

    def _made_of(self, layout: Layout, parts: Mapping[str, str], said: FrrSaid) -> FrrObserved:
        """Return what was read from what a switch said, all of which is there; it may still be nonsense."""
        running = frr_text.parse(said.configuration)
        routing = frr.read(running)
        kernel = read_kernel(parts, said)
        return FrrObserved(
            config=layout.read(kernel, routing, self._like),
            facts=Facts(
                layout=layout.name,
                sessions=read_sessions(said),
                vnis=read_vnis(said),
                vrfs=read_vrfs(said),
                is_confirmed=not parts.get(guard.ARMED_PART, "").strip(),
            ),
            drift=routing.drift,
            running=running,
            kernel=kernel,
            zebra_began=_young(parts.get("zebra", "")),
        )

    def _bpf(self, layout: Layout) -> bytes:
        return _bpf_object() if layout.hands_off else b""

    def _not_ready(self, reason: str) -> Transient:
        return Transient(f"switch {self._name}: FRR is not ready: {last_words(reason)}", retry_after_s=RETRY_AFTER_S)


@cache
def _bpf_object() -> bytes:
    try:
        return BPF_OBJECT.read_bytes()
    except FileNotFoundError:
        raise Permanent(f"{BPF_OBJECT} is not there: run scripts/bpf (or scripts/setup)") from None


def _young(times: str) -> int:
    """Return when zebra began, of that and the present time; 0 if it is older than YOUNG_S, or does not run."""
    seconds = [int(word) for word in times.split()]
    return seconds[0] if len(seconds) == 2 and seconds[1] - seconds[0] < YOUNG_S else 0


def _doubted(kernel: Kernel, unsettled: frozenset[int]) -> Table:
    """Return the links as they are, but for those that zebra does not take up: they look wrong, and are made anew."""
    return {
        where: msgspec.structs.replace(link, local=None) if link.vni in unsettled else link
        for where, link in kernel.links.items()
    }


def _gone_vrf_devices(seen: FrrObserved, wanted: Wanted) -> list[str]:
    """Return the VRFs whose devices go. (A namespace stays: zebra does not survive its end.)"""
    devices = (where for where, link in seen.kernel.links.items() if link.is_marked and link.kind == "vrf")
    return [name for space, name in devices if (space, name) not in wanted.links and f"vrf {name}" in seen.running]
