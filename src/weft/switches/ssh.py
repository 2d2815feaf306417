"""One persistent SSH connection to a switch, on which scripts are run; it is made again when it is lost."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import asyncssh
import structlog

from weft.model.errors import Permanent, Transient
from weft.switches import guard
from weft.switches.driver import DriverSettings

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 2.0
KEEPALIVE_MISSES = 3
SCRIPT_TIMEOUT_S = 60.0
RETRY_AFTER_S = 1.0
SHELL = "bash -s"
PORT = 22
REJECTED = "weft: rejected: "
"""What begins the line on a script's standard error that tells what of the configuration the switch refused."""

log = structlog.get_logger()


class Finished:
    """A script that has run on a switch."""

    def __init__(self, status: int, output: str, errors: str) -> None:
        self.status = status
        self.output = output
        self.errors = errors


def check(switch: str, done: Finished) -> None:
    """Raise Permanent if a script says that the switch refused what it was told, Transient if it failed otherwise."""
    if done.status == 0:
        return
    said = last_words(done.errors)
    if REJECTED in done.errors:
        raise Permanent(f"switch {switch} refused the configuration: {said}")
    raise Transient(f"switch {switch}: {said}", retry_after_s=RETRY_AFTER_S)


def last_words(errors: str) -> str:
    """Return the last lines of what a script said, as one."""
    return " / ".join(line.strip() for line in errors.strip().splitlines()[-5:])


class _ConnectionLost(Exception):
    """The connection ended before the script did."""


