"""A node of the lab as a node of a cluster: containerd, kubelet and agent in a mount namespace that is the node's own.

What a node has at well-known places, this one has there, too: /etc/weft, /opt/cni/bin, /etc/cni/net.d, /run/weft,
/run/openvswitch, /run/netns, /var/lib/kubelet, /var/log/pods. They are the node's, and go with it.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from processes import PATH, Program, on_node
from tests.runtimes import leftovers
from tests.runtimes.images import IMAGE

from weft.lab import ovs
from weft.lab.programs import WEFT
from weft.lab.state import LAB_DIR

START_TIMEOUT_S = 60.0
PLUGINS = Path("/usr/lib/cni")
STATIC_PODS = "/etc/kubernetes/manifests"
CRI_SOCKET = "/run/containerd/containerd.sock"

MACHINE = """\
set -e
cd "$1"
for each in etc opt var; do
    mkdir -p above/$each work/$each
    mount -t overlay overlay -o "lowerdir=/$each,upperdir=$1/above/$each,workdir=$1/work/$each" /$each
done
mount --rbind "$2" /mnt  # the lab's folder stays where it is, all else of /run is the node's own
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$2" /run/netns /run/openvswitch /run/lock
mount --move /mnt "$2"
mount --bind "$3" /run/openvswitch
for each in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \\
        kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    mkdir -p "sysctl/$(dirname "${each%=*}")"
    echo "${each#*=}" >"sysctl/${each%=*}"
    mount --bind "sysctl/${each%=*}" "/proc/sys/${each%=*}"  # so that the kubelet does not change the machine's
