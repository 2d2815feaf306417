"""From the store to the index of intent: all rows at the start, then the present rows of what changed."""

from collections.abc import Iterable, Mapping

import msgspec

from weft.fabric.gate import Approval
from weft.fabric.intent_index import FabricIntent, Touched
from weft.fabric.numbering import Numbering
from weft.fabric.rollout import Rollout
from weft.model.ids import Epoch, NetworkId, PortId, Revision, RouterId, SubnetId, SwitchName
from weft.model.intent import LeafVlan, Network, Peering, Realization, Realizer, Router, RouterInterface, Subnet
from weft.model.inventory import Inventory
from weft.ports.lifecycle import Lifecycle
from weft.store import Change, Kind, PortView, Snapshot

INVENTORY_KINDS = frozenset({Kind.INVENTORY, Kind.SWITCH})
"""What makes the whole inventory be read again."""

FABRIC_KINDS = INVENTORY_KINDS | {
    Kind.NETWORK,
    Kind.SUBNET,
    Kind.ROUTER,
    Kind.ROUTER_INTERFACE,
    Kind.PEERING,
    Kind.PORT,
    Kind.LEAF_VLAN,
    Kind.APPROVAL,
    Kind.ROLLOUT,
}
"""What a fabric depends on; other changes are not read."""


class Rows(msgspec.Struct, kw_only=True):
    """Rows as they were at a revision; None stands for one that is gone."""

    revision: Revision
    inventory: tuple[Inventory, Numbering] | None = None
    networks: Mapping[NetworkId, Network | None] = {}
    subnets: Mapping[SubnetId, Subnet | None] = {}
    routers: Mapping[RouterId, Router | None] = {}
    interfaces: Mapping[SubnetId, RouterInterface | None] = {}
    peerings: Mapping[str, Peering | None] = {}
    vlans: Mapping[tuple[str, NetworkId], LeafVlan | None] = {}
    ports: Mapping[PortId, PortView | None] = {}
    approvals: Mapping[SwitchName, Approval | None] = {}
    rollouts: Mapping[str, Rollout | None] = {}


def read_all(snapshot: Snapshot) -> Rows:
    """Return every row that a fabric depends on."""
    return Rows(
        revision=snapshot.revision(),
        inventory=(snapshot.inventory(), snapshot.numbering()),
        networks={row.id: row for row in snapshot.networks()},
        subnets={row.id: row for row in snapshot.subnets()},
        routers={row.id: row for row in snapshot.routers()},
        interfaces={row.subnet_id: row for row in snapshot.router_interfaces()},
        peerings={row.id: row for row in snapshot.records(Kind.PEERING, Peering)},
        vlans={(row.domain, row.network_id): row for row in snapshot.leaf_vlans()},
        ports={view.port.id: view for view in snapshot.ports()},
        approvals=approvals(snapshot),
        rollouts={row.id: row for row in snapshot.records(Kind.ROLLOUT, Rollout)},
    )


def approvals(snapshot: Snapshot) -> dict[SwitchName, Approval]:
    """Return what was approved for each switch."""
    return {row.switch: row for row in snapshot.records(Kind.APPROVAL, Approval)}


def read_changed(snapshot: Snapshot, changes: Iterable[Change]) -> Rows:
    """Return the present rows of what changed; they may be newer than the changes."""
    ids: dict[Kind, dict[str, None]] = {}
    for change in changes:
        ids.setdefault(change.kind, {})[change.id] = None
    domains = [_pair(id_) for id_ in ids.get(Kind.LEAF_VLAN, ())]
    return Rows(
        revision=snapshot.revision(),
        inventory=(snapshot.inventory(), snapshot.numbering()) if INVENTORY_KINDS & ids.keys() else None,
        networks={NetworkId(id_): snapshot.network(NetworkId(id_)) for id_ in ids.get(Kind.NETWORK, ())},
        subnets={SubnetId(id_): snapshot.subnet(SubnetId(id_)) for id_ in ids.get(Kind.SUBNET, ())},
        routers={RouterId(id_): snapshot.router(RouterId(id_)) for id_ in ids.get(Kind.ROUTER, ())},
        interfaces={
            SubnetId(id_): snapshot.router_interface(SubnetId(id_)) for id_ in ids.get(Kind.ROUTER_INTERFACE, ())
        },
        peerings={id_: snapshot.record(Kind.PEERING, Peering, id_) for id_ in ids.get(Kind.PEERING, ())},
        vlans={
            (domain, NetworkId(network)): snapshot.leaf_vlan(domain, NetworkId(network)) for domain, network in domains
        },
        ports=_ports(snapshot, [PortId(id_) for id_ in ids.get(Kind.PORT, ())]),
        approvals={
            SwitchName(id_): snapshot.record(Kind.APPROVAL, Approval, id_) for id_ in ids.get(Kind.APPROVAL, ())
        },
        rollouts={id_: snapshot.record(Kind.ROLLOUT, Rollout, id_) for id_ in ids.get(Kind.ROLLOUT, ())},
    )


def feed(intent: FabricIntent, rows: Rows) -> Touched:
    """Put rows into the index; return the switches that they touch."""
    touched: Touched = set()
    if rows.inventory is not None:
        touched |= intent.put_inventory(*rows.inventory)
    for network_id, network in rows.networks.items():
        touched |= intent.put_network(network) if network is not None else intent.delete_network(network_id)
    for subnet_id, subnet in rows.subnets.items():
        touched |= intent.put_subnet(subnet) if subnet is not None else intent.delete_subnet(subnet_id)
    for router_id, router in rows.routers.items():
        touched |= intent.put_router(router) if router is not None else intent.delete_router(router_id)
    for attached_id, attached in rows.interfaces.items():
        if attached is not None:
            touched |= intent.put_router_interface(attached)
        else:
            touched |= intent.delete_router_interface(attached_id)
    for peering_id, peering in rows.peerings.items():
        touched |= intent.put_peering(peering) if peering is not None else intent.delete_peering(peering_id)
    for where, vlan in rows.vlans.items():
        touched |= intent.put_leaf_vlan(vlan) if vlan is not None else intent.delete_leaf_vlan(*where)
    for port_id, view in rows.ports.items():
        if view is not None:
            touched |= intent.put_port(view.port, view.life.bindings)
        else:
            touched |= intent.delete_port(port_id)
    return touched


def fabric_realizations(life: Lifecycle) -> dict[Epoch, Realization]:
    """Return what the rows say that the fabric has realized, by epoch."""
    return {each.epoch: each for each in life.realizations if each.realizer is Realizer.FABRIC}


def _ports(snapshot: Snapshot, ids: list[PortId]) -> dict[PortId, PortView | None]:
    found: dict[PortId, PortView | None] = dict.fromkeys(ids)
    found.update({view.port.id: view for view in snapshot.ports(ids=ids)} if ids else {})
    return found


def _pair(id_: str) -> tuple[str, str]:
    first, _, second = id_.partition("/")
    return first, second
