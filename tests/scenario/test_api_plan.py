"""The pages of the address plan and of all that is said of addresses, on a real store."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


async def give(server: ApiServer, owner: str, cidr: str | None = None, **fields: object) -> dict[str, Any]:
    body = {"owner": owner, "cidr": cidr, **fields}
    made = await server.call("POST", "/v1/plan/prefixes", body, status=201)
    found: dict[str, Any] = made["prefix"]
    return found


async def drawn(server: ApiServer) -> list[str]:
    found = (await server.call("GET", "/v1/plan", status=200))["prefixes"]
    return [f"{'  ' * each['depth']}{each['cidr']} {each['owner']} {each['use_percent']:g}" for each in found]


async def test_the_plan_and_neutrons_subnets(server: ApiServer) -> None:
    whole = await give(server, "global", "10.0.0.0/8")
    site = await give(server, "site:private", under=whole["id"], prefixlen=9)
    assert (site["cidr"], site["depth"], site["parent"]) == ("10.0.0.0/9", 1, whole["id"])
    network, subnet = await server.make_network("10.1.0.0/24")
    await server.make("port", network_id=network)
    refused = await server.answer(
        "POST",
        "/v2.0/subnets",
        json={"subnet": {"network_id": network, "cidr": "192.168.0.0/24", "ip_version": 4}},
    )
    assert refused.status_code == 400
    assert refused.json()["NeutronError"]["type"] == "InvalidInput"
    assert "not in the prefixes delegated to site:private: 10.0.0.0/9" in refused.json()["NeutronError"]["message"]
    assert await drawn(server) == [
        "10.0.0.0/8 global 50",
        "  10.0.0.0/9 site:private 0",
        f"    10.1.0.0/24 subnet:{subnet} 0.4",
    ]
    shown = (await server.call("GET", f"/v1/plan/prefixes/{site['id']}", status=200))["prefix"]
    assert shown == site | {"used": 256.0}
    await server.call("POST", f"/v1/plan/prefixes/{site['id']}/resize", {"cidr": "10.0.0.0/15"}, status=200)
    await server.call("DELETE", f"/v1/plan/prefixes/{site['id']}", status=409)
    await server.call("GET", "/v1/plan/prefixes/none", status=404)


async def test_a_prefix_moves_and_is_freed(server: ApiServer) -> None:
    made = await give(server, "project:red", "10.0.0.0/16", name="red")
    moved = await server.call("POST", f"/v1/plan/prefixes/{made['id']}/move", {"domain": "lab"}, status=200)
    assert (moved["prefix"]["domain"], moved["prefix"]["owner"]) == ("lab", "project:red")
    await give(server, "project:blue", "10.0.0.0/16")
    assert (await server.call("GET", "/v1/plan?domain=lab"))["prefixes"][0]["name"] == "red"
    await server.call("DELETE", f"/v1/plan/prefixes/{made['id']}", status=204)
    assert await drawn(server) == ["10.0.0.0/16 project:blue 0"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"owner": "planet:mars", "cidr": "10.0.0.0/8"}, 400),
        ({"owner": "site:atlantis", "cidr": "10.0.0.0/8"}, 404),
        ({"owner": "global"}, 400),
        ({"owner": "global", "cidr": "10.0.0.1/8"}, 400),
        ({"owner": "global", "under": "none", "prefixlen": 16}, 404),
        ({"owner": "global", "cidr": "10.0.0.0/8", "colour": "red"}, 400),
    ],
)
async def test_what_cannot_be_delegated(server: ApiServer, body: dict[str, object], status: int) -> None:
    await server.call("POST", "/v1/plan/prefixes", body, status=status)


async def test_an_import_is_all_or_nothing_and_reports(server: ApiServer) -> None:
    await give(server, "site:private", "10.1.0.0/16")
    text = "prefix,owner\n10.0.0.0/8,global\n10.1.0.0/16,site:private\n10.1.1.0/24,site:aws\n10.2.0.0/16,project:red\n"
    order = {"text": text, "format": "csv"}
    report = await server.call("POST", "/v1/plan/import", {**order, "dry_run": True}, status=200)
    assert (report["imported"], report["present"]) == (2, 1)
    assert [each["where"] for each in report["problems"]] == ["line 4"]
    assert len(await drawn(server)) == 1
    await server.call("POST", "/v1/plan/import", order, status=409)
    assert len(await drawn(server)) == 1
    await server.call("POST", "/v1/plan/import", {**order, "skip_conflicts": True}, status=200)
    assert [line.split(" site")[0].split(" project")[0] for line in await drawn(server)] == [
        "10.0.0.0/8 global 0.78",
        "  10.1.0.0/16",
        "  10.2.0.0/16",
    ]
    again = await server.call("POST", "/v1/plan/import", {**order, "skip_conflicts": True}, status=200)
    assert (again["imported"], again["present"]) == (0, 3)


async def test_a_large_import_is_quick(server: ApiServer) -> None:
    lines = [f"10.{a}.{b}.0/24,project:p{a}" for a in range(20) for b in range(256)]
    started = time.process_time()
    order = {"text": "\n".join(["prefix,owner", *lines]), "format": "csv"}
    report = await server.call("POST", "/v1/plan/import", order, status=200)
    assert report["imported"] == 5120
    assert time.process_time() - started < 20.0


async def test_reservations_policies_and_holds(server: ApiServer) -> None:
    network, subnet = await server.make_network("10.1.0.0/29")
    order = {"start": "10.1.0.2", "end": "10.1.0.4", "reason": "printers"}
    await server.call("POST", f"/v1/ipam/subnets/{subnet}/reservations", order, status=201)
    await server.call("POST", f"/v1/ipam/subnets/{subnet}/reservations", order, status=409)
    (use,) = (await server.call("GET", "/v1/ipam/subnets", status=200))["subnets"]
    assert (use["size"], use["used"], use["reservations"][0]["reason"]) == (2, 0, "printers")
    await server.call("PUT", f"/v1/ipam/networks/{network}/policy", {"hold_s": None}, status=200)
    port = await server.make("port", network_id=network, name="db")
    await server.call("DELETE", f"/v2.0/ports/{port['id']}", status=204)
    (held,) = (await server.call("GET", "/v1/ipam/holds", status=200))["holds"]
    assert (held["port_name"], held["until"]) == ("db", None)
    assert held["addresses"] == [port["fixed_ips"][0]["ip_address"]]
    again = await server.make("port", network_id=network, name="db")
    assert (again["fixed_ips"], again["mac_address"]) == (port["fixed_ips"], port["mac_address"])
    await server.call("DELETE", f"/v2.0/ports/{again['id']}", status=204)
    (held,) = (await server.call("GET", f"/v1/ipam/holds?network_id={network}", status=200))["holds"]
    await server.call("POST", "/v1/ipam/holds/release", {"id": held["id"]}, status=204)
    await server.call("POST", "/v1/ipam/holds/release", {"id": held["id"]}, status=404)
    await server.call("DELETE", f"/v1/ipam/subnets/{subnet}/reservations/10.1.0.2", status=204)
    await server.call("PUT", f"/v1/ipam/networks/{network}/policy", {"hold_s": -5}, status=400)


async def test_a_node_and_its_blocks(server: ApiServer) -> None:
    _, subnet = await server.make_network("10.1.0.0/24")
    order = {"subnet_id": subnet, "cidr": "10.1.0.128/25", "largest": 26, "smallest": 28}
    pool = (await server.call("POST", "/v1/ipam/block-pools", order, status=201))["block_pool"]
    token = await server.token_of("node1")
    path = "/v1/nodes/node1/blocks"
    lease = (await server.call("POST", path, {"pool_id": pool["id"], "wanted": 10}, token=token, status=201))["lease"]
    assert (lease["cidr"], lease["ranges"], lease["subnet"]) == (
        "10.1.0.128/28",
        [["10.1.0.128", "10.1.0.143"]],
        "10.1.0.0/24",
    )
    held = {"id": lease["id"], "epoch": lease["epoch"], "used": 4}
    stale = {"id": lease["id"], "epoch": lease["epoch"] - 1}
    answer = await server.call("PUT", path, {"blocks": [held, stale]}, token=token, status=200)
    assert (len(answer["renewed"]), answer["lost"]) == (1, [lease["id"]])
    await server.call("PUT", "/v1/nodes/node2/blocks", {"blocks": [held]}, token=token, status=403)
    (shown,) = (await server.call("GET", path, token=token, status=200))["blocks"]
    assert (shown["used"], shown["state"]) == (4, "leased")
    (row,) = (await server.call("GET", "/v1/ipam/block-pools", status=200))["block_pools"]
    assert (row["blocks"], row["leased"]) == (1, 16)
    await server.call("POST", f"{path}/{lease['id']}/return", {"epoch": lease["epoch"]}, token=token, status=204)
    await server.call("DELETE", f"/v1/ipam/block-pools/{pool['id']}", status=409)
    assert len((await server.call("GET", "/v1/ipam/blocks", status=200))["blocks"]) == 1
    await server.call("POST", "/v1/nodes/atlantis/blocks", {"pool_id": pool["id"], "wanted": 1}, status=404)


async def test_the_check_of_what_is_in_order(server: ApiServer) -> None:
    network, _ = await server.make_network()
    for _ in range(3):
        await server.make("port", network_id=network)
    report = await server.call("POST", "/v1/ipam/check", {"fix": True}, status=200)
    assert report == {"ports": 3, "addresses": 3, "findings": []}
