"""Ports that are created together: the same as one after another, all of them or none."""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.intent.ports import FixedIpSpec, PortSpec, create_ports
from weft.intent.quotas import set_quota
from weft.model.errors import Conflict, NotFound
from weft.model.ids import NetworkId, NodeName
from weft.ports.machine import State
from weft.store import PortView


def spec(network_id: NetworkId, **fields: object) -> PortSpec:
    return PortSpec(project_id=PROJECT, network_id=network_id, **fields)  # type: ignore[arg-type]


async def create(w: World, specs: Sequence[PortSpec]) -> list[PortView]:
    return await w.store.transact(lambda tx: create_ports(tx, specs))


async def test_ports_of_one_request_are_as_if_created_one_by_one(tmp_path: Path) -> None:
    async with world(tmp_path / "one") as one, world(tmp_path / "several") as several:
        networks = []
        for w in (one, several):
            network, _ = await w.segment()
            await w.subnet(network, "2001:db8::/64")
            networks.append(network.id)
        made = [await one.port(networks[0], name=f"port-{at}") for at in range(5)]
        bulk = await create(several, [spec(networks[1], name=f"port-{at}") for at in range(5)])
        assert [[ip.address for ip in view.port.fixed_ips] for view in bulk] == [
            [ip.address for ip in view.port.fixed_ips] for view in made
        ]
        assert [view.port.security_groups for view in bulk] == [view.port.security_groups for view in made]
        assert len({view.port.mac for view in bulk}) == 5
        for view, alike in zip(bulk, made, strict=True):
            assert await several.view(view.port.id) == view
            assert [entry.step for entry in await history(several, view)] == [
                entry.step for entry in await history(one, alike)
            ]


async def history(w: World, view: PortView) -> list:  # type: ignore[type-arg]
    return await w.store.read(lambda snapshot: snapshot.history(view.port.id))


async def test_what_single_ports_ask_for_counts_in_a_bulk(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        wish = ip_address("10.0.0.77")
        named = spec(network.id, name="asks", fixed_ips=(FixedIpSpec(address=wish),))
        made = await create(w, [spec(network.id), named, spec(network.id, node=NodeName("node1"))])
        assert [view.port.name for view in made] == ["", "asks", ""]
        assert made[1].port.fixed_ips[0].address == wish
        assert made[2].life.state is State.BINDING


async def test_a_bulk_that_needs_more_than_there_is_takes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, subnet = await w.segment("10.9.0.0/29")
        there = await w.store.transact(lambda tx: tx.pool(subnet).free)
        with pytest.raises(Conflict, match="No more IP addresses"):
            await create(w, [spec(network.id)] * (there + 1))
        assert await w.store.transact(lambda tx: tx.pool(subnet).free) == there
        assert len(await create(w, [spec(network.id)] * there)) == there
        assert await w.store.transact(lambda tx: tx.pool(subnet).free) == 0


async def test_a_quota_counts_a_bulk_as_a_whole(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        await w.store.transact(lambda tx: set_quota(tx, PROJECT, {"port": 3}))
        with pytest.raises(Conflict) as refused:
            await create(w, [spec(network.id)] * 4)
        assert refused.value.kind == "OverQuota"
        assert len(await create(w, [spec(network.id)] * 3)) == 3


async def test_a_bulk_for_a_network_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        with pytest.raises(NotFound):
            await create(w, [spec(network.id), spec(NetworkId("none"))])
        assert await w.store.read(lambda snapshot: snapshot.ports()) == []
