"""External gateways of routers: an address on an external network each, held by a port.

The gateway is stored and its address taken. Without SNAT, the router is announced outside by the addresses that its
networks have (weft.intent.peerings, weft.fabric.vpc), so they must be apart from all others that are. With SNAT nothing
is announced, and no leaf translates addresses yet: floating IPs stay DOWN, as do the ports of all gateways.
"""

import msgspec

from weft.intent.addresses import FixedIpSpec, assign
from weft.intent.floating_links import ROUTER_GATEWAY, leading_through
from weft.intent.peerings import check_announceable, is_announced
from weft.intent.ports import PortSpec, create_port, remove_port, write_port
from weft.intent.quotas import NOBODY
from weft.intent.rbac import external_to
from weft.intent.rows import changed, network_of, port_of, subnet_of
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, PortId
from weft.model.intent import Network, Router, RouterGateway, overlap
from weft.store import Transaction


class GatewaySpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    network_id: NetworkId
    enable_snat: bool = True
    fixed_ips: tuple[FixedIpSpec, ...] | None = None
    """None: what weft chooses, or keeps."""


def set_gateway(tx: Transaction, router: Router, spec: GatewaySpec | None) -> Router:
    """Give a router an external gateway, another one, or none.

    Raises NotFound for the network; Invalid for one that is not external, is in another site or overlaps a subnet of
    the router; Conflict for addresses that are taken, while floating IPs need the present gateway, and for a router
    without SNAT whose networks overlap those of another.
    """
    before = router.gateway
    if spec is None:
        return router if before is None else _without(tx, router)
    if before is not None and before.network_id == spec.network_id:
        _give_addresses(tx, before, spec)
        kept = msgspec.structs.replace(before, enable_snat=spec.enable_snat)
        return router if kept == before else _written(tx, router, kept)
    network = network_of(tx, spec.network_id)
    _check_usable(tx, router, network)
    if before is not None:
        router = _without(tx, router)
    return _written(tx, router, RouterGateway(network.id, _port_on(tx, router, spec), spec.enable_snat))


def _give_addresses(tx: Transaction, gateway: RouterGateway, spec: GatewaySpec) -> None:
    if spec.fixed_ips is None:
        return
    view = port_of(tx, gateway.port_id)
    addresses = assign(tx, gateway.network_id, spec.fixed_ips, held=view.port.fixed_ips)
    if addresses != view.port.fixed_ips:
        write_port(tx, view, changed(tx, view.port, fixed_ips=addresses))


def _written(tx: Transaction, router: Router, gateway: RouterGateway | None) -> Router:
    after = changed(tx, router, gateway=gateway)
    if is_announced(after):
        check_announceable(tx, after)
    tx.put_router(after)
    return after


def _without(tx: Transaction, router: Router) -> Router:
    gateway = router.gateway
    assert gateway is not None
    if any(each.network_id == gateway.network_id for each in leading_through(tx, router.id)):
        message = f"Gateway cannot be updated for router {router.id}, since a gateway to external network"
        message += f" {gateway.network_id} is required by one or more floating IPs."
        raise Conflict(message, kind="RouterExternalGatewayInUseByFloatingIp")
    after = _written(tx, router, None)
    remove_port(tx, port_of(tx, gateway.port_id))
    return after


def _port_on(tx: Transaction, router: Router, spec: GatewaySpec) -> PortId:
    wanted = PortSpec(
        project_id=NOBODY,
        network_id=spec.network_id,
        fixed_ips=spec.fixed_ips,
        device_id=router.id,
        device_owner=ROUTER_GATEWAY,
        port_security_enabled=False,
    )
    view = create_port(tx, wanted)
    if not view.port.fixed_ips:
        raise _bad(f"No IPs assigned to the gateway port for router {router.id}")
    return view.port.id


def _check_usable(tx: Transaction, router: Router, network: Network) -> None:
    if not external_to(tx, network, router.project_id):
        raise _bad(f"Network {network.id} is not an external network")
    if network.site != router.site:
        raise _bad(f"network {network.id} is in site '{network.site}', router {router.id} in site '{router.site}'")
    attached = [subnet_of(tx, interface.subnet_id) for interface in tx.router_interfaces(router.id)]
    for outer in tx.subnets(network.id):
        for inner in attached:
            if overlap(outer.cidr, inner.cidr):
                message = f"Cidr {outer.cidr} of subnet {outer.id} overlaps with cidr {inner.cidr} of subnet {inner.id}"
                raise _bad(message)


def _bad(reason: str) -> Invalid:
    return Invalid(f"Bad router request: {reason}.", kind="BadRequest")
