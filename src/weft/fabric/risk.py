"""What a change of several switches puts at risk, and whether that is within bounds.

Looked at before any switch is touched, on the configurations before and after alone: sessions that are cut, switches
that nobody reaches any more, roles of which too many members are cut at once, tables that overflow, tenants that reach
each other or lose each other. What refuses a change can be overridden by a human, who then is on record.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec

from weft.fabric.config import FabricLink, SwitchConfig, Underlay
from weft.fabric.limits import exceeded
from weft.fabric.reachability import check_change, neighbours, underlay_islands
from weft.fabric.topology import Topology
from weft.model.ids import SwitchName
from weft.model.inventory import SwitchRole

Configs = Mapping[SwitchName, SwitchConfig]
PortsOn = Callable[[SwitchName], int]
"""Tells how many ports are bound on the nodes of a switch."""

ISLAND_NAMED = 4
"""A finding names at most this many switches."""


class RiskLevel(StrEnum):
    """What a change of one switch does to traffic at worst."""

    NONE = "none"
    ADDITIVE = "additive"
    """Something comes; nothing that carries traffic is touched."""
    DISRUPTIVE = "disruptive"
    """Sessions or links that carry traffic go, or are set up anew."""


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of one switch can touch."""

    switch: SwitchName
    level: RiskLevel
    ports: int = 0
    """Ports whose traffic can be touched."""
    text: str = ""


class Bound(StrEnum):
    """A bound that a change goes beyond."""

    SHARE = "share-of-role"
    CARRIES = "carries-ports"
    ISOLATED = "isolated"
    LIMIT = "hardware-limit"
    REACHABILITY = "reachability"


class Finding(msgspec.Struct, frozen=True, order=True):
    """A bound that a change goes beyond, and how. It refuses the change, unless somebody overrides it."""

    bound: Bound
    text: str


def risk(before: SwitchConfig, after: SwitchConfig, ports_on: PortsOn, leaves: Iterable[SwitchName] = ()) -> Risk:
    """Return what the change of one switch can touch; `leaves` are those whose traffic passes through it."""
    switch = after.name
    cut = _cut(before.underlay, after.underlay)
    moved = before.underlay is not None and before.gateway_mac != after.gateway_mac
    if cut or moved:
        names = ", ".join(dict.fromkeys(link.peer for link in cut))
        what = f"cuts the sessions with {names}" if cut else "changes the gateways' MAC address"
        ports = sum(ports_on(leaf) for leaf in {switch, *leaves})
        return Risk(switch=switch, level=RiskLevel.DISRUPTIVE, ports=ports, text=f"{what}: {_ports(ports)}")
    lost = set(before.attachments) - set(after.attachments)
    if lost:
        text = f"{len(lost)} attachments go, which no port needs"
        return Risk(switch=switch, level=RiskLevel.ADDITIVE, text=text)
    level = RiskLevel.NONE if before == after else RiskLevel.ADDITIVE
    return Risk(switch=switch, level=level, text="" if level is RiskLevel.NONE else "nothing that is there is touched")


def findings(topology: Topology, before: Configs, after: Configs, ports_on: PortsOn) -> list[Finding]:
    """Return every bound that a change goes beyond. `before` and `after` hold all switches, changed or not."""
    return sorted(
        [
            *_shares(topology, before, after),
            *_isolated(before, after, ports_on),
            *_carrying(topology, before, after, ports_on),
            *(Finding(Bound.LIMIT, str(over)) for over in exceeded(topology, _changed(before, after))),
            *(Finding(Bound.REACHABILITY, str(loss)) for loss in check_change(before, after)),
        ]
    )


def _changed(before: Configs, after: Configs) -> list[SwitchConfig]:
    return [config for name, config in after.items() if before.get(name) != config]


def _cut(before: Underlay | None, after: Underlay | None) -> list[FabricLink]:
    """Return the links whose sessions do not survive."""
    if before is None:
        return []
    if after is None or (before.asn, before.loopback) != (after.asn, after.loopback):
        return list(before.links)
    return [link for link in before.links if link not in after.links]


def _shares(topology: Topology, before: Configs, after: Configs) -> Iterator[Finding]:
    """Yield the roles of a site of which more switches are cut than may be at once."""
    members: dict[tuple[str, SwitchRole], list[SwitchName]] = defaultdict(list)
    for switch in topology.switches.values():
        members[switch.site, switch.role].append(switch.name)
    for (site, role), names in members.items():
        cut = [n for n in names if n in before and n in after and _cut(before[n].underlay, after[n].underlay)]
        share = topology.safety(names[0]).max_share
        if len(cut) > 1 and len(cut) * 100 > share * len(names):
            text = f"{len(cut)} of the {len(names)} switches with role {role.value} in site {site} have sessions cut"
            yield Finding(Bound.SHARE, f"{text} ({_named(cut)}); at most {share} per cent may")


def _isolated(before: Configs, after: Configs, ports_on: PortsOn) -> Iterator[Finding]:
    """Yield the switches that reached most others before, and do not after."""
    was, is_ = _mainland(before), _mainland(after)
    for name in sorted(was & after.keys() - is_):
        yield Finding(Bound.ISOLATED, f"switch {name} would reach no other switch: {_ports(ports_on(name))}")


def _mainland(configs: Configs) -> set[SwitchName]:
    """Return the largest set of switches that reach each other."""
    peers, islands = neighbours(configs), underlay_islands(configs)
    members: dict[object, set[SwitchName]] = defaultdict(set)
    for name in peers:
        members[islands.of(name)].add(name)
    return max(members.values(), key=len, default=set())


def _carrying(topology: Topology, before: Configs, after: Configs, ports_on: PortsOn) -> Iterator[Finding]:
    """Yield the leaves that lose their foundation, or are given up by all others, while ports are on them."""
    for name, config in before.items():
        gone = name not in topology.switches or name not in after
        if gone and config.underlay is not None and (ports := ports_on(name)):
            yield Finding(Bound.CARRIES, f"switch {name} would be given up, and {_ports(ports)}")


def _ports(count: int) -> str:
    return {0: "no port is touched", 1: "1 port is touched"}.get(count, f"{count} ports are touched")


def _named(names: list[SwitchName]) -> str:
    rest = f" and {len(names) - ISLAND_NAMED} more" if len(names) > ISLAND_NAMED else ""
    return ", ".join(names[:ISLAND_NAMED]) + rest
