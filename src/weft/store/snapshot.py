"""Snapshot: typed reads of one consistent state.

What runs for a request is the SQL text of a statement (weft.store.statements) on the driver's own connection, because
the toolkit's execution costs more than the database does.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa

from weft.fabric.numbering import Numbering
from weft.fabric.topology import Topology
from weft.model.ids import NetworkId, NodeName, PortId, Revision, RouterId, SubnetId, SwitchName
from weft.model.intent import HistoryEntry, LeafVlan, Network, Router, RouterInterface, Subnet
from weft.model.inventory import Inventory
from weft.ports.lifecycle import Lifecycle
from weft.store import schema as t
from weft.store import statements
from weft.store.changes import REVISION, Kind
from weft.store.codec import decode, decode_history, decode_leaf_vlan, decode_network, decode_port, decode_subnet
from weft.store.engine import Answer, Connection, Question
from weft.store.statements import (
    numbered,
    parts,
    ports_by,
    ports_question,
    question,
    record_rows,
    records_by,
    sql_by_key,
    text_of,
)
from weft.store.views import PortView, SwitchStatus

T = TypeVar("T")

INVENTORY = "inventory"
"""The document, and the cursor that holds its mark: it may be large, and is read when its mark is another one."""
MAX_TOPOLOGIES = 4
PAGE = 64
"""Ports that are read at once by who may not need all."""


class Snapshot:
    """Reads within one transaction of the database. Not for use after the call that it was given to."""

    def __init__(self, connection: Connection, dialect: sa.Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    @property
    def engine(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._dialect.name

    def run(self, statement: sa.ClauseElement, **parameters: Any) -> Any:
        """Run a statement that stands at module level (it is compiled once) and return the driver's cursor."""
        return self._connection.execute(text_of(statement, self._dialect), parameters)

    def question(self, statement: sa.ClauseElement, **parameters: Any) -> Question:
        """Return a statement, as `run` takes it, to be asked with others."""
        return question(self._dialect, statement, **parameters)

    def ask(self, *questions: Question) -> list[Answer]:
        """Run queries, all on one way to the database and back, and return what each found."""
        return self._connection.ask(questions)

    def row(self, table: sa.Table, *key: Any) -> tuple[Any, ...] | None:
        """Return what a table has under a primary key, without the columns that only serve to look things up."""
        sql, names = sql_by_key(table, self._dialect)
        found: tuple[Any, ...] | None = self._connection.execute(sql, dict(zip(names, key, strict=True))).fetchone()
        return found

    def revision(self) -> Revision:
        """Return the newest revision in this snapshot; 0 before the first."""
        row = self.row(t.cursors, REVISION)
        return Revision(0 if row is None else row[0])

    def network(self, id_: NetworkId) -> Network | None:
        """Return a network."""
        row = self.row(t.networks, id_)
        return None if row is None else decode_network(row[0])

    def networks(self) -> list[Network]:
        """Return all networks."""
        return [decode_network(row[0]) for row in self.run(statements.NETWORKS)]

    def subnet(self, id_: SubnetId) -> Subnet | None:
        """Return a subnet."""
        row = self.row(t.subnets, id_)
        return None if row is None else decode_subnet(row[0])

    def subnets(self, network_id: NetworkId | None = None) -> list[Subnet]:
        """Return all subnets, or those of a network."""
        if network_id is None:
            return [decode_subnet(row[0]) for row in self.run(statements.SUBNETS)]
        return [decode_subnet(row[0]) for row in self.run(statements.SUBNETS_OF, network_id=network_id)]

    def router(self, id_: RouterId) -> Router | None:
        """Return a router."""
        row = self.row(t.routers, id_)
        return None if row is None else decode(Router, row[0])

    def routers(self) -> list[Router]:
        """Return all routers."""
        return [decode(Router, row[0]) for row in self.run(statements.ROUTERS)]

    def router_interface(self, subnet_id: SubnetId) -> RouterInterface | None:
        """Return the router interface of a subnet, of which there is at most one."""
        row = self.row(t.router_interfaces, subnet_id)
        return None if row is None else decode(RouterInterface, row[0])

    def router_interfaces(self, router_id: RouterId | None = None) -> list[RouterInterface]:
        """Return all router interfaces, or those of a router."""
        if router_id is None:
            return [decode(RouterInterface, row[0]) for row in self.run(statements.INTERFACES)]
        return [decode(RouterInterface, row[0]) for row in self.run(statements.INTERFACES_OF, router_id=router_id)]

    def port(self, id_: PortId) -> PortView | None:
        """Return a port and its lifecycle."""
        row = self.row(t.ports, id_)
        return None if row is None else _port_view(row)

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
        subnet_id: SubnetId | None = None,
        after_id: str | None = None,
        limit: int | None = None,
    ) -> list[PortView]:
        """Return the ports that pass every filter given, ordered by id.

        `node` is where a binding, draining or not, is. `after_id` and `limit` ask for a page: so many of those whose
        id is greater; they are not for use with `ids`.
        """
        wanted: dict[str, Any] = {
            "network_id": network_id,
            "device_id": device_id,
            "name": name,
            "mac": mac,
            "project_id": project_id,
            "state": state,
            "node": node,
            "address": address,
            "subnet_id": subnet_id,
            "after_id": after_id,
            "page": limit,
        }
        given = {key: value for key, value in wanted.items() if value is not None}
        if ids is None:
            return [_port_view(row) for row in self.run(ports_by(frozenset(given)), **given)]
        found: list[PortView] = []
        for part in parts(ids):
            statement = ports_by(frozenset(given), len(part))
            found += [_port_view(row) for row in self.run(statement, **given, **numbered(part, "id"))]
        return found

    def each_port(self, network_id: NetworkId) -> Iterator[PortView]:
        """Yield the ports of a network by id, a page at a time: who has seen enough reads no more."""
        page = self.ports(network_id=network_id, limit=PAGE)
        while page:
            yield from page
            if len(page) < PAGE:
                return
            page = self.ports(network_id=network_id, after_id=page[-1].port.id, limit=PAGE)

    def each_port_in(self, subnet: Subnet) -> Iterator[PortView]:
        """Yield the ports that have addresses of a subnet, once for each, a page at a time."""
        after, more = "", True
        while more:
            keys = {"network_id": subnet.network_id, "subnet_id": subnet.id, "after": after, "page": PAGE}
            rows = self.run(statements.PORTS_IN, **keys).fetchall()
            yield from (_port_of(row[1], row[2]) for row in rows)
            more = len(rows) == PAGE
            after = rows[-1][0] if rows else after

    def port_rows(self, ids: Sequence[PortId]) -> dict[str, tuple[Any, ...]]:
        """Return what `row` gives of ports, those that there are."""
        return {
            id_: tuple(row) for part in parts(ids) for id_, *row in self.ask(ports_question(self._dialect, part))[0]
        }

    def bound_nodes(self, network_id: NetworkId) -> set[NodeName]:
        """Return the nodes that any binding of a network is on, draining ones included."""
        return {NodeName(row[0]) for row in self.run(statements.BOUND_NODES, network_id=network_id)}

    def vni_taken(self, vni: int) -> bool:
        """Tell whether a network or a router has this VNI."""
        return self.run(statements.VNI_TAKEN, vni=vni).fetchone() is not None

    def inventory(self) -> Inventory:
        """Return the inventory; empty before the first import."""
        return self.topology().inventory

    def topology(self) -> Topology:
        """Return the wiring of the inventory; empty before the first import."""
        mark = self.row(t.cursors, INVENTORY)
        known = None if mark is None else _TOPOLOGIES.get(mark[0])
        if known is not None:
            return known
        row = self.row(t.documents, INVENTORY)
        found = _NOWHERE if row is None else _topology(row[0])
        if mark is not None:
            if len(_TOPOLOGIES) >= MAX_TOPOLOGIES:
                _TOPOLOGIES.clear()
            _TOPOLOGIES[mark[0]] = found
        return found

    def numbering(self) -> Numbering:
        """Return the numbers of the inventory."""
        row = self.row(t.documents, "numbering")
        return Numbering() if row is None else _numbering(row[0])

    def leaf_vlans(self, domain: str | None = None) -> list[LeafVlan]:
        """Return all leaf VLANs, or those of a domain; those that rest included."""
        rows = self.run(statements.LEAF_VLANS) if domain is None else self.run(statements.LEAF_VLANS_OF, domain=domain)
        return [decode(LeafVlan, row[0]) for row in rows]

    def leaf_vlan(self, domain: str, network_id: NetworkId) -> LeafVlan | None:
        """Return the VLAN of a network in a domain, resting or not."""
        row = self.row(t.leaf_vlans, domain, network_id)
        return None if row is None else decode_leaf_vlan(row[0])

    def history(self, port_id: PortId) -> list[HistoryEntry]:
        """Return a port's history, oldest entry first; it outlives the port."""
        return [entry for row in self.run(statements.HISTORY, port_id=port_id) for entry in decode_history(row[0])]

    def switch_statuses(self) -> dict[SwitchName, SwitchStatus]:
        """Return what is known of each switch."""
        found = (decode(SwitchStatus, row[0]) for row in self.run(statements.SWITCH_STATUSES))
        return {status.switch: status for status in found}

    def agents(self) -> dict[NodeName, float]:
        """Return when each node's agent was last heard, Unix seconds."""
        return {NodeName(row[0]): row[1] for row in self.run(statements.AGENTS)}

    def node_of_token(self, sha256: str) -> NodeName | None:
        """Return the node whose token has this digest (hex)."""
        row = self.run(statements.TOKEN, sha256=sha256).fetchone()
        return None if row is None else NodeName(row[0])

    def state_counts(self) -> dict[str, int]:
        """Return how many ports there are in each state."""
        return {row[0]: row[1] for row in self.run(statements.STATE_COUNTS)}

    def network_state_counts(self) -> dict[tuple[NetworkId, str], int]:
        """Return how many ports of each network there are in each state."""
        return {(NetworkId(row[0]), row[1]): row[2] for row in self.run(statements.NETWORK_STATE_COUNTS)}

    def record(self, kind: Kind, type_: type[T], id_: str, *, of: str | None = None) -> T | None:
        """Return a record of a kind, as the value that was put.

        `of` is a hint: to which object it belongs, if it is there; of many objects at once, a group asks once.
        """
        del of
        row = self.row(t.records, kind, id_)
        return None if row is None else decode(type_, row[0])

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
        rows = [] if ids is not None else self.run(records_by(frozenset(given)), kind=kind, **given).fetchall()
        for part in parts(ids or ()):
            statement = records_by(frozenset(given), len(part))
            rows += self.run(statement, kind=kind, **given, **numbered(part, "id")).fetchall()
        return [decode(type_, row[0]) for row in rows]

    def records_of(self, kind: Kind, type_: type[T], parent: str) -> list[T]:
        """Return the records of a kind that belong to an object; of many objects at once, a group asks once."""
        return self.records(kind, type_, parent=parent)

    def record_rows(self, kind: Kind, ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """Return what `row` gives of records, those that there are."""
        found: dict[str, tuple[Any, ...]] = {}
        for part in parts(ids):
            for id_, _, *row in self.run(record_rows("id", len(part)), kind=kind, **numbered(part, "id")):
                found[id_] = tuple(row)
        return found

    def record_rows_of(self, kind: Kind, parents: Sequence[str]) -> dict[str, dict[str, tuple[Any, ...]]]:
        """Return what `row` gives of the records that belong to objects, by object and id, those that there are."""
        found: dict[str, dict[str, tuple[Any, ...]]] = {}
        for part in parts(parents):
            for id_, parent, *row in self.run(record_rows("parent", len(part)), kind=kind, **numbered(part, "id")):
                found.setdefault(parent, {})[id_] = tuple(row)
        return found

    def records_below(self, kind: Kind, type_: type[T], *, name: str, limit: int) -> list[T]:
        """Return so many records of a kind whose names come before one, the first in order first."""
        return [decode(type_, row[0]) for row in self.run(statements.RECORDS_BELOW, kind=kind, name=name, page=limit)]

    def count_records(self, kind: Kind, *, project_id: str | None = None, parent: str | None = None) -> int:
        """Return how many records of a kind there are, of a project or with a parent if these are given."""
        wanted = {"project_id": project_id, "parent": parent}
        given = {key: value for key, value in wanted.items() if value is not None}
        count: int = self.run(records_by(frozenset(given), count=True), kind=kind, **given).fetchone()[0]
        return count

    def usage(self, project_id: str, kind: Kind) -> int:
        """Return how many objects of a kind a project has: a number that is kept, not counted anew."""
        row = self.row(t.usage, project_id, kind)
        return 0 if row is None else int(row[0])


@lru_cache(maxsize=4)
def _topology(body: bytes) -> Topology:
    """Return the topology of a stored inventory; read with every bind, and changed once a month."""
    return Topology(decode(Inventory, body))


@lru_cache(maxsize=4)
def _numbering(body: bytes) -> Numbering:
    return decode(Numbering, body)


def _port_view(row: Any) -> PortView:
    return _port_of(row[0], row[1])


@lru_cache(maxsize=8192)
def _port_of(body: bytes, life: bytes) -> PortView:
    """Return a port from its stored form; decoding one costs more than finding it."""
    return PortView(decode_port(body), decode(Lifecycle, life))


_NOWHERE = Topology(Inventory())
_TOPOLOGIES: dict[int, Topology] = {}
"""By the marks of their inventories (weft.store.codec.mark_of)."""
