"""Address types and their parsing; every parser names the value it refuses."""

import ipaddress
import re
import socket
from abc import ABCMeta
from typing import TYPE_CHECKING, NewType

from weft.model.errors import Invalid

if TYPE_CHECKING:
    IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
    IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
    IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
else:
    # Classes that both families are of: a decoder cannot choose among members of a union that are all written as text.
    IPAddress = ABCMeta("IPAddress", (), {})
    IPNetwork = ABCMeta("IPNetwork", (), {})
    IPInterface = ABCMeta("IPInterface", (), {})
    for version in ("IPv4", "IPv6"):
        IPAddress.register(getattr(ipaddress, f"{version}Address"))
        IPNetwork.register(getattr(ipaddress, f"{version}Network"))
        IPInterface.register(getattr(ipaddress, f"{version}Interface"))

Mac = NewType("Mac", str)
"""A MAC address as six lower-case hexadecimal octets joined by colons."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class _Written(ipaddress.IPv4Address):
    """An IPv4 address that knows how it is written: of a port's address that is asked five times in one request."""

    __slots__ = ("_text",)
    _ip: int
    _text: str

    def __init__(self, address: object) -> None:
        """Make an address as ipaddress does: of an address and a number, for instance."""
        super().__init__(address)
        self._text = super().__str__()

    def __str__(self) -> str:
        return self._text


def number_of(text: str) -> int:
    """Return the number of an address that is written as weft writes it."""
    if ":" in text:
        return int(ipaddress.IPv6Address(text))
    return int.from_bytes(socket.inet_aton(text), "big")


def ipv4_of(number: int) -> ipaddress.IPv4Address:
    """Return the IPv4 address of a number below 2^32."""
    found = _Written.__new__(_Written)
    found._ip = number
    found._text = socket.inet_ntoa(number.to_bytes(4, "big"))
    return found


def written_address(text: str) -> IPAddress:
    """Return the address of a text that weft wrote itself; at a quarter of what ipaddress.ip_address costs."""
    if ":" in text:
        return ipaddress.IPv6Address(text)
    found = _Written.__new__(_Written)
    found._ip = int.from_bytes(socket.inet_aton(text), "big")
    found._text = text
    return found


def parse_mac(text: str) -> Mac:
    """Return the normal form of a unicast MAC address; raise Invalid for anything else."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise Invalid(f"'{text}' is not a MAC address: write six octets, such as fa:16:3e:01:02:03")
    if int(mac[:2], 16) & 1:
        raise Invalid(f"'{text}' is a multicast MAC address; a port needs a unicast one (even first octet)")
    if mac == "00:00:00:00:00:00":
        raise Invalid("'00:00:00:00:00:00' cannot be the MAC address of a port")
    return Mac(mac)


def mac_of(prefix: str, entropy: int) -> Mac:
    """Return the MAC whose first octets are `prefix` (such as ``fa:16:3e``) and whose rest comes from `entropy`."""
    missing = 6 - len(prefix.split(":"))
    tail = (entropy & ((1 << 8 * missing) - 1)).to_bytes(missing, "big")
    return Mac(f"{prefix}:{tail.hex(':')}")


def parse_address(text: str) -> IPAddress:
    """Return the IPv4 or IPv6 address that `text` writes; raise Invalid for anything else."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"'{text}' is not a valid IP address") from None


def parse_network(text: str) -> IPNetwork:
    """Return the prefix that `text` writes; raise Invalid if it is none or has host bits set."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise Invalid(f"'{text}' is not a valid CIDR: {error}") from None


def parse_interface(text: str) -> IPInterface:
    """Return address and prefix length, such as ``10.0.0.1/24``; raise Invalid for anything else."""
    try:
        return ipaddress.ip_interface(text)
    except ValueError as error:
        raise Invalid(f"'{text}' is not an address with a prefix length: {error}") from None
