"""Takes a database forward to the schema of this version, one numbered step after another (Alembic)."""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url

from weft.model.errors import Permanent

_ONE_AT_A_TIME = threading.Lock()
"""Alembic keeps what it works on in a global; processes take turns by a lock of the database, see env.py."""


def upgrade(url: str) -> None:
    """Bring a database, by its SQLAlchemy URL, forward to the newest schema, making it if need be.

    Raises Permanent if it was written by a newer weft.
    """
    config = configuration(url)
    newest = ScriptDirectory.from_config(config).get_current_head()
    found = current(url)
    if found == newest:
        return
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        shown = make_url(url).render_as_string(hide_password=True)
        raise Permanent(
            f"the database {shown} has schema '{found}', which this weft does not know: it was made by a newer one"
        )
    with _ONE_AT_A_TIME:
        command.upgrade(config, "head")


def current(url: str) -> str | None:
    """Return the schema version of a database; None for a new one."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def head() -> str | None:
    """Return the newest schema version that this weft knows."""
    return ScriptDirectory.from_config(configuration("")).get_current_head()


def configuration(url: str) -> Config:
    """Return what Alembic has to know to work on a database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config
