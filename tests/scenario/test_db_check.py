"""`weft db check` finds what a hand in the file has done, and nothing in what weft has written."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from api_server import api_server
from click.testing import CliRunner

from weft.cli.db import db
from weft.model.errors import Permanent


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(db, list(arguments))
    return result.exit_code, result.output + (str(result.exception) if result.exception else "")


@pytest.fixture
async def url(tmp_path: Path) -> str:
    async with api_server(tmp_path) as server:
        network, subnet = await server.make_network()
        router = await server.make("router")
        path = f"/v2.0/routers/{router['id']}/add_router_interface"
        await server.call("PUT", path, {"subnet_id": subnet}, status=200)
        await server.make("port", network_id=network, **{"binding:host_id": "node1"})
    return f"sqlite:///{tmp_path}/weft.db"


def test_what_weft_writes_is_sound(url: str) -> None:
    assert run("check", "--db", url) == (0, f"{url} is sound\n")


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM fixed_ips", "its port has it, the index has not"),
        ("UPDATE bindings SET node = 'node2'", "the index has it, no port has"),
        ("DELETE FROM subnets", "is not of its subnet"),
        ("DELETE FROM networks", "its network"),
        ("DELETE FROM routers", "router interface of subnet"),
        ("""UPDATE ports SET life = replace(life, '"BINDING"', '"HELD"')""", "state HELD with bindings"),
        ("DELETE FROM documents", "which is not in the inventory"),
        ("UPDATE cursors SET value = 7 WHERE name = 'inventory'", "not the one that its mark is of"),
    ],
)
def test_what_contradicts_itself_is_named(url: str, statement: str, found: str) -> None:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute(statement)
    code, said = run("check", "--db", url)
    assert code != 0
    assert found in said


def test_damage_that_lies_further_on_is_listed(url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ports'").fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\x5a" * 4096
    path.write_bytes(content)
    code, said = run("check", "--db", url)
    assert code != 0
    assert f"the file is damaged: Page {page}" in said


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    code, said = run("check", "--db", f"sqlite:///{path}")
    assert code != 0
    assert f"there is no database {path}" in said
    assert not path.exists()


@pytest.mark.parametrize("first_bad", [0, 8192], ids=["no database", "damaged"])
@pytest.mark.parametrize("command", ["check", "export", "upgrade"])
def test_a_file_that_cannot_be_read_is_said_to_be_so_in_a_line(url: str, command: str, first_bad: int) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    content = path.read_bytes()
    path.write_bytes(content[:first_bad] + b"\x5a" * (len(content) - first_bad))
    result = CliRunner().invoke(db, [command, "--db", url])
    assert isinstance(result.exception, Permanent), result.exception
    assert result.exception.message.startswith(f"cannot open the database {url}: ")
    assert "\n" not in result.exception.message


def test_upgrade_makes_one_that_check_accepts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    assert run("upgrade", "--db", url)[0] == 0
    assert run("check", "--db", url)[0] == 0


def test_a_database_goes_out_and_comes_back_the_same(url: str, tmp_path: Path) -> None:
    code, lines = run("export", "--db", url)
    assert code == 0
    (tmp_path / "export").write_text(lines)
    copy = f"sqlite:///{tmp_path}/copy.db"
    assert run("import", "--db", copy, f"{tmp_path}/export") == (0, f"{copy} has {lines.count(chr(10)) - 2} rows\n")
    assert run("export", "--db", copy) == (0, lines)
    assert run("check", "--db", copy) == (0, f"{copy} is sound\n")
    code, said = run("import", "--db", copy, f"{tmp_path}/export")
    assert (code, "is not empty: import into a new database" in said) == (1, True)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda lines: lines[:-1], "it was cut"),
        (lambda lines: lines[:-3] + lines[-1:], "rows, and has"),
        (lambda lines: lines[1:], "this is no export"),
        (lambda lines: [*lines[:2], '["ports"]', *lines[2:]], "line 3 of the export is no row"),
        (lambda lines: [*lines[:2], "{", *lines[2:]], "line 3 of the export is damaged"),
        (lambda lines: [lines[0].replace('"schema":"', '"schema":"x'), *lines[1:]], "export it anew"),
        (lambda lines: [], "this is no export"),
    ],
)
def test_a_damaged_export_changes_nothing(
    url: str, tmp_path: Path, damage: Callable[[list[str]], list[str]], says: str
) -> None:
    lines = run("export", "--db", url)[1].splitlines()
    (tmp_path / "export").write_text("\n".join(damage(lines)))
    copy = f"sqlite:///{tmp_path}/copy.db"
    code, said = run("import", "--db", copy, f"{tmp_path}/export")
    assert (code, says in said) == (1, True), said
    (tmp_path / "export").write_text("\n".join(lines))
    assert run("import", "--db", copy, f"{tmp_path}/export")[0] == 0
