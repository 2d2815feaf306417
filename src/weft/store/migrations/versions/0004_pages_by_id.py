"""Indexes that give a network's and a project's ports in the order of their ids, a page at a time.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make them; the index by project alone is part of one of them."""
    op.create_index("ix_ports_network_id_id", "ports", ["network_id", "id"], unique=False)
    op.create_index("ix_ports_project_id_id", "ports", ["project_id", "id"], unique=False)
    op.drop_index("ix_ports_project_id", table_name="ports")
