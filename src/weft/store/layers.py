"""Rows that are written and not yet in the database: what a group of work holds back to write in few statements.

A layer is laid over what is below it: a piece of work has one of its own, its group another, the database is at the
bottom. A piece that fails loses its layer, and nothing else need be undone.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from typing import Any

import sqlalchemy as sa

from weft.store.schema import records

Row = dict[str, Any]
Key = tuple[Any, ...]


class Unknown(Enum):
    """What a layer says of a row that it knows nothing of."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN
_EVERY = frozenset({"*"})
_APPENDED = "appended"
_appended = itertools.count()


class Layer:
    """Inserted, changed and deleted rows, by table and primary key."""

    def __init__(self) -> None:
        self.inserts: defaultdict[sa.Table, dict[Key, Row]] = defaultdict(dict)
        self.updates: defaultdict[sa.Table, dict[Key, Row]] = defaultdict(dict)
        self.deletes: defaultdict[sa.Table, dict[Key, None]] = defaultdict(dict)
        self.columns: dict[tuple[sa.Table, Key], frozenset[str]] = {}
        """The columns that have changed, of updates that change but some: an index that is left alone costs nothing."""
        self.dirty: set[sa.Table] = set()
        """The tables that there may be rows of."""
        self.kinds: set[str] = set()
        """Of the table whose rows are of many kinds: the kinds that there may be rows of."""

    def find(self, table: sa.Table, key: Key) -> Row | Unknown | None:
        """Return a row, None if it is deleted, UNKNOWN if the layer below must be asked."""
        if table not in self.dirty:
            return UNKNOWN
        for rows in (self.inserts, self.updates):
            found = rows[table].get(key) if table in rows else None
            if found is not None:
                return found
        return None if key in self.deletes.get(table, ()) else UNKNOWN

    def insert(self, table: sa.Table, key: Key, row: Row) -> None:
        """Add a row that is not there."""
        self._touch(table, key)
        self.inserts[table][key] = row

    def append(self, table: sa.Table, row: Row) -> None:
        """Add a row whose key the database chooses."""
        self.dirty.add(table)
        self.inserts[table][_APPENDED, next(_appended)] = row

    def update(self, table: sa.Table, key: Key, row: Row, columns: frozenset[str] | None = None) -> None:
        """Replace a row that is there, of which these `columns` have changed; None: perhaps all."""
        self._touch(table, key)
        inserted = self.inserts.get(table)
        if inserted is not None and key in inserted:
            inserted[key] = row
            return
        rows = self.updates[table]
        if columns is not None and (key not in rows or (table, key) in self.columns):
            self.columns[table, key] = columns | self.columns.get((table, key), columns)
        else:
            self.columns.pop((table, key), None)
        rows[key] = row

    def delete(self, table: sa.Table, key: Key) -> None:
        """Remove a row, if it is there."""
        self._touch(table, key)
        for rows in (self.inserts, self.updates):
            if table in rows:
                rows[table].pop(key, None)
        self.deletes[table][key] = None

    def merge(self, above: "Layer") -> None:
        """Take in the layer that lies upon this one."""
        self.dirty |= above.dirty
        self.kinds |= above.kinds
        for table, keys in above.deletes.items():
            for key in keys:
                self.delete(table, key)
        for table, rows in above.updates.items():
            for key, row in rows.items():
                self.update(table, key, row, above.columns.get((table, key)))
        for table, rows in above.inserts.items():
            self.inserts[table].update(rows)

    def clear(self) -> None:
        """Forget everything: it is in the database now."""
        self.inserts.clear()
        self.updates.clear()
        self.deletes.clear()
        self.columns.clear()
        self.dirty.clear()
        self.kinds.clear()

    def _touch(self, table: sa.Table, key: Key) -> None:
        self.dirty.add(table)
        if table is records:
            self.kinds.add(key[0])

    def puts(self) -> Iterator[tuple[sa.Table, list[Row], frozenset[str] | None]]:
        """Yield the rows to write, alike ones together: those to replace, with what of them; then new ones (None)."""
        for table, rows in self.updates.items():
            alike: dict[frozenset[str], list[Row]] = {}
            for key, row in rows.items():
                alike.setdefault(self.columns.get((table, key), _EVERY), []).append(row)
            for replaced, several in alike.items():
                yield table, several, frozenset(several[0]) if replaced is _EVERY else replaced
        for table, rows in self.inserts.items():
            if rows:
                yield table, list(rows.values()), None

    def single_rows(self) -> Iterator["Layer"]:
        """Yield the same changes as layers of one row each, in the order in which they are to be written."""
        for table, keys in self.deletes.items():
            for key in keys:
                part = Layer()
                part.delete(table, key)
                yield part
        for table, rows in self.updates.items():
            for key, row in rows.items():
                part = Layer()
                part.update(table, key, row)
                yield part
        for table, rows in self.inserts.items():
            for key, row in rows.items():
                part = Layer()
                part.insert(table, key, row)
                yield part

    def only(self) -> tuple[sa.Table, Row] | None:
        """Return the table and row of a layer of one written row; None if it deletes."""
        for changed in (self.inserts, self.updates):
            for table, rows in changed.items():
                for row in rows.values():
                    return table, row
        return None
