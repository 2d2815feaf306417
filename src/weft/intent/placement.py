"""Where a port may be, and what its leaves need for it: who owes what on a node, and the VLAN of a network there."""

from collections.abc import Iterator

import msgspec

from weft.fabric.topology import Topology
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, NodeName, Vlan
from weft.model.intent import LeafVlan, Network, Realizer
from weft.model.inventory import Dataplane, Node, NumberRange
from weft.store import Snapshot, Transaction

VLAN_REST_S = 30.0
"""How long a VLAN rests before it stands for another network: its leaves and nodes may still be taking it away."""

MAX_NAMED = 20
"""Nodes that an error names; more are counted."""


def owed_on(tx: Transaction, network: Network, node: NodeName, *, trunk: bool = False) -> frozenset[Realizer]:
    """Return whose realization a port needs on a node; `trunk`: a bare-metal server shall have the network by a tag.

    Raises Invalid for a node that is not in the inventory, Conflict for one that can't carry the port's network.
    """
    # Of every port the same until network or inventory change, and asked for with every bind.
    owed = tx.made(("owed", network.id, node), lambda: _owed_if_fit(tx, network, node))
    if Realizer.HOST not in owed and (hindrance := _otherwise_there(tx, network, node, trunk=trunk)) is not None:
        raise hindrance
    return owed


def obstacle(tx: Transaction, network: Network, node: NodeName, *, trunk: bool = False) -> Conflict | None:
    """Return what keeps a node from carrying a network; None if nothing does. Raises Invalid for an unknown node."""
    hindrance = _unfit(tx, network, node)
    if hindrance is not None or Realizer.HOST in _owed(tx.topology(), node):
        return hindrance
    return _otherwise_there(tx, network, node, trunk=trunk)


def _owed_if_fit(tx: Transaction, network: Network, node: NodeName) -> frozenset[Realizer]:
    hindrance = _unfit(tx, network, node)
    if hindrance is not None:
        raise hindrance
    return _owed(tx.topology(), node)


def _owed(topology: Topology, node: NodeName) -> frozenset[Realizer]:
    found = topology.nodes[node]
    if topology.pools(found.site) is None:
        return frozenset({Realizer.HOST})
    if found.dataplane is Dataplane.OVS:
        return frozenset({Realizer.HOST, Realizer.FABRIC})
    return frozenset({Realizer.FABRIC})


def _unfit(tx: Transaction, network: Network, node: NodeName) -> Conflict | None:
    """Return what keeps a node from carrying a network, whatever is bound there. Raises Invalid for an unknown node."""
    topology = tx.topology()
    found = topology.nodes.get(node)
    if found is None:
        names = list(topology.nodes)
        known = ", ".join(names[:MAX_NAMED]) or "none"
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        raise Invalid(f"binding:host_id '{node}' is not a node of the inventory; known: {known}{more}")
    if found.site != network.site:
        message = f"node '{node}' is in site '{found.site}', network {network.id} is in site '{network.site}'"
        return Conflict(f"{message}; bind to a node of the network's site", kind="NodeUnreachable")
    if found.dataplane not in {Dataplane.OVS, Dataplane.NONE}:
        message = f"node '{node}' has dataplane '{found.dataplane}', which this version cannot bind ports on"
        return Conflict(message, kind="DataplaneUnsupported")
    return None if topology.pools(found.site) is None else _off_the_leaves(tx, network, found)


def _off_the_leaves(tx: Transaction, network: Network, node: Node) -> Conflict | None:
    """Return what keeps the leaves from carrying a network to a node."""
    topology = tx.topology()
    if not topology.leaf_links(node.name):
        message = f"node '{node.name}' has no link to a leaf, so no packet could reach a port there; add the link"
        return Conflict(f"{message} to the inventory", kind="NodeUnreachable")
    if (missing := _numberless(tx, network, node)) is not None:
        return Conflict(missing, kind="NodeUnreachable")
    if node.dataplane is Dataplane.OVS:
        return None
    if not topology.edge_links(node.name):
        message = f"all links of bare-metal node '{node.name}' carry management, which is untagged as its network"
        return Conflict(f"{message} would be; set management = false on one of them", kind="NodeUnreachable")
    return None


def _numberless(tx: Transaction, network: Network, node: Node) -> str | None:
    """Return why the switches of a node's part of the site can't carry a network, or None: it lacks their number."""
    if tx.topology().in_vlan_part(node.name):
        message = f"node '{node.name}' hangs on VLAN switches, and network {network.id} of type '{network.type}' has no"
        return f"{message} VLAN; bind on a node of the spine-leaf part" if network.vlan is None else None
    message = f"node '{node.name}' hangs on a leaf, and network {network.id} of type '{network.type}' has no VNI"
    return f"{message}; join the network first, or bind on a node of the VLAN part" if network.vni is None else None


