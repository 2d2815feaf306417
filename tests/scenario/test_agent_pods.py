"""How an ADD's pod is found in the Kubernetes API, and what happens while that is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_server import FakeKubernetes, Fault, Rule, serving

from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.naming import naming
from weft.agent.cni.pods import Pods
from weft.agent.cni.request import Call, configuration
from weft.kubernetes.api import KubernetesApi
from weft.kubernetes.pod import PodFacts
from weft.kubernetes.settings import ClusterAccess

STATEFUL = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s", "controller": True}]
OF_KUBELET = {"kubernetes.io/config.seen": "2024-01-01T00:00:00Z", "kubernetes.io/config.source": "api"}
BOTH = OF_KUBELET | {"weft.dev/port-name": "the-db", "weft.dev/network-labels": "env=prod"}


@pytest.fixture
async def kubernetes(tmp_path: Path) -> AsyncIterator[FakeKubernetes]:
    async with serving(tmp_path) as made:
        made.put("namespaces", "shop")
        yield made


class Node:
    """The agent's part of a node: its pods, followed."""

    def __init__(self, kubernetes: FakeKubernetes, **given: Any) -> None:
        self.kubernetes = kubernetes
        api = KubernetesApi(ClusterAccess(kubeconfig=str(kubernetes.kubeconfig())))
        self.of = Pods(api, "node1", **{"wait_s": 0.2, **given})
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Node":
        self._running = asyncio.create_task(self.of.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def current(self) -> "Node":
        watched = 2 if self.of._labels else 1
        await self.kubernetes.until(lambda: self.kubernetes.watches == watched)
        return self

    async def away(self) -> "Node":
        """Let the API server go, and the agent see that."""
        await self.kubernetes.stop()
        async with asyncio.timeout(20):
            while not self.of.pods.trouble:
                await self.of._moved.wait()
        return self

    async def facts(self, pod: str, uid: str, command: str = "ADD", annotations: Any = OF_KUBELET) -> PodFacts | None:
        made = call(pod, uid, command, annotations)
        return await self.of.facts(made, json.loads(made.stdin))

    def gets(self) -> list[str]:
        return [f"{each.kind.plural}/{each.name}" for each in self.kubernetes.requests if each.verb == "get"]


def call(pod: str, uid: str, command: str = "ADD", annotations: Any = OF_KUBELET) -> Call:
    document: dict[str, Any] = {"cniVersion": "1.0.0", "name": "pods", "cluster": "c1", "network": "web"}
    if annotations is not None:
        document["runtimeConfig"] = {"io.kubernetes.cri.pod-annotations": annotations}
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod};K8S_POD_INFRA_CONTAINER_ID=a;K8S_POD_UID={uid}"
    stdin = json.dumps(document)
    return Call(command=command, container_id="a", netns="/n", ifname="eth0", args=args, stdin=stdin)


async def test_a_pod_that_is_known_costs_no_request(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "db-0", node="node1", uid="u1", ownerReferences=STATEFUL)
    async with Node(kubernetes) as node:
        await node.current()
        found = await node.facts("db-0", "u1")
        assert found is not None
        assert found.is_sticky
        assert node.gets() == []


async def test_a_pod_that_comes_while_it_is_looked_for_costs_none_either(kubernetes: FakeKubernetes) -> None:
    async with Node(kubernetes, wait_s=20.0) as node:
        await node.current()
        looking = asyncio.create_task(node.facts("web", "u1"))
        await asyncio.sleep(0)
        kubernetes.put("pods", "web", node="node1", uid="u1")
        found = await looking
        assert found is not None
        assert node.gets() == []


async def test_a_pod_that_does_not_come_is_asked_for_once(kubernetes: FakeKubernetes) -> None:
    async with Node(kubernetes) as node:
        await node.current()
        kubernetes.put("pods", "web", node="node2", uid="u1", labels={"weft.dev/port-name": "w"})  # the wrong node name
        found = await node.facts("web", "u1")
        assert found is not None
        assert (found.labels, node.gets()) == ({"weft.dev/port-name": "w"}, ["pods/web"])


async def test_another_pod_of_the_name_is_not_it(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "db-0", node="node1", uid="new")
    async with Node(kubernetes) as node:
        await node.current()
        with pytest.raises(CniError, match="with uid old is another one there, with uid new") as refused:
            await node.facts("db-0", "old")
        assert refused.value.code is Code.TRY_AGAIN_LATER
        with pytest.raises(CniError, match="pod shop/gone with uid u1 is not in the API"):
            await node.facts("gone", "u1")
        assert (await node.facts("db-0", "")) is not None, "a runtime that names no uid means any"


