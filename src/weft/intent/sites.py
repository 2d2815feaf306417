"""Sites and the numbers of their fabrics: which site an object is in, and which VNI it gets."""

from weft.fabric.topology import Topology
from weft.model.errors import Conflict, NotFound
from weft.model.ids import SiteName, Vni
from weft.model.inventory import FabricPools, NumberRange
from weft.store import Transaction


def fabric_of(tx: Transaction, wanted: SiteName | None) -> tuple[SiteName, FabricPools]:
    """Return the site that an object shall be in and its fabric's pools; None: the first site that has a fabric."""
    sites = tx.topology().sites
    if wanted is None:
        for site in sites.values():
            if site.fabric is not None:
                return site.name, site.fabric
        message = "no site of the inventory has a fabric to carry networks; load an inventory with one first"
        raise Conflict(message, kind="NoFabric")
    if wanted not in sites:
        known = ", ".join(sites) or "none"
        message = f"AvailabilityZone {wanted} could not be found. Sites of the inventory: {known}."
        raise NotFound(message, kind="AvailabilityZoneNotFound")
    pools = sites[wanted].fabric
    if pools is None:
        message = f"site '{wanted}' has no fabric to carry networks; choose a site with one, or give it one"
        raise Conflict(message, kind="NoFabric")
    return wanted, pools


def exit_vnis(topology: Topology) -> list[NumberRange]:
    """Return the VNIs that sites with ways out have taken for these."""
    sites = {topology.switches[way.switch].site for way in topology.inventory.exits}
    return [pools.exit_vnis for site in sites if (pools := topology.pools(site)) is not None]


def choose_vni(tx: Transaction, name: str, numbers: NumberRange) -> Vni:
    """Return the next number of a VNI pool that no network and no router has; `name` is that of the pool's cursor."""
    chosen = tx.next_number(name, numbers.first, numbers.last, tx.vni_taken)
    if chosen is None:
        message = f"Unable to create the network. No VNI of {numbers} ({name}) is free; delete what is unused, or"
        raise Conflict(f"{message} widen the site's pool.", kind="NoNetworkAvailable")
    return Vni(chosen)


def check_vni(tx: Transaction, wanted: Vni) -> Vni:
    """Return a VNI that a caller asks for; raise Conflict if it is taken."""
    for reserved in exit_vnis(tx.topology()):
        if wanted in reserved:
            message = f"Unable to create the network. The tunnel ID {wanted} is one of exit_vnis {reserved} of a site."
            raise Conflict(message, kind="TunnelIdInUse")
    if tx.vni_taken(wanted):
        message = f"Unable to create the network. The tunnel ID {wanted} is in use."
        raise Conflict(message, kind="TunnelIdInUse")
    return wanted
