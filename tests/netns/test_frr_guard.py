"""A switch that guards itself: it undoes what cuts its controller off, and follows no controller that was deposed."""

import ipaddress
from collections.abc import Iterator

import pytest
from frr_fabric import LEAVES, FrrFabric, bare, tenant, until
from msgspec.structs import replace

from weft.controller import switch as reconciling
from weft.controller.switch import SwitchReconciler, Unconfirmed
from weft.fabric.config import SwitchConfig
from weft.fabric.plan import plan
from weft.model.errors import Transient
from weft.model.ids import SwitchName
from weft.switches import ssh

CONTROLLER = ipaddress.IPv4Address("192.168.78.1")
WITHIN_S = 6.0
TIMERS = "pgrep -f [c]onfirm/timer || true"


@pytest.fixture(scope="module")
def fabric() -> Iterator[FrrFabric]:
    made = FrrFabric()
    try:
        made.build()
        made.take_all(*(bare(name) for name in ("spine1", *LEAVES)))
        until("all BGP sessions are established", made.sessions_are_up)
        yield made
    finally:
        made.close()


def with_mtu(config: SwitchConfig, mtu_bytes: int) -> SwitchConfig:
    assert config.underlay is not None
    return replace(config, underlay=replace(config.underlay, mtu_bytes=mtu_bytes))


def on_the_controllers_address(config: SwitchConfig) -> SwitchConfig:
    """The wrong line: the controller's own address for a loopback. The switch takes all answers to it for its own."""
    assert config.underlay is not None
    return replace(config, underlay=replace(config.underlay, loopback=CONTROLLER))


def test_a_change_that_is_confirmed_stays(fabric: FrrFabric) -> None:
    fabric.take(tenant(1, "leaf1"))
    driver, wanted = fabric.drivers["leaf1"], with_mtu(tenant(1, "leaf1"), 4000)
    observed = fabric.observe("leaf1")
    fabric.run(driver.apply(plan(observed.config, wanted), wanted, observed, confirm_within_s=WITHIN_S))
    seen = fabric.observe("leaf1")
    assert (seen.config, seen.facts.is_confirmed) == (wanted, False)
    fabric.run(driver.confirm())
    until("its timer has run out", lambda: not fabric.on("leaf1", "bash", "-c", TIMERS), WITHIN_S + 3)
    seen = fabric.observe("leaf1")
    assert (seen.config, seen.facts.is_confirmed) == (wanted, True)
    fabric.take(bare("leaf1"))


def test_one_that_is_not_is_undone_and_ports_that_came_with_it_stay(fabric: FrrFabric) -> None:
    fabric.take(bare("leaf1"))
    wanted = with_mtu(tenant(1, "leaf1"), 4000)
    observed = fabric.observe("leaf1")
    driver = fabric.drivers["leaf1"]
    fabric.run(driver.apply(plan(observed.config, wanted), wanted, observed, confirm_within_s=WITHIN_S))
    until("it is undone", lambda: fabric.observe("leaf1").config == tenant(1, "leaf1"), WITHIN_S + 3)
    assert fabric.observe("leaf1").facts.is_confirmed
    with pytest.raises(Transient, match="not confirmed in time"):
        fabric.run(driver.confirm())
    until("all BGP sessions are established", fabric.sessions_are_up)
    fabric.take(bare("leaf1"))


def test_a_change_that_cuts_management_is_undone_by_the_switch(
    fabric: FrrFabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "CONFIRM_WITHIN_S", WITHIN_S)
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 2.0)
    fabric.take_all(*(tenant(1, leaf) for leaf in LEAVES))
    one = fabric.host("g1", "leaf1", "eth11", 101, "10.0.1.61/24", "10.0.1.1")
    other = fabric.host("g2", "leaf2", "eth11", 101, "10.0.1.62/24", "10.0.1.1")
    until("they reach each other", lambda: one.ping(other.address))
    reconciler = SwitchReconciler(SwitchName("leaf1"), lambda: fabric.driver("leaf1"))
    observed = fabric.run(reconciler.observe())
    with pytest.raises(Unconfirmed, match="which the switch undoes by itself"):
        fabric.run(reconciler.reconcile(observed, on_the_controllers_address(tenant(1, "leaf1"))))
    until("contact is back", lambda: _is_reached(fabric), 2 * WITHIN_S)
    assert fabric.observe("leaf1").config == tenant(1, "leaf1")
    until("they reach each other again", lambda: one.ping(other.address))
    fabric.run(reconciler.close())
    fabric.unplug(one)
    fabric.unplug(other)


def _is_reached(fabric: FrrFabric) -> bool:
    try:
        return fabric.observe("leaf1").facts.is_confirmed
    except Transient:
        return False


def test_a_deposed_controller_is_refused_from_the_moment_its_successor_is_there(fabric: FrrFabric) -> None:
    deposed, leader = fabric.driver("leaf2", term=3), fabric.driver("leaf2", term=4)
    before = fabric.run(deposed.observe())
    wanted = tenant(2, "leaf2")
    fabric.run(leader.observe())
    with pytest.raises(Transient, match="it follows the controller of term 4, and this one is of term 3"):
        fabric.run(deposed.apply(plan(before.config, wanted), wanted, before))
    assert fabric.observe("leaf2").config == before.config
    fabric.run(leader.apply(plan(before.config, wanted), wanted, before))
    assert fabric.observe("leaf2").config == wanted
    with pytest.raises(Transient, match="term 4"):
        fabric.run(fabric.driver("leaf2", term=3).observe())
    for driver in (deposed, leader):
        fabric.run(driver.close())
