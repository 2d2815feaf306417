"""Debian's containerd on one node of the lab: its own root, state, socket and CNI folders, in the node's namespace.

It is entered by ``nsenter --net`` and not by ``ip netns exec``, which would hide the cgroups from runc. It carries the
lab's mark, and so do its shims, and by their image's environment its containers: ``weft lab down`` ends them all, and
unmounts what they leave in the lab's folder. `close` does so in order, and takes away the cgroups too.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from tests.runtimes import leftovers
from tests.runtimes.images import FOREVER, IMAGE

from weft.lab.namespaces import NETNS_DIR
from weft.lab.state import MARK
from weft.lab.topology import namespace_of

PLUGINS = Path("/usr/lib/cni")
NEEDED = ("containerd", "ctr", "runc")
START_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 90.0
POLL_S = 0.02
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
_messages, _services = grpc.protos_and_services("tests/runtimes/cri.proto")

CONFIG = """\
version = 2
root = "{own}/root"
state = "{own}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{own}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
disable_apparmor = true
restrict_oom_score_adj = true
sandbox_image = "{image}"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{bin_dir}"
conf_dir = "{conf_dir}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
pod_annotations = ["weft.dev/*"]

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{own}/runc"
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{reference}]
runtime_type = "io.containerd.runc.v2"
cni_conf_dir = "{own}/{reference}.d"
cni_max_conf_num = 1

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{reference}.options]
Root = "{own}/runc"
SystemdCgroup = false
"""
REFERENCE = "reference"
"""A runtime handler whose pods get their network from the reference plugins `bridge` and `host-local`, to compare."""
REFERENCE_LIST = {
    "cniVersion": "1.0.0",
    "name": REFERENCE,
    "plugins": [
        {
            "type": "bridge",
            "bridge": "reference0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.97.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}


class CallError(Exception):
    """The runtime refused a call; the text is what a kubelet would log."""


@dataclass(frozen=True)
class Sandbox:
    """A pod's sandbox as the runtime tells of it."""

    id: str
    address: str
    netns: Path
    result: dict[str, Any]
    """What the plugins answered, as the runtime keeps it."""


