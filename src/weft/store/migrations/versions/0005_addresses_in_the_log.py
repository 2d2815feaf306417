"""The change log says which addresses a change gave to a port.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; what an older server writes has none, and the port's row is read instead."""
    op.add_column("changes", sa.Column("addresses", sa.Text(), nullable=True))
