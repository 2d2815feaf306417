"""What a switch carries, by element: whether it has all that a binding needs, and what a step is about.

An element is a part of a SwitchConfig that can be there or not: the underlay, a VRF, a segment, an attachment. A switch
that refuses one of them is asked for the others all the same; only what rests on the refused one has to wait.
"""

from collections.abc import Iterable, Mapping

import msgspec

from weft.fabric.config import Attachment, Segment, SwitchConfig, Vrf
from weft.fabric.plan import (
    AddAttachment,
    AddSegment,
    AddVrf,
    ChangeGatewayMac,
    ChangeSegment,
    ChangeUnderlay,
    ChangeVrf,
    RemoveAttachment,
    RemoveSegment,
    RemoveVrf,
    SetUnderlay,
    Step,
)
from weft.fabric.vlan_steps import RemoveVlanGateway, RemoveVlanPort, SetVlanBridge, SetVlanGateway, SetVlanPort

Element = tuple[str, str | int] | tuple[str, str, int]
"""``("vrf", name)``, ``("vni", vni)``, ``("interface", name, vlan)``, ``("switch", "underlay")``, ..."""

UNDERLAY: Element = ("switch", "underlay")
GATEWAY_MAC: Element = ("switch", "gateway mac")
BRIDGE: Element = ("switch", "bridge")


class Carriage(msgspec.Struct, frozen=True, kw_only=True):
    """What a leaf must have for the bindings of one network on one node."""

    attachments: tuple[Attachment, ...]
    segment: Segment
    vrf: Vrf | None

    def elements(self) -> list[Element]:
        """Return the elements, those that others rest on first."""
        vrf: list[Element] = [("vrf", self.vrf.name)] if self.vrf is not None else []
        attachments: list[Element] = [("interface", a.interface, a.vlan) for a in self.attachments]
        return [*vrf, ("vni", self.segment.vni), *attachments]

    def __str__(self) -> str:
        on = " ".join(dict.fromkeys(a.interface for a in self.attachments))
        tags = ", ".join(dict.fromkeys(f"vlan {a.vlan}" if a.vlan else "untagged" for a in self.attachments))
        routed = f", vrf {self.vrf.name}" if self.vrf is not None else ""
        gateways = "".join(f", gateway {gateway}" for gateway in self.segment.gateways)
        return f"{on} {tags}, vni {self.segment.vni}{routed}{gateways}"


def _without_leaks(part: object) -> object:
    """A binding rests on its VRF; what that hands over to others is not its concern."""
    return msgspec.structs.replace(part, leaks=(), peers=()) if isinstance(part, Vrf) else part


class VlanCarriage(msgspec.Struct, frozen=True, kw_only=True):
    """What a switch of a VLAN site must have for the bindings of one network on one node."""

    vlan: int
    interfaces: tuple[str, ...]
    untagged: bool = False

    def elements(self) -> list[Element]:
        """Return the elements, those that others rest on first."""
        return [BRIDGE, *(("port", interface) for interface in self.interfaces)]

    def __str__(self) -> str:
        return f"{' '.join(self.interfaces)} vlan {self.vlan}{' untagged' if self.untagged else ''}"


class Carried:
    """A SwitchConfig that was read from a switch, for look-ups."""

    def __init__(self, config: SwitchConfig) -> None:
        self.config = config
        self._parts: dict[Element, object] = {
            **{("vrf", vrf.name): vrf for vrf in config.vrfs},
            **{("vni", segment.vni): segment for segment in config.segments},
            **{("interface", each.interface, each.vlan): each for each in config.attachments},
        }

    def missing(self, carriage: Carriage | VlanCarriage) -> list[Element]:
        """Return the elements of a carriage that the switch has not, or has otherwise."""
        if isinstance(carriage, VlanCarriage):
            return self._missing_vlan(carriage)
        parts = [*([carriage.vrf] if carriage.vrf is not None else []), carriage.segment, *carriage.attachments]
        if self.config.underlay is None:
            return [UNDERLAY]
        return [
            element
            for element, part in zip(carriage.elements(), parts, strict=True)
            if _without_leaks(self._parts.get(element)) != part
        ]

    def _missing_vlan(self, carriage: VlanCarriage) -> list[Element]:
        if self.config.vlan is None:
            return [BRIDGE]
        ports = {port.interface: port for port in self.config.vlan.ports}
        return [
            ("port", interface)
            for interface in carriage.interfaces
            if interface not in ports or not ports[interface].carries(carriage.vlan, untagged=carriage.untagged)
        ]

    def absent(self, elements: Iterable[Element]) -> list[Element]:
        """Return the elements that the switch has in no form at all."""
        return [element for element in elements if element not in self._parts]

    def lost_since(self, before: "Carried", elements: Iterable[Element]) -> list[Element]:
        """Return the elements that were there before, and are not any more, or otherwise."""
        return [
            element
            for element in elements
            if element in before._parts and self._parts.get(element) != before._parts[element]
        ]


