"""The gate: how much of what a switch shall be it may be made now, and what waits for a human.

Ports come and go by themselves; what carries the traffic of all does not change by itself. The foundation of a switch,
its underlay and its gateways' MAC address, changes only when a roll-out approved just that foundation; a switch with
none yet is configured from zero. What is held is left as it was observed, and everything else goes on.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from weft.fabric.carriage import GATEWAY_MAC, UNDERLAY, Element
from weft.fabric.config import Attachment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.limits import Overflow
from weft.fabric.plan import ChangeGatewayMac, ChangeUnderlay, plan
from weft.model.ids import SwitchName
from weft.model.inventory import Safety

T = TypeVar("T")

MUCH = 20
"""Attachments that may go from a switch at once, whatever share of its attachments they are."""

MAX_LINES_TOLD = 3
"""A reason names at most this many lines of a diff."""


class Hold(StrEnum):
    """Why something waits."""

    FOUNDATION = "foundation"
    """The underlay or the gateways' MAC address would change, and no roll-out approved it."""
    ROLLED_BACK = "rolled-back"
    """A roll-out failed here: the switch keeps the foundation that it had before."""
    REMOVAL = "removal"
    """So much would go at once that it looks like a mistake."""
    LIMIT = "limit"
    """The hardware could not hold it."""
    DRIFT = "drift"
    """Somebody changed it by hand, and the policy is to keep that."""
    ESCALATED = "escalated"
    """Somebody changed it by hand, and the policy is that a human decides: nothing is changed until then."""


class Held(msgspec.Struct, frozen=True):
    """Something that waits, and what for."""

    hold: Hold
    reason: str


class Foundation(msgspec.Struct, frozen=True):
    """What everything on a switch rests on."""

    underlay: Underlay
    gateway_mac: str


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What was approved for a switch last."""

    switch: SwitchName
    ground: Foundation | None
    """What it may have; what it is rebuilt on if it is replaced empty."""
    rolled_back: bool = False
    """Whether a roll-out failed here: then that is what it shall have, whatever is desired."""
    unbounded: bool = False
    """Whether what looked like too much may go now, and what the hardware may not hold may come."""
    reason: str = ""
    by: str = ""
    at: float = 0.0
    """Unix seconds. Drift that was seen before is no longer kept."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """What a switch may be made now, and what of the desired configuration waits."""

    config: SwitchConfig
    held: tuple[Held, ...] = ()
    approves: Foundation | None = None
    """The foundation that needs nobody's approval and is to be noted before it is pushed."""


def foundation(config: SwitchConfig) -> Foundation | None:
    """Return what everything on a switch rests on; None if it has no routing, or is a switch of a VLAN site."""
    return Foundation(config.underlay, config.gateway_mac) if config.underlay is not None else None


def same(one: Foundation | None, other: Foundation | None) -> bool:
    """Return whether two foundations are one.

    The interfaces of in-band management do not count: nodes are plugged in and out every day.
    """
    return one == other or (one is not None and other is not None and _bare(one) == _bare(other))


def _bare(ground: Foundation) -> Foundation:
    management = ground.underlay.management
    bare = replace(management, interfaces=()) if management is not None else None
    return replace(ground, underlay=replace(ground.underlay, management=bare))


def admit(
    observed: SwitchConfig,
    desired: SwitchConfig,
    *,
    approval: Approval | None = None,
    kept: Collection[Element] = (),
    escalates: bool = False,
    safety: Safety | None = None,
    overflowing: Collection[Overflow] = (),
) -> Admitted:
    """Return what a switch, as it was observed, may be made of what it shall be.

    `kept` are the elements that drifted and stay as they are; if it `escalates`, all others stay, too. `overflowing` is
    what the hardware could not hold.
    """
    held: list[Held] = []
    if kept and escalates:
        told = _some(plan(observed, desired).lines())
        reason = f"changed by hand, and left alone until `weft fabric apply {desired.name}`: {told}"
        return Admitted(config=observed, held=(Held(Hold.ESCALATED, reason),))
    config, approves = _foundation(observed, desired, approval, held)
    config = _removals(observed, config, approval, safety or Safety(), held)
    if overflowing and not (approval is not None and approval.unbounded):
        config = _nothing_new(observed, config)
        held.append(Held(Hold.LIMIT, "; ".join(map(str, overflowing))))
    if kept:
        config, still = keep(observed, config, kept)
        if still:
            told = _some(plan(config, desired).lines())
            held.append(Held(Hold.DRIFT, f"changed by hand, and kept: {told}"))
    return Admitted(config=config, held=tuple(held), approves=approves)


def keep(observed: SwitchConfig, desired: SwitchConfig, kept: Collection[Element]) -> tuple[SwitchConfig, bool]:
    """Return the desired configuration with these elements as they were observed, and whether that differs from it."""
    config = replace(
        desired,
        vrfs=_as_observed(observed.vrfs, desired.vrfs, kept, _of_vrf),
        segments=_as_observed(observed.segments, desired.segments, kept, _of_segment),
        attachments=_as_observed(observed.attachments, desired.attachments, kept, _of_attachment),
    )
    if UNDERLAY in kept and observed.underlay is not None:
        config = replace(config, underlay=observed.underlay)
    if GATEWAY_MAC in kept:
        config = replace(config, gateway_mac=observed.gateway_mac)
    return config, config != desired


