"""What is written meets a disk that is full: it is said, nothing is lost, and all goes on once there is room."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from bench.process import serving
from core_world import small_dc
from ovs_host import SCHEMA, sh, until

from weft.agent.ovs.database import Database
from weft.agent.ovs.tables import Operation
from weft.lab.programs import WEFT
from weft.model.errors import Transient
from weft.protocol.inventory import encode

FILLER_BYTES = 64 << 10
PORTS = 5_000
"""More than fit."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes; `filler` on it is what an operator finds to delete."""
    folder = tmp_path / "disk"
    folder.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    (folder / "filler").write_bytes(b"x" * FILLER_BYTES)
    yield folder
    sh("umount", str(folder))


def test_open_vswitchs_database_has_no_room(disk: Path, tmp_path: Path) -> None:
    file, socket = disk / "conf.db", tmp_path / "db.sock"
    sh("ovsdb-tool", "create", str(file), SCHEMA)
    command = ["ovsdb-server", str(file), f"--remote=punix:{socket}", f"--unixctl={tmp_path}/ctl", "--no-chdir"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until("ovsdb-server listens", socket.exists)
        asyncio.run(_fill_and_make_room(socket, disk / "filler"))
    finally:
        server.terminate()
        server.wait(10)


async def _fill_and_make_room(socket: Path, filler: Path) -> None:
    rows = Database(str(socket), lambda: None)
    await rows.connect()
    await rows.transact([{"op": "insert", "table": "Open_vSwitch", "row": {}}])
    with pytest.raises(Transient, match="write failed"):
        await _write_much(rows)
    await asyncio.to_thread(filler.unlink)
    await rows.transact([_note("room")])
    await rows.connect()
    assert rows.tables is not None
    [row] = rows.tables["Open_vSwitch"].values()
    assert row is not None
    rows.close()


async def _write_much(rows: Database) -> None:
    for number in range(PORTS):
        await rows.transact([_note(f"{number}{'x' * 3_000}")])


def _note(value: str) -> Operation:
    ids = ["map", [["weft-test", value]]]
    return {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"external_ids": ids}}


def test_the_servers_database_has_no_room(disk: Path) -> None:
    database = f"sqlite:///{disk / 'weft.db'}"
    with (
        serving(WEFT, "server", "--no-controllers", "--db", database) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client,
    ):
        assert client.put("/v1/inventory", content=msgspec.json.encode(encode(small_dc()))).status_code == 200
        network = _made(client, "network", {"name": "pods"})
        _made(client, "subnet", {"network_id": network, "cidr": "10.0.0.0/16", "ip_version": 4})
        kept = []
        for number in range(PORTS):
            answer = _asked(client, "port", {"network_id": network, "name": f"p{number}"})
            if answer.status_code != 201:
                break
            kept.append(answer.json()["port"]["id"])
        assert answer.status_code == 503, answer.text
        assert "full" in answer.text, answer.text
        assert "retry-after" in answer.headers
        (disk / "filler").unlink()
        until("there is room again", lambda: _asked(client, "port", {"network_id": network}).status_code == 201)
        there = client.get("/v2.0/ports", params={"fields": "id"}).json()["ports"]
        assert set(kept) <= {each["id"] for each in there}


def _asked(client: httpx.Client, kind: str, body: dict[str, Any]) -> httpx.Response:
    return client.post(f"/v2.0/{kind}s", json={kind: body})


def _made(client: httpx.Client, kind: str, body: dict[str, Any]) -> str:
    answer = _asked(client, kind, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()[kind]["id"])
