"""A network's VLAN on leaves, while many of its ports come and go in one commit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.intent.ports import PortSpec, create_port, delete_port
from weft.model.ids import NodeName
from weft.store.transaction import LOOKED_AT


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("left", [0, 1])
async def test_ports_that_go_together_take_the_vlan_only_if_they_are_all(core: World, left: int) -> None:
    network, _ = await core.segment()
    ports = [await core.port(network.id, "node1") for _ in range(2 * LOOKED_AT)]
    await asyncio.gather(
        *(
            core.store.transact(lambda tx, id_=view.port.id: delete_port(tx, id_))  # type: ignore[misc]
            for view in ports[left:]
        )
    )
    [vlan] = await core.store.read(lambda snapshot: snapshot.leaf_vlans())
    assert (vlan.released_at is None) == bool(left)


async def test_a_port_that_comes_while_the_others_go_keeps_the_vlan(core: World) -> None:
    network, _ = await core.segment()
    ports = [await core.port(network.id, "node1") for _ in range(3)]
    spec = PortSpec(project_id=PROJECT, network_id=network.id, node=NodeName("node1"))
    await asyncio.gather(
        core.store.transact(lambda tx: create_port(tx, spec)),
        *(
            core.store.transact(lambda tx, id_=view.port.id: delete_port(tx, id_))  # type: ignore[misc]
            for view in ports
        ),
    )
    [vlan] = await core.store.read(lambda snapshot: snapshot.leaf_vlans())
    assert vlan.released_at is None
