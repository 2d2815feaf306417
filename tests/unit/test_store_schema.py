"""The schema that the migrations make is the schema that the statements are written for."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from weft.model.errors import Permanent
from weft.store import open_engine
from weft.store.migration import current, head, upgrade
from weft.store.schema import metadata


def test_migrations_make_the_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'weft.db'}"
    assert current(url) is None
    upgrade(url)
    assert current(url) == head()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        names = sa.inspect(connection).get_unique_constraints("leaf_vlans")
        assert [each["column_names"] for each in names] == [["domain", "vlan"]]
    engine.dispose()
    upgrade(url)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("fixed_ips", {"network_id", "address"}),
        ("ports", {"network_id", "mac"}),
        ("networks", {"vni"}),
        ("routers", {"l3vni"}),
        ("routers", {"vrf"}),
        ("leaf_vlans", {"domain", "vlan"}),
        ("node_tokens", {"sha256"}),
    ],
)
def test_what_has_one_owner_is_unique_in_the_database(table: str, columns: set[str]) -> None:
    found = metadata.tables[table]
    unique = [{column.name for column in found.primary_key}]
    unique += [
        {column.name for column in each.columns} for each in found.constraints if isinstance(each, sa.UniqueConstraint)
    ]
    unique += [{column.name} for column in found.columns if column.unique]
    assert columns in unique


def test_a_database_of_a_newer_weft_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'weft.db'}"
    upgrade(url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(Permanent, match="schema '9999', which this weft does not know"):
        upgrade(url)
    assert current(url) == "9999"


def test_a_new_file_is_in_its_mode_before_several_processes_open_it(tmp_path: Path) -> None:
    path = tmp_path / "weft.db"
    open_engine(f"sqlite:///{path}").release()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
