"""A network's way from the VLAN part of a site to its spine-leaf part, while its instances keep addresses and talk.

Three stages. `vlan`: VLAN switches alone carry it, its gateway is on a core. `joined`: it has a VNI, too; the border
leaf bridges both, its gateway is the fabric's, and instances may be on nodes of either part. `vxlan`: its VLAN is given
back.

The networks of a router are routed in one place: on the core while none of them has a VNI, in the fabric's VRF as soon
as one has. So they join, and go back, together.
"""

from enum import StrEnum

from weft.intent.networks import network_input
from weft.intent.provider_vlans import rest_provider_vlan
from weft.intent.rows import changed, network_of
from weft.intent.sites import choose_vni, fabric_of
from weft.model.errors import Conflict
from weft.model.ids import NetworkId, NodeName, RouterId
from weft.model.intent import Network, NetworkType
from weft.store import Transaction

MAX_NAMED = 5
"""Nodes that an error names; more are counted."""


class Stage(StrEnum):
    """How far a network is on its way."""

    VLAN = "vlan"
    JOINED = "joined"
    VXLAN = "vxlan"


def stage_of(network: Network) -> Stage:
    """Return the stage of a network."""
    if network.vlan is None:
        return Stage.VXLAN
    return Stage.VLAN if network.vni is None else Stage.JOINED


def migrate_network(tx: Transaction, network_id: NetworkId, stage: Stage) -> Network:
    """Take a network to a stage; one that is there already is as good.

    Raises NotFound; Invalid for a way that there is not; Conflict (MigrationBlocked) while ports are on nodes that
    could not carry the network then, or where the site's two parts are not joined.
    """
    network = network_of(tx, network_id)
    present = stage_of(network)
    if present is stage:
        return network
    if stage is Stage.JOINED and present is Stage.VLAN:
        return _join_with(tx, network)
    if stage is Stage.VXLAN and present is Stage.JOINED:
        _refuse_ports(tx, network, stage, in_vlan_part=True)
        rest_provider_vlan(tx, network)
        return _put(tx, changed(tx, network, type=NetworkType.VXLAN, vlan=None, physical_network=None))
    if stage is Stage.VLAN and present is Stage.JOINED:
        return _part_with(tx, network)
    raise network_input(
        f"network {network_id} is '{present}' and cannot become '{stage}'; the way is vlan, joined, vxlan"
    )


def join_routed(tx: Transaction, router_id: RouterId) -> None:
    """See to it that all networks of a router have a VNI if one has.

    Raises Conflict (MigrationBlocked) where the site's two parts are not joined.
    """
    networks = _networks_of(tx, router_id)
    if any(network.vni is not None for network in networks):
        for network in networks:
            if network.vni is None:
                _join(tx, network)


def _join_with(tx: Transaction, network: Network) -> Network:
    """Join a network, and with it all that are routed with it."""
    for other in _routed_with(tx, network):
        if other.vni is None:
            _join(tx, other)
    return _join(tx, network)


def _join(tx: Transaction, network: Network) -> Network:
    if tx.topology().vlan.join(network.site) is None:
        message = f"site '{network.site}' has no link between a core and a border leaf that could carry {network.id}"
        raise Conflict(f"{message}; add one to the inventory", kind="MigrationBlocked")
    pools = fabric_of(tx, network.site)[1]
    return _put(tx, changed(tx, network, vni=choose_vni(tx, f"{network.site}/l2vnis", pools.l2vnis)))


def _part_with(tx: Transaction, network: Network) -> Network:
    """Take the VNI from a joined network, and from all that are routed with it."""
    others = _routed_with(tx, network)
    for each in (network, *others):
        if each.vlan is None:
            message = f"network {network.id} cannot become '{Stage.VLAN}': it is routed with network {each.id}, which"
            raise Conflict(f"{message} has no VLAN any more; detach one of them first", kind="MigrationBlocked")
        _refuse_ports(tx, each, Stage.VLAN, in_vlan_part=False)
    for each in others:
        _put(tx, changed(tx, each, vni=None))
    return _put(tx, changed(tx, network, vni=None))


def _routed_with(tx: Transaction, network: Network) -> list[Network]:
    """Return the other networks of a network's router."""
    routers = {each.router_id for each in tx.router_interfaces() if each.network_id == network.id}
    return [other for router in sorted(routers) for other in _networks_of(tx, router) if other.id != network.id]


def _networks_of(tx: Transaction, router_id: RouterId) -> list[Network]:
    ids = sorted({interface.network_id for interface in tx.router_interfaces(router_id)})
    return [network_of(tx, network_id) for network_id in ids]


def _put(tx: Transaction, network: Network) -> Network:
    tx.put_network(network)
    return network


def _refuse_ports(tx: Transaction, network: Network, stage: Stage, *, in_vlan_part: bool) -> None:
    nodes = sorted(node for node in tx.bound_nodes(network.id) if _in_vlan_part(tx, node) is in_vlan_part)
    if nodes:
        more = f" and {len(nodes) - MAX_NAMED} more" if len(nodes) > MAX_NAMED else ""
        where = "the VLAN part" if in_vlan_part else "the spine-leaf part"
        message = f"network {network.id} cannot become '{stage}': it has ports on {', '.join(nodes[:MAX_NAMED])}{more}"
        raise Conflict(f"{message}, which hang on {where}; move them first", kind="MigrationBlocked")


def _in_vlan_part(tx: Transaction, node: NodeName) -> bool:
    return tx.topology().in_vlan_part(node)
