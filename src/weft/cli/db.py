"""`weft db`."""

import asyncio
from pathlib import Path

import click

from weft.cli.manual import Group
from weft.model.errors import Conflict, NotFound

DEFAULT_DB = "sqlite:////var/lib/weft/weft.db"
db_option = click.option(
    "--db", "url", metavar="URL", default=DEFAULT_DB, show_default=True, help="As `weft server --db`."
)


@click.group(
    cls=Group,
    examples=(
        ("weft db upgrade --db sqlite:////srv/weft.db", "Bring a database to the schema of this version."),
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
        await store.close()

    asyncio.run(work())
    click.echo(f"{url} has schema {migration.head()}")


@db.command()
@db_option
def check(url: str) -> None:
    """Look through a database; lists every contradiction, and changes nothing."""
    from weft.store import Store, migration  # noqa: PLC0415
    from weft.store.check import contradictions  # noqa: PLC0415

    async def work() -> list[str]:
        store = await Store.open(url)
        try:
            return await store.read(contradictions)
        finally:
            await store.close()

    path = Path(url.removeprefix("sqlite:///"))
    if not path.exists():
        raise NotFound(f"there is no database {path}")
    if (found := migration.current(url)) != migration.head():
        raise Conflict(
            f"{path} has schema {found}, this weft has {migration.head()}: `weft db upgrade` brings it forward"
        )
    broken = asyncio.run(work())
    if broken:
        raise Conflict("\n".join([f"{path} has {len(broken)} contradictions:", *(f"  {each}" for each in broken)]))
    click.echo(f"{path} is sound")