async def test_a_namespace_says_what_its_pods_do_not(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("namespaces", "shop", annotations={"weft.dev/network-labels": "env=prod", "weft.dev/release": "5m"})
    kubernetes.put("pods", "web", node="node1", uid="u1", annotations={"weft.dev/release": "now"})
    async with Node(kubernetes) as node:
        await node.current()
        made = call("web", "u1")
        found = naming(made, *configuration(made), await node.facts("web", "u1"))
        assert (dict(found.network_labels), found.network, found.release) == ({"env": "prod"}, None, "now")


async def test_a_namespace_that_is_not_known_yet_is_asked_for(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "web", node="node1", uid="u1")
    kubernetes.put("namespaces", "shop", annotations={"weft.dev/release": "5m"})
    kubernetes.rules = {Rule("", "pods", verb) for verb in ("list", "watch")} | {Rule("", "namespaces", "get")}
    async with Node(kubernetes) as node:
        found = await node.facts("web", "u1")
        assert found is not None
        assert (found.namespace_annotations, node.gets()) == ({"weft.dev/release": "5m"}, ["namespaces/shop"])
        # And if it cannot be asked for, the pod might get into the wrong network.
        kubernetes.rules.discard(Rule("", "namespaces", "get"))
        with pytest.raises(CniError, match='cannot get resource "namespaces"'):
            await node.facts("web", "u1")


async def test_a_deletion_neither_waits_nor_fails(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "db-0", node="node1", uid="u1", labels={"weft.dev/port-name": "the-db"})
    async with Node(kubernetes, wait_s=1000.0) as node:
        await node.current()
        known = await node.facts("db-0", "u1", "DEL")
        assert known is not None
        assert await node.facts("db-0", "u0", "DEL") is None
        assert await node.facts("gone", "u1", "DEL") is None
        await node.away()
        assert await node.facts("gone", "u1", "DEL") is None
        assert await node.facts("db-0", "u1", "DEL") == known
        assert node.gets() == []


async def test_a_container_that_is_no_pod_is_not_looked_up(kubernetes: FakeKubernetes) -> None:
    async with Node(kubernetes, wait_s=1000.0) as node:
        assert await node.of.facts(Call(command="ADD", container_id="a"), {}) is None


async def test_a_static_pod_needs_no_api_server(kubernetes: FakeKubernetes) -> None:
    """It may be the API server itself."""
    await kubernetes.stop()
    async with Node(kubernetes, wait_s=1000.0) as node:
        static = {"kubernetes.io/config.source": "file", "kubernetes.io/config.hash": "h"}
        assert await node.facts("kube-apiserver-node1", "h", annotations=static) is None


async def test_a_mirror_is_the_pod_that_it_mirrors(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "etcd-node1", node="node1", uid="m", annotations={"kubernetes.io/config.mirror": "h"})
    async with Node(kubernetes) as node:
        await node.current()
        found = await node.facts("etcd-node1", "h", annotations=None)
        assert found is not None
        assert found.uid == "m"


# --- the API server is away ---


async def test_a_pod_that_was_known_is_added_while_the_api_server_is_away(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "db-0", node="node1", uid="u1", labels={"weft.dev/port-name": "the-db"})
    async with Node(kubernetes) as node:
        await node.current()
        known = await node.facts("db-0", "u1")
        await node.away()
        assert await node.facts("db-0", "u1", annotations=None) == known


async def test_annotations_that_say_name_and_network_suffice(kubernetes: FakeKubernetes) -> None:
    async with Node(kubernetes) as node:
        await node.current()
        await node.away()
        assert await node.facts("web", "u1", annotations=BOTH) is None
        made = call("web", "u1", annotations=BOTH)
        found = naming(made, *configuration(made))
        assert (found.name, dict(found.network_labels)) == ("the-db", {"env": "prod"})


@pytest.mark.parametrize("missing", ["weft.dev/port-name", "weft.dev/network-labels"])
async def test_a_pod_whose_labels_may_say_more_waits_for_the_api_server(
    kubernetes: FakeKubernetes, missing: str
) -> None:
    annotations = {key: value for key, value in BOTH.items() if key != missing}
    async with Node(kubernetes) as node:
        await node.current()
        await node.away()
        with pytest.raises(
            CniError, match="pod shop/web cannot be looked up: the API server does not answer"
        ) as refused:
            await node.facts("web", "u1", annotations=annotations)
        assert (refused.value.code, "labels = false" in refused.value.details) == (Code.TRY_AGAIN_LATER, True)
        kubernetes.put("pods", "web", node="node1", uid="u1")
        await kubernetes.start()
        assert await node.facts("web", "u1", annotations=annotations) is not None, "the runtime tries again"


async def test_where_no_labels_count_annotations_suffice_whatever_they_say(kubernetes: FakeKubernetes) -> None:
    async with Node(kubernetes, labels=False) as node:
        await node.current()
        await node.away()
        assert await node.facts("db-0", "u1") is None
        made = call("db-0", "u1")
        assert not naming(made, *configuration(made)).ephemeral, "by its ordinal"
        with pytest.raises(CniError, match="cannot be looked up") as refused:
            await node.facts("db-0", "u1", annotations=None)
        assert "passes no annotations" in refused.value.details


async def test_where_no_labels_count_namespaces_are_not_read(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "web", node="node1", uid="u1")
    kubernetes.rules = {Rule("", "pods", verb) for verb in ("list", "watch", "get")}
    async with Node(kubernetes, labels=False) as node:
        await node.current()
        assert await node.facts("web", "u1") is not None
        assert kubernetes.asked("list", "namespaces") == 0


async def test_an_api_server_that_hangs_holds_an_addition_up_for_its_time_only(kubernetes: FakeKubernetes) -> None:
    async with Node(kubernetes, lookup_s=0.2) as node:
        await node.current()
        kubernetes.faults.extend(Fault("get", hang=True) for _ in range(20))
        answers = await asyncio.gather(*(node.facts("web", f"u{n}") for n in range(20)), return_exceptions=True)
        assert {type(each) for each in answers} == {CniError}
        assert len(node.gets()) <= 8, "not all twenty at once"


async def test_an_agent_that_has_just_begun_waits_for_its_list(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "web", node="node1", uid="u1")
    async with Node(kubernetes, wait_s=20.0) as node:
        assert await node.facts("web", "u1", annotations=BOTH) is not None
        assert "pods/web" not in node.gets()


async def test_a_right_that_is_missing_is_named_in_what_the_runtime_logs(kubernetes: FakeKubernetes) -> None:
    kubernetes.rules = set()
    async with Node(kubernetes) as node:
        with pytest.raises(CniError, match='cannot get resource "pods"'):
            await node.facts("web", "u1")
