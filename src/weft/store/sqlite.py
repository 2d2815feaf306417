"""SQLite: one file, one server, WAL and synchronous=FULL.

The processes of a server take turns to write, by a lock of their own beside the file: SQLite's own lock is asked for
again and again with pauses between, and who asks longest may get it last.

The driver lets go of the interpreter's lock at every step of a statement, and a busy event loop may keep it for
milliseconds before the writer gets it back. So many rows go into one statement.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import sqlite

from weft.model.errors import Invalid, Permanent
from weft.store import migration
from weft.store.damage import TODO
from weft.store.engine import Answer, Question, conflict_clause
from weft.store.layers import Layer

PREFIX = "sqlite:///"
BUSY_TIMEOUT_S = 10.0
"""How long to wait for another process that holds the file."""
HANDOVER_S = 10.0
"""How long to wait for the processes of a server that was killed: the kernel ends them when it comes to it."""
CHUNKS = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""How many rows one statement writes: few sizes, so that few statements are prepared, and few statements to a group."""
CHECKPOINT_PAGES = 4_000
"""How long the log grows until its pages are put into the file: most are written again and again."""
CACHED_STATEMENTS = 256
PAGE_CACHE_KIB = 64 * 1024
CHECK_S = 2.0
"""How long a start may look for damage. A file of a million ports takes 2 to 3 s if it is in memory, 18 s if not."""
SOUND = "ok"
"""What SQLite says of a file that is whole."""
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

log = structlog.get_logger()


class DamagedError(sqlite3.DatabaseError):
    """The file was found damaged, by this process or another."""


