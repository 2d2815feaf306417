"""What the store needs of a database engine; sqlite.py and postgresql.py have it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from weft.model.errors import Permanent
from weft.store.layers import Layer

Question = tuple[str, Mapping[str, Any]]
"""A query's SQL text and its parameters."""
Answer = list[tuple[Any, ...]]
"""The rows that a question found."""


class Connection(Protocol):
    """A connection of one thread: SQL text with named parameters in, rows out."""

    def execute(self, sql: str, parameters: Mapping[str, Any] = ..., /) -> Any:
        """Run one statement and return a cursor with fetchone, fetchall, fetchmany, rowcount, and iteration."""

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Run queries, all on one way to the server and back, and return what each found."""

    def begin_write(self, questions: Sequence[Question] = ()) -> list[Answer]:
        """Begin a transaction that nobody else writes beside, and that sees all that is committed; and ask.

        The questions are asked once it is this connection's turn, on the same way to the server and back.
        """

    def begin_read(self, questions: Sequence[Question] = ()) -> list[Answer]:
        """Begin a transaction that sees one state of the database to its end; and ask, on the same way."""

    def commit(self, layer: Layer | None = None) -> None:
        """Write all rows of a layer, as `write` does, and end the transaction; what it wrote is durable."""

    def rollback(self) -> None:
        """End the transaction, if there is one; what it wrote never was."""

    def savepoint(self) -> None:
        """Set the mark that rollback_to goes back to."""

    def rollback_to(self) -> None:
        """Undo what was written since the mark, and lift it."""

    def release(self) -> None:
        """Lift the mark."""

    def write(self, layer: Layer) -> None:
        """Write all rows of a layer: deletions first, then changes, then new rows."""

    def is_usable(self) -> bool:
        """Tell whether a transaction is open and can go on."""

    def close(self) -> None:
        """Close the connection."""


class Engine(Protocol):
    """A database."""

    url: str
    """Without secrets, as it may be shown."""
    dialect: sa.Dialect
    duplicate: type[Exception]
    """What is raised for a key that is taken."""
    failures: tuple[type[Exception], ...]
    """What is raised when the database cannot be reached, or fails."""
    is_shared: bool
    """Whether other processes may write beside this one."""
    is_remote: bool
    """Whether a question takes the way to a server and back."""

    def connect(self) -> Connection:
        """Open a connection that reads; it may be handed to one other thread."""

    def connect_to_write(self) -> Connection:
        """Open a connection that writes, of which a process has one; it may be handed to one other thread."""

    def share(self) -> None:
        """Have processes that are forked from this one use the database together."""

    def upgrade(self) -> None:
        """Bring the schema forward to this version's."""

    def schema(self) -> str | None:
        """Return the version of the schema; None for a database that has none yet."""

    def is_damage(self, error: BaseException) -> bool:
        """Tell whether an error means that what is stored is damaged, however often it is asked for."""

    def remember_damage(self, reason: str) -> None:
        """Have the other processes, and a server that starts, know that the database was found damaged."""

    def release(self) -> None:
        """Give up what only one process may hold."""


def conflict_clause(table: sa.Table, replaced: frozenset[str] | None) -> str:
    """Return what makes an INSERT replace these columns of the row that has its key; None: there is no such row.

    Both engines know it.
    """
    if replaced is None:
        return ""
    keys = [column.name for column in table.primary_key]
    rest = ",".join(f"{name}=excluded.{name}" for name in sorted(replaced) if name not in keys)
    return f" ON CONFLICT ({','.join(keys)}) DO UPDATE SET {rest}" if rest else " ON CONFLICT DO NOTHING"


@contextlib.contextmanager
def failures_are_final(engine: Engine) -> Iterator[None]:
    """Raise Permanent, which says in a line what is wrong, where the database cannot be reached or is damaged."""
    failures: tuple[type[Exception], ...] = (sa.exc.DBAPIError, *engine.failures)
    try:
        yield
    except failures as error:
        reason = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise Permanent(f"cannot open the database {engine.url}: {str(reason).strip()}") from error