def element_of(step: Step) -> Element:
    """Return the element that a step is about."""
    match step:
        case SetUnderlay() | ChangeUnderlay():
            return UNDERLAY
        case AddVrf(vrf) | ChangeVrf(_, vrf) | RemoveVrf(vrf):
            return ("vrf", vrf.name)
        case AddSegment(segment) | ChangeSegment(_, segment) | RemoveSegment(segment):
            return ("vni", segment.vni)
        case AddAttachment(attached) | RemoveAttachment(attached):
            return ("interface", attached.interface, attached.vlan)
        case ChangeGatewayMac():
            return GATEWAY_MAC
    return _vlan_element_of(step)


def _vlan_element_of(step: Step) -> Element:
    match step:
        case SetVlanBridge():
            return BRIDGE
        case SetVlanPort(_, port) | RemoveVlanPort(port):
            return ("port", port.interface)
        case SetVlanGateway(_, gateway) | RemoveVlanGateway(gateway):
            return ("gateway", gateway.vlan)
    raise AssertionError(step)


def _ground(step: Step) -> Element | None:
    """Return the element that all else on a switch rests on; None for the step that makes it."""
    if isinstance(step, SetUnderlay | SetVlanBridge):
        return None
    vlan = SetVlanPort | RemoveVlanPort | SetVlanGateway | RemoveVlanGateway
    return BRIDGE if isinstance(step, vlan) else UNDERLAY


def _has(config: SwitchConfig, ground: Element) -> bool:
    return (config.vlan if ground == BRIDGE else config.underlay) is not None


def rests_on(step: Step, config: SwitchConfig) -> list[Element]:
    """Return the elements that must be there, or must be away, before a step can be made on what is there now."""
    if (needed := _ground(step)) is not None and not _has(config, needed):
        return [needed]
    match step:
        case AddSegment(segment) | ChangeSegment(_, segment):
            known = {vrf.name for vrf in config.vrfs}
            return [("vrf", segment.vrf)] if segment.vrf is not None and segment.vrf not in known else []
        case AddAttachment(new):
            vnis = {segment.vni for segment in config.segments}
            holders = [
                ("interface", old.interface, old.vlan)
                for old in config.attachments
                if old.vlan == new.vlan and old.vni != new.vni and (old.vlan or old.interface == new.interface)
            ]
            return [*([("vni", new.vni)] if new.vni not in vnis else []), *holders]
        case RemoveSegment(segment):
            return [("interface", a.interface, a.vlan) for a in config.attachments if a.vni == segment.vni]
        case RemoveVrf(vrf):
            return [("vni", segment.vni) for segment in config.segments if segment.vrf == vrf.name]
        case _:
            return []


def named(element: Element) -> str:
    """Return an element as people write it."""
    if len(element) == 3:
        return f"{element[1]} vlan {element[2]}" if element[2] else f"{element[1]} untagged"
    return str(element[1]) if element[0] == "switch" else f"{element[0]} {element[1]}"


def first_reason(elements: Iterable[Element], refused: Mapping[Element, str]) -> str | None:
    """Return why the first refused one of the elements was refused; None if none was."""
    for element in elements:
        if element in refused:
            return f"{named(element)}: {refused[element]}"
    return None
