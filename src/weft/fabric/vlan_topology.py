"""The three-layer VLAN part of an inventory: top-of-rack pairs, aggregation, core, and the join with spine-leaf.

Immutable; every answer is a look-up. A site may have a VLAN part, a spine-leaf part, or both: then one link between
a core and a border leaf, the join, carries networks that are in both.
"""

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from weft.model.ids import SiteName, SwitchName
from weft.model.inventory import VLAN_ROLES, Inventory, LinkEnd, Switch, SwitchRole

RANKS: Mapping[SwitchRole, int] = {SwitchRole.TOR: 0, SwitchRole.AGGREGATION: 1, SwitchRole.CORE: 2}


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """The cable between a core and a border leaf of a site."""

    core: SwitchName
    core_interface: str
    border: SwitchName
    border_interface: str


class VlanTopology:
    """Asking about a site or switch without VLAN switches gives nothing. Answers are sorted."""

    def __init__(self, inventory: Inventory) -> None:
        self._roles = {switch.name: switch for switch in inventory.switches}
        tors: dict[SiteName, list[SwitchName]] = defaultdict(list)
        upper: dict[SiteName, list[Switch]] = defaultdict(list)
        for switch in inventory.switches:
            if switch.role is SwitchRole.TOR:
                tors[switch.site].append(switch.name)
            elif switch.role in VLAN_ROLES:
                upper[switch.site].append(switch)
        self._tors = {site: tuple(sorted(names)) for site, names in tors.items()}
        self._upper = {site: tuple(sorted(each.name for each in found)) for site, found in upper.items()}
        self._cores = {
            site: tuple(sorted(each.name for each in found if each.role is SwitchRole.CORE))
            for site, found in upper.items()
        }
        self._joins = {self._roles[join.core].site: join for join in joins(inventory)}
        self._peers: dict[SwitchName, set[SwitchName]] = defaultdict(set)
        for link in inventory.links:
            a, b = (self._roles.get(SwitchName(end.device)) for end in (link.a, link.b))
            if a is not None and b is not None and a.role is b.role is SwitchRole.TOR:
                self._peers[a.name].add(b.name)
                self._peers[b.name].add(a.name)
        self._touched_by = {tor: self._carrying(site, tor) for site, names in self._tors.items() for tor in names}

    def _carrying(self, site: SiteName, tor: SwitchName) -> tuple[SwitchName, ...]:
        join = self._joins.get(site)
        border = () if join is None else (join.border,)
        return (*self.tors_of(tor), *self._upper.get(site, ()), *border)

    def has(self, switch: SwitchName) -> bool:
        """Tell whether a switch belongs to a VLAN part."""
        found = self._roles.get(switch)
        return found is not None and found.role in VLAN_ROLES

    def tors_of(self, switch: SwitchName) -> tuple[SwitchName, ...]:
        """Return the top-of-rack switches whose VLANs a switch carries between switches: its own pair's on one of
        them, all of the site's on aggregation and core."""
        found = self._roles.get(switch)
        if found is None or found.role not in VLAN_ROLES:
            return ()
        if found.role is SwitchRole.TOR:
            return tuple(sorted({switch, *self._peers.get(switch, ())}))
        return self._tors.get(found.site, ())

    def touched_by(self, switch: SwitchName) -> tuple[SwitchName, ...]:
        """Return the switches that carry what a top-of-rack switch carries, a joined border leaf included; none for a
        switch that is no top-of-rack switch."""
        return self._touched_by.get(switch, ())

    def cores(self, site: SiteName) -> tuple[SwitchName, ...]:
        """Return a site's core switches."""
        return self._cores.get(site, ())

    def join(self, site: SiteName) -> Join | None:
        """Return where a site's VLAN part joins its spine-leaf part."""
        return self._joins.get(site)

    def tors_joined_to(self, border: SwitchName) -> tuple[SwitchName, ...]:
        """Return the top-of-rack switches that a border leaf is joined to."""
        found = self._roles.get(border)
        join = self._joins.get(found.site) if found is not None else None
        return (
            self._tors.get(found.site, ()) if found is not None and join is not None and join.border == border else ()
        )


def joins(inventory: Inventory) -> list[Join]:
    """Return every cable between a core and a border leaf of one site."""
    switches = {str(switch.name): switch for switch in inventory.switches}
    found = []
    for link in inventory.links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            core, border = switches.get(near.device), switches.get(far.device)
            if core is None or border is None or core.site != border.site:
                continue
            if core.role is SwitchRole.CORE and border.role is SwitchRole.BORDER:
                found.append(_join(near, far))
    return sorted(found, key=lambda join: (join.core, join.core_interface))


def _join(core: LinkEnd, border: LinkEnd) -> Join:
    return Join(
        core=SwitchName(core.device),
        core_interface=core.interface,
        border=SwitchName(border.device),
        border_interface=border.interface,
    )


def management_switches(inventory: Inventory) -> dict[SiteName, SwitchName]:
    """Return, per site with a VLAN part, the switch that has the gateway of its nodes' in-band management: the border
    leaf that it is joined to, else its first core."""
    cores: dict[SiteName, SwitchName] = {}
    for switch in sorted(inventory.switches, key=lambda each: each.name):
        if switch.role is SwitchRole.CORE:
            cores.setdefault(switch.site, switch.name)
    borders = {switch.name: switch.site for switch in inventory.switches if switch.role is SwitchRole.BORDER}
    return cores | {borders[join.border]: join.border for join in joins(inventory)}
