"""The election of a leader for each shard, computed: who holds which lease, from what stands in the store.

A shard is a part of the controllers' work that needs nothing of the others in memory. All that is known of an election
is one value, the standing; whoever may lead reads it, computes its own part in it anew, and writes it, in one
transaction every RENEW_S. A leader renews its leases long before they are over, and stops the work of one that it could
not renew MARGIN_S before that; another leads MARGIN_S after it. So clocks may differ by MARGIN_S, and work has as long
to stop.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

LEASE_S = 10.0
"""How long a leader, or one that would like to lead, counts that is not heard of."""
RENEW_S = 2.0
"""How often leases are renewed, and asked for."""
MARGIN_S = 3.0
"""How long before its lease is over a leader that can't renew it stops, and how long after it another one leads."""
SETTLE_S = 10.0
"""For how long one must have voted before others make room for it: one that starts only to die is given nothing."""

SHARDS = "shards"
"""Who holds the one lease of former versions, as long as any shard is led: nobody of such a version then leads."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads a shard, in which term, and until when (Unix seconds; 0: it was given up)."""

    holder: str
    term: int
    """Grows whenever the lease is taken; never falls."""
    until: float
    since: float = 0.0
    """When it was taken."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One that may lead: since when it is there, until when it counts, and which shards' work it has."""

    since: float
    until: float
    shards: tuple[str, ...]
    failed: tuple[str, ...] = ()
    """Those of them whose work has failed there, and is let be for a while."""

    def is_able(self, shard: str) -> bool:
        """Whether it would lead a shard."""
        return shard in self.shards and shard not in self.failed

    @property
    def is_settled(self) -> bool:
        """Whether it has voted for long enough for others to make room for it."""
        return self.until - LEASE_S - self.since >= SETTLE_S


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of the election."""

    leases: Mapping[str, Lease] = {}
    """By shard."""
    candidates: Mapping[str, Candidate] = {}
    """By holder."""
    floor: int = 0
    """Every term that is begun is higher: the highest of leases that are forgotten, and of former versions."""

    def leader_of(self, shard: str, now: float) -> Lease | None:
        """Return the lease by which a shard is led; None if nobody leads it."""
        lease = self.leases.get(shard)
        return lease if lease is not None and now < lease.until else None

    def shards(self) -> list[str]:
        """Return the names of all shards that anybody leads, or is able to."""
        return sorted({*self.leases, *(shard for each in self.candidates.values() for shard in each.shards)})


@dataclass(frozen=True, slots=True)
class Part:
    """One candidate's own part, as it is right now."""

    holder: str
    shards: tuple[str, ...]
    """The shards whose work it has, those that it had better keep first."""
    failed: frozenset[str] = frozenset()
    """Those of them whose work has failed, and is let be for a while."""
    leads: frozenset[str] = frozenset()
    """Those whose work runs."""
    stopping: frozenset[str] = frozenset()
    """Those whose work was told to stop, and has not yet."""

    @property
    def able(self) -> list[str]:
        """The shards that it would lead."""
        return [shard for shard in self.shards if shard not in self.failed]


@dataclass(frozen=True, slots=True)
class Vote:
    """What came out: the new standing, the shards whose work is to begin, and one that is to be given back."""

    standing: Standing
    former: Lease | None
    """The one lease of former versions, to be written; None: it is theirs."""
    taken: tuple[str, ...] = ()
    offered: str | None = None
    """Its work is to be stopped: another one has far less to do."""


def vote(standing: Standing, former: Lease | None, part: Part, now: float) -> Vote:
    """Return the standing after a candidate's part in it: leases renewed, released, taken.

    A lease that is free is taken by whoever comes first, unless another candidate that could take it leads fewer
    shards. Who leads at least two more than another offers that one a shard, when every shard is led. So a lone
    candidate leads everything at once; no shard moves for less than a better spread, and each that moves makes it so.
    """
    theirs = former is not None and former.holder != SHARDS
    floor = max(standing.floor, former.term) if theirs and former is not None else standing.floor
    # One of a former version leads everything: our leases are over, or else it could not.
    barred = theirs and former is not None and not _is_over(former, now)
    candidates = _candidates(standing, part, now)
    leases = _kept(standing, part, () if barred else part.leads, now)
    forgotten = leases.keys() - {shard for each in candidates.values() for shard in each.shards}
    for shard in forgotten:
        if _is_over(leases[shard], now):
            floor = max(floor, leases.pop(shard).term)
    if barred:
        return Vote(Standing(leases=leases, candidates=candidates, floor=floor), None)
    taken = []
    for shard in part.able:
        lease = leases.get(shard)
        if shard in part.leads or shard in part.stopping or (lease is not None and not _is_over(lease, now)):
            continue
        if not _lighter(shard, leases, candidates, part.holder, now, by=1):
            term = max(floor, 0 if lease is None else lease.term) + 1
            leases[shard] = Lease(holder=part.holder, term=term, since=now, until=now + LEASE_S)
            taken.append(shard)
    offered = None if taken or part.stopping else _offered(part, leases, candidates, now)
    after = Standing(leases=leases, candidates=candidates, floor=floor)
    return Vote(after, _former(after), tuple(taken), offered)


