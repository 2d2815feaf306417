"""Debian's podman on one node of the lab, with CNI for its networks: it has no daemon; each call is one of its own.

Like tests/runtimes/containerd.py it is entered by ``nsenter --net``, and its containers carry the lab's mark.
"""

import json
import resource
import subprocess
from pathlib import Path

from tests.runtimes import leftovers
from tests.runtimes.images import IMAGE

from weft.lab.namespaces import NETNS_DIR
from weft.lab.state import MARK
from weft.lab.topology import namespace_of

CALL_TIMEOUT_S = 60.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CONTAINERS = """\
[containers]
default_ulimits = [{limits}]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
tmp_dir = "{own}/tmp"
volume_path = "{own}/volumes"

[network]
network_backend = "cni"
cni_plugin_dirs = ["{own}/bin", "/usr/lib/cni"]
network_config_dir = "{own}/net.d"
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{own}/root"
runroot = "{own}/run"
"""

PID_MAX = Path("/proc/sys/kernel/pid_max")


class PodmanError(Exception):
    """podman failed; the text is what it said."""


class Podman:
    """podman on one node. `folder` is its own, in the lab's."""

    def __init__(self, node: str, folder: Path, mark: str) -> None:
        self._node = node
        self._folder = folder
        self._cgroup = f"/weft-{mark}-{node}-podman"
        self._environment = {
            "PATH": PATH,
            "HOME": "/root",
            MARK: mark,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    @property
    def bin_dir(self) -> Path:
        return self._folder / "bin"

    @property
    def conf_dir(self) -> Path:
        return self._folder / "net.d"

    def prepare(self, archive: Path) -> None:
        """Write its configuration, and load an image."""
        for each in (self.bin_dir, self.conf_dir):
            each.mkdir(parents=True, exist_ok=True)
        # podman would raise these to their highest, which root may not do everywhere (CAP_SYS_RESOURCE); it lowers its
        # own number of processes to the highest process id before
        kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        highest = {name: resource.getrlimit(kind)[1] for name, kind in kinds.items()}
        most_processes = int(PID_MAX.read_text())
        if highest["nproc"] == resource.RLIM_INFINITY or highest["nproc"] > most_processes:
            highest["nproc"] = most_processes
        limits = ", ".join(f'"{name}={most}:{most}"' for name, most in highest.items())
        (self._folder / "containers.conf").write_text(CONTAINERS.format(own=self._folder, limits=limits))
        (self._folder / "storage.conf").write_text(STORAGE.format(own=self._folder))
        self.call("load", "--input", str(archive))

    def run(self, name: str, network: str, *options: str) -> str:
        """Start a container that sleeps; return its id."""
        words = ("run", "--detach", "--name", name, "--network", network, "--cgroup-parent", self._cgroup)
        return self.call(*words, *options, IMAGE).strip()

    def address(self, name: str, network: str) -> str:
        """Return a container's IPv4 address, as podman knows it from the plugin's result."""
        [seen] = json.loads(self.call("inspect", name))
        return str(seen["NetworkSettings"]["Networks"][network]["IPAddress"])

    def call(self, *words: str) -> str:
        """Call podman; return what it printed. Raises PodmanError."""
        argv = ["nsenter", f"--net={NETNS_DIR / namespace_of(self._node)}", "podman", *words]
        done = subprocess.run(
            argv, env=self._environment, capture_output=True, text=True, check=False, timeout=CALL_TIMEOUT_S, cwd="/"
        )
        if done.returncode:
            raise PodmanError(done.stderr)
        return done.stdout

    def close(self) -> None:
        """Remove all containers, and what podman leaves."""
        ran = self.call("ps", "--all", "--quiet", "--no-trunc").split()
        self.call("rm", "--all", "--force", "--time", "0")
        leftovers.forget(ran)
        leftovers.remove_folder(self._folder)
        leftovers.remove_cgroup(self._cgroup)
        leftovers.remove_cgroup("/libpod_parent")
