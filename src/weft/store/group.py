"""A group: pieces of work that share one commit, one connection, and what was read and written so far."""

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import sqlalchemy as sa

from weft.model.ids import NetworkId, NodeName, PortId, Revision
from weft.store import schema as t
from weft.store.changes import REVISION, Kind
from weft.store.engine import Connection, Engine
from weft.store.ids import Ids
from weft.store.layers import UNKNOWN, Key, Layer, Row
from weft.store.pools import Pools
from weft.store.serials import Serials
from weft.store.snapshot import Snapshot
from weft.store.taken import taken

CACHED = frozenset({t.networks, t.subnets, t.routers, t.router_interfaces, t.documents, t.leaf_vlans})
"""Tables that every port needs and that seldom change: what was read of them is kept until they do."""
ROWS_CACHED = CACHED | {t.records}
"""Tables of which a row that was read by its key is kept until it changes."""
MAX_CACHED = 20_000
"""Answers that are kept of one table, and rows of all."""
HISTORY_TRIMMED_EVERY = 100
"""Entries that a port's history grows by before it is cut."""


class NotKeptError(Exception):
    """A draft must ask the database, which it cannot: it is not its turn."""


class Kept:
    """What the writer knows from one group to the next. All of it can be read from the database again."""

    def __init__(self, random: Callable[[int], int]) -> None:
        self.ids = Ids(random)
        self.pools = Pools()
        self.answers: dict[sa.Table, dict[Any, Any]] = {}
        self.made: dict[Any, Any] = {}
        """Values made of rows of CACHED tables."""
        self.rows: dict[tuple[sa.Table, Key], tuple[Any, ...] | None] = {}
        self.usages: dict[tuple[str, str], int] = {}
        """How many objects of a kind each project has, as of `seen`."""
        self.told: dict[PortId, int] = {}
        self.serials: dict[str, Serials] = {}
        self.seen = Revision(0)
        """The newest revision when this process last wrote."""

    def forget(self) -> None:
        """Forget what was read."""
        self.answers.clear()
        self.made.clear()
        self.rows.clear()
        self.usages.clear()

    def forget_tables(self, tables: Set[sa.Table]) -> None:
        """Forget what was read of some tables, and what was made of that."""
        if not tables.isdisjoint(CACHED):
            self.made.clear()
        for table in tables:
            self.answers.pop(table, None)
        for key in [key for key in self.rows if key[0] in tables]:
            del self.rows[key]

    def forget_serials(self, name: str) -> None:
        """Forget numbers whose setting aside was undone."""
        self.serials.pop(name, None)


