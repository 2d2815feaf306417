"""What goes down with a switch or a cable: the blast radius, computed from the inventory, for both topologies.

Spine-leaf: two leaves reach each other over any spine that both have a cable to (a path never goes down and up again:
RFC 7938, section 5.2.1), and route at the leaf. A three-layer VLAN part: any way through its switches that RSTP could
open; packets between networks go over the first core, which alone has the gateways. The two parts of a site reach each
other over the join. Counted in pairs of nodes; nodes that hang on the same switches are one group.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import combinations_with_replacement

import msgspec

from weft.fabric.reachability import Islands
from weft.fabric.topology import Topology
from weft.model.ids import SiteName, SwitchName
from weft.model.inventory import VLAN_ROLES, Link, SwitchRole

MAX_LOOKED_AT = 8
"""Of one role, unless every one is asked for: they are alike, but for the first core."""

Group = frozenset[SwitchName]
"""Switches that a node hangs on."""
Paths = Mapping[tuple[Group, Group], tuple[bool, bool, int]]
"""Of two groups: whether frames pass between them, whether packets do, and over how many equal paths."""


class Kind(StrEnum):
    """What fails."""

    SWITCH = "switch"
    LINK = "link"


class Radius(msgspec.Struct, frozen=True, kw_only=True):
    """What goes down with one switch or cable of a site."""

    site: SiteName
    kind: Kind
    what: str
    role: str
    """Of the switch; or of both ends of the cable, as in ``leaf-spine``."""
    alike: int
    """How many of the same role there are. This one takes down most."""
    nodes: int
    """Nodes that reach no other any more."""
    bridged: int
    """Pairs of nodes that do not reach each other any more, within a network."""
    routed: int
    """Pairs that do not, from one network to another."""
    pairs: int
    """Pairs that reach each other within a network while nothing is down."""
    paths: int
    """Equal paths between the two groups of nodes that it hits worst and that still reach each other..."""
    paths_before: int
    """...and what they have while nothing is down."""


def radii(topology: Topology, *, every: bool = False) -> list[Radius]:
    """Return what each switch and cable takes down: the worst of each role, or `every` one; the worst first."""
    found = [radius for site in topology.sites for radius in _Site(topology, site).radii(every=every)]
    return sorted(found, key=lambda each: (each.site, -each.routed, -each.bridged, each.kind, each.what))


def expected(topology: Topology, site: SiteName, down: str) -> dict[tuple[str, str], tuple[bool, bool]]:
    """Return for each two nodes of a site whether frames, and whether packets, pass between them without a switch, or
    a cable between two, named as `radii` names it."""
    view = _Site(topology, site)
    cut = view.places(down)
    paths = view.paths(frozenset() if cut else frozenset({SwitchName(down)}), cut)
    nodes = {node: group for group, names in view.groups.items() for node in names}
    return {
        (one, other): paths[_ordered(nodes[one], nodes[other])][:2] for one in nodes for other in nodes if one < other
    }


class _Site:
    """A site's switches, cables, and groups of nodes."""

    def __init__(self, topology: Topology, site: SiteName) -> None:
        self._site = site
        self._roles = {name: each.role for name, each in topology.switches.items() if each.site == site}
        self._cables = [
            link for link in topology.inventory.links if {link.a.device, link.b.device} & {str(n) for n in self._roles}
        ]
        self._between = [link for link in self._cables if self._is_between(link)]
        groups: dict[Group, list[str]] = defaultdict(list)
        for name, node in topology.nodes.items():
            if node.site == site and (leaves := topology.leaves_of(name)):
                groups[frozenset(leaves)].append(str(name))
        self.groups: Mapping[Group, Sequence[str]] = groups
        self._gateway = next(iter(topology.vlan.cores(site)), None)
        join = topology.vlan.join(site)
        self._join = (join.core, join.border) if join is not None else None

    def radii(self, *, every: bool) -> Iterator[Radius]:
        """Yield the worst of each role, or every one."""
        if not self.groups:
            return
        whole = self.paths(frozenset(), frozenset())
        for (kind, role), members in sorted(self._by_role().items()):
            looked_at = members if every else members[:MAX_LOOKED_AT]
            told = [self._radius(whole, kind, role, member, len(members)) for member in looked_at]
            yield from told if every else [max(told, key=lambda each: (each.routed, each.bridged, each.nodes))]

    def paths(self, dead: frozenset[SwitchName], cut: frozenset[int]) -> Paths:
        """Return what is left between each two groups without switches and cables (by their place)."""
        spines: dict[SwitchName, Counter[SwitchName]] = defaultdict(Counter)
        bridged = Islands()
        joined = False
        for place, link in enumerate(self._between):
            one, other = SwitchName(link.a.device), SwitchName(link.b.device)
            if place in cut or dead & {one, other}:
                continue
            if self._roles[one] is SwitchRole.SPINE or self._roles[other] is SwitchRole.SPINE:
                spine, leaf = (one, other) if self._roles[one] is SwitchRole.SPINE else (other, one)
                spines[leaf][spine] += 1
            elif self._roles[one] in VLAN_ROLES and self._roles[other] in VLAN_ROLES:
                bridged.join(one, other)
            elif self._join is not None and {one, other} == set(self._join):
                joined = True
        view = _Left(self._roles, dead, spines, bridged, self._join if joined else None, self._gateway)
        return {pair: view.between(*pair) for pair in combinations_with_replacement(sorted(self.groups, key=sorted), 2)}

    def places(self, cable: str) -> frozenset[int]:
        """Return where a cable between switches stands, by its name; nowhere if there is none of that name."""
        return frozenset(place for place in range(len(self._between)) if self._named(place) == cable)

    def _is_between(self, link: Link) -> bool:
        return link.a.device in self._roles and link.b.device in self._roles

    def _by_role(self) -> dict[tuple[Kind, str], list[SwitchName | int]]:
        found: dict[tuple[Kind, str], list[SwitchName | int]] = defaultdict(list)
        for name, role in self._roles.items():
            found[Kind.SWITCH, role.value].append(name)
        for place, link in enumerate(self._between):
            ends = sorted(self._roles[SwitchName(end.device)].value for end in (link.a, link.b))
            found[Kind.LINK, "-".join(ends)].append(place)
        return found

    def _radius(self, whole: Paths, kind: Kind, role: str, member: SwitchName | int, alike: int) -> Radius:
        dead = frozenset({SwitchName(member)}) if isinstance(member, str) else frozenset()
        cut = frozenset({member}) if isinstance(member, int) else frozenset()
        left = self.paths(dead, cut)
        counted: Counter[str] = Counter()
        reached: set[Group] = set()
        worst = (1, 1)
        for pair, (bridges, routes, paths) in whole.items():
            pairs = self._pairs(*pair)
            counted["pairs"] += pairs if bridges else 0
            still_bridges, still_routes, still_paths = left[pair]
            counted["bridged"] += pairs if bridges and not still_bridges else 0
            counted["routed"] += pairs if routes and not still_routes else 0
            if still_bridges:
                reached |= set(pair) if pair[0] != pair[1] or pairs else set()
                if pair[0] != pair[1] and still_paths * worst[1] < worst[0] * paths:
                    worst = (still_paths, paths)
        return Radius(
            site=self._site,
            kind=kind,
            what=str(member) if isinstance(member, str) else self._named(member),
            role=role,
            alike=alike,
            nodes=sum(len(names) for group, names in self.groups.items() if group not in reached),
            bridged=counted["bridged"],
            routed=counted["routed"],
            pairs=counted["pairs"],
            paths=worst[0],
            paths_before=worst[1],
        )

    def _pairs(self, one: Group, other: Group) -> int:
        count = len(self.groups[one])
        return count * (count - 1) // 2 if one == other else count * len(self.groups[other])

    def _named(self, place: int) -> str:
        link = self._between[place]
        return f"{link.a.device}:{link.a.interface} - {link.b.device}:{link.b.interface}"


