"""The first schema.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "agents",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("node"),
    )
    op.create_table(
        "bindings",
        sa.Column("port_id", sa.Text(), nullable=False),
        sa.Column("epoch", INTEGER, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("network_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("port_id", "epoch"),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_bindings_network_id"), "bindings", ["network_id"], unique=False)
    op.create_index(op.f("ix_bindings_node"), "bindings", ["node"], unique=False)
    op.create_table(
        "changes",
        sa.Column("revision", INTEGER, nullable=False),
        sa.Column("seq", INTEGER, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("op", sa.Text(), nullable=False),
        sa.Column("nodes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("revision", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "documents",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "fixed_ips",
        sa.Column("network_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("subnet_id", sa.Text(), nullable=False),
        sa.Column("port_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("network_id", "address"),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_fixed_ips_address"), "fixed_ips", ["address"], unique=False)
    op.create_table(
        "history",
        sa.Column("seq", INTEGER, autoincrement=True, nullable=False),
        sa.Column("port_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index(op.f("ix_history_port_id"), "history", ["port_id"], unique=False)
    op.create_table(
        "leaf_vlans",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("network_id", sa.Text(), nullable=False),
        sa.Column("vlan", INTEGER, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("domain", "network_id"),
        sa.UniqueConstraint("domain", "vlan", name="uq_leaf_vlan"),
    )
    op.create_table(
        "networks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("vni", INTEGER, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("vni"),
    )
    op.create_index(op.f("ix_networks_name"), "networks", ["name"], unique=False)
    op.create_index(op.f("ix_networks_project_id"), "networks", ["project_id"], unique=False)
    op.create_table(
        "node_tokens",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node"),
        sa.UniqueConstraint("sha256"),
    )
    op.create_table(
        "ports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("network_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("life", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("network_id", "mac", name="uq_port_mac"),
    )
    op.create_index(op.f("ix_ports_device_id"), "ports", ["device_id"], unique=False)
    op.create_index(op.f("ix_ports_name"), "ports", ["name"], unique=False)
    op.create_index(op.f("ix_ports_project_id"), "ports", ["project_id"], unique=False)
    op.create_index(op.f("ix_ports_state"), "ports", ["state"], unique=False)
    op.create_table(
        "released_ports",
        sa.Column("port_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("port_id"),
    )
    op.create_index(op.f("ix_released_ports_at"), "released_ports", ["at"], unique=False)
    op.create_table(
        "resting_ips",
        sa.Column("network_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("subnet_id", sa.Text(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("network_id", "address"),
    )
    op.create_index(op.f("ix_resting_ips_subnet_id"), "resting_ips", ["subnet_id"], unique=False)
    op.create_index(op.f("ix_resting_ips_until"), "resting_ips", ["until"], unique=False)
    op.create_table(
        "router_interfaces",
        sa.Column("subnet_id", sa.Text(), nullable=False),
        sa.Column("router_id", sa.Text(), nullable=False),
        sa.Column("network_id", sa.Text(), nullable=False),
        sa.Column("port_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("subnet_id"),
    )
    op.create_index(op.f("ix_router_interfaces_network_id"), "router_interfaces", ["network_id"], unique=False)
    op.create_index(op.f("ix_router_interfaces_port_id"), "router_interfaces", ["port_id"], unique=False)
    op.create_index(op.f("ix_router_interfaces_router_id"), "router_interfaces", ["router_id"], unique=False)
    op.create_table(
        "routers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("vrf", sa.Text(), nullable=False),
        sa.Column("l3vni", INTEGER, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("l3vni"),
        sa.UniqueConstraint("vrf"),
    )
    op.create_index(op.f("ix_routers_name"), "routers", ["name"], unique=False)
    op.create_index(op.f("ix_routers_project_id"), "routers", ["project_id"], unique=False)
    op.create_table(
        "subnets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("network_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_subnets_network_id"), "subnets", ["network_id"], unique=False)
    op.create_table(
        "switch_statuses",
        sa.Column("switch", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("switch"),
    )


def downgrade() -> None:
    """Not offered: migrations go forward; an older weft reads a backup."""
    raise NotImplementedError("the schema can't be taken back; restore a backup")
