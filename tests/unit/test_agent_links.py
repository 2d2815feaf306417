"""The node's links: what is wrong is put right, what is right is left alone."""

from typing import Any

from weft.agent.links import KernelLinks, Link, Route, parse_links, plan_links
from weft.agent.settings import parse

SETTINGS = parse(
    {
        "node": "n",
        "server": "unix:/s",
        "nics": ["nic0", "nic1"],
        "management": "172.31.1.11/24",
        "gateway": "172.31.1.1",
        "mtu_bytes": 9000,
    }
)
ROUTE = Route(destination="0.0.0.0/0", gateway="172.31.1.1", device="br-bond")


def link(**changes: Any) -> Link:
    return Link(**{"up": True, "mtu_bytes": 9000, "mac": "02:00:00:00:00:01", **changes})


def kernel(*routes: Route, **links: Link) -> KernelLinks:
    right = {"nic0": link(), "nic1": link(), "br-bond": link(addresses=("172.31.1.11/24",))}
    return KernelLinks(links={**right, **{name.replace("_", "-"): seen for name, seen in links.items()}}, routes=routes)


def test_right_links_are_left_alone() -> None:
    plan = plan_links(SETTINGS, kernel(ROUTE))
    assert not plan.lines
    assert not plan.problems


def test_everything_is_made_from_nothing() -> None:
    raw = link(up=False, mtu_bytes=1500)
    assert plan_links(SETTINGS, kernel(nic0=raw, nic1=raw, br_bond=raw)).lines == (
        "link set dev nic0 mtu 9000",
        "link set dev nic0 addrgenmode none",
        "link set dev nic0 up",
        "link set dev nic1 mtu 9000",
        "link set dev nic1 addrgenmode none",
        "link set dev nic1 up",
        "link set dev br-bond mtu 9000",
        "link set dev br-bond up",
        "address add 172.31.1.11/24 dev br-bond",
        "route replace 0.0.0.0/0 via 172.31.1.1 dev br-bond proto 87",
    )


def test_the_address_leaves_the_nic_after_the_bridge_has_it() -> None:
    seen = kernel(ROUTE, nic0=link(addresses=("172.31.1.11/24",)), br_bond=link())
    assert plan_links(SETTINGS, seen).lines == (
        "address add 172.31.1.11/24 dev br-bond",
        "address del 172.31.1.11/24 dev nic0",
    )


def test_the_kernel_does_not_speak_for_itself_on_a_nic() -> None:
    by_itself = link(addresses=("fe80::1/64", "2001:db8::1/64"))
    assert plan_links(SETTINGS, kernel(ROUTE, nic1=by_itself)).lines == (
        "link set dev nic1 addrgenmode none",
        "address del fe80::1/64 dev nic1",
    )


def test_a_route_by_an_own_nic_or_an_old_gateway_is_replaced() -> None:
    by_nic = Route(destination="0.0.0.0/0", gateway="172.31.1.1", device="nic0")
    old = Route(destination="0.0.0.0/0", gateway="172.31.1.254", device="br-bond")
    for route in (by_nic, old):
        assert plan_links(SETTINGS, kernel(route)).lines == (
            "route replace 0.0.0.0/0 via 172.31.1.1 dev br-bond proto 87",
        )


def test_a_route_of_somebody_else_is_a_problem_and_stays() -> None:
    plan = plan_links(SETTINGS, kernel(Route(destination="0.0.0.0/0", gateway="10.0.0.1", device="eth9")))
    assert not plan.lines
    assert plan.problems == (
        "the route 0.0.0.0/0 is taken by eth9 by 10.0.0.1: remove it, or name other routes in the settings",
    )
    backup = Route(destination="0.0.0.0/0", gateway="10.0.0.1", device="eth9", metric=500)
    assert not plan_links(SETTINGS, kernel(ROUTE, backup)).problems


def test_a_missing_interface_is_a_problem() -> None:
    seen = KernelLinks(links={"nic0": link()})
    assert plan_links(SETTINGS, seen).problems == ("there is no interface nic1", "there is no interface br-bond")


def test_no_management_address_no_address() -> None:
    settings = parse({"node": "n", "server": "unix:/s", "nics": ["nic0", "nic1"], "mtu_bytes": 9000})
    assert not plan_links(settings, kernel(br_bond=link())).lines


def test_ipv6_management() -> None:
    changes = {"management": "fd00::11/64", "gateway": "fd00::1", "routes": ["::/0", "fd01::/48"]}
    settings = parse({"node": "n", "server": "unix:/s", "nics": ["nic0"], "mtu_bytes": 9000, **changes})
    seen = kernel(Route(destination="::/0", gateway="fd00::1", device="br-bond", metric=1024), br_bond=link())
    assert plan_links(settings, seen).lines == (
        "address add fd00::11/64 dev br-bond",
        "route replace fd01::/48 via fd00::1 dev br-bond proto 87",
    )


def test_what_ip_says_is_understood() -> None:
    addresses = [
        {"ifname": "lo", "flags": ["LOOPBACK"], "mtu": 65536},
        {
            "ifname": "nic0",
            "flags": ["BROADCAST", "UP"],
            "mtu": 1500,
            "address": "02:00:00:00:00:01",
            "addr_info": [{"local": "10.0.0.1", "prefixlen": 24}, {"local": "fe80::1", "prefixlen": 64}, {}],
        },
    ]
    routes = [
        {"dst": "default", "gateway": "10.0.0.254", "dev": "nic0"},
        {"dst": "default", "gateway": "fe80::2", "dev": "nic0", "metric": 1024},
        {"dst": "10.1.0.1", "dev": "nic0"},
        {"dst": "10.2.0.0/16", "nexthops": []},
    ]
    seen = parse_links(addresses, routes)
    assert seen.links["nic0"] == Link(
        up=True, mtu_bytes=1500, mac="02:00:00:00:00:01", addresses=("10.0.0.1/24", "fe80::1/64")
    )
    assert [route.destination for route in seen.routes] == ["0.0.0.0/0", "::/0", "10.1.0.1/32"]
