"""What a subnet may be, with Neutron's errors for what it may not."""

from ipaddress import ip_address, ip_network

import pytest

from weft.ipam.plan import (
    check_gateway,
    check_pools,
    check_prefix,
    default_gateway,
    default_pools,
    is_host,
    overlapping,
)
from weft.model.errors import Conflict, Invalid, WeftError
from weft.model.intent import AddressRange


def pool(first: str, last: str) -> AddressRange:
    return AddressRange(ip_address(first), ip_address(last))


@pytest.mark.parametrize(
    ("cidr", "gateway", "pools"),
    [
        ("10.0.0.0/24", "10.0.0.1", [("10.0.0.2", "10.0.0.254")]),
        ("10.0.0.0/30", "10.0.0.1", [("10.0.0.2", "10.0.0.2")]),
        ("10.0.0.0/31", "10.0.0.0", [("10.0.0.1", "10.0.0.1")]),
        ("10.0.0.9/32", None, [("10.0.0.9", "10.0.0.9")]),
        ("2001:db8::/64", "2001:db8::1", [("2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff")]),
        ("2001:db8::4/127", "2001:db8::5", [("2001:db8::4", "2001:db8::4")]),
    ],
)
def test_gateway_and_pools_that_weft_chooses(cidr: str, gateway: str | None, pools: list[tuple[str, str]]) -> None:
    network = ip_network(cidr)
    chosen = default_gateway(network)
    assert chosen == (None if gateway is None else ip_address(gateway))
    assert default_pools(network, chosen) == tuple(pool(*each) for each in pools)
    check_gateway(network, chosen)
    check_pools(network, default_pools(network, chosen), chosen)


def test_a_gateway_in_the_middle_splits_the_pool() -> None:
    found = default_pools(ip_network("10.0.0.0/24"), ip_address("10.0.0.100"))
    assert found == (pool("10.0.0.1", "10.0.0.99"), pool("10.0.0.101", "10.0.0.254"))


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.255", "10.0.1.1", "2001:db8::1"])
def test_a_gateway_that_is_no_host_address_is_refused(address: str) -> None:
    with pytest.raises(Invalid, match=f"Gateway {address} is not valid on subnet 10.0.0.0/24") as refused:
        check_gateway(ip_network("10.0.0.0/24"), ip_address(address))
    assert refused.value.kind == "InvalidInput"
    assert not is_host(ip_network("10.0.0.0/24"), ip_address(address))


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "224.0.0.0/24", "127.0.0.0/8", "169.254.0.0/16", "fe80::/64"])
def test_a_prefix_that_no_host_can_use_is_refused(cidr: str) -> None:
    with pytest.raises(Invalid, match=cidr):
        check_prefix(ip_network(cidr))


@pytest.mark.parametrize(
    ("pools", "error", "kind", "text"),
    [
        ([("10.0.0.9", "10.0.0.5")], Invalid, "InvalidAllocationPool", "10.0.0.9-10.0.0.5"),
        ([("10.0.0.9", "10.0.1.5")], Invalid, "OutOfBoundsAllocationPool", "10.0.0.9-10.0.1.5"),
        ([("10.0.0.0", "10.0.0.5")], Invalid, "OutOfBoundsAllocationPool", "10.0.0.0-10.0.0.5"),
        (
            [("10.0.0.20", "10.0.0.30"), ("10.0.0.5", "10.0.0.20")],
            Conflict,
            "OverlappingAllocationPools",
            "10.0.0.5-10.0.0.20 10.0.0.20-10.0.0.30",
        ),
        ([("10.0.0.1", "10.0.0.5")], Conflict, "GatewayConflictWithAllocationPools", "10.0.0.1 conflicts"),
    ],
)
def test_pools_that_are_refused(pools: list[tuple[str, str]], error: type[WeftError], kind: str, text: str) -> None:
    with pytest.raises(error, match=text) as refused:
        check_pools(ip_network("10.0.0.0/24"), [pool(*each) for each in pools], ip_address("10.0.0.1"))
    assert refused.value.kind == kind


def test_prefixes_overlap_within_a_family_only() -> None:
    others = [ip_network("10.1.0.0/16"), ip_network("2001:db8::/32")]
    assert overlapping(ip_network("10.1.2.0/24"), others) == others[0]
    assert overlapping(ip_network("10.0.0.0/8"), others) == others[0]
    assert overlapping(ip_network("10.2.0.0/16"), others) is None
    assert overlapping(ip_network("0.0.0.0/1"), others[1:]) is None
