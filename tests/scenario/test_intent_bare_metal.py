"""Bare metal: one network untagged, any number by tags, each of them one way; moved between networks by the API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.intent.placement import VLAN_REST_S
from weft.intent.ports import bind_port, delete_port, unbind_port
from weft.model.errors import Conflict
from weft.model.ids import NetworkId, NodeName, PortId
from weft.model.intent import LeafVlan

BM1 = NodeName("bm1")
LEAF3 = "leaf3"
TRUNK = {"trunk": True}


@pytest.fixture
async def dc(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def vlan(at: World, network_id: NetworkId) -> LeafVlan | None:
    return await at.store.read(lambda snapshot: snapshot.leaf_vlan(LEAF3, network_id))


async def test_a_server_has_one_network_untagged_and_others_by_tags(dc: World) -> None:
    networks = [(await dc.segment(f"10.{i}.0.0/24"))[0] for i in range(4)]
    await dc.port(networks[0].id, "bm1")
    with pytest.raises(Conflict, match=r"carries network .* untagged; bind with the profile"):
        await dc.port(networks[1].id, "bm1")
    tagged = [await dc.port(network.id, "bm1", profile=TRUNK) for network in networks[1:]]
    vlans = [await vlan(dc, network.id) for network in networks]
    assert vlans[0] is None, "what is untagged needs no VLAN"
    assert len({each.vlan for each in vlans[1:] if each is not None}) == 3
    await dc.store.transact(lambda tx: delete_port(tx, tagged[0].port.id))
    given_up = await vlan(dc, networks[1].id)
    assert given_up is not None
    assert given_up.released_at == dc.clock(), f"it rests for {VLAN_REST_S:g} s"


async def test_a_tag_is_the_one_that_virtual_machines_on_the_leaf_have(dc: World) -> None:
    network, _ = await dc.segment()
    await dc.port(network.id, "node3")
    before = await vlan(dc, network.id)
    server = await dc.port(network.id, "bm1", profile=TRUNK)
    assert await vlan(dc, network.id) == before
    for view in await dc.store.read(lambda snapshot: snapshot.ports(node=NodeName("node3"))):
        await dc.store.transact(lambda tx, id_=view.port.id: delete_port(tx, id_))
    assert await vlan(dc, network.id) == before, "the server still needs it"
    await dc.store.transact(lambda tx: delete_port(tx, server.port.id))
    after = await vlan(dc, network.id)
    assert after is not None
    assert after.released_at is not None


async def test_a_network_is_there_in_one_way(dc: World) -> None:
    network, _ = await dc.segment()
    await dc.port(network.id, "bm1")
    with pytest.raises(Conflict, match=r"has network .* untagged, .*; bind both ports alike"):
        await dc.port(network.id, "bm1", profile=TRUNK)
    await dc.port(network.id, "bm1")


async def test_a_server_is_moved_to_another_network_by_unbinding_and_binding(dc: World) -> None:
    (one, _), (other, _) = await dc.segment("10.1.0.0/24"), await dc.segment("10.2.0.0/24")
    first, second = await dc.port(one.id, "bm1"), await dc.port(other.id)

    async def bind(port_id: PortId) -> None:
        await dc.store.transact(lambda tx: bind_port(tx, port_id, BM1))

    with pytest.raises(Conflict, match="carries network"):
        await bind(second.port.id)
    await dc.store.transact(lambda tx: unbind_port(tx, first.port.id))
    await bind(second.port.id)
    assert (await dc.view(first.port.id)).port.fixed_ips == first.port.fixed_ips, "it keeps its address"
    assert (await dc.view(second.port.id)).life.current is not None
    assert second.port.project_id == PROJECT


async def test_a_profile_says_nothing_on_a_node_that_tags_anyway(dc: World) -> None:
    network, _ = await dc.segment()
    plain, asked = await dc.port(network.id, "node3"), await dc.port(network.id, "node3", profile=TRUNK)
    assert plain.life.bindings[0].owed == asked.life.bindings[0].owed
