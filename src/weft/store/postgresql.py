"""PostgreSQL: one database, any number of processes.

Whoever writes holds the row of the newest revision for as long as its transaction lasts, so that writers take turns
and revisions have no gaps. Nothing else is asked of the server than rows and unique indexes: no advisory lock but for
migrations, no LISTEN. Rows go in as arrays, a statement for each table, all of them in one round trip.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import sqlalchemy as sa
from psycopg import sql as pgsql
from psycopg.pq import TransactionStatus
from sqlalchemy.dialects.postgresql import psycopg as dialect

from weft.model.errors import Invalid, Permanent
from weft.store import migration
from weft.store.engine import Answer, Question, conflict_clause
from weft.store.layers import Layer
from weft.store.postgresql_arrays import Column, column_of, register

PREPARED = 200
"""Statements that the server keeps prepared for a connection."""
CONNECT_TIMEOUT_S = 5
TURN_S = 10.0
"""How long a process may be silent in its turn to write. One that is stopped or cut off must not stop all others."""
SILENCE_S = 10
"""How long a server may leave what was sent to it unacknowledged before its connection counts as broken."""

_PLAN = "SET random_page_cost = 1"
"""What weft asks for is few rows in the order of an index, and these are mostly in memory. Without that, a server that
knows nothing of a table yet, which may have grown from nothing to a million rows in a minute, reads and sorts it."""
_TAKE_TURN = "SELECT value FROM cursors WHERE name = 'revision' FOR UPDATE"


class PostgresConnection:
    """A connection to the server."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            keepalives_idle=SILENCE_S // 2,
            keepalives_interval=1,
            keepalives_count=SILENCE_S // 2,
            tcp_user_timeout=SILENCE_S * 1000,
        )
        self._turn_is_bounded = False
        self._connection.prepare_threshold = 2
        self._connection.prepared_max = PREPARED
        self.execute: Any = self._connection.execute
        self.execute(_PLAN)
        register(self._connection)

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Run queries in one round trip."""
        if len(questions) == 1:  # a pipeline costs more than a question
            [(sql, parameters)] = questions
            return [self.execute(sql, parameters).fetchall()]
        return self._run([], questions)

    def begin_write(self, questions: Sequence[Question] = ()) -> list[Answer]:
        """Begin a transaction once nobody else writes; a question is answered with all that was committed by then."""
        if not self._turn_is_bounded:
            self.execute(f"SET idle_in_transaction_session_timeout = {TURN_S * 1000:.0f}")
            self._turn_is_bounded = True
        return self._run(["BEGIN", _TAKE_TURN], questions)

    def begin_read(self, questions: Sequence[Question] = ()) -> list[Answer]:
        """Begin a transaction that sees one state of the database, and ask, in one round trip."""
        return self._run(["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"], questions)

    def _run(self, commands: Sequence[str], questions: Sequence[Question]) -> list[Answer]:
        """Run commands, then queries, in one round trip; return what the queries found."""
        with self._connection.pipeline():
            for each in commands:
                self.execute(each)
            cursors = [self.execute(sql, parameters) for sql, parameters in questions]
        return [cursor.fetchall() for cursor in cursors]

    def commit(self, layer: Layer | None = None) -> None:
        """Write the rows of a layer and make durable what was written, in one round trip.

        What comes after a statement that failed is not run: neither is COMMIT.
        """
        with self._connection.pipeline():
            if layer is not None:
                self._write(layer)
            self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if one is open."""
        if not self._connection.closed and self._connection.info.transaction_status != TransactionStatus.IDLE:
            self.execute("ROLLBACK")

    def savepoint(self) -> None:
        """Set the mark that rollback_to goes back to."""
        self.execute("SAVEPOINT piece")

    def rollback_to(self) -> None:
        """Undo what was written since the mark."""
        self.execute("ROLLBACK TO piece")
        self.execute("RELEASE piece")

    def release(self) -> None:
        """Lift the mark."""
        self.execute("RELEASE piece")

    def write(self, layer: Layer) -> None:
        """Write all rows of a layer."""
        with self._connection.pipeline():
            self._write(layer)

    def _write(self, layer: Layer) -> None:
        with self._connection.cursor() as cursor:
            for table, keys in layer.deletes.items():
                if keys:
                    names = tuple(column.name for column in table.primary_key)
                    cursor.execute(_delete_sql(table, names), _columns(table, names, zip(*keys, strict=True)))
            for table, rows, clause in layer.puts():
                names = tuple(rows[0])
                columns = ([row[name] for row in rows] for name in names)
                cursor.execute(_put_sql(table, names, clause), _columns(table, names, columns))

    def is_usable(self) -> bool:
        """Tell whether a transaction is open and has not failed."""
        status = self._connection.info.transaction_status
        return not self._connection.closed and status == TransactionStatus.INTRANS

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class PostgresEngine:
    """A database on a server."""

    dialect: sa.Dialect = dialect.dialect()  # type: ignore[no-untyped-call]
    duplicate: type[Exception] = psycopg.errors.UniqueViolation
    failures: tuple[type[Exception], ...] = (psycopg.Error,)
    is_shared = True
    is_remote = True

    def __init__(self, url: str) -> None:
        """Raise Invalid for a URL that names no database."""
        parts = urlsplit(url)
        if not parts.path.strip("/"):
            raise Invalid(f"'{_shown(url)}' names no database: write postgresql://USER@HOST/DATABASE")
        self._url = urlunsplit(parts._replace(scheme="postgresql"))
        self.url = _shown(self._url)

    def connect(self) -> PostgresConnection:
        """Open a connection."""
        return PostgresConnection(self._url)

    connect_to_write = connect

    def is_damage(self, error: BaseException) -> bool:
        """Tell whether the server says that a table or an index is damaged."""
        return isinstance(error, psycopg.errors.DataCorrupted | psycopg.errors.IndexCorrupted)

    def remember_damage(self, reason: str) -> None:
        """Do nothing: the server says it to everybody who meets it."""

    def share(self) -> None:
        """Do nothing: the database is everybody's."""

    def upgrade(self) -> None:
        """Bring the schema forward; processes that start together take turns. Raises Permanent if it can't be."""
        try:
            migration.upgrade(self._by_driver)
        except sa.exc.OperationalError as error:
            raise Permanent(f"cannot reach the database {self.url}: {error.orig}") from error

    def schema(self) -> str | None:
        """Return the version of the schema; raise Permanent if the server can't be reached."""
        try:
            return migration.current(self._by_driver)
        except sa.exc.OperationalError as error:
            raise Permanent(f"cannot reach the database {self.url}: {error.orig}") from error

    @property
    def _by_driver(self) -> str:
        return self._url.replace("postgresql:", "postgresql+psycopg:", 1)

    def release(self) -> None:
        """There is nothing that only one process may hold."""


