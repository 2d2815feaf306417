"""A PostgreSQL server for the tests on it, started and stopped by them, and a database for each test."""

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from bench.postgres import PostgresServer, postgres

sys.path.append(str(Path(__file__).parents[1] / "scenario"))  # core_world, which both folders build on

_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server that lives as long as the tests."""
    with postgres() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    """A new database's URL."""
    name = f"weft{next(_numbers)}"
    yield server.create(name)
    server.drop(name)
