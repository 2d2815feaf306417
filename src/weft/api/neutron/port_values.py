"""Converters of a port's attributes, and the names that its addresses have."""

import re
from ipaddress import ip_network

from weft.api.neutron.values import (
    MAX_ITEMS,
    Refused,
    Schema,
    address,
    address_or_prefix,
    described,
    identifier,
    integer,
    items,
    mac,
    one_of,
    oneline,
    string,
)
from weft.intent.addresses import FixedIpSpec
from weft.intent.port_options import AddressPairSpec, DhcpOptionSpec
from weft.model.addresses import IPAddress, Mac
from weft.model.ids import SubnetId
from weft.model.intent import Port

DEFAULT_DOMAIN = "openstacklocal."
"""Where the names of addresses are that no port and no network gives a domain."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_MAX_NAME_LENGTH = 255
_MAY_BE_EMPTY = ("router", "classless-static-route")
"""DHCP options whose empty value says something."""


def fixed_ips(value: object) -> tuple[FixedIpSpec, ...]:
    """Accept a list of objects with a subnet_id, an ip_address, or both. An empty list is no address."""
    if value is None:
        raise Refused(f"Invalid data format for fixed IP: '{value}'")
    found: list[FixedIpSpec] = []
    seen: set[IPAddress] = set()
    for each in items(value):
        if not isinstance(each, dict) or not each or each.keys() - {"subnet_id", "ip_address"}:
            raise Refused(f"Invalid data format for fixed IP: '{each}'")
        wanted = address(each["ip_address"]) if "ip_address" in each else None
        if wanted in seen:
            raise Refused(f"Duplicate IP address '{wanted}'")
        if wanted is not None:
            seen.add(wanted)
        subnet_id = SubnetId(identifier(each["subnet_id"])) if "subnet_id" in each else None
        found.append(FixedIpSpec(subnet_id=subnet_id, address=wanted))
    return tuple(found)


def address_pairs(value: object) -> tuple[AddressPairSpec, ...]:
    """Accept a list of objects with an ip_address, which may be a prefix, and perhaps a mac_address."""
    found = []
    for each in items(value):
        if not isinstance(each, dict):
            raise Refused(f"Invalid data format for allowed address pair: '{each}'")
        unknown = each.keys() - {"ip_address", "mac_address"}
        if unknown:
            raise Refused(f"Unrecognized attribute(s) '{', '.join(sorted(map(str, unknown)))}'")
        if "ip_address" not in each:
            raise Refused("AllowedAddressPair must contain ip_address")
        wanted: Mac | None = mac(each["mac_address"]) if each.get("mac_address") is not None else None
        sender = address_or_prefix(each["ip_address"])
        if ip_network(sender).is_multicast:
            raise Refused(f"'{sender}' is multicast: nobody sends from there")
        found.append(AddressPairSpec(sender, wanted))
    return tuple(found)


def dhcp_options(value: object) -> tuple[DhcpOptionSpec, ...]:
    """Accept a list of objects with opt_name, opt_value (null takes the option away) and perhaps ip_version."""
    found = []
    for each in items(value):
        if not isinstance(each, dict) or not {"opt_name", "opt_value"} <= each.keys() <= _OPTION_KEYS:
            raise Refused(f"'{each}' is not an option: write opt_name, opt_value and, if it is not 4, ip_version")
        name = oneline(64)(each["opt_name"])
        version = one_of(4, 6)(integer(4, 6)(each.get("ip_version", 4)))
        assert isinstance(version, int)
        given = each["opt_value"]
        convert = string(_MAX_NAME_LENGTH) if name in _MAY_BE_EMPTY else oneline(_MAX_NAME_LENGTH)
        found.append(DhcpOptionSpec(str(name), None if given is None else str(convert(given)), version))
    return tuple(found)


_OPTION_KEYS = frozenset({"opt_name", "opt_value", "ip_version"})


def dns_name(value: object) -> str:
    """Accept a host name, in one part or fully qualified (with a full stop at its end); it is kept in small letters."""
    return _dns(value, "PQDN or FQDN")


def dns_domain(value: object) -> str:
    """Accept a fully qualified domain, with a full stop at its end, or none."""
    found = _dns(value, "FQDN")
    if found and not found.endswith("."):
        raise Refused(f"'{value}' is not a FQDN: it must end with '.'")
    return found


def _dns(value: object, kind: str) -> str:
    text = str(string(_MAX_NAME_LENGTH)(value)).lower()
    for label in text.removesuffix(".").split(".") if text else ():
        if not _LABEL.fullmatch(label):
            reason = f"Name '{label}' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen."
            raise Refused(f"'{value}' not a valid {kind}. Reason: {reason}")
    return text


def dns_assignment(port: Port, network_domain: str) -> list[dict[str, str]]:
    """Return the name that DNS would give to each address of a port: its own, else one made of the address."""
    domain = port.dns_domain or network_domain or DEFAULT_DOMAIN
    found = []
    for ip in port.fixed_ips:
        text = str(ip.address)
        host = port.dns_name.rstrip(".") or f"host-{text.replace('.', '-').replace(':', '-')}"
        fqdn = port.dns_name if port.dns_name.endswith(".") else f"{host}.{domain}"
        found.append({"ip_address": text, "hostname": host, "fqdn": fqdn})
    return found


def _objects(required: list[str], **properties: Schema) -> Schema:
    one = {"type": "object", "required": required, "properties": properties, "additionalProperties": False}
    return {"type": "array", "maxItems": MAX_ITEMS, "items": one}


_TEXT: Schema = {"type": "string", "maxLength": _MAX_NAME_LENGTH}

described(
    fixed_ips,
    {**_objects([], subnet_id={"type": "string", "format": "uuid"}, ip_address=_TEXT), "uniqueItems": True},
)
described(address_pairs, _objects(["ip_address"], ip_address=_TEXT, mac_address={"type": ["string", "null"]}))
described(
    dhcp_options,
    _objects(
        ["opt_name", "opt_value"],
        opt_name={"type": "string", "maxLength": 64},
        opt_value={"type": ["string", "null"], "maxLength": _MAX_NAME_LENGTH},
        ip_version={"enum": [4, 6]},
    ),
)
described(dns_name, _TEXT)
described(dns_domain, _TEXT)
