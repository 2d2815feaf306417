"""What a changed switch must show: sessions, tunnels and VRFs, as far as the others offer them."""

from ipaddress import IPv4Interface

import pytest
from fabric_samples import small_dc
from msgspec.structs import replace

from weft.fabric.config import Segment, SwitchConfig, Vrf
from weft.fabric.facts import Facts, Session, VniFacts, VrfFacts
from weft.fabric.intent_index import FabricIntent
from weft.fabric.numbering import number
from weft.fabric.verification import ESTABLISHED, missing
from weft.model.ids import SwitchName

LEAF1, LEAF2 = SwitchName("leaf1"), SwitchName("leaf2")
WEB = Segment(vni=10001, vrf="red", gateways=(IPv4Interface("10.0.1.1/24"),))
Fabric = dict[SwitchName, SwitchConfig]


@pytest.fixture
def read() -> Fabric:
    """All switches as they shall be, with a network of a tenant on two leaves."""
    intent = FabricIntent()
    intent.put_inventory(small_dc(), number(small_dc()))
    configs = {name: intent.desired(name) for name in intent.topology.switches}
    for leaf in (LEAF1, LEAF2):
        configs[leaf] = replace(configs[leaf], segments=(WEB,), vrfs=(Vrf(name="red", l3vni=50001),))
    return configs


def loopback(read: Fabric, name: SwitchName) -> str:
    ground = read[name].underlay
    assert ground is not None
    return str(ground.loopback)


@pytest.fixture
def whole(read: Fabric) -> Facts:
    """What leaf1 says when all is well."""
    ground = read[LEAF1].underlay
    assert ground is not None
    sessions = tuple(
        Session(peer=link.peer, peer_address=str(link.peer_address), family=family, state=ESTABLISHED)
        for link in ground.links
        for family in ("ipv4Unicast", "l2VpnEvpn")
    )
    vnis = {10001: VniFacts(remote_vteps=(loopback(read, LEAF2),))}
    return Facts(sessions=sessions, vnis=vnis, vrfs={"red": VrfFacts(is_up=True, routes=3)})


def test_a_switch_that_shows_all_lacks_nothing(read: Fabric, whole: Facts) -> None:
    assert missing(LEAF1, read, whole) == []


def test_a_session_that_is_down_or_not_there_is_named(read: Fabric, whole: Facts) -> None:
    first, *rest = whole.sessions
    down = replace(whole, sessions=(replace(first, state="Active"), *rest))
    assert missing(LEAF1, read, down) == [f"session with {first.peer} ({first.peer_address}, {first.family}) is Active"]
    without = tuple(each for each in rest if each.peer != first.peer)
    assert missing(LEAF1, read, replace(whole, sessions=without)) == [
        f"no session with {first.peer} ({first.peer_address})"
    ]


def test_a_peer_that_has_nothing_yet_has_no_session_and_no_tunnel_to_offer(read: Fabric, whole: Facts) -> None:
    spine2 = SwitchName("spine2")
    one = tuple(each for each in whole.sessions if each.peer != spine2)
    fewer = {name: config for name, config in read.items() if name not in {spine2, LEAF2}}
    assert missing(LEAF1, fewer, replace(whole, sessions=one, vnis={10001: VniFacts()})) == []


def test_a_network_without_its_tunnels_is_named(read: Fabric, whole: Facts) -> None:
    assert missing(LEAF1, read, replace(whole, vnis={10001: VniFacts()})) == [
        f"vni 10001 has no tunnel to leaf2 ({loopback(read, LEAF2)})"
    ]
    assert missing(LEAF1, read, replace(whole, vnis={})) == ["vni 10001 is not taken up by EVPN"]


def test_a_vrf_that_does_not_route_is_named(read: Fabric, whole: Facts) -> None:
    down = replace(whole, vrfs={"red": VrfFacts(is_up=False, routes=3)})
    assert missing(LEAF1, read, down) == ["l3vni 50001 of vrf red is not up"]
    empty = replace(whole, vrfs={"red": VrfFacts(is_up=True)})
    assert missing(LEAF1, read, empty) == ["vrf red has no routes"]
