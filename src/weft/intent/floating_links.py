"""What ports have to do with floating IPs and external gateways, as ports need to know it.

Ports that weft made to hold an external address are not for callers to delete or change, and a port that goes, or gives
an address up, takes floating IPs off it. The rest is in floating_ips and gateways, which make ports themselves.
"""

from collections.abc import Collection

from weft.intent.rows import changed
from weft.model.errors import Conflict
from weft.model.ids import PortId, RouterId, SubnetId
from weft.model.intent import FixedIp, Port
from weft.model.supply import FloatingIp
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

ROUTER_GATEWAY = "network:router_gateway"
"""The owner of ports that hold routers' addresses on external networks."""

FLOATING_IP = "network:floatingip"
"""The owner of ports that hold the addresses of floating IPs."""


def check_not_held(snapshot: Snapshot, port: Port) -> None:
    """Raise Conflict (ServicePortInUse) for a port that holds an external address, saying what to do instead."""
    message = f"Port {port.id} cannot be deleted directly via the port API: has device owner {port.device_owner}."
    if port.device_owner == FLOATING_IP:
        floating = snapshot.record(Kind.FLOATING_IP, FloatingIp, port.device_id)
        if floating is not None and floating.holder_id == port.id:
            raise Conflict(f"{message} Delete floating IP {floating.id}.", kind="ServicePortInUse")
    elif port.device_owner == ROUTER_GATEWAY:
        router = snapshot.router(RouterId(port.device_id))
        if router is not None and router.gateway is not None and router.gateway.port_id == port.id:
            raise Conflict(f"{message} Clear the external gateway of router {router.id}.", kind="ServicePortInUse")


def leading_to(snapshot: Snapshot, port_id: PortId) -> list[FloatingIp]:
    """Return the floating IPs that lead to a port."""
    return snapshot.records_of(Kind.FLOATING_IP, FloatingIp, port_id)


def leading_through(snapshot: Snapshot, router_id: RouterId, subnet_id: SubnetId | None = None) -> list[FloatingIp]:
    """Return the floating IPs that lead through a router, to any subnet or to this one."""
    found = [each for each in snapshot.records(Kind.FLOATING_IP, FloatingIp) if each.router_id == router_id]
    return [each for each in found if subnet_id is None or _is_on(snapshot, each, subnet_id)]


def let_go(tx: Transaction, port_id: PortId, kept: Collection[FixedIp] = ()) -> None:
    """Have floating IPs lead nowhere that led to a port's addresses; not those to addresses that it keeps."""
    addresses = {ip.address for ip in kept}
    for floating in leading_to(tx, port_id):
        if floating.fixed_ip not in addresses:
            write(tx, changed(tx, floating, port_id=None, fixed_ip=None, router_id=None))


def write(tx: Transaction, floating: FloatingIp) -> None:
    """Store a floating IP. No two on a network lead to the same address."""
    tx.put_record(
        Kind.FLOATING_IP,
        floating.id,
        floating,
        project_id=floating.project_id,
        name=floating.address,
        parent=floating.port_id or "",
        unique=None if floating.port_id is None else link_of(floating),
    )


def link_of(floating: FloatingIp) -> str:
    """Return what no two floating IPs share: the network they are on, and where they lead."""
    return f"{floating.network_id}/{floating.port_id}/{floating.fixed_ip}"


def _is_on(snapshot: Snapshot, floating: FloatingIp, subnet_id: SubnetId) -> bool:
    view = None if floating.port_id is None else snapshot.port(floating.port_id)
    return view is not None and FixedIp(subnet_id, floating.fixed_ip) in view.port.fixed_ips  # type: ignore[arg-type]
