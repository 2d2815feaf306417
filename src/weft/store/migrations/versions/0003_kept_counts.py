"""The newest revision as a row of its own, what each project has, history by piece of work, owners of subnets.

Revision ID: 0003
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the columns and rows, and fill them from what is there."""
    op.create_table(
        "usage",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("count", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "kind"),
    )
    with op.batch_alter_table("subnets") as batch:
        batch.add_column(sa.Column("project_id", sa.Text(), nullable=False, server_default=""))
    op.create_index(op.f("ix_subnets_project_id"), "subnets", ["project_id"], unique=False)
    rows = op.get_bind()
    newest = rows.execute(sa.text("SELECT max(revision) FROM changes")).scalar() or 0
    rows.execute(sa.text("INSERT INTO cursors (name, value) VALUES ('revision', :newest)"), {"newest": newest})
    for seq, body in rows.execute(sa.text("SELECT seq, body FROM history")).fetchall():
        rows.execute(
            sa.text("UPDATE history SET body = :body WHERE seq = :seq"), {"seq": seq, "body": b"[" + bytes(body) + b"]"}
        )
    for id_, body in rows.execute(sa.text("SELECT id, body FROM subnets")).fetchall():
        owner = json.loads(bytes(body))["project_id"]
        rows.execute(sa.text("UPDATE subnets SET project_id = :owner WHERE id = :id"), {"id": id_, "owner": owner})
    for kind in ("network", "subnet", "router", "port"):
        _count(rows, f"SELECT project_id, '{kind}', count(*) FROM {kind}s GROUP BY project_id")
    _count(rows, "SELECT project_id, kind, count(*) FROM records GROUP BY project_id, kind")


def _count(rows: sa.Connection, query: str) -> None:
    rows.execute(sa.text(f"INSERT INTO usage (project_id, kind, count) {query}"))
