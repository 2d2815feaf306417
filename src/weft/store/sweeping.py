"""What nobody needs any more: deleted little by little, with groups that are written anyway.

A hundred thousand ports that are deleted at once are a hundred thousand histories to forget a day later. All of it in
one group would keep everybody else waiting, so a sweep takes no more than so many of each; while there may be more, it
goes on with the next group.
"""

import sqlalchemy as sa

from weft.model.ids import Revision
from weft.store import schema as t
from weft.store.group import Group
from weft.store.snapshot import Snapshot

LOG_KEPT = 100_000
"""Revisions that the change log reaches back; a watcher that is further behind reads anew."""
SWEEP_EVERY = 1_000
"""Revisions between two sweeps."""
RELEASED_HISTORY_S = 86_400.0
"""How long the history of a deleted port is kept."""
AT_ONCE = 1_000
"""Revisions of the log, and addresses that have rested, that one sweep deletes."""
PORTS_AT_ONCE = 200
"""Deleted ports whose histories one sweep forgets: each has several rows."""


class Sweeper:
    """Knows when to sweep. For one writer."""

    def __init__(self) -> None:
        self._swept_at = Revision(0)
        self._is_behind = False

    def sweep(self, group: Group, now: float) -> None:
        """Delete some of what is over at that time (Unix seconds), if it is time to."""
        if not self._is_behind and group.head - self._swept_at < SWEEP_EVERY:
            return
        rows = group.snapshot()
        more = [
            _cut_log(rows, group.head - LOG_KEPT),
            _forget_rested(rows, now),
            _forget_histories(rows, now - RELEASED_HISTORY_S),
        ]
        self._swept_at, self._is_behind = group.head, any(more)


def _cut_log(rows: Snapshot, oldest_kept: int) -> bool:
    """Cut some of the change log; tell whether there is more to cut."""
    oldest = rows.run(_OLDEST).fetchone()[0]
    if oldest is None or oldest >= oldest_kept:
        return False
    rows.run(_CUT, oldest=oldest, until=min(oldest_kept, oldest + AT_ONCE))
    return bool(oldest + AT_ONCE < oldest_kept)


def _forget_rested(rows: Snapshot, now: float) -> bool:
    """Forget some addresses that rest no longer; tell whether there may be more of them."""
    return bool(rows.run(_FORGET_RESTED, now=now, count=AT_ONCE).rowcount == AT_ONCE)


def _forget_histories(rows: Snapshot, until: float) -> bool:
    """Forget the histories of some ports that were deleted before; tell whether there may be more of them."""
    rows.run(_FORGET_HISTORIES, until=until, count=PORTS_AT_ONCE)
    return bool(rows.run(_FORGET_PORTS, until=until, count=PORTS_AT_ONCE).rowcount == PORTS_AT_ONCE)


_OLDEST = sa.select(sa.func.min(t.changes.c.revision))
_CUT = sa.delete(t.changes).where(
    t.changes.c.revision >= sa.bindparam("oldest"), t.changes.c.revision < sa.bindparam("until")
)

_rested = sa.alias(t.resting_ips, "rested")
_RESTED = (
    sa.select(_rested.c.network_id, _rested.c.address)
    .where(_rested.c.until < sa.bindparam("now"))
    .order_by(_rested.c.until)
    .limit(sa.bindparam("count"))
    .offset(sa.literal_column("0"))
)
_FORGET_RESTED = sa.delete(t.resting_ips).where(
    sa.tuple_(t.resting_ips.c.network_id, t.resting_ips.c.address).in_(_RESTED)
)

_gone = sa.alias(t.released_ports, "gone")
_LONG_GONE = (
    sa.select(_gone.c.port_id)
    .where(_gone.c.at < sa.bindparam("until"))
    .order_by(_gone.c.at, _gone.c.port_id)
    .limit(sa.bindparam("count"))
    .offset(sa.literal_column("0"))
)
_FORGET_HISTORIES = sa.delete(t.history).where(t.history.c.port_id.in_(_LONG_GONE))
_FORGET_PORTS = sa.delete(t.released_ports).where(t.released_ports.c.port_id.in_(_LONG_GONE))
