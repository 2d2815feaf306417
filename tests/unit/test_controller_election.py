"""The election, computed: who takes what, who gives what back, and that terms never fall."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from weft.controller.election import (
    LEASE_S,
    MARGIN_S,
    RENEW_S,
    SETTLE_S,
    SHARDS,
    Lease,
    Part,
    Standing,
    Vote,
    clock_behind_s,
    leave,
    pause_s,
    vote,
)

ABLE = ("fabric", "addresses", "nova", "kubernetes/a")
T = 1_000_000.0


@dataclass
class Server:
    """A candidate whose work begins and stops at once."""

    name: str
    shards: tuple[str, ...] = ABLE
    failed: frozenset[str] = frozenset()
    leads: dict[str, int] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)
    offered: str | None = None

    def part(self) -> Part:
        return Part(holder=self.name, shards=self.shards, failed=self.failed, leads=frozenset(self.leads))


class Database:
    """What the servers vote in."""

    def __init__(self, former: Lease | None = None) -> None:
        self.standing = Standing()
        self.former = former
        self.now = T

    def vote(self, server: Server) -> Vote:
        voted = vote(self.standing, self.former, server.part(), self.now)
        self.standing, self.former = voted.standing, voted.former or self.former
        for shard in voted.taken:
            server.leads[shard] = self.standing.leases[shard].term
        for shard in list(server.leads):
            lease = self.standing.leases.get(shard)
            if lease is None or lease.holder != server.name:
                del server.leads[shard]
            else:
                server.until[shard] = lease.until
        if voted.offered is not None:
            del server.leads[voted.offered]
        return voted

    def leave(self, server: Server) -> None:
        left = leave(self.standing, self.former, server.name)
        self.standing, self.former = left.standing, left.former or self.former

    def go_on(self, seconds: float, *servers: Server) -> None:
        """Let time pass in which these servers vote, and the others do not."""
        for _ in range(round(seconds / RENEW_S)):
            self.now += RENEW_S
            for server in servers:
                self.vote(server)


def test_a_lone_candidate_leads_everything_at_once() -> None:
    database, one = Database(), Server("one")
    database.vote(one)
    assert one.leads == dict.fromkeys(ABLE, 1)
    database.go_on(100, one)
    assert one.leads == dict.fromkeys(ABLE, 1)


def test_one_that_comes_later_is_given_half_and_nothing_moves_after_that() -> None:
    database, one, two = Database(), Server("one"), Server("two")
    database.vote(one)
    database.vote(two)
    database.go_on(SETTLE_S - RENEW_S, one, two)
    assert two.leads == {}
    database.go_on(6 * RENEW_S, one, two)
    assert one.leads == {"fabric": 1, "addresses": 1}, "what is dear to move stays"
    assert two.leads == {"kubernetes/a": 2, "nova": 2}
    before = one.leads | two.leads
    database.go_on(1000, one, two)
    assert one.leads | two.leads == before
    assert set(one.leads) == {"fabric", "addresses"}


def test_who_comes_and_dies_again_is_given_nothing() -> None:
    database, one = Database(), Server("one")
    database.vote(one)
    for number in range(100):
        short_lived = Server(f"short-lived-{number}")
        database.vote(short_lived)
        database.go_on(SETTLE_S - RENEW_S, one, short_lived)
    assert one.leads == dict.fromkeys(ABLE, 1)


def test_only_the_shards_of_a_dead_one_move() -> None:
    database = Database()
    servers = [Server(name) for name in ("one", "two", "three")]
    database.go_on(60, *servers)
    dead = next(each for each in servers if len(each.leads) == 1)
    rest = [each for each in servers if each is not dead]
    [shard] = dead.leads
    before, died = [dict(each.leads) for each in rest], database.now
    database.go_on(LEASE_S, *rest)
    assert [each.leads for each in rest] == before, "its lease is not over yet"
    database.go_on(100, *rest)
    heir = next(each for each in rest if shard in each.leads)
    assert heir.leads[shard] == dead.leads[shard] + 1
    assert database.standing.leases[shard].since - died <= LEASE_S + MARGIN_S + RENEW_S
    del heir.leads[shard]
    assert [each.leads for each in rest] == before
    assert [len(each) for each in sorted(before, key=len)] == [1, 2], "the lighter of the two took it"
    assert heir.leads in [each for each in before if len(each) == 1]


def test_what_a_candidate_is_not_able_to_lead_it_is_not_given() -> None:
    database, one, two = Database(), Server("one"), Server("two", shards=("fabric", "nova"))
    database.vote(one)
    database.go_on(100, one, two)
    assert set(two.leads) == {"nova", "fabric"}
    two.failed = frozenset(two.shards)
    two.leads.clear()
    database.go_on(2 * RENEW_S, two, one)
    assert set(one.leads) == set(ABLE)


def test_a_shard_whose_work_ended_is_released_at_once() -> None:
    database, one, two = Database(), Server("one"), Server("two")
    database.vote(one)
    del one.leads["nova"]
    one.failed = frozenset({"nova"})
    database.vote(one)
    assert database.standing.leader_of("nova", database.now) is None
    assert "nova" in database.standing.shards(), "it is shown as led by nobody"
    database.vote(two)
    assert two.leads == {"nova": 2}


def test_a_shard_that_is_being_stopped_is_neither_renewed_nor_released() -> None:
    database, one = Database(), Server("one")
    database.vote(one)
    until = database.standing.leases["nova"].until
    database.now += RENEW_S
    rest = frozenset(ABLE) - {"nova"}
    part = Part(holder="one", shards=ABLE, leads=rest, stopping=frozenset({"nova"}))
    leases = vote(database.standing, database.former, part, database.now).standing.leases
    assert {shard for shard in ABLE if leases[shard].until == until} == {"nova"}


def test_a_shard_that_nobody_has_any_more_is_forgotten_and_its_term_is_not() -> None:
    database, one = Database(), Server("one")
    for _ in range(3):
        database.vote(one)
        database.leave(one)
        one.leads.clear()
    other = Server("other", shards=("fabric",))
    database.vote(other)
    assert (database.standing.shards(), other.leads) == (["fabric"], {"fabric": 4})
    database.vote(one)
    assert one.leads["nova"] == 4


@pytest.mark.parametrize("until", [0.0, T - MARGIN_S])
def test_terms_go_on_from_those_of_a_former_version(until: float) -> None:
    database, one = Database(Lease(holder="old", term=41, until=until)), Server("one", shards=("addresses",))
    database.vote(one)
    two = Server("two")
    database.vote(two)
    assert (one.leads, two.leads["fabric"]) == ({"addresses": 42}, 42)
    assert database.former is not None
    assert (database.former.holder, database.former.term) == (SHARDS, 42)


def test_nothing_is_taken_while_one_of_a_former_version_leads() -> None:
    old = Lease(holder="old", term=41, until=T + LEASE_S)
    database, one = Database(old), Server("one")
    voted = database.vote(one)
    assert (one.leads, database.former) == ({}, old)
    assert pause_s(voted.standing, old, one.part(), T + LEASE_S + MARGIN_S - 0.5) == pytest.approx(0.5)
    database.now = T + LEASE_S + MARGIN_S
    database.vote(one)
    assert one.leads == dict.fromkeys(ABLE, 42)


def test_one_of_a_former_version_finds_its_lease_taken_until_the_last_one_leaves() -> None:
    database, one, two = Database(), Server("one"), Server("two")
    database.vote(one)
    database.go_on(60, one, two)
    database.leave(one)
    assert database.former is not None
    assert database.former.until == database.now + LEASE_S
    database.leave(two)
    assert (database.former.until, database.former.term) == (0.0, 2), "and its term is higher than any of ours"
    # It leads for a while; then ours lead again.
    database.former = Lease(holder="old", term=3, until=0.0)
    one.leads.clear()
    database.vote(one)
    assert one.leads == dict.fromkeys(ABLE, 4)


def test_who_wakes_up_while_one_of_a_former_version_leads_does_not_renew() -> None:
    database, one = Database(), Server("one")
    database.vote(one)
    database.now += 100.0
    database.former = Lease(holder="old", term=2, until=database.now + LEASE_S)
    database.vote(one)
    assert database.standing.leader_of("fabric", database.now) is None


def test_a_vote_is_due_when_a_lease_that_one_could_take_comes_free() -> None:
    leases = {"fabric": Lease(holder="other", term=1, until=T), "nova": Lease(holder="other", term=1, until=T - 1.5)}
    standing, part = Standing(leases=leases), Part(holder="one", shards=("fabric",))
    assert pause_s(standing, None, part, T) == RENEW_S
    assert pause_s(standing, None, part, T + MARGIN_S - 0.25) == pytest.approx(0.25)
    assert pause_s(standing, None, part, T + MARGIN_S) == RENEW_S
    assert pause_s(standing, None, Part(holder="other", shards=("fabric",)), T + MARGIN_S - 0.25) == RENEW_S


def test_a_clock_that_is_behind_is_seen_by_who_has_it() -> None:
    database, ahead = Database(), Server("ahead")
    database.vote(ahead)
    assert clock_behind_s(database.standing, T) == 0.0
    assert clock_behind_s(database.standing, T + 1.0) == 0.0
    assert clock_behind_s(database.standing, T - 5.0) == 5.0


def test_a_former_lease_is_read_as_older_versions_wrote_it_and_written_as_they_read_it() -> None:
    class Old(msgspec.Struct, frozen=True, kw_only=True):
        holder: str
        term: int
        until: float

    old = Old(holder="old", term=41, until=7.0)
    assert msgspec.json.decode(msgspec.json.encode(old), type=Lease) == Lease(holder="old", term=41, until=7.0)
    new = Lease(holder=SHARDS, term=42, until=8.0, since=5.0)
    assert msgspec.json.decode(msgspec.json.encode(new), type=Old) == Old(holder=SHARDS, term=42, until=8.0)


class Elections(RuleBasedStateMachine):
    """Servers that come, die, sleep and leave; and old ones that would lead everything by the former lease."""

    @initialize(term=st.integers(0, 50))
    def begin(self, term: int) -> None:
        self.database = Database(Lease(holder="old", term=term, until=0.0) if term else None)
        self.servers: list[Server] = []
        self.made = 0
        self.highest = dict.fromkeys(ABLE, term)
        self.old_until, self.old_term = 0.0, 0

    @rule(shards=st.sampled_from([ABLE, ABLE, ABLE[:2], ABLE[1:]]))
    def come(self, shards: tuple[str, ...]) -> None:
        self.made += 1
        self.servers.append(Server(f"server-{self.made}", shards=shards))

    @precondition(lambda self: any(server.leads for server in self.servers))
    @rule(data=st.data())
    def work_fails(self, data: st.DataObject) -> None:
        server = data.draw(st.sampled_from([server for server in self.servers if server.leads]))
        shard = data.draw(st.sampled_from(sorted(server.leads)))
        del server.leads[shard]
        server.failed |= {shard}

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), seconds=st.floats(0.0, 5.0))
    def some_vote(self, data: st.DataObject, seconds: float) -> None:
        self.database.now += seconds
        for server in data.draw(st.lists(st.sampled_from(self.servers), unique_by=id)):
            self._vote(server)

    def _vote(self, server: Server) -> None:
        now = self.database.now
        for shard in list(server.leads):
            if now >= server.until[shard] - MARGIN_S:
                del server.leads[shard]  # run out
        taken = self.database.vote(server).taken
        for shard in taken:
            term = server.leads[shard]
            assert term > self.highest[shard], "terms grow"
            assert term > self.old_term
            self.highest[shard] = term

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), in_order=st.booleans())
    def go(self, data: st.DataObject, in_order: bool) -> None:
        server = data.draw(st.sampled_from(self.servers))
        self.servers.remove(server)
        if in_order:
            self.database.leave(server)

    @rule()
    def an_old_one_asks(self) -> None:
        """As a process of a former version did."""
        found, now = self.database.former, self.database.now
        if found is None or found.holder == "old" or now >= found.until + MARGIN_S:
            term = 0 if found is None else found.term
            taken = found is None or found.holder != "old"
            assert not taken or term >= max(self.highest.values()), "its term is higher than any of ours"
            self.old_term, self.old_until = term + taken, now + LEASE_S
            self.database.former = Lease(holder="old", term=self.old_term, until=self.old_until)

    @invariant()
    def at_most_one_works(self) -> None:
        if not hasattr(self, "servers"):
            return
        now = self.database.now
        working = [
            (shard, server.name)
            for server in self.servers
            for shard in server.leads
            if now < server.until[shard] - MARGIN_S
        ]
        assert len({shard for shard, _ in working}) == len(working)
        assert not working or now >= self.old_until - MARGIN_S, "an old one leads everything"

    @precondition(lambda self: self.servers)
    @rule()
    def in_the_end_all_is_led_evenly_and_at_rest(self) -> None:
        for server in self.servers:
            server.failed = frozenset()
        for _ in range(60):
            self.database.now += RENEW_S
            for server in self.servers:
                self._vote(server)
        able = {shard for server in self.servers for shard in server.shards}
        led = [shard for server in self.servers for shard in server.leads]
        assert sorted(led) == sorted(able)
        for one in self.servers:
            for other in self.servers:
                if set(one.leads) & set(other.shards):
                    assert len(one.leads) - len(other.leads) < 2
        before = [dict(server.leads) for server in self.servers]
        self.database.now += RENEW_S
        for server in self.servers:
            self._vote(server)
        assert [server.leads for server in self.servers] == before


TestElections = Elections.TestCase
TestElections.settings = settings(max_examples=60, stateful_step_count=30, suppress_health_check=list(HealthCheck))
