"""Which network a container's port is in: any that has the labels asked for; the next one when one is full."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.intent.networks import NetworkSpec, create_network
from weft.intent.subnets import SubnetSpec, create_subnet
from weft.intent.workloads import attach, release, warm
from weft.model.errors import Conflict, NotFound
from weft.model.ids import NodeName
from weft.model.intent import Network
from weft.protocol.workload import WarmOrder, Workload, WorkloadRelease, WorkloadRequest

NODE = NodeName("node1")
PROD = {"env": "prod"}


@pytest.fixture
async def dc(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def network(at: World, name: str, *cidrs: str, labels: dict[str, str] = PROD) -> Network:
    made = await at.store.transact(
        lambda tx: create_network(tx, NetworkSpec(project_id=PROJECT, name=name, labels=labels))
    )
    for cidr in cidrs:
        spec = SubnetSpec(project_id=PROJECT, network_id=made.id, cidr=ip_network(cidr))
        await at.store.transact(lambda tx, spec=spec: create_subnet(tx, spec))  # type: ignore[misc]
    return made


async def add(at: World, name: str, labels: dict[str, str] = PROD) -> Workload:
    asked = WorkloadRequest(name=name, holder=name, network_labels=labels)
    return await at.store.transact(lambda tx: attach(tx, NODE, asked, project_id=PROJECT))


async def order(at: World, count: int) -> list[Workload | BaseException]:
    asked = WarmOrder(count=count, network_labels=PROD)
    works = (at.store.transact(lambda tx: warm(tx, NODE, asked, project_id=PROJECT)) for _ in range(count))
    return await asyncio.gather(*works, return_exceptions=True)


async def test_any_network_with_the_labels_and_the_next_when_one_is_full(dc: World) -> None:
    small = await network(dc, "small", "10.1.0.0/29")  # five addresses
    large = await network(dc, "large", "10.2.0.0/28")  # thirteen
    await network(dc, "other", "10.3.0.0/24", labels={"env": "test"})
    made = [await add(dc, f"w-{number}") for number in range(18)]
    assert {each.network_id for each in made} == {small.id, large.id}
    assert len({each.addresses for each in made}) == 18
    with pytest.raises(Conflict, match="none of the networks with the labels env=prod can take the port: "):
        await add(dc, "w-18")
    with pytest.raises(NotFound, match="no network that project 'p1' may use has the labels env=dev"):
        await add(dc, "w-18", {"env": "dev"})


async def test_a_name_stays_in_its_network_whatever_is_emptier(dc: World) -> None:
    await network(dc, "small", "10.1.0.0/29")
    first = await add(dc, "db-0")
    await network(dc, "large", "10.2.0.0/24")
    gone = WorkloadRelease(name="db-0", holder="db-0")
    assert await dc.store.transact(lambda tx: release(tx, NODE, gone, project_id=PROJECT))
    assert (await add(dc, "db-0")).addresses == first.addresses


async def test_warm_ports_are_of_any_network_with_the_labels_too(dc: World) -> None:
    await network(dc, "small", "10.1.0.0/29")
    await network(dc, "large", "10.2.0.0/28")
    made = await order(dc, 20)
    ports = [each for each in made if isinstance(each, Workload)]
    assert len({each.addresses for each in ports}) == len(ports) == 18, "asked for in one commit, too"
    assert all(isinstance(each, Conflict) for each in made if not isinstance(each, Workload))


async def test_a_network_that_lacks_one_family_loses_no_address_of_the_other(dc: World) -> None:
    await network(dc, "dual", "10.1.0.0/28", "2001:db8::/126")  # thirteen, and two
    made = [each for each in await order(dc, 4) if isinstance(each, Workload)]
    assert len(made) < 4, "the second family is full"
    await network(dc, "more", "10.2.0.0/24")
    assert isinstance((await order(dc, 1))[0], Workload)
    used = len(made)
    free = await dc.store.transact(
        lambda tx: {each.cidr.version: tx.pool(each).free for each in tx.subnets() if "10.1" in str(each.cidr)}
    )
    assert free == {4: 13 - used}
