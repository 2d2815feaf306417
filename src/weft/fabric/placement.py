"""Placement: which leaf carries which network, for which bindings; kept as bindings come and go.

A leaf carries a network while a binding of it, draining ones included, is on a node that hangs on the leaf.
"""

from collections import defaultdict
from collections.abc import Iterator

from weft.fabric.topology import Topology
from weft.model.ids import Epoch, NetworkId, NodeName, PortId, SwitchName
from weft.model.intent import Binding

BindingKey = tuple[PortId, Epoch]


class Placement:
    """Bindings by node and network, and the same seen from the leaves. A change costs what it changes."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._bindings: dict[tuple[NodeName, NetworkId], dict[BindingKey, Binding]] = {}
        self._nodes: dict[SwitchName, dict[NetworkId, set[NodeName]]] = defaultdict(dict)
        self._leaves: dict[NetworkId, set[SwitchName]] = defaultdict(set)

    def add(self, network: NetworkId, binding: Binding) -> bool:
        """Put a binding on its node; return True if it is the first of the network there."""
        place = (binding.node, network)
        there = self._bindings.get(place)
        if there is not None:
            there[binding.port_id, binding.epoch] = binding
            return False
        self._bindings[place] = {(binding.port_id, binding.epoch): binding}
        for leaf in self._topology.leaves_of(binding.node):
            self._nodes[leaf].setdefault(network, set()).add(binding.node)
            self._leaves[network].add(leaf)
        return True

    def remove(self, network: NetworkId, binding: Binding) -> bool:
        """Take a binding from its node; return True if it was the last of the network there."""
        place = (binding.node, network)
        bindings = self._bindings[place]
        del bindings[binding.port_id, binding.epoch]
        if bindings:
            return False
        del self._bindings[place]
        for leaf in self._topology.leaves_of(binding.node):
            nodes = self._nodes[leaf][network]
            nodes.discard(binding.node)
            if not nodes:
                del self._nodes[leaf][network]
                self._leaves[network].discard(leaf)
        return True

    def networks(self, leaf: SwitchName) -> list[NetworkId]:
        """Return the networks that a leaf carries, sorted."""
        return sorted(self._nodes.get(leaf, ()))

    def nodes(self, leaf: SwitchName, network: NetworkId) -> list[NodeName]:
        """Return the nodes on a leaf that have bindings of a network, sorted."""
        return sorted(self._nodes.get(leaf, {}).get(network, ()))

    def leaves(self, network: NetworkId) -> set[SwitchName]:
        """Return the leaves that carry a network."""
        return set(self._leaves.get(network, ()))

    def bindings(self, node: NodeName, network: NetworkId) -> list[Binding]:
        """Return the bindings of a network on a node, in the order in which they came."""
        return list(self._bindings.get((node, network), {}).values())

    def count(self, leaf: SwitchName) -> int:
        """Return how many bindings are on a leaf's nodes."""
        there = self._nodes.get(leaf, {})
        return sum(len(self._bindings[node, network]) for network, nodes in there.items() for node in nodes)

    def bindings_on(self, leaf: SwitchName) -> Iterator[Binding]:
        """Return every binding on a leaf's nodes."""
        for network, nodes in self._nodes.get(leaf, {}).items():
            for node in nodes:
                yield from self._bindings[node, network].values()
