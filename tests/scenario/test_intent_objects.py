"""Networks, subnets, routers and ports as they change: numbers that rest, VLANs that are shared, addresses kept."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
from core_world import PROJECT, small_dc, world

from weft.intent.addresses import QUARANTINE_S
from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkChanges, delete_network, update_network
from weft.intent.placement import VLAN_REST_S
from weft.intent.ports import (
    FixedIpSpec,
    PortChanges,
    PortSpec,
    bind_port,
    create_port,
    delete_port,
    unbind_port,
    update_port,
)
from weft.intent.routers import RouterChanges, add_interface, delete_router, remove_interface, update_router
from weft.intent.subnets import SubnetChanges, SubnetSpec, create_subnet, update_subnet
from weft.model.ids import NodeName, SwitchName
from weft.model.intent import AddressRange, LeafVlan
from weft.model.inventory import Link, LinkEnd, Node, Switch, SwitchRole
from weft.ports.machine import State
from weft.store import Kind, Snapshot, SwitchState, SwitchStatus


def vlans(snapshot: Snapshot) -> dict[str, LeafVlan]:
    return {vlan.domain: vlan for vlan in snapshot.leaf_vlans()}


async def test_numbers_of_deleted_objects_rest(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        first = await w.network()
        r = await w.router()
        assert (first.vni, r.l3vni, r.vrf) == (10_000, 50_000, "v50000")
        await w.store.transact(lambda tx: delete_network(tx, first.id))
        await w.store.transact(lambda tx: delete_router(tx, r.id))
        assert ((await w.network()).vni, (await w.router()).l3vni) == (10_001, 50_001)


async def test_a_vlan_is_shared_by_a_leaf_and_rests_when_the_last_port_leaves(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment()
        n2, _ = await w.segment()
        one, two = await w.port(n.id, "node1"), await w.port(n.id, "node1")
        other = await w.port(n2.id, "node1")
        assert {vlan.vlan for vlan in await w.store.read(lambda snapshot: snapshot.leaf_vlans())} == {100, 101}
        await w.store.transact(lambda tx: delete_port(tx, other.port.id))
        await w.store.transact(lambda tx: delete_port(tx, one.port.id))
        assert (await w.store.read(lambda s: s.leaf_vlan("leaf1", n.id))) == LeafVlan(
            domain="leaf1", network_id=n.id, vlan=100
        )
        await w.store.transact(lambda tx: unbind_port(tx, two.port.id))
        rests = await w.store.read(lambda s: s.leaf_vlan("leaf1", n.id))
        assert rests is not None
        assert rests.released_at == w.clock()
        await w.store.transact(lambda tx: bind_port(tx, two.port.id, NodeName("node1")))
        back = await w.store.read(lambda s: s.leaf_vlan("leaf1", n.id))
        assert back == LeafVlan(domain="leaf1", network_id=n.id, vlan=100)
        n3, _ = await w.segment()
        await w.port(n3.id, "node1")
        third = await w.store.read(lambda s: s.leaf_vlan("leaf1", n3.id))
        assert third is not None
        assert third.vlan == 102
        w.clock.advance(VLAN_REST_S)
        n4, _ = await w.segment()
        await w.port(n4.id, "node1")
        assert await w.store.read(lambda s: s.leaf_vlan("leaf1", n2.id)) is None


async def test_bare_metal_needs_no_vlan_and_owes_the_fabric_only(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment()
        view = await w.port(n.id, "bm1")
        assert await w.store.read(vlans) == {}
        await w.fabric(view)
        assert (await w.view(view.port.id)).life.state is State.ACTIVE


async def test_a_bare_metal_server_takes_another_network_when_it_is_free(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment()
        n2, _ = await w.segment()
        view = await w.port(n.id, "bm1")
        await w.store.transact(lambda tx: unbind_port(tx, view.port.id))
        assert (await w.port(n2.id, "bm1")).life.state is State.BINDING


async def test_an_address_of_each_family(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment()
        await w.subnet(n, "2001:db8::/64")
        view = await w.port(n.id)
        assert [str(ip.address) for ip in view.port.fixed_ips] == ["10.0.0.2", "2001:db8::2"]
        await w.subnet(n, "10.0.1.0/24")
        view = await w.port(n.id)
        assert [str(ip.address) for ip in view.port.fixed_ips] == ["10.0.0.3", "2001:db8::3"]


async def test_a_full_subnet_is_followed_by_the_next_of_its_family(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment("10.0.0.0/30")
        await w.subnet(n, "10.0.1.0/24")
        got = [str((await w.port(n.id)).port.fixed_ips[0].address) for _ in range(2)]
        assert got == ["10.0.0.2", "10.0.1.2"]


async def test_a_network_without_subnets_has_ports_without_addresses(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n = await w.network()
        assert (await w.port(n.id)).port.fixed_ips == ()


async def test_addresses_that_a_port_keeps_and_gives_up(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, s = await w.segment()
        other = await w.subnet(n, "10.0.1.0/24")
        view = await w.port(n.id)
        wanted = (FixedIpSpec(subnet_id=s.id), FixedIpSpec(subnet_id=other.id, address=ip_address("10.0.1.77")))
        changed = await w.store.transact(lambda tx: update_port(tx, view.port.id, PortChanges(fixed_ips=wanted)))
        assert [str(ip.address) for ip in changed.port.fixed_ips] == ["10.0.0.2", "10.0.1.77"]
        assert changed.port.revision_number == view.port.revision_number + 1
        only = PortChanges(fixed_ips=(FixedIpSpec(address=ip_address("10.0.1.77")), FixedIpSpec(subnet_id=s.id)))
        kept = await w.store.transact(lambda tx: update_port(tx, view.port.id, only))
        assert [str(ip.address) for ip in kept.port.fixed_ips] == ["10.0.1.77", "10.0.0.2"]
        none = await w.store.transact(lambda tx: update_port(tx, view.port.id, PortChanges(fixed_ips=())))
        assert none.port.fixed_ips == ()
        assert await w.store.transact(lambda tx: tx.pool(s).resting) == 1
        w.clock.advance(QUARANTINE_S)
        back = await w.port(n.id, fixed_ips=(FixedIpSpec(address=ip_address("10.0.0.2")),))
        assert str(back.port.fixed_ips[0].address) == "10.0.0.2"


async def test_a_released_address_is_the_last_to_come_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment("10.0.0.0/29")
        view = await w.port(n.id)
        await w.store.transact(lambda tx: delete_port(tx, view.port.id))
        w.clock.advance(QUARANTINE_S)
        got = [str((await w.port(n.id)).port.fixed_ips[0].address) for _ in range(5)]
        assert got == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


async def test_pools_that_change_are_what_addresses_come_from(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, s = await w.segment()
        await w.port(n.id)
        pools = (AddressRange(ip_address("10.0.0.50"), ip_address("10.0.0.51")),)
        changed = await w.store.transact(lambda tx: update_subnet(tx, s.id, SubnetChanges(pools=pools, name="x")))
        assert (changed.name, changed.revision_number) == ("x", 1)
        assert str((await w.port(n.id)).port.fixed_ips[0].address) == "10.0.0.50"
        outside = await w.port(n.id, fixed_ips=(FixedIpSpec(subnet_id=s.id, address=ip_address("10.0.0.200")),))
        assert str(outside.port.fixed_ips[0].address) == "10.0.0.200"


async def test_a_routers_gateway_comes_and_goes_with_its_interface(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, s = await w.segment()
        r = await w.router()
        interface = await w.store.transact(lambda tx: add_interface(tx, r.id, subnet_id=s.id))
        gateway = await w.view(interface.port_id)
        assert [ip.address for ip in gateway.port.fixed_ips] == [s.gateway]
        assert (gateway.port.device_owner, gateway.port.device_id) == ("network:router_interface", r.id)
        assert await w.store.read(lambda snapshot: snapshot.router_interfaces(r.id)) == [interface]
        start = w.store.revision
        assert await w.store.transact(lambda tx: remove_interface(tx, r.id, port_id=interface.port_id)) == interface
        kinds = {(change.kind, change.op.value) for change in await w.changes(start)}
        assert kinds == {(Kind.ROUTER_INTERFACE, "delete"), (Kind.PORT, "delete")}
        assert await w.store.read(lambda snapshot: snapshot.port(interface.port_id)) is None
        w.clock.advance(QUARANTINE_S)
        spec = PortSpec(project_id=PROJECT, network_id=n.id, fixed_ips=(FixedIpSpec(address=ip_address("10.0.0.254")),))
        port = await w.store.transact(lambda tx: create_port(tx, spec))
        by_port = await w.store.transact(lambda tx: add_interface(tx, r.id, port_id=port.port.id))
        assert by_port.port_id == port.port.id
        assert (await w.view(port.port.id)).port.device_id == r.id


async def test_the_same_prefix_in_two_tenants(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for name in ("red", "blue"):
            _, s = await w.segment("10.0.0.0/24")
            r = await w.router(name)
            await w.store.transact(lambda tx, r=r, s=s: add_interface(tx, r.id, subnet_id=s.id))  # type: ignore[misc]
        assert len(await w.store.read(lambda snapshot: snapshot.router_interfaces())) == 2


async def test_names_and_tags_change(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment()
        r = await w.router()
        w.clock.advance(5)
        n2 = await w.store.transact(lambda tx: update_network(tx, n.id, NetworkChanges(name="x", tags=("a",))))
        assert (n2.name, n2.tags, n2.vni, n2.revision_number) == ("x", ("a",), n.vni, 1)
        assert (n2.created_at, n2.updated_at) == (n.created_at, w.clock())
        r2 = await w.store.transact(lambda tx: update_router(tx, r.id, RouterChanges(admin_state_up=False)))
        assert (r2.admin_state_up, r2.l3vni) == (False, r.l3vni)


async def test_a_network_goes_with_its_subnets(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, s = await w.segment()
        view = await w.port(n.id)
        await w.store.transact(lambda tx: delete_port(tx, view.port.id))
        await w.store.transact(lambda tx: delete_network(tx, n.id))
        assert await w.store.read(lambda snapshot: snapshot.subnet(s.id)) is None
        again = await w.network()
        spec = SubnetSpec(project_id=PROJECT, network_id=again.id, cidr=ip_network("10.0.0.0/24"))
        await w.store.transact(lambda tx: create_subnet(tx, spec))
        assert str((await w.port(again.id)).port.fixed_ips[0].address) == "10.0.0.2"


async def test_an_update_binds_moves_and_unbinds(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment()
        view = await w.port(n.id)

        async def update(**fields: object) -> State:
            changes = PortChanges(**fields)  # type: ignore[arg-type]
            return (await w.store.transact(lambda tx: update_port(tx, view.port.id, changes))).life.state

        assert await update(node=NodeName("node1"), vnic_type="direct", profile={"a": [1]}) is State.BINDING
        bound = await w.view(view.port.id)
        assert bound.life.current is not None
        assert (bound.life.current.vnic_type, bound.life.current.profile) == ("direct", {"a": [1]})
        await w.host(bound, "node1")
        await w.fabric(bound)
        assert await update(node=NodeName("node2"), name="moved") is State.MOVING
        assert await update(node=None) is State.HELD
        assert await update(node=None) is State.HELD
        assert await update(vnic_type="normal") is State.HELD
        assert (await w.view(view.port.id)).port.name == "moved"


async def test_ports_are_found_by_what_they_are(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, _ = await w.segment()
        a = await w.port(n.id, "node1", name="a", device_id="vm-a")
        b = await w.port(n.id, name="b")

        async def find(**fields: object) -> list[str]:
            found = await w.store.read(lambda snapshot: snapshot.ports(**fields))  # type: ignore[arg-type]
            return [view.port.name for view in found]

        assert await find() == ["a", "b"]
        assert await find(network_id=n.id) == ["a", "b"]
        assert await find(node="node1") == ["a"]
        assert await find(device_id="vm-a", name="a") == ["a"]
        assert await find(mac=b.port.mac) == ["b"]
        assert await find(address="10.0.0.3") == ["b"]
        assert await find(project_id="nobody") == []
        assert await find(ids=[b.port.id, a.port.id, "x"]) == ["a", "b"]
        assert await find(ids=[a.port.id, b.port.id], name="b") == ["b"]


async def test_an_inventory_grows_and_shrinks_without_renumbering(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        before = await w.store.read(lambda snapshot: snapshot.numbering())
        there = small_dc()
        revision = w.store.revision
        assert await w.store.transact(lambda tx: replace_inventory(tx, there)) == before
        assert w.store.revision == revision
        leaf4 = Switch(
            name=SwitchName("leaf4"), site=there.sites[0].name, role=SwitchRole.LEAF, management="192.168.0.24"
        )
        grown = msgspec.structs.replace(
            there,
            switches=(leaf4, *there.switches),
            nodes=(Node(name=NodeName("node4"), site=there.sites[0].name), *there.nodes),
            links=(
                *there.links,
                Link(a=LinkEnd("leaf4", "eth1"), b=LinkEnd("spine1", "eth4")),
                Link(a=LinkEnd("leaf4", "eth11"), b=LinkEnd("node4", "nic0")),
            ),
        )
        after = await w.store.transact(lambda tx: replace_inventory(tx, grown))
        assert before.switches.items() <= after.switches.items()
        assert before.nodes.items() <= after.nodes.items()
        assert [change.kind for change in await w.changes(revision)] == [Kind.INVENTORY]
        status = SwitchStatus(switch=SwitchName("leaf4"), state=SwitchState.FAILED, since=1.0, reason="x")
        await w.store.transact(lambda tx: tx.put_switch_status(status))
        await w.store.transact(lambda tx: tx.put_node_token(NodeName("node4"), "ab" * 32))
        await w.store.transact(lambda tx: tx.put_agent_seen(NodeName("node4"), 5.0))
        assert await w.store.read(lambda s: (s.node_of_token("ab" * 32), s.agents(), s.switch_statuses())) == (
            "node4",
            {"node4": 5.0},
            {"leaf4": status},
        )
        assert await w.store.transact(lambda tx: replace_inventory(tx, there)) == before
        assert await w.store.read(lambda s: (s.node_of_token("ab" * 32), s.agents(), s.switch_statuses())) == (
            None,
            {},
            {},
        )


async def test_a_new_token_voids_the_old_one(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for token in ("aa" * 32, "bb" * 32):
            await w.store.transact(lambda tx, token=token: tx.put_node_token(NodeName("node1"), token))  # type: ignore[misc]
        assert await w.store.read(lambda s: s.node_of_token("aa" * 32)) is None
        assert await w.store.read(lambda s: s.node_of_token("bb" * 32)) == "node1"
