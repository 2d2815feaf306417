"""Provider VLAN networks: numbers given, refused, given back; and their way to the spine-leaf part of a site."""

from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from core_world import PROJECT, World, example, world
from msgspec.structs import replace

from weft.intent.migration import Stage, migrate_network, stage_of
from weft.intent.networks import NetworkSpec, create_network, delete_network
from weft.intent.placement import VLAN_REST_S
from weft.intent.ports import remove_port
from weft.intent.routers import add_interface
from weft.intent.subnets import SubnetSpec, create_subnet
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, SiteName, Vlan
from weft.model.intent import Network, NetworkType, Router
from weft.model.inventory import Inventory, NumberRange

DC = "vlan-dc.toml"
BOTH = "vlan-to-vxlan.toml"


def narrow(inventory: Inventory, first: int, last: int) -> Inventory:
    """Return a site with few VLANs."""
    site = inventory.sites[0]
    assert site.fabric is not None
    pools = replace(site.fabric, provider_vlans=NumberRange(first, last))
    return replace(inventory, sites=(replace(site, fabric=pools),))


@pytest.fixture
async def classic(tmp_path: Path) -> AsyncIterator[World]:
    """A site of VLAN switches, with VLANs for three networks."""
    async with world(tmp_path, inventory=narrow(example(DC), 1000, 1002)) as made:
        yield made


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[World]:
    """A site with both parts, joined."""
    async with world(tmp_path, inventory=example(BOTH)) as made:
        yield made


async def create(at: World, **fields: object) -> Network:
    """Create a network."""
    spec = NetworkSpec(project_id=PROJECT, **fields)  # type: ignore[arg-type]
    return await at.store.transact(lambda tx: create_network(tx, spec))


async def vlan(at: World, **fields: object) -> Network:
    """Create a VLAN network."""
    return await create(at, type=NetworkType.VLAN, **fields)


async def routed(at: World, network: Network, cidr: str, router: Router) -> None:
    """Give a network a subnet, and attach it to a router."""
    spec = SubnetSpec(project_id=PROJECT, network_id=network.id, cidr=ip_network(cidr))
    subnet = await at.store.transact(lambda tx: create_subnet(tx, spec))
    await at.store.transact(lambda tx: add_interface(tx, router.id, subnet_id=subnet.id))


async def migrate(at: World, network: Network, stage: Stage) -> Network:
    """Take a network to a stage."""
    return await at.store.transact(lambda tx: migrate_network(tx, network.id, stage))


async def row(at: World, network_id: NetworkId) -> Network:
    """Return a network as it is now."""
    found = await at.store.read(lambda snapshot: snapshot.network(network_id))
    assert found is not None
    return found


async def delete(at: World, network: Network) -> None:
    """Delete a network."""
    await at.store.transact(lambda tx: delete_network(tx, network.id))


async def test_a_site_of_vlan_switches_gives_vlans_unasked(classic: World) -> None:
    first, second = await create(classic), await create(classic)
    assert [(n.type, n.vlan, n.vni, n.physical_network) for n in (first, second)] == [
        (NetworkType.VLAN, 1000, None, "physnet1"),
        (NetworkType.VLAN, 1001, None, "physnet1"),
    ]


