"""What a node shall carry, computed from the present rows: every binding on it, draining ones included."""

from collections.abc import Iterable
from functools import cache

from weft.intent.placement import vlan_of
from weft.intent.rows import network_of, subnet_of
from weft.model.ids import NetworkId, NodeName, PortId, SubnetId
from weft.model.intent import Binding, FixedIp, Network, Subnet
from weft.protocol.node import AddressDesired, AllowedPair, NodeChange, NodeDesired, PortDesired
from weft.store import PortView, Snapshot


def node_desired(snapshot: Snapshot, node: NodeName) -> NodeDesired:
    """Return all that a node shall carry, ordered by port."""
    rows = _Rows(snapshot, node)
    ports = tuple(found for view in snapshot.ports(node=node) if (found := rows.port(view)) is not None)
    return NodeDesired(node=node, revision=snapshot.revision(), ports=ports)


def node_changes(snapshot: Snapshot, node: NodeName, port_ids: Iterable[PortId]) -> NodeChange:
    """Return some ports as a node shall carry them now; gone are those that it shall not carry."""
    rows = _Rows(snapshot, node)
    wanted = list(dict.fromkeys(port_ids))
    here = {view.port.id: found for view in snapshot.ports(ids=wanted) if (found := rows.port(view)) is not None}
    return NodeChange(
        revision=snapshot.revision(),
        ports=tuple(here[id_] for id_ in wanted if id_ in here),
        gone=tuple(id_ for id_ in wanted if id_ not in here),
    )


class _Rows:
    """The rows that a node's ports share, each read once."""

    def __init__(self, snapshot: Snapshot, node: NodeName) -> None:
        self._node = node

        @cache
        def network(id_: NetworkId) -> tuple[Network, int]:
            return network_of(snapshot, id_), vlan_of(snapshot, node, id_)

        @cache
        def subnet(id_: SubnetId) -> Subnet:
            return subnet_of(snapshot, id_)

        self._network = network
        self._subnet = subnet

    def port(self, view: PortView) -> PortDesired | None:
        """Return a port as this node shall carry it; None if it has no binding here."""
        binding = self._binding(view)
        if binding is None:
            return None
        port = view.port
        network, vlan = self._network(port.network_id)
        return PortDesired(
            port_id=port.id,
            epoch=binding.epoch,
            network_id=port.network_id,
            vlan=vlan,
            mac=port.mac,
            addresses=tuple(_address(self._subnet(ip.subnet_id), ip) for ip in port.fixed_ips),
            mtu_bytes=network.mtu_bytes,
            admin_state_up=port.admin_state_up and network.admin_state_up,
            anti_spoofing=port.port_security_enabled,
            allowed_pairs=tuple(
                AllowedPair(address=each.ip_address, mac=each.mac) for each in port.allowed_address_pairs
            ),
            draining=binding.draining,
            name=port.name,
            state=view.life.state,
        )

    def _binding(self, view: PortView) -> Binding | None:
        here = [binding for binding in view.life.bindings if binding.node == self._node]
        return max(here, key=lambda binding: binding.epoch, default=None)


def address_desired(snapshot: Snapshot, ip: FixedIp) -> AddressDesired:
    """Return an address as an instance shall have it."""
    return _address(subnet_of(snapshot, ip.subnet_id), ip)


def _address(subnet: Subnet, ip: FixedIp) -> AddressDesired:
    gateway = None if subnet.gateway is None else str(subnet.gateway)
    return AddressDesired(address=str(ip.address), prefixlen=subnet.cidr.prefixlen, gateway=gateway)
