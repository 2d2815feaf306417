"""Snapshot: typed reads of one consistent state.

Statements are written once, with SQLAlchemy Core, and compiled once for each engine; what runs for a request is SQL
text on the driver's own connection, because the toolkit's execution costs more than the database does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from weft.fabric.numbering import Numbering
from weft.fabric.topology import Topology
from weft.model.ids import NetworkId, NodeName, PortId, Revision, RouterId, SubnetId, SwitchName
from weft.model.intent import HistoryEntry, LeafVlan, Network, Router, RouterInterface, Subnet
from weft.model.inventory import Inventory
from weft.ports.lifecycle import Lifecycle
from weft.store import schema as t
from weft.store.changes import Kind
from weft.store.codec import decode, decode_port, decode_subnet
from weft.store.views import PortView, SwitchStatus

T = TypeVar("T")

MAX_KEYS = 500
"""Keys in one IN list; more are read in several statements (SQLite allows 999 variables)."""


class Connection(Protocol):
    """What a driver's connection has to offer: SQL text with named parameters in, rows out."""

    def execute(self, sql: str, parameters: Mapping[str, Any] = ..., /) -> Any:
        """Run one statement and return a cursor."""


@lru_cache(maxsize=512)
def _sql(statement: sa.ClauseElement, dialect: sa.Dialect) -> str:
    return str(statement.compile(dialect=dialect))


