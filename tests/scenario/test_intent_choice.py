"""A port that asks for labels gets a network that has them: the emptiest that can carry it, and it is told why."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.intent.choice import CHOSEN, NAMED, ChosenPort, create_port_by_labels
from weft.intent.held import set_policy
from weft.intent.networks import NetworkChanges, NetworkSpec, create_network, update_network
from weft.intent.ports import PortSpec, delete_port
from weft.intent.rbac import create_policy
from weft.model import steps
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NetworkId, NodeName, SiteName
from weft.model.intent import Network
from weft.model.sharing import Action, ObjectType, RbacPolicy


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def labelled(here: World, name: str, cidr: str | None, project: str = PROJECT, **labels: str) -> Network:
    network = await here.store.transact(
        lambda tx: create_network(tx, NetworkSpec(project_id=project, name=name, labels=labels))
    )
    if cidr is not None:
        await here.subnet(network, cidr)
    return network


async def chosen(here: World, node: str | None = None, site: str | None = None, **labels: str) -> ChosenPort:
    spec = PortSpec(project_id=PROJECT, network_id=NetworkId(""), node=None if node is None else NodeName(node))
    where = None if site is None else SiteName(site)
    return await here.store.transact(lambda tx: create_port_by_labels(tx, spec, labels, site=where))


async def test_the_network_with_the_most_free_addresses_is_taken_and_the_choice_is_explained(here: World) -> None:
    small = await labelled(here, "small", "10.1.0.0/29", tier="web")
    large = await labelled(here, "large", "10.2.0.0/24", tier="web", env="test")
    await labelled(here, "other", "10.3.0.0/16", tier="db")
    port = await chosen(here, tier="web")
    assert port.port.network_id == large.id == port.choice.network_id
    assert [(each.network_id, each.verdict == CHOSEN) for each in port.choice.considered] == [
        (large.id, True),
        (small.id, False),
    ]
    assert port.choice.considered[0].free == 253
    history = await here.store.read(lambda snapshot: snapshot.history(port.port.id))
    assert "large by tier=web" in next(entry.detail for entry in history if entry.step == steps.NETWORK_CHOSEN)


async def test_every_label_must_be_there(here: World) -> None:
    await labelled(here, "a", "10.1.0.0/24", tier="web")
    both = await labelled(here, "b", "10.2.0.0/28", tier="web", env="test")
    assert (await chosen(here, tier="web", env="test")).port.network_id == both.id


async def test_networks_of_one_kind_fill_evenly_and_a_full_one_is_passed_over_until_none_is_left(here: World) -> None:
    first = await labelled(here, "first", "10.1.0.0/29", tier="web")
    second = await labelled(here, "second", "10.2.0.0/29", tier="web")
    taken = [(await chosen(here, tier="web")).port.network_id for _ in range(10)]
    assert taken[:4].count(first.id) == taken[:4].count(second.id) == 2
    assert taken.count(first.id) == taken.count(second.id) == 5
    with pytest.raises(Conflict, match="no address is free") as full:
        await chosen(here, tier="web")
    assert full.value.kind == "NoNetworkAvailable"


async def test_an_address_that_has_rested_counts_as_free(here: World) -> None:
    network = await labelled(here, "tiny", "10.1.0.0/30", tier="web")
    port = await chosen(here, tier="web")
    await here.store.transact(lambda tx: delete_port(tx, port.port.id))
    with pytest.raises(Conflict, match="no address is free"):
        await chosen(here, tier="web")
    here.clock.advance(31)
    assert (await chosen(here, tier="web")).port.network_id == network.id


async def test_what_the_node_and_the_site_cannot_have_is_passed_over(here: World) -> None:
    network = await labelled(here, "a", "10.1.0.0/24", tier="web")
    bare = await labelled(here, "b", "10.2.0.0/28", tier="web")
    assert (await chosen(here, node="node1", tier="web")).life.current is not None
    # bm1 is bare metal and carries network b, and its leaf interface has one network only.
    await here.port(bare.id, "bm1")
    assert (await chosen(here, node="bm1", tier="web")).port.network_id == bare.id
    with pytest.raises(Conflict, match="not in 'elsewhere'"):
        await chosen(here, site="elsewhere", tier="web")
    assert network.id != bare.id


async def test_another_projects_network_is_used_only_if_it_is_shared(here: World) -> None:
    network = await labelled(here, "theirs", "10.1.0.0/24", project="p2", tier="web")
    with pytest.raises(NotFound, match="tier=web"):
        await chosen(here, tier="web")
    await here.store.transact(lambda tx: update_network(tx, network.id, NetworkChanges(shared=True)))
    assert (await chosen(here, tier="web")).port.network_id == network.id


async def test_a_network_without_a_subnet_is_no_choice_and_no_labels_are_refused(here: World) -> None:
    await labelled(here, "empty", None, tier="web")
    with pytest.raises(Conflict, match="it has no subnet"):
        await chosen(here, tier="web")
    with pytest.raises(Invalid, match="names no label"):
        await chosen(here)


async def test_another_projects_network_may_be_let_to_one_project(here: World) -> None:
    network = await labelled(here, "theirs", "10.1.0.0/24", project="p2", tier="web")
    policy = RbacPolicy(
        id="",
        project_id="p2",
        object_type=ObjectType.NETWORK,
        object_id=network.id,
        action=Action.ACCESS_AS_SHARED,
        target_project=PROJECT,
    )
    await here.store.transact(lambda tx: create_policy(tx, policy))
    assert (await chosen(here, tier="web")).port.network_id == network.id


async def test_a_port_comes_back_to_the_network_that_keeps_its_names_address_also_if_that_is_full(here: World) -> None:
    kept = await labelled(here, "kept", "10.1.0.0/30", tier="web")
    await labelled(here, "large", "10.2.0.0/24", tier="web")
    await here.store.transact(lambda tx: set_policy(tx, kept.id, None))
    first = await here.port(kept.id, name="db-0")
    await here.store.transact(lambda tx: delete_port(tx, first.port.id))
    spec = PortSpec(project_id=PROJECT, network_id=NetworkId(""), name="db-0")
    again = await here.store.transact(lambda tx: create_port_by_labels(tx, spec, {"tier": "web"}))
    assert again.port.fixed_ips == first.port.fixed_ips
    assert [each.verdict for each in again.choice.considered] == [CHOSEN, NAMED]
