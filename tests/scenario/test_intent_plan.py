"""The address plan and subnets: what a plan binds, and what becomes of it when subnets come and go."""

from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from core_world import PROJECT, World, world

from weft.intent.addresses import QUARANTINE_S
from weft.intent.networks import delete_network
from weft.intent.plan import PrefixSpec, delegate, free, move, resize, unplanned
from weft.intent.plan_rows import delegations_to, domains_of, tree_of
from weft.intent.routers import add_interface, remove_interface
from weft.intent.subnets import delete_subnet
from weft.ipam.tree import Tree
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.plan import ROUTED, Delegation, Level, Owner


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as opened:
        yield opened


async def give(core: World, owner: str, cidr: str | None = None, **fields: object) -> Delegation:
    level, _, id_ = owner.partition(":")
    spec = PrefixSpec(owner=Owner(Level(level), id_), cidr=cidr and ip_network(cidr), **fields)  # type: ignore[arg-type]
    return await core.store.transact(lambda tx: delegate(tx, spec))


async def tree(core: World, domain: str = ROUTED) -> Tree:
    return await core.store.read(lambda snapshot: tree_of(snapshot, domain))


async def drawn(core: World, domain: str = ROUTED) -> list[str]:
    found = await tree(core, domain)
    return [f"{'  ' * found.depth(each.id)}{each.cidr} {each.level}" for each in found]


async def test_without_a_plan_subnets_are_free(core: World) -> None:
    await core.segment("10.0.0.0/24")
    await core.segment("10.0.0.0/24")
    assert await core.store.read(domains_of) == []


async def test_a_subnet_lies_in_what_its_project_has(core: World) -> None:
    await give(core, "global", "10.0.0.0/8")
    await give(core, f"project:{PROJECT}", "10.1.0.0/16")
    network = await core.network()
    with pytest.raises(Invalid, match=rf"10\.2\.0\.0/24 is not in the prefixes delegated to project:{PROJECT}: 10\.1"):
        await core.subnet(network, "10.2.0.0/24")
    subnet = await core.subnet(network, "10.1.7.0/24")
    assert await drawn(core) == ["10.0.0.0/8 global", "  10.1.0.0/16 project", "    10.1.7.0/24 subnet"]
    with pytest.raises(Conflict, match=rf"10\.1\.7\.0/25 .* lies in 10\.1\.7\.0/24 \(subnet:{subnet.id}\)"):
        await core.subnet(await core.network("other"), "10.1.7.0/25")
    await core.store.transact(lambda tx: delete_subnet(tx, subnet.id))
    assert await drawn(core) == ["10.0.0.0/8 global", "  10.1.0.0/16 project"]
    await core.subnet(network, "2001:db8::/64")  # nothing of this family is planned


async def test_the_nearest_owner_binds(core: World) -> None:
    site = (await core.network("probe")).site
    network = await core.network()
    await give(core, f"site:{site}", "10.0.0.0/8")
    await give(core, "project:stranger", "10.9.0.0/16")
    with pytest.raises(Conflict, match=r"would lie in 10\.9\.0\.0/16 \(project:stranger\): a prefix has one owner"):
        await core.subnet(network, "10.9.1.0/24")
    await give(core, f"network:{network.id}", "10.4.0.0/24")
    await core.subnet(network, "10.4.0.0/24")
    with pytest.raises(Invalid, match=r"not in the prefixes delegated to network:"):
        await core.subnet(network, "10.5.0.0/24")
    await core.store.transact(lambda tx: delete_network(tx, network.id))
    assert await drawn(core) == ["10.0.0.0/8 site", "  10.9.0.0/16 project"], "the network's prefix goes with it"


async def test_a_delegation_takes_in_the_subnets_that_it_binds(core: World) -> None:
    _, subnet = await core.segment("10.1.2.0/24")
    await core.segment("172.16.0.0/24")
    await give(core, f"project:{PROJECT}", "10.0.0.0/8")
    assert await drawn(core) == ["10.0.0.0/8 project", "  10.1.2.0/24 subnet"]
    outside = await core.store.read(unplanned)
    assert [(str(each.cidr), str(owner)) for each, owner in outside] == [("172.16.0.0/24", f"project:{PROJECT}")]
    with pytest.raises(Conflict, match="follows the subnet of this id"):
        await core.store.transact(lambda tx: free(tx, subnet.id))


