"""A port is not bound where its leaf's tables are full; it is said why, and where there is room."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fabric_world import World, small_dc
from msgspec.structs import replace

from weft.fabric.limits import Resource
from weft.intent.leaf_load import leaf_load
from weft.model.errors import Conflict
from weft.model.inventory import Inventory, SwitchModel

EVERYTHING = frozenset(Resource) - {Resource.ACL_ENTRIES}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path / "weft.db")
    yield made
    await made.close()


def with_limits(**limits: int) -> Inventory:
    """The small data centre, whose leaf1 is of a model with these limits."""
    dc = small_dc()
    switches = tuple(replace(each, model="tiny") if each.name == "leaf1" else each for each in dc.switches)
    return replace(dc, switches=switches, models=(SwitchModel(name="tiny", **limits),))


async def test_what_a_leaf_carries_is_counted_with_what_others_make_it_hold(world: World) -> None:
    web = await world.network("web", "10.0.1.0/24", routed_by="r1")
    await world.spawn(web, ("web-1", "node1"), ("web-2", "node2"), ("web-3", "node3"))
    other = await world.network("other", "10.0.2.0/24")
    await world.spawn(other, ("other-1", "node2"))
    load = await world.store.read(lambda snapshot: leaf_load(snapshot, "leaf1", EVERYTHING))
    assert load == {
        Resource.VLANS: 1,
        Resource.VNIS: 2,
        Resource.VRFS: 1,
        Resource.MACS: 3,
        Resource.HOST_ROUTES: 4,  # three instances and the gateway
        Resource.PREFIXES: 1,
    }


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"vrfs": 1}, "switch leaf1 (model tiny) holds 1 VRFs, 2 are needed"),
        ({"vnis": 3}, "switch leaf1 (model tiny) holds 3 VNIs, 4 are needed"),
        ({"macs": 1}, "switch leaf1 (model tiny) holds 1 MAC addresses, 2 are needed"),
    ],
)
async def test_a_bind_that_would_overflow_a_leaf_is_refused_with_the_alternatives(
    world: World, limits: dict[str, int], told: str
) -> None:
    await world.put_inventory(with_limits(**limits))
    red = await world.network("red", "10.0.1.0/24", routed_by="r1")
    blue = await world.network("blue", "10.0.1.0/24", routed_by="r2")
    await world.spawn(red, ("red-1", "node1"))
    port = await world.create(blue, "blue-1")
    with pytest.raises(Conflict) as refused:
        await world.bind(port, "node1")
    assert refused.value.message == f"{told}; bind on nodes of leaf2 (0 networks), leaf3 (0 networks)"
    assert (await world.port(port)).life.current is None
    await world.bind(port, "node2")


async def test_a_leaf_that_is_full_frees_what_goes(world: World) -> None:
    await world.put_inventory(with_limits(macs=2))
    red = await world.network("red", "10.0.1.0/24")
    first, _ = await world.spawn(red, ("red-1", "node1"), ("red-2", "node1"))
    third = await world.create(red, "red-3")
    with pytest.raises(Conflict, match="holds 2 MAC addresses, 3 are needed"):
        await world.bind(third, "node1")
    await world.delete(first)
    await world.bind(third, "node1")
