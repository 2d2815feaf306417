"""Power and reset button of the lab's switches: boots one, stops it, kills a daemon in it. Configures nothing.

A switch is one process tree in a network namespace that exists already, with namespaces of its own for mounts, pids and
host name; see switch_init.sh for what happens inside. Killing the outer process ends all of it and leaves no mount.
Its working folder outlives a restart, as a disk would: the saved configuration, the SSH host key, the logs.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from weft.lab.switch_image import IMAGE, is_current
from weft.model.errors import NotFound, Permanent

INIT = Path(__file__).with_name("switch_init.sh")
BOOT_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 4.0
POLL_S = 0.01
SSH_PORT = 22
DAEMONS = ("zebra", "mgmtd", "bgpd", "staticd", "watchfrr", "sshd")
"""What can be killed by name with kill_daemon; watchfrr starts the first four again."""
LOG_TAIL_LINES = 15
_TCP_LISTEN = "0A"
_FRR_ID = 101  # uid and gid of frr in the image

_DAEMONS_FILE = """\
# The daemons of this switch and how they start; watchfrr reads it.
bgpd=yes
vtysh_enable=yes
zebra_options="-A 127.0.0.1 -s 90000000"
mgmtd_options="-A 127.0.0.1"
bgpd_options="-A 127.0.0.1"
staticd_options="-A 127.0.0.1"
"""

_SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
Subsystem sftp internal-sftp
"""


def prepare(name: str, workdir: Path, authorized_key: str, *, vlans: bool = False) -> None:
    """Write what a switch comes with when it leaves the factory; keep what a running one has saved since.

    `authorized_key` is the OpenSSH public key that may log in as root; `vlans`: it is one that runs Open vSwitch.
    """
    if vlans:
        (workdir / "etc-openvswitch").mkdir(parents=True, exist_ok=True)
        (workdir / "etc-openvswitch" / "switching").touch()
    frr, ssh, log = workdir / "etc-frr", workdir / "ssh", workdir / "log"
    for folder in (frr, ssh, log, log / "frr"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    (frr / "daemons").write_text(_DAEMONS_FILE)
    (frr / "vtysh.conf").write_text("service integrated-vtysh-config\n")
    saved = frr / "frr.conf"
    if not saved.exists():
        saved.write_text(f"frr defaults traditional\nhostname {name}\nlog file /var/log/frr/frr.log\n!\n")
    for path in (frr, log / "frr", *frr.iterdir()):
        os.chown(path, _FRR_ID, _FRR_ID)
    (ssh / "sshd_config").write_text(_SSHD_CONFIG)
    (ssh / "authorized_keys").write_text(authorized_key.strip() + "\n")
    host_key = ssh / "ssh_host_ed25519_key"
    if not host_key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(host_key)], check=True)


def command(name: str, workdir: Path, ssh_address: str, image: Path = IMAGE) -> tuple[str, ...]:
    """Return the command that is the switch while it runs; to be started inside the switch's network namespace.

    sshd listens on `ssh_address`, an address of the out-of-band interface, which must be there already.
    """
    isolation = ("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL")
    return (*isolation, "bash", str(INIT), name, str(image), str(workdir), ssh_address)


async def boot(
    name: str,
    netns: str,
    *,
    workdir: Path,
    authorized_key: str,
    ssh_address: str,
    environment: Mapping[str, str],
    image: Path = IMAGE,
    timeout_s: float = BOOT_TIMEOUT_S,
    vlans: bool = False,
) -> int:
    """Start a switch in the namespace `netns` and wait until it takes logins and its daemons are up; return its pid.

    `environment` is that of all its processes: the lab's mark is in it. Raise Permanent if there is no image or the
    switch does not come up.
    """
    if not is_current(image):
        raise Permanent(f"there is no current switch image in {image}: run scripts/setup (or scripts/switch-image)")
    prepare(name, workdir, authorized_key, vlans=vlans)
    process = _start(netns, command(name, workdir, ssh_address, image), workdir, environment)
    try:
        await ready(process.pid, workdir, timeout_s)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.pid


def _start(netns: str, argv: Sequence[str], workdir: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (workdir / "log" / "console.log").open("ab") as console:
        return subprocess.Popen(
            ["ip", "netns", "exec", netns, *argv],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            cwd="/",
        )


async def ready(pid: int, workdir: Path, timeout_s: float = BOOT_TIMEOUT_S) -> None:
    """Wait until the switch of outer process `pid` takes logins and has all daemons up; raise Permanent if not."""
    deadline = time.monotonic() + timeout_s
    while not _is_ready(pid):
        if _is_zombie(pid):
            raise Permanent(f"the switch in {workdir} ended while it booted:\n{_log_tail(workdir)}")
        if time.monotonic() > deadline:
            raise Permanent(f"the switch in {workdir} is not up after {timeout_s:g} s:\n{_log_tail(workdir)}")
        await asyncio.sleep(POLL_S)


async def stop(pid: int) -> None:
    """Cut a switch's power: all its processes are gone when this returns, as are its mounts."""
    inner = _members(pid)
    _signal(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while any(not _is_zombie(each) for each in (pid, *inner)):
        if time.monotonic() > deadline:
            raise Permanent(f"the switch of pid {pid} does not end")
        await asyncio.sleep(POLL_S)


def daemon_pids(pid: int, daemon: str) -> tuple[int, ...]:
    """Return the pids, as the machine sees them, of a program in the switch whose outer process is `pid`."""
    return tuple(each for each in _members(pid) if _read(each, "comm") == daemon)


def kill_daemon(pid: int, daemon: str, signal_: signal.Signals = signal.SIGKILL) -> tuple[int, ...]:
    """Send a signal to a program in a switch; return the pids it went to. Raise NotFound if it does not run there."""
    pids = daemon_pids(pid, daemon)
    if not pids:
        raise NotFound(f"no '{daemon}' runs in the switch; programs one can name: {', '.join(DAEMONS)}")
    for each in pids:
        _signal(each, signal_)
    return pids


def _is_ready(pid: int) -> bool:
    started = Path(f"/proc/{_init(pid)}/root/run/frr/watchfrr.started")
    return started.exists() and _listens(pid)


def _listens(pid: int) -> bool:
    rows = _read(pid, "net/tcp").splitlines()[1:]
    return any(row.split()[1].endswith(f":{SSH_PORT:04X}") and row.split()[3] == _TCP_LISTEN for row in rows)


def _init(pid: int) -> int | None:
    """Return the switch's process 1, the only child of unshare(1)."""
    children = _read(pid, f"task/{pid}/children").split()
    return int(children[0]) if children else None


def _members(pid: int) -> tuple[int, ...]:
    """Return the pids of all processes in the switch's pid namespace."""
    space = _pid_namespace(_init(pid))
    if space is None:
        return ()
    everyone = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return tuple(each for each in everyone if _pid_namespace(each) == space)


def _pid_namespace(pid: int | None) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return None


def _is_zombie(pid: int) -> bool:
    stat = _read(pid, "stat")
    return not stat or stat.rpartition(")")[2].split()[0] == "Z"


def _signal(pid: int, signal_: signal.Signals) -> None:
    try:
        os.kill(pid, signal_)
    except ProcessLookupError:
        return


def _read(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace").strip()
    except OSError:
        return ""


def _log_tail(workdir: Path) -> str:
    lines: list[str] = []
    for log in (workdir / "log" / "console.log", workdir / "log" / "frr" / "watchfrr.log"):
        if log.exists():
            lines += log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:])
