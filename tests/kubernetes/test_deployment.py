"""The manifests of deploy/kubernetes, with the image of deploy/Containerfile: as a DaemonSet, and as a static pod."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import MANIFESTS, NAME, Cluster, deployment, is_ready, stateful_set
from control_plane import SERVICE
from kube_node import STATIC_PODS
from processes import Program
from tests.e2e.running_lab import until, weft

pytestmark = pytest.mark.kubernetes

DAEMONSET = ("-n", "weft-system", "daemonset", "weft-agent")
STATIC = f"{STATIC_PODS}/weft-agent.yaml"
POD_TIMEOUT_S = 120.0
BOOT_TIMEOUT_S = 150.0


@pytest.fixture
def bare(cluster: Cluster, weft_image: Path) -> Iterator[Cluster]:
    """The cluster with weft's image on its nodes, and without agents and plugins."""
    for node in cluster.nodes.values():
        node.import_image(weft_image)
        node.agent.stop()
        node.run("sh", "-c", "rm -f /etc/cni/net.d/* /opt/cni/bin/weft-cni")
    yield cluster
    for node in cluster.nodes.values():
        node.run("rm", "-f", STATIC)
    cluster.plane.kubectl("delete", "--ignore-not-found", *DAEMONSET)
    until(lambda: not agents(cluster), "the agents' pods are gone", POD_TIMEOUT_S)
    cluster.run_agents()


def agents(cluster: Cluster) -> list[dict[str, Any]]:
    return [
        each
        for namespace in ("weft-system", "kube-system")
        for each in cluster.pods(namespace=namespace)
        if each["metadata"]["name"].startswith("weft-agent-")
    ]


def until_agents(cluster: Cluster) -> None:
    def ready() -> bool:
        found = agents(cluster)
        return len(found) == len(cluster.nodes) and all(map(is_ready, found))

    until(ready, "the agents' pods are Ready", POD_TIMEOUT_S)


@pytest.mark.timeout(600)
def test_the_daemonset_makes_nodes_ready_and_is_rolled_while_pods_start(bare: Cluster) -> None:
    proxies = [
        Program(
            (*node.inside(), str(bare.binaries / "kube-proxy"), f"--kubeconfig={bare.plane.admin}",
             f"--hostname-override={name}", "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s",
             "--conntrack-tcp-timeout-close-wait=0s"),
            node.folder / "proxy.log", bare.lab.state.id,
        )
        for name, node in bare.nodes.items()
    ]  # fmt: skip
    try:
        for node, proxy in zip(bare.nodes.values(), proxies, strict=True):
            node.configure_agent(None)
            proxy.start()
        bare.plane.kubectl("apply", "-k", str(MANIFESTS))
        until_agents(bare)
        for each in agents(bare):
            assert SERVICE in bare.plane.kubectl("-n", "weft-system", "logs", each["metadata"]["name"], "-c", "check")
        bare.plane.apply(stateful_set("db"), deployment("web", 4))
        bare.until_ready("db", "web", pods=5)
        found = bare.port(f"{NAME}/default/db-0")
        assert found is not None
        page = bare.page(found[0])
        bare.plane.kubectl("-n", "weft-system", "rollout", "restart", "daemonset", "weft-agent")
        bare.plane.apply(deployment("web", 10))
        bare.plane.kubectl("-n", "weft-system", "rollout", "status", "daemonset", "weft-agent")
        bare.until_ready("db", "web", pods=11)
        assert bare.page(found[0]) == page, "a pod does not notice that its agent is another one"
    finally:
        for proxy in proxies:
            proxy.stop()


@pytest.mark.timeout(600)
def test_a_node_whose_agent_is_a_static_pod_comes_back_from_a_power_cut(bare: Cluster) -> None:
    bare.plane.kubectl("delete", "--ignore-not-found", *DAEMONSET)
    for node in bare.nodes.values():
        node.configure_agent(bare.kubeconfig("weft-agent"))
        node.write(STATIC, (MANIFESTS / "node" / "weft-agent.yaml").read_text())
    until_agents(bare)
    bare.plane.apply(stateful_set("db"), deployment("web", 2))
    bare.until_ready("db", "web", pods=3)
    found = bare.port(f"{NAME}/default/db-0")
    assert found is not None
    node = bare.node_of("db-0")
    node.power_off()
    until(lambda: not bare.nodes_are_ready(), "the node is taken for dead", POD_TIMEOUT_S)
    weft("lab", "kill", f"{node.name}/ovs-vswitchd")
    weft("lab", "start", f"{node.name}/ovs-vswitchd")
    node.start_containerd()
    node.start_kubelet()  # it reaches no API server: nothing on br-bond forwards before the agent
    until(bare.nodes_are_ready, "the node is back", BOOT_TIMEOUT_S)
    bare.until_ready("db", "web", pods=3)
    after = bare.port(f"{NAME}/default/db-0")
    assert after is not None
    assert after[:2] == found[:2]
    until(lambda: bare.page(found[0]).startswith("db-0"), "the pod answers again", 60)
    running = {f"{NAME}/default/{each['metadata']['name']}" for each in bare.pods()}
    until(lambda: bare.names() == running, "what died with the node is released", BOOT_TIMEOUT_S)
