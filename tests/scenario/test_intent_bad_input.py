"""What is refused: each with the kind that a Neutron client knows, the value in the text, and nothing half-done."""

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from core_world import PROJECT, World, small_dc, world

from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkChanges, NetworkSpec, create_network, delete_network, update_network
from weft.intent.ports import FixedIpSpec, PortChanges, PortSpec, bind_port, create_port, delete_port, update_port
from weft.intent.routers import RouterSpec, add_interface, create_router, delete_router, remove_interface
from weft.intent.subnets import SubnetChanges, SubnetSpec, create_subnet, delete_subnet, update_subnet
from weft.model.addresses import Mac
from weft.model.errors import Conflict, Invalid, NotFound, WeftError
from weft.model.ids import Epoch, NetworkId, NodeName, PortId, RouterId, SiteName, SubnetId, Vni
from weft.model.intent import AddressRange, NetworkType
from weft.model.inventory import Dataplane, Inventory, Link, LinkEnd, Node, Site
from weft.store import Snapshot, Transaction
from weft.store.check import contradictions

NOWHERE = "00000000-0000-0000-0000-000000000000"


async def refused(w: World, work: Callable[[Transaction], Any], error: type[WeftError], kind: str, *texts: str) -> None:
    """Assert that work is refused, and that nothing of it stays."""
    before = (w.store.revision, await w.store.read(everything))
    with pytest.raises(error) as found:
        await w.store.transact(work)
    assert found.value.kind == kind
    for text in texts:
        assert text in found.value.message
    assert (w.store.revision, await w.store.read(everything)) == before
    assert await w.store.read(contradictions) == []


def everything(snapshot: Snapshot) -> tuple[object, ...]:
    """Return all rows."""
    return (
        snapshot.networks(),
        snapshot.subnets(),
        snapshot.routers(),
        snapshot.router_interfaces(),
        snapshot.ports(),
        snapshot.leaf_vlans(),
        snapshot.inventory(),
        snapshot.numbering(),
    )


def port(network_id: str, **fields: Any) -> Callable[[Transaction], object]:
    spec = PortSpec(project_id=PROJECT, network_id=NetworkId(network_id), **fields)
    return lambda tx: create_port(tx, spec)


def subnet(network_id: str, cidr: str, **fields: Any) -> Callable[[Transaction], object]:
    spec = SubnetSpec(project_id=PROJECT, network_id=NetworkId(network_id), cidr=ip_network(cidr), **fields)
    return lambda tx: create_subnet(tx, spec)


def network(**fields: Any) -> Callable[[Transaction], object]:
    return lambda tx: create_network(tx, NetworkSpec(project_id=PROJECT, **fields))


