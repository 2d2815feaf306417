"""How many ports are kept ready: by what was asked for lately."""

from weft.agent.cni.pool import (
    GIVE_BACK_AFTER_S,
    ORDER_AGAIN_AFTER_S,
    WINDOW_S,
    Demand,
    Stock,
    WarmPolicy,
    want,
    want_of,
)
from weft.protocol.workload import MAX_WARM

POLICY = WarmPolicy(cables=8, ports=8, ports_max=64, hold_s=600.0)


def asked(count: int, at: float = 0.0) -> Demand:
    demand = Demand(POLICY, at)
    for _ in range(count):
        demand.ask(at)
    return demand


def test_a_want_is_read_back_from_what_a_port_remembers_of_it() -> None:
    wanted = want("shop", None, {"tier": "db", "env": "prod"})
    assert want_of(wanted.key()) == wanted
    assert str(wanted) == "any network with env=prod, tier=db"
    assert str(want(None, "pods", {})) == "network pods"
    for nonsense in ("", "{}", "[1]", '["a", "b"]'):
        assert want_of(nonsense) is None


def test_few_starts_keep_few_ready_and_many_keep_many() -> None:
    assert asked(1).target(0.0) == 8
    assert asked(40).target(0.0) == 40
    assert asked(1000).target(0.0) == 64
    assert asked(40).target(WINDOW_S) == 8, "what was asked longer ago does not count"


def test_more_are_ordered_when_half_are_gone_all_in_one() -> None:
    demand = asked(1)
    assert demand.order(Stock(), 1, 0.0) == 9
    assert demand.order(Stock(8), 0, 0.0) == 0
    assert demand.order(Stock(5), 0, 0.0) == 0
    assert demand.order(Stock(3), 0, 0.0) == 5
    assert demand.order(Stock(3, coming=5), 0, 0.0) == 0, "what is on its way counts"


def test_who_waits_is_ordered_for_besides() -> None:
    assert asked(100).order(Stock(), 100, 0.0) == 164
    assert asked(1000).order(Stock(), 1000, 0.0) == MAX_WARM, "an order is bounded"
    assert asked(100).order(Stock(0, coming=164), 100, 0.0) == 0


def test_an_order_that_failed_is_not_repeated_at_once() -> None:
    demand = asked(1)
    demand.failed(10.0)
    assert demand.order(Stock(), 0, 10.0 + ORDER_AGAIN_AFTER_S / 2) == 0
    assert demand.order(Stock(), 0, 10.0 + ORDER_AGAIN_AFTER_S) == 8
    assert demand.order(Stock(), 1, 10.0 + ORDER_AGAIN_AFTER_S / 2) > 0, "who waits does not wait so long"


def test_nothing_is_kept_when_nobody_asks_any_more() -> None:
    demand = asked(1)
    assert demand.give_back(Stock(8), 599.0) == 0
    assert demand.give_back(Stock(8), 600.0) == 8
    assert demand.order(Stock(), 0, 600.0) == 0


def test_a_burst_leaves_no_surplus_for_ever() -> None:
    demand = asked(60)
    assert demand.give_back(Stock(60), 0.0) == 0
    assert demand.give_back(Stock(60), WINDOW_S) == 0, "the next burst may come soon"
    assert demand.give_back(Stock(60), WINDOW_S + GIVE_BACK_AFTER_S) == 52
    assert demand.give_back(Stock(2, coming=58), WINDOW_S + GIVE_BACK_AFTER_S) == 0


def test_no_warm_ports_are_wanted_where_the_policy_says_none() -> None:
    demand = Demand(WarmPolicy(ports=0), 0.0)
    demand.ask(0.0)
    assert demand.target(0.0) == 0
    assert demand.order(Stock(), 1, 0.0) == 1, "only who waits"
