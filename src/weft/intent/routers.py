"""Routers: a VRF and an L3VNI each; their interfaces hold the gateways of subnets that may not overlap."""

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.floating_links import leading_through
from weft.intent.gateways import set_gateway
from weft.intent.migration import join_routed
from weft.intent.peerings import check_attachable, refuse_if_peered
from weft.intent.plan import check_routable, forget_owner
from weft.intent.ports import ROUTER_INTERFACE, FixedIpSpec, PortSpec, create_port, remove_port, write_port
from weft.intent.quotas import check_quota
from weft.intent.rows import changed, given, network_of, port_of, router_of, subnet_of
from weft.intent.sites import check_vni, choose_vni, fabric_of
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import PortId, RouterId, SiteName, SubnetId, Vni
from weft.model.intent import Router, RouterInterface, Subnet, overlap
from weft.model.plan import Level, Owner
from weft.store import PortView, Transaction


class RouterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is chosen by weft."""

    project_id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    site: SiteName | None = None
    """None: the first site that has a fabric."""
    l3vni: Vni | None = None
    admin_state_up: bool = True
    zone_hints: tuple[str, ...] = ()


class RouterChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET


def create_router(tx: Transaction, spec: RouterSpec) -> Router:
    """Create a router with an L3VNI of its site and a VRF named after it.

    Raises NotFound for an unknown site, Conflict if the L3VNI is taken or none is left.
    """
    check_quota(tx, spec.project_id, "router")
    site, pools = fabric_of(tx, spec.site)
    l3vni = choose_vni(tx, f"{site}/l3vnis", pools.l3vnis) if spec.l3vni is None else check_vni(tx, spec.l3vni)
    now = tx.clock()
    router = Router(
        id=RouterId(tx.new_id()),
        site=site,
        vrf=f"v{l3vni}",
        l3vni=l3vni,
        admin_state_up=spec.admin_state_up,
        zone_hints=spec.zone_hints,
        project_id=spec.project_id,
        name=spec.name,
        description=spec.description,
        tags=spec.tags,
        created_at=now,
        updated_at=now,
    )
    tx.put_router(router)
    return router


def update_router(tx: Transaction, router_id: RouterId, changes: RouterChanges) -> Router:
    """Change a router. Raises NotFound."""
    router = changed(tx, router_of(tx, router_id), **given(changes))
    tx.put_router(router)
    return router


def delete_router(tx: Transaction, router_id: RouterId) -> None:
    """Delete a router. Raises NotFound, and Conflict (RouterInUse) while a subnet is attached or it is peered."""
    router = router_of(tx, router_id)
    interfaces = tx.router_interfaces(router_id)
    if interfaces:
        ports = ", ".join(interface.port_id for interface in interfaces)
        raise Conflict(f"Router {router_id} has ports still attached: {ports}", kind="RouterInUse")
    refuse_if_peered(tx, router_id)
    forget_owner(tx, Owner(Level.ROUTER, router_id))
    set_gateway(tx, router, None)
    tx.delete_router(router_id)


def add_interface(
    tx: Transaction, router_id: RouterId, *, subnet_id: SubnetId | None = None, port_id: PortId | None = None
) -> RouterInterface:
    """Attach a subnet to a router: by the subnet, at its gateway address, or by a port that has an address of it.

    Raises NotFound; Invalid for a subnet without gateway, attached already, or overlapping another of the router;
    Conflict for a port in use, a gateway address in use, a network that is attached to another router, or one of the
    VLAN part beside one of a spine-leaf part that it is not joined to.
    """
    router = router_of(tx, router_id)
    if (subnet_id is None) == (port_id is None):
        raise _bad(
            "Cannot specify both subnet-id and port-id" if port_id else "Either subnet_id or port_id must be given"
        )
    if subnet_id is not None:
        subnet = subnet_of(tx, subnet_id)
        if subnet.gateway is None:
            raise _bad("Subnet for router interface must have a gateway IP")
        _check_attachable(tx, router, subnet)
        view = _gateway_port(tx, router, subnet)
    else:
        assert port_id is not None
        view = port_of(tx, port_id)
        subnet = _subnet_of_port(tx, view)
        _check_attachable(tx, router, subnet)
        view = _taken_port(tx, router, view)
    interface = RouterInterface(
        router_id=router.id, subnet_id=subnet.id, network_id=subnet.network_id, port_id=view.port.id
    )
    tx.put_router_interface(interface)
    join_routed(tx, router.id)
    return interface


def remove_interface(
    tx: Transaction, router_id: RouterId, *, subnet_id: SubnetId | None = None, port_id: PortId | None = None
) -> RouterInterface:
    """Detach a subnet from a router and delete the port that held the gateway's address. Raises NotFound, Invalid."""
    router_of(tx, router_id)
    if subnet_id is None and port_id is None:
        raise _bad("Either subnet_id or port_id must be given")
    for interface in tx.router_interfaces(router_id):
        if subnet_id in {None, interface.subnet_id} and port_id in {None, interface.port_id}:
            _check_not_led_through(tx, interface)
            tx.delete_router_interface(interface.subnet_id)
            remove_port(tx, port_of(tx, interface.port_id))
            return interface
    if port_id is not None:
        message = f"Router {router_id} does not have an interface with id {port_id}"
        raise NotFound(message, kind="RouterInterfaceNotFound")
    message = f"Router {router_id} has no interface on subnet {subnet_id}"
    raise NotFound(message, kind="RouterInterfaceNotFoundForSubnet")


