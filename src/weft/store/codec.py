"""Values to stored bytes and back.

What is stored is JSON with addresses as text. A value that holds addresses of either family is decoded by way of a
stored type of its own, because the decoder cannot tell the families apart; the others are decoded as they are.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from weft.model.addresses import written_address
from weft.model.ids import NetworkId, PortId, SubnetId
from weft.model.intent import (
    AddressPair,
    AddressRange,
    DhcpOption,
    FixedIp,
    HistoryEntry,
    HostRoute,
    Ipv6Mode,
    Network,
    Owned,
    Port,
    PreparedBinding,
    Reservation,
    Subnet,
)

T = TypeVar("T")

_encoder = msgspec.json.Encoder(enc_hook=str)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(value: object) -> bytes:
    """Return the stored form of a value."""
    return _encoder.encode(value)


def _built(wanted: type, raw: Any) -> Any:
    """Return a value of a type that JSON has none for; `object` takes whatever there is."""
    return raw if wanted is object else wanted(raw)


def decode(kind: type[T], body: bytes) -> T:
    """Return the value of a type whose addresses, if it has any, are all of one family by type."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_built)
    found: T = decoder.decode(body)
    return found


class _StoredRange(msgspec.Struct, frozen=True):
    start: str
    end: str


class _StoredRoute(msgspec.Struct, frozen=True):
    destination: str
    nexthop: str


class _StoredReservation(msgspec.Struct, frozen=True, kw_only=True):
    start: str
    end: str
    reason: str = ""
    project_id: str = ""
    port_name: str = ""


class _StoredSubnet(Owned, frozen=True, kw_only=True):
    id: SubnetId
    network_id: NetworkId
    cidr: str
    gateway: str | None
    pools: tuple[_StoredRange, ...]
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[_StoredRoute, ...] = ()
    reserved: tuple[_StoredReservation, ...] = ()
    ipv6_ra_mode: Ipv6Mode | None = None
    ipv6_address_mode: Ipv6Mode | None = None
    subnetpool_id: str | None = None


class _StoredIp(msgspec.Struct, frozen=True):
    subnet_id: SubnetId
    address: str


class _StoredPort(Owned, frozen=True, kw_only=True):
    id: PortId
    network_id: NetworkId
    mac: str
    fixed_ips: tuple[_StoredIp, ...] = ()
    device_id: str = ""
    device_owner: str = ""
    admin_state_up: bool = True
    port_security_enabled: bool = True
    labels: Mapping[str, str] = {}
    security_groups: tuple[str, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    extra_dhcp_opts: tuple[DhcpOption, ...] = ()
    dns_name: str = ""
    dns_domain: str = ""
    vnic_type: str = "normal"
    profile: Mapping[str, object] = {}
    prepared: tuple[PreparedBinding, ...] = ()


@lru_cache(maxsize=4096)
def decode_network(body: bytes) -> Network:
    """Return a network from its stored form; every port of it needs it."""
    return decode(Network, body)


def decode_history(body: bytes) -> tuple[HistoryEntry, ...]:
    """Return the entries that one piece of work added to a port's history."""
    return decode(tuple[HistoryEntry, ...], body)


@lru_cache(maxsize=4096)
def decode_subnet(body: bytes) -> Subnet:
    """Return a subnet from its stored form; every port of it needs it, and parsing addresses is slow."""
    stored = decode(_StoredSubnet, body)
    fields = {name: getattr(stored, name) for name in stored.__struct_fields__}
    fields["cidr"] = ipaddress.ip_network(stored.cidr)
    fields["gateway"] = None if stored.gateway is None else ipaddress.ip_address(stored.gateway)
    fields["pools"] = tuple(
        AddressRange(ipaddress.ip_address(each.start), ipaddress.ip_address(each.end)) for each in stored.pools
    )
    fields["host_routes"] = tuple(
        HostRoute(ipaddress.ip_network(each.destination), ipaddress.ip_address(each.nexthop))
        for each in stored.host_routes
    )
    fields["reserved"] = tuple(
        Reservation(
            start=ipaddress.ip_address(each.start),
            end=ipaddress.ip_address(each.end),
            reason=each.reason,
            project_id=each.project_id,
            port_name=each.port_name,
        )
        for each in stored.reserved
    )
    return Subnet(**fields)


def decode_port(body: bytes) -> Port:
    """Return a port from its stored form."""
    stored = decode(_StoredPort, body)
    fields = {name: getattr(stored, name) for name in stored.__struct_fields__}
    fields["fixed_ips"] = tuple(FixedIp(each.subnet_id, written_address(each.address)) for each in stored.fixed_ips)
    return Port(**fields)
