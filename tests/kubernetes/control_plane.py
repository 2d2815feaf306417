"""A Kubernetes control plane on the lab's server node: etcd, kube-apiserver, kube-scheduler, kube-controller-manager.

Real programs, of the folder that `scripts/kubernetes-test` builds. Every call of kubectl is made on that node, too.
"""

import base64
import json
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

from certificates import Authority
from processes import Program, on_node

from weft.lab.state import LAB_DIR

NODE = "ctl1"
PORT = 6443
SERVICES, SERVICE = "10.96.0.0/16", "10.96.0.1"
"""Addresses of services, and that of the API server's own."""
START_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 120.0
ADMIN, SCHEDULER, MANAGER = "admin", "scheduler", "manager"
GROUPS = {ADMIN: "system:masters", SCHEDULER: "system:masters", MANAGER: "system:masters"}

NODE_GRACE_S = 8
"""After so long without a word of its kubelet a node is NotReady; by default 40."""
EVICTION_S = 2
"""After so long on a node that is NotReady a pod is deleted; by default 300."""


class ControlPlane:
    """Started by `start`; `kubectl` then works."""

    def __init__(self, binaries: Path, address: str, mark: str) -> None:
        """`address` is where the nodes reach it."""
        self.folder = LAB_DIR / NODE / "kubernetes"
        self.folder.mkdir(parents=True)
        self._binaries, self._mark = binaries, mark
        self.url = f"https://{address}:{PORT}"
        self._authority = Authority(self.folder, "kubernetes-ca")
        self._certificate, self._key = self._authority.issue(
            "kube-apiserver", file="apiserver", addresses=(address, SERVICE)
        )
        self._tokens = {name: secrets.token_hex(16) for name in GROUPS}
        self._users = [(token, name, GROUPS[name]) for name, token in self._tokens.items()]
        signing = self.folder / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", signing, "2048"], check=True, capture_output=True)
        self.admin = self.kubeconfig(ADMIN, self._tokens[ADMIN])
        own = self.folder
        self._etcd = self._program(
            "etcd",
            f"--data-dir={own / 'etcd'}",
            *("--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379"),
            *("--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380"),
            "--initial-cluster=default=http://127.0.0.1:2380",
        )
        self.api = self._program(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            *(f"--secure-port={PORT}", "--bind-address=0.0.0.0", f"--advertise-address={address}"),
            *(f"--tls-cert-file={self._certificate}", f"--tls-private-key-file={self._key}"),
            f"--token-auth-file={own / 'tokens.csv'}",
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            "--service-account-issuer=https://kubernetes.default.svc",
            *(f"--service-account-signing-key-file={signing}", f"--service-account-key-file={signing}"),
            *(f"--service-cluster-ip-range={SERVICES}", "--allow-privileged=true"),
            "--kubelet-preferred-address-types=InternalIP",
            f"--default-not-ready-toleration-seconds={EVICTION_S}",
            f"--default-unreachable-toleration-seconds={EVICTION_S}",
        )
        self._manager = self._program(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig(MANAGER, self._tokens[MANAGER])}",
            *(f"--service-account-private-key-file={signing}", f"--root-ca-file={self._authority.certificate}"),
            *("--leader-elect=false", "--port=0"),
            *(f"--node-monitor-grace-period={NODE_GRACE_S}s", "--node-monitor-period=1s"),
        )
        self._scheduler = self._program(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig(SCHEDULER, self._tokens[SCHEDULER])}",
            *("--leader-elect=false", "--port=0"),
        )

    def kubeconfig(self, name: str, token: str) -> Path:
        """Write a kubeconfig by which somebody reaches the API server, and return its file."""
        authority = base64.b64encode(self._authority.certificate.read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": name}}],
            "current-context": "c",
        }
        file = self.folder / f"{name}.conf"
        file.write_text(json.dumps(document))
        return file

    def kubelet_config(self, node: str) -> Path:
        """Return a kubelet's kubeconfig; to be asked for before `start`."""
        token = secrets.token_hex(16)
        self._users.append((token, f"system:node:{node}", "system:nodes"))
        return self.kubeconfig(f"kubelet-{node}", token)

    def start(self) -> None:
        """Start all of it, and wait until the API server is ready."""
        lines = [f'{token},{user},{user},"{group}"\n' for token, user, group in self._users]
        (self.folder / "tokens.csv").write_text("".join(lines))
        self._etcd.start()
        self.start_api()
        self._manager.start()
        self._scheduler.start()

    def start_api(self) -> None:
        """Start the API server and wait until it is ready."""
        self.api.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.kubectl("get", "--raw", "/readyz", check=False).strip() != "ok":
            assert self.api.is_running(), f"the API server has ended:\n{self.api.log()[-3000:]}"
            assert time.monotonic() < deadline, f"the API server is not ready:\n{self.api.log()[-3000:]}"
            time.sleep(0.2)

    def kubectl(self, *words: str, given: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator and return what it says. Fails with that, too."""
        environment = {"PATH": "/usr/bin:/bin", "KUBECONFIG": str(self.admin), "HOME": str(self.folder)}
        argv = [*on_node(NODE), str(self._binaries / "kubectl"), *words]
        done = subprocess.run(
            argv, input=given, capture_output=True, text=True, check=False, env=environment, timeout=CALL_TIMEOUT_S
        )
        if check and done.returncode:
            raise AssertionError(f"`kubectl {' '.join(words)}`:\n{done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, *documents: dict[str, Any]) -> None:
        """Make or change objects."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def get(self, *words: str) -> Any:
        """Return an object, or a list's items; None if it is not there."""
        said = self.kubectl("get", "--ignore-not-found", "-o", "json", *words)
        found = json.loads(said) if said.strip() else None
        return found["items"] if isinstance(found, dict) and "items" in found else found

    def close(self) -> None:
        """Stop all of it."""
        for each in (self._scheduler, self._manager, self.api, self._etcd):
            each.stop()

    def _program(self, name: str, *words: str) -> Program:
        argv = (*on_node(NODE), str(self._binaries / name), *words)
        return Program(argv, self.folder / f"{name}.log", self._mark)
