"""One switch taken to its desired state, with a fault at every point of input and output."""

import asyncio
from ipaddress import IPv4Address, ip_interface

import pytest
from fake_switch import FakeDriver, FakeSwitch, Fault, Faults
from msgspec.structs import replace

from weft.controller import switch as timing
from weft.controller.switch import SwitchReconciler
from weft.fabric.config import Attachment, Segment, SwitchConfig, Underlay, Vrf
from weft.fabric.plan import AddAttachment, AddSegment, AddVrf, SetUnderlay, Step
from weft.model.errors import Permanent, Transient
from weft.model.ids import SwitchName

LEAF1 = SwitchName("leaf1")
READY = SwitchConfig(name=LEAF1, underlay=Underlay(asn=65101, loopback=IPv4Address("10.255.0.3")))


def segment(vni: int, vrf: str | None = None, gateway: str | None = None) -> Segment:
    return Segment(vni=vni, vrf=vrf, gateways=(ip_interface(gateway),) if gateway else ())


def attach(interface: str, vlan: int, vni: int) -> Attachment:
    return Attachment(interface=interface, vlan=vlan, vni=vni)


DESIRED = replace(
    READY,
    vrfs=(Vrf(name="v1", l3vni=50001), Vrf(name="v2", l3vni=50002)),
    segments=(segment(10001, "v1", "10.0.1.1/24"), segment(10002, "v2", "10.0.1.1/24"), segment(10003)),
    attachments=(attach("eth11", 100, 10001), attach("eth11", 101, 10002), attach("eth12", 102, 10003)),
    gateway_mac="00:00:5e:00:01:02",
)


def reconciler(device: FakeSwitch) -> SwitchReconciler:
    return SwitchReconciler(LEAF1, lambda: FakeDriver(device))


async def reconcile(device: FakeSwitch, desired: SwitchConfig = DESIRED) -> dict[str, str]:
    """Observe and reconcile once; return what was refused, by element as people write it."""
    one = reconciler(device)
    ended = await one.reconcile(await one.observe(), desired)
    assert ended.observed.config == device.config
    return {" ".join(map(str, element)): reason for element, reason in ended.refused.items()}


async def test_an_empty_switch_is_configured() -> None:
    device = FakeSwitch(LEAF1)
    assert await reconcile(device) == {}
    assert device.config == DESIRED
    assert device.calls == ["observe", "apply 10", "observe"]


async def test_a_switch_that_is_right_is_left_alone() -> None:
    device = FakeSwitch(LEAF1)
    device.config = DESIRED
    assert await reconcile(device) == {}
    assert device.calls == ["observe"]


async def test_the_four_parts_can_be_called_alone() -> None:
    device = FakeSwitch(LEAF1)
    one = reconciler(device)
    observed = await one.observe()
    steps = one.plan(observed, DESIRED)
    await one.apply(steps, DESIRED, observed)
    await one.apply(steps, DESIRED, observed)
    verified = await one.verify(DESIRED, {})
    assert not verified.left
    assert verified.observed.config == DESIRED
    await one.close()
    assert device.closed == 1


async def points_of_a_reconciliation() -> int:
    faults = Faults()
    await reconcile(FakeSwitch(LEAF1, faults))
    return len(faults.points)


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER, Fault.WIPED, Fault.DEFECT])
async def test_whatever_breaks_off_is_taken_up_again(fault: Fault) -> None:
    points = await points_of_a_reconciliation()
    assert points == 12
    for at in range(points):
        device = FakeSwitch(LEAF1, Faults(fault, at))
        with pytest.raises((Transient, ZeroDivisionError)):
            await reconcile(device)
        assert await reconcile(device) == {}
        assert device.config == DESIRED, f"after {fault} at {device.faults.points[at]}"


async def test_a_step_that_is_refused_once_is_made_after_all() -> None:
    for at in range(1, await points_of_a_reconciliation() - 1):
        device = FakeSwitch(LEAF1, Faults(Fault.REFUSED, at))
        assert await reconcile(device) == {}
        assert device.config == DESIRED


def refusing(kind: type[Step], **fields: object) -> FakeSwitch:
    """A switch that refuses each step of a kind whose object has these fields."""

    def refuse(step: Step) -> str | None:
        if not isinstance(step, kind):
            return None
        about = getattr(step, step.__struct_fields__[0])
        return "no room" if all(getattr(about, name) == value for name, value in fields.items()) else None

    device = FakeSwitch(LEAF1)
    device.refuses = refuse
    return device


