"""Peerings, and what is known outside: prefixes that would meet in a VRF do not overlap, whatever comes first."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from core_world import PROJECT, World, example, world

from weft.intent.gateways import GatewaySpec, set_gateway
from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkSpec, create_network
from weft.intent.peerings import create_peering, delete_peering, peerings
from weft.intent.routers import add_interface, delete_router, remove_interface
from weft.intent.rows import router_of
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NetworkId, RouterId, SubnetId, Vni
from weft.model.intent import Peering, Router

RED, BLUE, GREEN = "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"


@pytest.fixture
async def dc(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def attach(at: World, router: Router, cidr: str) -> SubnetId:
    _, subnet = await at.segment(cidr)
    await at.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=subnet.id))
    return subnet.id


async def vpc(at: World, *cidrs: str) -> Router:
    router = await at.router()
    for cidr in cidrs:
        await attach(at, router, cidr)
    return router


async def peer(at: World, one: Router, other: Router) -> Peering:
    return await at.store.transact(lambda tx: create_peering(tx, one.id, other.id))


async def external(at: World) -> NetworkId:
    spec = NetworkSpec(project_id=PROJECT, name="internet", external=True)
    network = await at.store.transact(lambda tx: create_network(tx, spec))
    await at.subnet(network, "198.51.100.0/24")
    return network.id


async def announce(at: World, router: Router, outer: NetworkId, *, snat: bool = False) -> None:
    spec = GatewaySpec(network_id=outer, enable_snat=snat)
    await at.store.transact(lambda tx: set_gateway(tx, router_of(tx, router.id), spec))


async def test_a_peering_is_there_once_and_until_it_is_ended(dc: World) -> None:
    red, blue = await vpc(dc, RED), await vpc(dc)
    made = await peer(dc, red, blue)
    with pytest.raises(Conflict, match="peered already"):
        await peer(dc, blue, red)
    assert await dc.store.read(lambda snapshot: peerings(snapshot, blue.id)) == [made]
    with pytest.raises(Conflict, match=f"peered with {red.id}"):
        await dc.store.transact(lambda tx: delete_router(tx, blue.id))
    await dc.store.transact(lambda tx: delete_peering(tx, made.id))
    with pytest.raises(NotFound):
        await dc.store.transact(lambda tx: delete_peering(tx, made.id))
    assert await dc.store.read(peerings) == []


async def test_a_router_is_not_peered_with_itself_nor_with_nobody(dc: World) -> None:
    red = await vpc(dc, RED)
    with pytest.raises(Invalid, match="without a peering"):
        await peer(dc, red, red)
    with pytest.raises(NotFound):
        await dc.store.transact(lambda tx: create_peering(tx, red.id, RouterId("nobody")))


async def test_routers_with_the_same_prefixes_cannot_be_peered(dc: World) -> None:
    red, twin = await vpc(dc, RED), await vpc(dc, "10.0.0.0/16")
    with pytest.raises(Conflict, match=r"10\.0\.\S+ of subnet .* overlaps with 10\.0\.\S+ of subnet"):
        await peer(dc, red, twin)
    assert await dc.store.read(peerings) == []


async def test_two_peers_of_a_router_must_be_apart_too_since_they_meet_in_its_vrf(dc: World) -> None:
    red, blue, twin = await vpc(dc, RED), await vpc(dc, BLUE), await vpc(dc, RED)
    await peer(dc, red, blue)
    with pytest.raises(Conflict, match="meet in one VRF"):
        await peer(dc, twin, blue)


async def test_a_subnet_that_overlaps_a_peers_cannot_be_attached_later(dc: World) -> None:
    red, blue, green = await vpc(dc, RED), await vpc(dc, BLUE), await vpc(dc, GREEN)
    await peer(dc, red, blue)
    made = await peer(dc, blue, green)
    for taken in (BLUE, GREEN):
        with pytest.raises(Conflict, match="meet in one VRF"):
            await attach(dc, red, taken)
    await dc.store.transact(lambda tx: delete_peering(tx, made.id))
    await attach(dc, red, GREEN)


async def test_what_is_known_outside_is_apart(dc: World) -> None:
    outer = await external(dc)
    red, twin = await vpc(dc, RED), await vpc(dc, BLUE)
    taken = await attach(dc, twin, RED)
    await announce(dc, red, outer)
    with pytest.raises(Conflict, match="meet in one VRF"):
        await announce(dc, twin, outer)
    await announce(dc, twin, outer, snat=True)  # is not announced
    with pytest.raises(Conflict, match="meet in one VRF"):
        await announce(dc, twin, outer)
    await dc.store.transact(lambda tx: remove_interface(tx, twin.id, subnet_id=taken))
    await announce(dc, twin, outer)
    with pytest.raises(Conflict, match="meet in one VRF"):
        await dc.store.transact(lambda tx: add_interface(tx, twin.id, subnet_id=taken))


async def test_the_vnis_of_ways_out_are_nobody_elses(dc: World, tmp_path: Path) -> None:
    async def network(at: World, vni: int) -> None:
        spec = NetworkSpec(project_id=PROJECT, vni=Vni(vni))
        await at.store.transact(lambda tx: create_network(tx, spec))

    await network(dc, 9001)  # a site without ways out has no use for it
    with pytest.raises(Conflict, match=r"exit_vnis 9000-9999: network \S+ has VNI 9001"):
        await dc.store.transact(lambda tx: replace_inventory(tx, example("vpc-dc.toml")))
    (tmp_path / "other").mkdir()
    async with world(tmp_path / "other", inventory=example("vpc-dc.toml")) as outside:
        with pytest.raises(Conflict, match="is one of exit_vnis 9000-9999"):
            await network(outside, 9001)
