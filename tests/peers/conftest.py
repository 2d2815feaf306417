"""A PostgreSQL server for the tests on it, started and stopped by them, and a database for each test."""

from collections.abc import Iterator
from itertools import count

import pytest
from bench.postgres import PostgresServer, postgres

_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server that lives as long as the tests, and that notices what a disk has changed."""
    with postgres(checksums=True) as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    """A new database's URL."""
    name = f"weft{next(_numbers)}"
    yield server.create(name)
    server.drop(name)
