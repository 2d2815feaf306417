"""How SQLite finds the rows of statements that every port needs: by an index, however many rows there are."""

import sqlite3
from pathlib import Path

import pytest
from empty_store import put_empty_store

from weft.store.schema import metadata
from weft.store.sqlite import delete_row_sql


@pytest.fixture
async def database(tmp_path: Path) -> sqlite3.Connection:
    await put_empty_store(tmp_path / "weft.db")
    return sqlite3.connect(tmp_path / "weft.db")


async def test_a_row_is_deleted_by_its_key(database: sqlite3.Connection) -> None:
    for table in metadata.sorted_tables:
        names = tuple(column.name for column in table.primary_key)
        plan = database.execute(f"EXPLAIN QUERY PLAN {delete_row_sql(table, names)}", ["x"] * len(names)).fetchall()
        [(*_, how)] = plan
        assert how.startswith(f"SEARCH {table.name} USING"), how
        assert all(f"{name}=?" in how or how.endswith("(rowid=?)") for name in names), how
