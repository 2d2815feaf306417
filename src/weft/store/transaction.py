"""Transaction: a snapshot that can be written to, and that keeps the log of what it changed.

A write to an object notes a Change; what was noted gets one revision when the transaction ends well. Nothing
written here is seen by anyone before the commit of the group that the transaction is in.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from weft.fabric.numbering import Numbering
from weft.ipam.pools import AddressPool
from weft.model import steps
from weft.model.addresses import IPAddress
from weft.model.errors import Conflict
from weft.model.ids import NetworkId, NodeName, PortId, Revision, RouterId, SubnetId, SwitchName
from weft.model.intent import (
    HistoryEntry,
    LeafVlan,
    Network,
    Port,
    Router,
    RouterInterface,
    Subnet,
)
from weft.model.inventory import Inventory
from weft.store import schema as t
from weft.store.changes import Change, Kind, Op
from weft.store.codec import encode
from weft.store.ids import Ids
from weft.store.pools import Pools
from weft.store.snapshot import Connection, Snapshot
from weft.store.views import PortView, SwitchStatus

log = structlog.get_logger()

HISTORY_KEPT = 500
"""Entries of a port's history that are kept; a port that flaps forgets how it began."""


class Transaction(Snapshot):
    """Reads and writes of one piece of work; see Store.transact."""

    def __init__(
        self,
        connection: Connection,
        dialect: sa.Dialect,
        *,
        clock: Callable[[], float],
        asked_at: float,
        random: Callable[[int], int],
        ids: Ids,
        pools: Pools,
        duplicate: type[Exception],
    ) -> None:
        super().__init__(connection, dialect)
        self.clock = clock
        self.asked_at = asked_at
        """When the caller asked for this work, Unix seconds; it may have waited for its turn since."""
        self.random = random
        """Returns so many random bits."""
        self._ids = ids
        self._pools = pools
        self._duplicate = duplicate
        self._changes: dict[tuple[Kind, str], tuple[Op, tuple[NodeName, ...]]] = {}
        self._undo: list[Callable[[], None]] = []
        self._then: list[Callable[[], None]] = []
        self._saved: list[PortId] = []
        self._told: set[PortId] = set()

    # --- what the engine does with it

    def finish(self) -> tuple[Change, ...]:
        """Write the log entries of this work under the next revision, and return them."""
        for port_id in self._saved:
            self.add_history(HistoryEntry(port_id=port_id, at=self.clock(), actor="api", step=steps.SAVED))
        for port_id in sorted(self._told):
            self.run(_FORGET, port_id=port_id, kept=HISTORY_KEPT)
        if not self._changes:
            return ()
        revision = Revision(self.revision() + 1)
        changes = tuple(
            Change(revision=revision, kind=kind, id=id_, op=op, nodes=nodes)
            for (kind, id_), (op, nodes) in self._changes.items()
        )
        for seq, change in enumerate(changes):
            self.run(
                _LOG,
                revision=revision,
                seq=seq,
                kind=change.kind,
                id=change.id,
                op=change.op,
                nodes=" ".join(change.nodes),
            )
        return changes

    def undo(self) -> None:
        """Take back what this work did to allocators; its rows are rolled back by the engine."""
        for action in reversed(self._undo):
            action()

    def committed(self) -> None:
        """Do what was put off until the work is durable."""
        for action in self._then:
            try:
                action()
            except Exception:
                # The rows are durable; what follows from them must not take the writer down.
                log.exception("after_commit_failed")

    def on_commit(self, action: Callable[[], None]) -> None:
        """Have something done once this work is durable, such as a line in the log."""
        self._then.append(action)

    def revision_after(self) -> Revision:
        """Return the revision that this work will have: the next one if it has changed anything so far."""
        return Revision(self.revision() + bool(self._changes))

    def new_id(self) -> str:
        """Return a new identifier, later than every one before."""
        return self._ids.next(int(self.clock() * 1000))

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
        try:
            self._put(t.networks, row)
        except self._duplicate:
            raise Conflict(f"VNI {network.vni} is taken by another network", kind="VniInUse") from None
        self._note(Kind.NETWORK, network.id, nodes=self.bound_nodes(network.id))

    def delete_network(self, id_: NetworkId) -> None:
        """Delete a network."""
        self._delete(t.networks, id=id_)
        self._note(Kind.NETWORK, id_, Op.DELETE)

    def put_subnet(self, subnet: Subnet) -> None:
        """Write a subnet; its allocator is rebuilt when it is next asked."""
        self._put(t.subnets, {"id": subnet.id, "network_id": subnet.network_id, "body": encode(subnet)})
        self._pools.forget(subnet.id)
        self._undo.append(lambda: self._pools.forget(subnet.id))
        self._note(Kind.SUBNET, subnet.id, nodes=self.bound_nodes(subnet.network_id))

    def delete_subnet(self, id_: SubnetId) -> None:
        """Delete a subnet, and let go of its resting addresses."""
        self._delete(t.subnets, id=id_)
        self._delete(t.resting_ips, subnet_id=id_)
        self._then.append(lambda: self._pools.forget(id_))
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
        try:
            self._put(t.routers, row)
        except self._duplicate:
            raise Conflict(f"L3VNI {router.l3vni} or VRF {router.vrf} is taken by another router") from None
        self._note(Kind.ROUTER, router.id)

    def delete_router(self, id_: RouterId) -> None:
        """Delete a router."""
        self._delete(t.routers, id=id_)
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
        self._delete(t.router_interfaces, subnet_id=subnet_id)
        self._note(Kind.ROUTER_INTERFACE, subnet_id, Op.DELETE)

    def put_port(self, view: PortView, before: PortView | None, *, created: bool = False) -> None:
        """Write a port, its addresses and its bindings; `before` is what is stored now.

        Raises Conflict if an address or the MAC is another port's in the network.
        """
        port, life = view.port, view.life
        row = {
            "id": port.id,
            "project_id": port.project_id,
            "network_id": port.network_id,
            "name": port.name,
            "mac": port.mac,
            "device_id": port.device_id,
            "state": life.state,
            "body": encode(port),
            "life": encode(life),
        }
        try:
            self._put(t.ports, row, fresh=before is None)
        except self._duplicate:
            raise mac_in_use(port.mac, port.network_id) from None
        self._write_addresses(view, before)
        self._write_bindings(view, before)
        self._note(Kind.PORT, port.id, nodes=_nodes(view, before))
        if created:
            self._saved.append(port.id)

    def delete_port(self, view: PortView) -> None:
        """Delete a port; its addresses are no longer its own (see rest_address)."""
        self._delete(t.fixed_ips, port_id=view.port.id)
        self._delete(t.bindings, port_id=view.port.id)
        self._delete(t.ports, id=view.port.id)
        self.run(_insert(t.released_ports), port_id=view.port.id, at=self.clock())
        self._note(Kind.PORT, view.port.id, Op.DELETE, nodes=_nodes(view, None))

    def note_port(self, view: PortView) -> None:
        """Note that there is something new in a port's history, for those who follow it; no node needs to know."""
        self._note(Kind.PORT, view.port.id)

    def _write_addresses(self, view: PortView, before: PortView | None) -> None:
        port = view.port
        old = set(before.port.fixed_ips) if before else set()
        for gone in old - set(port.fixed_ips):
            self._delete(t.fixed_ips, network_id=port.network_id, address=str(gone.address))
        for held in port.fixed_ips:
            if held in old:
                continue
            row = {
                "network_id": port.network_id,
                "address": str(held.address),
                "subnet_id": held.subnet_id,
                "port_id": port.id,
            }
            # It has rested: an allocator that is built from both tables must find it in one of them only.
            self._delete(t.resting_ips, network_id=port.network_id, address=str(held.address))
            try:
                self.run(_insert(t.fixed_ips), **row)
            except self._duplicate:
                raise address_in_use(str(held.address), held.subnet_id) from None

    def _write_bindings(self, view: PortView, before: PortView | None) -> None:
        old = {(b.epoch, b.node) for b in before.life.bindings} if before else set()
        new = {(b.epoch, b.node) for b in view.life.bindings}
        for epoch, _ in old - new:
            self._delete(t.bindings, port_id=view.port.id, epoch=epoch)
        for epoch, node in new - old:
            self.run(
                _insert(t.bindings),
                port_id=view.port.id,
                epoch=epoch,
                node=node,
                network_id=view.port.network_id,
            )

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

        Raises Conflict (UniqueKeyInUse) if another record of the kind has the key.
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
        try:
            self._put(t.records, row)
        except self._duplicate:
            raise Conflict(f"'{unique}' is taken by another {kind}", kind="UniqueKeyInUse") from None
        self._note(kind, id_, nodes=nodes)

    def delete_record(self, kind: Kind, id_: str, *, nodes: Iterable[NodeName] = ()) -> None:
        """Delete a record; nothing happens if there is none."""
        self._delete(t.records, kind=kind, id=id_)
        self._note(kind, id_, Op.DELETE, nodes=nodes)

    # --- addresses and numbers

    def take_address(self, subnet: Subnet, address: int | None = None) -> int | None:
        """Take this address, or the next free one, from a subnet's allocator; None if it is taken, or none is free."""
        pool = self.pool(subnet)
        now = self.clock()
        taken = pool.allocate(now) if address is None else address if pool.take(address, now) else None
        if taken is not None:
            self._undo.append(lambda: pool.release(taken))
        return taken

    def rest_address(self, subnet: Subnet, address: IPAddress, until: float) -> None:
        """Keep a given-up address from being used by anyone before `until` (Unix seconds)."""
        key = {"network_id": subnet.network_id, "address": str(address)}
        self._delete(t.resting_ips, **key)
        self.run(_insert(t.resting_ips), **key, subnet_id=subnet.id, until=until)
        pool = self.pool(subnet)
        self._then.append(lambda: pool.rest(int(address), until))

    def pool(self, subnet: Subnet) -> AddressPool:
        """Return the allocator of a subnet, built from rows if it is not there yet."""
        if subnet.id not in self._pools:
            # Built from what this work has written, too: if that is undone, the allocator is wrong.
            self._undo.append(lambda: self._pools.forget(subnet.id))
        return self._pools.of(subnet, self)

    def next_number(self, name: str, first: int, last: int, taken: Callable[[int], bool]) -> int | None:
        """Return the next number of first..last after the one given out last under `name` that is not taken."""
        row = self.run(_CURSOR, name=name).fetchone()
        size = last - first + 1
        start = 0 if row is None else (row[0] + 1 - first) % size
        for offset in range(size):
            number = first + (start + offset) % size
            if not taken(number):
                self._put(t.cursors, {"name": name, "value": number})
                return number
        return None

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
        self._delete(t.leaf_vlans, domain=domain, network_id=network_id)
        self._note(Kind.LEAF_VLAN, f"{domain}/{network_id}", Op.DELETE)

    # --- what is physically there, and what it says of itself

    def put_inventory(self, inventory: Inventory, numbering: Numbering) -> None:
        """Write inventory and numbering."""
        self._put(t.documents, {"name": "inventory", "body": encode(inventory)})
        self._put(t.documents, {"name": "numbering", "body": encode(numbering)})
        self._note(Kind.INVENTORY, "inventory")

    def put_node_token(self, node: NodeName, sha256: str) -> None:
        """Store the digest of a node's token; an older token is void."""
        self._put(t.node_tokens, {"node": node, "sha256": sha256})

    def forget_node(self, node: NodeName) -> None:
        """Void the token of a node that is no more, and drop when its agent was heard."""
        self._delete(t.node_tokens, node=node)
        self._delete(t.agents, node=node)

    def put_agent_seen(self, node: NodeName, at: float) -> None:
        """Note that a node's agent was heard."""
        self._put(t.agents, {"node": node, "last_seen": at})

    def put_switch_status(self, status: SwitchStatus) -> None:
        """Write what is known of a switch."""
        self._put(t.switch_statuses, {"switch": status.switch, "body": encode(status)})
        self._note(Kind.SWITCH_STATUS, status.switch)

    def forget_switch(self, switch: SwitchName) -> None:
        """Drop what was known of a switch that is no more."""
        self._delete(t.switch_statuses, switch=switch)
        self._note(Kind.SWITCH_STATUS, switch, Op.DELETE)

    def add_history(self, entry: HistoryEntry) -> None:
        """Append to a port's history, of which the last HISTORY_KEPT entries are kept."""
        self._told.add(entry.port_id)
        self.run(_insert(t.history, "port_id", "body"), port_id=entry.port_id, body=encode(entry))

    # --- statements

    def _note(self, kind: Kind, id_: str, op: Op = Op.PUT, nodes: Iterable[NodeName] = ()) -> None:
        """Note a change; an object that changes several times in one piece of work changes once."""
        _, before = self._changes.pop((kind, id_), (op, ()))
        self._changes[kind, id_] = (op, tuple(sorted({*before, *nodes})))

    def _put(self, table: sa.Table, row: dict[str, Any], *, fresh: bool = False) -> None:
        keys = {f"key_{column.name}": row[column.name] for column in table.primary_key}
        if not fresh and self.run(_update(table), **row, **keys).rowcount > 0:
            return
        self.run(_insert(table), **row)

    def _delete(self, table: sa.Table, **key: Any) -> None:
        self.run(_delete_by(table, tuple(sorted(key))), **key)


