"""A plan: the steps that take a switch from what it is to what it shall be, as a value that prints as a diff.

Steps are in the order in which they are to be made. Additions come first, by dependency: underlay, VRF, segment,
attachment; removals come last, in reverse. The exception is what changes hands: a VLAN or a gateway prefix that goes to
another segment is taken from the old one before the new one gets it. Every step can be made again without harm, so
a plan that broke off half-way is simply computed again from what is then observed.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from weft.fabric.config import Attachment, Segment, SwitchConfig, Underlay, Vrf
from weft.model.ids import SwitchName
from weft.model.intent import overlap

K = TypeVar("K")
V = TypeVar("V")


class Step(msgspec.Struct, frozen=True):
    """One thing to do on a switch. `op` and `noun` name it; `before` and `after` are the lines of its diff."""

    op: ClassVar[str]
    noun: ClassVar[str]

    def before(self) -> list[str]:
        """Return what goes away, a line per thing."""
        return []

    def after(self) -> list[str]:
        """Return what comes, a line per thing."""
        return []

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return what a switch is after this step. Made again, a step changes nothing more."""
        raise NotImplementedError


class SetUnderlay(Step, frozen=True):
    """Configure routing on a switch that has none."""

    op = "add"
    noun = "underlay"
    underlay: Underlay

    def after(self) -> list[str]:
        """Return the underlay's lines."""
        return _underlay_lines(self.underlay)

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the underlay."""
        return replace(config, underlay=self.underlay)


class ChangeUnderlay(Step, frozen=True):
    """Take routing from `old` to `new`, touching only what differs: sessions that stay must not flap."""

    op = "change"
    noun = "underlay"
    old: Underlay
    new: Underlay

    def before(self) -> list[str]:
        """Return the lines that only the old underlay has."""
        return [line for line in _underlay_lines(self.old) if line not in _underlay_lines(self.new)]

    def after(self) -> list[str]:
        """Return the lines that only the new underlay has."""
        return [line for line in _underlay_lines(self.new) if line not in _underlay_lines(self.old)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the new underlay."""
        return replace(config, underlay=self.new)


class ChangeGatewayMac(Step, frozen=True):
    """Give the anycast gateways another MAC address: those that are there, and those that the plan will add."""

    op = "change"
    noun = "gateway_mac"
    old: str
    new: str

    def before(self) -> list[str]:
        """Return the old MAC address."""
        return [f"gateway mac {self.old}"]

    def after(self) -> list[str]:
        """Return the new MAC address."""
        return [f"gateway mac {self.new}"]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the new MAC address."""
        return replace(config, gateway_mac=self.new)


class AddVrf(Step, frozen=True):
    """Make a VRF with its L3VNI."""

    op = "add"
    noun = "vrf"
    vrf: Vrf

    def after(self) -> list[str]:
        """Return the VRF's lines."""
        return _vrf_lines(self.vrf)

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the VRF."""
        return _with_vrf(config, self.vrf)


class ChangeVrf(Step, frozen=True):
    """Give a VRF another L3VNI, or change what it hands over to others; the name is the same."""

    op = "change"
    noun = "vrf"
    old: Vrf
    new: Vrf

    def before(self) -> list[str]:
        """Return the lines that only the old VRF has."""
        return [line for line in _vrf_lines(self.old) if line not in _vrf_lines(self.new)]

    def after(self) -> list[str]:
        """Return the lines that only the new VRF has."""
        return [line for line in _vrf_lines(self.new) if line not in _vrf_lines(self.old)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the new VRF."""
        return _with_vrf(config, self.new)


