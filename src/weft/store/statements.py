"""What a snapshot asks of a database: statements, and the questions that are made of them.

They are written once, with SQLAlchemy Core, and compiled once for each engine.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa

from weft.model.ids import PortId
from weft.store import schema as t
from weft.store.engine import Question

T = TypeVar("T")

MAX_KEYS = 512
"""Keys in one IN list; more are read in several statements (SQLite allows 999 variables)."""


@lru_cache(maxsize=512)
def text_of(statement: sa.ClauseElement, dialect: sa.Dialect) -> str:
    """Return the SQL of a statement that stands at module level."""
    return str(statement.compile(dialect=dialect))


def question(dialect: sa.Dialect, statement: sa.ClauseElement, **parameters: Any) -> Question:
    """Return a statement that stands at module level (it is compiled once), ready to be asked with others."""
    return text_of(statement, dialect), parameters


def ports_question(dialect: sa.Dialect, ids: Sequence[PortId]) -> Question:
    """Return what asks for at most MAX_KEYS ports by their ids: each is answered with its id and what `row` gives."""
    keys = padded(ids)
    return question(dialect, _port_rows(len(keys)), **numbered(keys, "id"))


def shown_ports_question(dialect: sa.Dialect, ids: Sequence[PortId]) -> Question:
    """Return what asks for ports, and for their networks, of which a port shows something.

    Each is answered with its id and what `row` gives, then with the network's id and what `row` gives.
    """
    keys = padded(ids)
    return question(dialect, _shown_port_rows(len(keys)), **numbered(keys, "id"))


@lru_cache(maxsize=16)
def _shown_port_rows(keys: int) -> sa.Select[Any]:
    columns = [table.c[name] for table in (t.ports, t.networks) for name in ("id", *shown_columns(table))]
    found = t.ports.outerjoin(t.networks, t.networks.c.id == t.ports.c.network_id)
    asked = t.ports.c.id.in_([sa.bindparam(f"id{at}") for at in range(keys)])
    return sa.select(*columns).select_from(found).where(asked)


@lru_cache(maxsize=16)
def _port_rows(keys: int) -> sa.Select[Any]:
    columns = (t.ports.c[name] for name in ("id", *shown_columns(t.ports)))
    return sa.select(*columns).where(t.ports.c.id.in_([sa.bindparam(f"id{at}") for at in range(keys)]))


@lru_cache(maxsize=512)
def ports_by(given: frozenset[str], keys: int = 0) -> sa.Select[Any]:
    """Return the statement that reads ports by these columns and this many ids, ordered by id."""
    statement = sa.select(t.ports.c.body, t.ports.c.life).order_by(t.ports.c.id)
    for name in sorted(given & set(t.ports.c.keys())):
        statement = statement.where(t.ports.c[name] == sa.bindparam(name))
    if "node" in given:
        here = sa.select(t.bindings.c.port_id).where(t.bindings.c.node == sa.bindparam("node"))
        statement = statement.where(t.ports.c.id.in_(here))
    if "address" in given:
        having = sa.select(t.fixed_ips.c.port_id).where(t.fixed_ips.c.address == sa.bindparam("address"))
        statement = statement.where(t.ports.c.id.in_(having))
    if "subnet_id" in given:
        network = sa.select(t.subnets.c.network_id).where(t.subnets.c.id == sa.bindparam("subnet_id")).scalar_subquery()
        of_subnet = sa.select(t.fixed_ips.c.port_id).where(
            t.fixed_ips.c.network_id == network, t.fixed_ips.c.subnet_id == sa.bindparam("subnet_id")
        )
        statement = statement.where(t.ports.c.id.in_(of_subnet))
    if "after_id" in given:
        statement = statement.where(t.ports.c.id > sa.bindparam("after_id"))
    if "page" in given:
        # Without an offset written out, SQLite is given one as a parameter more.
        statement = statement.limit(sa.bindparam("page")).offset(sa.literal_column("0"))
    if keys:
        statement = statement.where(t.ports.c.id.in_([sa.bindparam(f"id{at}") for at in range(keys)]))
    return statement


@lru_cache(maxsize=16)
def usages(keys: int) -> sa.Select[Any]:
    """Return the statement that reads so many numbers of objects, by project and kind."""
    alike = [
        sa.and_(t.usage.c.project_id == sa.bindparam(f"project_id{at}"), t.usage.c.kind == sa.bindparam(f"kind{at}"))
        for at in range(keys)
    ]
    return sa.select(t.usage.c.project_id, t.usage.c.kind, t.usage.c.count).where(sa.or_(*alike))


def padded(keys: Sequence[T]) -> list[T]:
    """Return keys, the last one again until they are a power of two: so there are few statements to be prepared."""
    return [*keys, *list(keys[-1:]) * ((1 << (len(keys) - 1).bit_length()) - len(keys))]


def numbered(keys: Sequence[Any], *names: str) -> dict[str, Any]:
    """Return parameters for keys: ``name0``, ``name1`` and so on; of several names, each key has a value for each."""
    if len(names) == 1:
        return {f"{names[0]}{at}": key for at, key in enumerate(keys)}
    return {f"{name}{at}": part for at, key in enumerate(keys) for name, part in zip(names, key, strict=True)}


def parts(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    """Return keys in portions of at most MAX_KEYS, each padded."""
    return (padded(ids[start : start + MAX_KEYS]) for start in range(0, len(ids), MAX_KEYS))


@lru_cache(maxsize=64)
def records_by(given: frozenset[str], keys: int = 0, *, count: bool = False) -> sa.Select[Any]:
    """Return the statement that reads or counts a kind's records by these columns and this many ids."""
    statement = sa.select(sa.func.count()) if count else sa.select(t.records.c.body).order_by(t.records.c.id)
    for name in sorted({"kind", *given}):
        statement = statement.where(t.records.c[name] == sa.bindparam(name))
    if keys:
        statement = statement.where(t.records.c.id.in_([sa.bindparam(f"id{at}") for at in range(keys)]))
    return statement.select_from(t.records)


