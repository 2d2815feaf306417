"""Converters of attribute values: from JSON to what the core thinks with, refusing in Neutron's words.

A converter takes any JSON value and returns the converted one, or raises Refused with the reason.
"""

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from weft.model.addresses import IPAddress, IPNetwork, Mac, parse_mac
from weft.model.errors import Invalid
from weft.model.intent import AddressRange, HostRoute

Converter = Callable[[object], object]
Schema = Mapping[str, Any]

SCHEMAS: WeakKeyDictionary[Converter, Schema] = WeakKeyDictionary()
"""What converters accept, as JSON schemas, for the API's description. What is not here is told by errors only."""

MAX_ITEMS = 1000
"""Of a list in one attribute."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A UUID in its normal form, which needs no other."""
_TRUE = {"true", "1", "yes", "on", "t", "y"}
_FALSE = {"false", "0", "no", "off", "f", "n"}


class Refused(ValueError):
    """A value that an attribute cannot have; the text is the reason, without a full stop."""


def described(convert: Converter, schema: Schema) -> Converter:
    """Return `convert`, having noted what it accepts."""
    SCHEMAS[convert] = schema
    return convert


def boolean(value: object) -> bool:
    """Accept true and false, and the strings and numbers that Neutron takes for them."""
    if isinstance(value, bool):
        return value
    text = str(value).lower() if isinstance(value, str | int) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Refused(f"'{value}' cannot be converted to boolean")


def string(max_length: int) -> Converter:
    """Return a converter that accepts strings of up to `max_length` characters."""

    def convert(value: object) -> str:
        if not isinstance(value, str):
            raise Refused(f"'{value}' is not a valid string")
        if len(value) > max_length:
            raise Refused(f"'{value}' exceeds maximum length of {max_length}")
        if "\0" in value:
            raise Refused(f"{value!r} holds a NUL character")
        return value

    return described(convert, {"type": "string", "maxLength": max_length})


