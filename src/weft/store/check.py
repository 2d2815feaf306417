"""Looks through a whole database for what must never be there: damage, and rows that contradict each other.

No transaction of weft can write such a state; a defect, or a hand in the file, can.
"""

import sqlite3
from collections.abc import Iterator, Set
from typing import Any

import sqlalchemy as sa

from weft.model.inventory import Inventory
from weft.ports import lifecycle
from weft.store import schema as t
from weft.store.changes import Kind
from weft.store.codec import decode, mark_of
from weft.store.snapshot import INVENTORY, Snapshot
from weft.store.views import PortView

_INTEGRITY = sa.text("PRAGMA integrity_check")
_FIRST_DAMAGE = sa.text("PRAGMA quick_check(1)")
_WHOLE = [sa.text(f"SELECT sum(length({name}::text)) FROM {name}") for name in t.metadata.tables]
_FIXED_IPS = sa.select(t.fixed_ips.c.network_id, t.fixed_ips.c.address, t.fixed_ips.c.subnet_id, t.fixed_ips.c.port_id)
_BINDINGS = sa.select(t.bindings.c.port_id, t.bindings.c.epoch, t.bindings.c.node, t.bindings.c.network_id)
_USAGE = sa.select(t.usage.c.project_id, t.usage.c.kind, t.usage.c.count)
_RECORDS = sa.select(t.records.c.kind, t.records.c.project_id, sa.func.count()).group_by(
    t.records.c.kind, t.records.c.project_id
)
_COUNTED = {
    kind: sa.select(table.c.project_id, sa.func.count()).group_by(table.c.project_id)
    for kind, table in (
        (Kind.NETWORK, t.networks),
        (Kind.SUBNET, t.subnets),
        (Kind.ROUTER, t.routers),
        (Kind.PORT, t.ports),
    )
}
_SOUND = "ok"


def contradictions(snapshot: Snapshot) -> list[str]:
    """Return everything that is wrong with a database, each with the object it is about; none, if it is sound.

    Raises what the engine does if that says that a row cannot be read.
    """
    damage = _damage(snapshot) if snapshot.engine == "sqlite" else _read_all(snapshot)
    if damage != [_SOUND]:
        return [f"the file is damaged: {each}" for each in damage]  # what else would be found means nothing
    ports = snapshot.ports()
    return [
        *_lives(ports),
        *_references(snapshot, ports),
        *_mark(snapshot),
        *_disagreements("address", _addresses(ports), _rows(snapshot, _FIXED_IPS)),
        *_disagreements("binding", _bindings(ports), _rows(snapshot, _BINDINGS)),
        *_disagreements("count", _counted(snapshot), {row for row in _rows(snapshot, _USAGE) if row[2]}),
    ]


def _damage(snapshot: Snapshot) -> list[str]:
    """Return what SQLite finds wrong with its file; only the first of it where it cannot go on after that."""
    try:
        rows = snapshot.run(_INTEGRITY).fetchall()
    except sqlite3.DatabaseError:
        rows = snapshot.run(_FIRST_DAMAGE).fetchall()
        if rows == [(_SOUND,)]:
            raise
    return [line for row in rows for line in row[0].splitlines()]


def _read_all(snapshot: Snapshot) -> list[str]:
    """Read all values of all rows, so that a server says what it finds wrong with them."""
    for each in _WHOLE:
        snapshot.run(each)
    return [_SOUND]


def _lives(ports: list[PortView]) -> Iterator[str]:
    for view in ports:
        for broken in lifecycle.check(view.life):
            yield f"port {view.port.id}: {broken}"


def _mark(snapshot: Snapshot) -> Iterator[str]:
    """Yield that the inventory has the mark of another one: who has read that one would not read this."""
    document, mark = snapshot.row(t.documents, INVENTORY), snapshot.row(t.cursors, INVENTORY)
    if mark is not None and (document is None or mark_of(document[0]) != mark[0]):
        yield "the inventory is not the one that its mark is of"


def _references(snapshot: Snapshot, ports: list[PortView]) -> Iterator[str]:
    """Yield what names something that is not there."""
    networks = {network.id for network in snapshot.networks()}
    subnets = {subnet.id: subnet for subnet in snapshot.subnets()}
    routers = {router.id for router in snapshot.routers()}
    document = snapshot.row(t.documents, INVENTORY)
    nodes = set() if document is None else {node.name for node in decode(Inventory, document[0]).nodes}
    port_ids = {view.port.id for view in ports}
    for subnet in subnets.values():
        if subnet.network_id not in networks:
            yield f"subnet {subnet.id}: its network {subnet.network_id} is not there"
    for interface in snapshot.router_interfaces():
        named = ((interface.router_id, routers), (interface.subnet_id, subnets.keys()), (interface.port_id, port_ids))
        for id_, known in named:
            if id_ not in known:
                yield f"router interface of subnet {interface.subnet_id}: {id_} is not there"
    for view in ports:
        if view.port.network_id not in networks:
            yield f"port {view.port.id}: its network {view.port.network_id} is not there"
        for fixed in view.port.fixed_ips:
            subnet_of = subnets.get(fixed.subnet_id)
            if subnet_of is None or fixed.address not in subnet_of.cidr:
                yield f"port {view.port.id}: address {fixed.address} is not of its subnet {fixed.subnet_id}"
        for binding in view.life.bindings:
            if binding.node not in nodes:
                yield f"port {view.port.id}: bound to {binding.node}, which is not in the inventory"


def _addresses(ports: list[PortView]) -> set[tuple[Any, ...]]:
    return {
        (view.port.network_id, str(fixed.address), fixed.subnet_id, view.port.id)
        for view in ports
        for fixed in view.port.fixed_ips
    }


def _bindings(ports: list[PortView]) -> set[tuple[Any, ...]]:
    return {
        (view.port.id, binding.epoch, binding.node, view.port.network_id)
        for view in ports
        for binding in view.life.bindings
    }


def _counted(snapshot: Snapshot) -> set[tuple[Any, ...]]:
    """Return how many objects of each kind each project has, counted anew."""
    counts = {(row[1], row[0], row[2]) for row in snapshot.run(_RECORDS)}
    for kind, table in _COUNTED.items():
        counts |= {(row[0], str(kind), row[1]) for row in snapshot.run(table)}
    return counts


def _rows(snapshot: Snapshot, statement: sa.ClauseElement) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in snapshot.run(statement)}


def _disagreements(noun: str, said: Set[tuple[Any, ...]], indexed: Set[tuple[Any, ...]]) -> Iterator[str]:
    """Yield where a port's own row and the table that guards uniqueness differ."""
    for row in sorted(said - indexed, key=str):
        yield f"{noun} {' '.join(map(str, row))}: its port has it, the index has not"
    for row in sorted(indexed - said, key=str):
        yield f"{noun} {' '.join(map(str, row))}: the index has it, no port has"
