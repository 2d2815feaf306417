"""Which workload a container is, by what the orchestrator knows of it."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.naming import Naming, PodName, annotations_of, naming, pod_of
from weft.agent.cni.request import Call, configuration
from weft.kubernetes.pod import Owner, PodFacts, ours

ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=u1"
STATEFUL = Owner("StatefulSet", "db")
REPLICA = Owner("ReplicaSet", "web-7c9d8f6b5")


def call(pod: str = "db-0", command: str = "ADD", **conf: Any) -> Call:
    stdin = json.dumps({"cniVersion": "1.0.0", "name": "pods", "cluster": "c1", "network": "web", **conf})
    return Call(
        command=command,
        container_id="abc",
        netns="/n",
        ifname="eth0",
        args=ARGS.format(pod) if pod else "",
        stdin=stdin,
    )


def facts(name: str = "db-0", owner: Owner | None = STATEFUL, **said: Mapping[str, str]) -> PodFacts:
    return PodFacts(namespace="shop", name=name, uid="u1", owner=owner, **said)


def named(made: Call, pod: PodFacts | None) -> Naming:
    return naming(made, *configuration(made), pod)


@pytest.mark.parametrize(
    ("pod", "owner", "ephemeral"),
    [
        ("db-0", STATEFUL, False),
        ("db-20000", STATEFUL, False),
        ("job-0", Owner("Job", "job"), True),
        ("web-7c9d8f6b5-x2x4z", REPLICA, True),
        ("debug-1", None, True),
        ("kube-proxy-1", Owner("Node", "node1"), True),
    ],
)
def test_the_owner_and_not_the_name_tells_what_is_sticky(pod: str, owner: Owner | None, ephemeral: bool) -> None:
    found = named(call(pod), facts(pod, owner))
    assert (found.name, found.ephemeral, found.release) == (f"c1/shop/{pod}", ephemeral, None)


@pytest.mark.parametrize(("stable", "ephemeral"), [(None, False), (True, False), (False, True)])
def test_the_configuration_overrules_the_owner(stable: bool | None, ephemeral: bool) -> None:
    made = call() if stable is None else call(stableNames=stable)
    assert named(made, facts()).ephemeral is ephemeral


@pytest.mark.parametrize(
    ("release", "ephemeral"), [("now", True), ("10m", False), ("with-object", False), ("never", False)]
)
def test_who_says_when_its_port_is_released_is_neither_guessed_nor_overruled(release: str, ephemeral: bool) -> None:
    said = {"weft.dev/release": release}
    for owner in (STATEFUL, REPLICA):
        found = named(call(stableNames=ephemeral), facts(owner=owner, labels=said))
        assert (found.release, found.ephemeral) == (release, ephemeral)


def test_annotations_win_over_labels_and_labels_over_the_namespace() -> None:
    namespace = {"weft.dev/network-labels": "env=test", "weft.dev/release": "never", "weft.dev/fixed-ip": "10.0.0.1"}
    labels = {"weft.dev/release": "10m", "weft.dev/fixed-ip": "10.0.0.2"}
    annotations = {"weft.dev/fixed-ip": "fd00::3"}
    pod = facts(namespace_annotations=namespace, labels=labels, annotations=annotations)
    found = named(call(), pod)
    assert (found.network, dict(found.network_labels)) == (None, {"env": "test"})
    assert (found.release, found.address) == ("10m", "fd00::3")


def test_a_port_name_by_label_keeps_its_port() -> None:
    found = named(call("web-x"), facts("web-x", REPLICA, labels={"weft.dev/port-name": "the-web"}))
    assert (found.name, found.ephemeral) == ("the-web", False)


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        ({"labels": {"network-labels.weft.dev/env": "prod", "network-labels.weft.dev/tier": "db"}}, "env=prod tier=db"),
        ({"labels": {"weft.dev/network-labels": "prod-env"}}, "prod-env="),
        ({"annotations": {"weft.dev/network-labels": "env=prod, tier=db,"}}, "env=prod tier=db"),
        (
            {"labels": {"network-labels.weft.dev/env": "prod"}, "annotations": {"weft.dev/network-labels": "tier=db"}},
            "tier=db",
        ),
        (
            {"namespace_annotations": {"weft.dev/network-labels": "a=b"}, "labels": {"network-labels.weft.dev/c": "d"}},
            "c=d",
        ),
    ],
)
def test_network_labels_are_written_where_there_is_room(said: Mapping[str, Any], labels: str) -> None:
    found = named(call(), facts(**said))
    assert " ".join(f"{key}={value}" for key, value in found.network_labels.items()) == labels
    assert found.network is None


def test_wrong_network_labels_refuse_an_addition_but_no_deletion() -> None:
    pod = facts(annotations={"weft.dev/network-labels": "=prod"})
    with pytest.raises(CniError) as refused:
        named(call(), pod)
    assert (refused.value.code, refused.value.details) == (Code.INVALID_CONFIGURATION, "write KEY=VALUE,KEY=VALUE")
    assert named(call(command="DEL"), pod).name == "c1/shop/db-0"


def test_what_the_api_says_replaces_what_the_runtime_passes() -> None:
    older = {"io.kubernetes.cri.pod-annotations": {"weft.dev/port-name": "old", "kubernetes.io/config.source": "api"}}
    made = call(runtimeConfig=older)
    assert named(made, None).name == "old"
    assert named(made, facts()).name == "c1/shop/db-0"
    assert annotations_of(json.loads(made.stdin)) == older["io.kubernetes.cri.pod-annotations"]


def test_a_pod_is_named_with_its_uid() -> None:
    assert pod_of(call()) == PodName("shop", "db-0", "u1")
    assert pod_of(call("")) is None
    assert pod_of(Call(command="ADD", args="K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a")) == PodName("shop", "a", "")


def test_a_static_pod_is_known_by_the_uid_that_it_mirrors() -> None:
    pod = PodFacts(namespace="n", name="p", uid="of-the-mirror", mirrors="of-the-file")
    assert [pod.is_of(uid) for uid in ("of-the-file", "of-the-mirror", "", "other")] == [True, True, True, False]


def test_only_what_is_wefts_is_kept_of_a_pod() -> None:
    assert ours({"weft.dev/release": "now", "app": "x", "network-labels.weft.dev/a": "b"}) == {
        "weft.dev/release": "now",
        "network-labels.weft.dev/a": "b",
    }
    assert ours(None) == {}


@pytest.mark.parametrize(
    "args",
    [
        None,
        [],
        {"org.apache.mesos": None},
        {"org.apache.mesos": {"network_info": []}},
        {"org.apache.mesos": {"network_info": {"labels": []}}},
        {"org.apache.mesos": {"network_info": {"labels": {"labels": {}}}}},
        {"org.apache.mesos": {"network_info": {"labels": {"labels": [7]}}}},
    ],
)
def test_what_is_no_label_of_mesos_is_passed_over(args: Any) -> None:
    assert named(call("", args=args), None).name == "c1/abc"


def test_mesos_labels_say_all_that_annotations_do() -> None:
    said = {"weft.dev/port-name": "task-7", "weft.dev/network-labels": "env=prod", "weft.dev/release": "10m"}
    labels = {"labels": [{"key": key, "value": value} for key, value in said.items()]}
    found = named(call("", args={"org.apache.mesos": {"network_info": {"labels": labels}}}), None)
    assert found == Naming(name="task-7", ephemeral=False, network_labels={"env": "prod"}, release="10m")


def test_podman_asks_for_an_address_and_a_mac_by_arguments() -> None:
    made = msgspec.structs.replace(call(pod=""), args="IgnoreUnknown=1;IP=10.0.0.9;MAC=02:00:00:00:00:09")
    found = named(made, None)
    assert (found.name, found.ephemeral) == ("c1/abc", True)
    assert (found.address, found.mac) == ("10.0.0.9", "02:00:00:00:00:09")