def leave(standing: Standing, former: Lease | None, holder: str) -> Vote:
    """Return the standing without a candidate: what it led may be led by others at once."""
    leases = {
        shard: msgspec.structs.replace(lease, until=0.0) if lease.holder == holder else lease
        for shard, lease in standing.leases.items()
    }
    candidates = {name: each for name, each in standing.candidates.items() if name != holder}
    after = msgspec.structs.replace(standing, leases=leases, candidates=candidates)
    return Vote(after, _former(after) if former is not None and former.holder == SHARDS else None)


def pause_s(standing: Standing, former: Lease | None, part: Part, now: float) -> float:
    """Return how long a candidate may wait before its next vote: until a lease comes free that it could take."""
    others = [standing.leases[shard] for shard in part.able if shard in standing.leases]
    leases = [each for each in (former, *others) if each is not None and each.holder != part.holder]
    return min([RENEW_S, *(left for each in leases if (left := each.until + MARGIN_S - now) > 0)])


def clock_behind_s(standing: Standing, now: float) -> float:
    """Return by how much this clock is behind that of some candidate, at least; seconds, 0 if none is seen to be."""
    return max([0.0, *(each.until - LEASE_S - now for each in standing.candidates.values())])


def _is_over(lease: Lease, now: float) -> bool:
    return now >= lease.until + MARGIN_S


def _candidates(standing: Standing, part: Part, now: float) -> dict[str, Candidate]:
    """Return the candidates that count, this one among them."""
    there = {holder: each for holder, each in standing.candidates.items() if now < each.until}
    since = there[part.holder].since if part.holder in there else now
    failed = tuple(sorted(part.failed))
    return there | {part.holder: Candidate(since=since, until=now + LEASE_S, shards=part.shards, failed=failed)}


def _kept(standing: Standing, part: Part, renewed: Collection[str], now: float) -> dict[str, Lease]:
    """Return the leases, those of this candidate renewed whose work runs, and released where there is none."""
    kept = dict(standing.leases)
    for shard, lease in standing.leases.items():
        if lease.holder == part.holder and shard in renewed:
            kept[shard] = msgspec.structs.replace(lease, until=now + LEASE_S)
        elif lease.holder == part.holder and shard not in part.leads | part.stopping:
            kept[shard] = msgspec.structs.replace(lease, until=0.0)
    return kept


def _lighter(
    shard: str, leases: Mapping[str, Lease], candidates: Mapping[str, Candidate], holder: str, now: float, *, by: int
) -> bool:
    """Tell whether another candidate that is able to lead a shard leads fewer, by so many, and has been there a while.

    One that has just come may take what is free, but nobody waits for it.
    """
    held = Counter(lease.holder for lease in leases.values() if not _is_over(lease, now))
    return any(
        held[other] + by <= held[holder]
        for other, each in candidates.items()
        if other != holder and each.is_able(shard) and each.is_settled
    )


def _offered(part: Part, leases: Mapping[str, Lease], candidates: Mapping[str, Candidate], now: float) -> str | None:
    """Return the shard that is best given back, if one is."""
    if any(_is_over(lease, now) or lease.holder not in candidates for lease in leases.values()):
        return None  # What is free, or will be, evens it out first.
    mine: Iterable[str] = (shard for shard in reversed(part.able) if shard in part.leads)
    ours = (shard for shard in mine if shard in leases and leases[shard].holder == part.holder)
    return next((shard for shard in ours if _lighter(shard, leases, candidates, part.holder, now, by=2)), None)


def _former(standing: Standing) -> Lease:
    """Return the one lease of former versions, held for as long as any shard is led."""
    leases = standing.leases.values()
    term = max([standing.floor, *(lease.term for lease in leases)])
    return Lease(holder=SHARDS, term=term, until=max([0.0, *(lease.until for lease in leases)]))
