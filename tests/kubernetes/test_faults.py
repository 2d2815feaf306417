"""A real cluster while parts of it are gone: kubelet, containerd, node, API server, weft's server, weft's agent."""

import os
import signal

import pytest
from cluster import GONE_TIMEOUT_S, NAME, Cluster, deployment, stateful_set
from tests.e2e.running_lab import until, weft

pytestmark = pytest.mark.kubernetes

DEAD_TIMEOUT_S = 90.0


def started(cluster: Cluster, app: str) -> dict[str, str]:
    """Return the container that each pod of an app runs in."""
    return {
        each["metadata"]["name"]: each["status"]["containerStatuses"][0]["containerID"] for each in cluster.pods(app)
    }


@pytest.mark.parametrize("program", ["kubelet", "containerd", "agent"])
def test_pods_do_not_notice_when_a_program_of_their_nodes_is_restarted(cluster: Cluster, program: str) -> None:
    cluster.plane.apply(stateful_set("db", 2))
    pods = cluster.until_ready("db", pods=2)
    before, pages = started(cluster, "db"), {each["status"]["podIP"]: "" for each in pods}
    for address in pages:
        pages[address] = cluster.page(address)
    for node in cluster.nodes.values():
        getattr(node, program).kill()
    assert {address: cluster.page(address) for address in pages} == pages, "pods go on without it"
    for node in cluster.nodes.values():
        {"kubelet": node.start_kubelet, "containerd": node.start_containerd, "agent": node.agent.start}[program]()
    until(cluster.nodes_are_ready, "both nodes are Ready", DEAD_TIMEOUT_S)
    for node in cluster.nodes.values():
        cluster.until_agent(node)
    cluster.plane.apply(deployment("after", 2))
    cluster.until_ready("after", "db", pods=4)
    assert started(cluster, "db") == before
    assert {address: cluster.page(address) for address in pages} == pages


def test_a_pod_of_a_dead_node_runs_elsewhere_and_what_comes_back_changes_nothing(cluster: Cluster) -> None:
    cluster.plane.apply(stateful_set("db"))
    cluster.until_ready("db")
    before = cluster.port(f"{NAME}/default/db-0")
    assert before is not None
    page = cluster.page(before[0])
    dead = cluster.nodes[before[2]]
    for each in (dead.kubelet, dead.agent, dead.containerd):
        each.kill()
    try:
        until(lambda: "deletionTimestamp" in cluster.pod("db-0")["metadata"], "it is taken for dead", DEAD_TIMEOUT_S)
        assert cluster.page(before[0]) == page, "its containers run on"
        cluster.plane.kubectl("delete", "pod", "db-0", "--force", "--grace-period=0")
        cluster.until_ready("db")
        after = cluster.port(f"{NAME}/default/db-0")
        assert after is not None
        assert after[:2] == before[:2]
        assert after[2] != before[2]
        until(lambda: cluster.page(after[0]) not in {"", page}, "the new pod answers, although the old one runs")
        page = cluster.page(after[0])
    finally:
        dead.start_containerd()
        dead.agent.start()
        dead.start_kubelet()
    until(cluster.nodes_are_ready, "the node is back", DEAD_TIMEOUT_S)
    until(lambda: not dead.sandboxes(), "its kubelet has removed the old pod", GONE_TIMEOUT_S)
    assert cluster.port(f"{NAME}/default/db-0") == after
    until(lambda: cluster.page(after[0]) == page, "the new pod answers still")
    assert dead.pairs() == set()


def test_while_weft_s_server_is_away_pods_that_need_no_name_are_run_and_others_when_it_is_back(
    cluster: Cluster,
) -> None:
    cluster.plane.apply(deployment("warm", 2), stateful_set("gone"))
    cluster.until_ready("warm", "gone", pods=3)  # after that, ports are warm
    weft("lab", "kill", "ctl1/server")
    cluster.plane.kubectl("delete", "statefulset", "gone")
    cluster.plane.apply(deployment("warm", 4), stateful_set("named"))
    cluster.until_ready("warm", pods=4)
    refused = "no weft server answers"
    until(lambda: refused in cluster.plane.kubectl("get", "events"), "the kubelet says why the other is not run", 30)
    cluster.plane.apply(deployment("warm", 3))
    until(lambda: not cluster.pods("gone"), "a pod is deleted without the server", GONE_TIMEOUT_S)
    weft("lab", "start", "ctl1/server")
    pods = cluster.until_ready("warm", "named", pods=4)
    wanted = {f"{NAME}/default/{each['metadata']['name']}" for each in pods} | {f"{NAME}/default/gone-0"}
    until(lambda: cluster.names() == wanted, "the server knows what there is", 60)
    for each in pods:
        assert cluster.page(each["status"]["podIP"]).split()[0] == each["metadata"]["name"]
        found = cluster.port(f"{NAME}/default/{each['metadata']['name']}")
        assert found is not None
        assert found[0] == each["status"]["podIP"]


def test_while_the_api_server_is_away_a_pod_s_sandbox_is_made_again(cluster: Cluster) -> None:
    cluster.plane.apply(stateful_set("db"))
    cluster.until_ready("db")
    found = cluster.port(f"{NAME}/default/db-0")
    assert found is not None
    node, page = cluster.node_of("db-0"), cluster.page(found[0])
    cluster.plane.api.kill()
    try:
        os.kill(node.pause_of("db-0"), signal.SIGKILL)
        until(lambda: cluster.page(found[0]) not in {"", page}, "the kubelet has made a new sandbox", DEAD_TIMEOUT_S)
    finally:
        cluster.plane.start_api()
    until(cluster.nodes_are_ready, "both nodes are Ready", DEAD_TIMEOUT_S)
    cluster.until_ready("db")
    assert cluster.port(f"{NAME}/default/db-0") == found
    cluster.plane.apply(deployment("after", 2))
    cluster.until_ready("after", pods=2)
