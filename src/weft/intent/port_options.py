"""What a port has besides addresses of its own: pairs that it may also send as, and options for DHCP."""

from collections.abc import Iterable

import msgspec

from weft.model.addresses import Mac
from weft.model.errors import Conflict, Invalid
from weft.model.intent import AddressPair, DhcpOption

MAX_ADDRESS_PAIRS = 10
"""Of one port; Neutron's default."""

MAX_DHCP_OPTIONS = 64
"""Of one port."""


class AddressPairSpec(msgspec.Struct, frozen=True):
    """A pair as a caller asks for it: an address or prefix, as text, and the MAC it comes from (None: the port's)."""

    ip_address: str
    mac: Mac | None = None


class DhcpOptionSpec(msgspec.Struct, frozen=True):
    """An option as a caller asks for it; None takes it away."""

    name: str
    value: str | None
    ip_version: int = 4


def pairs_of(wanted: Iterable[AddressPairSpec], mac: Mac, *, port_security: bool) -> tuple[AddressPair, ...]:
    """Return the pairs of a port with this MAC.

    Raises Invalid for a pair that stands twice or for too many, Conflict if nothing checks what the port sends.
    """
    found: list[AddressPair] = []
    for spec in wanted:
        pair = AddressPair(spec.ip_address, spec.mac or mac)
        if pair in found:
            message = f"Request contains duplicate address pair: mac_address {pair.mac} ip_address {pair.ip_address}."
            raise Invalid(message, kind="DuplicateAddressPairInRequest")
        found.append(pair)
    if len(found) > MAX_ADDRESS_PAIRS:
        message = f"The number of allowed address pair exceeds the maximum {MAX_ADDRESS_PAIRS}."
        raise Invalid(message, kind="AllowedAddressPairExhausted")
    if found and not port_security:
        raise pairs_without_security()
    return tuple(found)


def pairs_without_security() -> Conflict:
    """Return the error for pairs on a port that may send as anybody."""
    message = "Port Security must be enabled in order to have allowed address pairs on a port."
    return Conflict(message, kind="AddressPairAndPortSecurityRequired")


def options_of(present: Iterable[DhcpOption], changes: Iterable[DhcpOptionSpec]) -> tuple[DhcpOption, ...]:
    """Return a port's options after a change. Raises Invalid for too many."""
    found = {(option.name, option.ip_version): option for option in present}
    for change in changes:
        found.pop((change.name, change.ip_version), None)
        if change.value is not None:
            option = DhcpOption(change.name, change.value, change.ip_version)
            found[change.name, change.ip_version] = option
    if len(found) > MAX_DHCP_OPTIONS:
        raise Invalid(f"Invalid input for operation: {len(found)} DHCP options are more than {MAX_DHCP_OPTIONS}.")
    return tuple(found.values())