def _foundation(
    observed: SwitchConfig, desired: SwitchConfig, approval: Approval | None, held: list[Held]
) -> tuple[SwitchConfig, Foundation | None]:
    wanted = foundation(desired)
    granted = approval.ground if approval is not None else None
    if wanted is None or same(granted, wanted):
        return desired, None
    if approval is not None and granted is not None and approval.rolled_back:
        held.append(Held(Hold.ROLLED_BACK, approval.reason))
        return _resting_on(desired, granted), None
    here = foundation(observed) or granted
    ground = _resting_on(observed, here) if here is not None else observed
    steps = [step for step in plan(ground, desired).steps if isinstance(step, ChangeUnderlay | ChangeGatewayMac)]
    if here is None or not steps or same(here, wanted):
        return desired, wanted
    before = [f"- {line}" for step in steps for line in step.before()]
    after = [f"+ {line}" for step in steps for line in step.after()]
    held.append(Held(Hold.FOUNDATION, f"waits for `weft fabric apply`: {_some([*before, *after])}"))
    return _resting_on(desired, here), None


def _resting_on(config: SwitchConfig, ground: Foundation) -> SwitchConfig:
    """Return a configuration on another foundation, but with the nodes that are plugged in now."""
    wanted = config.underlay.management if config.underlay is not None else None
    own = ground.underlay.management
    if own is not None and wanted is not None and own.gateway == wanted.gateway:
        own = wanted
    return replace(config, underlay=replace(ground.underlay, management=own), gateway_mac=ground.gateway_mac)


def _removals(
    observed: SwitchConfig, config: SwitchConfig, approval: Approval | None, safety: Safety, held: list[Held]
) -> SwitchConfig:
    """Return the configuration with all that would go, if too much would go at once."""
    gone = set(observed.attachments) - set(config.attachments)
    had = len(observed.attachments)
    if (
        len(gone) <= MUCH
        or len(gone) * 100 <= safety.max_removed * had
        or (approval is not None and approval.unbounded)
    ):
        return config
    vnis = {attachment.vlan: attachment.vni for attachment in gone if attachment.vlan}
    fits = [each for each in config.attachments if vnis.get(each.vlan, each.vni) == each.vni]
    there = set(observed.attachments)
    new = [each for each in fits if each not in there]
    # What comes makes what goes a smaller share: so much may come as leaves it too large at the next look, too.
    room = (len(gone) * 100 - 1) // safety.max_removed - had if safety.max_removed else len(new)
    share = f"{len(gone)} of its {had} attachments, more than {safety.max_removed} per cent"
    late = f"; {len(new) - room} new ones wait, too, or it would be less" if len(new) > room else ""
    held.append(Held(Hold.REMOVAL, f"waits for `weft fabric apply`: {share}, would go at once{late}"))
    fits = [*(each for each in fits if each in there), *new[:room]]
    return replace(
        config,
        vrfs=_united(config.vrfs, observed.vrfs, _of_vrf),
        segments=_united(config.segments, observed.segments, _of_segment),
        attachments=tuple(sorted({*fits, *gone})),
    )


def _nothing_new(observed: SwitchConfig, config: SwitchConfig) -> SwitchConfig:
    """Return of a configuration what is there already, be it otherwise."""
    return replace(
        config,
        vrfs=_there(config.vrfs, observed.vrfs, _of_vrf),
        segments=_there(config.segments, observed.segments, _of_segment),
        attachments=_there(config.attachments, observed.attachments, _of_attachment),
    )


def _of_vrf(vrf: Vrf) -> Element:
    return ("vrf", vrf.name)


def _of_segment(segment: Segment) -> Element:
    return ("vni", segment.vni)


def _of_attachment(attachment: Attachment) -> Element:
    return ("interface", attachment.interface, attachment.vlan)


def _as_observed(
    observed: tuple[T, ...], desired: tuple[T, ...], kept: Collection[Element], name: Callable[[T], Element]
) -> tuple[T, ...]:
    return _sorted([*(each for each in desired if name(each) not in kept), *(o for o in observed if name(o) in kept)])


def _united(desired: tuple[T, ...], observed: tuple[T, ...], name: Callable[[T], Element]) -> tuple[T, ...]:
    return _sorted({**{name(each): each for each in observed}, **{name(each): each for each in desired}}.values())


def _there(desired: tuple[T, ...], observed: tuple[T, ...], name: Callable[[T], Element]) -> tuple[T, ...]:
    names = {name(each) for each in observed}
    return tuple(each for each in desired if name(each) in names)


def _sorted(parts: Iterable[T]) -> tuple[T, ...]:
    return tuple(sorted(parts))  # type: ignore[type-var]


def _some(lines: Sequence[str]) -> str:
    shown = lines[:MAX_LINES_TOLD]
    rest = f" and {len(lines) - len(shown)} more" if len(lines) > len(shown) else ""
    return "; ".join(shown) + rest