class SshSession:
    """Runs scripts on a switch, one at a time; Transient if it cannot be reached, Permanent if it refuses the key.

    Beside them runs the command `monitor`, if there is one, which prints a line whenever something changed.
    """

    def __init__(self, switch: str, management: str, settings: DriverSettings, *, monitor: str = "") -> None:
        self._switch = switch
        host, _, port = management.rpartition(":") if management.count(":") == 1 else (management, "", "")
        self._host = host.strip("[]")
        self._port = int(port) if port else PORT
        self._settings = settings
        self._connection: asyncssh.SSHClientConnection | None = None
        self._pinned: bytes | None = None
        self._lock = asyncio.Lock()
        self.lost: Callable[[], None] = lambda: None
        """Called when a connection is lost that nobody gave up."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the monitor printed something."""
        self._monitor = monitor
        self._monitoring: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Tell whether a connection is open, as far as is known."""
        return self._connection is not None

    async def run(self, script: str, *, once: bool = False) -> Finished:
        """Run a script by the switch's bash and return how it ended; connect first if that is needed.

        A connection that turns out to be dead is made again, and the script is run again; not if it may run only
        `once`, since it may be what cut the connection.
        """
        async with self._lock:
            try:
                if self._connection is not None:
                    with contextlib.nullcontext() if once else contextlib.suppress(_ConnectionLost):
                        return await self._run(self._connection, script)
                return await self._run(await self._connect(), script)
            except _ConnectionLost as lost:
                raise self._unreachable(str(lost)) from None

    async def write(self, script: str, *, once: bool = False) -> Finished:
        """Run a script that changes the switch, if no later leader was there, and no other script is at it."""
        return self._unfenced(await self.run(f"{self._fence}\n{script}", once=once))

    async def _run(self, connection: asyncssh.SSHClientConnection, script: str) -> Finished:
        try:
            async with asyncio.timeout(SCRIPT_TIMEOUT_S):
                done = await connection.run(SHELL, input=script, check=False)
        except TimeoutError:
            self._drop()
            raise self._unreachable(f"a script did not end within {SCRIPT_TIMEOUT_S:g} s") from None
        except (asyncssh.Error, OSError) as error:
            self._drop()
            raise _ConnectionLost(str(error)) from None
        except asyncio.CancelledError:
            self._drop()  # the script may still run there; the next one must not share its connection's fate
            raise
        if done.exit_status is None or done.exit_status < 0:
            self._drop()
            raise _ConnectionLost("the connection was lost while a script ran")
        return Finished(done.exit_status, str(done.stdout or ""), str(done.stderr or ""))

    async def close(self) -> None:
        """Close the connection if there is one."""
        connection, self._connection = self._connection, None
        if self._monitoring is not None:
            self._monitoring.cancel()
        if connection is not None:
            connection.close()
            with contextlib.suppress(asyncssh.Error, OSError):
                await connection.wait_closed()

    async def _connect(self) -> asyncssh.SSHClientConnection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await asyncssh.connect(
                    self._host,
                    self._port,
                    username=self._settings.user,
                    client_keys=[str(self._settings.key_file)],
                    client_factory=lambda: _Client(self._known, self._was_lost),
                    known_hosts=b"",  # asks the client: see _Client
                    agent_path=None,
                    config=[],
                    keepalive_interval=KEEPALIVE_S,
                    keepalive_count_max=KEEPALIVE_MISSES,
                )
        except asyncssh.PermissionDenied:
            user, key = self._settings.user, self._settings.key_file
            raise Permanent(f"switch {self._switch} refuses {user} with the key {key}: authorize it there") from None
        except asyncssh.HostKeyNotVerifiable:
            raise Permanent(
                f"switch {self._switch} ({self._host}) shows an SSH host key that is not the known one: if it was "
                f"replaced, remove its line from {self._settings.known_hosts or 'memory by restarting the server'}"
            ) from None
        except TimeoutError:
            raise self._unreachable(f"no answer within {CONNECT_TIMEOUT_S:g} s") from None
        except FileNotFoundError:
            raise Permanent(f"the key for switches, {self._settings.key_file}, does not exist") from None
        except (asyncssh.Error, OSError) as error:
            raise self._unreachable(str(error)) from None
        log.info("switch_connected", switch=self._switch, host=self._host)
        self._connection = connection
        if self._monitor:
            self._monitoring = asyncio.create_task(self._listen(connection), name=f"monitor-{self._switch}")
        if self._fence:  # whoever led before may write no more from now on
            self._unfenced(await self._run(connection, self._fence))
        return connection

    async def _listen(self, connection: asyncssh.SSHClientConnection) -> None:
        """Call `changed` for each line of the monitor, as long as it runs; without it the switch is looked at less."""
        try:
            async with connection.create_process(self._monitor, stderr=asyncssh.DEVNULL) as process:
                async for _ in process.stdout:
                    self.changed()
        except (asyncssh.Error, OSError) as error:
            log.info("switch_not_monitored", switch=self._switch, error=str(error))

    @property
    def _fence(self) -> str:
        return guard.fence(self._settings.term) if self._settings.term else ""

    def _unfenced(self, done: Finished) -> Finished:
        if done.status == guard.FENCED_STATUS and (reason := guard.fenced_by(done.errors)) is not None:
            self._drop()
            raise Transient(f"switch {self._switch} refuses this controller: {reason}", retry_after_s=RETRY_AFTER_S)
        return done

    def _known(self, key: bytes) -> bool:
        """Tell whether a host key is the switch's; a first key is recorded if the settings say so."""
        path = self._settings.known_hosts
        recorded = _recorded(path, self._host, self._port) if path else self._pinned
        if recorded is not None:
            return recorded == key
        if not self._settings.record_hosts:
            return False
        if path:
            with path.open("a", encoding="ascii") as file:
                file.write(f"{_host_name(self._host, self._port)} {key.decode()}\n")
        self._pinned = key
        log.info("switch_host_key_recorded", switch=self._switch, host=self._host)
        return True

    def _was_lost(self, connection: asyncssh.SSHClientConnection | None) -> None:
        if connection is not None and connection is self._connection:
            self._connection = None
            log.info("switch_connection_lost", switch=self._switch, host=self._host)
            self.lost()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _unreachable(self, reason: str) -> Transient:
        return Transient(
            f"switch {self._switch} ({self._host}:{self._port}) cannot be reached: {reason}",
            retry_after_s=RETRY_AFTER_S,
        )


class _Client(asyncssh.SSHClient):
    """Decides about a switch's host key, given in OpenSSH's form; asyncssh asks as its own list of hosts is empty.

    And it tells when the connection is lost.
    """

    def __init__(
        self, known: Callable[[bytes], bool], lost: Callable[[asyncssh.SSHClientConnection | None], None]
    ) -> None:
        self._known = known
        self._lost = lost
        self._connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Remember whose connection it is."""
        self._connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell it."""
        self._lost(self._connection)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Accept the key that is known, or a first one."""
        return self._known(b" ".join(key.export_public_key().split()[:2]))


def _host_name(host: str, port: int) -> str:
    return host if port == PORT else f"[{host}]:{port}"


def _recorded(path: Path, host: str, port: int) -> bytes | None:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    wanted = _host_name(host, port).encode()
    keys = (b" ".join(fields[1:3]) for line in lines if len(fields := line.split()) >= 3 and fields[0] == wanted)
    return next(keys, None)