class Snapshot:
    """Reads within one transaction of the database. Not for use after the call that it was given to."""

    def __init__(self, connection: Connection, dialect: sa.Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    def run(self, statement: sa.ClauseElement, **parameters: Any) -> Any:
        """Run a statement that stands at module level (it is compiled once) and return the driver's cursor."""
        return self._connection.execute(_sql(statement, self._dialect), parameters)

    def revision(self) -> Revision:
        """Return the newest revision in this snapshot; 0 before the first."""
        return Revision(self.run(_REVISION).fetchone()[0] or 0)

    def network(self, id_: NetworkId) -> Network | None:
        """Return a network."""
        return self._one(_NETWORK, lambda row: decode(Network, row[0]), id=id_)

    def networks(self) -> list[Network]:
        """Return all networks."""
        return [decode(Network, row[0]) for row in self.run(_NETWORKS)]

    def subnet(self, id_: SubnetId) -> Subnet | None:
        """Return a subnet."""
        return self._one(_SUBNET, lambda row: decode_subnet(row[0]), id=id_)

    def subnets(self, network_id: NetworkId | None = None) -> list[Subnet]:
        """Return all subnets, or those of a network."""
        rows = self.run(_SUBNETS) if network_id is None else self.run(_SUBNETS_OF, network_id=network_id)
        return [decode_subnet(row[0]) for row in rows]

    def router(self, id_: RouterId) -> Router | None:
        """Return a router."""
        return self._one(_ROUTER, lambda row: decode(Router, row[0]), id=id_)

    def routers(self) -> list[Router]:
        """Return all routers."""
        return [decode(Router, row[0]) for row in self.run(_ROUTERS)]

    def router_interface(self, subnet_id: SubnetId) -> RouterInterface | None:
        """Return the router interface of a subnet, of which there is at most one."""
        return self._one(_INTERFACE, lambda row: decode(RouterInterface, row[0]), subnet_id=subnet_id)

    def router_interfaces(self, router_id: RouterId | None = None) -> list[RouterInterface]:
        """Return all router interfaces, or those of a router."""
        rows = self.run(_INTERFACES) if router_id is None else self.run(_INTERFACES_OF, router_id=router_id)
        return [decode(RouterInterface, row[0]) for row in rows]

    def port(self, id_: PortId) -> PortView | None:
        """Return a port and its lifecycle."""
        return self._one(_PORT, _port_view, id=id_)

    def ports(
        self,
        *,
        network_id: NetworkId | None = None,
        node: NodeName | None = None,
        device_id: str | None = None,
        ids: Sequence[PortId] | None = None,
        name: str | None = None,
        mac: str | None = None,
        address: str | None = None,
        project_id: str | None = None,
        state: str | None = None,
    ) -> list[PortView]:
        """Return the ports that pass every filter given; `node` is where a binding, draining or not, is."""
        wanted: dict[str, Any] = {
            "network_id": network_id,
            "device_id": device_id,
            "name": name,
            "mac": mac,
            "project_id": project_id,
            "state": state,
            "node": node,
            "address": address,
        }
        given = {key: value for key, value in wanted.items() if value is not None}
        if ids is None:
            return [_port_view(row) for row in self.run(_ports_by(frozenset(given)), **given)]
        found: list[PortView] = []
        for part in _parts(ids):
            keys = {f"id{at}": id_ for at, id_ in enumerate(part)}
            found += [_port_view(row) for row in self.run(_ports_by(frozenset(given), len(part)), **given, **keys)]
        return found

    def bound_nodes(self, network_id: NetworkId) -> set[NodeName]:
        """Return the nodes that any binding of a network is on, draining ones included."""
        return {NodeName(row[0]) for row in self.run(_BOUND_NODES, network_id=network_id)}

    def subnet_used(self, subnet_id: SubnetId) -> bool:
        """Tell whether a port has an address of a subnet."""
        return bool(self.run(_SUBNET_USED, subnet_id=subnet_id).fetchone()[0])

    def vni_taken(self, vni: int) -> bool:
        """Tell whether a network or a router has this VNI."""
        return self.run(_VNI_TAKEN, vni=vni).fetchone() is not None

    def inventory(self) -> Inventory:
        """Return the inventory; empty before the first import."""
        return self.topology().inventory

    def topology(self) -> Topology:
        """Return the wiring of the inventory; empty before the first import."""
        return self._one(_DOCUMENT, lambda row: _topology(row[0]), name="inventory") or _NOWHERE

    def numbering(self) -> Numbering:
        """Return the numbers of the inventory."""
        return self._one(_DOCUMENT, lambda row: _numbering(row[0]), name="numbering") or Numbering()

    def leaf_vlans(self, domain: str | None = None) -> list[LeafVlan]:
        """Return all leaf VLANs, or those of a domain; those that rest included."""
        rows = self.run(_LEAF_VLANS) if domain is None else self.run(_LEAF_VLANS_OF, domain=domain)
        return [decode(LeafVlan, row[0]) for row in rows]

    def leaf_vlan(self, domain: str, network_id: NetworkId) -> LeafVlan | None:
        """Return the VLAN of a network in a domain, resting or not."""
        return self._one(_LEAF_VLAN, lambda row: decode(LeafVlan, row[0]), domain=domain, network_id=network_id)

    def history(self, port_id: PortId) -> list[HistoryEntry]:
        """Return a port's history, oldest entry first; it outlives the port."""
        return [decode(HistoryEntry, row[0]) for row in self.run(_HISTORY, port_id=port_id)]

    def switch_statuses(self) -> dict[SwitchName, SwitchStatus]:
        """Return what is known of each switch."""
        found = (decode(SwitchStatus, row[0]) for row in self.run(_SWITCH_STATUSES))
        return {status.switch: status for status in found}

    def agents(self) -> dict[NodeName, float]:
        """Return when each node's agent was last heard, Unix seconds."""
        return {NodeName(row[0]): row[1] for row in self.run(_AGENTS)}

    def node_of_token(self, sha256: str) -> NodeName | None:
        """Return the node whose token has this digest (hex)."""
        return self._one(_TOKEN, lambda row: NodeName(row[0]), sha256=sha256)

    def state_counts(self) -> dict[str, int]:
        """Return how many ports there are in each state."""
        return {row[0]: row[1] for row in self.run(_STATE_COUNTS)}

    def network_state_counts(self) -> dict[tuple[NetworkId, str], int]:
        """Return how many ports of each network there are in each state."""
        return {(NetworkId(row[0]), row[1]): row[2] for row in self.run(_NETWORK_STATE_COUNTS)}

    def record(self, kind: Kind, type_: type[T], id_: str) -> T | None:
        """Return a record of a kind, as the value that was put."""
        return self._one(_RECORD, lambda row: decode(type_, row[0]), kind=kind, id=id_)

    def records(
        self,
        kind: Kind,
        type_: type[T],
        *,
        project_id: str | None = None,
        name: str | None = None,
        parent: str | None = None,
        unique: str | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[T]:
        """Return the records of a kind that pass every filter given, ordered by id."""
        wanted = {"project_id": project_id, "name": name, "parent": parent, "unique_key": unique}
        given = {key: value for key, value in wanted.items() if value is not None}
        rows = [] if ids is not None else self.run(_records_by(frozenset(given)), kind=kind, **given).fetchall()
        for part in _parts(ids or ()):
            keys = {f"id{at}": id_ for at, id_ in enumerate(part)}
            rows += self.run(_records_by(frozenset(given), len(part)), kind=kind, **given, **keys).fetchall()
        return [decode(type_, row[0]) for row in rows]

    def count_records(self, kind: Kind, *, project_id: str | None = None, parent: str | None = None) -> int:
        """Return how many records of a kind there are, of a project or with a parent if these are given."""
        wanted = {"project_id": project_id, "parent": parent}
        given = {key: value for key, value in wanted.items() if value is not None}
        count: int = self.run(_records_by(frozenset(given), count=True), kind=kind, **given).fetchone()[0]
        return count

    def _one(self, statement: sa.ClauseElement, of: Callable[[Any], T], **parameters: Any) -> T | None:
        row = self.run(statement, **parameters).fetchone()
        return None if row is None else of(row)


@lru_cache(maxsize=4)
def _topology(body: bytes) -> Topology:
    """Return the topology of a stored inventory; read with every bind, and changed once a month."""
    return Topology(decode(Inventory, body))


@lru_cache(maxsize=4)
def _numbering(body: bytes) -> Numbering:
    return decode(Numbering, body)


def _port_view(row: Any) -> PortView:
    return PortView(decode_port(row[0]), decode(Lifecycle, row[1]))


@lru_cache(maxsize=512)
def _ports_by(given: frozenset[str], keys: int = 0) -> sa.Select[Any]:
    """Return the statement that reads ports by these columns and this many ids, ordered by id."""
    statement = sa.select(t.ports.c.body, t.ports.c.life).order_by(t.ports.c.id)
    for name in sorted(given & set(t.ports.c.keys())):
        statement = statement.where(t.ports.c[name] == sa.bindparam(name))
    if "node" in given:
        here = sa.select(t.bindings.c.port_id).where(t.bindings.c.node == sa.bindparam("node"))
        statement = statement.where(t.ports.c.id.in_(here))
    if "address" in given:
        having = sa.select(t.fixed_ips.c.port_id).where(t.fixed_ips.c.address == sa.bindparam("address"))
        statement = statement.where(t.ports.c.id.in_(having))
    if keys:
        statement = statement.where(t.ports.c.id.in_([sa.bindparam(f"id{at}") for at in range(keys)]))
    return statement


def _parts(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    return (ids[start : start + MAX_KEYS] for start in range(0, len(ids), MAX_KEYS))


@lru_cache(maxsize=64)
def _records_by(given: frozenset[str], keys: int = 0, *, count: bool = False) -> sa.Select[Any]:
    """Return the statement that reads or counts a kind's records by these columns and this many ids."""
    statement = sa.select(sa.func.count()) if count else sa.select(t.records.c.body).order_by(t.records.c.id)
    for name in sorted({"kind", *given}):
        statement = statement.where(t.records.c[name] == sa.bindparam(name))
    if keys:
        statement = statement.where(t.records.c.id.in_([sa.bindparam(f"id{at}") for at in range(keys)]))
    return statement.select_from(t.records)


def _body_by(table: sa.Table, *columns: str) -> sa.Select[Any]:
    statement = sa.select(table.c.body)
    for name in columns:
        statement = statement.where(table.c[name] == sa.bindparam(name))
    return statement


_REVISION = sa.select(sa.func.max(t.changes.c.revision))
_NETWORK = _body_by(t.networks, "id")
_NETWORKS = _body_by(t.networks).order_by(t.networks.c.id)
_SUBNET = _body_by(t.subnets, "id")
_SUBNETS = _body_by(t.subnets).order_by(t.subnets.c.id)
_SUBNETS_OF = _body_by(t.subnets, "network_id").order_by(t.subnets.c.id)
_ROUTER = _body_by(t.routers, "id")
_ROUTERS = _body_by(t.routers).order_by(t.routers.c.id)
_INTERFACE = _body_by(t.router_interfaces, "subnet_id")
_INTERFACES = _body_by(t.router_interfaces).order_by(t.router_interfaces.c.subnet_id)
_INTERFACES_OF = _body_by(t.router_interfaces, "router_id").order_by(t.router_interfaces.c.subnet_id)
_PORT = sa.select(t.ports.c.body, t.ports.c.life).where(t.ports.c.id == sa.bindparam("id"))
_BOUND_NODES = sa.select(t.bindings.c.node).where(t.bindings.c.network_id == sa.bindparam("network_id")).distinct()
_SUBNET_USED = sa.select(sa.exists().where(t.fixed_ips.c.subnet_id == sa.bindparam("subnet_id")))
_VNI_TAKEN = sa.union_all(
    sa.select(t.networks.c.id).where(t.networks.c.vni == sa.bindparam("vni")),
    sa.select(t.routers.c.id).where(t.routers.c.l3vni == sa.bindparam("vni")),
)
_NOWHERE = Topology(Inventory())
_DOCUMENT = _body_by(t.documents, "name")
_LEAF_VLANS = _body_by(t.leaf_vlans).order_by(t.leaf_vlans.c.domain, t.leaf_vlans.c.network_id)
_LEAF_VLANS_OF = _body_by(t.leaf_vlans, "domain").order_by(t.leaf_vlans.c.network_id)
_LEAF_VLAN = _body_by(t.leaf_vlans, "domain", "network_id")
_RECORD = _body_by(t.records, "kind", "id")
_HISTORY = _body_by(t.history, "port_id").order_by(t.history.c.seq)
_SWITCH_STATUSES = _body_by(t.switch_statuses)
_AGENTS = sa.select(t.agents.c.node, t.agents.c.last_seen)
_TOKEN = sa.select(t.node_tokens.c.node).where(t.node_tokens.c.sha256 == sa.bindparam("sha256"))
_STATE_COUNTS = sa.select(t.ports.c.state, sa.func.count()).group_by(t.ports.c.state)
_NETWORK_STATE_COUNTS = sa.select(t.ports.c.network_id, t.ports.c.state, sa.func.count()).group_by(
    t.ports.c.network_id, t.ports.c.state
)