def address_in_use(address: str, subnet_id: SubnetId) -> Conflict:
    """Return the error for an address that is another port's."""
    return Conflict(f"IP address {address} already allocated in subnet {subnet_id}", kind="IpAddressAlreadyAllocated")


def mac_in_use(mac: str, network_id: NetworkId) -> Conflict:
    """Return the error for a MAC address that is another port's."""
    return Conflict(
        f"Unable to complete operation for network {network_id}. The mac address {mac} is in use.",
        kind="MacAddressInUse",
    )


def _nodes(after: PortView, before: PortView | None) -> set[NodeName]:
    """Return the nodes that shall carry something else now: none if only a realizer's word is new."""
    if before is not None and before.life.bindings == after.life.bindings and _carried_alike(before.port, after.port):
        return set()
    bindings = (*after.life.bindings, *(before.life.bindings if before else ()))
    return {binding.node for binding in bindings}


def _carried_alike(a: Port, b: Port) -> bool:
    return a == msgspec.structs.replace(b, revision_number=a.revision_number, updated_at=a.updated_at)


@lru_cache(maxsize=64)
def _insert(table: sa.Table, *columns: str) -> sa.Insert:
    return sa.insert(table).values({name: sa.bindparam(name) for name in columns or table.c.keys()})


@lru_cache(maxsize=64)
def _update(table: sa.Table) -> sa.Update:
    keys = {column.name for column in table.primary_key}
    statement = sa.update(table).values({c.name: sa.bindparam(c.name) for c in table.c if c.name not in keys})
    for name in sorted(keys):
        # A parameter of an UPDATE's WHERE may not be named like a column.
        statement = statement.where(table.c[name] == sa.bindparam(f"key_{name}"))
    return statement


@lru_cache(maxsize=64)
def _delete_by(table: sa.Table, columns: tuple[str, ...]) -> sa.Delete:
    statement = sa.delete(table)
    for name in columns:
        statement = statement.where(table.c[name] == sa.bindparam(name))
    return statement


_LOG = _insert(t.changes)
_CURSOR = sa.select(t.cursors.c.value).where(t.cursors.c.name == sa.bindparam("name"))
_BEYOND = (
    sa.select(t.history.c.seq)
    .where(t.history.c.port_id == sa.bindparam("port_id"))
    .order_by(t.history.c.seq.desc())
    .limit(sa.literal_column("1"))
    .offset(sa.bindparam("kept"))
)
_FORGET = sa.delete(t.history).where(
    t.history.c.port_id == sa.bindparam("port_id"), t.history.c.seq <= _BEYOND.scalar_subquery()
)
