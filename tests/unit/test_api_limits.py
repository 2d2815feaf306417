"""Limits: what is beyond them is refused at once, with when to come again."""

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from weft.api import limits
from weft.api.access import ADMINISTRATOR, Access, NodeAgent, Role, User
from weft.api.answers import read_body
from weft.api.auth.authenticator import Authentication, Authenticator
from weft.api.auth.token_file import AdminTokens
from weft.api.limits import Limits, LimitSettings, Rate
from weft.api.routing import Operation, Paths
from weft.model.errors import Transient
from weft.model.ids import NodeName


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_may_burst_and_then_keeps_to_its_rate() -> None:
    clock = Clock()
    rate = Rate(2.0, 3, clock)
    for _ in range(3):
        rate.count("a")
    with pytest.raises(Transient, match="'a' makes more than 2 requests a second") as caught:
        rate.count("a")
    assert caught.value.kind == "TooManyRequests"
    assert caught.value.retry_after_s == pytest.approx(0.5)
    rate.count("b")
    clock.now += caught.value.retry_after_s
    rate.count("a")
    with pytest.raises(Transient):
        rate.count("a")


@given(st.lists(st.floats(0, 3), max_size=200), st.floats(0.5, 50), st.integers(1, 20))
def test_no_interval_has_more_than_burst_and_rate(pauses: list[float], per_s: float, burst: int) -> None:
    clock = Clock()
    rate = Rate(per_s, burst, clock)
    accepted: list[float] = []
    for pause in pauses:
        clock.now += pause
        try:
            rate.count("a")
        except Transient:
            continue
        accepted.append(clock.now)
    for first, start in enumerate(accepted):
        for count, end in enumerate(accepted[first:], start=1):
            assert count <= burst + (end - start) * per_s + 1e-6


def test_memory_is_bounded_by_forgetting_who_called_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CALLERS", 2)
    rate = Rate(1.0, 1, Clock())
    for name in "abc":
        rate.count(name)
    with pytest.raises(Transient):
        rate.count("c")
    rate.count("a")


def test_each_caller_has_a_rate_of_its_own() -> None:
    counted = Limits(LimitSettings(requests_per_s=1.0, burst=1), Clock())
    roles = frozenset({Role.MEMBER})
    for caller in (
        ADMINISTRATOR,
        NodeAgent(NodeName("a")),
        NodeAgent(NodeName("b")),
        User(project_id="red", user_id="u", roles=roles),
        User(project_id="red", user_id="v", roles=roles),
    ):
        counted.count(caller)
        with pytest.raises(Transient):
            counted.count(caller)


class Door:
    """Where requests wait until they are let through."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.release = asyncio.Event()


def application(settings: LimitSettings, door: Door) -> httpx.AsyncClient:
    async def wait(request: Request) -> Response:
        del request
        door.begun.release()
        await door.release.wait()
        return PlainTextResponse("done")

    async def size(request: Request) -> Response:
        return PlainTextResponse(str(len(await read_body(request))))

    async def nobody(_: str) -> NodeName | None:
        return None

    operations = [
        Operation("GET", "/v1/wait", wait),
        Operation("GET", "/open", wait, Access.PUBLIC),
        Operation("POST", "/v2.0/size", size),
    ]
    authenticator = Authenticator(Authentication(sources=(AdminTokens(["root"]),)), nobody)
    paths = Paths(operations, authenticator, Limits(settings), lambda *_: None)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(paths),
        base_url="http://weft",
        headers={"Authorization": "Bearer root"},
    )


async def test_requests_beyond_the_limit_are_refused_until_one_ends() -> None:
    door = Door()
    async with application(LimitSettings(max_concurrent=2), door) as http:
        working = [asyncio.create_task(http.get("/v1/wait")) for _ in range(2)]
        for _ in working:
            await door.begun.acquire()
        refused = await http.post("/v2.0/size", content=b"x")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["NeutronError"]["type"] == "ServiceUnavailable"
        assert (await http.get("/open")).status_code == 503
        door.release.set()
        assert [found.text for found in await asyncio.gather(*working)] == ["done", "done"]
        assert (await http.post("/v2.0/size", content=b"x")).status_code == 200


async def test_a_request_that_fails_gives_its_place_back() -> None:
    async with application(LimitSettings(max_concurrent=1), Door()) as http:
        for _ in range(3):
            assert (await http.get("/v1/wait", headers={"Authorization": "Bearer bad"})).status_code == 401
        assert (await http.post("/v2.0/size")).status_code == 200


async def test_too_many_requests_and_too_large_bodies_say_so() -> None:
    settings = LimitSettings(requests_per_s=0.01, burst=2, max_body_bytes=10)
    async with application(settings, Door()) as http:
        assert (await http.post("/v2.0/size", content=b"x" * 10)).text == "10"
        large = await http.post("/v2.0/size", content=b"x" * 11)
        assert large.status_code == 413
        assert large.json()["NeutronError"]["type"] == "RequestTooLarge"
        refused = await http.post("/v2.0/size")
        assert refused.status_code == 429
        assert refused.json()["NeutronError"]["type"] == "TooManyRequests"
        assert 99 <= int(refused.headers["retry-after"]) <= 100


def test_watches_are_counted_for_each_caller_and_administrators_may_have_any() -> None:
    limits_ = Limits(LimitSettings(watches_per_caller=2))
    a, b = NodeAgent(NodeName("a")), NodeAgent(NodeName("b"))
    for caller in (a, a, b, *[ADMINISTRATOR] * 10):
        limits_.begin_watch(caller)
    with pytest.raises(Transient, match="'node:a' has 2 watches open"):
        limits_.begin_watch(a)
    limits_.end_watch(a)
    limits_.begin_watch(a)
