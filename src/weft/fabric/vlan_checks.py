"""What is wrong with the three-layer VLAN part of an inventory: each problem as where it is, and what it is.

Called by weft.fabric.checks, which also looks at names, ends of links and addresses of all switches alike.
"""

from collections import defaultdict
from collections.abc import Iterator

from weft.fabric.vlan_topology import joins
from weft.model.inventory import VLAN_ROLES, Dataplane, FabricPools, Inventory, Node, Switch, SwitchRole

Finding = tuple[str, str]
"""Where, and what is wrong there with the values."""

MAX_VLAN = 4094
_CORE, _BORDER, _TOR = SwitchRole.CORE, SwitchRole.BORDER, SwitchRole.TOR


def vlan_problems(inventory: Inventory) -> Iterator[Finding]:
    """Yield all problems of the VLAN parts of an inventory, however broken the rest of it is."""
    yield from _pools(inventory)
    yield from _links(inventory)
    yield from _nodes(inventory)
    yield from _paths(inventory)
    yield from _joins(inventory)


def _pools(inventory: Inventory) -> Iterator[Finding]:
    for site in inventory.sites:
        if site.fabric is None:
            continue
        roles = {switch.role for switch in inventory.switches if switch.site == site.name}
        vlans = site.fabric.provider_vlans
        if vlans is None:
            if roles & VLAN_ROLES:
                yield (
                    f"site {site.name}",
                    "has VLAN switches and no provider_vlans; say which VLANs its networks may have",
                )
            continue
        if vlans.first < 2 or vlans.last > MAX_VLAN:
            yield f"site {site.name}", f"provider_vlans {vlans} reaches outside 2-{MAX_VLAN} (1 is management)"
        if roles & {SwitchRole.LEAF, _BORDER} and _overlap(site.fabric):
            message = f"provider_vlans {vlans} and vlans {site.fabric.vlans} overlap; a border leaf has both"
            yield f"site {site.name}", message


def _overlap(pools: FabricPools) -> bool:
    vlans = pools.provider_vlans
    return vlans is not None and vlans.first <= pools.vlans.last and pools.vlans.first <= vlans.last


def _links(inventory: Inventory) -> Iterator[Finding]:
    devices = _devices(inventory)
    for link in inventory.links:
        a, b = devices.get(link.a.device), devices.get(link.b.device)
        if a is None or b is None or a is b:
            continue
        where = f"link {link.a} - {link.b}"
        if isinstance(a, Node):
            a, b = b, a
        if isinstance(a, Switch) and isinstance(b, Node):
            if a.role in VLAN_ROLES and a.role is not _TOR:
                yield where, f"hangs node '{b.name}' on the {a.role} switch '{a.name}'; a node hangs on a tor"
            elif a.role is _TOR and a.site != b.site:
                yield where, f"joins site '{a.site}' ('{a.name}') and site '{b.site}' ('{b.name}')"
        elif isinstance(a, Switch) and isinstance(b, Switch):
            yield from _between_switches(where, a, b)


def _between_switches(where: str, a: Switch, b: Switch) -> Iterator[Finding]:
    roles = {a.role, b.role}
    if not roles & VLAN_ROLES:
        return
    if a.site != b.site:
        yield where, f"joins site '{a.site}' ('{a.name}') and site '{b.site}' ('{b.name}')"
    if not roles <= VLAN_ROLES and roles != {_CORE, _BORDER}:
        message = f"joins the {a.role} '{a.name}' and the {b.role} '{b.name}'; the VLAN part meets spine-leaf only "
        yield where, f"{message}between a core and a border"


def _nodes(inventory: Inventory) -> Iterator[Finding]:
    """A node hangs on tors or on leaves, not on both."""
    devices = _devices(inventory)
    roles: dict[str, set[SwitchRole]] = defaultdict(set)
    for link in inventory.links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            switch, node = devices.get(near.device), devices.get(far.device)
            if isinstance(switch, Switch) and isinstance(node, Node):
                roles[node.name].add(switch.role)
    for node in inventory.nodes:
        on = roles.get(node.name, set())
        if _TOR in on and len(on) > 1:
            others = ", ".join(sorted(role.value for role in on - {_TOR}))
            yield f"node {node.name}", f"hangs on a tor and on a {others}; a node is in one part of a site"
        if _TOR in on and node.dataplane not in {Dataplane.OVS, Dataplane.NONE}:
            yield (
                f"node {node.name}",
                f"dataplane '{node.dataplane}' is none that a VLAN site carries; it has ovs and none",
            )


def _paths(inventory: Inventory) -> Iterator[Finding]:
    """Every VLAN switch has a way to a core of its site, over VLAN switches."""
    switches = {str(switch.name): switch for switch in inventory.switches if switch.role in VLAN_ROLES}
    neighbours: dict[str, set[str]] = defaultdict(set)
    for link in inventory.links:
        if link.a.device in switches and link.b.device in switches:
            neighbours[link.a.device].add(link.b.device)
            neighbours[link.b.device].add(link.a.device)
    first_core: dict[str, str] = {}
    for name in sorted(name for name, switch in switches.items() if switch.role is _CORE):
        first_core.setdefault(switches[name].site, name)
    reached: set[str] = set()
    stack = list(first_core.values())
    while stack:
        name = stack.pop()
        if name not in reached:
            reached.add(name)
            stack.extend(neighbours[name])
    for name, switch in switches.items():
        if switch.site not in first_core:
            yield f"switch {name}", f"site '{switch.site}' has VLAN switches and no core, which would have the gateways"
        elif name not in reached:
            core = first_core[switch.site]
            yield f"switch {name}", f"is isolated: no VLAN switches lead from it to the core {core} of its site"


def _joins(inventory: Inventory) -> Iterator[Finding]:
    site_of = {switch.name: switch.site for switch in inventory.switches}
    first: dict[str, str] = {}
    for join in joins(inventory):
        site, cable = site_of[join.core], f"{join.core}:{join.core_interface} - {join.border}:{join.border_interface}"
        other = first.setdefault(site, cable)
        if other != cable:
            message = f"is a second join of site '{site}' beside {other}: a loop, since a border leaf runs no RSTP"
            yield f"link {cable}", message


def _devices(inventory: Inventory) -> dict[str, Switch | Node]:
    return {**{node.name: node for node in inventory.nodes}, **{switch.name: switch for switch in inventory.switches}}