class _Left:
    """What is left of a site: which groups still reach each other."""

    def __init__(  # noqa: PLR0917 - it is made in one place
        self,
        roles: Mapping[SwitchName, SwitchRole],
        dead: frozenset[SwitchName],
        spines: Mapping[SwitchName, Counter[SwitchName]],
        bridged: Islands,
        join: tuple[SwitchName, SwitchName] | None,
        gateway: SwitchName | None,
    ) -> None:
        self._roles = roles
        self._dead = dead
        self._spines = spines
        self._bridged = bridged
        self._join = join
        self._gateway = gateway

    def between(self, one: Group, other: Group) -> tuple[bool, bool, int]:
        """Return whether frames pass between two groups, whether packets do, and over how many equal paths."""
        alive = [(a, b) for a in one - self._dead for b in other - self._dead]
        found = [(a, b, self._paths(a, b)) for a, b in alive]
        paths = sum(count for *_, count in found)
        routed = any(count and self._routes(a, b) for a, b, count in found)
        return paths > 0, routed, paths

    def _paths(self, one: SwitchName, other: SwitchName) -> int:
        if one == other:
            return 1
        vlan = (self._roles[one] in VLAN_ROLES, self._roles[other] in VLAN_ROLES)
        if vlan == (True, True):
            return int(self._bridged.of(one) == self._bridged.of(other))
        if vlan == (False, False):
            return self._over_spines(one, other)
        tor, leaf = (one, other) if vlan[0] else (other, one)
        return int(
            self._join is not None
            and self._bridged.of(tor) == self._bridged.of(self._join[0])
            and (self._join[1] == leaf or self._over_spines(self._join[1], leaf) > 0)
        )

    def _over_spines(self, one: SwitchName, other: SwitchName) -> int:
        mine, theirs = self._spines.get(one, Counter()), self._spines.get(other, Counter())
        return sum(min(count, theirs[spine]) for spine, count in mine.items() if spine in theirs)

    def _routes(self, one: SwitchName, other: SwitchName) -> bool:
        """Tell whether packets between networks pass where frames do."""
        if self._roles[one] not in VLAN_ROLES or self._roles[other] not in VLAN_ROLES:
            return True
        gateway = self._gateway
        return gateway is not None and gateway not in self._dead and self._bridged.of(one) == self._bridged.of(gateway)


def _ordered(one: Group, other: Group) -> tuple[Group, Group]:
    return (one, other) if sorted(one) <= sorted(other) else (other, one)