done
mkdir -p /opt/cni/bin /etc/cni/net.d /etc/weft /etc/containerd /etc/kubernetes/manifests
mkdir -p /var/lib/kubelet /var/log/pods /var/log/containers
rm -f /etc/cni/net.d/*
mount --rbind /sys/fs/cgroup /mnt
mount -t sysfs sysfs /sys
mount --rbind /mnt /sys/fs/cgroup
umount -l /mnt
mount --make-rshared /
touch ready
exec sleep infinity
"""
FORGET = "for each in /run/netns/*; do umount $each; rm $each; done; rm -rf /run/containerd/* /run/weft/cni.sock"
"""What a node of which the power was cut does not have any more."""
CONTAINERD = """\
version = 2
root = "{own}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
disable_apparmor = true
restrict_oom_score_adj = true
sandbox_image = "{image}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
pod_annotations = ["weft.dev/*"]

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""
KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
failSwapOn: false
oomScoreAdj: 0
nodeLeaseDurationSeconds: 8
nodeStatusUpdateFrequency: 2s
imageMinimumGCAge: 24h
evictionHard: {{memory.available: 50Mi}}
volumePluginDir: /var/lib/kubelet/volume-plugins
fileCheckFrequency: 1s
staticPodPath: {static_pods}
"""


class KubeNode:
    """One node. `agent` is started by the node's own configuration, as a service manager does it."""

    def __init__(self, name: str, binaries: Path, kubeconfig: Path, mark: str, address: str) -> None:
        self.name = name
        self.folder = LAB_DIR / name / "machine"
        self.folder.mkdir(parents=True)
        self._mark, self._cgroup = mark, f"/weft-{mark}-{name}"
        holder = ["sh", "-c", MACHINE, "sh", str(self.folder), str(LAB_DIR), str(ovs.run_dir(name))]
        unshared = ("unshare", "--mount", "--propagation", "private")
        self._holder = Program((*on_node(name), *unshared, *holder), self.folder / "machine.log", mark)
        self._holder.start()
        self._until((self.folder / "ready").exists, "mount namespace", self._holder)
        inside = self.inside()
        self.containerd = Program((*inside, "containerd"), self.folder / "containerd.log", mark)
        kubelet = (
            *inside,
            str(binaries / "kubelet"),
            "--config=/var/lib/kubelet/config.yaml",
            f"--kubeconfig={kubeconfig}",
            *("--container-runtime=remote", f"--container-runtime-endpoint=unix://{CRI_SOCKET}"),
            *(f"--hostname-override={name}", f"--node-ip={address}"),
        )
        self.kubelet = Program(kubelet, self.folder / "kubelet.log", mark)
        agent = (*inside, str(WEFT), "agent", "--config", "/etc/weft/agent.toml")
        self.agent = Program(agent, self.folder / "agent.log", mark)
        self.write("/etc/containerd/config.toml", CONTAINERD.format(own=self.folder, socket=CRI_SOCKET, image=IMAGE))
        self.write("/var/lib/kubelet/config.yaml", KUBELET.format(cgroup=self._cgroup, static_pods=STATIC_PODS))
        for plugin in PLUGINS.iterdir():
            self.run("ln", "-s", str(plugin), f"/opt/cni/bin/{plugin.name}")

    def inside(self) -> tuple[str, ...]:
        """Return what runs a command on this node."""
        return ("nsenter", f"--target={self._holder.pid}", "--mount", "--net")

    def run(self, *command: str, given: str | None = None, check: bool = True) -> str:
        """Run a command on this node and return what it says. Fails with that, too."""
        environment = {"PATH": f"{WEFT.parent}:{PATH}", "HOME": "/root"}
        argv = [*self.inside(), *command]
        done = subprocess.run(
            argv, input=given, capture_output=True, text=True, check=False, env=environment, timeout=60
        )
        if check and done.returncode:
            raise AssertionError(f"`{' '.join(command)}` on {self.name}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def write(self, file: str, text: str) -> None:
        """Write a file on this node."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$0")" && cat >"$0"', file, given=text)

    def configure_agent(self, kubeconfig: Path | None) -> None:
        """Write what an installer writes: the configuration of the lab's agent, with the places of a node of its own.

        Without a kubeconfig the agent goes by the service account of its pod.
        """
        found = tomllib.loads((LAB_DIR / self.name / "agent.toml").read_text())
        kept = {key: found[key] for key in ("node", "server", "nics", "management", "gateway", "mtu_bytes")}
        lines = [f"{key} = {value!r}" for key, value in kept.items()]
        lines += ['token_file = "/etc/weft/agent.token"', 'cni_socket = "/run/weft/cni.sock"']
        lines += ["[ovs]", 'datapath = "netdev"', "[kubernetes]"]
        if kubeconfig is not None:
            lines.append('kubeconfig = "/etc/weft/kubeconfig"')
            self.write("/etc/weft/kubeconfig", kubeconfig.read_text())
        self.write("/etc/weft/agent.toml", "\n".join(lines) + "\n")
        self.write("/etc/weft/agent.token", Path(found["token_file"]).read_text())

    def import_image(self, archive: Path) -> None:
        """Load an image for its pods."""
        self.run("ctr", "--address", CRI_SOCKET, "--namespace", "k8s.io", "images", "import", str(archive))

    def start_containerd(self) -> None:
        """Start containerd and wait until it serves."""
        self.containerd.start()
        self._until(
            lambda: "SERVER" in self.run("ctr", "--address", CRI_SOCKET, "version", check=False).upper(),
            "containerd",
            self.containerd,
        )

    def start_kubelet(self) -> None:
        """Make the cgroup that its pods are below, and start it."""
        for controller in leftovers.CGROUPS.iterdir():
            if (controller / "cgroup.procs").exists() and controller.name != "unified":
                made = controller / self._cgroup.lstrip("/")
                made.mkdir(exist_ok=True)
                if controller.name == "cpuset":
                    for key in ("cpuset.cpus", "cpuset.mems"):
                        (made / key).write_text((controller / key).read_text())
        self.kubelet.start()

    def sandboxes(self) -> set[str]:
        """Return the network namespaces of its pods."""
        return set(self.run("ls", "/run/netns").split())

    def pairs(self) -> set[str]:
        """Return the host ends of its pods' links."""
        return {
            each for line in self.run("ip", "-br", "link").splitlines() if (each := line.split()[0])[:6] == "weft-v"
        }

    def pause_of(self, pod: str) -> int:
        """Return the process that holds a pod's namespaces."""
        folder = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
        for each in self.run("ls", folder).split():
            config = json.loads(self.run("cat", f"{folder}/{each}/config.json"))
            said = config["annotations"]
            if (said["io.kubernetes.cri.sandbox-name"], said["io.kubernetes.cri.container-type"]) == (pod, "sandbox"):
                return int(self.run("cat", f"{folder}/{each}/init.pid"))
        raise AssertionError(f"{self.name} has no pod {pod}")

    def power_off(self) -> None:
        """End everything at once, as a power cut does; what is on its disks stays."""
        for each in (self.kubelet, self.agent, self.containerd):
            each.kill()
        self._kill_left()
        self.run("sh", "-c", FORGET, check=False)

    def close(self) -> None:
        """Stop everything and leave nothing."""
        for each in (self.kubelet, self.agent, self.containerd):
            each.stop()
        self._kill_left()
        self._holder.kill()
        leftovers.remove_cgroup(self._cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill_left(self) -> None:
        for pid in self._left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left(self) -> list[int]:
        """Return containers and their shims: whatever else is in the node's mount namespace or cgroup."""
        own = Path(f"/proc/{self._holder.pid}/ns/mnt").readlink()
        pids = set()
        for each in Path("/proc").iterdir():
            if each.name.isdigit():
                try:
                    in_cgroup = self._cgroup in (each / "cgroup").read_text()
                    if in_cgroup or (each / "ns/mnt").readlink() == own:
                        pids.add(int(each.name))
                except OSError:
                    continue
        return sorted(pids - {self._holder.pid})

    def _until(self, look: Callable[[], bool], what: str, program: Program) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not look():
            if time.monotonic() > deadline or not program.is_running():
                raise AssertionError(f"{what} of {self.name} does not start:\n{program.log()[-3000:]}")
            time.sleep(0.05)
