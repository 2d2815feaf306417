"""Transaction: a snapshot that can be written to, and that keeps the log of what it changed.

A write to an object notes a Change; what was noted gets one revision when the transaction ends well. Nothing
written here is seen by anyone before the commit of the group that the transaction is in.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from weft.fabric.numbering import Numbering
from weft.ipam.pools import AddressPool
from weft.model.addresses import IPAddress
from weft.model.ids import NetworkId, NodeName, RouterId, SubnetId, SwitchName
from weft.model.intent import FixedIp, HistoryEntry, LeafVlan, Network, Port, Router, RouterInterface, Subnet
from weft.model.inventory import Inventory
from weft.store import schema as t
from weft.store.changes import Kind, Op
from weft.store.codec import encode, mark_of
from weft.store.layers import Row
from weft.store.piece import HISTORY_KEPT, Piece
from weft.store.serials import BLOCK, Serials
from weft.store.snapshot import INVENTORY, Snapshot
from weft.store.taken import address_in_use, mac_in_use
from weft.store.views import PortView, SwitchStatus

__all__ = ["HISTORY_KEPT", "Transaction", "address_in_use", "mac_in_use"]


class Transaction(Piece):
    """Reads and writes of one piece of work; see Store.transact."""

    # --- intent

    def put_network(self, network: Network) -> None:
        """Write a network. Raises Conflict if its VNI is another's."""
        row = {
            "id": network.id,
            "project_id": network.project_id,
            "name": network.name,
            "vni": network.vni,
            "body": encode(network),
        }
        self._put_counted(t.networks, Kind.NETWORK, row)
        self._note(Kind.NETWORK, network.id, nodes=self.bound_nodes(network.id))

    def delete_network(self, id_: NetworkId) -> None:
        """Delete a network."""
        found = self.network(id_)
        if found is not None:
            self._count(Kind.NETWORK, found.project_id, -1)
        self._delete(t.networks, id_)
        self._note(Kind.NETWORK, id_, Op.DELETE)

    def put_subnet(self, subnet: Subnet) -> None:
        """Write a subnet; its allocator is rebuilt when it is next asked."""
        row = {
            "id": subnet.id,
            "project_id": subnet.project_id,
            "network_id": subnet.network_id,
            "body": encode(subnet),
        }
        self._put_counted(t.subnets, Kind.SUBNET, row)
        self._kept.pools.forget(subnet.id)
        self._undo.append(lambda: self._kept.pools.forget(subnet.id))
        self._note(Kind.SUBNET, subnet.id, nodes=self.bound_nodes(subnet.network_id))

    def delete_subnet(self, id_: SubnetId) -> None:
        """Delete a subnet, and let go of its resting addresses."""
        found = self.subnet(id_)
        if found is not None:
            self._count(Kind.SUBNET, found.project_id, -1)
        self._delete(t.subnets, id_)
        for network_id, address in self.run(_RESTING_OF, subnet_id=id_).fetchall():
            self._delete(t.resting_ips, network_id, address)
        self._then.append(lambda: self._kept.pools.forget(id_))
        self._note(Kind.SUBNET, id_, Op.DELETE)

    def put_router(self, router: Router) -> None:
        """Write a router. Raises Conflict if its VRF or L3VNI is another's."""
        row = {
            "id": router.id,
            "project_id": router.project_id,
            "name": router.name,
            "vrf": router.vrf,
            "l3vni": router.l3vni,
            "body": encode(router),
        }
        self._put_counted(t.routers, Kind.ROUTER, row)
        self._note(Kind.ROUTER, router.id)

    def delete_router(self, id_: RouterId) -> None:
        """Delete a router."""
        found = self.router(id_)
        if found is not None:
            self._count(Kind.ROUTER, found.project_id, -1)
        self._delete(t.routers, id_)
        self._note(Kind.ROUTER, id_, Op.DELETE)

    def put_router_interface(self, interface: RouterInterface) -> None:
        """Attach a subnet to a router."""
        row = {
            "subnet_id": interface.subnet_id,
            "router_id": interface.router_id,
            "network_id": interface.network_id,
            "port_id": interface.port_id,
            "body": encode(interface),
        }
        self._put(t.router_interfaces, row)
        self._note(Kind.ROUTER_INTERFACE, interface.subnet_id)

    def delete_router_interface(self, subnet_id: SubnetId) -> None:
        """Detach a subnet from its router."""
        self._delete(t.router_interfaces, subnet_id)
        self._note(Kind.ROUTER_INTERFACE, subnet_id, Op.DELETE)

    def add_port(self, view: PortView, told: tuple[HistoryEntry, ...]) -> None:
        """Write a new port that is on no node, with its addresses and how its history begins.

        If an address or the MAC is another port's in the network, the work fails with Conflict when it is written.
        """
        port = view.port
        self._layer.insert(t.ports, (port.id,), _port_row(view))
        self._count(Kind.PORT, port.project_id, 1)
        for held in port.fixed_ips:
            self._insert_address(port, held)
        self._changes[Kind.PORT, port.id] = (Op.PUT, ())
        self._saved[port.id] = None
        self._told[port.id] = [*told]

    def put_port(self, view: PortView, before: PortView | None, *, awaited: bool = False) -> None:
        """Write a port, its addresses and its bindings; `before` is what is stored now.

        `awaited`: its nodes are told of a new state, too, not only of what they shall carry.
        If an address or the MAC is another port's in the network, the work fails with Conflict when it is written.
        """
        port = view.port
        if before is None:
            self._layer.insert(t.ports, (port.id,), _port_row(view))
            self._count(Kind.PORT, port.project_id, 1)
        else:
            self._layer.update(t.ports, (port.id,), _port_row(view), _changed_columns(view, before))
        self._write_addresses(view, before)
        self._write_bindings(view, before)
        nodes = _nodes(view, before)
        if awaited and before is not None and before.life.state is not view.life.state:
            nodes |= {binding.node for binding in view.life.bindings}
        self._note(Kind.PORT, port.id, nodes=nodes)

    def delete_port(self, view: PortView) -> None:
        """Delete a port; its addresses are no longer its own (see rest_address)."""
        for held in view.port.fixed_ips:
            self._delete(t.fixed_ips, view.port.network_id, str(held.address))
        for binding in view.life.bindings:
            self._delete(t.bindings, view.port.id, binding.epoch)
        self._delete(t.ports, view.port.id)
        self._put(t.released_ports, {"port_id": view.port.id, "at": self.clock()})
        self._count(Kind.PORT, view.port.project_id, -1)
        self._note(Kind.PORT, view.port.id, Op.DELETE, nodes=_nodes(view, None))

    def note_port(self, view: PortView) -> None:
        """Note that there is something new in a port's history, for those who follow it; no node needs to know."""
        self._note(Kind.PORT, view.port.id)

    def _write_addresses(self, view: PortView, before: PortView | None) -> None:
        port = view.port
        old = before.port.fixed_ips if before is not None else ()
        if old == port.fixed_ips:
            return
        for gone in old:
            if gone not in port.fixed_ips:
                self._delete(t.fixed_ips, port.network_id, str(gone.address))
        for held in port.fixed_ips:
            if held not in old:
                self._insert_address(port, held)

    def _insert_address(self, port: Port, held: FixedIp) -> None:
        address = str(held.address)
        row = {"network_id": port.network_id, "address": address, "subnet_id": held.subnet_id, "port_id": port.id}
        self._gained.setdefault(port.id, []).append(f"{held.subnet_id}/{address}")
        self._layer.insert(t.fixed_ips, (port.network_id, address), row)

    def _write_bindings(self, view: PortView, before: PortView | None) -> None:
        port_id, bindings = view.port.id, view.life.bindings
        old: set[tuple[int, str]] = set()
        if before is not None and before.life.bindings:
            old = {(each.epoch, each.node) for each in before.life.bindings}
            for epoch, _ in old - {(each.epoch, each.node) for each in bindings}:
                self._delete(t.bindings, port_id, epoch)
        for each in bindings:
            if (each.epoch, each.node) not in old:
                row = {"port_id": port_id, "epoch": each.epoch, "node": each.node, "network_id": view.port.network_id}
                self._put(t.bindings, row, fresh=True)

    def is_bound(self, node: NodeName, network_id: NetworkId) -> bool:
        """Tell whether any binding of a network is on a node, draining ones included.

        Of a network with many ports on the node, a look at a few of its bindings tells, and nothing need be written.
        """
        deleted = [layer.deletes.get(t.bindings, {}) for layer in (self._layer, self._group.layer)]
        some = self._group.bound(node, network_id, lambda: self._bound_on(node, network_id))
        if any(all(key not in keys for keys in deleted) for key in some):
            return True
        if len(some) < LOOKED_AT and t.bindings not in self._layer.dirty | self._group.layer.dirty:
            return False
        return bool(self.run(_BOUND_ON, node=node, network_id=network_id, page=1).fetchall())

    def _bound_on(self, node: NodeName, network_id: NetworkId) -> list[tuple[Any, ...]]:
        """Read some of a network's bindings on a node, as the database has them."""
        found = Snapshot.run(self, _BOUND_ON, node=node, network_id=network_id, page=LOOKED_AT).fetchall()
        return [tuple(key) for key in found]

    # --- objects of the many kinds that need no table of their own

    def put_record(
        self,
        kind: Kind,
        id_: str,
        value: msgspec.Struct,
        *,
        project_id: str = "",
        name: str = "",
        parent: str = "",
        unique: str | None = None,
        nodes: Iterable[NodeName] = (),
    ) -> None:
        """Write a record; `parent` is the object that it belongs to, `unique` a key that one of its kind may have.

        If another record of the kind has the key, the work fails with Conflict (UniqueKeyInUse) when it is written.
        """
        row = {
            "kind": kind,
            "id": id_,
            "project_id": project_id,
            "name": name,
            "parent": parent,
            "unique_key": unique,
            "body": encode(value),
        }
        before = self.row(t.records, kind, id_)
        self._put(t.records, row, fresh=before is None)
        if before is None:
            self._count(kind, project_id, 1)
        self._note(kind, id_, nodes=nodes)

    def delete_record(
        self, kind: Kind, id_: str, *, project_id: str | None = None, nodes: Iterable[NodeName] = ()
    ) -> None:
        """Delete a record; nothing happens if there is none. Who knows its project saves a query."""
        if self.row(t.records, kind, id_) is None:
            return
        owner = self.run(_RECORD_OWNER, kind=kind, id=id_).fetchone()[0] if project_id is None else project_id
        self._count(kind, owner, -1)
        self._delete(t.records, kind, id_)
        self._note(kind, id_, Op.DELETE, nodes=nodes)

    # --- addresses and numbers

    def take_address(self, subnet: Subnet, address: int | None = None) -> int | None:
        """Take this address, or the next free one, from a subnet's allocator; None if it is taken, or none is free."""
        taken = self._take(subnet, address)
        if taken is None and self._kept.pools.is_doubted(subnet.id):
            self._kept.pools.forget(subnet.id)
            taken = self._take(subnet, address)
        return taken

    def take_addresses(self, subnet: Subnet, count: int) -> list[int]:
        """Take the next so many free addresses from a subnet's allocator; fewer if there are no more."""
        taken = self._take_several(subnet, count)
        if len(taken) < count and self._kept.pools.is_doubted(subnet.id):
            for number in taken:
                self._kept.pools.of(subnet, self).release(number)
            self._kept.pools.forget(subnet.id)
            taken = self._take_several(subnet, count)
        return taken

    def _take_several(self, subnet: Subnet, count: int) -> list[int]:
        pool = self.pool(subnet)
        taken = pool.allocate_several(count, self.clock())
        self._taken.append((pool, taken))
        return taken

    def _take(self, subnet: Subnet, address: int | None) -> int | None:
        pool = self.pool(subnet)
        now = self.clock()
        taken = pool.allocate(now) if address is None else address if pool.take(address, now) else None
        if taken is not None:
            self._taken.append((pool, [taken]))
        return taken

    def rest_address(self, subnet: Subnet, address: IPAddress, until: float) -> None:
        """Keep a given-up address from being used by anyone before `until` (Unix seconds)."""
        row = {
            "network_id": subnet.network_id,
            "address": str(address),
            "subnet_id": subnet.id,
            "until": until,
        }
        self._put(t.resting_ips, row)
        pool = self.pool(subnet)
        self._then.append(lambda: pool.rest(int(address), until))

    def forget_address(self, network_id: NetworkId, address: str, subnet_id: SubnetId) -> None:
        """Drop an address from the tables of those that ports have and of those that rest; for repairs."""
        self._delete(t.fixed_ips, network_id, address)
        self._delete(t.resting_ips, network_id, address)
        self._then.append(lambda: self._kept.pools.forget(subnet_id))

    def pool(self, subnet: Subnet) -> AddressPool:
        """Return the allocator of a subnet, built from rows if it is not there yet."""
        pools = self._kept.pools
        if subnet.id not in pools:
            # Built from what this work has written, too: if that is undone, the allocator is wrong.
            self._undo.append(lambda: pools.forget(subnet.id))
        return pools.of(subnet, self)

    def next_number(self, name: str, first: int, last: int, taken: Callable[[int], bool]) -> int | None:
        """Return the next number of first..last after the one given out last under `name` that is not taken."""
        row = self.row(t.cursors, name)
        size = last - first + 1
        start = 0 if row is None else (row[0] + 1 - first) % size
        for offset in range(size):
            number = first + (start + offset) % size
            if not taken(number):
                self._put(t.cursors, {"name": name, "value": number})
                return number
        return None

    def next_serial(self, name: str, bits: int) -> int:
        """Return a number below 2^bits that was not given out under `name` before, until all have been."""
        serials = self._kept.serials.get(name)
        if serials is None:
            serials = self._kept.serials[name] = Serials(bits)
        if not serials.left:
            self.set_aside(name, serials)
        return serials.next()

    def set_aside(self, name: str, serials: Serials) -> None:
        """Let this process alone give out the next block of numbers."""
        row = self.row(t.cursors, name)
        block = self.random(serials.bits) // BLOCK if row is None else row[0] + 1
        block %= (1 << serials.bits) // BLOCK
        self._put(t.cursors, {"name": name, "value": block})
        kept = self._kept
        self._undo.append(lambda: kept.forget_serials(name))
        serials.add(block)

    def put_leaf_vlan(self, vlan: LeafVlan) -> None:
        """Write the VLAN of a network in a domain."""
        row = {
            "domain": vlan.domain,
            "network_id": vlan.network_id,
            "vlan": vlan.vlan,
            "body": encode(vlan),
        }
        self._put(t.leaf_vlans, row)
        self._note(Kind.LEAF_VLAN, f"{vlan.domain}/{vlan.network_id}")

    def delete_leaf_vlan(self, domain: str, network_id: NetworkId) -> None:
        """Forget the VLAN of a network in a domain."""
        self._delete(t.leaf_vlans, domain, network_id)
        self._note(Kind.LEAF_VLAN, f"{domain}/{network_id}", Op.DELETE)

    # --- what is physically there, and what it says of itself

    def put_inventory(self, inventory: Inventory, numbering: Numbering) -> None:
        """Write inventory and numbering."""
        body = encode(inventory)
        self._topology = None
        self._put(t.documents, {"name": "inventory", "body": body})
        self._put(t.cursors, {"name": INVENTORY, "value": mark_of(body)})
        self._put(t.documents, {"name": "numbering", "body": encode(numbering)})
        self._note(Kind.INVENTORY, "inventory")

    def put_node_token(self, node: NodeName, sha256: str) -> None:
        """Store the digest of a node's token; an older token is void."""
        self._put(t.node_tokens, {"node": node, "sha256": sha256})

    def forget_node(self, node: NodeName) -> None:
        """Void the token of a node that is no more, and drop when its agent was heard."""
        self._delete(t.node_tokens, node)
        self._delete(t.agents, node)

    def put_agent_seen(self, node: NodeName, at: float) -> None:
        """Note that a node's agent was heard."""
        self._put(t.agents, {"node": node, "last_seen": at})

    def put_switch_status(self, status: SwitchStatus) -> None:
        """Write what is known of a switch."""
        self._put(t.switch_statuses, {"switch": status.switch, "body": encode(status)})
        self._note(Kind.SWITCH_STATUS, status.switch)

    def forget_switch(self, switch: SwitchName) -> None:
        """Drop what was known of a switch that is no more, and what was approved for it: one that comes is another."""
        self.delete_record(Kind.APPROVAL, switch)
        self._delete(t.switch_statuses, switch)
        self._note(Kind.SWITCH_STATUS, switch, Op.DELETE)

    def _put_counted(self, table: sa.Table, kind: Kind, row: Row) -> None:
        if self.row(table, row["id"]) is None:
            self._count(kind, row["project_id"], 1)
        self._put(table, row)


