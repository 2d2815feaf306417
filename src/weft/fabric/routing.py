"""Routing rows: subnets, routers, what is attached to them, who is peered; and what that says of a network or a VRF."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from ipaddress import ip_interface

from weft.fabric.config import Vrf, sorted_prefixes
from weft.fabric.vpc import Peerings, Vpc, handing_over
from weft.model.addresses import IPAddress, IPInterface
from weft.model.ids import NetworkId, RouterId, SiteName, SubnetId
from weft.model.intent import Peering, Router, RouterInterface, Subnet

AddressOf = Callable[[RouterInterface], IPAddress | None]
"""Tells the address that the port of an attachment has on its subnet, if it has one."""


class RoutingRows:
    """Mutable index over rows that come in any order; a row may name another that is not there yet, or not any more."""

    def __init__(self) -> None:
        self._subnets: dict[SubnetId, Subnet] = {}
        self._routers: dict[RouterId, Router] = {}
        self._router_of: dict[str, RouterId] = {}
        """By VRF."""
        self._announced: dict[RouterId, None] = {}
        """Routers that shall be known outside."""
        self._interfaces: dict[NetworkId, dict[tuple[RouterId, SubnetId], RouterInterface]] = defaultdict(dict)
        self._interface_at: dict[SubnetId, RouterInterface] = {}
        self._networks_of_router: dict[RouterId, set[NetworkId]] = defaultdict(set)
        self._peerings = Peerings()

    # Rows.

    def put_subnet(self, subnet: Subnet) -> bool:
        """Take a subnet's present row; tell whether anything of it matters to a switch."""
        before = self._subnets.get(subnet.id)
        self._subnets[subnet.id] = subnet
        return before is None or (before.cidr, before.gateway) != (subnet.cidr, subnet.gateway)

    def delete_subnet(self, subnet_id: SubnetId) -> Subnet | None:
        """Forget a subnet; return what it was."""
        return self._subnets.pop(subnet_id, None)

    def put_router(self, router: Router) -> None:
        """Take a router's present row."""
        self._routers[router.id] = router
        self._router_of[router.vrf] = router.id
        if router.gateway is not None and not router.gateway.enable_snat:
            self._announced[router.id] = None
        else:
            self._announced.pop(router.id, None)

    def delete_router(self, router_id: RouterId) -> None:
        """Forget a router."""
        router = self._routers.pop(router_id, None)
        if router is not None:
            self._router_of.pop(router.vrf, None)
        self._announced.pop(router_id, None)

    def put_peering(self, peering: Peering) -> set[RouterId]:
        """Take a peering; return the routers that it concerns."""
        return self._peerings.put(peering.id, *peering.routers)

    def delete_peering(self, id_: str) -> set[RouterId]:
        """Forget a peering; return the routers that it concerned."""
        return self._peerings.delete(id_)

    def attach(self, interface: RouterInterface) -> None:
        """Take a subnet's attachment to a router; it has none by then."""
        self._interface_at[interface.subnet_id] = interface
        self._interfaces[interface.network_id][interface.router_id, interface.subnet_id] = interface
        self._networks_of_router[interface.router_id].add(interface.network_id)

    def detach(self, subnet_id: SubnetId) -> RouterInterface | None:
        """Forget a subnet's attachment to a router; return what it was."""
        interface = self._interface_at.pop(subnet_id, None)
        if interface is not None:
            router_id, network_id = interface.router_id, interface.network_id
            del self._interfaces[network_id][router_id, subnet_id]
            if not any(router == router_id for router, _ in self._interfaces[network_id]):
                self._networks_of_router[router_id].discard(network_id)
        return interface

    # Answers.

    def interfaces_of(self, network_id: NetworkId) -> Iterable[RouterInterface]:
        """Return the attachments of a network's subnets."""
        return self._interfaces.get(network_id, {}).values()

    def router_ids_of(self, network_id: NetworkId) -> set[RouterId]:
        """Return the routers that a network is attached to, whether they are there or not."""
        return {interface.router_id for interface in self.interfaces_of(network_id)}

    def routers_of(self, network_id: NetworkId) -> list[Router]:
        """Return the routers that route a network; the first is the one whose VRF it is in."""
        routers = (self._routers.get(router_id) for router_id in sorted(self.router_ids_of(network_id)))
        return [router for router in routers if router is not None and router.admin_state_up]

    def networks_of(self, router_id: RouterId) -> Iterable[NetworkId]:
        """Return the networks that are attached to a router."""
        return self._networks_of_router.get(router_id, ())

    def gateways(self, network_id: NetworkId, router: Router, address_of: AddressOf) -> tuple[IPInterface, ...]:
        """Return the gateways that a network has by a router: the address of its port, else its subnet's."""
        found = set()
        for interface in self.interfaces_of(network_id):
            subnet = self._subnets.get(interface.subnet_id)
            if interface.router_id == router.id and subnet is not None:
                address = address_of(interface) or subnet.gateway
                if address is not None:
                    found.add(ip_interface(f"{address}/{subnet.cidr.prefixlen}"))
        return tuple(sorted(found, key=_gateway_order))

    def peers_of(self, router_id: RouterId) -> tuple[RouterId, ...]:
        """Return the routers that one is peered with."""
        return self._peerings.of(router_id)

    def announced_in(self, router_id: RouterId) -> SiteName | None:
        """Return the site from which a router is announced outside; None if it is not."""
        return self._routers[router_id].site if router_id in self._announced else None

    def vrfs(self, carried: tuple[Vrf, ...], site: SiteName, outside: Vrf | None) -> tuple[Vrf, ...]:
        """Return the VRFs of a switch of a site: those that its ports need, with those that they hand packets over to.

        `outside` is its VRF outside, if it is a border leaf with exits.
        """
        peered = [
            (one, other)
            for vrf in carried
            for peer in self._peerings.of(self._router_of[vrf.name])
            if (one := self._vpc(self._router_of[vrf.name])) is not None and (other := self._vpc(peer)) is not None
        ]
        if not peered and outside is None:
            return carried
        routers = [each for each in self._announced if self._routers[each].site == site] if outside is not None else []
        announced = [vpc for router_id in routers if (vpc := self._vpc(router_id)) is not None]
        return handing_over(carried, peered, outside, announced)

    def _vpc(self, router_id: RouterId) -> Vpc | None:
        """Return a router as its VRF; None if it is gone, or switched off."""
        router = self._routers.get(router_id)
        if router is None or not router.admin_state_up:
            return None
        prefixes = (
            self._subnets[interface.subnet_id].cidr
            for network_id in self.networks_of(router_id)
            for interface in self.interfaces_of(network_id)
            if interface.router_id == router_id and interface.subnet_id in self._subnets
        )
        return Vpc(vrf=router.vrf, l3vni=router.l3vni, prefixes=sorted_prefixes(prefixes))


def _gateway_order(gateway: IPInterface) -> tuple[int, int, int]:
    return gateway.version, int(gateway.ip), gateway.network.prefixlen
