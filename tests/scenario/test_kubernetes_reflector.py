"""The copy of an API server's objects, against a server that fails in every way that real ones do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes_server import FakeKubernetes, Fault, Rule, serving

from weft.kubernetes import reflector
from weft.kubernetes.api import PAGE, WATCH_S, KubernetesApi
from weft.kubernetes.objects import PODS, pod_facts
from weft.kubernetes.pod import Owner, PodFacts
from weft.kubernetes.reflector import BACKOFF_S, RELIST_S, SHORTEST_WATCH_S, Reflector
from weft.kubernetes.settings import ClusterAccess

HERE = "spec.nodeName=node1"


@pytest.fixture
async def kubernetes(tmp_path: Path) -> AsyncIterator[FakeKubernetes]:
    async with serving(tmp_path) as made:
        yield made


class Copy:
    """A reflector of node1's pods, its pauses taken at once and noted, and its time held by the test."""

    def __init__(self, kubernetes: FakeKubernetes, *, silence_s: float = 60.0, **given: Any) -> None:
        self.kubernetes = kubernetes
        access = ClusterAccess(kubeconfig=str(kubernetes.kubeconfig()))
        self.api = KubernetesApi(access, silence_s=silence_s)
        self.pauses: list[float] = []
        self.time = 0.0
        self._moved = asyncio.Event()
        self.of: Reflector[PodFacts] = Reflector(
            self.api,
            PODS,
            pod_facts,
            field_selector=HERE,
            changed=self._move,
            sleep=self._pause,
            now=lambda: self.time,
            jitter=lambda: 0.0,
            **given,
        )
        self.running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Copy":
        self.running = asyncio.create_task(self.of.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.running is not None
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.api.close()

    def names(self) -> list[str]:
        return sorted(name for _, name in self.of.objects)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                moved = self._moved
                await moved.wait()

    async def until_has(self, *names: str) -> None:
        await self.until(lambda: self.names() == sorted(names))

    async def until_current(self) -> None:
        await self.until(lambda: self.of.is_current)
        await self.kubernetes.until(lambda: self.kubernetes.watches == 1)

    def _move(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _pause(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        self.time += pause_s
        self._move()
        await asyncio.sleep(0)


async def test_the_copy_is_of_this_nodes_pods_and_follows_them(kubernetes: FakeKubernetes) -> None:
    owner = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}]
    labels = {"app": "db", "weft.dev/release": "10m"}
    kubernetes.put("pods", "db-0", node="node1", ownerReferences=owner, labels=labels, uid="u1")
    kubernetes.put("pods", "far", node="node2")
    async with Copy(kubernetes) as copy:
        await copy.until_has("db-0")
        facts = copy.of.objects["shop", "db-0"]
        assert (facts.uid, facts.owner, facts.labels) == (
            "u1",
            Owner("StatefulSet", "db"),
            {"weft.dev/release": "10m"},
        )
        await copy.until_current()
        kubernetes.put("pods", "web", node="")
        kubernetes.put("pods", "web", node="node1")  # bound by the scheduler
        await copy.until_has("db-0", "web")
        kubernetes.put("pods", "web", node="node1", annotations={"weft.dev/fixed-ip": "10.0.0.9"})
        await copy.until(lambda: bool(copy.of.objects["shop", "web"].annotations))
        kubernetes.delete("pods", "db-0")
        await copy.until_has("web")
        assert kubernetes.asked("list", "pods") == 1


async def test_only_metadata_is_asked_for_and_whole_objects_are_understood(kubernetes: FakeKubernetes) -> None:
    for knows_partial in (True, False):
        kubernetes.knows_partial = knows_partial
        kubernetes.put("pods", f"a-{knows_partial}", node="node1")
        async with Copy(kubernetes) as copy:
            await copy.until_current()
            kubernetes.put("pods", f"b-{knows_partial}", node="node1")
            await copy.until(lambda knows_partial=knows_partial, copy=copy: f"b-{knows_partial}" in copy.names())
    assert all("as=PartialObjectMetadata" in each.headers["accept"] for each in kubernetes.requests)


async def test_a_long_list_comes_in_pieces(kubernetes: FakeKubernetes) -> None:
    for number in range(PAGE + 1):
        kubernetes.put("pods", f"p{number:04}", node="node1")
    async with Copy(kubernetes) as copy:
        await copy.until(lambda: copy.of.is_complete)
        assert len(copy.names()) == PAGE + 1
        assert kubernetes.asked("list", "pods") == 2


@pytest.mark.parametrize("gone_by_status", [False, True])
async def test_a_place_that_is_not_kept_any_more_begins_with_a_new_list(
    kubernetes: FakeKubernetes, gone_by_status: bool
) -> None:
    kubernetes.gone_by_status = gone_by_status
    kubernetes.put("pods", "old", node="node1")
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        await kubernetes.stop()
        kubernetes.state.delete("pods", "old")
        kubernetes.state.put("pods", "new", node="node1")
        kubernetes.state.compact()
        await kubernetes.start()
        await copy.until_has("new")
        assert kubernetes.asked("list", "pods") == 2
        # The second is of the present: what the server has at hand may be as old as what it refused.
        assert [each.query.get("resourceVersion") for each in kubernetes.requests if each.verb == "list"] == ["0", None]


async def test_a_watch_that_ends_is_taken_up_where_it_was(kubernetes: FakeKubernetes) -> None:
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        copy.time += SHORTEST_WATCH_S
        kubernetes.clock.advance(WATCH_S)
        kubernetes.state.put("pods", "meanwhile", node="node1")
        await copy.until_has("meanwhile")
        assert (kubernetes.asked("list", "pods"), copy.pauses) == (1, [])


async def test_a_watch_that_ends_without_a_word_is_of_nothing_certain(kubernetes: FakeKubernetes) -> None:
    """The server went back in time; by its time's end the watch has not had even a bookmark."""
    kubernetes.put("pods", "since", node="node1")
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        await kubernetes.stop()
        kubernetes.state = type(kubernetes.state)(revision=10)
        kubernetes.state.put("pods", "before", node="node1")
        await kubernetes.start()
        await kubernetes.until(lambda: kubernetes.watches == 1)
        copy.time += SHORTEST_WATCH_S
        kubernetes.clock.advance(WATCH_S)
        await copy.until_has("before")


async def test_a_bookmark_keeps_the_place_fresh(kubernetes: FakeKubernetes) -> None:
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        for _ in range(3):
            kubernetes.put("pods", "elsewhere", node="node2")
        kubernetes.bookmark()
        await kubernetes.until(lambda: kubernetes.bookmarks == 1)
        marked = str(kubernetes.state.revision)
        kubernetes.state.compact()
        copy.time += SHORTEST_WATCH_S
        kubernetes.end_watches()
        await kubernetes.until(lambda: kubernetes.asked("watch", "pods") == 2)
        await copy.until_current()
        assert kubernetes.requests[-1].query["resourceVersion"] == marked
        assert kubernetes.asked("list", "pods") == 1


async def test_the_copy_stays_while_the_server_is_away_and_pauses_grow(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "here", node="node1")
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        await kubernetes.stop()
        await copy.until(lambda: len(copy.pauses) > len(BACKOFF_S) + 2)
        assert copy.pauses[: len(BACKOFF_S)] == [max(each, 1.0) for each in BACKOFF_S]
        assert set(copy.pauses[len(BACKOFF_S) :]) == {BACKOFF_S[-1]}
        assert (copy.names(), copy.of.is_complete, copy.of.is_current) == (["here"], True, False)
        assert "does not answer at https://127.0.0.1" in copy.of.trouble
        await kubernetes.start()
        await copy.until_current()
        assert copy.of.trouble == ""


async def test_a_pod_deleted_and_made_again_is_another_even_if_both_were_missed(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "db-0", node="node1", uid="first")
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        kubernetes.delete("pods", "db-0")
        kubernetes.put("pods", "db-0", node="node1", uid="second")
        await copy.until(lambda: copy.of.objects.get(("shop", "db-0"), pod("")).uid == "second")
        await kubernetes.stop()
        kubernetes.state.delete("pods", "db-0")
        kubernetes.state.put("pods", "db-0", node="node1", uid="third")
        await kubernetes.start()
        await copy.until(lambda: copy.of.objects["shop", "db-0"].uid == "third")


def pod(uid: str) -> PodFacts:
    return PodFacts(namespace="shop", name="db-0", uid=uid)


async def test_a_server_that_went_back_in_time_is_listed_anew(kubernetes: FakeKubernetes) -> None:
    """etcd was restored from a backup: the watch is from a revision that is yet to come, and says nothing."""
    kubernetes.put("pods", "since", node="node1")
    async with Copy(kubernetes, silence_s=0.3) as copy:
        await copy.until_has("since")
        await kubernetes.stop()
        kubernetes.state = type(kubernetes.state)(revision=10)
        kubernetes.state.put("pods", "before", node="node1")
        await kubernetes.start()
        await copy.until_has("before")


async def test_a_new_list_is_made_now_and_then_whatever_the_watch_says(kubernetes: FakeKubernetes) -> None:
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        kubernetes.state.put("pods", "unseen", node="node1")
        kubernetes.state.changes[-1] = replace(kubernetes.state.changes[-1], revision=1)  # no watch tells of it
        copy.time += RELIST_S
        kubernetes.put("pods", "seen", node="node1")
        await copy.until_has("seen", "unseen")
        assert kubernetes.asked("list", "pods") == 2


async def test_events_that_come_twice_change_nothing_the_second_time(kubernetes: FakeKubernetes) -> None:
    made = kubernetes.put("pods", "a", node="node1", uid="u")
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        kubernetes.put("pods", "b", node="node1")
        await copy.until_has("a", "b")
        # The place is lost, and an older one taken up: everything since comes again.
        copy.of._version = made["metadata"]["resourceVersion"]
        copy.time += SHORTEST_WATCH_S
        kubernetes.end_watches()
        await kubernetes.until(lambda: kubernetes.asked("watch", "pods") == 2)
        kubernetes.put("pods", "c", node="node1")
        await copy.until_has("a", "b", "c")


@pytest.mark.parametrize(
    ("fault", "pause_s", "said"),
    [
        (Fault("list", 429, {"retry-after": "7"}), 7.0, "429"),
        (Fault("list", 503), 1.0, "503"),
        (Fault("list", 500, body=b"<html>"), 1.0, "500: without a word"),
        (Fault("list", 404, body=b"404 page not found"), BACKOFF_S[-1], "404"),
        (Fault("list", body=b'{"metadata":{"resourceVersion":"5"},"items":['), 1.0, "does not answer"),
        (Fault("watch", 429, {"retry-after": "9"}), 9.0, "429"),
        (Fault("watch", body=b'{"type":"ADDED","object":{"meta'), 1.0, "does not answer"),
        (Fault("watch", body=b"garbage\n"), 1.0, "no Event"),
        (Fault("watch", body=b'{"type":"ADDED","object":[]}\n'), 0.5, "cannot be read"),
        (Fault("watch", 410, body=b"{}"), 0.0, ""),
    ],
    ids=lambda given: f"{given.verb}-{given.code}-{given.body[:12]!r}" if isinstance(given, Fault) else "",
)
async def test_a_failure_is_told_and_tried_again(
    kubernetes: FakeKubernetes, fault: Fault, pause_s: float, said: str
) -> None:
    kubernetes.put("pods", "a", node="node1")
    kubernetes.faults.append(fault)
    copy = Copy(kubernetes)
    told: list[str] = []
    stands = copy.of._stands

    def note(*, current: bool, trouble: str) -> None:
        told.append(trouble)
        stands(current=current, trouble=trouble)

    copy.of._stands = note  # type: ignore[method-assign]
    async with copy:
        await copy.until_current()
        await copy.until_has("a")
    assert copy.pauses == ([pause_s] if pause_s else [])
    assert any(said in each for each in told)


async def test_a_list_that_expires_in_the_middle_is_had_in_one_piece(kubernetes: FakeKubernetes) -> None:
    for number in range(PAGE + 1):
        kubernetes.put("pods", f"p{number:04}", node="node1")
    page = KubernetesApi.page

    async def compacting(self: KubernetesApi, *args: Any, **given: Any) -> Any:
        found = await page(self, *args, **given)
        if given.get("after") is None and given.get("limit") is not None:
            kubernetes.state.put("pods", "since", node="node1")
            kubernetes.state.compact()
        return found

    copy = Copy(kubernetes)
    copy.api.page = compacting.__get__(copy.api)  # type: ignore[method-assign]
    async with copy:
        await copy.until(lambda: copy.of.is_complete)
        assert len(copy.names()) == PAGE + 2
        assert [each.query.get("limit") for each in kubernetes.requests if each.verb == "list"] == ["500", "500", None]


async def test_half_a_list_is_never_the_copy(kubernetes: FakeKubernetes) -> None:
    for number in range(PAGE + 1):
        kubernetes.put("pods", f"p{number:04}", node="node1")
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        sizes: set[int] = set()
        move = copy.of._changed
        copy.of._changed = lambda: (sizes.add(len(copy.of.objects)), move())[1]  # type: ignore[func-returns-value]
        kubernetes.state.compact()
        kubernetes.state.put("namespaces", "x", "")
        kubernetes.state.compact()
        copy.time += SHORTEST_WATCH_S
        kubernetes.end_watches()
        await kubernetes.until(lambda: kubernetes.asked("list", "pods") >= 4)
        await copy.until_current()
        assert sizes == {PAGE + 1}


async def test_watches_that_end_at_once_are_paused_between(kubernetes: FakeKubernetes) -> None:
    kubernetes.faults.extend(Fault("watch", 200, body=b"\n") for _ in range(4))
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        await copy.until(lambda: len(copy.pauses) == 4)
        assert copy.pauses == [0.5, 1.0, 2.0, 4.0]


async def test_a_right_that_is_missing_is_named_and_used_once_it_is_given(kubernetes: FakeKubernetes) -> None:
    kubernetes.rules = {Rule("", "pods", "watch")}
    async with Copy(kubernetes) as copy:
        await copy.until(lambda: bool(copy.pauses))
        assert 'cannot list resource "pods"' in copy.of.trouble
        assert "rbac.yaml" in copy.of.trouble
        kubernetes.rules.add(Rule("", "pods", "list"))
        await copy.until_current()


async def test_what_is_too_much_is_not_kept(kubernetes: FakeKubernetes) -> None:
    for number in range(5):
        kubernetes.put("pods", f"p{number}", node="node1")
    async with Copy(kubernetes, limit=3) as copy:
        await copy.until_current()
        assert copy.names() == ["p0", "p1", "p2"]
        kubernetes.put("pods", "p9", node="node1")
        kubernetes.delete("pods", "p0")
        kubernetes.put("pods", "pa", node="node1")
        await copy.until_has("p1", "p2", "pa")


async def test_a_line_without_end_is_given_up(kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.kubernetes.api.MAX_EVENT_BYTES", 1000)
    kubernetes.faults.append(Fault("watch", body=b"x" * 2000))
    async with Copy(kubernetes) as copy:
        await copy.until_current()
        assert copy.pauses == [reflector.BACKOFF_S[-1]]
