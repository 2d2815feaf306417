"""Where Alembic runs the steps: on one connection, in one transaction."""

from alembic import context
from sqlalchemy import create_engine

from weft.store.schema import metadata


def run() -> None:
    """Run the steps that the database lacks."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None, "weft.store.migration always sets the URL"
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
            context.run_migrations()
    finally:
        engine.dispose()


run()
