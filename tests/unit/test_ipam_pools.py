"""The allocator against a model that is too simple to be wrong, and at the sizes that matter."""

import time
from ipaddress import ip_address, ip_network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.thorough import examples

from weft.ipam.pools import AddressPool

REST_S = 30.0


class PoolAgainstModel(RuleBasedStateMachine):
    """Every address is free, taken or resting; the model is a set of each."""

    @initialize(
        starts=st.lists(st.integers(0, 40), min_size=1, max_size=3, unique=True),
        length=st.integers(1, 9),
        used=st.sets(st.integers(0, 60), max_size=8),
    )
    def begin(self, starts: list[int], length: int, used: set[int]) -> None:
        ranges, last = [], -1
        for start in sorted(starts):
            first = max(start, last + 1)
            last = first + length - 1
            ranges.append((first, last))
        self.inside = {address for first, last in ranges for address in range(first, last + 1)}
        self.pool = AddressPool(ranges, used)
        self.taken = set(used)
        self.resting: dict[int, float] = {}
        self.now = 100.0

    def wake(self) -> None:
        self.resting = {address: until for address, until in self.resting.items() if until > self.now}

    @rule()
    def allocate(self) -> None:
        given = self.pool.allocate(self.now)
        self.wake()
        free = self.inside - self.taken - self.resting.keys()
        if given is None:
            assert not free
        else:
            assert given in free
            self.taken.add(given)

    @rule(count=st.integers(1, 12))
    def allocate_several(self, count: int) -> None:
        given = self.pool.allocate_several(count, self.now)
        self.wake()
        free = self.inside - self.taken - self.resting.keys()
        assert len(given) == len(set(given)) == min(count, len(free))
        assert set(given) <= free
        self.taken.update(given)

    @rule(address=st.integers(0, 60))
    def take(self, address: int) -> None:
        given = self.pool.take(address, self.now)
        self.wake()
        assert given == (address not in self.taken and address not in self.resting)
        self.taken.add(address) if given else None

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def rest(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.taken)))
        self.pool.rest(address, self.now + REST_S)
        self.taken.remove(address)
        self.resting[address] = self.now + REST_S

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.taken)))
        self.pool.release(address)
        self.taken.remove(address)

    @precondition(lambda self: self.resting)
    @rule(data=st.data(), durable=st.booleans())
    def claim(self, data: st.DataObject, durable: bool) -> None:
        """Take an address that rests for the taker; if that is undone, it rests on."""
        address = data.draw(st.sampled_from(sorted(self.resting)))
        self.wake()
        self.pool.recall(address)
        assert self.pool.take(address, self.now)
        until = self.resting.pop(address, None)
        if durable or until is None:
            self.pool.settle(address)
            self.taken.add(address)
        else:
            self.pool.release(address)
            self.resting[address] = until

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "pool"):
            busy = self.inside & (self.taken | self.resting.keys())
            assert self.pool.free == len(self.inside) - len(busy)
            assert self.pool.resting == len(self.resting)


PoolAgainstModel.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)
TestPoolAgainstModel = PoolAgainstModel.TestCase


def test_a_freed_address_is_given_out_last() -> None:
    pool = AddressPool([(10, 13)])
    assert [pool.allocate(0.0) for _ in range(3)] == [10, 11, 12]
    pool.rest(10, 30.0)
    assert pool.allocate(40.0) == 13
    assert pool.allocate(40.0) == 10


def test_several_addresses_are_those_that_would_be_given_out_one_by_one() -> None:
    one, several = (AddressPool([(0, 9000), (20000, 20100)], {3, 4, 4095, 4096, 8000}) for _ in range(2))
    for pool in (one, several):
        pool.release(8000)
    for count in (1, 700, 5000, 3000, 400):
        given = several.allocate_several(count, 0.0)
        wanted = [one.allocate(0.0) for _ in range(count)]
        assert given == [address for address in wanted if address is not None]
        assert one.free == several.free


def test_a_resting_address_is_nobodys() -> None:
    pool = AddressPool([(1, 1)])
    assert pool.allocate(0.0) == 1
    pool.rest(1, 30.0)
    assert pool.allocate(29.9) is None
    assert not pool.take(1, 29.9)
    assert pool.take(1, 30.0)


def test_resting_twice_counts_from_the_last_time() -> None:
    pool = AddressPool([(1, 1)])
    pool.allocate(0.0)
    pool.rest(1, 30.0)
    assert pool.allocate(30.0) == 1
    pool.rest(1, 60.0)
    assert pool.allocate(45.0) is None
    assert pool.allocate(60.0) == 1


def test_after_a_restart_the_search_goes_on_behind_the_highest() -> None:
    pool = AddressPool([(1, 10)], used=[2, 7])
    assert [pool.allocate(0.0) for _ in range(4)] == [8, 9, 10, 1]


def test_the_last_address_of_a_nearly_full_slash_12_within_5_ms() -> None:
    network = ip_network("10.0.0.0/12")
    first, last = int(network[1]), int(network[-2])
    left = {first + 1000, first + 777_777}
    pool = AddressPool([(first, last)], (number for number in range(first, last + 1) if number not in left))
    took = []
    for _ in range(2):
        began = time.perf_counter()
        assert pool.allocate(0.0) in left
        took.append(time.perf_counter() - began)
    assert pool.allocate(0.0) is None
    assert min(took) < 0.005


def test_ipv6_costs_what_is_used_of_it() -> None:
    network = ip_network("2001:db8::/64")
    pool = AddressPool([(int(network[1]), int(network[-1]))])
    given = [pool.allocate(0.0) for _ in range(1000)]
    assert ip_address(given[0] or 0) == network[1]
    assert len(set(given)) == 1000
    assert pool.size == 2**64 - 1
    far = int(ip_address("2001:db8::f816:3eff:fe73:2a7e"))
    assert pool.take(far, 0.0)
    assert not pool.take(far, 0.0)
    assert pool.allocate(0.0) == given[-1] + 1  # type: ignore[operator]
    assert sum(map(len, pool._chunks.values())) < 5000


def test_a_search_leaps_on_within_the_pool_and_not_too_far() -> None:
    pool = AddressPool([(0, (1 << 64) - 1)])
    assert pool.allocate(0.0) == 0
    pool.leap((1 << 63) + 5)
    assert pool.allocate(0.0) == 6
    small = AddressPool([(10, 13), (20, 21)])
    assert [small.allocate(0.0) for _ in range(2)] == [10, 11]
    small.leap(3)
    assert small.allocate(0.0) == 21
    small.leap(6 * 7 + 1)
    assert [small.allocate(0.0) for _ in range(4)] == [12, 13, 20, None]
    empty = AddressPool([])
    empty.leap(3)
    assert empty.allocate(0.0) is None


def test_what_is_taken_back_is_given_out_next() -> None:
    pool = AddressPool([(10, 13), (20, 21)])
    assert pool.allocate_several(3, 0.0) == [10, 11, 12]
    for address in (12, 11):
        pool.take_back(address)
    assert pool.allocate(0.0) == 11
    assert pool.allocate_several(4, 0.0) == [12, 13, 20, 21]
    pool.take_back(21)
    assert pool.allocate(0.0) == 21
    pool.release(11)
    pool.take_back(13)  # not the last one: the search goes on behind that
    assert [pool.allocate(0.0) for _ in range(3)] == [11, 13, None]
    pool.take_back(99)
