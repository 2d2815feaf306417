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
vrf v50001
exit-vrf
router bgp 65101
router bgp 65101 vrf v50000
router bgp 65101 vrf v50002
"""
BRIDGE_VLANS = (
    '[{"ifname":"eth11","vlans":[{"vlan":1,"flags":["PVID"]},{"vlan":100},{"vlan":200,"vlanEnd":201}]},'
    '{"ifname":"br-mgmt","vlans":[{"vlan":1}]}]\n'
)
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
    assert reading.vrfs("leaf1", CONFIG) == {(reading.VRFS, "leaf1: v50000"), (reading.VRFS, "leaf1: v50002")}


def test_vlans_of_hosts_cables_and_bridges() -> None:
    assert (reading.VLANS, "node1: 7") in reading.flows("node1", "table=0, dl_vlan=7 actions=pop_vlan,output:1")
    cable = '[{"ifname":"eth11.100","addr_info":[]},{"ifname":"eth11.100v","addr_info":[]}]'
    assert {each for each in reading.interfaces("leaf1", cable) if each[0] == reading.VLANS} == {
        (reading.VLANS, "leaf1: 100 on eth11")
    }
    assert reading.bridge_vlans("leaf1", BRIDGE_VLANS) == {
        (reading.VLANS, "leaf1: 100 on eth11"),
        (reading.VLANS, "leaf1: 200 on eth11"),
        (reading.VLANS, "leaf1: 201 on eth11"),
    }


def test_evpn_routes() -> None:
    assert reading.evpn_routes("leaf1", ROUTES) == {
        (reading.ROUTES, "leaf1: [2]:[0]:[48]:[fa:16:3e:00:00:01]:[32]:[10.1.1.2]"),
        (reading.ROUTES, "leaf1: [3]:[0]:[32]:[10.255.0.3]"),
    }
