"""Where Alembic runs the steps: on one connection, in one transaction."""

from alembic import context
from sqlalchemy import create_engine, text

from weft.store.schema import metadata

LOCK = 0x77656674
"""The advisory lock of PostgreSQL that is held meanwhile."""


def run() -> None:
    """Run the steps that the database lacks."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None, "weft.store.migration always sets the URL"
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # servers that start together: one does it, the others wait
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
            context.run_migrations()
    finally:
        engine.dispose()


run()
