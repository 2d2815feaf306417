"""The FRR driver between a switch's words, recorded from a real one, and its script; and what it makes of failures."""

import contextlib
import ipaddress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from weft.fabric.config import (
    Attachment,
    FabricLink,
    ManagementSegment,
    Segment,
    SwitchConfig,
    Underlay,
    Vrf,
)
from weft.fabric.plan import plan
from weft.model.errors import Permanent, Transient
from weft.model.ids import SiteName, SwitchName
from weft.model.inventory import Dialect, Switch, SwitchRole
from weft.switches.driver import DriverSettings, driver_for
from weft.switches.frr import driver as frr_driver
from weft.switches.frr.driver import FrrDriver
from weft.switches.frr.parts import split
from weft.switches.frr.scripts import vrf_kind
from weft.switches.ssh import Finished

RECORDED = Path(__file__).with_name("frr").joinpath("observed_netns.txt").read_text()
PROBED = " MPLS                           Off\n VRF                            Namespaces\n"
LEAF = SwitchConfig(
    name=SwitchName("leaf1"),
    underlay=Underlay(
        asn=65101,
        loopback=ipaddress.IPv4Address("10.255.0.11"),
        links=(
            FabricLink(
                interface="eth1",
                address=ipaddress.IPv4Interface("10.254.0.1/31"),
                peer="spine1",
                peer_address=ipaddress.IPv4Address("10.254.0.0"),
                peer_asn=65000,
            ),
        ),
        management=ManagementSegment(gateway=ipaddress.IPv4Interface("172.31.1.1/24"), interfaces=("eth11", "eth12")),
    ),
    vrfs=(Vrf(name="v50001", l3vni=50001),),
    segments=(Segment(vni=10101, vrf="v50001", gateways=(ipaddress.ip_interface("10.0.1.1/24"),)),),
    attachments=(Attachment(interface="eth11", vlan=101, vni=10101),),
)


class SaidSession:
    """A switch that answers what it was told to; the last answer is given for ever."""

    def __init__(self, *answers: Finished) -> None:
        self.answers = list(answers)
        self.scripts: list[str] = []
        self.is_connected = True

    async def run(self, script: str) -> Finished:
        self.scripts.append(script)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def write(self, script: str, *, once: bool = False) -> Finished:
        return await self.run(script)

    async def close(self) -> None:
        self.is_connected = False


@pytest.fixture(autouse=True)
def _bpf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frr_driver, "_bpf_object", lambda: b"an object")  # what is compiled at set-up
    monkeypatch.setattr(frr_driver, "SETTLE_WAIT_S", 0.0)


def driven(*answers: Finished) -> tuple[FrrDriver, SaidSession]:
    driver = FrrDriver(SwitchName("leaf1"), "192.0.2.1", DriverSettings(key_file=Path("/nowhere")))
    session = SaidSession(Finished(0, PROBED, ""), *answers)
    driver._session = session  # type: ignore[assignment]
    return driver, session


def said(output: str = RECORDED, status: int = 0, errors: str = "") -> Finished:
    return Finished(status, output, errors)


async def test_recorded_switch_is_what_was_applied() -> None:
    driver, _ = driven(said())
    observed = await driver.observe()
    assert observed.config == LEAF
    assert not observed.drift
    assert observed.facts.layout == "netns"
    assert [session.peer for session in observed.facts.sessions] == ["spine1", "spine1"]


@pytest.mark.parametrize(
    ("lost", "shown"),
    [
        (" vni 50001\n", "vrf v50001 l3vni 0"),
        ("  neighbor fabric activate\n", "mtu 0"),
        ("net.ipv4.ip_forward=1", "mtu 0"),
    ],
)
async def test_what_the_recording_lacks_shows_in_the_plan(lost: str, shown: str) -> None:
    driver, _ = driven(said(RECORDED.replace(lost, "", 1)))
    diff = str(plan((await driver.observe()).config, LEAF))
    assert shown in diff


async def test_switch_whose_zebra_lags_is_read_again() -> None:
    lagging = RECORDED.replace('"10101":', '"10999":')
    driver, session = driven(said(lagging), said(lagging), said())
    assert (await driver.observe()).config == LEAF
    assert len(session.scripts) == 4


async def test_switch_whose_zebra_never_follows_gets_its_vxlan_anew() -> None:
    driver, session = driven(said(RECORDED.replace('"10101":', '"10999":')))
    observed = await driver.observe()
    assert observed.config.segments[0].mtu_bytes == 0
    await driver.apply(plan(observed.config, LEAF), LEAF, observed)
    assert "link set vx10101 group" in session.scripts[-1]
    assert "link add vx10101 netns v50001" in session.scripts[-1]


async def test_nothing_to_do_is_an_empty_script() -> None:
    driver, session = driven(said())
    observed = await driver.observe()
    await driver.apply(plan(observed.config, LEAF), LEAF, observed)
    after_functions = session.scripts[-1].split("no_entry()")[1].splitlines()[1:]
    assert not any(after_functions)


async def test_added_network_touches_nothing_of_frr() -> None:
    driver, session = driven(said())
    observed = await driver.observe()
    more = Segment(vni=10102, vrf="v50001", gateways=(ipaddress.ip_interface("10.0.2.1/24"),))
    desired = replace(LEAF, segments=(*LEAF.segments, more))
    await driver.apply(plan(observed.config, desired), desired, observed)
    script = session.scripts[-1].split("no_entry()")[1]
    assert "vtysh" not in script
    assert "configure" not in script
    assert "vx10101" not in script
    assert "link add vx10102 netns v50001" in script


