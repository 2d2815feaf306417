"""Ports that are held until their object is gone: released when the cluster says so twice, and only then."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from core_world import PROJECT, World, world
from kubernetes_server import FakeKubernetes, Fault, Rule, serving

from weft.controller.orchestrator import LOOK_S, WorkloadObjects
from weft.intent.workload_release import held_for_objects
from weft.intent.workloads import attach, release
from weft.kubernetes import api
from weft.kubernetes.api import KubernetesApi
from weft.kubernetes.settings import ClusterSettings
from weft.model.errors import Permanent, Transient, WeftError
from weft.model.ids import NodeName, PortId
from weft.protocol.workload import WorkloadRelease, WorkloadRequest

HERE = NodeName("node1")


class Time:
    """The clock of the store, for a controller that does not sleep here."""

    def __init__(self, at: World) -> None:
        self._clock = at.clock

    def now(self) -> float:
        return self._clock.now

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError("a test looks by itself")


class Cluster:
    """A data centre, the cluster `prod` on it, and the controller between them."""

    def __init__(self, dc: World, kubernetes: FakeKubernetes) -> None:
        self.dc = dc
        self.kubernetes = kubernetes
        self.controllers: list[WorkloadObjects] = []
        self.controller = self.new_controller()

    def new_controller(self, **settings: Any) -> WorkloadObjects:
        found = ClusterSettings(name="prod", kubeconfig=str(self.kubernetes.kubeconfig()), **settings)
        made = WorkloadObjects(self.dc.store, found, KubernetesApi(found), clock=Time(self.dc))
        self.controllers.append(made)
        return made

    async def hold(self, *pods: str, cluster: str = "prod", policy: str = "with-object") -> None:
        """Have a container of each pod come and go."""
        for pod in pods:
            name = f"{cluster}/shop/{pod}"
            asked = WorkloadRequest(name=name, holder=pod, network="pods", release=policy)
            await self.dc.store.transact(lambda tx, asked=asked: attach(tx, HERE, asked, project_id=PROJECT))  # type: ignore[misc]
            gone = WorkloadRelease(name=name, holder=pod)
            await self.dc.store.transact(lambda tx, gone=gone: release(tx, HERE, gone, project_id=PROJECT))  # type: ignore[misc]

    async def take_up(self, pod: str) -> PortId:
        asked = WorkloadRequest(name=f"prod/shop/{pod}", holder="again", network="pods", release="with-object")
        found = await self.dc.store.transact(lambda tx: attach(tx, HERE, asked, project_id=PROJECT))
        return PortId(found.port_id)

    async def look(self) -> list[str]:
        """Let a minute pass, and look."""
        self.dc.clock.advance(LOOK_S)
        return sorted(each.name.rpartition("/")[2] for each in await self.controller.look())

    async def held(self) -> list[str]:
        found = await self.dc.store.read(held_for_objects)
        return sorted(each.name.rpartition("/")[2] for each in found)


@pytest.fixture
async def prod(tmp_path: Path) -> AsyncIterator[Cluster]:
    folder = tmp_path / "kubernetes"
    folder.mkdir()
    async with world(tmp_path) as dc, serving(folder) as kubernetes:
        await dc.subnet(await dc.network("pods"), "10.0.0.0/24")
        kubernetes.put("namespaces", "kube-system", "", uid="cluster-1")
        made = Cluster(dc, kubernetes)
        yield made
        for each in made.controllers:
            await each._api.close()


async def test_a_stateful_set_that_is_deleted_lets_go_of_its_ports(prod: Cluster) -> None:
    prod.kubernetes.put("statefulsets", "db")
    await prod.hold("db-0", "db-1")
    assert [await prod.look(), await prod.look()] == [[], []]
    prod.kubernetes.delete("statefulsets", "db")
    assert await prod.look() == [], "one look is not enough"
    assert await prod.look() == ["db-0", "db-1"]
    assert await prod.held() == []


async def test_nothing_is_asked_while_nothing_is_held(prod: Cluster) -> None:
    await prod.hold("db-0", policy="never")
    await prod.hold("db-0", cluster="test")
    assert await prod.look() == []
    assert prod.kubernetes.requests == []


async def test_another_clusters_and_strange_names_are_left_alone(prod: Cluster) -> None:
    await prod.hold("gone-0")
    await prod.hold("db-0", cluster="test")
    await prod.hold("db-0", cluster="prod/odd/one")
    for _ in range(4):
        await prod.look()
    assert await prod.held() == ["db-0", "db-0"]


async def test_a_bare_pod_keeps_its_port_while_it_is_there(prod: Cluster) -> None:
    prod.kubernetes.put("pods", "debug")
    await prod.hold("debug")
    assert [await prod.look(), await prod.look()] == [[], []]
    prod.kubernetes.delete("pods", "debug")
    assert [await prod.look(), await prod.look()] == [[], ["debug"]]


async def test_an_object_that_comes_back_in_time_keeps_its_ports(prod: Cluster) -> None:
    await prod.hold("db-0")
    await prod.look()
    prod.kubernetes.put("statefulsets", "db")
    assert [await prod.look(), await prod.look()] == [[], []]
    prod.kubernetes.delete("statefulsets", "db")
    assert await prod.look() == []


async def test_a_port_that_is_taken_up_between_list_and_release_stays(
    prod: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prod.hold("db-0", "db-1")
    await prod.look()
    whole = KubernetesApi.whole

    async def meanwhile(self: KubernetesApi, resource: Any, **given: Any) -> Any:
        found = await whole(self, resource, **given)
        if given.get("namespace") is not None:
            await prod.take_up("db-0")
        return found

    monkeypatch.setattr(KubernetesApi, "whole", meanwhile)
    assert await prod.look() == ["db-1"]


FAULTS = [
    Fault("list", 500),
    Fault("list", 503, body=b"<html>"),
    Fault("list", 429, {"retry-after": "1"}),
    Fault("list", 200, body=b'{"kind":"StatefulSetList","items":[]'),
    Fault("list", 200, body=b"{}"),
    Fault("list", 200, body=b'{"metadata":{},"items":[]}'),
    Fault("list", body=b'{"metadata":{"resourceVersion":"5"},"items":['),
    Fault("list", 404, body=b"404 page not found"),
    Fault("list", 410),
    Fault("get", 500),
    Fault("get", 200, body=b"{}"),
    Fault("get", 404, body=b"404 page not found"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.verb}-{fault.code}-{fault.body[:10]!r}")
async def test_a_look_that_fails_releases_nothing(prod: Cluster, fault: Fault) -> None:
    prod.kubernetes.put("statefulsets", "db")
    await prod.hold("db-0", "gone-0")
    await prod.look()
    prod.kubernetes.faults.append(fault)
    with pytest.raises(WeftError):
        await prod.look()
    assert await prod.held() == ["db-0", "gone-0"]
    assert await prod.look() == ["gone-0"], "the next one that succeeds goes on"


async def test_a_second_piece_that_fails_makes_no_list(prod: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PAGE", 2)
    page = KubernetesApi.page

    async def in_twos(self: KubernetesApi, *args: Any, **given: Any) -> Any:
        return await page(self, *args, **{**given, "limit": 2})

    monkeypatch.setattr(KubernetesApi, "page", in_twos)
    for name in ("a", "b", "c", "db"):
        prod.kubernetes.put("statefulsets", name)
    await prod.hold("db-0")
    for _ in range(3):
        original = KubernetesApi.page

        async def fails(self: KubernetesApi, *args: Any, original: Any = original, **given: Any) -> Any:
            if given.get("after") is not None:
                raise Transient("cut", retry_after_s=1.0)
            return await original(self, *args, **given)

        with monkeypatch.context() as cut:
            cut.setattr(KubernetesApi, "page", fails)
            with pytest.raises(Transient, match="cut"):
                await prod.look()
    assert [await prod.look(), await prod.look()] == [[], []]
    assert await prod.held() == ["db-0"]


async def test_while_the_api_server_is_away_everything_is_kept(prod: Cluster) -> None:
    await prod.hold("db-0")
    await prod.look()
    await prod.kubernetes.stop()
    for _ in range(5):
        with pytest.raises(Transient):
            await prod.look()
    assert await prod.held() == ["db-0"]
    await prod.kubernetes.start()
    assert await prod.look() == ["db-0"]


async def test_a_right_that_is_missing_keeps_everything(prod: Cluster) -> None:
    prod.kubernetes.rules = {Rule("", "pods", "list"), Rule("", "namespaces", "get")}
    await prod.hold("db-0")
    for _ in range(3):
        with pytest.raises(Permanent, match='cannot list resource "statefulsets" in API group "apps"'):
            await prod.look()
    assert await prod.held() == ["db-0"]


async def test_a_cluster_that_took_anothers_place_releases_nothing(prod: Cluster) -> None:
    """The kubeconfig was changed, or the cluster was built anew: none of the objects are in it."""
    prod.kubernetes.put("statefulsets", "db")
    await prod.hold("db-0")
    await prod.look()
    prod.kubernetes.state = type(prod.kubernetes.state)()
    prod.kubernetes.put("namespaces", "kube-system", "", uid="cluster-2")
    for controller in (prod.controller, prod.new_controller()):
        prod.controller = controller
        for _ in range(3):
            with pytest.raises(Permanent, match=r'is cluster cluster-2, not cluster-1.*set uid = "cluster-2"'):
                await prod.look()
    assert await prod.held() == ["db-0"]
    prod.controller = prod.new_controller(uid="cluster-2")
    assert [await prod.look(), await prod.look()] == [[], ["db-0"]]


async def test_what_is_no_cluster_releases_nothing(prod: Cluster) -> None:
    prod.kubernetes.delete("namespaces", "kube-system")
    await prod.hold("db-0")
    with pytest.raises(Permanent, match="has no namespace kube-system"):
        await prod.look()


async def test_a_controller_that_has_just_taken_over_looks_twice_itself(prod: Cluster) -> None:
    await prod.hold("db-0")
    await prod.look()
    prod.controller = prod.new_controller()
    assert [await prod.look(), await prod.look()] == [[], ["db-0"]]


async def test_lists_are_of_the_present_and_not_of_a_cache(prod: Cluster) -> None:
    prod.kubernetes.cached_at = prod.kubernetes.state.revision
    prod.kubernetes.put("statefulsets", "db")
    await prod.hold("db-0")
    assert [await prod.look(), await prod.look(), await prod.look()] == [[], [], []]


async def test_many_namespaces_are_asked_about_in_turns(prod: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.controller.orchestrator.MAX_NAMESPACES", 1)
    await prod.hold("a-0")
    asked = WorkloadRequest(name="prod/bank/b-0", holder="b", network="pods", release="with-object")
    await prod.dc.store.transact(lambda tx: attach(tx, HERE, asked, project_id=PROJECT))
    gone = WorkloadRelease(name="prod/bank/b-0", holder="b")
    await prod.dc.store.transact(lambda tx: release(tx, HERE, gone, project_id=PROJECT))
    released = [name for _ in range(5) for name in await prod.look()]
    assert sorted(released) == ["a-0", "b-0"]