async def test_networks(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n = await w.network()
        await refused(w, network(site=SiteName("mars")), NotFound, "AvailabilityZoneNotFound", "mars", "private")
        await refused(w, network(mtu_bytes=9167), Invalid, "InvalidInput", "9167", "9166")
        await refused(w, network(mtu_bytes=67), Invalid, "InvalidInput", "67", "68")
        await refused(w, network(type=NetworkType.VLAN), Invalid, "InvalidInput", "'vlan'", "'private'")
        await refused(w, network(vni=n.vni), Conflict, "TunnelIdInUse", str(n.vni))
        r = await w.router()
        await refused(w, network(vni=r.l3vni), Conflict, "TunnelIdInUse", str(r.l3vni))
        changes = NetworkChanges(mtu_bytes=20_000)
        await refused(w, lambda tx: update_network(tx, n.id, changes), Invalid, "InvalidInput", "20000")
        gone = NetworkId(NOWHERE)
        await refused(w, lambda tx: delete_network(tx, gone), NotFound, "NetworkNotFound", NOWHERE)
        await refused(w, lambda tx: update_network(tx, gone, changes), NotFound, "NetworkNotFound", NOWHERE)
        view = await w.port(n.id)
        await refused(w, lambda tx: delete_network(tx, n.id), Conflict, "NetworkInUse", n.id, view.port.id)


async def test_subnets(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, s = await w.segment()
        await refused(w, subnet(NOWHERE, "10.1.0.0/24"), NotFound, "NetworkNotFound", NOWHERE)
        for cidr in ("10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/8"):
            await refused(w, subnet(n.id, cidr), Invalid, "InvalidInput", cidr, n.id, "overlaps")
        for gateway in ("10.2.0.1", "10.1.0.255", "2001:db8::1"):
            work = subnet(n.id, "10.1.0.0/24", gateway=ip_address(gateway))
            await refused(w, work, Invalid, "InvalidInput", gateway, "10.1.0.0/24")
        outside = (AddressRange(ip_address("10.1.0.9"), ip_address("10.3.0.9")),)
        work = subnet(n.id, "10.1.0.0/24", pools=outside)
        await refused(w, work, Invalid, "OutOfBoundsAllocationPool", "10.1.0.9-10.3.0.9", "10.1.0.0/24")
        work = subnet(n.id, "224.0.0.0/24")
        await refused(w, work, Invalid, "InvalidInput", "224.0.0.0/24")
        holds = SubnetChanges(pools=(AddressRange(ip_address("10.0.0.1"), ip_address("10.0.0.9")),))
        kind = "GatewayConflictWithAllocationPools"
        await refused(w, lambda tx: update_subnet(tx, s.id, holds), Conflict, kind, "10.0.0.1", "10.0.0.1-10.0.0.9")
        pool = SubnetChanges(gateway=ip_address("10.0.0.7"))
        await refused(w, lambda tx: update_subnet(tx, s.id, pool), Conflict, kind, "10.0.0.7")
        r = await w.router()
        await w.store.transact(lambda tx: add_interface(tx, r.id, subnet_id=s.id))
        no_gateway = SubnetChanges(gateway=None)
        await refused(w, lambda tx: update_subnet(tx, s.id, no_gateway), Conflict, "GatewayIpInUse", "10.0.0.1")
        await refused(w, lambda tx: delete_subnet(tx, s.id), Conflict, "SubnetInUse", s.id)
        nowhere = SubnetId(NOWHERE)
        await refused(w, lambda tx: delete_subnet(tx, nowhere), NotFound, "SubnetNotFound", NOWHERE)


async def test_ports(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, s = await w.segment("10.0.0.0/29")
        _, other = await w.segment("10.9.0.0/24")
        view = await w.port(n.id)

        def ip(address: str | None = None, subnet_id: str | None = None) -> dict[str, Any]:
            at = None if address is None else ip_address(address)
            return {"fixed_ips": (FixedIpSpec(address=at, subnet_id=subnet_id and SubnetId(subnet_id)),)}  # type: ignore[arg-type]

        await refused(w, port(NOWHERE), NotFound, "NetworkNotFound", NOWHERE)
        taken = "IpAddressAlreadyAllocated"
        await refused(w, port(n.id, **ip("10.0.0.2")), Conflict, taken, "10.0.0.2", s.id)
        await refused(w, port(n.id, **ip("10.0.0.2", s.id)), Conflict, taken, "10.0.0.2", s.id)
        await refused(w, port(n.id, **ip("10.5.0.2")), Invalid, "InvalidIpForNetwork", "10.5.0.2")
        for wrong in ("10.5.0.2", "10.0.0.0", "10.0.0.7", "2001:db8::1"):
            await refused(w, port(n.id, **ip(wrong, s.id)), Invalid, "InvalidIpForSubnet", wrong)
        await refused(w, port(n.id, **ip(None, other.id)), Invalid, "InvalidInput", other.id, n.id)
        await refused(w, port(n.id, **ip()), Invalid, "InvalidInput", "subnet_id or ip_address")
        many = tuple(FixedIpSpec(subnet_id=s.id) for _ in range(17))
        await refused(w, port(n.id, fixed_ips=many), Invalid, "InvalidInput", "17")
        twice = (FixedIpSpec(address=ip_address("10.0.0.5")),) * 2
        await refused(w, port(n.id, fixed_ips=twice), Conflict, taken, "10.0.0.5")
        await refused(w, port(n.id, mac=view.port.mac), Conflict, "MacAddressInUse", view.port.mac, n.id)
        await refused(w, lambda tx: delete_port(tx, PortId(NOWHERE)), NotFound, "PortNotFound", NOWHERE)
        another = await w.port(n.id)
        same = PortChanges(mac=Mac(view.port.mac))
        await refused(w, lambda tx: update_port(tx, another.port.id, same), Conflict, "MacAddressInUse", view.port.mac)
        steal = PortChanges(fixed_ips=(FixedIpSpec(address=ip_address("10.0.0.2")),))
        await refused(w, lambda tx: update_port(tx, another.port.id, steal), Conflict, taken, "10.0.0.2")
        for _ in range(3):
            await w.port(n.id)
        text = f"No more IP addresses available on network {n.id}."
        await refused(w, port(n.id), Conflict, "IpAddressGenerationFailure", text)
        await refused(w, port(n.id, node=NodeName("node1")), Conflict, "IpAddressGenerationFailure", text)


async def test_bindings(tmp_path: Path) -> None:
    there = small_dc()
    odd = msgspec.structs.replace(
        there,
        sites=(*there.sites, Site(name=SiteName("cloud"))),
        nodes=(
            *there.nodes,
            Node(name=NodeName("lonely"), site=SiteName("private")),
            Node(name=NodeName("far"), site=SiteName("cloud")),
            Node(name=NodeName("pods"), site=SiteName("private"), dataplane=Dataplane.EBPF),
        ),
    )
    async with world(tmp_path, inventory=odd) as w:
        n, s = await w.segment()
        n2, _ = await w.segment()
        r = await w.router()
        view = await w.port(n.id)
        assert await w.store.read(lambda snapshot: snapshot.leaf_vlans()) == []

        def bind(node: str, **fields: Any) -> Callable[[Transaction], object]:
            return lambda tx: bind_port(tx, view.port.id, NodeName(node), **fields)

        known = "binding:host_id 'nosuch' is not a node of the inventory; known: node1, node2"
        await refused(w, bind("nosuch"), Invalid, "BadRequest", known)
        await refused(w, port(n.id, node=NodeName("nosuch")), Invalid, "BadRequest", known)
        await refused(w, bind("lonely"), Conflict, "NodeUnreachable", "'lonely'", "no link to a leaf")
        await refused(w, bind("far"), Conflict, "NodeUnreachable", "'far'", "'cloud'", "'private'")
        await refused(w, bind("pods"), Conflict, "DataplaneUnsupported", "'pods'", "'ebpf'")
        await refused(w, bind("ctl1"), Conflict, "NodeUnreachable", "'ctl1'", "management")
        await refused(w, bind("node1", expected_epoch=Epoch(3)), Conflict, "EpochMismatch", "epoch 0, not 3")
        await w.store.transact(bind("bm1"))
        text = (f"network {n.id}", view.port.id, "'bm1'")
        await refused(w, port(n2.id, node=NodeName("bm1")), Conflict, "PortBindingConflict", *text)
        await refused(w, bind("node1"), Conflict, "PortBindingConflict", "'node1'", "'bm1'", "epoch 1")
        interface = await w.store.transact(lambda tx: add_interface(tx, r.id, subnet_id=s.id))
        work = lambda tx: bind_port(tx, interface.port_id, NodeName("node1"))  # noqa: E731
        await refused(w, work, Conflict, "PortBindingConflict", interface.port_id, r.id)
        gone = PortId(NOWHERE)
        await refused(w, lambda tx: bind_port(tx, gone, NodeName("node1")), NotFound, "PortNotFound", NOWHERE)


async def test_routers(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        n, s = await w.segment()
        _, overlapping = await w.segment("10.0.0.128/25")
        r, r2 = await w.router(), await w.router()
        bare = await w.store.transact(
            lambda tx: create_subnet(
                tx,
                SubnetSpec(project_id=PROJECT, network_id=n.id, cidr=ip_network("10.7.0.0/24"), gateway=None),
            )
        )

        def add(router_id: str = r.id, **named: Any) -> Callable[[Transaction], object]:
            return lambda tx: add_interface(tx, RouterId(router_id), **named)

        work = lambda tx: create_router(tx, RouterSpec(project_id=PROJECT, l3vni=r.l3vni))  # noqa: E731
        await refused(w, work, Conflict, "TunnelIdInUse", str(r.l3vni))
        await refused(w, add(NOWHERE, subnet_id=s.id), NotFound, "RouterNotFound", NOWHERE)
        await refused(w, add(subnet_id=SubnetId(NOWHERE)), NotFound, "SubnetNotFound", NOWHERE)
        await refused(w, add(port_id=PortId(NOWHERE)), NotFound, "PortNotFound", NOWHERE)
        await refused(w, add(), Invalid, "BadRequest", "Either subnet_id or port_id")
        await refused(w, add(subnet_id=bare.id), Invalid, "BadRequest", "must have a gateway IP")
        interface = await w.store.transact(lambda tx: add_interface(tx, r.id, subnet_id=s.id))
        await refused(w, add(subnet_id=s.id), Invalid, "BadRequest", f"already has a port on subnet {s.id}")
        both = ("10.0.0.128/25", overlapping.id, "10.0.0.0/24", s.id)
        await refused(w, add(subnet_id=overlapping.id), Invalid, "BadRequest", *both)
        free = await w.store.transact(
            lambda tx: create_port(
                tx,
                PortSpec(project_id=PROJECT, network_id=n.id, fixed_ips=(FixedIpSpec(subnet_id=bare.id),)),
            )
        )
        await refused(w, add(r2.id, port_id=free.port.id), Conflict, "NetworkAttached", n.id, r.id)
        used = await w.port(n.id, device_id="vm-1")
        await refused(w, add(r2.id, port_id=used.port.id), Conflict, "PortInUse", used.port.id, "vm-1")
        await refused(w, lambda tx: delete_router(tx, r.id), Conflict, "RouterInUse", r.id, interface.port_id)
        kind = "ServicePortInUse"
        await refused(w, lambda tx: delete_port(tx, interface.port_id), Conflict, kind, interface.port_id, r.id)
        moved = PortChanges(fixed_ips=(FixedIpSpec(address=ip_address("10.0.0.77")),))
        await refused(w, lambda tx: update_port(tx, interface.port_id, moved), Conflict, kind, interface.port_id)
        work = lambda tx: remove_interface(tx, r2.id, subnet_id=s.id)  # noqa: E731
        await refused(w, work, NotFound, "RouterInterfaceNotFoundForSubnet", r2.id, s.id)
        work = lambda tx: remove_interface(tx, r2.id, port_id=interface.port_id)  # noqa: E731
        await refused(w, work, NotFound, "RouterInterfaceNotFound", r2.id, interface.port_id)


async def test_inventories(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        there = small_dc()
        n, _ = await w.segment()
        view = await w.port(n.id, "node1")
        await w.port(n.id, "bm1")

        def replace(**fields: Any) -> Callable[[Transaction], object]:
            return lambda tx: replace_inventory(tx, msgspec.structs.replace(there, **fields))

        twice = (*there.switches, there.switches[0])
        loop = (*there.links, Link(a=LinkEnd("leaf1", "eth7"), b=LinkEnd("leaf2", "eth7")))
        work = replace(switches=twice, links=loop)
        await refused(w, work, Invalid, "InventoryInvalid", "'spine1'", "leaf1:eth7 - leaf2:eth7", "loop")
        kept = tuple(node for node in there.nodes if node.name != "node1")
        links = tuple(link for link in there.links if "node1" not in {link.a.device, link.b.device})
        work = replace(nodes=kept, links=links)
        await refused(w, work, Conflict, "InventoryInUse", "node node1", "it is gone", view.port.id)
        await refused(w, replace(links=links), Conflict, "InventoryInUse", "node node1", "no link to a leaf")
        moved = tuple(
            Link(a=LinkEnd("leaf2", f"{link.a.interface}x"), b=link.b) if link.b.device == "node1" else link
            for link in there.links
        )
        await refused(w, replace(links=moved), Conflict, "InventoryInUse", "'leaf2' instead of 'leaf1'")
        bare = tuple(
            msgspec.structs.replace(node, dataplane=Dataplane.NONE) if node.name == "node1" else node
            for node in there.nodes
        )
        await refused(w, replace(nodes=bare), Conflict, "InventoryInUse", "a 'none' node of site 'private'")
        empty = lambda tx: replace_inventory(tx, Inventory())  # noqa: E731
        await refused(w, empty, Conflict, "InventoryInUse", "site private", f"network {n.id}", "node bm1")


async def test_without_a_fabric_there_are_no_networks(tmp_path: Path) -> None:
    async with world(tmp_path, inventory=Inventory(sites=(Site(name=SiteName("cloud")),))) as w:
        await refused(w, network(), Conflict, "NoFabric", "inventory")
        await refused(w, network(site=SiteName("cloud")), Conflict, "NoFabric", "'cloud'")


async def test_number_pools_run_out(tmp_path: Path) -> None:
    there = small_dc()
    fabric = there.sites[0].fabric
    assert fabric is not None
    narrow = msgspec.structs.replace(
        fabric,
        l2vnis=msgspec.structs.replace(fabric.l2vnis, last=fabric.l2vnis.first + 1),
        l3vnis=msgspec.structs.replace(fabric.l3vnis, last=fabric.l3vnis.first),
        vlans=msgspec.structs.replace(fabric.vlans, last=fabric.vlans.first),
    )
    sites = (msgspec.structs.replace(there.sites[0], fabric=narrow),)
    async with world(tmp_path, inventory=msgspec.structs.replace(there, sites=sites)) as w:
        n, _ = await w.segment()
        n2, _ = await w.segment()
        await w.router()
        await refused(w, network(), Conflict, "NoNetworkAvailable", "10000-10001")
        work = lambda tx: create_router(tx, RouterSpec(project_id=PROJECT))  # noqa: E731
        await refused(w, work, Conflict, "NoNetworkAvailable", "50000-50000")
        await refused(w, network(vni=Vni(10001)), Conflict, "TunnelIdInUse", "10001")
        first = await w.port(n.id, "node1")
        await refused(w, port(n2.id, node=NodeName("node1")), Conflict, "NoVlanAvailable", "100-100", "'leaf1'")
        await w.port(n2.id, "node2")  # another leaf, another VLAN space
        await w.store.transact(lambda tx: delete_port(tx, first.port.id))
        await refused(w, port(n2.id, node=NodeName("node1")), Conflict, "NoVlanAvailable", "100-100")
        w.clock.advance(30)
        await w.port(n2.id, "node1")
        assert [
            (vlan.domain, vlan.network_id, vlan.vlan)
            for vlan in await w.store.read(lambda snapshot: snapshot.leaf_vlans())
        ] == [("leaf1", n2.id, 100), ("leaf2", n2.id, 100)]
