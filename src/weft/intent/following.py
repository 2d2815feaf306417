"""Subnets whose hosts make addresses of their MACs: what such a subnet may be, and what it gives to ports."""

from weft.intent.addresses import EUI64_PREFIXLEN, eui64
from weft.intent.ports import ROUTER_INTERFACE, write_port
from weft.intent.rows import changed
from weft.model.addresses import IPNetwork
from weft.model.errors import Invalid
from weft.model.intent import FixedIp, Ipv6Mode, Subnet
from weft.store import Transaction


def check_modes(cidr: IPNetwork, ra_mode: Ipv6Mode | None, address_mode: Ipv6Mode | None, *, enable_dhcp: bool) -> None:
    """Refuse modes that contradict each other or the subnet: for IPv4, not for a /64, or with DHCP off."""
    for name, mode in (("ipv6_ra_mode", ra_mode), ("ipv6_address_mode", address_mode)):
        if mode is not None and cidr.version == 4:
            raise _input(f"{name} is not valid when ip_version is 4")
    if ra_mode is None and address_mode is None:
        return
    if not enable_dhcp:
        raise _input("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
    if ra_mode is not None and address_mode is not None and ra_mode is not address_mode:
        raise _input(
            f"ipv6_ra_mode set to '{ra_mode}' with ipv6_address_mode set to '{address_mode}' is not valid. "
            "If both attributes are set, they must be the same value"
        )
    if cidr.prefixlen != EUI64_PREFIXLEN:
        raise _input(
            f"Invalid CIDR {cidr} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the "
            "prefix to be /64"
        )


def give_addresses(tx: Transaction, subnet: Subnet) -> None:
    """Give every port of a new subnet's network, but the gateways of routers, the address that its host will make."""
    for view in tx.ports(network_id=subnet.network_id):
        if view.port.device_owner == ROUTER_INTERFACE:
            continue
        address = eui64(subnet.cidr, view.port.mac)
        tx.take_address(subnet, int(address))
        fixed_ips = (*view.port.fixed_ips, FixedIp(subnet.id, address))
        write_port(tx, view, changed(tx, view.port, fixed_ips=fixed_ips))


def take_addresses(tx: Transaction, subnet: Subnet) -> None:
    """Take a subnet's addresses from the ports that have them, because it is going to be deleted."""
    for view in tx.ports(subnet_id=subnet.id):
        left = tuple(ip for ip in view.port.fixed_ips if ip.subnet_id != subnet.id)
        write_port(tx, view, changed(tx, view.port, fixed_ips=left))


def _input(reason: str) -> Invalid:
    return Invalid(f"Invalid input for operation: {reason}.", kind="InvalidInput")
