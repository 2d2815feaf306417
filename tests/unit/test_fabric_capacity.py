"""What instances do to a leaf, by design of their networks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.thorough import examples

from weft.fabric.capacity import Design, Fleet, leaf_usage
from weft.fabric.limits import Resource
from weft.model.errors import Invalid

FORTY = Fleet(nodes=40, instances_per_node=500, nodes_per_leaf=20, networks=100, tenants=10)


def test_networks_over_all_racks_make_every_leaf_hold_everything() -> None:
    assert leaf_usage(FORTY, Design.STRETCHED) == {
        Resource.VLANS: 100,
        Resource.VNIS: 110,
        Resource.VRFS: 10,
        Resource.MACS: 20_000,
        Resource.HOST_ROUTES: 20_000,
        Resource.PREFIXES: 100,
    }


def test_within_a_rack_macs_are_saved_and_as_prefixes_hosts_too() -> None:
    routed, aggregated = leaf_usage(FORTY, Design.ROUTED), leaf_usage(FORTY, Design.AGGREGATED)
    assert (routed[Resource.MACS], routed[Resource.HOST_ROUTES], routed[Resource.VLANS]) == (10_000, 20_000, 50)
    assert (aggregated[Resource.MACS], aggregated[Resource.HOST_ROUTES]) == (10_000, 10_000)


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"nodes": 0}, "nodes: 0 is too few"), ({"networks": 3, "tenants": 5}, "5 tenants with 3 networks")],
)
def test_a_fleet_that_there_cannot_be_is_refused(fields: dict[str, int], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        leaf_usage(Fleet(**{"nodes": 1, "instances_per_node": 1, **fields}), Design.STRETCHED)


fleets = st.builds(
    lambda nodes, each, per_leaf, networks, tenants: Fleet(
        nodes=nodes, instances_per_node=each, nodes_per_leaf=per_leaf, networks=networks, tenants=min(tenants, networks)
    ),
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(1, 40),
    st.integers(1, 2000),
    st.integers(1, 200),
)


@settings(max_examples=examples(300))
@given(fleets)
def test_aggregation_never_costs_and_nobody_holds_more_than_there_is(fleet: Fleet) -> None:
    stretched, aggregated = leaf_usage(fleet, Design.STRETCHED), leaf_usage(fleet, Design.AGGREGATED)
    for resource in Resource:
        if resource in stretched:
            assert aggregated[resource] <= stretched[resource]
    assert stretched[Resource.MACS] <= fleet.nodes * fleet.instances_per_node
    assert stretched[Resource.VRFS] <= fleet.tenants
    assert stretched[Resource.PREFIXES] <= fleet.networks
