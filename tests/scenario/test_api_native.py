"""weft's own pages: ports with state and history, the change log's watch, inventory, fabric, status, metrics."""

import json
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import EXAMPLE, START, ApiServer, StillFabric, api_server
from api_stream import Stream
from core_world import world

from weft.api.events import HEARTBEAT
from weft.api.native.watch import _news
from weft.controller.election import Candidate, Lease, Standing
from weft.controller.leadership import STANDING
from weft.fabric.config import SwitchConfig, Vrf
from weft.fabric.gate import Held, Hold
from weft.fabric.plan import AddVrf, SwitchPlan
from weft.fabric.planned import PlannedSwitch, UnreadSwitch
from weft.fabric.risk import risk
from weft.model.ids import PortId, SwitchName
from weft.model.intent import HistoryEntry
from weft.store import CompactedError, Kind, sweeping
from weft.store.transaction import HISTORY_KEPT


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


async def next_change(stream: Stream) -> dict[str, Any]:
    name, _, data = (await stream.piece()).decode().removesuffix("\n\n").partition("\n")
    assert name == "event: change"
    found: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return found


async def test_a_port_is_bound_and_unbound_by_epochs(server: ApiServer) -> None:
    network, _ = await server.make_network()
    path = f"/v1/ports/{(await server.make('port', network_id=network, name='p'))['id']}"
    made = (await server.call("GET", path, status=200))["port"]
    assert (made["state"], made["epoch"], made["bindings"], made["since"]) == ("ALLOCATED", 0, [], START)
    bound = (await server.call("POST", f"{path}/bind", {"node": "node1"}, status=200))["port"]
    assert (bound["state"], bound["epoch"]) == ("BINDING", 1)
    assert bound["bindings"] == [
        {"node": "node1", "epoch": 1, "owed": ["fabric", "host"], "draining": False, "vnic_type": "normal"}
    ]
    body = {"node": "node2", "supersede": True, "expected_epoch": 7}
    refused = await server.answer("POST", f"{path}/bind", json=body)
    assert refused.status_code == 409
    moved = (await server.call("POST", f"{path}/bind", body | {"expected_epoch": 1}, status=200))["port"]
    assert [(each["node"], each["epoch"]) for each in moved["bindings"]] == [("node2", 2)]
    freed = (await server.call("POST", f"{path}/unbind", {}, status=200))["port"]
    assert (freed["state"], freed["bindings"]) == ("HELD", [])


async def test_a_ports_history_tells_each_step(server: ApiServer) -> None:
    network, _ = await server.make_network()
    port = await server.make("port", network_id=network, **{"binding:host_id": "node1"})
    history = (await server.call("GET", f"/v1/ports/{port['id']}/history", status=200))["history"]
    steps = [each["step"] for each in history]
    assert [step for step in steps if step != "state"] == ["created", "bound", "saved"]
    states = [(each["before"], each["after"]) for each in history if each["step"] == "state"]
    assert states[-1][1] == "BINDING"
    assert {each["at"] for each in history} == {START}


async def test_ports_are_listed_by_node_state_and_network(server: ApiServer) -> None:
    network, _ = await server.make_network()
    await server.make("port", network_id=network, name="a")
    await server.make("port", network_id=network, name="b", tenant_id="t", **{"binding:host_id": "node1"})
    for query, wanted in [
        ("", "ab"),
        ("node=node1", "b"),
        ("state=ALLOCATED", "a"),
        (f"network_id={network}", "ab"),
        ("project_id=t", "b"),
        ("name=a", "a"),
        ("node=nosuch", ""),
    ]:
        found = (await server.call("GET", f"/v1/ports?{query}", status=200))["ports"]
        assert "".join(each["name"] for each in found) == wanted, query


async def test_the_watch_tells_of_changes_with_present_rows_and_new_history(server: ApiServer) -> None:
    network, _ = await server.make_network()
    async with server.stream("/v1/watch", query="kinds=port") as stream:
        await server.make("network", name="not asked for")
        port = await server.make("port", network_id=network, name="p")
        told = await next_change(stream)
        assert (told["kind"], told["id"], told["op"]) == ("port", port["id"], "put")
        assert (told["object"]["state"], told["revision"]) == ("ALLOCATED", server.store.revision)
        assert "created" in [each["step"] for each in told["history"]]
        await server.call("POST", f"/v1/ports/{port['id']}/bind", {"node": "node1"}, status=200)
        told = await next_change(stream)
        assert told["object"]["state"] == "BINDING"
        assert "created" not in [each["step"] for each in told["history"]]
        await server.call("DELETE", f"/v2.0/ports/{port['id']}", status=204)
        told = await next_change(stream)
        assert (told["op"], told["object"]) == ("delete", None)


