"""What a process does with its memory when another one has written to the database since."""

from functools import lru_cache

import sqlalchemy as sa

from weft.model.ids import PortId, Revision, SubnetId
from weft.store import schema as t
from weft.store.changes import Kind
from weft.store.codec import decode_port
from weft.store.group import Kept
from weft.store.snapshot import MAX_KEYS, Snapshot

MAX_CHANGES = 2_000
"""Foreign changes that allocators are told one by one; after more they are built anew."""


def catch_up(kept: Kept, snapshot: Snapshot, seen: Revision) -> None:
    """Forget what may have changed after revision `seen`, and tell allocators which addresses are taken now.

    Of addresses that were given up meanwhile nothing is told: they count as taken until an allocator finds none free
    and is built anew (Pools.doubt).
    """
    kept.forget()
    rows = snapshot.run(_SINCE, seen=seen).fetchmany(MAX_CHANGES + 1)
    if len(rows) > MAX_CHANGES or seen + 1 < (snapshot.run(_OLDEST).fetchone()[0] or 0):
        kept.pools.clear()
        return
    for kind, id_ in rows:
        if kind == Kind.SUBNET:
            kept.pools.forget(SubnetId(id_))
    ports = [PortId(id_) for kind, id_ in rows if kind == Kind.PORT]
    for start in range(0, len(ports), MAX_KEYS):
        part = ports[start : start + MAX_KEYS]
        keys = {f"id{at}": id_ for at, id_ in enumerate(part)}
        for (body,) in snapshot.run(_bodies(len(part)), **keys):
            for held in decode_port(body).fixed_ips:
                kept.pools.learn(held.subnet_id, int(held.address))
    kept.pools.doubt()


@lru_cache(maxsize=64)
def _bodies(keys: int) -> sa.Select[tuple[bytes]]:
    return sa.select(t.ports.c.body).where(t.ports.c.id.in_([sa.bindparam(f"id{at}") for at in range(keys)]))


_SINCE = (
    sa.select(t.changes.c.kind, t.changes.c.id)
    .where(t.changes.c.revision > sa.bindparam("seen"))
    .order_by(t.changes.c.revision)
)
_OLDEST = sa.select(sa.func.min(t.changes.c.revision))
