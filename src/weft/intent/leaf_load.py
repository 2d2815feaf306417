"""How much of a leaf's tables the rows of a VLAN domain take, counted by the database; and whether more fits.

A leaf holds the MAC address of every port of the networks that it carries, wherever that port is, and routes to every
address of the tenants that it carries (EVPN with symmetric IRB, RFC 9135). Networks whose VLAN rests are counted: their
leaf may still be taking them away. Bare-metal networks have no VLAN and are not. Addresses of ports that are on no node
are counted with the others of their networks.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from weft.fabric.limits import Overflow, Resource, limits_of, model_of, overflows
from weft.fabric.topology import Topology
from weft.model.errors import Conflict
from weft.model.ids import NodeName, SwitchName
from weft.store import Snapshot, Transaction
from weft.store import schema as t

MAX_ALTERNATIVES = 3
"""An error names at most this many other leaves."""

_i, _j, _k = (t.router_interfaces.alias(name) for name in "ijk")
_domain: sa.BindParameter[str] = sa.bindparam("domain")


def _here() -> sa.Select[tuple[str]]:
    return sa.select(t.leaf_vlans.c.network_id).where(t.leaf_vlans.c.domain == _domain)


def _routers() -> sa.Select[tuple[str]]:
    return sa.select(_i.c.router_id).where(_i.c.network_id.in_(_here())).distinct()


def _routed() -> sa.Select[tuple[str]]:
    return sa.select(_j.c.network_id).where(_j.c.router_id.in_(_routers())).distinct()


_NETWORKS = sa.select(sa.func.count()).select_from(t.leaf_vlans).where(t.leaf_vlans.c.domain == _domain)
_VRFS = sa.select(sa.func.count()).select_from(_routers().subquery())
_COUNTS = {
    Resource.MACS: sa.select(sa.func.count()).select_from(t.bindings).where(t.bindings.c.network_id.in_(_here())),
    Resource.HOST_ROUTES: sa.select(sa.func.count())
    .select_from(t.fixed_ips)
    .where(t.fixed_ips.c.network_id.in_(_routed())),
    Resource.PREFIXES: sa.select(sa.func.count()).select_from(_k).where(_k.c.router_id.in_(_routers())),
}
_BY_DOMAIN = sa.select(t.leaf_vlans.c.domain, sa.func.count()).group_by(t.leaf_vlans.c.domain)


def leaf_load(snapshot: Snapshot, domain: str, resources: frozenset[Resource]) -> dict[Resource, int]:
    """Return how much of these resources each leaf of a domain uses; only what is asked for is counted."""
    found: dict[Resource, int] = {}
    networks = vrfs = 0
    if not resources.isdisjoint({Resource.VLANS, Resource.VNIS}):
        networks = _count(snapshot, _NETWORKS, domain)
        found[Resource.VLANS] = networks
    if not resources.isdisjoint({Resource.VRFS, Resource.VNIS}):
        vrfs = _count(snapshot, _VRFS, domain)
        found[Resource.VRFS] = vrfs
    if Resource.VNIS in resources:
        found[Resource.VNIS] = networks + vrfs
    found.update({each: _count(snapshot, _COUNTS[each], domain) for each in _COUNTS.keys() & resources})
    return {resource: count for resource, count in found.items() if resource in resources}


def networks_by_domain(snapshot: Snapshot) -> Mapping[str, int]:
    """Return how many networks each VLAN domain carries; a domain without any is left out."""
    return {row[0]: int(row[1]) for row in snapshot.run(_BY_DOMAIN)}


def check_room(tx: Transaction, node: NodeName) -> None:
    """Raise Conflict if the leaves of a node do not hold what is bound there now, with the leaves that have room.

    Costs nothing on leaves of which no model is written down; of the others, a count of what is limited.
    """
    topology = tx.topology()
    leaves: list[SwitchName] = tx.made(("leaves of a model", node), lambda: _leaves_of_a_model(topology, node))
    domain = topology.vlan_domain(node) if leaves else None
    if domain is None:
        return
    for leaf in leaves:
        limits = limits_of(topology, leaf)
        over = overflows(topology, leaf, leaf_load(tx, domain, frozenset(limits)))
        if over:
            raise _full(topology, node, over, networks_by_domain(tx))


def _leaves_of_a_model(topology: Topology, node: NodeName) -> list[SwitchName]:
    return [leaf for leaf in topology.leaves_of(node) if model_of(topology, leaf) is not None]


def _full(topology: Topology, node: NodeName, over: list[Overflow], carried: Mapping[str, int]) -> Conflict:
    site = topology.nodes[node].site
    own = topology.vlan_domain(node)
    others = {
        domain: carried.get(domain, 0)
        for name, other in topology.nodes.items()
        if other.site == site and (domain := topology.vlan_domain(name)) not in {None, own}
    }
    least = sorted(others, key=lambda domain: (others[domain], domain))[:MAX_ALTERNATIVES]
    named = ", ".join(f"{_leaves_of(topology, domain)} ({others[domain]} networks)" for domain in least)
    instead = f"bind on nodes of {named}" if named else "no other leaf of the site has nodes"
    return Conflict(f"{'; '.join(map(str, over))}; {instead}", kind="LeafFull")


def _leaves_of(topology: Topology, domain: str) -> str:
    leaves = {leaf for leaf in topology.switches if topology.domain_of(SwitchName(leaf)) == domain}
    return "/".join(sorted(leaves))


def _count(snapshot: Snapshot, statement: sa.ClauseElement, domain: str) -> int:
    row = snapshot.run(statement, domain=domain).fetchone()
    return int(row[0]) if row is not None else 0
