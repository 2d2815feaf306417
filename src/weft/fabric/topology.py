"""Topology: an inventory by the questions that are asked of it - who hangs where, who is whose neighbour.

Built from an inventory that has no problems (`problems`); immutable, every answer is a look-up.
"""

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from weft.fabric.checks import EDGE_ROLES, LEAF_ROLES, Problem, problems
from weft.fabric.vlan_topology import VlanTopology
from weft.fabric.vpc import exits_by_switch
from weft.model.ids import NodeName, SiteName, SwitchName
from weft.model.inventory import (
    Dataplane,
    DriftPolicy,
    Exit,
    FabricPools,
    Inventory,
    LinkEnd,
    Node,
    Safety,
    Site,
    Switch,
    SwitchRole,
)

__all__ = ["NodeLink", "Problem", "SwitchLink", "Topology", "problems"]


class NodeLink(msgspec.Struct, frozen=True, order=True, kw_only=True, gc=False):
    """A cable between a leaf and a node, seen from the leaf."""

    leaf: SwitchName
    interface: str
    node: NodeName
    nic: str
    management: bool = True


class SwitchLink(msgspec.Struct, frozen=True, order=True, kw_only=True, gc=False):
    """A cable between two switches, seen from one of them."""

    interface: str
    peer: SwitchName
    peer_interface: str