def integer(first: int, last: int) -> Converter:
    """Return a converter that accepts whole numbers, also written as strings, of a range."""

    def convert(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Refused(f"'{value}' is not an integer")
        try:
            number = int(value)
        except ValueError:
            raise Refused(f"'{value}' is not an integer") from None
        if not first <= number <= last:
            raise Refused(f"'{value}' is not in the range {first} to {last}")
        return number

    return described(convert, {"type": "integer", "minimum": first, "maximum": last})


def one_of(*values: object) -> Converter:
    """Return a converter that accepts one of `values`."""

    def convert(value: object) -> object:
        if value not in values or isinstance(value, bool):
            raise Refused(f"'{value}' is not in {list(values)}")
        return value

    return described(convert, {"enum": list(values)})


def only(value: object) -> Converter:
    """Return a converter for what weft has no choice in: it accepts the value that is shown anyway, or none."""

    def convert(given: object) -> object:
        if given not in (value, None):
            raise Refused(f"'{given}' is not supported; the only possible value is {value!r}")
        return value

    return described(convert, {"enum": [value] if value is None else [value, None]})


def or_none(convert: Converter) -> Converter:
    """Return a converter that accepts null besides what `convert` does."""

    def convert_unless_null(value: object) -> object:
        return None if value is None else convert(value)

    return described(convert_unless_null, {"anyOf": [SCHEMAS.get(convert, {}), {"type": "null"}]})


def identifier(value: object) -> str:
    """Accept a UUID."""
    if isinstance(value, str):
        if _UUID.fullmatch(value):
            return value
        try:
            return str(uuid.UUID(value))
        except ValueError:
            pass
    raise Refused(f"'{value}' is not a valid UUID")


def mac(value: object) -> Mac:
    """Accept a unicast MAC address."""
    try:
        return parse_mac(value if isinstance(value, str) else "")
    except Invalid:
        raise Refused(f"'{value}' is not a valid MAC address") from None


def address(value: object) -> IPAddress:
    """Accept an IP address."""
    if isinstance(value, str):  # a number would be an address to ipaddress, too
        try:
            return ipaddress.ip_address(value)
        except ValueError:
            pass
    raise Refused(f"'{value}' is not a valid IP address")


def cidr(value: object) -> IPNetwork:
    """Accept a prefix; host bits are cut off as Neutron does."""
    if isinstance(value, str) and "/" in value:
        try:
            return ipaddress.ip_network(value, strict=False)
        except ValueError:
            pass
    raise Refused(f"'{value}' is not a valid IP subnet")


def address_or_prefix(value: object) -> str:
    """Accept an address or a prefix, as text in its usual form."""
    if isinstance(value, str):
        try:
            if "/" in value:
                return str(ipaddress.ip_network(value, strict=False))
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    raise Refused(f"'{value}' is neither a valid IP address, nor is it a valid IP subnet")


def oneline(max_length: int) -> Converter:
    """Return a converter that accepts strings of one line that are not blank."""
    accept = string(max_length)

    def convert(value: object) -> str:
        text = str(accept(value))
        if not text.strip():
            raise Refused(f"'{value}' Blank strings are not permitted")
        if "\n" in text or "\r" in text:
            raise Refused("Multi-line string is not allowed")
        return text

    return described(convert, {"type": "string", "maxLength": max_length})


def dictionary(value: object) -> dict[str, object]:
    """Accept an object; null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"'{value}' is not a dictionary")
    return value


def items(value: object) -> list[object]:
    """Accept a list of up to MAX_ITEMS; null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(f"'{value}' is not a list")
    if len(value) > MAX_ITEMS:
        raise Refused(f"{len(value)} items are more than {MAX_ITEMS}")
    return value


def addresses(value: object) -> tuple[str, ...]:
    """Accept a list of different IP addresses, as text (name servers)."""
    found = tuple(str(address(each)) for each in items(value))
    _refuse_doubles(found)
    return found


def identifiers(value: object) -> tuple[str, ...]:
    """Accept a list of different UUIDs."""
    found = tuple(identifier(each) for each in items(value))
    _refuse_doubles(found)
    return found


def strings(max_length: int) -> Converter:
    """Return a converter that accepts a list of different strings."""
    one = string(max_length)

    def convert(value: object) -> tuple[str, ...]:
        found = tuple(str(one(each)) for each in items(value))
        _refuse_doubles(found)
        return found

    return described(
        convert, {"type": "array", "items": {"type": "string", "maxLength": max_length}, "maxItems": MAX_ITEMS}
    )


def pools(value: object) -> tuple[AddressRange, ...]:
    """Accept a list of ``{"start": ADDRESS, "end": ADDRESS}``."""
    found = []
    for each in items(value):
        if not isinstance(each, dict) or each.keys() != {"start", "end"}:
            raise Refused(f"Invalid data format for IP pool: '{each}'")
        found.append(AddressRange(address(each["start"]), address(each["end"])))
    return tuple(found)


def host_routes(value: object) -> tuple[HostRoute, ...]:
    """Accept a list of ``{"destination": CIDR, "nexthop": ADDRESS}``."""
    found: dict[HostRoute, None] = {}
    for each in items(value):
        if not isinstance(each, dict) or each.keys() != {"destination", "nexthop"}:
            raise Refused(f"Invalid data format for hostroute: '{each}'")
        route = HostRoute(cidr(each["destination"]), address(each["nexthop"]))
        if route in found:
            raise Refused(f"Duplicate hostroute '{each}'")
        found[route] = None
    return tuple(found)


def _refuse_doubles(found: Iterable[str]) -> None:
    seen: set[str] = set()
    for each in found:
        if each in seen:
            raise Refused(f"'{each}' stands more than once")
        seen.add(each)


_TEXTS: Schema = {"type": "array", "items": {"type": "string"}, "maxItems": MAX_ITEMS}

described(boolean, {"type": "boolean"})
described(identifier, {"type": "string", "format": "uuid"})
described(mac, {"type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$"})
described(address, {"type": "string"})
described(cidr, {"type": "string"})
described(address_or_prefix, {"type": "string"})
described(dictionary, {"type": ["object", "null"]})
described(addresses, _TEXTS)
described(identifiers, {"type": "array", "items": {"type": "string", "format": "uuid"}, "maxItems": MAX_ITEMS})
described(
    pools,
    {
        "type": "array",
        "maxItems": MAX_ITEMS,
        "items": {
            "type": "object",
            "required": ["start", "end"],
            "properties": {"start": {"type": "string"}, "end": {"type": "string"}},
            "additionalProperties": False,
        },
    },
)
described(
    host_routes,
    {
        "type": "array",
        "maxItems": MAX_ITEMS,
        "items": {
            "type": "object",
            "required": ["destination", "nexthop"],
            "properties": {"destination": {"type": "string"}, "nexthop": {"type": "string"}},
            "additionalProperties": False,
        },
    },
)
