"""Reading what nodes and switches print about themselves."""

from weft.lab.demo import reading

FLOWS = """\
 cookie=0x7765667412345678, table=0, priority=100,in_port=3 actions=push_vlan:0x8100,goto_table:10
 cookie=0x0, priority=0 actions=drop
"""
ADDR = (
    '[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},'
    '{"ifname":"vx10001","linkinfo":{"info_kind":"vxlan","info_data":{"id":10001}},"addr_info":[]}]\n'
    '[{"ifname":"br10001","linkinfo":{"info_kind":"bridge"},"addr_info":'
    '[{"family":"inet","local":"10.1.1.1","prefixlen":24,"scope":"global"},'
    '{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]\n'
)
CONFIG = """\
vrf v50000
 vni 50000
exit-vrf
router bgp 65101
router bgp 65101 vrf v50000
"""
ROUTES = """\
Route Distinguisher: 10.255.0.3:2
 *> [2]:[0]:[48]:[fa:16:3e:00:00:01]:[32]:[10.1.1.2]
                    10.255.0.3                         32768 i
 *> [3]:[0]:[32]:[10.255.0.3]
"""


def test_flows_lose_their_cookies_and_nothing_else() -> None:
    assert reading.flows("node1 br-int", FLOWS) == {
        (reading.FLOWS, "node1 br-int: table=0, priority=100,in_port=3 actions=push_vlan:0x8100,goto_table:10"),
        (reading.FLOWS, "node1 br-int: priority=0 actions=drop"),
    }


def test_interfaces_addresses_and_vnis_of_all_namespaces() -> None:
    assert reading.interfaces("leaf1", ADDR) == {
        (reading.INTERFACES, "leaf1: lo"),
        (reading.INTERFACES, "leaf1: vx10001"),
        (reading.INTERFACES, "leaf1: br10001"),
        (reading.VNIS, "leaf1: 10001"),
        (reading.ADDRESSES, "leaf1: 10.1.1.1/24 on br10001"),
    }


def test_a_vrf_is_one_thing_wherever_the_configuration_names_it() -> None:
    assert reading.vrfs("leaf1", CONFIG) == {(reading.VRFS, "leaf1: v50000")}


def test_evpn_routes() -> None:
    assert reading.evpn_routes("leaf1", ROUTES) == {
        (reading.ROUTES, "leaf1: [2]:[0]:[48]:[fa:16:3e:00:00:01]:[32]:[10.1.1.2]"),
        (reading.ROUTES, "leaf1: [3]:[0]:[32]:[10.255.0.3]"),
    }
