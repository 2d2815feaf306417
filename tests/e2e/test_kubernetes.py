"""Pods of a Kubernetes cluster: a real container runtime, the agent, and an imitation of the API server."""

import asyncio
import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_server import FakeKubernetes
from pod_nodes import Pods
from running_lab import Lab, until, weft
from tests.runtimes.containerd import CallError

from weft.lab.state import LAB_DIR
from weft.lab.topology import namespace_of

pytestmark = pytest.mark.e2e

NODE = "node1"
OF_KUBELET = {"kubernetes.io/config.seen": "2024-01-01T00:00:00Z", "kubernetes.io/config.source": "api"}


CLONE_NEWNET = 0x40000000
"""See setns(2)."""


class Cluster:
    """An API server, in a thread that is in the node's network namespace, so that its agent reaches it on loopback."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()
        self.server = self._do(self._made(folder))
        self.start()
        self.kubeconfig = self.server.kubeconfig()

    def _run(self) -> None:
        with Path(f"/run/netns/{namespace_of(NODE)}").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        self._loop.run_forever()

    def put(self, pod: str, uid: str, **metadata: Any) -> None:
        """Bind a pod to the node, as the scheduler does."""

        async def put() -> None:
            self.server.put("pods", pod, "default", node="kube-1", uid=uid, **metadata)

        self._do(put())

    def start(self) -> None:
        self._do(self.server.start())

    def stop(self) -> None:
        self._do(self.server.stop())

    def gets(self) -> int:
        return self.server.asked("get", "pods")

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _made(self, folder: Path) -> FakeKubernetes:
        made = FakeKubernetes(folder)
        made.put("namespaces", "default", "", annotations={"weft.dev/release": "never"})
        return made

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


@pytest.fixture
def cluster(lab: Lab, pods: Pods, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that the agent of a node follows, for as long as the test goes on."""
    made = Cluster(tmp_path)
    settings = LAB_DIR / NODE / "agent.toml"
    before = settings.read_text()
    settings.write_text(f'{before}\n[kubernetes]\nkubeconfig = "{made.kubeconfig}"\nnode = "kube-1"\n')
    weft("lab", "restart", f"{NODE}/agent")
    until(lambda: made.server.watches == 2, "the agent follows the cluster")
    pods.until_agent_answers(pods.nodes[0])
    yield made
    settings.write_text(before)
    weft("lab", "restart", f"{NODE}/agent")
    pods.until_agent_answers(pods.nodes[0])
    made.close()


def names(lab: Lab, pods: Pods) -> set[str]:
    return {port["name"] for port in lab.client.ports.list(network_id=pods.network) if port["name"]}


def test_pods_are_named_by_what_the_api_server_says(lab: Lab, pods: Pods, cluster: Cluster) -> None:
    node = pods.nodes[0]
    cluster.put("web-1", "u1", labels={"weft.dev/port-name": "the-web", "weft.dev/release": "now"})
    owner = [{"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "j", "controller": True}]
    cluster.put("job-0", "u2", ownerReferences=owner, annotations={"weft.dev/release": "now"})
    cluster.put("plain", "u3")
    ran = [node.run_sandbox(pod, uid=uid, annotations=OF_KUBELET) for pod, uid in
           (("web-1", "u1"), ("job-0", "u2"), ("plain", "u3"))]  # fmt: skip
    assert names(lab, pods) == {"the-web", "c1/default/job-0", "c1/default/plain"}
    assert cluster.gets() == 0, "all of them were in the agent's copy"
    for each in ran:
        node.remove_sandbox(each)
    # What labels, annotations and the namespace say: the first two at once, the third never.
    until(lambda: names(lab, pods) == {"c1/default/plain"}, "what was to be released is")


def test_a_pod_that_cannot_be_known_is_not_added_and_one_that_was_is(lab: Lab, pods: Pods, cluster: Cluster) -> None:
    node = pods.nodes[0]
    with pytest.raises(CallError, match="pod default/ghost with uid u0 is not in the API"):
        node.run_sandbox("ghost", uid="u0", annotations=OF_KUBELET)
    cluster.put("db-0", "u1", labels={"weft.dev/port-name": "the-db"})
    first = node.run_sandbox("db-0", uid="u1", annotations=OF_KUBELET)
    cluster.stop()
    node.remove_sandbox(first)
    with pytest.raises(CallError, match="pod default/new cannot be looked up: the API server does not answer"):
        node.run_sandbox("new", uid="u2", annotations=OF_KUBELET)
    node.run_sandbox("db-0", uid="u1", attempt=1, annotations=OF_KUBELET)
    static = {"kubernetes.io/config.source": "file"}
    node.run_sandbox("kube-apiserver-1", uid="u3", annotations=static)
    assert names(lab, pods) == {"the-db", "c1/default/kube-apiserver-1"}
    cluster.start()
    cluster.put("new", "u2")
    node.run_sandbox("new", uid="u2", attempt=1, annotations=OF_KUBELET)
    assert "c1/default/new" in names(lab, pods)
