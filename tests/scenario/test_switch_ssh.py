"""The connection to a switch, against an SSH server on loopback that hangs, drops, refuses, or is another one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncssh
import pytest

from weft.model.errors import Permanent, Transient
from weft.switches import ssh
from weft.switches.driver import DriverSettings
from weft.switches.ssh import SshSession

Process = asyncssh.SSHServerProcess[str]


class Device:
    """A switch's sshd: answers every script as it is told to."""

    def __init__(self, folder: Path) -> None:
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.login = asyncssh.generate_private_key("ssh-ed25519")
        self.key_file = folder / "key"
        self.login.write_private_key(str(self.key_file))
        self.scripts: list[str] = []
        self.monitors: list[Process] = []
        self.monitors_ended = asyncio.Event()
        self.behave: Callable[[Process], object] = lambda process: process.exit(0)
        self.accepts = True
        self.port = 0
        self.connections: list[asyncssh.SSHServerConnection] = []
        self._server: asyncssh.SSHAcceptor | None = None

    async def start(self) -> None:
        """Listen, on the same port again if it did before."""
        device = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                device.connections.append(conn)

            def begin_auth(self, username: str) -> bool:
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return device.accepts

        self._server = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[self.host_key],
            server_factory=Server,
            process_factory=self._handle,
        )
        self.port = self._server.get_port()

    async def stop(self) -> None:
        """Lose every connection, and take no other."""
        while self.connections:
            self.connections.pop().abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _handle(self, process: Process) -> None:
        if process.command != ssh.SHELL:
            self.monitors.append(process)
            await process.stdin.read()
            self.monitors_ended.set()
            return
        self.scripts.append(await process.stdin.read())
        done = self.behave(process)
        if asyncio.iscoroutine(done):
            await done

    def session(self, *, monitor: str = "", **settings: object) -> SshSession:
        """Return a session with it."""
        login = DriverSettings(key_file=self.key_file, **settings)  # type: ignore[arg-type]
        return SshSession("leaf1", f"127.0.0.1:{self.port}", login, monitor=monitor)


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    made = Device(tmp_path)
    await made.start()
    yield made
    await made.stop()


def say(text: str, status: int = 0) -> Callable[[Process], None]:
    def answer(process: Process) -> None:
        process.stdout.write(text)
        process.exit(status)

    return answer


async def test_a_script_runs_and_says_how_it_ended(device: Device) -> None:
    device.behave = say("all is well", 3)
    session = device.session()
    done = await session.run("look")
    assert (done.output, done.status, device.scripts) == ("all is well", 3, ["look"])
    await session.close()


async def test_a_switch_that_never_ends_a_script_is_given_up(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "SCRIPT_TIMEOUT_S", 0.1)
    never = asyncio.Event()
    device.behave = lambda process: never.wait()
    session = device.session()
    with pytest.raises(Transient, match="did not end within"):
        await session.run("look")
    assert not session.is_connected
    device.behave = say("well again")
    assert (await session.run("look")).output == "well again"
    never.set()
    await session.close()


async def test_a_switch_that_does_not_even_greet_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 0.1)
    callers: list[asyncio.StreamWriter] = []  # a writer that nobody holds closes its connection, from Python 3.13 on
    silent = await asyncio.start_server(lambda reader, writer: callers.append(writer), "127.0.0.1", 0)
    device = Device(tmp_path)
    device.port = silent.sockets[0].getsockname()[1]
    with pytest.raises(Transient, match="no answer within"):
        await device.session().run("look")
    silent.close()
    for caller in callers:
        caller.close()


async def test_a_switch_that_drops_the_line_is_asked_once_more_if_that_is_harmless(device: Device) -> None:
    device.behave = say("first")
    session = device.session()
    await session.run("look")
    drops = [True]

    def drop(process: Process) -> None:
        if drops.pop():
            process.channel.get_connection().abort()
        else:
            say("second")(process)

    drops = [False, True]
    device.behave = drop
    assert (await session.run("look")).output == "second"
    drops = [True]
    with pytest.raises(Transient, match="cannot be reached"):
        await session.run("cut yourself off", once=True)
    assert device.scripts == ["look", "look", "look", "cut yourself off"], "it is not run again: it may have been that"
    await session.close()


async def test_nobody_there_is_transient_with_the_address(device: Device) -> None:
    await device.stop()
    with pytest.raises(Transient, match=rf"leaf1 \(127\.0\.0\.1:{device.port}\) cannot be reached"):
        await device.session().run("look")


async def test_a_key_that_is_refused_is_permanent_and_named(device: Device) -> None:
    device.accepts = False
    with pytest.raises(Permanent, match=r"leaf1 refuses root with the key .*key: authorize it there"):
        await device.session().run("look")


async def test_a_key_that_is_not_there_is_permanent(device: Device) -> None:
    device.key_file.unlink()
    with pytest.raises(Permanent, match="does not exist"):
        await device.session().run("look")


async def test_another_host_key_is_not_spoken_to(device: Device, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    session = device.session(known_hosts=known)
    await session.run("look")
    await session.close()
    await device.stop()
    device.host_key = asyncssh.generate_private_key("ssh-ed25519")
    await device.start()
    with pytest.raises(Permanent, match="shows an SSH host key that is not the known one"):
        await device.session(known_hosts=known).run("look")
    assert device.scripts == ["look"]


async def test_a_connection_that_is_lost_is_told(device: Device) -> None:
    session = device.session()
    await session.run("look")
    lost = asyncio.Event()
    session.lost = lost.set
    await device.stop()
    await asyncio.wait_for(lost.wait(), 5)
    assert not session.is_connected


async def test_what_changes_on_a_switch_is_told_as_long_as_somebody_listens(device: Device) -> None:
    session = device.session(monitor="tell me")
    heard: asyncio.Queue[None] = asyncio.Queue()
    session.changed = lambda: heard.put_nowait(None)
    device.behave = say("all is well")
    assert (await session.run("look")).output == "all is well"
    (monitor,) = device.monitors
    assert monitor.command == "tell me"
    for _ in range(2):
        monitor.stdout.write("changed\n")
        await asyncio.wait_for(heard.get(), 5)
    assert (await session.run("look again")).output == "all is well", "scripts run beside it"
    await session.close()
    await asyncio.wait_for(device.monitors_ended.wait(), 5)
    await session.run("look")
    assert len(device.monitors) == 2, "a new connection has one of its own"
    await session.close()


async def test_a_switch_that_cannot_be_monitored_is_read_all_the_same(device: Device) -> None:
    session = device.session(monitor="tell me")
    device.behave = say("all is well")
    await session.run("look")
    device.monitors[0].exit(127)
    assert (await session.run("look")).output == "all is well"
    await session.close()
