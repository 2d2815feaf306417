"""The VLANs of networks of a three-layer site: one number per network, the same on all its switches.

It is kept as the network's VLAN in the domain that the site's VLAN part is, from the network's creation to its end.
"""

import msgspec
from msgspec.structs import replace

from weft.fabric.topology import vlan_part_domain
from weft.intent.placement import VLAN_REST_S
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, SiteName, Vlan
from weft.model.intent import LeafVlan, Network
from weft.model.inventory import FabricPools
from weft.store import Transaction


class Provided(msgspec.Struct, frozen=True):
    """A network's VLAN, and the name of the physical network that it is one of."""

    vlan: Vlan
    physical_network: str


def site_of_physical_network(tx: Transaction, name: str | None) -> SiteName | None:
    """Return the site whose VLAN networks name this physical network; None for no name, and for one of no site."""
    sites = tx.topology().sites.values()
    return next((s.name for s in sites if name and s.fabric and physical_network(s.name, s.fabric) == name), None)


def physical_network(site: SiteName, pools: FabricPools) -> str:
    """Return what the VLAN networks of a site name as their physical network."""
    return pools.physical_network or site


def provide_vlan(  # noqa: PLR0917 - what a request says
    tx: Transaction,
    network_id: NetworkId,
    site: SiteName,
    pools: FabricPools,
    wanted: Vlan | None,
    named: str | None,
) -> Provided:
    """Give a network a VLAN of its site: the wanted one, else the next free.

    Raises Invalid for a site without VLAN networks, another site's physical network, or a VLAN out of range; Conflict
    for one that is taken or rests, and if none is left.
    """
    if pools.provider_vlans is None:
        message = f"site '{site}' is a VXLAN fabric and carries no networks of type 'vlan'; ask for 'vxlan'"
        raise _input(message)
    own = physical_network(site, pools)
    if named not in {None, own}:
        raise _input(f"physical_network '{named}' unknown for VLAN provider network; site '{site}' has '{own}'")
    if wanted is not None and wanted not in pools.provider_vlans:
        raise _input(f"segmentation_id {wanted} is outside {pools.provider_vlans}, the provider VLANs of site '{site}'")
    domain = vlan_part_domain(site)
    taken = _taken(tx, domain)
    if wanted is None:
        first, last = pools.provider_vlans.first, pools.provider_vlans.last
        chosen = tx.next_number(f"{domain}/vlans", first, last, taken.__contains__)
        if chosen is None:
            message = f"Unable to create the network. No VLAN of {pools.provider_vlans} is free on physical network"
            raise Conflict(f"{message} {own}; delete a network, or widen provider_vlans", kind="NoNetworkAvailable")
        vlan = Vlan(chosen)
    elif wanted in taken:
        message = f"Unable to create the network. The VLAN {wanted} on physical network {own} is in use"
        raise Conflict(f"{message} by network {taken[wanted].network_id}.", kind="VlanIdInUse")
    else:
        vlan = wanted
    tx.put_leaf_vlan(LeafVlan(domain=domain, network_id=network_id, vlan=vlan))
    return Provided(vlan, own)


def rest_provider_vlan(tx: Transaction, network: Network) -> None:
    """Let a network's VLAN rest: its switches may still be taking it away. Does nothing for a network without one."""
    held = tx.leaf_vlan(vlan_part_domain(network.site), network.id)
    if held is not None and held.released_at is None:
        tx.put_leaf_vlan(replace(held, released_at=tx.clock()))


def _taken(tx: Transaction, domain: str) -> dict[int, LeafVlan]:
    """Return the VLANs that are used or rest, forgetting those that have rested."""
    rested = tx.clock() - VLAN_REST_S
    taken: dict[int, LeafVlan] = {}
    for held in tx.leaf_vlans(domain):
        if held.released_at is not None and held.released_at <= rested:
            tx.delete_leaf_vlan(domain, held.network_id)
        else:
            taken[held.vlan] = held
    return taken


def _input(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", kind="InvalidInput")
