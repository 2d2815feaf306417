"""Pods of a real cluster: what its controllers, its scheduler and its kubelets do with them, and weft's ports."""

import ipaddress
import json

import pytest
from cluster import CIDR, GONE_TIMEOUT_S, NAME, PROD_CIDR, Cluster, deployment, pod_spec, stateful_set
from kube_node import STATIC_PODS
from tests.e2e.running_lab import until

pytestmark = pytest.mark.kubernetes

MANY = 20


def test_a_pod_is_ready_with_an_address_of_the_plan(cluster: Cluster) -> None:
    cluster.plane.apply(deployment("web"))
    [pod] = cluster.until_ready("web")
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    until(lambda: cluster.port(f"{NAME}/default/{name}") is not None, "the server has been told whose the port is")
    found = cluster.port(f"{NAME}/default/{name}")
    assert found is not None
    assert (found[0], found[2]) == (address, pod["spec"]["nodeName"])
    assert ipaddress.ip_address(address) in ipaddress.ip_network(CIDR)
    assert cluster.page(address).split()[0] == name, "a machine on a third leaf reaches it"
    assert address in cluster.plane.kubectl("exec", name, "--", "ip", "-4", "address", "show", "eth0")
    cluster.plane.kubectl("delete", "deployment", "web")
    until(lambda: cluster.port(f"{NAME}/default/{name}") is None, "its port is released", GONE_TIMEOUT_S)


def test_a_stateful_sets_pod_drifts_with_address_and_mac(cluster: Cluster) -> None:
    cluster.plane.apply(stateful_set("db", 2))
    cluster.until_ready("db", pods=2)
    port = f"{NAME}/default/db-0"
    for force in (False, True, True):
        before = cluster.port(port)
        assert before is not None
        page = cluster.page(before[0])
        cluster.plane.kubectl("cordon", before[2])
        cluster.plane.kubectl("delete", "pod", "db-0", *(["--force", "--grace-period=0"] if force else []))
        cluster.until_ready("db", pods=2)
        cluster.plane.kubectl("uncordon", before[2])
        after = cluster.port(port)
        assert after is not None
        assert after[:2] == before[:2]
        assert after[2] != before[2]
        until(lambda: cluster.page(after[0]).startswith("db-0"), "the new pod answers")  # noqa: B023
        assert cluster.page(after[0]) != page


def test_what_annotations_and_labels_ask_for(cluster: Cluster) -> None:
    cluster.plane.apply(
        stateful_set("fixed", annotations={"weft.dev/network-labels": "env=prod", "weft.dev/fixed-ip": "10.89.0.77"}),
        stateful_set("named", annotations={"weft.dev/port-name": "the-named", "weft.dev/release": "now"}),
        stateful_set("labelled", labels={"network-labels.weft.dev/env": "prod"}),
        deployment("kept", annotations={"weft.dev/release": "never"}),
    )
    pods = {each["metadata"]["name"]: each for each in cluster.until_ready("fixed", "named", "labelled", "kept")}
    address = {name: each["status"]["podIP"] for name, each in pods.items()}
    assert address["fixed-0"] == "10.89.0.77"
    assert ipaddress.ip_address(address["labelled-0"]) in ipaddress.ip_network(PROD_CIDR)
    named = cluster.port("the-named")
    assert named is not None
    assert named[0] == address["named-0"]
    assert cluster.port(f"{NAME}/default/named-0") is None
    [kept] = [f"{NAME}/default/{name}" for name in pods if name.startswith("kept-")]
    cluster.plane.kubectl("delete", "statefulsets,deployments", "--all")
    until(lambda: not cluster.pods(), "the pods are gone", GONE_TIMEOUT_S)
    until(
        lambda: cluster.names() == {f"{NAME}/default/fixed-0", f"{NAME}/default/labelled-0", kept},
        "the port that was to be released at once is",
    )


def test_a_static_pod_is_named_by_its_annotations(cluster: Cluster) -> None:
    node = cluster.nodes["node1"]
    asked = {"weft.dev/port-name": "the-static", "weft.dev/network-labels": "env=prod", "weft.dev/release": "now"}
    metadata = {"name": "static", "namespace": "default", "annotations": asked}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec()}
    node.write(f"{STATIC_PODS}/static.yaml", json.dumps(pod))
    until(lambda: cluster.port("the-static") is not None, "the kubelet has started it", 30)
    found = cluster.port("the-static")
    assert found is not None
    assert ipaddress.ip_address(found[0]) in ipaddress.ip_network(PROD_CIDR)
    node.run("rm", f"{STATIC_PODS}/static.yaml")
    until(lambda: cluster.port("the-static") is None, "its port is released", 60)


def test_a_deployment_that_grows_and_shrinks_leaves_nothing(cluster: Cluster) -> None:
    cluster.plane.apply(deployment("many", MANY))
    pods = cluster.until_ready("many", pods=MANY)
    assert len({each["status"]["podIP"] for each in pods}) == MANY
    assert {each["spec"]["nodeName"] for each in pods} == set(cluster.nodes)
    until(lambda: len(cluster.names()) == MANY, "the server has been told of all of them")
    cluster.plane.kubectl("scale", "deployment", "many", "--replicas=0")
    until(lambda: not cluster.names(), "all ports are released", 60)
    until(lambda: not cluster.pods(), "all pods are gone", GONE_TIMEOUT_S)
    for node in cluster.nodes.values():
        assert (node.pairs(), node.sandboxes()) == (set(), set())
        assert node.run("ls", "/var/lib/cni/results") == ""


def test_a_port_that_is_kept_for_its_stateful_set_goes_with_it(cluster: Cluster) -> None:
    cluster.plane.apply(stateful_set("held", 2, annotations={"weft.dev/release": "with-object"}))
    cluster.until_ready("held", pods=2)
    names = {f"{NAME}/default/held-0", f"{NAME}/default/held-1"}
    cluster.plane.kubectl("scale", "statefulset", "held", "--replicas=0")
    until(lambda: not cluster.pods(), "the pods are gone", GONE_TIMEOUT_S)
    assert cluster.names() == names, "a StatefulSet that is scaled down is there"
    cluster.plane.kubectl("delete", "statefulset", "held")
    until(lambda: not cluster.names(), "the controller has seen twice that it is gone", 200)