@pytest.mark.parametrize("daemon", ["bgpd", "zebra", "mgmtd"])
async def test_missing_daemon_is_transient_and_named(daemon: str) -> None:
    driver, _ = driven(said(RECORDED.replace(f" {daemon}", "", 1)))
    with pytest.raises(Transient, match=f"FRR is not ready: without {daemon}"):
        await driver.observe()


async def test_cut_answer_is_transient() -> None:
    driver, _ = driven(said(RECORDED[: len(RECORDED) // 2]))
    with pytest.raises(Transient, match="not ready"):
        await driver.observe()


@pytest.mark.parametrize("kept", range(0, len(RECORDED), 257))
async def test_an_answer_cut_off_anywhere_is_tried_again_or_shows_what_is_missing(kept: int) -> None:
    driver, _ = driven(said(RECORDED[:kept]))
    try:
        observed = await driver.observe()
    except Transient:
        return
    assert observed.config != LEAF


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_garbage_in_an_answer_is_tried_again_or_shows(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(RECORDED) - 1))
    length = data.draw(st.integers(0, 400))
    noise = data.draw(st.text(max_size=40))
    driver, _ = driven(said(RECORDED[:start] + noise + RECORDED[start + length :]))
    with contextlib.suppress(Transient):
        await driver.observe()


async def test_refused_line_is_permanent_and_said() -> None:
    driver, session = driven(said())
    observed = await driver.observe()
    session.answers = [said("", 2, "leaf1(config)# frob\n% Unknown command: frob\nweft: rejected: configuration\n")]
    with pytest.raises(Permanent, match=r"leaf1 refused the configuration: .*Unknown command: frob"):
        await driver.apply(plan(observed.config, LEAF), LEAF, observed)


async def test_failed_stage_is_transient_and_said() -> None:
    driver, session = driven(said())
    observed = await driver.observe()
    session.answers = [said("", 1, "RTNETLINK answers: File exists\nCommand failed -:1\nweft: failed: ip\n")]
    with pytest.raises(Transient, match=r"switch leaf1: RTNETLINK answers: File exists"):
        await driver.apply(plan(observed.config, LEAF), LEAF, observed)


async def test_a_zebra_that_has_just_begun_hears_of_the_neighbours_once() -> None:
    young = Finished(0, RECORDED.replace("=== weft frr", "=== weft zebra\n1000\n1002\n\n=== weft frr", 1), "")
    old = Finished(0, young.output.replace("\n1002\n", "\n1999\n"), "")
    driver, session = driven(young)
    for _ in range(2):
        assert (await driver.observe()).config == LEAF
    assert ["nud probe" in script for script in session.scripts].count(True) == 1
    other, session = driven(old)
    await other.observe()
    assert not any("nud probe" in script for script in session.scripts), "it has heard of them by itself"


async def test_closed_driver_asks_for_the_layout_again() -> None:
    driver, session = driven(said())
    await driver.observe()
    await driver.close()
    session.answers = [Finished(0, PROBED, ""), said()]
    await driver.observe()
    assert "show zebra" in session.scripts[-2]


@pytest.mark.parametrize(
    ("output", "error", "text"),
    [
        ("zebra is not running\n", Transient, "FRR is not ready: zebra is not running"),
        ("", Transient, "zebra does not answer"),
        (" VRF                            Sorcery\n", Permanent, "VRFs of the kind 'Sorcery'"),
    ],
)
async def test_switch_without_vrfs_is_told_from_one_without_zebra(
    output: str, error: type[Exception], text: str
) -> None:
    driver, session = driven(said())
    session.answers = [Finished(0, output, "")]
    with pytest.raises(error, match=text):
        await driver.observe()


async def test_much_configuration_is_typed_in_portions() -> None:
    driver, session = driven(said())
    observed = await driver.observe()
    desired = replace(LEAF, vrfs=tuple(Vrf(name=f"v{number}", l3vni=number) for number in range(50001, 50501)))
    await driver.apply(plan(observed.config, desired), desired, observed)
    calls = session.scripts[-1].split("\nconfigure configuration ")[1:]
    assert len(calls) > 1
    assert all(len(call.split("\nip ")[0]) < 100_000 for call in calls)
    assert all(call.startswith(("'vrf ", "'router bgp ")) for call in calls)


def test_kinds_of_vrf() -> None:
    devices = " VRF                            l3mdev Available\n"
    assert vrf_kind(devices + "VRF         Installs   Removals\n") == "l3mdev"
    assert vrf_kind(PROBED) == "Namespaces"
    assert vrf_kind("VRF                         Installs   Removals    Updates\n") is None


def test_parts_are_found_by_their_titles() -> None:
    assert split("noise\n\n=== weft one\na\nb\n\n=== weft space x\nc\n") == {"one": "a\nb\n\n", "space x": "c\n"}


def test_switches_that_cannot_be_driven_are_named() -> None:
    made = Switch(
        name=SwitchName("leaf1"), site=SiteName("x"), role=SwitchRole.LEAF, dialect=Dialect.NXOS, management="h"
    )
    settings = DriverSettings(key_file=Path("/nowhere"))
    with pytest.raises(Permanent, match="no driver for dialect 'nxos'"):
        driver_for(made, settings)
    with pytest.raises(Permanent, match="no management address"):
        driver_for(replace(made, management=None, dialect=Dialect.FRR), settings)
