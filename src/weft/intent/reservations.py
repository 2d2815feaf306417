"""Ranges of a subnet that are kept out of allocation: for a reason, or for the port of a name."""

from collections.abc import Iterator

from weft.intent.rows import changed, subnet_of
from weft.ipam.reservations import with_reservation, without_reservation
from weft.model.addresses import IPAddress
from weft.model.errors import Conflict, NotFound
from weft.model.ids import PortId, SubnetId
from weft.model.intent import Reservation, Subnet
from weft.store import Transaction
from weft.store.addresses import holder, holders

MAX_LOOKED_UP = 1024
"""Addresses that are looked up one by one."""


def reserve(tx: Transaction, subnet_id: SubnetId, wanted: Reservation) -> Subnet:
    """Reserve a range of a subnet.

    Raises NotFound; Invalid for what is no range of it; Conflict if it is reserved already, or a port has an address
    of it that the reservation is not for.
    """
    before = subnet_of(tx, subnet_id)
    reserved = with_reservation(before, wanted)
    for address, port_id in _holders(tx, before, wanted):
        if address == before.gateway:
            continue
        view = tx.port(port_id)
        if wanted.port_name and view is not None and _is_for(wanted, view.port.project_id, view.port.name):
            continue
        message = f"{address} is in use by port {port_id}; delete that port, or reserve around it"
        raise Conflict(message, kind="IpAddressInUse")
    subnet = changed(tx, before, reserved=reserved)
    tx.put_subnet(subnet)
    return subnet


def unreserve(tx: Transaction, subnet_id: SubnetId, start: IPAddress) -> Subnet:
    """End the reservation that begins with an address. Raises NotFound for the subnet and for the reservation."""
    before = subnet_of(tx, subnet_id)
    left = without_reservation(before, start)
    if left == before.reserved:
        known = ", ".join(str(each.start) for each in before.reserved) or "none"
        message = f"subnet {subnet_id} has no reservation that begins with {start}; there begin: {known}"
        raise NotFound(message, kind="ReservationNotFound")
    subnet = changed(tx, before, reserved=left)
    tx.put_subnet(subnet)
    return subnet


def _holders(tx: Transaction, subnet: Subnet, wanted: Reservation) -> Iterator[tuple[IPAddress, PortId]]:
    """Yield the addresses of a range that ports have; a small range is looked up, a large one searched for."""
    size = int(wanted.end) - int(wanted.start) + 1
    if size <= MAX_LOOKED_UP:
        for offset in range(size):
            address = wanted.start + offset
            found = holder(tx, subnet.network_id, str(address))
            if found is not None:
                yield address, found[1]
        return
    for address, port_id in holders(tx, subnet):
        if int(wanted.start) <= int(address) <= int(wanted.end):
            yield address, port_id


def _is_for(wanted: Reservation, project_id: str, name: str) -> bool:
    return (wanted.project_id, wanted.port_name) == (project_id, name)
