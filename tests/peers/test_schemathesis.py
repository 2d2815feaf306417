"""What the API's description says is so: requests made from it are answered as it says, and no server fails at one."""

import asyncio
import contextlib
import json
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from api_server import EXAMPLE, StillFabric
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks

from weft.api.app import Api
from weft.fabric.rollout import Order, Rollout
from weft.model.errors import Conflict
from weft.store import Store

EXAMPLES = {GenerationMode.POSITIVE: 12, GenerationMode.NEGATIVE: 5}
"""Requests to each operation, as they should be and as they should not; the latter are slow to find."""
ANSWER_TIMEOUT_S = 20.0

schemathesis.checks.load_all_checks()
TRUE = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]


class NobodysFabric(StillFabric):
    """A fabric on which nothing waits."""

    async def apply(self, order: Order) -> Rollout:
        """Refuse, as one with nothing to apply does."""
        raise Conflict("nothing waits to be applied", kind="NothingToApply")


@dataclass(frozen=True)
class Served:
    """A server in a thread of its own, on a real socket, and what there is in it."""

    url: str
    ids: dict[str, str]
    """Of an object of each kind, by the name of its collection, and of a port's network as network_id."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    started, found = threading.Event(), []

    async def serve() -> None:
        store = await Store.open(f"sqlite:///{folder / 'weft.db'}")
        api = Api(store, NobodysFabric())
        config = uvicorn.Config(
            api.app, port=0, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        async with api.running():
            running = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0)
            found.extend((server, server.servers[0].sockets[0].getsockname()[1]))
            started.set()
            await running
        await store.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(ANSWER_TIMEOUT_S)
    url = f"http://127.0.0.1:{found[1]}"
    yield Served(url, _furnished(url))
    found[0].should_exit = True
    thread.join(ANSWER_TIMEOUT_S)
    assert not thread.is_alive()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_answers_as_it_is_described(served: Served, mode: GenerationMode) -> None:
    failed = {}
    # A stream does not end; its own tests hold it to what it says.
    for found in _described(served).exclude(path_regex=r"watch$").get_all_operations():
        operation = found.ok()
        try:
            _hold(operation, mode, served)
        except (Exception, BaseExceptionGroup) as failure:
            failed[operation.label] = _said(failure)
    assert not failed, "\n\n".join(f"{label}: {text}" for label, text in failed.items())


def _described(served: Served) -> Any:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


def _hold(operation: Any, mode: GenerationMode, served: Served) -> None:
    @settings(
        max_examples=EXAMPLES[mode],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def hold(case: Any) -> None:
        _aim(case, served.ids)
        case.call_and_validate(base_url=served.url, checks=TRUE, timeout=ANSWER_TIMEOUT_S)

    with contextlib.suppress(Unsatisfiable):  # nothing about the operation can be given wrongly
        hold()


def _said(failure: BaseException) -> str:
    if isinstance(failure, BaseExceptionGroup):
        return "; ".join(_said(each) for each in failure.exceptions)
    return f"{type(failure).__name__}: {failure}"[:1500]


def _aim(case: Any, ids: dict[str, str]) -> None:
    """Have every other request be about what is there; random ids never are."""
    parameters = case.path_parameters
    for name in ("id", "network_id"):
        given = parameters.get(name)
        if isinstance(given, str) and given[-1:] < "8":
            segments = case.operation.path.split("/")
            parameters[name] = ids.get("network_id" if name == "network_id" else segments[2], given)
    if "node" in parameters and str(parameters["node"])[-1:] < "m":
        parameters["node"] = "node1"
    if isinstance(case.body, dict):
        _aim_body(case.body, ids)


def _aim_body(body: dict[str, Any], ids: dict[str, str]) -> None:
    for name, value in body.items():
        if name == "network_id" and isinstance(value, str) and value[-1:] < "c":
            body[name] = ids["network_id"]
        elif isinstance(value, dict):
            _aim_body(value, ids)


def _furnished(url: str) -> dict[str, str]:
    """Load an inventory, and make an object of each kind."""

    def call(method: str, path: str, body: object) -> Any:
        content = json.dumps(body).encode()
        request = urllib.request.Request(f"{url}{path}", content, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
            return json.loads(answer.read())

    wire = tomllib.loads(Path(EXAMPLE).read_text())
    del wire["lab"]
    call("PUT", "/v1/inventory", wire)
    network = call("POST", "/v2.0/networks", {"network": {"name": "n", "labels": {"tier": "web"}}})["network"]["id"]
    subnet = {"network_id": network, "cidr": "10.61.0.0/20", "ip_version": 4}
    port = {"network_id": network, "binding:host_id": "node1"}
    return {
        "network_id": network,
        "networks": network,
        "subnets": call("POST", "/v2.0/subnets", {"subnet": subnet})["subnet"]["id"],
        "routers": call("POST", "/v2.0/routers", {"router": {}})["router"]["id"],
        "ports": call("POST", "/v2.0/ports", {"port": port})["port"]["id"],
        "security-groups": call("POST", "/v2.0/security-groups", {"security_group": {"name": "g"}})["security_group"][
            "id"
        ],
    }
