"""VPC peering, and being known outside: whose prefixes meet in one VRF, and that those do not overlap.

Two peered routers reach each other's networks, whatever project they are of. A router with an external gateway without
SNAT is announced outside its site by its own addresses. In both cases routes of one appear in the VRF of another, so
their prefixes must be apart: checked when a peering is made, a gateway is set, and a subnet is attached.
"""

import msgspec

from weft.intent.rows import router_of, subnet_of
from weft.model.addresses import IPNetwork
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import RouterId, SubnetId
from weft.model.intent import Peering, Router, Subnet, overlap
from weft.store import Kind, Snapshot, Transaction


class Routed(msgspec.Struct, frozen=True):
    """A prefix, and which subnet of which router it is."""

    cidr: IPNetwork
    subnet_id: SubnetId
    router_id: RouterId


def peerings(snapshot: Snapshot, router_id: RouterId | None = None) -> list[Peering]:
    """Return all peerings, or those of one router."""
    found = snapshot.records(Kind.PEERING, Peering)
    return [each for each in found if router_id is None or router_id in each.routers]


def create_peering(tx: Transaction, one: RouterId, other: RouterId, *, project_id: str = "") -> Peering:
    """Peer two routers.

    Raises NotFound; Invalid for a router and itself, or routers of two sites; Conflict if they are peered already
    (PeeringExists) or prefixes that would meet in a VRF overlap (PrefixOverlap).
    """
    pair = (router_of(tx, one), router_of(tx, other))
    if one == other:
        raise Invalid(f"router {one} reaches its own networks without a peering", kind="BadRequest")
    if pair[0].site != pair[1].site:
        message = f"router {one} is in site '{pair[0].site}', router {other} in site '{pair[1].site}'"
        raise Invalid(f"{message}; routers of one site can be peered", kind="BadRequest")
    if (pair[0].l3vni ^ pair[1].l3vni) & 0xFFFF == 0:  # by these bits the two are told apart on a leaf
        message = f"L3VNIs {pair[0].l3vni} and {pair[1].l3vni} differ by a multiple of 65536 and cannot be peered"
        raise Conflict(message, kind="PeeringImpossible")
    if any(other in each.routers for each in peerings(tx, one)):
        raise Conflict(f"routers {one} and {other} are peered already", kind="PeeringExists")
    for router, peer in (pair, pair[::-1]):
        for each in _prefixes(tx, router.id):
            _refuse_overlap(each, _met_at(tx, peer.id, but=router.id))
    low, high = sorted((one, other))
    peering = Peering(id=tx.new_id(), routers=(low, high), project_id=project_id, created_at=tx.clock())
    tx.put_record(Kind.PEERING, peering.id, peering, project_id=project_id, unique=f"{low}/{high}")
    return peering


def delete_peering(tx: Transaction, id_: str) -> None:
    """End a peering. Raises NotFound."""
    if tx.record(Kind.PEERING, Peering, id_) is None:
        raise NotFound(f"there is no peering {id_}", kind="PeeringNotFound")
    tx.delete_record(Kind.PEERING, id_)


def refuse_if_peered(snapshot: Snapshot, router_id: RouterId) -> None:
    """Raise Conflict (RouterInUse) if a router is peered with any."""
    for each in peerings(snapshot, router_id):
        peer = next(router for router in each.routers if router != router_id)
        message = f"Router {router_id} is peered with {peer}: delete peering {each.id} first"
        raise Conflict(message, kind="RouterInUse")


def check_attachable(snapshot: Snapshot, router: Router, subnet: Subnet) -> None:
    """Refuse a subnet for a router if it would meet another of the same prefix beyond it. Raises Conflict."""
    routed = Routed(subnet.cidr, subnet.id, router.id)
    for each in peerings(snapshot, router.id):
        peer = next(other for other in each.routers if other != router.id)
        _refuse_overlap(routed, _met_at(snapshot, peer, but=router.id))
    if is_announced(router):
        _refuse_overlap(routed, _announced(snapshot, router))


def check_announceable(snapshot: Snapshot, router: Router) -> None:
    """Refuse to announce a router outside beside another one with the same prefix. Raises Conflict (PrefixOverlap)."""
    others = _announced(snapshot, router)
    for each in _prefixes(snapshot, router.id) if others else ():
        _refuse_overlap(each, others)


def is_announced(router: Router) -> bool:
    """Tell whether a router's networks are known outside by their own addresses."""
    return router.gateway is not None and not router.gateway.enable_snat


def _announced(snapshot: Snapshot, but: Router) -> list[Routed]:
    routers = [each for each in snapshot.routers() if each.id != but.id and each.site == but.site]
    return [prefix for each in routers if is_announced(each) for prefix in _prefixes(snapshot, each.id)]


def _met_at(snapshot: Snapshot, router_id: RouterId, *, but: RouterId) -> list[Routed]:
    """Return the prefixes in a router's VRF: its own, and those of all its peers but one."""
    there = {router_id, *(each for peering in peerings(snapshot, router_id) for each in peering.routers)} - {but}
    return [prefix for each in sorted(there) for prefix in _prefixes(snapshot, each)]


def _prefixes(snapshot: Snapshot, router_id: RouterId) -> list[Routed]:
    found = (subnet_of(snapshot, each.subnet_id) for each in snapshot.router_interfaces(router_id))
    return [Routed(subnet.cidr, subnet.id, router_id) for subnet in found]


def _refuse_overlap(wanted: Routed, present: list[Routed]) -> None:
    for each in present:
        if overlap(wanted.cidr, each.cidr):
            message = (
                f"{wanted.cidr} of subnet {wanted.subnet_id} (router {wanted.router_id}) overlaps with {each.cidr}"
            )
            message += f" of subnet {each.subnet_id} (router {each.router_id}), and they would meet in one VRF"
            raise Conflict(message, kind="PrefixOverlap")
