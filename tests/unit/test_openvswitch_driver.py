"""VLAN switches between Open vSwitch's words, recorded from real ones, and the script that changes them."""

import contextlib
import re
from ipaddress import ip_interface
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from weft.fabric.vlan_config import VlanGateway, VlanPort, VlanSwitching
from weft.model.errors import Transient
from weft.model.ids import SwitchName
from weft.switches.driver import DriverSettings
from weft.switches.openvswitch import scripts
from weft.switches.openvswitch.driver import OpenVswitchDriver
from weft.switches.openvswitch.reading import Reading, read
from weft.switches.ssh import Finished

RECORDED = Path(__file__).with_name("openvswitch")
CORE1 = RECORDED.joinpath("observed_core1.txt").read_text()
TOR3 = RECORDED.joinpath("observed_tor3.txt").read_text()
MAC = "00:00:5e:00:01:01"
WEB = VlanGateway(vlan=1000, vrf="v50000", addresses=(ip_interface("10.1.1.1/24"),))
CORE = VlanSwitching(
    priority=4096,
    ports=tuple(VlanPort(interface=f"eth{number}", untagged=1, tagged=(1000,)) for number in (1, 11, 12)),
    gateways=(VlanGateway(vlan=1, addresses=(ip_interface("172.30.0.1/24"),)), WEB),
)


def seen(output: str) -> Reading:
    found = read(output)
    assert found is not None
    return found


def test_a_core_is_read_as_it_was_configured() -> None:
    assert seen(CORE1).switching == CORE
    assert seen(CORE1).gateway_mac == MAC
    assert seen(CORE1).drift == ()


def test_a_top_of_rack_switch_is_read_with_its_nodes_and_what_rstp_closes() -> None:
    found = seen(TOR3)
    assert found.switching is not None
    node, metal = (port for port in found.switching.ports if port.edge)
    assert (node.interface, node.untagged, node.tagged) == ("eth11", 1, ())
    assert (metal.interface, metal.untagged, metal.tagged) == ("eth12", 1000, ())
    assert found.states["eth1"] == "Alternate Discarding"


def test_an_answer_that_was_cut_off_is_none() -> None:
    assert read(CORE1[: len(CORE1) // 2]) is None
    assert read("") is None


@pytest.mark.parametrize(
    ("damage", "with_", "lost"),
    [
        (r'\["eth11",1,', '["eth11",["set",[]],', "port eth11"),  # the database has it, the datapath has not
        (r'("ifname":"vlan1000",.*?"flags":\[[^]]*?),?"UP"', r"\1", "gateway 1000"),
        (r'("ifname":"svi1000",.*?"flags":\[[^]]*?),?"UP"', r"\1", "gateway 1000"),
        (r'"rstp-priority","4096"', '"rstp-priority","8192"', "priority"),
    ],
    ids=["not taken up", "bridge's end down", "gateway down", "priority"],
)
def test_what_is_there_only_in_part_is_not_there(damage: str, with_: str, lost: str) -> None:
    broken, count = re.subn(damage, with_, CORE1, count=1, flags=re.DOTALL)
    assert count == 1
    found = seen(broken).switching
    assert found is not None
    expected = {
        "port eth11": replace(CORE, ports=tuple(port for port in CORE.ports if port.interface != "eth11")),
        "gateway 1000": replace(CORE, gateways=CORE.gateways[:1]),
        "priority": replace(CORE, priority=8192),
    }
    assert found == expected[lost]


def test_nothing_is_made_anew_that_is_there() -> None:
    script = scripts.apply(CORE, CORE, seen(CORE1).ports, MAC)
    assert "ip link add" not in script
    assert "del-port" not in script


def test_a_gateway_comes_up_only_when_it_is_a_port() -> None:
    script = scripts.apply(CORE, replace(CORE, gateways=CORE.gateways[:1]), ("eth1", "eth11", "eth12", "vlan1"), MAC)
    made, up = script.index("add-port br-weft vlan1000"), script.index("ip link set vlan1000 up")
    assert made < up
    assert script.count("ip link add") == 1, "the other one is left alone"


def test_what_is_too_much_goes_before_what_comes() -> None:
    script = scripts.apply(replace(CORE, gateways=CORE.gateways[:1]), CORE, seen(CORE1).ports, MAC)
    assert "del-port br-weft vlan1000" in script
    assert script.index("del-port br-weft vlan1000") < script.index("--may-exist add-br")


@settings(deadline=None)
@given(data=st.data())
async def test_garbage_in_an_answer_is_tried_again_or_shows(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(CORE1) - 1))
    noise, length = data.draw(st.text(max_size=40)), data.draw(st.integers(0, 400))
    driver = OpenVswitchDriver(SwitchName("core1"), "192.0.2.1", DriverSettings())

    async def run(script: str) -> Finished:
        assert script
        return Finished(0, CORE1[:start] + noise + CORE1[start + length :], "")

    driver._session.run = run  # type: ignore[method-assign,assignment]
    with contextlib.suppress(Transient):
        await driver.observe()
