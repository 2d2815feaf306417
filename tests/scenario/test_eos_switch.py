"""EOS switches by eAPI, against a stand-in: whole changes or none, a commit timer, and every bad answer."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, ip_interface
from pathlib import Path

import pytest
from certificates import Authority
from eapi_switch import FACTORY, PASSWORD, EapiServer, EosSwitch
from msgspec.structs import replace

from weft.controller.switch import SwitchReconciler
from weft.fabric.config import Attachment, FabricLink, ManagementSegment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.dialects import eos
from weft.fabric.dialects.frr_text import Tree
from weft.fabric.plan import SwitchPlan, plan
from weft.model.errors import Permanent, Transient
from weft.model.ids import SiteName, SwitchName
from weft.model.inventory import Dialect, Switch, SwitchRole
from weft.switches.driver import DriverSettings, driver_for
from weft.switches.eos import driver as eos_driver
from weft.switches.eos.driver import EosDriver

LEAF1 = SwitchName("leaf1")
UPLINK = FabricLink(
    interface="Ethernet1",
    address=IPv4Interface("10.254.0.0/31"),
    peer="spine1",
    peer_address=IPv4Address("10.254.0.1"),
    peer_asn=65000,
)
UNDERLAY = Underlay(
    asn=65101,
    loopback=IPv4Address("10.255.0.3"),
    links=(UPLINK,),
    management=ManagementSegment(gateway=IPv4Interface("172.31.0.1/24"), interfaces=("Ethernet11",)),
    mtu_bytes=9214,
)
READY = SwitchConfig(name=LEAF1, underlay=UNDERLAY)
CARRYING = replace(
    READY,
    vrfs=(Vrf(name="v50001", l3vni=50001),),
    segments=(Segment(vni=10001, vrf="v50001", gateways=(ip_interface("10.0.1.1/24"),)), Segment(vni=10002)),
    attachments=(
        Attachment(interface="Ethernet11", vlan=100, vni=10001),
        Attachment(interface="Ethernet12", vlan=0, vni=10002),
    ),
)


@pytest.fixture
def device() -> EosSwitch:
    return EosSwitch()


@pytest.fixture
def server(device: EosSwitch, tmp_path: Path) -> Iterator[EapiServer]:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("leaf1", file="leaf1")
    with EapiServer(device, certificate, key) as made:
        yield made


def settings(folder: Path, *, term: int = 0, password: str = PASSWORD) -> DriverSettings:
    file = folder / "password"
    file.write_text(password + "\n")
    return DriverSettings(eapi_password_file=file, eapi_ca=folder / "authority.pem", term=term)


@pytest.fixture
def driver(server: EapiServer, tmp_path: Path) -> EosDriver:
    return EosDriver(LEAF1, server.address, settings(tmp_path))


async def push(driver: EosDriver, desired: SwitchConfig, *, confirm_within_s: float | None = None) -> None:
    observed = await driver.observe()
    steps = plan(observed.config, desired)
    await driver.apply(steps, desired, observed, confirm_within_s=confirm_within_s)


async def test_a_new_switch_is_taken_to_what_is_desired_and_read_back(driver: EosDriver, device: EosSwitch) -> None:
    reconciler = SwitchReconciler(LEAF1, lambda: driver)
    await reconciler.reconcile(await reconciler.observe(), CARRYING)
    assert (await driver.observe()).config == CARRYING
    assert [each.state for each in (await driver.observe()).facts.sessions] == ["Established"] * 2
    assert device.startup == device.running, "what is committed is kept over a restart"
    before = len(device.requests)
    await push(driver, CARRYING)
    assert not any("configure session" in line for request in device.requests[before:] for line in request)


async def test_everything_is_given_back(driver: EosDriver, device: EosSwitch) -> None:
    await push(driver, CARRYING)
    await push(driver, READY)
    assert (await driver.observe()).config == READY
    assert not any(line.startswith(("vrf instance v", "interface Vxlan1")) for line in device.running)
    assert "vrf instance MGMT" in device.running


async def test_a_line_that_is_refused_leaves_nothing_half_done(driver: EosDriver, device: EosSwitch) -> None:
    await push(driver, READY)
    before = dict(device.running)
    device.refuses = re.compile("vxlan vrf")
    with pytest.raises(Permanent, match=r"refused the configuration.*vxlan vrf.*not supported on this hardware"):
        await push(driver, CARRYING)
    assert device.running == before
    assert {state for state, _ in device.sessions.values()} == {"completed", "aborted"}
    device.refuses = None
    await push(driver, CARRYING)
    assert (await driver.observe()).config == CARRYING


async def test_a_foundation_that_nobody_confirms_is_undone_by_the_switch(driver: EosDriver, device: EosSwitch) -> None:
    await push(driver, READY)
    other = replace(READY, underlay=replace(UNDERLAY, links=(replace(UPLINK, peer_asn=65009),)))
    await push(driver, other, confirm_within_s=30)
    assert (await driver.observe()).config == other
    assert not (await driver.observe()).facts.is_confirmed
    assert device.startup != device.running
    device.expire()
    assert (await driver.observe()).config == READY
    with pytest.raises(Transient, match="went back already"):
        await driver.confirm()


async def test_a_foundation_that_is_confirmed_stays(driver: EosDriver, device: EosSwitch) -> None:
    await push(driver, READY)
    other = replace(READY, underlay=replace(UNDERLAY, links=(replace(UPLINK, peer_asn=65009),)))
    await push(driver, other, confirm_within_s=30)
    await driver.confirm()
    device.expire()
    assert (await driver.observe()).config == other
    assert (await driver.observe()).facts.is_confirmed
    assert device.startup == device.running


async def test_a_later_leader_is_not_overruled(server: EapiServer, tmp_path: Path, device: EosSwitch) -> None:
    await push(EosDriver(LEAF1, server.address, settings(tmp_path, term=7)), READY)
    deposed = EosDriver(LEAF1, server.address, settings(tmp_path, term=6))
    before = dict(device.running)
    with pytest.raises(Transient, match="follows that of term 7, not of 6"):
        await push(deposed, CARRYING)
    assert device.running == before
    await push(EosDriver(LEAF1, server.address, settings(tmp_path, term=8)), CARRYING)


async def test_a_session_that_was_left_open_is_abandoned(driver: EosDriver, device: EosSwitch) -> None:
    device.run(["enable", "configure session weft-0-99", "router bgp 65109"], "json")
    await push(driver, READY)
    assert device.sessions["weft-0-99"][0] == "aborted"


@pytest.mark.parametrize(
    ("garbage", "text"),
    [
        (b"", "unable to connect to eAPI"),
        (b"<html>maintenance</html>", "unable to connect to eAPI"),
        (b'{"jsonrpc": "2.0", "result": [{}, {"out', "unable to connect to eAPI"),
        (b'{"jsonrpc": "2.0"}', "no answer of eAPI"),
        (b'{"result": []}', "no answer of eAPI"),
        (b'{"result": [{}, {"something": "else"}]}', "no answer of eAPI"),
        (b'{"result": [{}, "text"]}', "no answer of eAPI"),
        (b"[]", "no answer of eAPI"),
    ],
)
async def test_an_answer_that_is_none_is_tried_again(
    driver: EosDriver, device: EosSwitch, garbage: bytes, text: str
) -> None:
    device.answers = lambda answer: garbage
    with pytest.raises(Transient, match=text):
        await driver.observe()
    device.answers = lambda answer: answer
    assert (await driver.observe()).config.underlay is None


async def test_a_switch_that_does_not_answer_in_time_is_tried_again(
    driver: EosDriver, device: EosSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eos_driver, "TIMEOUT_S", 0.05)
    device.delay_s = 0.2
    with pytest.raises(Transient, match=r"timed out|no answer within"):
        await driver.observe()


async def test_nobody_there_is_said_with_the_address(tmp_path: Path) -> None:
    Authority(tmp_path)
    driver = EosDriver(LEAF1, "127.0.0.1:9", settings(tmp_path))
    with pytest.raises(Transient, match=r"127\.0\.0\.1:9"):
        await driver.observe()


async def test_wrong_credentials_are_permanent_and_named(server: EapiServer, tmp_path: Path) -> None:
    driver = EosDriver(LEAF1, server.address, settings(tmp_path, password="wrong"))
    with pytest.raises(Permanent, match="refuses admin with the password given"):
        await driver.observe()


async def test_a_certificate_of_nobody_we_trust_is_refused(server: EapiServer, tmp_path: Path) -> None:
    stranger = tmp_path / "other"
    stranger.mkdir()
    Authority(stranger)
    driver = EosDriver(LEAF1, server.address, settings(stranger))
    with pytest.raises(Transient, match="certificate verify failed"):
        await driver.observe()


async def test_without_a_password_it_says_which_option_is_missing(server: EapiServer, tmp_path: Path) -> None:
    bare = replace(settings(tmp_path), eapi_password_file=None)
    with pytest.raises(Permanent, match="--eapi-password-file"):
        await EosDriver(LEAF1, server.address, bare).observe()
    gone = replace(bare, eapi_password_file=tmp_path / "gone")
    with pytest.raises(Permanent, match="cannot be read"):
        await EosDriver(LEAF1, server.address, gone).observe()


async def test_a_switch_without_evpn_says_what_its_installer_has_to_do(driver: EosDriver, device: EosSwitch) -> None:
    device.running = {line: block for line, block in device.running.items() if not line.startswith("service ")}
    with pytest.raises(Permanent, match="service routing protocols model multi-agent"):
        await driver.observe()


async def test_a_hand_typed_line_is_found_and_repaired(driver: EosDriver, device: EosSwitch) -> None:
    await push(driver, CARRYING)
    device.running["router bgp 65101"]["neighbor 10.254.0.1 shutdown"] = {}
    observed = await driver.observe()
    assert observed.drift == ("+ router bgp 65101 / neighbor 10.254.0.1 shutdown",)
    await push(driver, CARRYING)
    assert (await driver.observe()).config == CARRYING


def test_the_dialect_of_a_switch_chooses_its_driver(tmp_path: Path) -> None:
    switch = Switch(name=LEAF1, site=SiteName("s"), role=SwitchRole.LEAF, management="10.0.0.1", dialect=Dialect.EOS)
    made = driver_for(switch, settings(tmp_path))
    assert isinstance(made, EosDriver)
    with pytest.raises(Permanent, match="no driver for dialect 'eos' as core yet"):
        driver_for(replace(switch, role=SwitchRole.CORE), settings(tmp_path))
    with pytest.raises(Permanent, match="no driver for dialect 'nxos'"):
        driver_for(replace(switch, dialect=Dialect.NXOS), settings(tmp_path))


def test_the_stand_in_refuses_what_it_does_not_know() -> None:
    device = EosSwitch(FACTORY)
    before: Tree = dict(device.running)
    with pytest.raises(Exception, match="Invalid input"):
        device.run(["enable", "configure session x", "interface Ethernet1", "frobnicate"], "json")
    assert device.running == before
    assert eos.patch(before, {}) == []
    assert not SwitchPlan(switch=LEAF1)