class Group:
    """One transaction of the database, which pieces of work are run in, one after another."""

    def __init__(self, engine: Engine, connection: Connection, kept: Kept, head: Revision, *, careful: bool) -> None:
        """`head` is the newest revision; what is kept is as of it.

        `careful`: write row by row after each piece, so that a key that is taken fails only who asked for it.
        """
        self.engine = engine
        self.connection = connection
        self.kept = kept
        self.careful = careful
        self.layer = Layer()
        self.counts: dict[tuple[str, str], int] = {}
        """How many objects of a kind a project has, where that has changed."""
        self.head = head
        self.is_draft = False
        """Whether it is not this process' turn yet."""
        self.rests_on: set[str] = set()
        """The kinds of which pieces have looked at records, or asked how many there are."""
        self.ports: dict[str, tuple[Any, ...]] = {}
        """Rows of ports that were read for several pieces at once, and that nobody has written since."""
        self.asked: dict[PortId, None] = {}
        """The ports that were read so."""
        self._of_asked: dict[str, dict[str, dict[str, tuple[Any, ...]]]] = {}
        """By kind, port and id: the records that belong to these ports, if that was asked, and nobody has written one
        since."""
        self._bound: dict[tuple[NodeName, NetworkId], list[tuple[Any, ...]]] = {}
        """Some of the bindings of networks on nodes, until one is written."""

    def snapshot(self) -> Snapshot:
        """Return reads of what is in the database, which knows nothing of rows held back."""
        return Snapshot(self.connection, self.engine.dialect)

    def look_ahead(self, ids: Iterable[PortId], connection: Connection | None = None) -> None:
        """Read ports that pieces will ask for, all at once: on a server, each question costs a way there and back.

        On another connection before it is this group's turn.
        """
        fresh = sorted(set(ids) - self.asked.keys())
        self.ports.update(Snapshot(connection or self.connection, self.engine.dialect).port_rows(fresh))
        self.asked.update(dict.fromkeys(fresh))
        self._of_asked.clear()

    def record(self, kind: Kind, id_: str, ask: Callable[[], tuple[Any, ...] | None]) -> tuple[Any, ...] | None:
        """Return the row of a record: of those with the ids of ports that were read ahead, all are read at once."""
        self.rests_on.add(kind)
        rows, key = self.kept.rows, (t.records, (kind, id_))
        if key not in rows and len(self.asked) > 1 and id_ in self.asked:
            if len(rows) + len(self.asked) > MAX_CACHED:
                rows.clear()
            unknown = [each for each in self.asked if self._is_unknown((kind, each))]
            found = self.snapshot().record_rows(kind, unknown)
            for each in unknown:
                rows[t.records, (kind, each)] = found.get(each)
        return self.row(t.records, (kind, id_), ask)

    def _is_unknown(self, key: Key) -> bool:
        """Tell whether a record is to be read: not if that was done, nor if the database has not what was written."""
        return (t.records, key) not in self.kept.rows and self.layer.find(t.records, key) is UNKNOWN

    def expect(self, kind: Kind, id_: str, parent: str) -> None:
        """Have a record at hand that may belong to a port, read together with those of the others."""
        if self._is_unknown((kind, id_)) and (found := self._belonging(kind, parent)) and id_ in found:
            self.row(t.records, (kind, id_), lambda: found[id_])

    def records_of(self, kind: Kind, parent: str) -> list[bytes] | None:
        """Return the records that belong to a port, read together with the others'; None if it was not read ahead."""
        found = self._belonging(kind, parent)
        return None if found is None else [body for (body,) in found.values()]

    def _belonging(self, kind: Kind, parent: str) -> dict[str, tuple[Any, ...]] | None:
        if len(self.asked) < 2 or parent not in self.asked:
            return None
        if kind not in self._of_asked:
            self._of_asked[kind] = self.snapshot().record_rows_of(kind, list(self.asked))
        return self._of_asked[kind].get(parent, {})

    def bound(
        self, node: NodeName, network_id: NetworkId, ask: Callable[[], list[tuple[Any, ...]]]
    ) -> list[tuple[Any, ...]]:
        """Return what `ask` read in the database of a network's bindings on a node, until any binding is written."""
        key = (node, network_id)
        if key not in self._bound:
            self._bound[key] = ask()
        return self._bound[key]

    def forget(self) -> None:
        """Forget what was read, because some of what had been written by then is undone."""
        self.kept.forget()
        self.ports.clear()
        self._of_asked.clear()
        self._bound.clear()

    def write(self, layer: Layer) -> None:
        """Write a layer into the database.

        Raises the engine's `duplicate` if a key is taken; in a careful group, Conflict that says which.
        """
        self.forget_answers(layer)
        if self.ports and t.ports in layer.dirty:
            for changed in (layer.updates, layer.deletes):
                for (id_,) in changed.get(t.ports, ()):
                    self.ports.pop(id_, None)
        if t.bindings in layer.dirty:
            self._bound.clear()
        for kind in layer.kinds:
            self._of_asked.pop(kind, None)
        if not self.careful:
            self.connection.write(layer)
        else:
            for part in layer.single_rows():
                self._write_row(part)
        layer.clear()

    def flush(self) -> None:
        """Write what the pieces so far hold back."""
        self.write(self.layer)

    def commit(self) -> None:
        """Write all that is held back, and the newest revision, and make it durable. Raises as `write`."""
        self.layer.update(t.cursors, (REVISION,), {"name": REVISION, "value": self.head})
        for (project_id, kind), count in self.counts.items():
            row = {"project_id": project_id, "kind": kind, "count": count}
            self.layer.update(t.usage, (project_id, kind), row)
        if self.careful:
            self.flush()
            self.connection.commit()
        else:
            self.connection.commit(self.layer)
        self.kept.usages.update(self.counts)
        self.kept.seen = self.head

    def usage(self, project_id: str, kind: str, ask: Callable[[], int]) -> int:
        """Return how many objects of a kind a project has, as the pieces so far have left it."""
        key = (project_id, kind)
        found = self.counts.get(key)
        if found is None:
            found = self.kept.usages.get(key)
        if found is None:
            if len(self.kept.usages) >= MAX_CACHED:
                self.kept.usages.clear()
            found = self.kept.usages[key] = ask()
        return found

    def require_turn(self) -> None:
        """Raise NotKeptError if others may write before this group."""
        if self.is_draft:
            raise NotKeptError

    def advance(self, head: Revision) -> None:
        """Take the revision of a piece that ended well."""
        self.head = head

    def move(self, by: int) -> None:
        """Give the pieces so far revisions that are later by so many."""
        self.head = Revision(self.head + by)
        noted = self.layer.inserts.pop(t.changes, {})
        for row in noted.values():
            row["revision"] += by
        if noted:
            self.layer.inserts[t.changes] = {(row["revision"], row["seq"]): row for row in noted.values()}

    def answer(self, table: sa.Table, key: Any, ask: Callable[[], Any]) -> Any:
        """Return what was read before under a key, or what `ask` reads now."""
        answers = self.kept.answers.get(table)
        if answers is None or len(answers) >= MAX_CACHED:
            answers = self.kept.answers[table] = {}
        found = answers.get(key, answers)
        if found is answers:  # nothing was kept: None is an answer, too
            found = answers[key] = ask()
        return found

    def row(self, table: sa.Table, key: Key, ask: Callable[[], tuple[Any, ...] | None]) -> tuple[Any, ...] | None:
        """Return the row that was read before under a primary key, or what `ask` reads now."""
        rows = self.kept.rows
        if (table, key) not in rows:
            if len(rows) >= MAX_CACHED:
                rows.clear()
            rows[table, key] = ask()
        return rows[table, key]

    def forget_answers(self, layer: Layer) -> None:
        """Forget what was read of what a layer writes."""
        if layer.dirty.isdisjoint(ROWS_CACHED):
            return
        if not layer.dirty.isdisjoint(CACHED):
            self.kept.made.clear()
        for table in layer.dirty & ROWS_CACHED:
            self.kept.answers.pop(table, None)
            for changed in (layer.inserts, layer.updates, layer.deletes):
                for key in changed.get(table, ()):
                    self.kept.rows.pop((table, key), None)

    def _write_row(self, part: Layer) -> None:
        try:
            self.connection.write(part)
        except self.engine.duplicate:
            written = part.only()
            error = None if written is None else taken(*written)
            if error is None:
                raise
            self._doubt(*written)  # type: ignore[misc]
            raise error from None

    def _doubt(self, table: sa.Table, row: Row) -> None:
        """Have an allocator built anew that gave out what is another's."""
        if table is t.fixed_ips:
            self.kept.pools.forget(row["subnet_id"])


class Rows(list[Any]):
    """Rows that were read before, with a cursor's methods."""

    def fetchone(self) -> Any:
        """Return the first row, None if there is none."""
        return self[0] if self else None

    def fetchall(self) -> list[Any]:
        """Return all rows."""
        return self


def parameters_key(parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells one set of a statement's parameters from another."""
    return tuple(parameters.values())