LOOKED_AT = 8
"""Bindings of a network on a node that are looked at, to find one that nobody is about to delete."""


def _port_row(view: PortView) -> Row:
    port = view.port
    return {
        "id": port.id,
        "project_id": port.project_id,
        "network_id": port.network_id,
        "name": port.name,
        "mac": port.mac,
        "device_id": port.device_id,
        "state": view.life.state,
        "body": encode(port),
        "life": encode(view.life),
    }


_ALWAYS_CHANGED = frozenset({"body", "life"})
_AND_STATE = _ALWAYS_CHANGED | {"state"}
_NAMED = ("name", "mac", "device_id", "project_id", "network_id")
_named = attrgetter(*_NAMED)


def _changed_columns(after: PortView, before: PortView) -> frozenset[str]:
    """Return which columns of a port's row have changed: of a binding, hardly any."""
    changed = _ALWAYS_CHANGED if after.life.state is before.life.state else _AND_STATE
    if _named(after.port) != _named(before.port):
        changed |= {name for name in _NAMED if getattr(after.port, name) != getattr(before.port, name)}
    return changed


def _nodes(after: PortView, before: PortView | None) -> set[NodeName]:
    """Return the nodes that shall carry something else now: none if only a realizer's word is new."""
    if before is not None and before.life.bindings == after.life.bindings and _carried_alike(before.port, after.port):
        return set()
    bindings = (*after.life.bindings, *(before.life.bindings if before else ()))
    return {binding.node for binding in bindings}


def _carried_alike(a: Port, b: Port) -> bool:
    return a == msgspec.structs.replace(b, revision_number=a.revision_number, updated_at=a.updated_at)


_BOUND_ON = (
    sa.select(t.bindings.c.port_id, t.bindings.c.epoch)
    # By the index of nodes, whatever a database guesses: a network has far more bindings than a node.
    .where(t.bindings.c.node == sa.bindparam("node"))
    .where(t.bindings.c.network_id.concat(sa.literal_column("''")) == sa.bindparam("network_id"))
    .order_by(t.bindings.c.port_id.desc())  # the oldest are the likeliest to go
    .limit(sa.bindparam("page"))
    .offset(sa.literal_column("0"))
)
_RESTING_OF = sa.select(t.resting_ips.c.network_id, t.resting_ips.c.address).where(
    t.resting_ips.c.subnet_id == sa.bindparam("subnet_id")
)
_RECORD_OWNER = sa.select(t.records.c.project_id).where(
    t.records.c.kind == sa.bindparam("kind"), t.records.c.id == sa.bindparam("id")
)
