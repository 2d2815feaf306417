"""VlanSwitching: what a switch of a three-layer VLAN site shall be, as one value that knows no vendor.

A bridge with RSTP (IEEE 802.1Q), ports with their VLANs, and, on a core, the tenants' gateways. All tuples are sorted,
so that equal states are equal values.
"""

import msgspec

from weft.model.addresses import IPInterface

MANAGEMENT_VLAN = 1
"""The VLAN of untagged frames between switches, and of nodes' in-band management."""


class VlanPort(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """A port and the VLANs that it carries; `untagged` 0: untagged frames are dropped."""

    interface: str
    untagged: int = 0
    tagged: tuple[int, ...] = ()
    edge: bool = False
    """No switch is behind it, so it forwards at once (RSTP's AdminEdge)."""

    def carries(self, vlan: int, *, untagged: bool) -> bool:
        """Tell whether frames of a VLAN pass, with or without their tag."""
        return self.untagged == vlan if untagged else vlan in self.tagged


class VlanGateway(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """A network's gateway on a core: addresses in a VLAN, in a tenant's routing table. `vrf` None: the switch's own."""

    vlan: int
    vrf: str | None = None
    addresses: tuple[IPInterface, ...] = ()
    mtu_bytes: int = 1500


class VlanSwitching(msgspec.Struct, frozen=True, kw_only=True):
    """All of a switch of a VLAN site."""

    priority: int
    """The bridge's RSTP priority, a multiple of 4096; the lowest is the root."""
    ports: tuple[VlanPort, ...] = ()
    gateways: tuple[VlanGateway, ...] = ()

    def port(self, interface: str) -> VlanPort | None:
        """Return the port of an interface."""
        return next((port for port in self.ports if port.interface == interface), None)
