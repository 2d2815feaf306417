"""Steps of the schema, each in a file of its own, run by Alembic."""
