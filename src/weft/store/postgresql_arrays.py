"""Columns of rows on their way to PostgreSQL: arrays in the binary format, each made in one go.

The driver finds out for every list, and tells for every element, what it is. Of a column all that is known beforehand,
and to write rows is most of what a writer does.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = struct.Struct("!iiIii")
"""Dimensions, whether any element is NULL, the elements' type; elements, and the number of the first."""
_LENGTH = struct.Struct("!i")
_NULL = _LENGTH.pack(-1)
_INTEGER = struct.Struct("!q")
_FLOAT = struct.Struct("!d")


class Column:
    """The values of a column of some rows, None for NULL; a subclass for each type."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


class Texts(Column):
    """Of type text."""


class Blobs(Column):
    """Of type bytea."""


class Integers(Column):
    """Of type int8."""


class Floats(Column):
    """Of type float8."""


def column_of(kind: sa.types.TypeEngine[Any]) -> tuple[type[Column], str]:
    """Return the class of a column's values, and what its array is called in SQL."""
    if isinstance(kind, sa.LargeBinary):
        return Blobs, "bytea[]"
    if isinstance(kind, sa.Integer):
        return Integers, "int8[]"
    return (Floats, "float8[]") if isinstance(kind, sa.Float) else (Texts, "text[]")


def register(connection: "psycopg.Connection[Any]") -> None:
    """Have a connection send columns."""
    for kind, dumper in _DUMPERS.items():
        connection.adapters.register_dumper(kind, dumper)


def _dumper(array_name: str, element_name: str, encode: Callable[[Any], bytes]) -> type[Dumper]:
    of = psycopg.adapters.types[element_name]

    class ColumnDumper(Dumper):
        format = Format.BINARY
        oid = of.array_oid

        def dump(self, column: Column) -> bytes:
            return _array(of.oid, [None if value is None else encode(value) for value in column.values])

    ColumnDumper.__name__ = array_name
    return ColumnDumper


def _array(element_oid: int, elements: Sequence[bytes | None]) -> bytes:
    parts = [_HEAD.pack(1, None in elements, element_oid, len(elements), 1)]
    for element in elements:
        if element is None:
            parts.append(_NULL)
        else:
            parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


_DUMPERS = {
    Texts: _dumper("TextsDumper", "text", str.encode),
    Blobs: _dumper("BlobsDumper", "bytea", bytes),
    Integers: _dumper("IntegersDumper", "int8", _INTEGER.pack),
    Floats: _dumper("FloatsDumper", "float8", _FLOAT.pack),
}
