"""The command line and the client against the real API on a real store: each understands what the other says."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
from api_server import ADMIN, EXAMPLE, ApiServer, StillFabric, api_server
from click.testing import CliRunner
from structlog.testing import capture_logs

from weft.cli.main import weft
from weft.client import AsyncClient, Client
from weft.controller.election import Lease, Standing
from weft.controller.leadership import STANDING
from weft.fabric.config import SwitchConfig
from weft.fabric.plan import SwitchPlan
from weft.fabric.planned import PlannedSwitch, UnreadSwitch
from weft.fabric.risk import risk
from weft.model.errors import Conflict, Forbidden, Invalid, NotFound, Transient
from weft.model.ids import SwitchName
from weft.model.intent import RealizationState, Realizer
from weft.protocol.node import RealizationReport, RealizationReports
from weft.store import Kind

Typed = Callable[..., "asyncio.Future[str]"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    with capture_logs():  # the server's are not the command's output
        async with api_server(tmp_path) as running:
            yield running


def client_of(server: ApiServer, token: str = ADMIN) -> AsyncClient:
    return AsyncClient("http://weft.example", token, transport=httpx.ASGITransport(server.api.app))


class Bridge(httpx.BaseTransport):
    """Lets a command, which runs in a thread, ask a server that runs in an event loop."""

    def __init__(self, server: ApiServer) -> None:
        self._loop = asyncio.get_running_loop()
        self._inner = httpx.ASGITransport(server.api.app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result()

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        copy = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
        answer = await self._inner.handle_async_request(copy)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@pytest.fixture
async def typed(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setattr("weft.cli.connection.Client", partial(Client, transport=Bridge(server)))
    monkeypatch.setenv("WEFT_SERVER", "http://weft.example")
    monkeypatch.setenv("WEFT_TOKEN", ADMIN)

    async def run(*arguments: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, weft, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


async def test_a_port_comes_into_a_network_by_its_labels_and_says_why(typed: Typed) -> None:
    for name, cidr in (("small", "10.0.1.0/28"), ("large", "10.0.2.0/24")):
        await typed("network", "create", name)
        await typed("subnet", "create", name, cidr)
        await typed("network", "label", name, "tier=web")
    said = await typed("port", "create", "--network-label", "tier=web", "--name", "web-1")
    assert "network    large" in said
    assert "tier=web" in said, "its history says why"
    assert "10.0.2.2" in said
    for arguments in (["small", "--network-label", "tier=web"], []):
        result = await asyncio.to_thread(CliRunner().invoke, weft, ["port", "create", *arguments])
        assert (result.exit_code, "name a NETWORK" in result.output) == (2, True)
    result = await asyncio.to_thread(CliRunner().invoke, weft, ["port", "create", "--network-label", "web"])
    assert (result.exit_code, "'web' is no label: write KEY=VALUE" in result.output) == (2, True)


async def test_a_port_from_nothing_to_nothing(typed: Typed) -> None:
    await typed("network", "create", "web", "--project", "red")
    await typed("subnet", "create", "web", "10.0.1.0/24", "--name", "web-addresses")
    await typed("router", "create", "red", "--project", "red")
    assert "web" in await typed("router", "add", "red", "web")
    port = json.loads(await typed("port", "create", "web", "--name", "web-1", "--node", "node1", "--json"))["port"]
    assert (port["state"], port["project_id"], port["bindings"][0]["node"]) == ("BINDING", "red", "node1")
    shown = await typed("port", "show", "web-1")
    assert "port created, address allocated" in shown
    assert "ALLOCATED -> BINDING" in shown
    assert "node3" in await typed("port", "bind", "web-1", "node3", "--supersede")
    assert "HELD" in await typed("port", "unbind", "web-1")
    assert "HELD" in await typed("port", "list", "--network", "web", "--state", "held", "--project", "red")
    assert "renamed" in await typed("port", "set", "web-1", "--name", "renamed")
    await typed("port", "delete", "renamed")
    await typed("router", "remove", "red", "web-addresses")
    await typed("subnet", "delete", "web-addresses")
    await typed("network", "delete", "web")
    await typed("router", "delete", "red")
    for noun in ("network", "subnet", "router", "port"):
        assert json.loads(await typed(noun, "list", "--json")) == []


LOOKS = {
    ("status",): "revision",
    ("node", "list"): "node1",
    ("node", "show", "node1"): "leaf1",
    ("node", "desired", "node1"): "node1",
    ("node", "bootstrap", "node1"): "nic0",
    ("switch", "list"): "leaf1",
    ("switch", "show", "leaf1"): "65101",
    ("inventory", "show"): "leaf1:eth11",
    ("inventory", "apply", str(EXAMPLE)): "revision",
    ("fabric", "status"): "leaf1",
    ("fabric", "plan"): "",
}


async def test_what_can_be_looked_at(typed: Typed) -> None:
    for command, expected in LOOKS.items():
        assert expected in await typed(*command), command
        as_json = await typed(*command, "--json")
        assert expected in as_json, command
        json.loads(as_json)


async def test_the_status_says_who_leads_which_shard(server: ApiServer, typed: Typed) -> None:
    now = server.clock()
    led = Lease(holder="host/7/a", term=3, since=time.time() - 10_900.0, until=now + 5.0)
    standing = Standing(leases={"fabric": led, "nova": msgspec.structs.replace(led, until=0.0)})
    await server.store.transact(lambda tx: tx.put_record(Kind.LEASE, STANDING, standing))
    lines = [line.split() for line in (await typed("status")).splitlines()]
    assert ["fabric", "host/7/a", "3", "h", "ago", "3"] in lines
    assert ["nova", "nobody", "3"] in [[cell for cell in line if cell != "-"] for line in lines]


async def test_what_is_not_known_of_a_switch_is_said_and_fails(
    server: ApiServer, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf1, leaf2 = SwitchName("leaf1"), SwitchName("leaf2")
    config = SwitchConfig(name=leaf1, underlay=None)
    nothing = PlannedSwitch(plan=SwitchPlan(switch=leaf1), risk=risk(config, config, lambda _switch: 0))
    known = {leaf1: nothing, leaf2: UnreadSwitch(leaf2, "it does not answer")}
    monkeypatch.setattr(StillFabric, "plans", lambda _: known)
    assert await typed("fabric", "plan", "leaf1") == "switch leaf1: nothing to do\n"
    for command in (["leaf1", "leaf2"], [], ["--json"]):
        result = await asyncio.to_thread(CliRunner().invoke, weft, ["fabric", "plan", *command])
        assert isinstance(result.exception, Transient)
        assert result.exception.message == "could not be read: leaf2"
        assert "switch leaf2: could not be read: it does not answer" in result.output
    with pytest.raises(NotFound, match="'leaf9' is not a switch"):
        await typed("fabric", "plan", "leaf9")


async def test_a_new_token_is_printed_alone_and_works(typed: Typed, server: ApiServer) -> None:
    token = (await typed("node", "token", "node1")).strip()
    async with client_of(server, token) as agent:
        assert (await agent.desired("node1")).node == "node1"
        with pytest.raises(Forbidden, match="good for /v1/nodes/node1 only"):
            await agent.desired("node2")


async def test_the_clients_errors_are_the_servers(server: ApiServer) -> None:
    async with client_of(server) as client:
        with pytest.raises(NotFound, match="no-such-node"):
            await client.node("no-such-node")
        network, _ = await server.make_network()
        with pytest.raises(Invalid, match="is not a node of the inventory; known: node1"):
            await client.ports.create({"network_id": network, "binding:host_id": "nodeX"})
        port = await client.ports.create({"network_id": network})
        await client.bind(port["id"], "node1")
        with pytest.raises(Conflict, match=r"node2.*node1 \(epoch 1\)|node1.*epoch 1"):
            await client.bind(port["id"], "node2")
        with pytest.raises(Conflict):
            await client.bind(port["id"], "node1", supersede=True, expected_epoch=7)
    async with client_of(server, "wrong") as stranger:
        with pytest.raises(Forbidden, match="token"):
            await stranger.status()


async def test_an_agents_calls(server: ApiServer) -> None:
    network, _ = await server.make_network()
    async with client_of(server) as client:
        port = await client.ports.create({"network_id": network, "name": "web-1", "binding:host_id": "node1"})
        token = (await client.new_token("node1")).token
    async with client_of(server, token) as agent:
        (wanted,) = (await agent.desired("node1")).ports
        assert (wanted.port_id, wanted.epoch) == (port["id"], 1)
        up = RealizationReport(port_id=port["id"], epoch=1, state=RealizationState.UP)
        late = RealizationReport(port_id=port["id"], epoch=7, state=RealizationState.UP)
        answer = await agent.report("node1", RealizationReports(reports=(up, late)))
        assert [each.epoch for each in answer.ignored] == [7]
    async with client_of(server) as client:
        (said,) = [
            each for each in (await client.port_status(port["id"])).realizations if each.realizer == Realizer.HOST
        ]
        assert said.state == "up"
        assert [each.id for each in await client.port_statuses(node="node1")] == [port["id"]]
