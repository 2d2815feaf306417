"""Nodes: tokens, what an agent may see, the watch with its snapshot and changes, and reports."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import START, ApiServer, api_server
from api_stream import DEADLINE_S, Stream

from weft.api import watches
from weft.api.events import HEARTBEAT
from weft.model.ids import NodeName, Revision
from weft.store import Change, CompactedError


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


async def next_event(stream: Stream) -> tuple[str, dict[str, Any]]:
    name, _, data = (await stream.piece()).decode().removesuffix("\n\n").partition("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def bound_port(server: ApiServer, node: str = "node1", **attributes: object) -> dict[str, Any]:
    network, _ = await server.make_network()
    return await server.make("port", network_id=network, **{"binding:host_id": node}, **attributes)


async def test_nodes_are_shown_with_where_they_hang_and_how_their_agents_are(server: ApiServer) -> None:
    rows = {row["name"]: row for row in (await server.call("GET", "/v1/nodes", status=200))["nodes"]}
    assert list(rows) == ["node1", "node2", "node3", "bm1", "ctl1"]
    assert rows["node2"]["leaves"] == ["leaf2"]
    assert rows["node2"]["dataplane"] == "ovs"
    assert rows["node2"]["management_address"].startswith("172.31.")
    assert rows["node2"]["agent"] == {"state": "unknown", "last_seen": None}
    assert rows["bm1"]["agent"] is None


async def test_a_bootstrap_tells_an_installer_all_and_its_token_once(server: ApiServer) -> None:
    made = await server.call("POST", "/v1/nodes/node1/bootstrap", status=200)
    shown = await server.call("GET", "/v1/nodes/node1/bootstrap", status=200)
    assert made["token"]
    assert shown == made | {"token": None}
    assert shown["nics"] == ["nic0", "nic1"]
    assert (shown["dataplane"], shown["mtu_bytes"]) == ("ovs", 1500)
    assert shown["management"].endswith("/24")


NODE_PAGES = [("GET", "bootstrap"), ("GET", "desired"), ("GET", "watch"), ("POST", "realizations")]


@pytest.mark.parametrize(("method", "page"), NODE_PAGES)
async def test_a_nodes_token_is_good_for_its_own_node_only(server: ApiServer, method: str, page: str) -> None:
    token = await server.token_of("node1")
    body = {"reports": []} if method == "POST" else None
    for other in ("node2", "nosuch"):
        found = await server.answer(method, f"/v1/nodes/{other}/{page}", token=token, json=body)
        assert found.status_code == 403, found.text
    if page != "watch":
        await server.call(method, f"/v1/nodes/node1/{page}", body, token=token, status=200)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2.0/ports"),
        ("POST", "/v2.0/networks"),
        ("GET", "/v1/nodes"),
        ("GET", "/v1/nodes/node1"),
        ("POST", "/v1/nodes/node1/bootstrap"),
        ("GET", "/v1/inventory"),
        ("GET", "/v1/ports"),
        ("GET", "/v1/watch"),
        ("GET", "/metrics"),
    ],
)
async def test_a_nodes_token_is_good_for_nothing_else(server: ApiServer, method: str, path: str) -> None:
    token = await server.token_of("node1")
    assert (await server.answer(method, path, token=token)).status_code == 403


async def test_a_new_token_voids_the_old_one(server: ApiServer) -> None:
    old = await server.token_of("node1")
    new = await server.token_of("node1")
    await server.call("GET", "/v1/nodes/node1/desired", token=old, status=401)
    await server.call("GET", "/v1/nodes/node1/desired", token=new, status=200)


async def test_a_watch_begins_with_a_snapshot_and_goes_on_with_changes(server: ApiServer) -> None:
    port = await bound_port(server)
    token = await server.token_of("node1")
    async with server.stream("/v1/nodes/node1/watch", token=token) as stream:
        name, snapshot = await next_event(stream)
        assert name == "snapshot"
        assert [each["port_id"] for each in snapshot["ports"]] == [port["id"]]
        await server.call("PUT", f"/v2.0/ports/{port['id']}", {"port": {"name": "renamed"}}, status=200)
        name, change = await next_event(stream)
        assert name == "change"
        assert [(each["port_id"], each["name"]) for each in change["ports"]] == [(port["id"], "renamed")]
        assert change["revision"] > snapshot["revision"]
        await server.call("DELETE", f"/v2.0/ports/{port['id']}", status=204)
        name, change = await next_event(stream)
        assert (name, change["ports"], change["gone"]) == ("change", [], [port["id"]])


async def test_a_watch_is_told_nothing_of_other_nodes(server: ApiServer) -> None:
    network, _ = await server.make_network()
    async with server.stream("/v1/nodes/node1/watch") as stream:
        assert (await next_event(stream))[0] == "snapshot"
        await server.make("port", network_id=network, **{"binding:host_id": "node2"})
        mine = await server.make("port", network_id=network, **{"binding:host_id": "node1"})
        _, change = await next_event(stream)
        assert [each["port_id"] for each in change["ports"]] == [mine["id"]]


async def test_a_watcher_that_comes_again_gets_a_snapshot_of_what_it_missed(server: ApiServer) -> None:
    port = await bound_port(server)
    async with server.stream("/v1/nodes/node1/watch") as stream:
        _, first = await next_event(stream)
    await server.call("DELETE", f"/v2.0/ports/{port['id']}", status=204)
    async with server.stream("/v1/nodes/node1/watch") as stream:
        name, second = await next_event(stream)
    assert (name, second["ports"]) == ("snapshot", [])
    assert second["revision"] > first["revision"]


async def test_a_gateway_that_changes_is_told_to_the_nodes_that_use_it(server: ApiServer) -> None:
    port = await bound_port(server)
    subnet = port["fixed_ips"][0]["subnet_id"]
    async with server.stream("/v1/nodes/node1/watch") as stream:
        await next_event(stream)
        await server.call("PUT", f"/v2.0/subnets/{subnet}", {"subnet": {"gateway_ip": None}}, status=200)
        _, change = await next_event(stream)
        assert change["ports"][0]["addresses"][0]["gateway"] is None


async def test_a_watcher_that_falls_behind_is_cut(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MAX_PENDING", 2)
    network, _ = await server.make_network()
    async with server.stream("/v1/nodes/node1/watch") as stream:
        await next_event(stream)
        stream.reads.clear()
        for _ in range(10):
            await server.make("port", network_id=network, **{"binding:host_id": "node1"})
        await stream.ended()
    async with server.stream("/v1/nodes/node1/watch") as stream:
        name, snapshot = await next_event(stream)
        assert (name, len(snapshot["ports"])) == ("snapshot", 10)


async def test_a_new_token_ends_the_watches_of_the_old_one(server: ApiServer) -> None:
    async with server.stream("/v1/nodes/node1/watch", token=await server.token_of("node1")) as stream:
        await next_event(stream)
        await server.token_of("node1")
        assert await stream.piece() == b""


async def test_a_node_that_leaves_the_inventory_is_cut(server: ApiServer) -> None:
    wire = await server.call("GET", "/v1/inventory", status=200)
    wire["nodes"] = [node for node in wire["nodes"] if node["name"] != "node3"]
    wire["links"] = [link for link in wire["links"] if not link["b"].startswith("node3:")]
    async with server.stream("/v1/nodes/node3/watch") as leaving, server.stream("/v1/nodes/node1/watch") as staying:
        await next_event(leaving)
        await next_event(staying)
        await server.call("PUT", "/v1/inventory", wire, status=200)
        assert await leaving.piece() == b""
        await bound_port(server, "node1")
        assert (await next_event(staying))[0] == "change"
    assert (await server.answer("GET", "/v1/nodes/node3/watch")).status_code == 404


async def test_watchers_that_a_compacted_log_cannot_serve_are_cut(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compacted(after: Revision, kinds: object) -> AsyncIterator[tuple[Change, ...]]:
        del kinds
        monkeypatch.undo()
        raise CompactedError(after, server.store.revision)

    node = NodeName("node1")
    served, old, new = watches.NodeWatches(server.store), watches.NodeWatch(node), watches.NodeWatch(node)
    monkeypatch.setattr(server.store, "watch", compacted)
    serving = asyncio.create_task(served.run())
    async with asyncio.timeout(DEADLINE_S):
        with served.registered(old):
            await old.cut.wait()
        with served.registered(new):
            port = await bound_port(server)
            assert (await new.news()).ports == {port["id"]}
    serving.cancel()


async def test_the_servers_stop_ends_watches(server: ApiServer) -> None:
    async with server.stream("/v1/nodes/node1/watch") as stream:
        await next_event(stream)
        server.api.stop_streams()
        assert await stream.piece() == b""
        await stream.ended()


async def test_a_quiet_watch_is_kept_alive_by_comments(tmp_path: Path) -> None:
    async with api_server(tmp_path, heartbeat_s=0) as server, server.stream("/v1/nodes/node1/watch") as stream:
        await next_event(stream)
        assert await stream.piece() == HEARTBEAT


async def test_an_agent_is_alive_as_long_as_it_watches(server: ApiServer) -> None:
    async def agent() -> dict[str, Any]:
        found: dict[str, Any] = (await server.call("GET", "/v1/nodes/node1", status=200))["node"]["agent"]
        return found

    async with server.stream("/v1/nodes/node1/watch") as stream:
        await next_event(stream)
        server.clock.now = START + 7
        assert await agent() == {"state": "alive", "last_seen": START + 7}
    server.clock.now = START + 100
    assert await agent() == {"state": "dead", "last_seen": START + 7}


async def test_when_an_agent_was_heard_outlives_the_server(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server, server.stream("/v1/nodes/node1/watch") as stream:
        await next_event(stream)
    async with api_server(tmp_path) as server:
        found = (await server.call("GET", "/v1/nodes/node1", status=200))["node"]["agent"]
    assert found == {"state": "dead", "last_seen": START}


async def test_a_report_makes_its_part_real(server: ApiServer) -> None:
    port = await bound_port(server)
    token = await server.token_of("node1")
    report = {
        "port_id": port["id"],
        "epoch": 1,
        "state": "up",
        "steps": [{"step": "device_plugged", "at": START + 1}, {"step": "flows_in_place", "at": START + 2}],
    }
    answer = await server.call("POST", "/v1/nodes/node1/realizations", {"reports": [report]}, token=token, status=200)
    assert answer["ignored"] == []
    assert answer["revision"] == server.store.revision
    found = (await server.call("GET", f"/v1/ports/{port['id']}", status=200))["port"]
    states = {each["realizer"]: each["state"] for each in found["realizations"]}
    assert states == {"host": "up", "fabric": "pending"}
    history = (await server.call("GET", f"/v1/ports/{port['id']}/history", status=200))["history"]
    told = [(each["step"], each["at"], each["actor"]) for each in history if each["actor"] == "agent/node1"]
    assert told == [("device_plugged", START + 1, "agent/node1"), ("flows_in_place", START + 2, "agent/node1")]


async def test_a_report_of_an_old_epoch_is_ignored_and_named(server: ApiServer) -> None:
    port = await bound_port(server)
    await server.call("POST", f"/v1/ports/{port['id']}/bind", {"node": "node1", "supersede": True}, status=200)
    report = {"port_id": port["id"], "epoch": 1, "state": "up"}
    answer = await server.call("POST", "/v1/nodes/node1/realizations", {"reports": [report]}, status=200)
    assert [(each["port_id"], each["epoch"], each["current_epoch"]) for each in answer["ignored"]] == [
        (port["id"], 1, 2)
    ]
    found = (await server.call("GET", f"/v1/ports/{port['id']}", status=200))["port"]
    assert found["state"] == "BINDING"


async def test_a_node_cannot_report_anothers_port(server: ApiServer) -> None:
    port = await bound_port(server, "node2")
    token = await server.token_of("node1")
    report = {"port_id": port["id"], "epoch": 1, "state": "up"}
    before = (await server.call("GET", f"/v1/ports/{port['id']}", status=200))["port"]
    await server.answer("POST", "/v1/nodes/node1/realizations", json={"reports": [report]}, token=token)
    after = (await server.call("GET", f"/v1/ports/{port['id']}", status=200))["port"]
    assert after == before
