"""The tables. One description for every engine; migrations/ takes a database from one version to the next.

An object's row holds the columns that are looked up or guarded, and `body`: the whole value as JSON. The unique
indexes are the last guard of what weft promises: an address, a MAC, a VNI, a VLAN has one owner, whatever an
allocator believed.
"""

import sqlalchemy as sa

metadata = sa.MetaData()
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits on every engine; SQLite's own INTEGER is that, and only that can count rows by itself."""


def _key(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _text(name: str, *, index: bool = False, unique: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, index=index, unique=unique)


def _body() -> sa.Column[bytes]:
    return sa.Column("body", sa.LargeBinary, nullable=False)


networks = sa.Table(
    "networks",
    metadata,
    _key(),
    _text("project_id", index=True),
    _text("name", index=True),
    sa.Column("vni", INTEGER, unique=True),
    _body(),
)
subnets = sa.Table(
    "subnets", metadata, _key(), _text("project_id", index=True), _text("network_id", index=True), _body()
)
routers = sa.Table(
    "routers",
    metadata,
    _key(),
    _text("project_id", index=True),
    _text("name", index=True),
    _text("vrf", unique=True),
    sa.Column("l3vni", INTEGER, nullable=False, unique=True),
    _body(),
)
router_interfaces = sa.Table(
    "router_interfaces",
    metadata,
    _key("subnet_id"),
    _text("router_id", index=True),
    _text("network_id", index=True),
    _text("port_id", index=True),
    _body(),
)
ports = sa.Table(
    "ports",
    metadata,
    _key(),
    _text("project_id"),
    _text("network_id"),
    _text("name", index=True),
    _text("mac"),
    _text("device_id", index=True),
    _text("state", index=True),
    _body(),
    sa.Column("life", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("network_id", "mac", name="uq_port_mac"),
    sa.Index("ix_ports_network_id_id", "network_id", "id"),
    sa.Index("ix_ports_project_id_id", "project_id", "id"),
)
fixed_ips = sa.Table(
    "fixed_ips",
    metadata,
    sa.Column("network_id", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, primary_key=True, index=True),
    _text("subnet_id"),
    _text("port_id"),
    sqlite_with_rowid=False,
)
resting_ips = sa.Table(
    "resting_ips",
    metadata,
    sa.Column("network_id", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, primary_key=True),
    _text("subnet_id", index=True),
    sa.Column("until", sa.Float, nullable=False, index=True),
)
bindings = sa.Table(
    "bindings",
    metadata,
    sa.Column("port_id", sa.Text, primary_key=True),
    sa.Column("epoch", INTEGER, primary_key=True),
    _text("node", index=True),
    _text("network_id", index=True),
    sqlite_with_rowid=False,
)
leaf_vlans = sa.Table(
    "leaf_vlans",
    metadata,
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("network_id", sa.Text, primary_key=True),
    sa.Column("vlan", INTEGER, nullable=False),
    _body(),
    sa.UniqueConstraint("domain", "vlan", name="uq_leaf_vlan"),
)
cursors = sa.Table("cursors", metadata, _key("name"), sa.Column("value", INTEGER, nullable=False))
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("count", INTEGER, nullable=False),
)
"""How many objects of a kind each project has."""
documents = sa.Table("documents", metadata, _key("name"), _body())
node_tokens = sa.Table("node_tokens", metadata, _key("node"), _text("sha256", unique=True))
agents = sa.Table("agents", metadata, _key("node"), sa.Column("last_seen", sa.Float, nullable=False))
switch_statuses = sa.Table("switch_statuses", metadata, _key("switch"), _body())
history = sa.Table(
    "history",
    metadata,
    sa.Column("seq", INTEGER, primary_key=True, autoincrement=True),
    _text("port_id", index=True),
    _body(),
)
released_ports = sa.Table(
    "released_ports", metadata, _key("port_id"), sa.Column("at", sa.Float, nullable=False, index=True)
)
records = sa.Table(
    "records",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    _text("project_id"),
    _text("name"),
    _text("parent"),
    sa.Column("unique_key", sa.Text),
    _body(),
    sa.UniqueConstraint("kind", "unique_key", name="uq_record_key"),
    sa.Index("ix_records_project", "kind", "project_id"),
    sa.Index("ix_records_parent", "kind", "parent"),
    sa.Index("ix_records_name", "kind", "name"),
)
"""Objects of many kinds that are looked up by nothing more than owner, name, or the object that they belong to."""
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("revision", INTEGER, primary_key=True),
    sa.Column("seq", INTEGER, primary_key=True),
    _text("kind"),
    _text("id"),
    _text("op"),
    _text("nodes"),
    sa.Column("addresses", sa.Text),
    sqlite_with_rowid=False,
)