async def test_the_watch_goes_on_from_a_revision(server: ApiServer) -> None:
    before = server.store.revision
    network, subnet = await server.make_network(name="n")
    router = (await server.make("router"))["id"]
    interface = await server.call(
        "PUT", f"/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet}, status=200
    )
    wanted = {("network", network), ("subnet", subnet), ("router", router), ("router_interface", subnet)}
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    async with server.stream("/v1/watch", query=f"after={before}") as stream:
        while not wanted <= seen.keys():
            told = await next_change(stream)
            seen[told["kind"], told["id"]] = told["object"]
    assert seen["network", network] == (await server.call("GET", f"/v2.0/networks/{network}"))["network"]
    assert seen["subnet", subnet] == (await server.call("GET", f"/v2.0/subnets/{subnet}"))["subnet"]
    assert seen["router", router] == (await server.call("GET", f"/v2.0/routers/{router}"))["router"]
    assert seen["router_interface", subnet]["port_id"] == interface["port_id"]


async def test_a_watch_from_a_revision_that_the_log_has_forgotten_says_so(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "LOG_KEPT", 1)
    monkeypatch.setattr(sweeping, "SWEEP_EVERY", 1)
    for _ in range(5):
        await server.make("network")
    async with server.stream("/v1/watch", query="after=1") as stream:
        piece = await stream.piece()
        assert piece.startswith(b"event: error\n")
        assert CompactedError.default_kind.encode() in piece
        assert await stream.piece() == b""


async def test_a_quiet_watch_is_kept_alive_by_comments(tmp_path: Path) -> None:
    async with api_server(tmp_path, heartbeat_s=0) as server, server.stream("/v1/watch") as stream:
        assert await stream.piece() == HEARTBEAT


async def test_the_servers_stop_ends_the_watch(server: ApiServer) -> None:
    async with server.stream("/v1/watch") as stream:
        server.api.stop_streams()
        assert await stream.piece() == b""
        await stream.ended()


async def test_the_inventory_comes_back_as_it_was_written(server: ApiServer) -> None:
    wire = tomllib.loads(EXAMPLE.read_text())
    del wire["lab"]
    found = await server.call("GET", "/v1/inventory", status=200)
    assert [each["name"] for each in found["switches"]] == [each["name"] for each in wire["switches"]]
    assert {(each["a"], each["b"]) for each in found["links"]} == {(each["a"], each["b"]) for each in wire["links"]}
    again = await server.call("PUT", "/v1/inventory", found, status=200)
    assert again["revision"] == server.store.revision
    assert await server.call("GET", "/v1/inventory", status=200) == found


async def test_an_inventory_with_problems_is_refused_with_all_of_them(server: ApiServer) -> None:
    wire = await server.call("GET", "/v1/inventory", status=200)
    wire["links"].append({"a": "leaf1:eth99", "b": "leaf1:eth98"})
    wire["links"].append({"a": "leaf1:eth97", "b": "nosuch:eth0"})
    found = await server.answer("PUT", "/v1/inventory", json=wire)
    assert found.status_code == 400
    assert "leaf1" in found.json()["error"]["message"]
    assert "nosuch" in found.json()["error"]["message"]
    assert len((await server.call("GET", "/v1/links", status=200))["links"]) == len(wire["links"]) - 2


async def test_switches_are_shown_with_the_numbers_they_were_given(server: ApiServer) -> None:
    rows = {row["name"]: row for row in (await server.call("GET", "/v1/switches", status=200))["switches"]}
    assert (rows["spine1"]["asn"], rows["spine2"]["asn"]) == (65000, 65000)
    assert len({row["loopback"] for row in rows.values()}) == len(rows)
    assert rows["leaf1"]["status"] is None
    assert (await server.call("GET", "/v1/switches/leaf1", status=200))["switch"] == rows["leaf1"]
    assert (await server.call("GET", "/v1/sites/private", status=200))["site"]["name"] == "private"
    assert [row["name"] for row in (await server.call("GET", "/v1/sites", status=200))["sites"]] == ["private"]


async def test_the_fabric_is_shown_switch_by_switch(server: ApiServer) -> None:
    found = (await server.call("GET", "/v1/fabric/status", status=200))["switches"]
    assert [each["switch"] for each in found] == ["spine1", "spine2", "leaf1", "leaf2", "leaf3"]
    assert {each["state"] for each in found} == {"pending"}


