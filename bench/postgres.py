"""A PostgreSQL server of one's own: a folder, a unix socket in it, gone when it is no longer needed."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = Path("/usr/lib/postgresql")
START_TIMEOUT_S = 30.0
LOG_FILES = 60
"""Of 16 MB: what the benchmarks write."""
USER = "weft"
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "min_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}
"""Beside the defaults, durable commits (fsync, synchronous_commit) among them."""


class PostgresServer:
    """A server that runs; `url` is what `weft server --db` takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}@/{database}?host={self._folder}"

    def initialize(self, *, checksums: bool = False) -> None:
        """Make the data folder. `checksums`: of its pages, as PostgreSQL 18 has them if it is not told otherwise."""
        more = ["--data-checksums"] if checksums else []
        self._run(_program("initdb"), "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync", *more)
        lines = [f"{key} = '{value}'" for key, value in SETTINGS.items()]
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("\n".join([*lines, f"unix_socket_directories = '{self._folder}'", ""]))

    def start(self) -> None:
        """Start the server and wait until it answers; it recovers first if it was killed."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_other(), str(_program("postgres")), "-D", str(self._data)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(
            [_program("pg_isready"), "-q", "-h", self._folder, "-U", USER, "-d", "postgres"], check=False
        ).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not start:\n{(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def file(self, name: str) -> Path:
        """Return a file by its name in the data folder, as pg_relation_filepath has it."""
        return self._data / name

    def create(self, database: str) -> str:
        """Make a database and return its URL."""
        self._run(_program("createdb"), "-h", self._folder, "-U", USER, database)
        return self.url(database)

    def wear_in(self) -> None:
        """Have log files to use again, as a server has that has run for a while; a new one keeps every commit waiting,
        here for 50 ms, while it is filled with zeros."""
        one_more = "SELECT txid_current(), pg_switch_wal();"
        self._psql("postgres", *[one_more] * LOG_FILES, "CHECKPOINT")

    def settle(self, database: str) -> None:
        """Have what many new rows leave to be done in the background done now: tables analyzed, the log put away."""
        self._psql(database, "VACUUM (ANALYZE)", "CHECKPOINT")

    def _psql(self, database: str, *statements: str) -> None:
        each = (word for statement in statements for word in ("-c", statement))
        self._run(_program("psql"), "-q", "-h", self._folder, "-U", USER, "-d", database, "-o", os.devnull, *each)

    def drop(self, database: str) -> None:
        """Remove a database, whoever uses it."""
        self._run(_program("dropdb"), "--force", "-h", self._folder, "-U", USER, database)

    def kill(self) -> None:
        """Kill the server and all its processes at once, as a power cut would."""
        if self._process is None:
            return
        pid = self._process.pid
        os.kill(pid, signal.SIGSTOP)  # so that it starts no more of them
        backends = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for each in (pid, *backends):  # backends are sessions of their own
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._process.wait()
        self._process = None
        deadline = time.monotonic() + START_TIMEOUT_S
        while any(map(_lives, backends)) and time.monotonic() < deadline:  # the next server must not meet them
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=START_TIMEOUT_S)
        self._process = None

    def _run(self, *command: object) -> None:
        done = subprocess.run([*_as_other(), *map(str, command)], capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")


def _lives(pid: int) -> bool:
    """Tell whether a process holds anything yet: not one that is only to be waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def postgres(*, checksums: bool = False) -> Iterator[PostgresServer]:
    """Run a new server within the context; see PostgresServer.initialize."""
    folder = Path(tempfile.mkdtemp(prefix="weft-postgres-"))
    server = PostgresServer(folder)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        server.initialize(checksums=checksums)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def is_installed() -> bool:
    """Tell whether PostgreSQL is there."""
    return any(BINARIES.glob("*/bin/postgres"))


def _program(name: str) -> Path:
    found = sorted(BINARIES.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise RuntimeError(f"there is no {name} in {BINARIES}: scripts/setup installs the package postgresql")
    return found[-1]


def _as_other() -> list[str]:
    """Return what to put before a command, so that it does not run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
