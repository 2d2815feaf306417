"""What a hypervisor must know of a port to give an instance its NIC; asked from the server as any hypervisor asks."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from weft.client import AsyncClient
from weft.model.errors import Invalid

DEFAULT_MTU_BYTES = 1500
UNNAMED_LENGTH = 8
"""An instance whose port has no name is named by the end of the port's id, which is random; the beginning is a time."""


@dataclass(frozen=True, slots=True)
class Vnic:
    """A port as an instance's NIC; `name` is the instance's. Addresses are in CIDR form."""

    port_id: str
    name: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    mtu_bytes: int = DEFAULT_MTU_BYTES


def vnic_of(
    port: Mapping[str, Any], subnets: Iterable[Mapping[str, Any]], *, mtu_bytes: int = DEFAULT_MTU_BYTES
) -> Vnic:
    """Return the NIC of a port, from the Neutron objects of the port and of (at least) the subnets of its addresses."""
    by_id = {subnet["id"]: subnet for subnet in subnets}
    addresses, gateways = [], []
    for fixed in port["fixed_ips"]:
        subnet = by_id.get(fixed["subnet_id"])
        if subnet is None:
            raise Invalid(f"port {port['id']} has an address of subnet {fixed['subnet_id']}, which was not given")
        addresses.append(f"{fixed['ip_address']}/{ipaddress.ip_network(subnet['cidr']).prefixlen}")
        if subnet.get("gateway_ip"):
            gateways.append(subnet["gateway_ip"])
    name = port.get("name") or port["id"][-UNNAMED_LENGTH:]
    return Vnic(port["id"], name, port["mac_address"], tuple(addresses), tuple(gateways), mtu_bytes)


async def find_vnic(client: AsyncClient, port: str) -> tuple[Vnic, str | None]:
    """Ask for the NIC of a port, by name or id, and for the node that the port is bound to, if any."""
    row = await client.ports.find(port)
    network = await client.networks.show(row["network_id"])
    subnets = await client.subnets.list(network_id=row["network_id"])
    vnic = vnic_of(row, subnets, mtu_bytes=network.get("mtu") or DEFAULT_MTU_BYTES)
    return vnic, row.get("binding:host_id") or None
