"""What every switch driver does, and the choice of one by the switch's dialect."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from weft.fabric.config import SwitchConfig
from weft.fabric.facts import Facts
from weft.fabric.plan import SwitchPlan
from weft.model.errors import Permanent
from weft.model.ids import SwitchName
from weft.model.inventory import VLAN_ROLES, Dialect, Switch


class DriverSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the controller logs in to switches."""

    key_file: Path | None = None
    """The private key, in OpenSSH's form; None: no switch can be reached by SSH."""
    user: str = "root"
    known_hosts: Path | None = None
    """Host keys that are accepted. With `record_hosts`, the key of a switch that is not in it is written there at the
    first login (trust on first use), and every later login must show the same. None: the keys are remembered only as
    long as the process runs."""
    record_hosts: bool = True
    eapi_user: str = "admin"
    eapi_password_file: Path | None = None
    """Holds the password of that user; None: no switch can be reached by eAPI."""
    eapi_ca: Path | None = None
    """Authorities of the switches' certificates (PEM); None: the system's."""
    term: int = 0
    """The term in which the controller leads; a switch that has followed a later one refuses it. 0: it is no leader of
    several, and nothing is fenced."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from a switch.

    What is on the switch only in part stands in `config` with the number 0 (a VRF's l3vni, a segment's mtu_bytes, an
    attachment's vni, a link's peer_asn, the underlay's mtu_bytes): it differs from all that is desired, and is repaired
    or removed.
    `drift` names lines of text: ``- missing`` or ``+ too much``.
    """

    config: SwitchConfig
    facts: Facts = Facts()
    drift: tuple[str, ...] = ()


class SwitchDriver(Protocol):
    """Reads and writes one switch. Calls are made one after the other.

    Errors: Transient (not reachable, not ready: try again) and Permanent (the switch refused: its reason).
    """

    async def observe(self) -> Observed:
        """Return what the switch is, read from it now."""
        ...

    async def apply(
        self, plan: SwitchPlan, desired: SwitchConfig, observed: Observed, *, confirm_within_s: float | None = None
    ) -> None:
        """Make the switch what is desired, from what was observed; nothing is touched that does not differ.

        It may be called again after any failure, with what is observed then. What it did is to be verified by observe.
        With `confirm_within_s` the switch gets its former underlay and gateways back by itself unless `confirm` reaches
        it in that time, in seconds; a driver that cannot do that ignores it.
        """
        ...

    async def confirm(self) -> None:
        """Have what was applied stay, over a new connection. Raise Transient if the switch went back already."""
        ...

    def watch(self, lost: Callable[[], None], changed: Callable[[], None]) -> None:
        """Have `lost` called whenever a connection that stood is lost: the switch may have restarted.

        And `changed` whenever the switch tells that something on it changed, by whomever; a driver whose switches do
        not tell never calls it.
        """
        ...

    async def close(self) -> None:
        """Give the connection up."""
        ...


def driver_for(switch: Switch, settings: DriverSettings) -> SwitchDriver:
    """Return the driver of a switch; nothing is connected yet. Raise Permanent if weft cannot drive it."""
    if switch.management is None:
        raise Permanent(f"switch {switch.name} has no management address in the inventory, so weft cannot reach it")
    if switch.dialect is Dialect.EOS and switch.role not in VLAN_ROLES:
        from weft.switches.eos.driver import EosDriver  # noqa: PLC0415 - as below

        return EosDriver(SwitchName(switch.name), switch.management, settings)
    if switch.dialect is not Dialect.FRR:
        what = f"dialect '{switch.dialect.value}' as {switch.role.value}"
        raise Permanent(f"switch {switch.name}: weft has no driver for {what} yet; it has frr, and eos for spine-leaf")
    if switch.role in VLAN_ROLES:
        from weft.switches.openvswitch.driver import OpenVswitchDriver  # noqa: PLC0415 - as below

        return OpenVswitchDriver(SwitchName(switch.name), switch.management, settings)
    from weft.switches.frr.driver import FrrDriver  # noqa: PLC0415 - a driver's libraries load with its first switch

    return FrrDriver(SwitchName(switch.name), switch.management, settings)
