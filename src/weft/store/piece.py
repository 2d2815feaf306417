"""A piece of work: reads that see what it has written, writes that wait for its group, and how both are undone.

What is written goes into a layer of the piece's own. A read by primary key looks through the layers; any other read
of a table that has rows waiting writes them first, behind a mark that the piece's failure goes back to.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from weft.fabric.topology import Topology
from weft.ipam.pools import AddressPool
from weft.model import steps
from weft.model.ids import NetworkId, NodeName, PortId, Revision
from weft.model.intent import HistoryEntry, Network, Subnet
from weft.store import schema as t
from weft.store.changes import Kind, Op
from weft.store.codec import decode, decode_history, encode
from weft.store.group import CACHED, HISTORY_TRIMMED_EVERY, MAX_CACHED, ROWS_CACHED, Group, Rows
from weft.store.layers import UNKNOWN, Layer, Row
from weft.store.snapshot import Snapshot
from weft.store.statements import key_columns, shown_columns

T = TypeVar("T")

log = structlog.get_logger()

HISTORY_KEPT = 500
"""Entries of a port's history that are kept at least; a port that flaps forgets how it began."""
_NOT_MADE: Any = object()
_RECORDS = frozenset({t.records})


class Piece(Snapshot):
    """What a Transaction is made of; weft.store.transaction has the words that callers use."""

    def __init__(
        self, group: Group, *, clock: Callable[[], float], asked_at: float, random: Callable[[int], int]
    ) -> None:
        super().__init__(group.connection, group.engine.dialect)
        self.clock = clock
        self.asked_at = asked_at
        """When the caller asked for this work, Unix seconds; it may have waited for its turn since."""
        self.random = random
        """Returns so many random bits."""
        self._group = group
        self._kept = group.kept
        self._layer = Layer()
        self._marked = False
        self._changes: dict[tuple[Kind, str], tuple[Op, tuple[NodeName, ...]]] = {}
        self._gained: dict[str, list[str]] = {}
        """The addresses that ports have got, ``SUBNET/ADDRESS``."""
        self._undo: list[Callable[[], None]] = []
        """None may hold this piece: what refers to itself waits for the garbage collector, and that stops everybody."""
        self._taken: list[tuple[AddressPool, list[int]]] = []
        """The addresses that it has from allocators."""
        self._then: list[Callable[[], None]] = []
        self._saved: dict[PortId, None] = {}
        self._told: dict[PortId, list[HistoryEntry]] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._topology: Topology | None = None
        """As this piece sees it, if it has looked."""

    # --- what the engine does with it

    def begin(self) -> None:
        """Be ready for anything to fail, if the group is careful."""
        if self.is_careful:
            self._mark()

    @property
    def is_careful(self) -> bool:
        """Whether this is a second attempt, after something had a key that is taken."""
        return self._group.careful

    def finish(self) -> None:
        """Hand everything to the group, under the next revision."""
        for port_id in self._saved:
            self.add_history(HistoryEntry(port_id=port_id, at=self.clock(), actor="api", step=steps.SAVED))
        self._write_history()
        group, revision = self._group, Revision(self._group.head + 1)
        for seq, ((kind, id_), (op, nodes)) in enumerate(self._changes.items()):
            row = {
                "revision": revision,
                "seq": seq,
                "kind": kind,
                "id": id_,
                "op": op,
                "nodes": " ".join(nodes),
                "addresses": " ".join(self._gained.get(id_, ())),
            }
            self._layer.insert(t.changes, (revision, seq), row)
        if group.careful:
            group.write(self._layer)
        if self._marked:
            self._connection.release()
        if self._counts:
            group.counts.update(self._counts)
        group.layer.merge(self._layer)
        group.forget_answers(self._layer)
        if self._changes:
            group.advance(revision)

    def give_up(self) -> None:
        """Undo all that this work did, before it was handed to the group."""
        if self._marked:
            self._connection.rollback_to()
            self._group.forget()
        self.undo()

    def undo(self) -> None:
        """Take back what this work did to allocators; its rows are the engine's to undo.

        The next addresses that are given out are others: one of these may be what the work failed by.
        """
        for action in reversed(self._undo):
            action()
        for pool, addresses in self._taken:
            for address in addresses:
                pool.release(address)

    def withdraw(self) -> None:
        """Undo this work, a draft, as if it had not been tried: its addresses are given out next."""
        for pool, addresses in reversed(self._taken):
            for address in reversed(addresses):
                pool.take_back(address)
        self._taken.clear()
        self.undo()

    def committed(self) -> None:
        """Do what was put off until the work is durable."""
        for action in self._then:
            try:
                action()
            except Exception:
                # The rows are durable; what follows from them must not take the writer down.
                log.exception("after_commit_failed")

    # --- reading

    def run(self, statement: sa.ClauseElement, **parameters: Any) -> Any:
        """Run a query and return the driver's cursor, or what was read before."""
        tables = tables_of(statement)
        if t.history in tables:
            self._write_history()
        if self._is_waiting(tables, parameters):
            self._settle()
        if not tables or not tables <= CACHED or len(tables) > 1:
            return super().run(statement, **parameters)
        (table,) = tables
        ask = super().run
        key = (statement, *parameters.values())
        return self._group.answer(table, key, lambda: Rows(ask(statement, **parameters).fetchall()))

    def usage(self, project_id: str, kind: Kind) -> int:
        """Return how many objects of a kind a project has."""
        self._group.rests_on.add(kind)
        return self._usage(project_id, kind)

    def _usage(self, project_id: str, kind: Kind) -> int:
        found = self._counts.get((project_id, kind))
        if found is None:
            ask = super().usage
            found = self._group.usage(project_id, kind, lambda: ask(project_id, kind))
        return found

    def topology(self) -> Topology:
        """Return the wiring of the inventory."""
        if self._topology is None:
            self._topology = self.made("topology", super().topology)
        return self._topology

    def network(self, id_: NetworkId) -> Network | None:
        """Return a network."""
        ask = super().network
        return self.made(("network", id_), lambda: ask(id_))

    def subnets(self, network_id: NetworkId | None = None) -> list[Subnet]:
        """Return all subnets, or those of a network."""
        ask = super().subnets
        return self.made(("subnets", network_id), lambda: ask(network_id))

    def row(self, table: sa.Table, *key: Any) -> tuple[Any, ...] | None:
        """Return what a table has under a primary key, as this piece has left it."""
        for layer in (self._layer, self._group.layer):
            found = layer.find(table, key)
            if found is not UNKNOWN:
                return None if found is None else tuple(found[name] for name in shown_columns(table))
        if table is t.ports and (ahead := self._group.ports.get(key[0])) is not None:
            return ahead
        ask = super().row
        if table is t.records:
            return self._group.record(key[0], key[1], lambda: ask(table, *key))
        if table in ROWS_CACHED:
            return self._group.row(table, key, lambda: ask(table, *key))
        return ask(table, *key)

    def record(self, kind: Kind, type_: type[T], id_: str, *, of: str | None = None) -> T | None:
        """Return a record of a kind."""
        if of is not None:
            self._group.expect(kind, id_, of)
        return super().record(kind, type_, id_)

    def records_of(self, kind: Kind, type_: type[T], parent: str) -> list[T]:
        """Return the records of a kind that belong to an object."""
        waiting = kind in self._layer.kinds or kind in self._group.layer.kinds
        found = None if waiting else self._group.records_of(kind, parent)
        return super().records_of(kind, type_, parent) if found is None else [decode(type_, body) for body in found]

    def look_ahead(self, ids: Sequence[PortId]) -> None:
        """Read what will be asked of these ports all at once; a hint."""
        self._group.look_ahead(ids)

    def revision(self) -> Revision:
        """Return the newest revision before this work."""
        self._group.require_turn()
        return self._group.head

    def revision_after(self) -> Revision:
        """Return the revision that this work will have: the next one if it has changed anything so far."""
        self._group.require_turn()
        return Revision(self._group.head + bool(self._changes))

    def made(self, key: Any, make: Callable[[], T]) -> T:
        """Return a value that `make` makes of rows of CACHED tables alone; it is kept until one of them changes."""
        if not (self._layer.dirty.isdisjoint(CACHED) and self._group.layer.dirty.isdisjoint(CACHED)):
            return make()
        kept = self._kept.made
        found: T = kept.get(key, _NOT_MADE)
        if found is _NOT_MADE:
            if len(kept) >= MAX_CACHED:
                kept.clear()
            found = kept[key] = make()
        return found

    def _is_waiting(self, tables: frozenset[sa.Table], parameters: Mapping[str, Any]) -> bool:
        """Tell whether rows that a query may be about are not in the database yet."""
        mine, of_group = self._layer, self._group.layer
        if tables.isdisjoint(mine.dirty) and tables.isdisjoint(of_group.dirty):
            return False
        kind = parameters.get("kind")
        return kind is None or tables != _RECORDS or kind in mine.kinds or kind in of_group.kinds

    def _settle(self) -> None:
        """Write what waits, so that any query sees it."""
        self._group.flush()
        self._mark()
        self._group.write(self._layer)

    def _mark(self) -> None:
        if not self._marked:
            self._group.flush()  # of other pieces: it must not be undone with this one
            self._connection.savepoint()
            self._marked = True

    # --- writing

    def on_commit(self, action: Callable[[], None]) -> None:
        """Have something done once this work is durable, such as a line in the log."""
        self._then.append(action)

    def new_id(self) -> str:
        """Return a new identifier, later than every one before."""
        return self._kept.ids.next(int(self.clock() * 1000))

    def add_history(self, entry: HistoryEntry) -> None:
        """Append to a port's history, of which at least the last HISTORY_KEPT entries are kept."""
        self._told.setdefault(entry.port_id, []).append(entry)

    def _note(self, kind: Kind, id_: str, op: Op = Op.PUT, nodes: Iterable[NodeName] = ()) -> None:
        """Note a change; an object that changes several times in one piece of work changes once."""
        key = (kind, id_)
        if key in self._changes:
            _, before = self._changes.pop(key)
            nodes = {*before, *nodes}
        self._changes[key] = (op, tuple(sorted(nodes)))

    def _put(self, table: sa.Table, row: Row, *, fresh: bool = False) -> None:
        """Write a row; `fresh`: it is not there yet, and must not be."""
        key = tuple([row[name] for name in key_columns(table)])
        (self._layer.insert if fresh else self._layer.update)(table, key, row)

    def _delete(self, table: sa.Table, *key: Any) -> None:
        self._layer.delete(table, key)

    def _count(self, kind: Kind, project_id: str, by: int) -> None:
        """Keep the number of a project's objects."""
        self._counts[project_id, kind] = self._usage(project_id, kind) + by

    def _write_history(self) -> None:
        told, self._told = self._told, {}
        for port_id, entries in told.items():
            self._layer.append(t.history, {"port_id": port_id, "body": encode(entries)})
            if port_id in self._saved:
                continue  # It begins: there is nothing to cut, and of most ports not much will come.
            grown = self._kept.told.get(port_id, 0) + len(entries)
            if grown >= HISTORY_TRIMMED_EVERY:
                self._trim_history(port_id)
                grown = 0
            self._kept.told[port_id] = grown

    def _trim_history(self, port_id: PortId) -> None:
        """Delete the oldest rows that the last HISTORY_KEPT entries can do without."""
        kept = 0
        for seq, body in self.run(_NEWEST_FIRST, port_id=port_id).fetchall():
            if kept >= HISTORY_KEPT:
                self._delete(t.history, seq)
            kept += len(decode_history(body))


@lru_cache(maxsize=2048)
def tables_of(statement: sa.ClauseElement) -> frozenset[sa.Table]:
    """Return the tables that a statement reads."""
    return frozenset(each for each in sa.sql.visitors.iterate(statement) if isinstance(each, sa.Table))


_NEWEST_FIRST = (
    sa.select(t.history.c.seq, t.history.c.body)
    .where(t.history.c.port_id == sa.bindparam("port_id"))
    .order_by(t.history.c.seq.desc())
)
