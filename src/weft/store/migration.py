"""Takes a database forward to the schema of this version, one numbered step after another (Alembic)."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from weft.model.errors import Permanent


def upgrade(path: Path) -> None:
    """Bring the database file forward to the newest schema, making it if need be.

    Raises Permanent if the file was written by a newer weft.
    """
    config = _config(path)
    newest = ScriptDirectory.from_config(config).get_current_head()
    if current(path) == newest:
        return
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = current(path)
    if found is not None and found not in known:
        raise Permanent(
            f"the database {path} has schema '{found}', which this weft does not know: it was made by a newer one"
        )
    command.upgrade(config, "head")


def current(path: Path) -> str | None:
    """Return the schema version of a database file; None for a new one."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def head() -> str | None:
    """Return the newest schema version that this weft knows."""
    return ScriptDirectory.from_config(_config(Path("unused"))).get_current_head()


def _config(path: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    return config
