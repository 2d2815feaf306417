"""`weft db`."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import click

from weft.cli.manual import Group
from weft.model.errors import Conflict, NotFound

if TYPE_CHECKING:
    from weft.store.engine import Engine

DEFAULT_DB = "sqlite:////var/lib/weft/weft.db"
db_option = click.option(
    "--db", "url", metavar="URL", default=DEFAULT_DB, show_default=True, help="As `weft server --db`."
)


@click.group(
    cls=Group,
    examples=(
        ("weft db upgrade --db sqlite:////srv/weft.db", "Bring a database to the schema of this version."),
        (
            "weft db export --db sqlite:////srv/weft.db | weft db import --db postgresql://weft@db/weft",
            "Take a database to another engine.",
        ),
        ("weft db check --db sqlite:////srv/weft.db", "Look for damage, and for rows that contradict each other."),
    ),
)
def db() -> None:
    """A server's database, while the server is stopped. A server that starts brings its schema forward by itself."""


@db.command()
@db_option
def upgrade(url: str) -> None:
    """Bring a database forward to the schema of this version, making it if it is not there."""
    from weft.store import Store, migration  # noqa: PLC0415 - `weft db --help` needs no store

    async def work() -> None:
        store = await Store.open(url)
        click.echo(f"{store.url} has schema {migration.head()}")
        await store.close()

    asyncio.run(work())


@db.command()
@db_option
def check(url: str) -> None:
    """Look through a database; lists every contradiction, and changes nothing."""
    from weft.store.check import contradictions  # noqa: PLC0415
    from weft.store.transfer import reading  # noqa: PLC0415

    with _engine(url) as engine, reading(engine) as snapshot:
        broken, shown = contradictions(snapshot), engine.url
    if broken:
        raise Conflict("\n".join([f"{shown} has {len(broken)} contradictions:", *(f"  {each}" for each in broken)]))
    click.echo(f"{shown} is sound")


@db.command()
@db_option
@click.argument("file", type=click.File("wb"), default="-")
def export(url: str, file: IO[bytes]) -> None:
    """Write all that is in a database to FILE, or to standard output."""
    from weft.store.transfer import export  # noqa: PLC0415

    with _engine(url) as engine:
        for line in export(engine):
            file.write(line + b"\n")


@db.command("import")
@db_option
@click.argument("file", type=click.File("rb"), default="-")
def import_(url: str, file: IO[bytes]) -> None:
    """Fill a new database with what `weft db export` wrote: all of it or, if anything is wrong, nothing."""
    from weft.store.store import engine_of  # noqa: PLC0415
    from weft.store.transfer import load  # noqa: PLC0415

    engine = engine_of(url)
    try:
        count = load(engine, file)
    finally:
        engine.release()
    click.echo(f"{engine.url} has {count} rows")


@contextlib.contextmanager
def _engine(url: str) -> "Iterator[Engine]":
    """Open a database that is there, with the schema of this version; raise NotFound, Conflict or Permanent."""
    from weft.store.sqlite import path_of  # noqa: PLC0415
    from weft.store.store import engine_of  # noqa: PLC0415
    from weft.store.transfer import require_schema  # noqa: PLC0415

    if url.startswith("sqlite") and not path_of(url).exists():
        raise NotFound(f"there is no database {path_of(url)}")
    engine = engine_of(url)
    try:
        require_schema(engine)
        yield engine
    finally:
        engine.release()
