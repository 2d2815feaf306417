"""Drafts: work that is done before the turn to write, by what this process keeps alone.

The processes that share a database take turns to write, and while one has its turn the others only wait. What new ports
need is mostly kept from one group to the next (weft.store.group.Kept); so their work is done while the turn is waited
for, and only written in it. In the turn it is known what others have written meanwhile (weft.store.catching_up.News).
If that touches nothing that the work rests on, revisions and numbers of objects are moved by what others added to them,
and the draft is a group like any other. If it does, the draft is undone, and its work is done in the turn.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Never

from weft.model.ids import Revision, SubnetId
from weft.store import schema as t
from weft.store.catching_up import OF_ALL, News
from weft.store.engine import Connection, Engine
from weft.store.group import Group, Kept, NotKeptError
from weft.store.work import Work

PAUSE = 64
"""Groups for which work of a sort is not drafted at most."""


class NoConnection:
    """In place of a connection: whatever is asked of it, a draft is at its end there."""

    def __getattr__(self, name: str) -> Never:
        raise NotKeptError


class Pauses:
    """For how many groups work of a sort is not drafted after drafts that were of no use: for more each time, until one
    is. Of a sort is what the same function does; what is nobody's to share is of one sort."""

    def __init__(self) -> None:
        self._longest: Counter[object] = Counter()
        self._left: Counter[object] = Counter()

    def is_over(self, works: Sequence[Work]) -> bool:
        """Tell, once for each group, whether to draft works that are alike."""
        sort = _sort(works[0])
        if not self._left[sort]:
            return True
        self._left[sort] -= 1
        return False

    def lengthen(self, works: Iterable[Work]) -> None:
        """Note that to draft works was of no use."""
        for sort in set(map(_sort, works)):
            self._left[sort] = self._longest[sort] = min(2 * self._longest[sort] + 1, PAUSE)

    def end(self, works: Iterable[Work]) -> None:
        """Note that to draft works was of use."""
        for sort in set(map(_sort, works)):
            del self._longest[sort]


def _sort(work: Work) -> object:
    return work.run if work.is_shared else None


class Draft:
    """A group that is filled before its turn."""

    def __init__(self, engine: Engine, kept: Kept) -> None:
        connection: Any = NoConnection()
        self.group = Group(engine, connection, kept, kept.seen, careful=False)
        self.group.is_draft = True
        self.works: list[Work] = []
        """What has been done in it."""
        self._began_at = kept.seen
        self._kept = kept

    def add(self, works: Sequence[Work]) -> None:
        """Note works that have been done in it."""
        self.works += works
        for work in works:
            work.is_drafted = True

    def holds(self, news: News | None) -> bool:
        """Tell whether what others have written leaves alone what the draft rests on."""
        group = self.group
        if news is None or not group.counts.keys() <= news.usages.keys():
            return False
        if not (news.kinds.isdisjoint(OF_ALL) and news.kinds.isdisjoint(group.rests_on)):
            return False
        return group.asked.keys().isdisjoint(news.ports) and not self.taken_twice(news)

    def taken_twice(self, news: News) -> set[SubnetId]:
        """Return the subnets of which the draft has taken addresses that others have."""
        rows = self.group.layer.inserts.get(t.fixed_ips, {}).values()
        mine = {(row["subnet_id"], row["address"]) for row in rows}
        return {subnet_id for subnet_id, _ in mine.intersection(news.held)}

    def resume(self, connection: Connection, head: Revision, news: News | None) -> Group:
        """Return the group, to go on with in the turn; `news` None: nobody has written."""
        group = self.group
        group.connection, group.is_draft = connection, False
        if news is not None:
            counts = self._kept.usages
            for key, count in group.counts.items():
                group.counts[key] = count + news.usages[key] - counts[key]
            group.move(head - self._began_at)
        return group
