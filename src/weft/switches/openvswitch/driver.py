"""The driver of Linux switches that switch VLANs: observe, plan's apply, over one SSH connection and two scripts."""

from collections.abc import Callable

import structlog

from weft.fabric.config import SwitchConfig
from weft.fabric.facts import Facts
from weft.fabric.plan import SwitchPlan
from weft.model.errors import Invalid, Permanent, Transient
from weft.model.ids import SwitchName
from weft.switches.driver import DriverSettings, Observed
from weft.switches.openvswitch import scripts
from weft.switches.openvswitch.reading import Reading, read
from weft.switches.ssh import SshSession, check, last_words

RETRY_AFTER_S = 1.0
LAYOUT = "openvswitch"

log = structlog.get_logger()


class VlanObserved(Observed, frozen=True, kw_only=True):
    """What was read, with what apply needs of it."""

    reading: Reading


class OpenVswitchDriver:
    """Drives one VLAN switch; see weft.switches.driver.SwitchDriver."""

    def __init__(self, name: SwitchName, management: str, settings: DriverSettings) -> None:
        self._name = name
        self._session = SshSession(name, management, settings)
        self._gateway_mac = SwitchConfig(name=name, underlay=None).gateway_mac
        """What was last applied: it leaves no trace on a switch without gateways."""

    async def observe(self) -> VlanObserved:
        """Return what the switch is, read from it now."""
        done = await self._session.run(scripts.observe())
        try:
            reading = read(done.output)
        except (ValueError, LookupError, TypeError, AttributeError, Invalid) as error:
            message = f"switch {self._name}: it said what cannot be read: {error!r}"
            raise Transient(message, retry_after_s=RETRY_AFTER_S) from None
        if reading is None:
            said = last_words(done.errors) or "the answer was cut off"
            raise Transient(f"switch {self._name}: Open vSwitch is not ready: {said}", retry_after_s=RETRY_AFTER_S)
        mac = self._gateway_mac if reading.gateway_mac is None else reading.gateway_mac
        return VlanObserved(
            config=SwitchConfig(name=self._name, underlay=None, vlan=reading.switching, gateway_mac=mac),
            facts=Facts(layout=LAYOUT),
            drift=reading.drift,
            reading=reading,
        )

    async def apply(
        self, plan: SwitchPlan, desired: SwitchConfig, observed: Observed, *, confirm_within_s: float | None = None
    ) -> None:
        """Make the switch what is desired, from what was observed. What is desired of it touches nothing by which it is
        reached, so there is nothing to confirm."""
        del confirm_within_s
        if desired.vlan is None:
            raise Permanent(f"switch {self._name}: a configuration without VLANs cannot be applied to a VLAN switch")
        seen = observed if isinstance(observed, VlanObserved) else await self.observe()
        unlike = seen.config.gateway_mac != desired.gateway_mac
        before = None if unlike else seen.reading.switching
        script = scripts.apply(desired.vlan, before, seen.reading.ports, desired.gateway_mac)
        self._gateway_mac = desired.gateway_mac
        log.debug("switch_apply", switch=self._name, steps=len(plan.steps))
        check(self._name, await self._session.write(script))

    async def confirm(self) -> None:
        """Do nothing: what was applied stays."""

    def watch(self, lost: Callable[[], None], changed: Callable[[], None]) -> None:
        """Have `lost` called whenever a connection that stood is lost; changes are not told."""
        del changed
        self._session.lost = lost

    async def close(self) -> None:
        """Give the connection up."""
        await self._session.close()
