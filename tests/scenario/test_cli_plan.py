"""`weft plan` and `weft ipam` against the real API on a real store."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_server import ApiServer, api_server
from click.testing import CliRunner
from structlog.testing import capture_logs
from test_cli_server import Typed, typed

from weft.cli.main import weft
from weft.model.errors import Conflict, Invalid, NotFound

__all__ = ["typed"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    with capture_logs():  # the server's are not the command's output
        async with api_server(tmp_path) as running:
            yield running


async def test_a_plan_is_made_shown_and_changed(typed: Typed) -> None:
    await typed("plan", "delegate", "10.0.0.0/8", "global", "--name", "all")
    await typed("plan", "delegate", "10.1.0.0/16", "site:private")
    cut = await typed("plan", "delegate", "--under", "10.1.0.0/16", "--length", "20", "project:red")
    assert "10.1.0.0/20" in cut
    await typed("network", "create", "web", "--project", "red")
    await typed("subnet", "create", "web", "10.1.1.0/24")
    shown = (await typed("plan", "show")).splitlines()
    assert [line.split()[0] for line in shown[2:]] == ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/20", "10.1.1.0/24"]
    assert shown[4].startswith("    10.1.0.0/20")
    assert "6.25 %" in shown[4]
    await typed("plan", "resize", "10.1.0.0/16", "10.1.0.0/17")
    with pytest.raises(Conflict, match="free what lies in it first"):
        await typed("plan", "free", "10.0.0.0/8")
    await typed("plan", "delegate", "192.168.0.0/16", "project:blue", "--domain", "lab")
    await typed("plan", "move", "192.168.0.0/16", "--to", "project:red", "--domain", "lab")
    await typed("plan", "free", "192.168.0.0/16", "--domain", "lab")
    assert "192.168" not in await typed("plan", "show")
    with pytest.raises(NotFound, match="not in the plan"):
        await typed("plan", "free", "192.168.0.0/16")


async def test_owners_are_named_as_people_name_them(typed: Typed) -> None:
    assert "nothing is delegated" in await typed("plan", "show")
    await typed("plan", "delegate", "10.0.0.0/8", "global")
    await typed("network", "create", "web")
    await typed("router", "create", "red")
    made = await typed("plan", "delegate", "10.1.0.0/16", "network:web")
    network = json.loads(await typed("network", "show", "web", "--json"))["id"]
    assert f"network:{network}" in made
    assert "65536\n" in made, "whole addresses"
    router = json.loads(await typed("router", "show", "red", "--json"))["id"]
    assert f"router:{router}" in await typed("plan", "move", "10.1.0.0/16", "--to", "router:red")
    with pytest.raises(NotFound, match="no network has the name or id 'nosuch'"):
        await typed("plan", "delegate", "10.2.0.0/16", "network:nosuch")
    result = await asyncio.to_thread(CliRunner().invoke, weft, ["plan", "move", "10.1.0.0/16"])
    assert (result.exit_code, "say where it goes" in result.output) == (2, True)


async def test_a_plan_is_imported(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("prefix,owner\n10.0.0.0/8,global\n10.1.0.0/16,site:private\n")
    assert "2 prefixes would be imported" in await typed("plan", "import", str(file), "--dry-run")
    assert "2 prefixes imported, 0 there already, 0 conflicts" in await typed("plan", "import", str(file))
    other = tmp_path / "netbox.json"
    other.write_text(json.dumps([{"prefix": "10.0.0.0/12", "tenant": {"slug": "red"}}, {"prefix": "11.0.0.0/8"}]))
    with pytest.raises(Conflict, match="nothing was imported"):
        await typed("plan", "import", str(other))
    assert len(json.loads(await typed("plan", "show", "--json"))) == 2
    said = await asyncio.to_thread(CliRunner().invoke, weft, ["plan", "import", str(other)])
    assert "1 prefixes would be imported, 0 there already, 1 conflicts" in said.output
    assert "1 prefixes imported" in await typed("plan", "import", str(other), "--skip-conflicts")
    with pytest.raises(Invalid, match="cannot read"):
        await typed("plan", "import", str(tmp_path / "none.csv"))


async def test_addresses_are_reserved_held_leased_and_checked(typed: Typed) -> None:
    await typed("network", "create", "web", "--project", "red")
    await typed("subnet", "create", "web", "10.1.1.0/24", "--name", "addresses")
    await typed("ipam", "reserve", "addresses", "10.1.1.10-10.1.1.19", "--reason", "printers")
    await typed("ipam", "reserve", "addresses", "10.1.1.5", "--port", "db")
    await typed("ipam", "policy", "web", "24h")
    port = json.loads(await typed("port", "create", "web", "--name", "db", "--json"))["port"]
    assert port["fixed_ips"][0]["address"] == "10.1.1.5", "the project is the subnet's if none is named"
    await typed("port", "delete", "db")
    held = await typed("ipam", "holds")
    assert "10.1.1.5" in held
    await typed("ipam", "release", held.split()[-1])
    await typed("ipam", "add-pool", "addresses", "10.1.1.128/25", "--largest", "26", "--smallest", "28")
    assert "10.1.1.128/25" in await typed("ipam", "blocks")
    assert "10.1.1.0/24" in await typed("ipam", "forecast")
    assert "0 findings" in await typed("ipam", "check", "--fix")
    await typed("ipam", "unreserve", "addresses", "10.1.1.10")
    pool = json.loads(await typed("ipam", "blocks", "--json"))["block_pools"][0]
    await typed("ipam", "remove-pool", pool["id"])
    await typed("ipam", "policy", "web", "never")
    with pytest.raises(Invalid, match="'soon' is no time"):
        await typed("ipam", "policy", "web", "soon")
