"""The inventory, replaced as a whole: checked, numbered, and never against what is bound on it."""

from collections.abc import Iterator

from weft.fabric.checks import problems
from weft.fabric.numbering import Numbering, number
from weft.fabric.topology import Topology
from weft.intent.sites import exit_vnis
from weft.model.errors import Conflict, Invalid
from weft.model.inventory import Inventory, Node
from weft.protocol.inventory import listing
from weft.store import Transaction


def replace_inventory(tx: Transaction, inventory: Inventory) -> Numbering:
    """Replace the inventory and return the numbers of it; devices that stay keep theirs.

    Raises Invalid, listing every problem, for an inventory that is wrong; Conflict, listing every case, for one that
    takes away what ports, networks or routers are on.
    """
    found = [str(problem) for problem in problems(inventory)]
    if found:
        raise Invalid(listing("the inventory is wrong", found), kind="InventoryInvalid")
    before = tx.topology()
    numbering = number(inventory, tx.numbering())
    if inventory == before.inventory and numbering == tx.numbering():
        return numbering
    after = Topology(inventory)
    in_use = [*_lost_sites(tx, after), *_lost_nodes(tx, before, after), *_taken_vnis(tx, after)]
    if in_use:
        raise Conflict(listing("the inventory takes away what is in use", in_use), kind="InventoryInUse")
    tx.put_inventory(inventory, numbering)
    for switch in before.switches.keys() - after.switches.keys():
        tx.forget_switch(switch)
    for node in before.nodes.keys() - after.nodes.keys():
        tx.forget_node(node)
    return numbering


def _lost_sites(tx: Transaction, after: Topology) -> Iterator[str]:
    for noun, rows in (("network", tx.networks()), ("router", tx.routers())):
        for row in rows:
            if after.pools(row.site) is None:
                yield f"site {row.site}: {noun} {row.id} needs its fabric; delete the {noun} first"


def _taken_vnis(tx: Transaction, after: Topology) -> Iterator[str]:
    """Yield the networks and routers whose VNIs a site with ways out needs for these."""
    for reserved in exit_vnis(after):
        for noun, id_, vni in (
            *(("network", each.id, each.vni) for each in tx.networks()),
            *(("router", each.id, each.l3vni) for each in tx.routers()),
        ):
            if vni is not None and vni in reserved:
                yield f"exit_vnis {reserved}: {noun} {id_} has VNI {vni}; give the site other exit_vnis"


def _lost_nodes(tx: Transaction, before: Topology, after: Topology) -> Iterator[str]:
    """Yield the nodes that carry ports and are gone, or changed in what their bindings were decided from."""
    for name, node in before.nodes.items():
        change = _change(before, after, node)
        if change is None:
            continue
        ports = [view.port.id for view in tx.ports(node=name)]
        if ports:
            yield f"node {name}: {change}, but {len(ports)} ports are on it (such as {ports[0]}); unbind them first"


def _change(before: Topology, after: Topology, node: Node) -> str | None:
    now = after.nodes.get(node.name)
    if now is None:
        return "it is gone"
    if (now.site, now.dataplane) != (node.site, node.dataplane):
        return f"it is a '{now.dataplane}' node of site '{now.site}' now"
    if not after.edge_links(node.name) and before.edge_links(node.name):
        return "it has no link to a leaf that could carry them any more"
    if after.vlan_domain(node.name) != before.vlan_domain(node.name):
        return f"it hangs on '{after.vlan_domain(node.name)}' instead of '{before.vlan_domain(node.name)}' now"
    return None
