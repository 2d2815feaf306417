"""What a process does with its memory when another one has written to the database since."""

from functools import lru_cache

import msgspec
import sqlalchemy as sa

from weft.model.ids import PortId, Revision, SubnetId
from weft.model.intent import FixedIp
from weft.store import schema as t
from weft.store.changes import Kind, Op
from weft.store.codec import decode
from weft.store.group import Kept
from weft.store.snapshot import MAX_KEYS, Snapshot

MAX_CHANGES = 2_000
"""Foreign changes that are looked at one by one; after more everything is read anew."""

_TABLES: dict[str, tuple[sa.Table, ...]] = {
    Kind.NETWORK: (t.networks,),
    Kind.SUBNET: (t.subnets,),
    Kind.ROUTER: (t.routers,),
    Kind.ROUTER_INTERFACE: (t.router_interfaces,),
    Kind.INVENTORY: (t.documents,),
    Kind.LEAF_VLAN: (t.leaf_vlans,),
    Kind.PORT: (),
    Kind.NODE: (),
    Kind.SWITCH: (),
    Kind.SWITCH_STATUS: (),
}
"""What is kept of tables (weft.store.group.ROWS_CACHED) that a change of a kind may have written to, beside the numbers
of objects; every other kind is of records."""


class _Addresses(msgspec.Struct, frozen=True):
    """What is to be known of a port here."""

    fixed_ips: tuple[FixedIp, ...] = ()


def catch_up(kept: Kept, snapshot: Snapshot, seen: Revision) -> None:
    """Forget what may have changed after revision `seen`, and tell allocators which addresses are taken now.

    Of addresses that were given up meanwhile nothing is told: they count as taken until an allocator finds none free
    and is built anew (Pools.doubt).
    """
    rows = snapshot.run(_SINCE, seen=seen).fetchmany(MAX_CHANGES + 1)
    if len(rows) > MAX_CHANGES or seen + 1 < (snapshot.run(_OLDEST).fetchone()[0] or 0):
        kept.forget()
        kept.pools.clear()
        return
    written = {table for kind in {row[0] for row in rows} for table in _TABLES.get(kind, (t.records,))}
    kept.forget_tables(written | {t.usage})
    for kind, id_, _ in rows:
        if kind == Kind.SUBNET:
            kept.pools.forget(SubnetId(id_))
    _learn(kept, snapshot, [PortId(id_) for kind, id_, op in rows if kind == Kind.PORT and op != Op.DELETE])
    kept.pools.doubt()


def _learn(kept: Kept, snapshot: Snapshot, ports: list[PortId]) -> None:
    for start in range(0, len(ports), MAX_KEYS):
        part = ports[start : start + MAX_KEYS]
        keys = {f"id{at}": id_ for at, id_ in enumerate(part)}
        for (body,) in snapshot.run(_bodies(len(part)), **keys):
            for held in decode(_Addresses, body).fixed_ips:
                kept.pools.learn(held.subnet_id, int(held.address))


@lru_cache(maxsize=64)
def _bodies(keys: int) -> sa.Select[tuple[bytes]]:
    return sa.select(t.ports.c.body).where(t.ports.c.id.in_([sa.bindparam(f"id{at}") for at in range(keys)]))


_SINCE = (
    sa.select(t.changes.c.kind, t.changes.c.id, t.changes.c.op)
    .where(t.changes.c.revision > sa.bindparam("seen"))
    .order_by(t.changes.c.revision)
)
_OLDEST = sa.select(sa.func.min(t.changes.c.revision))
