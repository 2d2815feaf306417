"""A cluster of two nodes on a lab: what its tests do to it, and see of it."""

import base64
import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from control_plane import NODE as SERVER_NODE
from control_plane import ControlPlane
from kube_node import KubeNode
from tests.e2e.running_lab import Lab, until, weft
from tests.runtimes.images import IMAGE, write_image

from weft.lab import state
from weft.lab.state import MARK

NODES = ("node1", "node2")
NETWORK, CIDR = "pods", "10.88.0.0/16"
PROD, PROD_CIDR = "prod-net", "10.89.0.0/24"
"""A network with the label env=prod."""
NAME = "prod"
OBSERVER = "observer"
MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"
READY_TIMEOUT_S = 60.0
GONE_TIMEOUT_S = 150.0
"""Kubelets look for what is to be removed once a minute."""
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode())"
WEB = "echo $HOSTNAME $(cat /proc/sys/kernel/random/uuid) >/www/index.html; exec httpd -f -p 80 -h /www"
"""A pod says its name, and a word that no other pod says."""


def pod_spec() -> dict[str, Any]:
    """Return the spec of a pod that is Ready when its kubelet reaches its web server."""
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    web = {"name": "web", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", WEB]}
    return {"terminationGracePeriodSeconds": 1, "containers": [{**web, "readinessProbe": probe}]}


def _workload(kind: str, name: str, replicas: int, metadata: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    labels = {"app": name, **metadata.get("labels", {})}
    template = {"metadata": {"annotations": metadata.get("annotations", {}), "labels": labels}, "spec": pod_spec()}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def stateful_set(name: str, replicas: int = 1, **metadata: Any) -> dict[str, Any]:
    """Return a StatefulSet, with further labels and annotations of its pods."""
    return _workload("StatefulSet", name, replicas, metadata, serviceName=name, podManagementPolicy="Parallel")


def deployment(name: str, replicas: int = 1, **metadata: Any) -> dict[str, Any]:
    """Return a Deployment, with further labels and annotations of its pods."""
    return _workload("Deployment", name, replicas, metadata)


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


class Cluster:
    """Made of nothing: the lab, the control plane, two nodes with their agents, the pods' networks, an observer."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries = binaries
        self.lab = Lab()
        mark = self.lab.state.id
        at = {
            each: str(self.lab.client.node(each)["management_address"]).partition("/")[0]
            for each in (*NODES, SERVER_NODE)
        }
        self.plane = ControlPlane(binaries, at[SERVER_NODE], mark)
        image = folder / "busybox.tar"
        write_image(image, {MARK: mark})
        self.nodes: dict[str, KubeNode] = {}
        for name in NODES:
            self.nodes[name] = KubeNode(name, binaries, self.plane.kubelet_config(name), mark, at[name])
        self.plane.start()
        self.plane.kubectl("apply", "-k", str(MANIFESTS))
        self.plane.kubectl("-n", "weft-system", "delete", "daemonset", "weft-agent")  # test_deployment.py has it
        self.plane.kubectl("apply", "-f", str(MANIFESTS / "node" / "token.yaml"))
        until(lambda: bool(self._token("weft-agent") and self._token("weft-server")), "the tokens are made")
        self._make_networks()
        self._serve()
        for node in self.nodes.values():
            node.start_containerd()
            node.import_image(image)
        self.run_agents()
        for node in self.nodes.values():
            node.start_kubelet()
        until(self.nodes_are_ready, "both nodes are Ready", READY_TIMEOUT_S)
        self._observe()

    # --- what stands ---

    def pods(self, app: str | None = None, namespace: str = "default") -> list[dict[str, Any]]:
        selector = [] if app is None else ["-l", f"app={app}"]
        return self.plane.get("-n", namespace, "pods", *selector) or []

    def pod(self, name: str) -> dict[str, Any]:
        found = self.plane.get("pod", name)
        assert found is not None, f"there is no pod {name}"
        return dict(found)

    def node_of(self, pod: str) -> KubeNode:
        return self.nodes[self.pod(pod)["spec"]["nodeName"]]

    def nodes_are_ready(self) -> bool:
        found = self.plane.get("nodes") or []
        return len(found) == len(NODES) and all(is_ready(each) for each in found)

    def until_ready(self, *apps: str, pods: int | None = None) -> list[dict[str, Any]]:
        """Wait until all pods of some apps, of which there are so many, are Ready; return them."""
        found: list[dict[str, Any]] = []

        def ready() -> bool:
            found[:] = [pod for app in apps for pod in self.pods(app)]
            return len(found) == (len(apps) if pods is None else pods) and all(map(is_ready, found))

        def events() -> str:
            return (self.plane.kubectl("get", "pods", "-o", "wide") + self.plane.kubectl("get", "events"))[-6000:]

        self._until(ready, f"pods of {', '.join(apps)} are Ready", events)
        return found

    def port(self, name: str) -> tuple[str, str, str] | None:
        """Return the address, the MAC and the node of the port of a name; None: there is none."""
        found = self.lab.client.ports.list(name=name)
        if not found:
            return None
        [port] = found
        return port["fixed_ips"][0]["ip_address"], port["mac_address"], port["binding:host_id"]

    def names(self) -> set[str]:
        """Return the names of all ports of pods."""
        found = (str(port["name"]) for port in self.lab.client.ports.list() if port["name"] != OBSERVER)
        return {name for name in found if name}

    def page(self, address: str) -> str:
        """Return what a pod says to the observer, a machine on a third leaf; empty if it does not answer."""
        return self.lab.run(OBSERVER, sys.executable, "-c", FETCH, f"http://{address}/", check=False).strip()

    # --- what is done to it ---

    def run_agents(self) -> None:
        """Start the agents as services of their nodes, with a kubeconfig, and install the plugin."""
        for name, node in self.nodes.items():
            with contextlib.suppress(pytest.fail.Exception):
                weft("lab", "kill", f"{name}/agent")
            node.configure_agent(self.kubeconfig("weft-agent"))
            node.agent.start()
            node.run("weft", "cni", "install", "--network", NETWORK, "--cluster", NAME, "--node-path")
            self.until_agent(node)

    def until_agent(self, node: KubeNode) -> None:
        """Wait until a node's agent follows the cluster."""
        said = ""

        def checks() -> bool:
            nonlocal said
            said = node.run("weft", "cni", "check", "--ask", check=False)
            return "the API server lets itself be followed" in said and "wrong " not in said

        self._until(checks, f"the agent of {node.name} is well", lambda: f"{said}\n{node.agent.log()[-3000:]}")

    def kubeconfig(self, account: str) -> Path:
        """Return the kubeconfig of one of weft's service accounts, as docs/kubernetes.md makes it."""
        return self.plane.kubeconfig(account, self._token(account))

    def clear(self) -> None:
        """Delete all pods, and the ports that they have left."""
        for node in NODES:
            self.plane.kubectl("uncordon", node)
        self.plane.kubectl("delete", "statefulsets,deployments,pods", "--all", "--wait=false")
        until(lambda: not self.pods(), "all pods are gone", GONE_TIMEOUT_S)
        until(lambda: not any(node.pairs() for node in self.nodes.values()), "no pair is left", GONE_TIMEOUT_S)
        for name in self.names():
            for port in self.lab.client.ports.list(name=name):
                with contextlib.suppress(Exception):
                    self.lab.client.ports.delete(port["id"])

    def close(self) -> None:
        for node in self.nodes.values():
            node.close()
        self.plane.close()
        self.lab.client.close()

    # --- how it is made ---

    def _make_networks(self) -> None:
        weft("network", "create", NETWORK)
        weft("subnet", "create", NETWORK, CIDR)
        weft("network", "create", PROD)
        weft("network", "label", PROD, "env=prod")
        weft("subnet", "create", PROD, PROD_CIDR)

    def _serve(self) -> None:
        """Let the server look at the cluster."""
        server = self.lab.state.processes[f"{SERVER_NODE}/server"]
        more = ("--kubernetes", f"{NAME}={self.kubeconfig('weft-server')}")
        with state.changing() as draft:
            draft.put_process(msgspec.structs.replace(server, argv=(*server.argv, *more)))
        weft("lab", "restart", f"{SERVER_NODE}/server")
        until(lambda: self.answers(lambda: self.lab.client.node(SERVER_NODE)), "the server answers again")

    @staticmethod
    def _until(look: Callable[[], bool], what: str, told: Callable[[], str]) -> None:
        """Wait until something is so, and say what is told then if it is not in time."""
        try:
            until(look, what, READY_TIMEOUT_S)
        except pytest.fail.Exception as failure:
            pytest.fail(f"{failure}\n{told()}")

    @staticmethod
    def answers(call: Callable[[], object]) -> bool:
        try:
            call()
        except Exception:
            return False
        return True

    def _token(self, account: str) -> str:
        found = self.plane.get("-n", "weft-system", "secret", account)
        return "" if found is None else base64.b64decode(found.get("data", {}).get("token", "")).decode()

    def _observe(self) -> None:
        network = self.lab.client.networks.find(NETWORK)["id"]
        port = self.lab.client.ports.create({"name": OBSERVER, "network_id": network, "binding:host_id": "node3"})
        weft("lab", "instance", "add", OBSERVER)
        until(lambda: self.lab.client.port_status(port["id"]).state == "ACTIVE", "the observer is ACTIVE")