def vlan_of(snapshot: Snapshot, node: NodeName, network_id: NetworkId) -> Vlan:
    """Return the VLAN of a network on a node's uplinks; 0 where it is untagged (bare metal)."""
    domain = _tagged_domain(snapshot, node)
    found = None if domain is None else snapshot.leaf_vlan(domain, network_id)
    return Vlan(0) if found is None else found.vlan


def hold_vlan(tx: Transaction, node: NodeName, network: Network, *, trunk: bool = False) -> None:
    """See to it that the network has a VLAN on the node's leaves; raise Conflict if none is free there."""
    topology = tx.topology()
    domain = topology.vlan_domain(node) if trunk else _tagged_domain(tx, node)
    if domain is None or (trunk and topology.in_vlan_part(node)):
        return
    held = tx.leaf_vlan(domain, network.id)
    if held is not None and held.released_at is None:
        return
    if held is not None:
        tx.put_leaf_vlan(msgspec.structs.replace(held, released_at=None))
        return
    pools = tx.topology().pools(network.site)
    assert pools is not None, "a node with a VLAN domain hangs on leaves of a fabric"
    vlan = _free_vlan(tx, domain, pools.vlans)
    tx.put_leaf_vlan(LeafVlan(domain=domain, network_id=network.id, vlan=vlan))


def let_go_of_vlan(tx: Transaction, node: NodeName, network_id: NetworkId) -> None:
    """Let the network's VLAN on the node's leaves rest if no binding needs it there any more."""
    domain = tx.topology().vlan_domain(node)
    if tx.topology().in_vlan_part(node):
        return  # there it is the network's own for as long as the network is: weft.intent.provider_vlans
    if domain is None or any(_tags(tx, each, network_id, domain) for each in _first(node, tx.topology(), domain)):
        return
    held = tx.leaf_vlan(domain, network_id)
    if held is not None and held.released_at is None:
        tx.put_leaf_vlan(msgspec.structs.replace(held, released_at=tx.clock()))


def _free_vlan(tx: Transaction, domain: str, vlans: NumberRange) -> Vlan:
    rested = tx.clock() - VLAN_REST_S
    taken = {}
    for held in tx.leaf_vlans(domain):
        if held.released_at is not None and held.released_at <= rested:
            tx.delete_leaf_vlan(domain, held.network_id)
        else:
            taken[held.vlan] = held
    chosen = tx.next_number(f"{domain}/vlans", vlans.first, vlans.last, taken.__contains__)
    if chosen is None:
        message = f"no VLAN of {vlans} is free on the leaves of '{domain}': each network bound there takes one"
        raise Conflict(f"{message}; bind on other leaves, or widen the site's vlans", kind="NoVlanAvailable")
    return Vlan(chosen)


def _tagged_domain(snapshot: Snapshot, node: NodeName) -> str | None:
    topology = snapshot.topology()
    found = topology.nodes.get(node)
    if found is None or found.dataplane is Dataplane.NONE:
        return None
    return topology.vlan_domain(node)


def _first(node: NodeName, topology: Topology, domain: str) -> Iterator[NodeName]:
    """Yield the nodes of a VLAN domain, one of them first: where a port has been, others of its network are likely."""
    yield node
    yield from (each for each in topology.nodes_in(domain) if each != node)


def _tags(tx: Transaction, node: NodeName, network_id: NetworkId, domain: str) -> bool:
    """Tell whether a node of a VLAN domain has bindings of a network, and has it by its VLAN there."""
    if not tx.is_bound(node, network_id):
        return False
    if _tagged_domain(tx, node) == domain:
        return True
    bound = tx.ports(node=node, network_id=network_id)
    return any(each.node == node and each.is_trunk for view in bound for each in view.life.bindings)


def _otherwise_there(tx: Transaction, network: Network, node: NodeName, *, trunk: bool) -> Conflict | None:
    """Return what speaks against a network on a bare-metal node: its leaf interface has one untagged network, and any
    number of tagged ones; but each of them in one way."""
    for other in tx.ports(node=node):
        trunks = {each.is_trunk for each in other.life.bindings if each.node == node}
        same = other.port.network_id == network.id
        if same and trunks == {not trunk}:
            how = "tagged" if not trunk else "untagged"
            message = f"bare-metal node '{node}' has network {network.id} {how}, for port {other.port.id}"
            return Conflict(f"{message}; bind both ports alike", kind="PortBindingConflict")
        if not same and not trunk and False in trunks:
            message = f"bare-metal node '{node}' carries network {other.port.network_id} for port {other.port.id}"
            hint = 'it can carry one network untagged; bind with the profile {"trunk": true} to have more by tags'
            return Conflict(f"{message}; {hint}", kind="PortBindingConflict")
    return None
