"""A database that an older version has left is taken forward with all that is in it."""

from pathlib import Path

import pytest
from old_database import goes_forward


@pytest.mark.parametrize("schema", ["0001", "0002", "0003", "0004"])
async def test_what_was_there_is_there_afterwards(tmp_path: Path, schema: str) -> None:
    await goes_forward(tmp_path, f"sqlite:///{tmp_path}/weft.db", schema)