@lru_cache(maxsize=512)
def record_rows(column: str, keys: int) -> sa.Select[Any]:
    """Return the statement that reads a kind's records by so many values of a column, ordered by id."""
    statement = sa.select(t.records.c.id, t.records.c.parent, t.records.c.body)
    key = t.records.c[column].in_([sa.bindparam(f"id{at}") for at in range(keys)])
    return statement.where(t.records.c.kind == sa.bindparam("kind"), key).order_by(t.records.c.id)


@lru_cache(maxsize=64)
def sql_by_key(table: sa.Table, dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    """Return the SQL text that reads a row by its primary key, and the names of the key's columns."""
    statement = sa.select(*(table.c[name] for name in shown_columns(table)))
    for column in table.primary_key:
        statement = statement.where(column == sa.bindparam(column.name))
    return text_of(statement, dialect), key_columns(table)


@lru_cache(maxsize=64)
def key_columns(table: sa.Table) -> tuple[str, ...]:
    """Return the names of a table's primary key."""
    return tuple(column.name for column in table.primary_key)


@lru_cache(maxsize=64)
def shown_columns(table: sa.Table) -> tuple[str, ...]:
    """Return the columns that Snapshot.row gives: bodies where there are any, else all that are no key."""
    bodies = tuple(column.name for column in table.c if isinstance(column.type, sa.LargeBinary))
    return bodies or tuple(column.name for column in table.c if not column.primary_key)


def _body_by(table: sa.Table, *columns: str) -> sa.Select[Any]:
    statement = sa.select(table.c.body)
    for name in columns:
        statement = statement.where(table.c[name] == sa.bindparam(name))
    return statement


RECORDS_BELOW = (
    sa.select(t.records.c.body)
    .where(t.records.c.kind == sa.bindparam("kind"), t.records.c.name < sa.bindparam("name"))
    .order_by(t.records.c.name, t.records.c.id)
    .limit(sa.bindparam("page"))
    .offset(sa.literal_column("0"))
)
NETWORKS = _body_by(t.networks).order_by(t.networks.c.id)
SUBNETS = _body_by(t.subnets).order_by(t.subnets.c.id)
SUBNETS_OF = _body_by(t.subnets, "network_id").order_by(t.subnets.c.id)
ROUTERS = _body_by(t.routers).order_by(t.routers.c.id)
INTERFACES = _body_by(t.router_interfaces).order_by(t.router_interfaces.c.subnet_id)
INTERFACES_OF = _body_by(t.router_interfaces, "router_id").order_by(t.router_interfaces.c.subnet_id)
BOUND_NODES = sa.select(t.bindings.c.node).where(t.bindings.c.network_id == sa.bindparam("network_id")).distinct()
PORTS_IN = (
    sa.select(t.fixed_ips.c.address, t.ports.c.body, t.ports.c.life)
    .join(t.ports, t.ports.c.id == t.fixed_ips.c.port_id)
    .where(t.fixed_ips.c.network_id == sa.bindparam("network_id"), t.fixed_ips.c.address > sa.bindparam("after"))
    .where(t.fixed_ips.c.subnet_id == sa.bindparam("subnet_id"))
    .order_by(t.fixed_ips.c.address)
    .limit(sa.bindparam("page"))
    .offset(sa.literal_column("0"))
)
VNI_TAKEN = sa.union_all(
    sa.select(t.networks.c.id).where(t.networks.c.vni == sa.bindparam("vni")),
    sa.select(t.routers.c.id).where(t.routers.c.l3vni == sa.bindparam("vni")),
)
LEAF_VLANS = _body_by(t.leaf_vlans).order_by(t.leaf_vlans.c.domain, t.leaf_vlans.c.network_id)
LEAF_VLANS_OF = _body_by(t.leaf_vlans, "domain").order_by(t.leaf_vlans.c.network_id)
HISTORY = _body_by(t.history, "port_id").order_by(t.history.c.seq)
SWITCH_STATUSES = _body_by(t.switch_statuses)
AGENTS = sa.select(t.agents.c.node, t.agents.c.last_seen)
TOKEN = sa.select(t.node_tokens.c.node).where(t.node_tokens.c.sha256 == sa.bindparam("sha256"))
STATE_COUNTS = sa.select(t.ports.c.state, sa.func.count()).group_by(t.ports.c.state)
NETWORK_STATE_COUNTS = sa.select(t.ports.c.network_id, t.ports.c.state, sa.func.count()).group_by(
    t.ports.c.network_id, t.ports.c.state
)
