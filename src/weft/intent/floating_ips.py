"""Floating IPs: taken from an external network, led to a port behind a router that has a gateway there.

They are stored and their addresses taken. Nothing translates them yet: their status is DOWN, always.
"""

from ipaddress import IPv4Address

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.addresses import FixedIpSpec
from weft.intent.floating_links import FLOATING_IP, link_of, write
from weft.intent.ports import PortSpec, create_port, remove_port
from weft.intent.quotas import NOBODY, check_quota
from weft.intent.rbac import external_to
from weft.intent.rows import changed, given, network_of, port_of
from weft.model.addresses import IPAddress
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NetworkId, PortId, RouterId, SubnetId
from weft.model.intent import FixedIp, Port
from weft.model.supply import FloatingIp
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind


class FloatingIpSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is chosen by weft, or left out."""

    project_id: str
    network_id: NetworkId
    address: IPAddress | None = None
    subnet_id: SubnetId | None = None
    port_id: PortId | None = None
    fixed_ip: IPAddress | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    dns_name: str = ""
    dns_domain: str = ""


class FloatingIpChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays. `port_id` None: it shall lead nowhere."""

    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    port_id: PortId | UnsetType | None = UNSET
    fixed_ip: IPAddress | UnsetType | None = UNSET


def create_floating_ip(tx: Transaction, spec: FloatingIpSpec) -> FloatingIp:
    """Take an address of an external network, and lead it to a port if the spec names one.

    Raises NotFound for the network, or for a port that no router connects with it; Invalid for a network that is not
    external or has no IPv4 subnet, and for a port without the address; Conflict for an address that is taken, and if
    none is left.
    """
    check_quota(tx, spec.project_id, "floatingip")
    network = network_of(tx, spec.network_id)
    if not external_to(tx, network, spec.project_id):
        raise _bad(f"Network {network.id} is not a valid external network")
    id_, now = tx.new_id(), tx.clock()
    holder = _holder(tx, id_, spec)
    floating = FloatingIp(
        id=id_,
        network_id=network.id,
        holder_id=holder.id,
        address=str(holder.fixed_ips[0].address),
        dns_name=spec.dns_name,
        dns_domain=spec.dns_domain,
        project_id=spec.project_id,
        description=spec.description,
        tags=spec.tags,
        created_at=now,
        updated_at=now,
    )
    floating = _led(tx, floating, spec.port_id, spec.fixed_ip)
    write(tx, floating)
    return floating


def update_floating_ip(tx: Transaction, id_: str, changes: FloatingIpChanges) -> FloatingIp:
    """Change a floating IP, or where it leads. Raises as create_floating_ip."""
    before = floating_ip_of(tx, id_)
    fields = given(changes)
    port_id, fixed_ip = fields.pop("port_id", UNSET), fields.pop("fixed_ip", UNSET)
    floating = changed(tx, before, **fields)
    if port_id is not UNSET or fixed_ip is not UNSET:
        to = before.port_id if port_id is UNSET else port_id
        floating = _led(tx, floating, to, None if fixed_ip is UNSET else fixed_ip)
    write(tx, floating)
    return floating


def delete_floating_ip(tx: Transaction, id_: str) -> None:
    """Give a floating IP's address back. Raises NotFound."""
    floating = floating_ip_of(tx, id_)
    tx.delete_record(Kind.FLOATING_IP, id_)
    remove_port(tx, port_of(tx, floating.holder_id))


def floating_ip_of(snapshot: Snapshot, id_: str) -> FloatingIp:
    """Return a floating IP; raise NotFound."""
    found = snapshot.record(Kind.FLOATING_IP, FloatingIp, id_)
    if found is None:
        raise NotFound(f"Floating IP {id_} could not be found", kind="FloatingIPNotFound")
    return found