@dataclass
class Containerd:
    """One containerd. `folder` is its own, in the lab's; plugins are in `bin_dir`, conflists in `conf_dir`."""

    node: str
    folder: Path
    mark: str
    pid: int | None = None
    _ran: dict[str, Any] = field(default_factory=dict)
    """The configuration of each sandbox that was run, by its id."""

    @property
    def _cgroup(self) -> str:
        return f"/weft-{self.mark}-{self.node}"

    @property
    def bin_dir(self) -> Path:
        return self.folder / "bin"

    @property
    def conf_dir(self) -> Path:
        return self.folder / "net.d"

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    def prepare(self) -> None:
        """Make its folders, with the reference plugins where it looks for plugins, and its configuration."""
        for each in (self.bin_dir, self.conf_dir):
            each.mkdir(parents=True, exist_ok=True)
        for plugin in PLUGINS.iterdir():
            (self.bin_dir / plugin.name).symlink_to(plugin)
        reference = json.loads(json.dumps(REFERENCE_LIST))
        reference["plugins"][0]["ipam"]["dataDir"] = str(self.folder / "host-local")
        (self.folder / f"{REFERENCE}.d").mkdir()
        (self.folder / f"{REFERENCE}.d" / "10-reference.conflist").write_text(json.dumps(reference))
        text = CONFIG.format(
            own=self.folder, image=IMAGE, bin_dir=self.bin_dir, conf_dir=self.conf_dir, reference=REFERENCE
        )
        (self.folder / "config.toml").write_text(text)

    def start(self) -> None:
        """Start it, and wait until it serves."""
        environment = {"PATH": PATH, MARK: self.mark}
        argv = [
            "nsenter",
            f"--net={NETNS_DIR / namespace_of(self.node)}",
            "containerd",
            "-c",
            str(self.folder / "config.toml"),
        ]
        with (self.folder / "containerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True, cwd="/"
            )
        self.pid = self._process.pid
        self._channel = grpc.insecure_channel(f"unix://{self.socket}")
        self._calls = _services.RuntimeServiceStub(self._channel)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._calls.Version(_messages.VersionRequest(), timeout=1, wait_for_ready=True)
            except grpc.RpcError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError(f"containerd does not serve:\n{self.log()[-3000:]}") from None
            else:
                return

    def kill(self) -> None:
        """Kill it, as a node's failure does; its containers run on, as they do when it is restarted."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def import_image(self, archive: Path) -> None:
        """Load an image for its pods."""
        words = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "import", str(archive)]
        subprocess.run(words, check=True, capture_output=True, timeout=60)

    def log(self) -> str:
        """Return what it has said."""
        return (self.folder / "containerd.log").read_text(errors="replace")

    def condition(self, kind: str) -> tuple[bool, str]:
        """Return a condition of the runtime, such as NetworkReady, and why."""
        said = self._call("Status", _messages.StatusRequest())
        found = next(each for each in said.status.conditions if each.type == kind)
        return found.status, found.message

    def conflist(self) -> str:
        """Return the text of the conflist that it has loaded; containerd watches the folder."""
        said = self._call("Status", _messages.StatusRequest(verbose=True))
        networks = json.loads(said.info["cniconfig"])["Networks"]
        return str(next((each["Config"]["Source"] for each in networks if each["IFName"] == "eth0"), ""))

    def run_sandbox(self, pod: str, *, attempt: int = 0, uid: str = "", handler: str = "", **more: Any) -> str:
        """Run a pod's sandbox and return its id. Raises CallError with what the runtime said."""
        config = self._config(pod, attempt, uid, **more)
        made: str = self._call(
            "RunPodSandbox", _messages.RunPodSandboxRequest(config=config, runtime_handler=handler)
        ).pod_sandbox_id
        self._ran[made] = config
        return made

    def sandbox(self, sandbox_id: str) -> Sandbox:
        """Return what the runtime knows of a sandbox."""
        request = _messages.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=True)
        said = self._call("PodSandboxStatus", request)
        info = json.loads(said.info["info"])
        spaces = {each["type"]: each.get("path", "") for each in info["runtimeSpec"]["linux"]["namespaces"]}
        return Sandbox(sandbox_id, said.status.network.ip, Path(spaces["network"]), info.get("cniResult") or {})

    def sandboxes(self) -> list[str]:
        """Return the ids of all sandboxes."""
        return [each.id for each in self._call("ListPodSandbox", _messages.ListPodSandboxRequest()).items]

    def stop_sandbox(self, sandbox_id: str) -> None:
        """Stop a sandbox: its network goes. A kubelet says so more than once."""
        self._call("StopPodSandbox", _messages.StopPodSandboxRequest(pod_sandbox_id=sandbox_id))

    def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove a sandbox that is stopped; one that is not is stopped first."""
        self._call("RemovePodSandbox", _messages.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id))

    def run_container(self, sandbox_id: str, *command: str) -> str:
        """Start a container of busybox in a sandbox and return its id."""
        config = _messages.ContainerConfig(
            metadata=_messages.ContainerMetadata(name="main"),
            image=_messages.ImageSpec(image=IMAGE),
            command=list(command or ("/bin/sleep", FOREVER)),
        )
        request = _messages.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=config, sandbox_config=self._ran[sandbox_id]
        )
        made: str = self._call("CreateContainer", request).container_id
        self._call("StartContainer", _messages.StartContainerRequest(container_id=made))
        return made

    def execute(self, container_id: str, *command: str) -> tuple[int, str]:
        """Run a command in a container; return its status and what it printed."""
        request = _messages.ExecSyncRequest(container_id=container_id, cmd=list(command), timeout=30)
        said = self._call("ExecSync", request)
        return said.exit_code, (said.stdout + said.stderr).decode()

    def close(self) -> None:
        """Stop everything: pods, daemon, shims, mounts, cgroups."""
        if self._process.poll() is None:
            for each in self.sandboxes():
                with contextlib.suppress(CallError):
                    self.remove_sandbox(each)
            self._channel.close()
            self._process.terminate()
            self._process.wait(timeout=10)
        for pid in self._left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        leftovers.remove_folder(self.folder)
        leftovers.forget(self._ran)
        leftovers.remove_cgroup(self._cgroup)

    def _left(self) -> list[int]:
        """Return shims and containers: whatever is in this containerd's cgroup, or names its socket."""
        pids = {
            int(line)
            for file in (leftovers.CGROUPS / "pids").glob(f"{self._cgroup.lstrip('/')}/**/cgroup.procs")
            for line in file.read_text().split()
        }
        for each in Path("/proc").iterdir():
            if each.name.isdigit():
                with contextlib.suppress(OSError):
                    if f"{self.socket}".encode() in (each / "cmdline").read_bytes():
                        pids.add(int(each.name))
        return sorted(pids - {os.getpid()})

    def _config(self, pod: str, attempt: int, uid: str, **more: Any) -> Any:
        metadata = _messages.PodSandboxMetadata(name=pod, uid=uid or f"uid-{pod}", namespace="default", attempt=attempt)
        ports = [_messages.PortMapping(**each) for each in more.pop("port_mappings", ())]
        linux = _messages.LinuxPodSandboxConfig(cgroup_parent=self._cgroup)
        return _messages.PodSandboxConfig(metadata=metadata, hostname=pod, linux=linux, port_mappings=ports, **more)

    def _call(self, name: str, request: Any) -> Any:
        try:
            return getattr(self._calls, name)(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise CallError(re.sub(r"\s+", " ", error.details())) from None
