"""The plan's tree against a plain model: a set of prefixes, and what may stand beside what."""

import functools
import random
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.thorough import examples

from weft.ipam.tree import Tree
from weft.model.addresses import IPNetwork
from weft.model.errors import Conflict, Invalid, NotFound, WeftError
from weft.model.plan import RANK, Delegation, Level, Owner

LEVELS = st.sampled_from(list(Level))


def prefix(cidr: str, owner: str = "global", id_: str = "") -> Delegation:
    level, _, name = owner.partition(":")
    return Delegation(id=id_ or f"{cidr}@{owner}", cidr=ip_network(cidr), owner=Owner(Level(level), name))


@st.composite
def cidrs(draw: st.DrawFn) -> IPNetwork:
    length = draw(st.integers(22, 28))
    index = draw(st.integers(0, (1 << (length - 20)) - 1))
    return ip_network((int(ip_network("10.0.0.0/20").network_address) + (index << (32 - length)), length))


def holds(outer: Delegation, inner: Delegation) -> bool:
    return set_of(outer) >= set_of(inner) and (set_of(outer) > set_of(inner) or RANK[outer.level] < RANK[inner.level])


@functools.lru_cache
def numbers(cidr: IPNetwork) -> frozenset[int]:
    """Return the /30s of a prefix, numbered."""
    first = int(cidr.network_address) // 4
    return frozenset(range(first, first + max(cidr.num_addresses // 4, 1)))


def set_of(each: Delegation) -> frozenset[int]:
    return numbers(each.cidr)


def allowed(outer: Delegation, inner: Delegation) -> bool:
    if outer.level is Level.RESERVED:
        return False
    return outer.level is Level.GLOBAL or RANK[outer.level] < RANK[inner.level]


class Plans(RuleBasedStateMachine):
    """Delegates, resizes and frees at random; a refusal is right if and only if the model says so."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.model: dict[str, Delegation] = {}
        self.made = 0

    def fits(self, new: Delegation, others: list[Delegation]) -> bool:
        for other in others:
            if set_of(other).isdisjoint(set_of(new)):
                continue
            if not (holds(other, new) or holds(new, other)):
                return False
            outer, inner = (other, new) if holds(other, new) else (new, other)
            if not allowed(outer, inner):
                return False
        return True

    @rule(cidr=cidrs(), level=LEVELS)
    def delegate(self, cidr: IPNetwork, level: Level) -> None:
        self.made += 1
        new = Delegation(id=str(self.made), cidr=cidr, owner=Owner(level, f"o{self.made}"))
        fits = self.fits(new, list(self.model.values()))
        try:
            self.tree = self.tree.delegate(new)
        except Conflict:
            assert not fits, f"{new} was refused"
        else:
            assert fits, f"{new} was taken"
            self.model[new.id] = new

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        gone = self.model[data.draw(st.sampled_from(sorted(self.model)))]
        inner = [each for each in self.model.values() if each is not gone and holds(gone, each)]
        try:
            self.tree = self.tree.free(gone.id)
        except Conflict:
            assert inner
        else:
            assert not inner
            del self.model[gone.id]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), by=st.integers(-3, 3))
    def resize(self, data: st.DataObject, by: int) -> None:
        found = self.model[data.draw(st.sampled_from(sorted(self.model)))]
        length = min(max(found.cidr.prefixlen + by, 18), 30)
        cidr = (
            found.cidr.supernet(new_prefix=length)
            if length <= found.cidr.prefixlen
            else next(found.cidr.subnets(new_prefix=length))
        )
        try:
            self.tree = self.tree.resize(found.id, cidr)
        except WeftError:
            return
        new = Delegation(id=found.id, cidr=cidr, owner=found.owner)
        others = [each for each in self.model.values() if each is not found]
        assert self.fits(new, others)
        for other in others:
            assert holds(other, new) == holds(other, found), "a resize changes what it lies in"
            assert holds(new, other) == holds(found, other), "a resize changes what lies in it"
        self.model[found.id] = new

    @invariant()
    def is_the_model(self) -> None:
        assert {each.id: each for each in self.tree} == self.model
        assert self.tree.problems() == []
        for each in self.model.values():
            around = [other for other in self.model.values() if other is not each and holds(other, each)]
            smallest = min(around, key=lambda other: (len(set_of(other)), -RANK[other.level]), default=None)
            assert self.tree.parent(each.id) == smallest
            assert self.tree.depth(each.id) == len(around)

    @invariant()
    def gaps_are_what_is_left(self) -> None:
        for each in self.model.values():
            taken = [set_of(child) for child in self.tree.children(each.id)]
            free = [numbers(gap) for gap in self.tree.gaps(each.id)]
            assert frozenset().union(*taken, *free) == set_of(each)
            assert sum(map(len, taken)) + sum(map(len, free)) == len(set_of(each))


Plans.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=20, deadline=None)
test_plans = Plans.TestCase


@given(st.lists(st.tuples(cidrs(), LEVELS), max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_delegations_does_not_matter(wanted: list[tuple[IPNetwork, Level]], dice: random.Random) -> None:
    tree = Tree()
    for at, (cidr, level) in enumerate(wanted):
        try:
            tree = tree.delegate(Delegation(id=str(at), cidr=cidr, owner=Owner(level, "x")))
        except Conflict:
            continue
    taken = list(tree)
    dice.shuffle(taken)
    again = Tree()
    for each in taken:
        again = again.delegate(each)
    assert list(again) == list(tree)
    assert [again.parent(each.id) for each in again] == [tree.parent(each.id) for each in tree]


@given(st.lists(st.tuples(cidrs(), LEVELS), max_size=5), st.lists(st.tuples(cidrs(), LEVELS), max_size=12))
@settings(deadline=None)
def test_many_are_taken_in_as_one_by_one(
    present: list[tuple[IPNetwork, Level]], wanted: list[tuple[IPNetwork, Level]]
) -> None:
    tree, _ = Tree().take_in(
        Delegation(id=f"p{at}", cidr=cidr, owner=Owner(level, "x")) for at, (cidr, level) in enumerate(present)
    )
    new = [Delegation(id=str(at), cidr=cidr, owner=Owner(level, "y")) for at, (cidr, level) in enumerate(wanted)]
    grown, refused = tree.take_in(new)
    assert grown.problems() == []
    assert {each.id for each in tree} <= {each.id for each in grown}, "what is there stays"
    assert {each.id for each in grown} == {each.id for each in [*tree, *new]} - {each.id for each, _ in refused}
    for each, why in refused:
        assert str(each.cidr) in why.message
        if not present:
            with pytest.raises(Conflict):
                grown.delegate(each)


def test_a_gap_is_cut_from_the_smallest_that_has_it() -> None:
    tree = Tree([prefix("10.0.0.0/16", id_="all")])
    for cidr in ("10.0.0.0/24", "10.0.2.0/24", "10.0.128.0/17"):
        tree = tree.delegate(prefix(cidr, "site:a"))
    assert tree.gap("all", 24) == ip_network("10.0.1.0/24")
    assert tree.gap("all", 23) == ip_network("10.0.4.0/23")
    assert tree.gap("all", 17) is None
    with pytest.raises(Invalid, match=r"/15 does not fit into 10\.0\.0\.0/16"):
        tree.gap("all", 15)


def test_a_gap_in_an_ipv6_prefix_costs_no_enumeration() -> None:
    tree = Tree([prefix("2001:db8::/32", id_="all")]).delegate(prefix("2001:db8::/48", "site:a"))
    assert tree.gap("all", 64) == ip_network("2001:db8:1::/64")


def test_a_later_prefix_takes_in_what_lies_in_it() -> None:
    tree = Tree().delegate(prefix("10.1.2.0/24", "subnet:s", "s")).delegate(prefix("10.0.0.0/8", id_="all"))
    assert tree.parent("s") == tree.find("all")
    tree = tree.delegate(prefix("10.1.2.0/24", "network:n", "n"))
    assert [each.id for each in tree] == ["all", "n", "s"]
    assert tree.parent("s") == tree.find("n")


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (("10.0.0.0/16", "site:a"), ("10.0.1.0/24", "site:b"), "lies in 10.0.0.0/16 (site:a): a prefix has one owner"),
        (("10.0.1.0/24", "site:b"), ("10.0.0.0/16", "site:a"), "holds 10.0.1.0/24 (site:b)"),
        (("10.0.0.0/16", "site:a"), ("10.0.0.0/16", "site:b"), "10.0.0.0/16 is delegated to site:a already"),
        (("10.0.0.0/16", "reserved"), ("10.0.9.0/24", "subnet:s"), "kept free (no reason given)"),
    ],
)
def test_overlap_is_refused(first: tuple[str, str], then: tuple[str, str], message: str) -> None:
    tree = Tree().delegate(prefix(*first))
    with pytest.raises(Conflict) as refused:
        tree.delegate(prefix(*then))
    assert message in refused.value.message


def test_a_resize_says_what_is_in_the_way() -> None:
    tree = Tree()
    for cidr, owner in (("10.0.0.0/8", "global"), ("10.1.0.0/16", "site:a"), ("10.2.0.0/16", "site:b")):
        tree = tree.delegate(prefix(cidr, owner, owner))
    tree = tree.delegate(prefix("10.1.255.0/24", "project:p"))
    with pytest.raises(Conflict, match=r"holds 10\.1\.255\.0/24 \(project:p\), outside 10\.1\.0\.0/17"):
        tree.resize("site:a", ip_network("10.1.0.0/17"))
    with pytest.raises(Conflict, match=r"10\.0\.0\.0/14 would take in 10\.2\.0\.0/16"):
        tree.resize("site:a", ip_network("10.0.0.0/14"))
    with pytest.raises(Conflict, match="larger than 10"):
        tree.resize("site:a", ip_network("8.0.0.0/6"))
    with pytest.raises(Invalid, match="cannot become"):
        tree.resize("site:a", ip_network("10.7.0.0/16"))
    with pytest.raises(NotFound, match="no prefix x"):
        tree.free("x")
    assert tree.resize("site:b", ip_network("10.2.0.0/15")).find("site:b").cidr == ip_network("10.2.0.0/15")
