"""What a switch says of itself that is no configuration: sessions, tunnels, routes, how full its tables are."""

from collections.abc import Mapping

import msgspec

from weft.fabric.limits import Resource


class Session(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """A BGP session as the switch sees it; `state` is BGP's own (RFC 4271): ``Established``, ``Active``, ..."""

    peer: str
    peer_address: str
    family: str
    state: str


class VniFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An L2VNI as the switch has it."""

    remote_vteps: tuple[str, ...] = ()
    """Addresses of the switches that announced it (EVPN inclusive multicast routes, RFC 7432, section 11.2)."""
    macs: int = 0
    neighbours: int = 0
    """ARP and ND entries, the switch's own and those that EVPN brought."""


class VrfFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A VRF as the switch has it."""

    is_up: bool = False
    """Whether its L3VNI is: the tunnel, and the interface that routes into it."""
    routes: int = 0
    """Routes that are used for forwarding, IPv4."""
    learnt_routes: int = 0
    """Those of them that other switches announced."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a switch says of itself that is no configuration."""

    layout: str = ""
    sessions: tuple[Session, ...] = ()
    vnis: Mapping[int, VniFacts] = {}
    vrfs: Mapping[str, VrfFacts] = {}
    tells_overlay: bool = True
    """Whether `vnis` and `vrfs` say what the switch has; False: nobody has asked it."""
    is_confirmed: bool = True
    """Whether it stays as it is; else it goes back by itself unless `confirm` is called in time."""

    @property
    def sessions_up(self) -> int:
        """How many sessions are established."""
        return sum(session.state == "Established" for session in self.sessions)

    def usage(self) -> dict[Resource, int]:
        """Return how much of each table is in use, as far as the switch says it."""
        if not self.vnis and not self.vrfs:
            return {}
        return {
            Resource.VNIS: len(self.vnis) + len(self.vrfs),
            Resource.VRFS: len(self.vrfs),
            Resource.MACS: sum(vni.macs for vni in self.vnis.values()),
            Resource.HOST_ROUTES: sum(vni.neighbours for vni in self.vnis.values()),
            Resource.PREFIXES: sum(vrf.routes for vrf in self.vrfs.values()),
        }