class SqliteConnection:
    """A connection to the file."""

    def __init__(self, path: Path, turn: int | None = None) -> None:
        """`turn`: the open file whose lock is to be held while writing; None: no other process writes."""
        self._turn = turn
        self._mark = _mark_of(path)
        self._connection = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        self.execute = self._connection.execute
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=FULL")
        self.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
        self.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        # A statement of many rows keeps what it would have to undo; in a file, that is a write for every page.
        self.execute("PRAGMA temp_store=MEMORY")

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Run queries."""
        return [self.execute(sql, parameters).fetchall() for sql, parameters in questions]

    def begin_write(self, questions: Sequence[Question] = ()) -> list[Answer]:
        """Begin a transaction that nobody else writes beside, and ask."""
        if self._turn is not None:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            if self._turn is not None and self._mark.exists():  # another process has found it so
                raise DamagedError(self._mark.read_text().strip())
            self.execute("BEGIN IMMEDIATE")
            return self.ask(questions)
        except (sqlite3.Error, OSError):
            self.rollback()
            raise

    def begin_read(self, questions: Sequence[Question] = ()) -> list[Answer]:
        """Begin a transaction that sees one state of the database, and ask."""
        self.execute("BEGIN")
        return self.ask(questions)

    def commit(self, layer: Layer | None = None) -> None:
        """Write the rows of a layer, and make durable what was written."""
        if layer is not None:
            self.write(layer)
        self.execute("COMMIT")
        self._end_turn()

    def rollback(self) -> None:
        """Undo the transaction, if one is open."""
        try:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
        finally:
            self._end_turn()

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
        for table, keys in layer.deletes.items():
            names = tuple(column.name for column in table.primary_key)
            if len(names) > 1:
                self._connection.executemany(delete_row_sql(table, names), keys)
                continue
            for part in _chunks(list(keys)):
                self.execute(_delete_sql(table, names[0], len(part)), [key[0] for key in part])
        for table, rows, replaced in layer.puts():
            names = tuple(rows[0])
            for part in _chunks(rows):
                sql = _put_sql(table, names, len(part), replaced)
                self.execute(sql, [row[name] for row in part for name in names])

    def is_usable(self) -> bool:
        """Tell whether a transaction is open; SQLite ends it by itself when a disk is full."""
        return self._connection.in_transaction

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._end_turn()

    def _end_turn(self) -> None:
        if self._turn is not None:
            fcntl.flock(self._turn, fcntl.LOCK_UN)


class SqliteEngine:
    """A database file, which is this process' own until `release`, or this server's once it is shared."""

    dialect: sa.Dialect = sqlite.dialect(paramstyle="named")
    duplicate: type[Exception] = sqlite3.IntegrityError
    failures: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
    is_remote = False

    def __init__(self, url: str) -> None:
        """Take a file; raise Invalid for a URL that names none, Permanent if it can't be had."""
        self.url = url
        self.is_shared = False
        self._path = path_of(url)
        self._mark = _mark_of(self._path)
        self._turn: int | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _own(self._path)
        except OSError as error:
            raise Permanent(f"cannot open the database {self._path}: {error}") from error

    def connect(self) -> SqliteConnection:
        """Open a connection."""
        return SqliteConnection(self._path)

    def connect_to_write(self) -> SqliteConnection:
        """Open a connection that writes, of which a process has one."""
        if self.is_shared and self._turn is None:  # a lock belongs to who opened the file: each process does
            self._turn = os.open(f"{self._path}.turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return SqliteConnection(self._path, self._turn)

    def share(self) -> None:
        """Have processes that are forked from this one use the file together."""
        self.is_shared = True

    def is_damage(self, error: BaseException) -> bool:
        """Tell whether SQLite has read what it cannot have written."""
        code = getattr(error, "sqlite_errorcode", None)  # an extended one; its low byte says what it is
        return isinstance(error, DamagedError) or (code is not None and code & 0xFF in DAMAGE)

    def remember_damage(self, reason: str) -> None:
        """Leave a file beside the database that says so, until a server starts that finds it whole."""
        with contextlib.suppress(OSError):  # a full disk, perhaps: this process knows it in any case
            self._mark.write_text(f"{reason}\n")

    def _check(self) -> None:
        """Look through the file: for CHECK_S, or for as long as it takes if it was found damaged before.

        Raises DamagedError, or what SQLite raises.
        """
        if (found := _damage_in(self._path, None if self._mark.exists() else CHECK_S)) is not None:
            raise DamagedError(f"it is damaged: {found}; {TODO}")
        self._mark.unlink(missing_ok=True)

    def upgrade(self) -> None:
        """Bring the schema forward, and leave the file in the mode that every connection uses.

        Changing the mode takes the whole file, and SQLite does not wait for that: of two processes that try at once,
        one fails.
        """
        self._check()
        migration.upgrade(f"{PREFIX}{self._path}")
        SqliteConnection(self._path).close()

    def schema(self) -> str | None:
        """Return the version of the schema."""
        return migration.current(f"{PREFIX}{self._path}")

    def release(self) -> None:
        """Let another process have the file."""
        os.close(self._lock)
        if self._turn is not None:
            os.close(self._turn)


def _mark_of(path: Path) -> Path:
    """Return the file that stands beside a database which was found damaged, and says how."""
    return Path(f"{path}.damaged")


def _damage_in(path: Path, within_s: float | None) -> str | None:
    """Return the first damage that is found in a file within a time; None if there is none, or it lies further on.

    Raises what SQLite does with a file that is no database at all.
    """
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    late = threading.Event()

    def stop() -> None:
        late.set()
        connection.interrupt()

    timer = threading.Timer(within_s or 0.0, stop)
    if within_s is not None:
        timer.start()
    try:
        connection.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError:
        if not late.is_set():
            raise
        found = SOUND
    finally:
        timer.cancel()
        if within_s is not None:
            timer.join()
        connection.close()
    if late.is_set():  # of pages that it did not come to it would say that nobody uses them
        log.info("database_checked_in_part", database=str(path), seconds=within_s)
        return None
    return None if found == SOUND else " ".join(found.split())


def path_of(url: str) -> Path:
    """Return the file of a URL; raise Invalid if it names none."""
    if not url.startswith(PREFIX) or len(url) == len(PREFIX):
        raise Invalid(f"'{url}' is not a database that weft can use: write sqlite:////absolute/path/weft.db")
    return Path(url.removeprefix(PREFIX))


def _own(path: Path) -> int:
    """Lock a database for this process and return the lock; it ends with the process, however that ends."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + HANDOVER_S
    while not _locked(lock):
        if _owner_runs(lock) or time.monotonic() > deadline:
            os.close(lock)
            message = f"the database {path} is open in another process: stop that server, or give this one another --db"
            raise Permanent(message, kind="DatabaseInUse")
        time.sleep(0.01)
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner_runs(lock: int) -> bool:
    """Tell whether the process that took the lock is there; if not, processes that it has forked hold it and will end.

    What it has forked is killed when it dies (weft.api.processes), but not in the same moment.
    """
    owner = os.pread(lock, 32, 0).strip()
    return not owner.isdigit() or Path(f"/proc/{owner.decode()}").exists()


def _chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    at = 0
    for size in CHUNKS:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size


@lru_cache(maxsize=512)
def _put_sql(table: sa.Table, names: tuple[str, ...], count: int, replaced: frozenset[str] | None) -> str:
    marks = "(" + ",".join("?" * len(names)) + ")"
    sql = f"INSERT INTO {table.name} ({','.join(names)}) VALUES {','.join([marks] * count)}"
    return sql + conflict_clause(table, replaced)


@lru_cache(maxsize=512)
def _delete_sql(table: sa.Table, name: str, count: int) -> str:
    return f"DELETE FROM {table.name} WHERE {name} IN ({','.join('?' * count)})"


@lru_cache(maxsize=64)
def delete_row_sql(table: sa.Table, names: tuple[str, ...]) -> str:
    """Return what deletes one row: of several keys of several columns at once, SQLite would read the whole table."""
    return f"DELETE FROM {table.name} WHERE {' AND '.join(f'{name} = ?' for name in names)}"