async def test_two_subnets_that_overlap_do_not_come_into_one_plan(core: World) -> None:
    first, _ = await core.segment("10.1.2.0/24")
    await core.segment("10.1.2.0/25")
    with pytest.raises(Conflict, match="which cannot be in it"):
        await give(core, f"project:{PROJECT}", "10.0.0.0/8")
    assert await drawn(core) == []
    await give(core, f"network:{first.id}", "10.1.2.0/24", domain="lab")
    await give(core, f"project:{PROJECT}", "10.0.0.0/8")
    assert await drawn(core) == ["10.0.0.0/8 project", "  10.1.2.0/25 subnet"]
    assert await drawn(core, "lab") == ["10.1.2.0/24 network", "  10.1.2.0/24 subnet"]
    assert await core.store.read(domains_of) == [ROUTED, "lab"]


async def test_a_router_routes_within_one_domain(core: World) -> None:
    await give(core, f"project:{PROJECT}", "10.0.0.0/8")
    isolated = await core.network("isolated")
    await give(core, f"network:{isolated.id}", "192.168.0.0/16", domain="lab")
    outer = await core.subnet(await core.network(), "10.1.0.0/24")
    inner = await core.subnet(isolated, "192.168.1.0/24")
    router = await core.router()
    await core.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=outer.id))
    with pytest.raises(Conflict, match="isolated domain 'lab'"):
        await core.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=inner.id))
    (prefix,) = await core.store.read(lambda s: delegations_to(s, Owner(Level.PROJECT, PROJECT)))
    with pytest.raises(Conflict, match="detach it before it is moved"):
        await core.store.transact(lambda tx: move(tx, prefix.id, domain="lab"))
    await core.store.transact(lambda tx: remove_interface(tx, router.id, subnet_id=outer.id))
    core.clock.advance(QUARANTINE_S)  # the gateway's address rests
    await core.store.transact(lambda tx: move(tx, prefix.id, domain="lab"))
    await core.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=outer.id))
    await core.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=inner.id))
    assert await drawn(core) == []


async def test_a_routers_prefix_binds_what_is_attached(core: World) -> None:
    router = await core.router()
    await give(core, f"router:{router.id}", "10.3.0.0/16")
    outside = await core.subnet(await core.network("a"), "10.4.0.0/24")
    inside = await core.subnet(await core.network("b"), "10.3.0.0/24")
    with pytest.raises(Conflict, match=r"10\.4\.0\.0/24 is not in the prefixes delegated to router"):
        await core.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=outside.id))
    await core.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=inside.id))


async def test_space_is_cut_resized_moved_and_freed(core: World) -> None:
    whole = await give(core, "global", "10.0.0.0/8")
    first = await give(core, "project:a", under=whole.id, prefixlen=16)
    second = await give(core, "project:b", under=whole.id, prefixlen=16)
    assert [str(first.cidr), str(second.cidr)] == ["10.0.0.0/16", "10.1.0.0/16"]
    with pytest.raises(Conflict, match=r"10\.0\.0\.0/15 would take in 10\.1"):
        await core.store.transact(lambda tx: resize(tx, first.id, ip_network("10.0.0.0/15")))
    await core.store.transact(lambda tx: move(tx, second.id, owner=Owner(Level.PROJECT, "c")))
    await core.store.transact(lambda tx: resize(tx, second.id, ip_network("10.1.0.0/17")))
    with pytest.raises(Conflict, match="free what lies in it first"):
        await core.store.transact(lambda tx: free(tx, whole.id))
    await core.store.transact(lambda tx: free(tx, first.id))
    found = await tree(core)
    assert [str(each) for each in found] == ["10.0.0.0/8 (global)", "10.1.0.0/17 (project:c)"]


@pytest.mark.parametrize(
    ("owner", "error", "message"),
    [
        ("site:atlantis", NotFound, "there is no site 'atlantis'"),
        ("network:n", NotFound, "there is no network 'n'"),
        ("project", Invalid, "needs the owner's name or id"),
        ("global:all", Invalid, "has no owner to name"),
        ("subnet:s", Invalid, "comes into the plan with the subnet itself"),
    ],
)
async def test_an_owner_that_cannot_be(core: World, owner: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await give(core, owner, "10.0.0.0/8")