class RemoveVrf(Step, frozen=True):
    """Take a VRF away; its segments are gone or in another VRF by then."""

    op = "remove"
    noun = "vrf"
    vrf: Vrf

    def before(self) -> list[str]:
        """Return the VRF's lines."""
        return _vrf_lines(self.vrf)

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration without the VRF."""
        return replace(config, vrfs=tuple(vrf for vrf in config.vrfs if vrf.name != self.vrf.name))


class AddSegment(Step, frozen=True):
    """Make an L2VNI, with its gateways; its VRF exists by then."""

    op = "add"
    noun = "segment"
    segment: Segment

    def after(self) -> list[str]:
        """Return the segment's line."""
        return [_segment_line(self.segment)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the segment."""
        return _with_segment(config, self.segment)


class ChangeSegment(Step, frozen=True):
    """Change VRF, gateways or MTU of an L2VNI without taking it down; the VNI is the same."""

    op = "change"
    noun = "segment"
    old: Segment
    new: Segment

    def before(self) -> list[str]:
        """Return the old segment's line."""
        return [_segment_line(self.old)]

    def after(self) -> list[str]:
        """Return the new segment's line."""
        return [_segment_line(self.new)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the new segment."""
        return _with_segment(config, self.new)


class RemoveSegment(Step, frozen=True):
    """Take an L2VNI and its gateways away; its attachments are gone by then."""

    op = "remove"
    noun = "segment"
    segment: Segment

    def before(self) -> list[str]:
        """Return the segment's line."""
        return [_segment_line(self.segment)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration without the segment."""
        return replace(config, segments=tuple(s for s in config.segments if s.vni != self.segment.vni))


class AddAttachment(Step, frozen=True):
    """Put frames with a VLAN on an interface into a segment; the segment exists by then."""

    op = "add"
    noun = "attachment"
    attachment: Attachment

    def after(self) -> list[str]:
        """Return the attachment's line."""
        return [_attachment_line(self.attachment)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the attachment."""
        return replace(config, attachments=tuple(sorted({*config.attachments, self.attachment})))


class RemoveAttachment(Step, frozen=True):
    """Stop taking frames with a VLAN from an interface."""

    op = "remove"
    noun = "attachment"
    attachment: Attachment

    def before(self) -> list[str]:
        """Return the attachment's line."""
        return [_attachment_line(self.attachment)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration without the attachment."""
        return replace(config, attachments=tuple(a for a in config.attachments if a != self.attachment))


Reasons = Callable[[Step], str]
"""Tells which port or router needs what a step adds; empty if nothing is to be said (a removal, for instance)."""


def no_reasons(_step: Step) -> str:
    """Give no reason for any step."""
    return ""


class SwitchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done on one switch, in order; false when there is nothing to do. Prints as a diff."""

    switch: SwitchName
    steps: tuple[Step, ...] = ()
    reasons: tuple[str, ...] = ()
    """One per step; empty where there is none."""

    def __bool__(self) -> bool:
        return bool(self.steps)

    def lines(self) -> list[str]:
        """Return the diff: a line ``- ...`` or ``+ ...`` per thing, with the reason behind it."""
        rows = [
            (f"{sign} {line}", reason)
            for step, reason in zip(self.steps, self.reasons, strict=True)
            for sign, lines in (("-", step.before()), ("+", step.after()))
            for line in lines
        ]
        width = max((len(line) for line, reason in rows if reason), default=0)
        return [f"{line:<{width}}  ({reason})" if reason else line for line, reason in rows]

    def __str__(self) -> str:
        if not self.steps:
            return f"switch {self.switch}: nothing to do"
        return "\n".join([f"switch {self.switch}:", *(f"  {line}" for line in self.lines())])


def plan(observed: SwitchConfig, desired: SwitchConfig, reasons: Reasons = no_reasons) -> SwitchPlan:
    """Return the steps from `observed` to `desired`, which are of one switch; none if they are equal."""
    assert observed.name == desired.name, (observed.name, desired.name)
    steps = tuple(_steps(observed, desired))
    return SwitchPlan(switch=desired.name, steps=steps, reasons=tuple(reasons(step) for step in steps))


def _steps(observed: SwitchConfig, desired: SwitchConfig) -> Iterator[Step]:
    if desired.underlay is not None and observed.underlay is None:
        yield SetUnderlay(desired.underlay)
    elif desired.underlay is not None and observed.underlay is not None and observed.underlay != desired.underlay:
        yield ChangeUnderlay(observed.underlay, desired.underlay)

    vrfs = _Difference({vrf.name: vrf for vrf in observed.vrfs}, {vrf.name: vrf for vrf in desired.vrfs})
    segments = _Difference({s.vni: s for s in observed.segments}, {s.vni: s for s in desired.segments})
    lost = sorted(set(observed.attachments) - set(desired.attachments))
    won = sorted(set(desired.attachments) - set(observed.attachments))

    yield from (AddVrf(vrf) for vrf in vrfs.added)
    yield from (ChangeVrf(old, new) for old, new in vrfs.changed)

    # What changes hands has to be free before its new owner takes it.
    early_segments = _yielding_segments(segments)
    early_vnis = {segment.vni for segment in early_segments}
    early = [attachment for attachment in lost if attachment.vni in early_vnis or _yields(attachment, won)]
    yield from (RemoveAttachment(attachment) for attachment in early)
    yield from (RemoveSegment(segment) for segment in early_segments)

    # The MAC address is the gateways'; a switch without any says nothing by it.
    gateways = desired.vlan.gateways if desired.vlan is not None else ()
    if observed.gateway_mac != desired.gateway_mac and (gateways or any(s.gateways for s in desired.segments)):
        yield ChangeGatewayMac(observed.gateway_mac, desired.gateway_mac)
    yield from (AddSegment(segment) for segment in segments.added)
    yield from (ChangeSegment(old, new) for old, new in segments.changed)
    yield from (AddAttachment(attachment) for attachment in won)

    yield from (RemoveAttachment(attachment) for attachment in lost if attachment not in early)
    yield from (RemoveSegment(segment) for segment in segments.removed if segment.vni not in early_vnis)
    yield from (RemoveVrf(vrf) for vrf in vrfs.removed)
    if desired.vlan is not None and observed.vlan != desired.vlan:
        from weft.fabric.vlan_steps import vlan_steps  # noqa: PLC0415 - its steps are of this module's kind

        yield from vlan_steps(observed.vlan, desired.vlan)


def _with_vrf(config: SwitchConfig, vrf: Vrf) -> SwitchConfig:
    others = [other for other in config.vrfs if other.name != vrf.name]
    return replace(config, vrfs=tuple(sorted([*others, vrf])))


def _with_segment(config: SwitchConfig, segment: Segment) -> SwitchConfig:
    others = [other for other in config.segments if other.vni != segment.vni]
    return replace(config, segments=tuple(sorted([*others, segment])))


class _Difference(Generic[V]):
    """Two tables by key, compared."""

    def __init__(self, old: Mapping[K, V], new: Mapping[K, V]) -> None:
        self.added = [value for key, value in new.items() if key not in old]
        self.changed = [(old[key], value) for key, value in new.items() if key in old and old[key] != value]
        self.removed = [value for key, value in reversed([*old.items()]) if key not in new]


def _yielding_segments(segments: _Difference[Segment]) -> list[Segment]:
    """Return the segments to be removed whose gateway prefix another segment of the same VRF is about to get."""
    takers = [*segments.added, *(new for _, new in segments.changed)]
    return [gone for gone in segments.removed if any(_same_prefix(gone, taker) for taker in takers)]


def _same_prefix(a: Segment, b: Segment) -> bool:
    if a.vrf != b.vrf:
        return False
    return any(overlap(one.network, other.network) for one in a.gateways for other in b.gateways)


def _yields(lost: Attachment, won: list[Attachment]) -> bool:
    """Tell whether a VLAN changes hands. A switch may map a VLAN to one segment for all its interfaces at once, so
    the VLAN has to be free on all of them; untagged frames (VLAN 0) are each interface's own."""
    return any(
        lost.vlan == new.vlan and lost.vni != new.vni and (lost.vlan != 0 or lost.interface == new.interface)
        for new in won
    )


def _underlay_lines(underlay: Underlay) -> list[str]:
    """Return an underlay as a diff writes it, a line per thing."""
    lines = [f"underlay asn {underlay.asn} loopback {underlay.loopback} mtu {underlay.mtu_bytes}"]
    lines += [
        f"link {link.interface} {link.address} to {link.peer} {link.peer_address} asn {link.peer_asn}"
        for link in underlay.links
    ]
    if underlay.management is not None:
        lines.append(f"management {underlay.management.gateway} on {' '.join(underlay.management.interfaces)}")
    return lines


def _vrf_lines(vrf: Vrf) -> list[str]:
    """Return a VRF as a diff writes it, a line per thing."""
    return [
        f"vrf {vrf.name} l3vni {vrf.l3vni}",
        *(f"vrf {vrf.name} to l3vni {leak.l3vni}: {prefix}" for leak in vrf.leaks for prefix in leak.prefixes),
        *(f"vrf {vrf.name} peer {peer.name} {peer.address} asn {peer.asn}" for peer in vrf.peers),
    ]


def _segment_line(segment: Segment) -> str:
    gateways = "".join(f" gateway {gateway}" for gateway in segment.gateways)
    vrf = f" vrf {segment.vrf}" if segment.vrf else ""
    return f"vni {segment.vni}{gateways}{vrf} mtu {segment.mtu_bytes}"


def _attachment_line(attachment: Attachment) -> str:
    vlan = f"vlan {attachment.vlan}" if attachment.vlan else "untagged"
    return f"{attachment.interface} {vlan} vni {attachment.vni}"


def encode(switch_plan: SwitchPlan) -> dict[str, Any]:
    """Return the wire form for GET /v1/fabric/plan: one entry per step, and the whole as text."""
    steps = [
        {"op": step.op, "noun": step.noun, "before": step.before(), "after": step.after(), "reason": reason}
        for step, reason in zip(switch_plan.steps, switch_plan.reasons, strict=True)
    ]
    return {"switch": switch_plan.switch, "steps": steps, "text": str(switch_plan)}