def _holder(tx: Transaction, id_: str, spec: FloatingIpSpec) -> Port:
    """Return a new port that has the address asked for, or any IPv4 address of the network."""
    subnets = [subnet for subnet in tx.subnets(spec.network_id) if subnet.cidr.version == 4]
    if not subnets:
        raise _bad(f"Network {spec.network_id} does not contain any IPv4 subnet")
    if spec.address is not None and spec.address.version != 4:
        raise _bad(f"Floating IP address {spec.address} is not an IPv4 address")
    if any(subnet.id == spec.subnet_id and subnet.cidr.version != 4 for subnet in tx.subnets(spec.network_id)):
        raise _bad(f"Subnet {spec.subnet_id} is not an IPv4 subnet")
    wanted = [FixedIpSpec(subnet_id=spec.subnet_id, address=spec.address)]
    if spec.address is None and spec.subnet_id is None:
        wanted = [FixedIpSpec(subnet_id=subnet.id) for subnet in subnets]
    for left, each in zip(reversed(range(len(wanted))), wanted, strict=True):
        try:
            return _port_with(tx, id_, spec.network_id, each)
        except Conflict as conflict:
            # One subnet is full: the next may not be. Nothing was written yet.
            if conflict.kind != "IpAddressGenerationFailure" or not left:
                raise
    raise AssertionError("the last wish is fulfilled or refused")


def _port_with(tx: Transaction, id_: str, network_id: NetworkId, fixed_ip: FixedIpSpec) -> Port:
    wanted = PortSpec(
        project_id=NOBODY,
        network_id=network_id,
        fixed_ips=(fixed_ip,),
        device_id=id_,
        device_owner=FLOATING_IP,
        port_security_enabled=False,
    )
    return create_port(tx, wanted).port


def _led(tx: Transaction, floating: FloatingIp, port_id: PortId | None, wanted: IPAddress | None) -> FloatingIp:
    """Return a floating IP that leads to a port's address, or nowhere."""
    if port_id is None:
        if wanted is not None:
            raise _bad(f"fixed_ip_address {wanted} cannot be specified without a port_id")
        return msgspec.structs.replace(floating, port_id=None, fixed_ip=None, router_id=None)
    port = port_of(tx, port_id).port
    inner = _inner(port, wanted)
    assert isinstance(inner.address, IPv4Address)
    router_id = _router_between(tx, floating.network_id, port, inner.subnet_id)
    led = msgspec.structs.replace(floating, port_id=port.id, fixed_ip=inner.address, router_id=router_id)
    for other in tx.records(Kind.FLOATING_IP, FloatingIp, unique=link_of(led)):
        if other.id != floating.id:
            message = f"Cannot associate floating IP {floating.address} ({floating.id}) with port {port.id} using fixed"
            message += f" IP {inner.address}, as that fixed IP already has a floating IP on external network"
            raise Conflict(f"{message} {floating.network_id}.", kind="FloatingIPPortAlreadyAssociated")
    return led


def _inner(port: Port, wanted: IPAddress | None) -> FixedIp:
    """Return the address of a port that a floating IP shall lead to."""
    found = [ip for ip in port.fixed_ips if ip.address.version == 4 and wanted in {None, ip.address}]
    if not found:
        address = "any fixed IPv4 address" if wanted is None else f"fixed ip {wanted}"
        raise _bad(f"Port {port.id} does not have {address}")
    if len(found) > 1:
        raise _bad(
            f"Port {port.id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a "
            "floating IP"
        )
    return found[0]


def _router_between(tx: Transaction, network_id: NetworkId, port: Port, subnet_id: SubnetId) -> RouterId:
    interface = tx.router_interface(subnet_id)
    router = None if interface is None else tx.router(interface.router_id)
    if router is None or router.gateway is None or router.gateway.network_id != network_id:
        message = f"External network {network_id} is not reachable from subnet {subnet_id}. Therefore, cannot associate"
        raise NotFound(f"{message} Port {port.id} with a Floating IP.", kind="ExternalGatewayForFloatingIPNotFound")
    return router.id


def _bad(reason: str) -> Invalid:
    return Invalid(f"Bad floatingip request: {reason}.", kind="BadRequest")