async def test_a_refused_attachment_stops_no_other() -> None:
    device = refusing(AddAttachment, vlan=100)
    assert await reconcile(device) == {"interface eth11 100": "no room"}
    assert device.config == replace(DESIRED, attachments=DESIRED.attachments[1:])


async def test_what_rests_on_a_refused_element_waits_for_it_and_says_so() -> None:
    device = refusing(AddVrf, name="v1")
    assert await reconcile(device) == {
        "vrf v1": "no room",
        "vni 10001": "vrf v1: no room",
        "interface eth11 100": "vni 10001: vrf v1: no room",
    }
    assert [vrf.name for vrf in device.config.vrfs] == ["v2"]
    assert [each.vni for each in device.config.segments] == [10002, 10003]
    assert [each.vlan for each in device.config.attachments] == [101, 102]


async def test_without_an_underlay_there_is_nothing() -> None:
    device = refusing(SetUnderlay)
    refused = await reconcile(device)
    assert refused["switch underlay"] == "no room"
    assert refused["vni 10003"] == "underlay: no room"
    assert device.config == SwitchConfig(name=LEAF1, underlay=None)


async def test_a_vlan_that_its_old_owner_keeps_is_not_given_away() -> None:
    device = FakeSwitch(LEAF1)
    device.config = replace(READY, segments=(segment(10001),), attachments=(attach("eth11", 100, 10001),))
    device.refuses = lambda step: "in use" if step.op == "remove" else None
    desired = replace(READY, segments=(segment(10002),), attachments=(attach("eth12", 100, 10002),))
    assert await reconcile(device, desired) == {
        "interface eth11 100": "in use",
        "interface eth12 100": "eth11 vlan 100: in use",
        "vni 10001": "eth11 vlan 100: in use",
    }
    assert [each.vni for each in device.config.segments] == [10001, 10002]


class _Forgetful(FakeSwitch):
    """Takes everything, and does not keep one segment."""

    def make(self, step: Step, gateway_mac: str) -> None:
        if not (isinstance(step, AddSegment) and step.segment.vni == 10003):
            super().make(step, gateway_mac)


async def test_what_the_switch_takes_and_does_not_show_is_left() -> None:
    device = _Forgetful(LEAF1)
    one = reconciler(device)
    desired = replace(DESIRED, attachments=DESIRED.attachments[:2])
    ended = await one.reconcile(await one.observe(), desired)
    assert ended.left.lines() == ["+ vni 10003 mtu 1500"]
    assert ended.refused == {}


async def test_what_is_refused_beside_what_is_not_shown_ends_all_the_same() -> None:
    device = _Forgetful(LEAF1)
    device.refuses = lambda step: "no room" if step.op == "add" and step.noun == "vrf" else None
    refused = await reconcile(device)
    assert refused["vni 10003"] == "the switch took it, but does not show it"
    assert refused["interface eth12 102"] == "vni 10003: the switch took it, but does not show it"
    assert refused["vrf v1"] == "no room"


async def test_a_switch_that_hangs_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "OBSERVE_TIMEOUT_S", 0.0)
    device = FakeSwitch(LEAF1)
    device.open.clear()
    with pytest.raises(Transient, match="switch leaf1 gave no answer within 0 s"):
        await reconciler(device).observe()


async def test_a_broken_connection_is_unreachable() -> None:
    device = FakeSwitch(LEAF1, Faults(Fault.WIPED, 0))
    with pytest.raises(Transient, match="switch leaf1 cannot be reached: leaf1 is rebooting"):
        await reconciler(device).observe()


async def test_a_switch_that_nobody_can_speak_to_fails_when_it_is_looked_at() -> None:
    def connect() -> FakeDriver:
        raise Permanent("no driver for dialect 'nxos'")

    one = SwitchReconciler(LEAF1, connect)
    with pytest.raises(Permanent, match="no driver for dialect 'nxos'"):
        await one.observe()
    await one.close()


async def test_cancelling_goes_through() -> None:
    device = FakeSwitch(LEAF1)
    device.open.clear()
    task = asyncio.create_task(reconciler(device).observe())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
