"""Turns: a group of work in one transaction of the database, tried in bulk, and once more carefully if that fails.

What can be done of a group before its turn is drafted (weft.store.draft). In the turn it is first caught up with what
others have written; then the pieces are run that were not drafted, and all is committed. A piece that fails is undone
alone. What a group writes goes into the database in few statements at its end; if one of them hits a key that is taken,
the group is run again carefully, and only the piece fails that asked for the key.
"""

import time
from collections.abc import Callable, Sequence

import structlog

from weft.model.errors import WeftError
from weft.model.ids import Revision
from weft.store.catching_up import News, catch_up, news_of, questions
from weft.store.changes import HEAD
from weft.store.damage import Damage
from weft.store.draft import Draft, Pauses
from weft.store.engine import Answer, Connection, Engine, Question
from weft.store.group import Group, Kept, NotKeptError
from weft.store.serials import AT_HAND
from weft.store.statements import question
from weft.store.sweeping import Sweeper
from weft.store.transaction import Transaction
from weft.store.work import APART, Work, sorted_out

log = structlog.get_logger()


class _AgainCarefully(Exception):
    """A group cannot go on as it is, because of one of its pieces, and nobody knows which."""


class Turns:
    """Takes a process' turns to write, for one thread."""

    def __init__(
        self, engine: Engine, clock: Callable[[], float], random: Callable[[int], int], damage: Damage
    ) -> None:
        self.kept = Kept(random)
        self.commits = 0
        """How many groups were committed."""
        self.began = 0.0
        """When the last turn began (time.monotonic)."""
        self._engine = engine
        self._clock = clock
        self._random = random
        self._damage = damage
        self._connection: Connection | None = None
        self._sweeper = Sweeper()
        self._with_others = False
        """Whether another process has written between the last two groups, and so will have before the next."""
        self._apart = 0
        """In how many groups to come each piece is done alone: some that were done as one have failed."""
        self._pauses = Pauses()
        self._own: list[Transaction] = []
        """What is done in the present group for nobody's work."""

    def commit(self, works: list[Work], more: Callable[[list[Work]], None]) -> Revision:
        """Run pieces and commit; return the newest revision. If that raises, nothing has happened.

        `more` adds to them what is waiting by then.
        """
        try:
            return self._attempt_all(works, more)
        except _AgainCarefully:
            return self._attempt_all(works)

    def _attempt_all(self, works: list[Work], more: Callable[[list[Work]], None] | None = None) -> Revision:
        """Run the pieces; carefully if no more may come."""
        self._own.clear()
        for work in works:
            work.begin()
        draft = None
        if more is not None:
            more(works)
            draft = self._draft(works)
        try:
            connection, answers = self._begin_write(self._questions())
        except BaseException:
            self._undo(works)
            raise
        self.began = time.monotonic()
        if more is not None:
            more(works)  # the turn may have been another process' for long
        try:
            group = self._group(connection, answers, draft, careful=more is None)
            todo = [work for work in works if not work.is_drafted]
            if ahead := [id_ for work in todo for id_ in work.ports]:
                group.look_ahead(ahead)
            self._attempt_each(group, todo)
            self._provide(group)
            self._sweeper.sweep(group, self._clock())
            try:
                group.commit()
            except self._engine.duplicate as error:
                raise _AgainCarefully from error
            self.commits += 1
        except BaseException as error:
            self._undo(works)
            try:
                connection.rollback()
            except self._engine.failures:
                self.disconnect()
            if more is None and isinstance(error, _AgainCarefully):
                raise error.__cause__ or error from None
            raise
        return group.head

    def _draft(self, works: list[Work]) -> Draft | None:
        """Do what can be done of a group before its turn; return None if nothing is to be."""
        if self._apart:
            return None
        early = [
            alike for alike in sorted_out([work for work in works if work.is_early]) if self._pauses.is_over(alike)
        ]
        if not early:
            return None
        draft = Draft(self._engine, self.kept)
        if ahead := [id_ for alike in early for work in alike for id_ in work.ports]:
            try:
                draft.group.look_ahead(ahead, self._connected())
            except self._engine.failures:
                return None  # what is wrong is found when the turn begins
        for alike in early:
            self._attempt_early(draft, alike)
        return draft

    def _attempt_early(self, draft: Draft, works: Sequence[Work]) -> None:
        """Run one piece, or several as one, in a draft. Who errs, errs in the turn again, when all is known."""
        transaction = self._transaction(draft.group, works[0].asked_at)
        try:
            works[0].done(transaction, works)
        except NotKeptError:
            transaction.withdraw()
            self._pauses.lengthen(works)
        except Exception:
            transaction.withdraw()
        else:
            draft.add(works)

    def _transaction(self, group: Group, asked_at: float) -> Transaction:
        return Transaction(group, clock=self._clock, asked_at=asked_at, random=self._random)

    def _provide(self, group: Group) -> None:
        """Set aside numbers that drafts will ask for: they cannot."""
        for name, serials in self.kept.serials.items():
            if serials.left < AT_HAND:
                own = self._transaction(group, self._clock())
                self._own.append(own)
                own.set_aside(name, serials)
                own.finish()

    def _group(
        self,
        connection: Connection,
        answers: list[Answer],
        draft: Draft | None,
        *,
        careful: bool,
    ) -> Group:
        """Return the group that has its turn, with what was drafted if that holds, when others' writes are known."""
        found, *asked = answers
        head, kept = Revision(found[0][0] if found else 0), self.kept
        self._with_others = head != kept.seen
        news = None
        if self._with_others:
            news = news_of(kept, head, asked or connection.ask(questions(kept, self._engine.dialect)))
            if draft is not None and not draft.holds(news):
                self._abandon(draft, news)
                draft = None
        group = None if draft is None else draft.resume(connection, head, news)
        if draft is not None:
            self._pauses.end(draft.works)
        if self._with_others:
            catch_up(kept, news)
        return group or Group(self._engine, connection, kept, head, careful=careful)

    def _abandon(self, draft: Draft, news: News | None) -> None:
        """Undo a draft."""
        for work in reversed(draft.works):
            if work.transaction is not None:
                work.transaction.withdraw()
            work.begin()
        self._pauses.lengthen(draft.works)
        for subnet_id in draft.taken_twice(news) if news is not None else ():
            self.kept.pools.leap(subnet_id, self._random)

    def _attempt_each(self, group: Group, works: Sequence[Work]) -> None:
        """Run the pieces, those as one that may be."""
        for alike in [[work] for work in works] if group.careful or self._apart else sorted_out(works):
            if not self._attempt(group, alike):
                for work in alike:
                    self._attempt(group, [work])
        self._apart = max(0, self._apart - 1)

    def _attempt(self, group: Group, works: Sequence[Work]) -> bool:
        """Run one piece, or several as one. What it raises undoes only what it did.

        What one piece raises is its own; of several nobody knows whose it is: then return False.
        """
        first = works[0]
        transaction = self._transaction(group, first.asked_at)
        try:
            transaction.begin()
            first.done(transaction, works)
        except Exception as error:
            if self._damage.told_by(error) is not None:
                transaction.undo()
                raise  # nothing of the group is written: a write may spread what is wrong
            if not group.careful and isinstance(error, self._engine.failures):
                transaction.undo()
                raise _AgainCarefully from error
            transaction.give_up()
            if not group.connection.is_usable():
                raise  # The database gave up the whole group: a full disk, a broken cable.
            if len(works) > 1:
                self._apart = APART
                return False
            if not isinstance(error, WeftError):
                log.exception("work_failed", error=repr(error))
            first.error = error
            return True
        return True

    def _undo(self, works: Sequence[Work]) -> None:
        """Take back what allocators learnt from a group that is not committed, newest first."""
        for own in reversed(self._own):
            own.undo()
        for work in reversed(works):
            if work.transaction is not None:
                work.transaction.undo()
        self.kept.forget()

    def _questions(self) -> list[Question]:
        """Return what is asked when a turn begins: the newest revision, and what others have written, if they do."""
        dialect = self._engine.dialect
        return [question(dialect, HEAD), *(questions(self.kept, dialect) if self._with_others else ())]

    def _begin_write(self, asked: Sequence[Question]) -> tuple[Connection, list[Answer]]:
        """Begin a transaction, on a new connection if the old one broke since it was last used, and ask."""
        if self._connection is not None:
            try:
                return self._connection, self._connection.begin_write(asked)
            except self._engine.failures as error:
                if not self._engine.is_shared or self._damage.told_by(error):
                    raise
                log.warning("database_connection_lost", error=str(error))
                self.disconnect()
        connection = self._connected()
        return connection, connection.begin_write(asked)

    def _connected(self) -> Connection:
        """Return the connection that writes."""
        if self._connection is None:
            self._connection = self._engine.connect_to_write()
        return self._connection

    def disconnect(self) -> None:
        """End the connection; the next turn makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
