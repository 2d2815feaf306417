"""What to tell a caller whose key is taken: the unique indexes' refusals in the words of the domain."""

from collections.abc import Callable, Mapping

import sqlalchemy as sa

from weft.model.errors import Conflict
from weft.model.ids import SubnetId
from weft.store import schema as t
from weft.store.layers import Row


def address_in_use(address: str, subnet_id: SubnetId) -> Conflict:
    """Return the error for an address that is another port's."""
    return Conflict(f"IP address {address} already allocated in subnet {subnet_id}", kind="IpAddressAlreadyAllocated")


def mac_in_use(mac: str, network_id: str) -> Conflict:
    """Return the error for a MAC address that is another port's."""
    return Conflict(
        f"Unable to complete operation for network {network_id}. The mac address {mac} is in use.",
        kind="MacAddressInUse",
    )


def taken(table: sa.Table, row: Row) -> Conflict | None:
    """Return the error for a row whose key is another's; None if that is nothing a caller can cause."""
    error = _ERRORS.get(table)
    return None if error is None else error(row)


_ERRORS: Mapping[sa.Table, Callable[[Row], Conflict]] = {
    t.fixed_ips: lambda row: address_in_use(row["address"], row["subnet_id"]),
    t.ports: lambda row: mac_in_use(row["mac"], row["network_id"]),
    t.networks: lambda row: Conflict(f"VNI {row['vni']} is taken by another network", kind="VniInUse"),
    t.routers: lambda row: Conflict(f"L3VNI {row['l3vni']} or VRF {row['vrf']} is taken by another router"),
    t.leaf_vlans: lambda row: Conflict(f"VLAN {row['vlan']} is taken by another network at {row['domain']}"),
    t.records: lambda row: Conflict(f"'{row['unique_key']}' is taken by another {row['kind']}", kind="UniqueKeyInUse"),
}