def _check_attachable(tx: Transaction, router: Router, subnet: Subnet) -> None:
    network = network_of(tx, subnet.network_id)
    if network.site != router.site:
        raise _bad(f"subnet {subnet.id} is in site '{network.site}', router {router.id} in site '{router.site}'")
    check_routable(tx, router.id, subnet)
    check_attachable(tx, router, subnet)
    if router.gateway is not None:
        for outer in tx.subnets(router.gateway.network_id):
            if overlap(subnet.cidr, outer.cidr):
                raise _bad(
                    f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {outer.cidr} of subnet {outer.id}"
                )
    for interface in tx.router_interfaces():
        if interface.router_id == router.id:
            if interface.subnet_id == subnet.id:
                raise _bad(f"Router already has a port on subnet {subnet.id}")
            other = subnet_of(tx, interface.subnet_id)
            if overlap(subnet.cidr, other.cidr):
                raise _bad(
                    f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} of subnet {other.id}"
                )
        elif interface.network_id == subnet.network_id:
            # One segment has one gateway device on a leaf, and that is in one VRF.
            message = f"network {subnet.network_id} is attached to router {interface.router_id}; detach it there first"
            raise Conflict(message, kind="NetworkAttached")


def _check_not_led_through(tx: Transaction, interface: RouterInterface) -> None:
    if leading_through(tx, interface.router_id, interface.subnet_id):
        message = f"Router interface for subnet {interface.subnet_id} on router {interface.router_id} cannot be deleted"
        message += ", as it is required by one or more floating IPs."
        raise Conflict(message, kind="RouterInterfaceInUseByFloatingIP")


def _gateway_port(tx: Transaction, router: Router, subnet: Subnet) -> PortView:
    spec = PortSpec(
        project_id=router.project_id,
        network_id=subnet.network_id,
        fixed_ips=(FixedIpSpec(subnet_id=subnet.id, address=subnet.gateway),),
        device_id=router.id,
        device_owner=ROUTER_INTERFACE,
        port_security_enabled=False,
    )
    return create_port(tx, spec)


def _subnet_of_port(tx: Transaction, view: PortView) -> Subnet:
    port = view.port
    used_by = port.device_id or (view.life.current and view.life.current.node)
    if used_by:
        message = f"Unable to complete operation on port {port.id} for network {port.network_id}. Port already has an"
        raise Conflict(f"{message} attached device {used_by}.", kind="PortInUse")
    if len(port.fixed_ips) != 1:
        raise _bad(f"Router port must have exactly one fixed IP, port {port.id} has {len(port.fixed_ips)}")
    return subnet_of(tx, port.fixed_ips[0].subnet_id)


def _taken_port(tx: Transaction, router: Router, view: PortView) -> PortView:
    port = changed(tx, view.port, device_id=router.id, device_owner=ROUTER_INTERFACE)
    return write_port(tx, view, port)


def _bad(reason: str) -> Invalid:
    return Invalid(f"Bad router request: {reason}.", kind="BadRequest")
