"""Records: objects of many kinds in one table.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "records",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("unique_key", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id"),
        sa.UniqueConstraint("kind", "unique_key", name="uq_record_key"),
    )
    op.create_index("ix_records_project", "records", ["kind", "project_id"], unique=False)
    op.create_index("ix_records_parent", "records", ["kind", "parent"], unique=False)
    op.create_index("ix_records_name", "records", ["kind", "name"], unique=False)
