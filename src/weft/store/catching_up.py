"""What a process does with its memory when another one has written to the database since.

What it has to ask for that is known before its turn begins, so it is asked with the begin, on the same way to the
database (`questions`), and used if somebody has written indeed (`news_of`, `catch_up`).
"""

import itertools
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from weft.model.addresses import number_of
from weft.model.ids import Revision, SubnetId
from weft.store import schema as t
from weft.store.changes import Kind
from weft.store.codec import decode
from weft.store.engine import Answer, Question
from weft.store.group import Kept
from weft.store.statements import numbered, padded, question, usages

MAX_CHANGES = 2_000
"""Foreign changes that are looked at one by one; after more everything is read anew."""
USAGES = 16
"""Numbers of a project's objects that are read again at once, because the next pieces of work are likely to ask."""

_PORTS = str(Kind.PORT)
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
OF_ALL = frozenset({kind for kind, tables in _TABLES.items() if tables})
"""The kinds that every piece of work may rest on."""


class _Held(msgspec.Struct, frozen=True, gc=False):
    """A port's address, as it is written: to make an address of it would take longer than all else here."""

    subnet_id: SubnetId
    address: str


class _Addresses(msgspec.Struct, frozen=True, gc=False):
    """What is to be known of a port here."""

    fixed_ips: tuple[_Held, ...] = ()


class News(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What other processes have written since this one last did, as far as it matters to what is kept."""

    kinds: frozenset[str]
    """Of what has changed."""
    subnets: tuple[SubnetId, ...]
    """Those that have."""
    ports: frozenset[str]
    """Those that have, or are gone."""
    held: list[tuple[SubnetId, str]]
    """Addresses that ports have got."""
    usages: dict[tuple[str, str], int]
    """How many objects of a kind projects have now, of those that are likely to be asked for."""


def questions(kept: Kept, dialect: sa.Dialect) -> list[Question]:
    """Return what is to be asked of a database in which another process has written."""
    seen = kept.seen
    asked = [question(dialect, _SINCE, seen=seen, last=seen + MAX_CHANGES, most=MAX_CHANGES + 1)]
    if known := padded(_likely(kept)):
        asked.append(question(dialect, usages(len(known)), **numbered(known, "project_id", "kind")))
    return asked


def news_of(kept: Kept, head: Revision, answers: Sequence[Answer]) -> News | None:
    """Return what has happened until revision `head`, by the answers to `questions`; None: too much to be told."""
    changes, *counts = answers
    if not kept.seen <= head <= kept.seen + MAX_CHANGES or len(changes) > MAX_CHANGES:
        return None
    usages = dict.fromkeys(_likely(kept), 0)
    usages.update({(project_id, kind): count for project_id, kind, count in itertools.chain(*counts)})
    kinds, subnets, ports = set(), [], []
    held: list[tuple[SubnetId, str]] = []
    for kind, id_, addresses, body in changes:
        kinds.add(kind)
        if kind == _PORTS:
            ports.append(id_)
            if addresses is None:
                held += _held_by(body)
            elif addresses:
                held += map(_held, addresses.split())
        elif kind == Kind.SUBNET:
            subnets.append(SubnetId(id_))
    return News(kinds=frozenset(kinds), subnets=tuple(subnets), ports=frozenset(ports), held=held, usages=usages)


def _held(written: str) -> tuple[SubnetId, str]:
    subnet_id, _, address = written.partition("/")
    return SubnetId(subnet_id), address


def _held_by(body: bytes | None) -> list[tuple[SubnetId, str]]:
    """Return the addresses of a port: an older version wrote no more of its change. None: it is gone."""
    ips = () if body is None else decode(_Addresses, body).fixed_ips
    return [(each.subnet_id, each.address) for each in ips]


def catch_up(kept: Kept, news: News | None) -> None:
    """Forget what may have changed, and tell allocators which addresses are taken now.

    Of addresses that were given up meanwhile nothing is told: they count as taken until an allocator finds none free
    and is built anew (Pools.doubt).
    """
    kept.usages.clear()
    if news is None:
        kept.forget()
        kept.pools.clear()
        return
    kept.forget_tables({table for kind in news.kinds for table in _TABLES.get(kind, (t.records,))})
    kept.usages.update(news.usages)
    for subnet_id in news.subnets:
        kept.pools.forget(subnet_id)
    for subnet_id, address in news.held:
        kept.pools.learn(subnet_id, number_of(address))
    kept.pools.doubt()


def _likely(kept: Kept) -> list[tuple[str, str]]:
    """Return whose numbers of which objects are likely to be asked for: those that were asked for last."""
    return list(itertools.islice(reversed(kept.usages), USAGES))[::-1]


_PORT = sa.select(t.ports.c.body).where(t.ports.c.id == t.changes.c.id).scalar_subquery()
_SINCE = (
    sa.select(
        t.changes.c.kind, t.changes.c.id, t.changes.c.addresses, sa.case((t.changes.c.addresses.is_(None), _PORT))
    )
    # Bounded on both sides: a database that knows nothing of the table yet takes that for few rows, and reads no more.
    .where(t.changes.c.revision > sa.bindparam("seen"), t.changes.c.revision <= sa.bindparam("last"))
    .order_by(t.changes.c.revision)
    .limit(sa.bindparam("most"))
    .offset(sa.literal_column("0"))
)