def _shown(url: str) -> str:
    """Return a URL without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@", 1)))


@lru_cache(maxsize=256)
def _put_sql(table: sa.Table, names: tuple[str, ...], replaced: frozenset[str] | None) -> pgsql.SQL:
    arrays = ",".join(f"%b::{_array(table.c[name].type)}" for name in names)
    text = f"INSERT INTO {table.name} ({','.join(names)}) SELECT * FROM unnest({arrays})"
    return pgsql.SQL(text + conflict_clause(table, replaced))


@lru_cache(maxsize=256)
def _delete_sql(table: sa.Table, names: tuple[str, ...]) -> pgsql.SQL:
    arrays = ",".join(f"%b::{_array(table.c[name].type)}" for name in names)
    text = f"DELETE FROM {table.name} WHERE ({','.join(names)}) IN (SELECT * FROM unnest({arrays}))"
    return pgsql.SQL(text)


def _columns(table: sa.Table, names: tuple[str, ...], values: Iterable[Sequence[Any]]) -> list[Column]:
    return [kind(column) for kind, column in zip(_kinds(table, names), values, strict=True)]


@lru_cache(maxsize=256)
def _kinds(table: sa.Table, names: tuple[str, ...]) -> tuple[type[Column], ...]:
    return tuple(column_of(table.c[name].type)[0] for name in names)


def _array(kind: sa.types.TypeEngine[Any]) -> str:
    return column_of(kind)[1]
