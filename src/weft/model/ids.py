"""Identifiers: distinct types for distinct nouns, and time-ordered UUIDs.

Names (site, switch, node, interface) are chosen by people and unique in an inventory; the rest are UUIDs.
"""

from typing import NewType

SiteName = NewType("SiteName", str)
SwitchName = NewType("SwitchName", str)
NodeName = NewType("NodeName", str)

NetworkId = NewType("NetworkId", str)
SubnetId = NewType("SubnetId", str)
RouterId = NewType("RouterId", str)
PortId = NewType("PortId", str)

Epoch = NewType("Epoch", int)
"""Number of a port's binding; grows by one with each bind and is never used again. 0: never bound."""

Revision = NewType("Revision", int)
"""Position in the change log; every committed transaction that changes intent or state gets the next one."""

Vni = NewType("Vni", int)
Vlan = NewType("Vlan", int)
Asn = NewType("Asn", int)


def time_ordered_id(now_ms: int, entropy: int) -> str:
    """Return a UUID version 7 (RFC 9562, section 5.7) as text: ids made later sort later.

    `now_ms` is Unix time in milliseconds; of `entropy` the lowest 74 bits are used.
    """
    rand_a = (entropy >> 62) & 0xFFF
    rand_b = entropy & ((1 << 62) - 1)
    value = (now_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    text = value.to_bytes(16, "big").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