async def test_a_wanted_vlan_is_given_once(classic: World) -> None:
    first = await vlan(classic, vlan=Vlan(1002), physical_network="physnet1")
    assert first.vlan == 1002
    with pytest.raises(Conflict, match=f"The VLAN 1002 on physical network physnet1 is in use by network {first.id}"):
        await vlan(classic, vlan=Vlan(1002))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vlan": Vlan(999)}, "segmentation_id 999 is outside 1000-1002, the provider VLANs of site 'classic'"),
        (
            {"physical_network": "physnet9", "site": SiteName("classic")},
            "physical_network 'physnet9' unknown for VLAN provider network; site 'classic' has 'physnet1'",
        ),
        ({"type": NetworkType.VXLAN}, "site 'classic' has VLAN switches only and carries no networks of type 'vxlan'"),
    ],
)
async def test_what_the_site_has_not_is_refused(classic: World, fields: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        await create(classic, **{"type": NetworkType.VLAN, **fields})


async def test_a_vxlan_site_has_no_vlan_networks(tmp_path: Path) -> None:
    async with world(tmp_path) as spine_leaf:
        with pytest.raises(Invalid, match="is a VXLAN fabric and carries no networks of type 'vlan'; ask for 'vxlan'"):
            await vlan(spine_leaf)


async def test_vlans_run_out_and_come_back_after_a_rest(classic: World) -> None:
    networks = [await vlan(classic) for _ in range(3)]
    with pytest.raises(Conflict, match="No VLAN of 1000-1002 is free on physical network physnet1; delete a network"):
        await vlan(classic)
    await delete(classic, networks[1])
    with pytest.raises(Conflict, match="No VLAN of 1000-1002 is free"):
        await vlan(classic)
    classic.clock.advance(VLAN_REST_S)
    assert (await vlan(classic)).vlan == 1001


async def test_a_port_uses_its_networks_vlan_on_its_node_and_leaves_it_to_the_network(classic: World) -> None:
    network = await vlan(classic)
    await classic.subnet(network)
    port = await classic.port(network.id, "node1")
    held = await classic.store.read(lambda snapshot: snapshot.leaf_vlans())
    assert [(each.domain, each.vlan, each.released_at) for each in held] == [("vlan:classic", 1000, None)]
    await classic.store.transact(lambda tx: remove_port(tx, port))
    assert await classic.store.read(lambda snapshot: snapshot.leaf_vlans()) == held


async def test_a_port_binds_only_where_the_switches_have_its_networks_number(both: World) -> None:
    of_vlan, of_vxlan = await vlan(both), await create(both)
    for network in (of_vlan, of_vxlan):
        await both.subnet(network)
    with pytest.raises(Conflict, match=r"node 'node2' hangs on a leaf, and network .* has no VNI; join the network"):
        await both.port(of_vlan.id, "node2")
    with pytest.raises(Conflict, match=r"node 'node1' hangs on VLAN switches, and network .* has no VLAN"):
        await both.port(of_vxlan.id, "node1")


async def test_a_network_goes_from_vlan_to_vxlan_and_its_ports_with_it(both: World) -> None:
    network = await vlan(both)
    await both.subnet(network)
    old = await both.port(network.id, "node1")
    joined = await migrate(both, network, Stage.JOINED)
    assert (stage_of(joined), joined.vlan, joined.type) == (Stage.JOINED, 1000, NetworkType.VLAN)
    assert joined.vni is not None
    await both.port(network.id, "node2")
    with pytest.raises(Conflict, match=r"cannot become 'vxlan': it has ports on node1, which hang on the VLAN part"):
        await migrate(both, network, Stage.VXLAN)
    with pytest.raises(Conflict, match=r"cannot become 'vlan': it has ports on node2, which hang on the spine-leaf"):
        await migrate(both, network, Stage.VLAN)
    await both.store.transact(lambda tx: remove_port(tx, old))
    done = await migrate(both, network, Stage.VXLAN)
    assert (done.type, done.vni, done.vlan, done.physical_network) == (NetworkType.VXLAN, joined.vni, None, None)
    assert await migrate(both, network, Stage.VXLAN) == done
    with pytest.raises(Invalid, match="is 'vxlan' and cannot become 'joined'; the way is vlan, joined, vxlan"):
        await migrate(both, network, Stage.JOINED)
    both.clock.advance(VLAN_REST_S)
    assert (await vlan(both, vlan=Vlan(1000))).vlan == 1000


async def test_a_joined_network_may_go_back(both: World) -> None:
    network = await vlan(both)
    await migrate(both, network, Stage.JOINED)
    back = await migrate(both, network, Stage.VLAN)
    assert replace(back, revision_number=0) == network


async def test_no_network_joins_where_the_parts_are_not_joined(classic: World) -> None:
    network = await vlan(classic)
    with pytest.raises(Conflict, match="site 'classic' has no link between a core and a border leaf"):
        await migrate(classic, network, Stage.JOINED)
    with pytest.raises(Invalid, match="is 'vlan' and cannot become 'vxlan'"):
        await migrate(classic, network, Stage.VXLAN)


async def test_networks_of_a_router_join_and_go_back_together(both: World) -> None:
    router = await both.router()
    one, two, other = [await vlan(both) for _ in range(3)]
    await routed(both, one, "10.0.1.0/24", router)
    await routed(both, two, "10.0.2.0/24", router)
    await migrate(both, one, Stage.JOINED)
    assert [stage_of(await row(both, each.id)) for each in (one, two, other)] == ["joined", "joined", "vlan"]
    await migrate(both, two, Stage.VLAN)
    assert [stage_of(await row(both, each.id)) for each in (one, two, other)] == ["vlan", "vlan", "vlan"]
    await migrate(both, one, Stage.JOINED)
    await migrate(both, one, Stage.VXLAN)
    with pytest.raises(Conflict, match=f"it is routed with network {one.id}, which has no VLAN any more"):
        await migrate(both, two, Stage.VLAN)


async def test_a_vlan_network_joins_when_its_router_gets_one_of_the_fabric(both: World) -> None:
    router = await both.router()
    old, new = await vlan(both), await create(both)
    await routed(both, old, "10.0.1.0/24", router)
    assert stage_of(await row(both, old.id)) is Stage.VLAN
    await routed(both, new, "10.0.2.0/24", router)
    assert stage_of(await row(both, old.id)) is Stage.JOINED