class Topology:
    """The wiring of an inventory. Answers are sorted; asking about a device that is not there gives nothing."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.vlan = VlanTopology(inventory)
        self.sites: Mapping[SiteName, Site] = {site.name: site for site in inventory.sites}
        self.switches: Mapping[SwitchName, Switch] = {switch.name: switch for switch in inventory.switches}
        self.nodes: Mapping[NodeName, Node] = {node.name: node for node in inventory.nodes}
        self._with_leaves = {each.site for each in inventory.switches if each.role in LEAF_ROLES}
        by_node: dict[NodeName, list[NodeLink]] = defaultdict(list)
        by_leaf: dict[SwitchName, list[NodeLink]] = defaultdict(list)
        by_switch: dict[SwitchName, list[SwitchLink]] = defaultdict(list)
        for cable in inventory.links:
            for near, far in ((cable.a, cable.b), (cable.b, cable.a)):
                if (link := self._node_link(near, far, management=cable.management)) is not None:
                    by_node[link.node].append(link)
                    by_leaf[link.leaf].append(link)
                elif near.device in self.switches and far.device in self.switches:
                    peer = SwitchLink(
                        interface=near.interface, peer=SwitchName(far.device), peer_interface=far.interface
                    )
                    by_switch[SwitchName(near.device)].append(peer)
        self._by_node = {node: tuple(sorted(links)) for node, links in by_node.items()}
        self._by_edge = {
            node: tuple(link for link in links if not (link.management and self._is_bare_metal(node)))
            for node, links in self._by_node.items()
        }
        self._by_leaf = {leaf: tuple(sorted(links)) for leaf, links in by_leaf.items()}
        self._by_switch = {switch: tuple(sorted(links)) for switch, links in by_switch.items()}
        self._leaves = {
            node: tuple(dict.fromkeys(link.leaf for link in links)) for node, links in self._by_node.items()
        }
        self._domain = self._domains()
        in_domain: dict[str, list[NodeName]] = defaultdict(list)
        for node in sorted(self._by_node):
            in_domain[self._domain[self._by_node[node][0].leaf]].append(node)
        self._in_domain = {domain: tuple(nodes) for domain, nodes in in_domain.items()}
        self._exits = exits_by_switch(inventory.exits)

    def leaf_links(self, node: NodeName) -> tuple[NodeLink, ...]:
        """Return the cables by which a node hangs on leaves; none: nothing can be bound on it."""
        return self._by_node.get(node, ())

    def edge_links(self, node: NodeName) -> tuple[NodeLink, ...]:
        """Return the cables that can carry ports of a node.

        These are all its leaf links; but the untagged frames of a bare-metal server are its network's, so on it a
        link whose untagged frames are in-band management can carry none.
        """
        return self._by_edge.get(node, ())

    def leaves_of(self, node: NodeName) -> tuple[SwitchName, ...]:
        """Return the leaves that a node hangs on."""
        return self._leaves.get(node, ())

    def nodes_of(self, leaf: SwitchName) -> tuple[NodeName, ...]:
        """Return the nodes that hang on a leaf."""
        return tuple(sorted({link.node for link in self._by_leaf.get(leaf, ())}))

    def node_links(self, leaf: SwitchName) -> tuple[NodeLink, ...]:
        """Return the cables between a leaf and nodes, by interface."""
        return self._by_leaf.get(leaf, ())

    def switch_links(self, switch: SwitchName) -> tuple[SwitchLink, ...]:
        """Return the cables between a switch and other switches, by interface."""
        return self._by_switch.get(switch, ())

    def vlan_domain(self, node: NodeName) -> str | None:
        """Return the name of the set of leaves within which a network has one VLAN, or None for a node on no leaf.

        Leaves that share a node are in one domain, since the node's uplinks carry the same tags; so are leaves that
        are joined by a chain of such nodes. A domain is named after its first leaf. The three-layer VLAN part of a site
        is one domain as a whole.
        """
        links = self._by_node.get(node)
        return self._domain[links[0].leaf] if links else None

    def nodes_in(self, domain: str) -> tuple[NodeName, ...]:
        """Return the nodes whose leaves are of a VLAN domain."""
        return self._in_domain.get(domain, ())

    def in_vlan_part(self, node: NodeName) -> bool:
        """Tell whether a node hangs on switches of a three-layer VLAN part."""
        links = self._by_node.get(node)
        return links is not None and self.vlan.has(links[0].leaf)

    def has_only_vlans(self, site: SiteName) -> bool:
        """Tell whether a site has a three-layer VLAN part, and no leaves."""
        return site not in self._with_leaves and bool(self.vlan.cores(site))

    def domain_of(self, leaf: SwitchName) -> str | None:
        """Return the VLAN domain of a leaf, or None if no node hangs on it."""
        return self._domain.get(leaf)

    def exits_of(self, switch: SwitchName) -> tuple[Exit, ...]:
        """Return the ways out of its site that a border leaf has."""
        return self._exits.get(switch, ())

    def borders(self, site: SiteName) -> tuple[SwitchName, ...]:
        """Return the switches of a site that have ways out of it."""
        return tuple(name for name in self._exits if name in self.switches and self.switches[name].site == site)

    def pools(self, site: SiteName) -> FabricPools | None:
        """Return the number pools of a site's fabric; None for an unknown site or one without switches of ours."""
        found = self.sites.get(site)
        return found.fabric if found else None

    def safety(self, switch: SwitchName) -> Safety:
        """Return what a switch may be made to do without a human."""
        known = self.switches.get(switch)
        site = self.sites.get(known.site) if known is not None else None
        return (site.safety if site is not None else None) or Safety()

    def drift_policy(self, switch: SwitchName) -> DriftPolicy:
        """Return what becomes of what somebody changed on a switch by hand."""
        known = self.switches.get(switch)
        own = known.drift if known is not None else None
        return own if own is not None else self.safety(switch).drift

    def _is_bare_metal(self, node: NodeName) -> bool:
        return node in self.nodes and self.nodes[node].dataplane is Dataplane.NONE

    def _node_link(self, near: LinkEnd, far: LinkEnd, *, management: bool) -> NodeLink | None:
        leaf = self.switches.get(SwitchName(near.device))
        if leaf is None or leaf.role not in EDGE_ROLES or far.device not in self.nodes:
            return None
        node = NodeName(far.device)
        return NodeLink(leaf=leaf.name, interface=near.interface, node=node, nic=far.interface, management=management)

    def _domains(self) -> dict[SwitchName, str]:
        domain: dict[SwitchName, str] = {}
        for leaf in sorted(self._by_leaf):
            switch = self.switches[leaf]
            if switch.role is SwitchRole.TOR:
                domain[leaf] = vlan_part_domain(switch.site)
                continue
            stack = [leaf]
            while stack:
                member = stack.pop()
                if member not in domain:
                    domain[member] = leaf
                    stack.extend(other for node in self.nodes_of(member) for other in self.leaves_of(node))
        return domain


def vlan_part_domain(site: SiteName) -> str:
    """Return the name of the VLAN domain that a site's three-layer part is; no switch can have it."""
    return f"vlan:{site}"
