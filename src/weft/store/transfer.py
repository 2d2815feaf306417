"""Takes a whole database out as text and in again: to another machine, or from SQLite to PostgreSQL.

The form is JSON lines: a head with the schema's version and the newest revision, a line for each row, and a foot with
how many rows there were, so that a file that was cut is seen. Bodies are JSON already and stand as text.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from weft.model.errors import Conflict, Invalid
from weft.store import migration
from weft.store import schema as t
from weft.store.engine import Engine, failures_are_final
from weft.store.layers import Layer, Row
from weft.store.snapshot import Snapshot

ROWS_AT_ONCE = 2_000
FORM = "weft database"
_COUNT_ON = sa.text(
    "SELECT setval(pg_get_serial_sequence('history', 'seq'), (SELECT 1 + coalesce(max(seq), 0) FROM history))"
)

_ANALYZE = sa.text("ANALYZE")


class Head(msgspec.Struct, frozen=True, kw_only=True, tag_field="form", tag=FORM):
    """The first line."""

    schema: str
    revision: int


class Foot(msgspec.Struct, frozen=True, kw_only=True):
    """The last line."""

    rows: int


def export(engine: Engine) -> Iterator[bytes]:
    """Yield the lines of all that is in a database, one state of it. Raises Conflict if its schema is not ours."""
    require_schema(engine)
    with reading(engine) as snapshot:
        head = Head(schema=str(migration.head()), revision=snapshot.revision())
        yield msgspec.json.encode(head)
        count = 0
        for table in t.metadata.sorted_tables:
            for row in snapshot.run(_all(table)):
                yield msgspec.json.encode([str(table.name), *(_text(value) for value in row)])
                count += 1
        yield msgspec.json.encode(Foot(rows=count))


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Snapshot]:
    """Yield one state of a database whose server does not run. Raises Permanent if it cannot be read."""
    with failures_are_final(engine):
        connection = engine.connect()
        try:
            connection.begin_read()
            yield Snapshot(connection, engine.dialect)
        finally:
            connection.rollback()
            connection.close()


def load(engine: Engine, lines: Iterable[bytes]) -> int:
    """Write what `export` has given into an empty database, all of it or nothing; return how many rows it was.

    Raises Conflict if the database is not empty or the export is of another schema, Invalid if it is damaged or cut.
    """
    with failures_are_final(engine):
        engine.upgrade()
        connection = engine.connect()
    try:
        connection.begin_write()
        if Snapshot(connection, engine.dialect).revision():
            raise Conflict(f"{engine.url} is not empty: import into a new database")
        count = _write(connection.write, iter(lines))
        if engine.dialect.name == "postgresql":  # rows that brought their number left its counter where it was
            Snapshot(connection, engine.dialect).run(_COUNT_ON)
            # Until it has looked by itself, within a minute, it would plan for tables that are empty.
            Snapshot(connection, engine.dialect).run(_ANALYZE)
        connection.commit()
    finally:
        connection.rollback()
        connection.close()
    return count


def require_schema(engine: Engine) -> None:
    """Raise Conflict unless a database has the schema of this version, Permanent if it cannot be read."""
    with failures_are_final(engine):
        found, wanted = engine.schema(), migration.head()
    if found != wanted:
        raise Conflict(f"{engine.url} has schema {found}, this weft has {wanted}: `weft db upgrade` brings it forward")


def _write(write: Any, lines: Iterator[bytes]) -> int:
    try:
        head = msgspec.json.decode(next(lines, b""), type=Head)
    except msgspec.DecodeError as error:
        raise Invalid(f"this is no export of a weft database: {error}") from None
    if head.schema != migration.head():
        raise Conflict(f"the export has schema {head.schema}, this weft has {migration.head()}: export it anew")
    layer, count = Layer(), 0
    for line in lines:
        try:
            parsed = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise Invalid(f"line {count + 2} of the export is damaged: {error}") from None
        if isinstance(parsed, dict):
            if parsed.get("rows") != count:
                raise Invalid(f"the export says that it has {parsed.get('rows')} rows, and has {count}")
            write(layer)
            return count
        table = t.metadata.tables.get(parsed[0])
        if table is None or len(parsed) != len(table.c) + 1:
            raise Invalid(f"line {count + 2} of the export is no row of a table of this weft")
        row: Row = {column.name: _value(column, value) for column, value in zip(table.c, parsed[1:], strict=True)}
        layer.update(table, tuple(row[column.name] for column in table.primary_key), row)
        count += 1
        if count % ROWS_AT_ONCE == 0:
            write(layer)
            layer.clear()
    raise Invalid(f"the export ends after {count} rows, without its last line: it was cut")


def _all(table: sa.Table) -> sa.Select[Any]:
    return sa.select(*table.c).order_by(*table.primary_key)


def _text(value: object) -> object:
    return bytes(value).decode() if isinstance(value, bytes | memoryview) else value


def _value(column: sa.Column[Any], value: object) -> object:
    return value.encode() if isinstance(column.type, sa.LargeBinary) and isinstance(value, str) else value