async def test_a_plan_is_shown_as_steps_and_as_text(tmp_path: Path) -> None:
    leaf1, leaf2 = SwitchName("leaf1"), SwitchName("leaf2")
    plan = SwitchPlan(switch=leaf1, steps=(AddVrf(Vrf(name="v50000", l3vni=50000)),), reasons=("router red",))
    config = SwitchConfig(name=leaf1, underlay=None)
    planned = PlannedSwitch(
        plan=plan, held=(Held(Hold.LIMIT, "it is full"),), risk=risk(config, config, lambda _switch: 0)
    )
    fabric = StillFabric({leaf2: UnreadSwitch(leaf2, "it does not answer"), leaf1: planned})
    async with api_server(tmp_path, fabric=fabric) as server:
        found = (await server.call("GET", "/v1/fabric/plan", status=200))["switches"]
    assert [each["switch"] for each in found] == ["leaf1", "leaf2"]
    assert [(each["op"], each["noun"]) for each in found[0]["steps"]] == [("add", "vrf")]
    assert "+ vrf v50000 l3vni 50000  (router red)" in found[0]["text"]
    assert found[0]["text"].endswith("  held: it is full")
    assert found[0]["held"] == [{"hold": "limit", "reason": "it is full"}]
    assert found[0]["risk"] == {"level": "none", "ports": 0, "text": ""}
    assert found[0]["trouble"] == ""
    assert found[1] == {
        "switch": "leaf2",
        "steps": [],
        "held": [],
        "risk": None,
        "trouble": "it does not answer",
        "text": "switch leaf2: could not be read: it does not answer",
    }


async def test_the_server_counts_what_there_is(server: ApiServer) -> None:
    network, _ = await server.make_network()
    await server.make("port", network_id=network)
    await server.make("port", network_id=network, **{"binding:host_id": "node1"})
    async with server.stream("/v1/nodes/node1/watch") as stream:
        await stream.piece()
        found = await server.call("GET", "/v1/status", status=200)
        text = (await server.answer("GET", "/metrics")).text
    assert found["revision"] == server.store.revision
    assert {state: count for state, count in found["ports"].items() if count} == {"ALLOCATED": 1, "BINDING": 1}
    assert found["agents"] == {"alive": 1, "unknown": 2}
    assert found["switches"] == {"private": {"pending": 5}}
    lines = text.splitlines()
    assert 'weft_ports{site="private",state="ALLOCATED"} 1.0' in lines
    assert 'weft_ports{site="private",state="ERROR"} 0.0' in lines
    assert f"weft_revision {float(server.store.revision)}" in lines
    assert "weft_agents_connected 1.0" in lines
    assert found["shards"] == found["candidates"] == []
    assert 'weft_request_seconds_count{method="POST",path="/v2.0/ports",status="201"} 2.0' in lines


async def test_who_leads_which_shard_is_shown(server: ApiServer) -> None:
    now = server.clock()
    led = Lease(holder="host/7/a", term=3, since=now - 60.0, until=now + 5.0)
    over = Lease(holder="host/8/b", term=2, since=now - 60.0, until=now)
    able = Candidate(since=now - 60.0, until=now + 5.0, shards=("fabric", "nova", "addresses"), failed=("nova",))
    gone = Candidate(since=now - 60.0, until=now, shards=("fabric", "nova"))
    standing = Standing(leases={"fabric": led, "nova": over}, candidates={"host/7/a": able, "host/8/b": gone})
    await server.store.transact(lambda tx: tx.put_record(Kind.LEASE, STANDING, standing))
    found = await server.call("GET", "/v1/status", status=200)
    assert found["shards"] == [
        {"shard": "addresses", "leader": None, "since": None, "term": 0},
        {"shard": "fabric", "leader": "host/7/a", "since": now - 60.0, "term": 3},
        {"shard": "nova", "leader": None, "since": None, "term": 2},
    ]
    assert found["candidates"] == [
        {"candidate": "host/7/a", "since": now - 60.0, "shards": ["fabric", "nova", "addresses"], "failed": ["nova"]}
    ]
    lines = (await server.answer("GET", "/metrics")).text.splitlines()
    assert 'weft_shard_led{shard="fabric"} 1.0' in lines
    assert 'weft_shard_led{shard="nova"} 0.0' in lines
    assert 'weft_shard_term{shard="fabric"} 3.0' in lines


async def test_the_steps_of_a_port_that_flaps_are_told_once_each_though_its_oldest_are_cut(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        port_id = (await w.port(network.id)).port.id
        followed: dict[PortId, HistoryEntry] = {}
        told: list[str] = []

        async def look() -> None:
            told.extend(each.detail for each in await w.store.read(lambda s: _news(s, port_id, followed)))

        await look()
        told.clear()
        numbers = list(range(2 * HISTORY_KEPT))
        for start in range(0, len(numbers), 50):
            for number in numbers[start : start + 50]:
                entry = HistoryEntry(port_id=port_id, at=float(number), actor="test", step="flap", detail=str(number))
                await w.store.transact(lambda tx, entry=entry: tx.add_history(entry))  # type: ignore[misc]
            await look()
        assert told == list(map(str, numbers))
        assert len(await w.store.read(lambda s: s.history(port_id))) < len(numbers), "the oldest were cut"
