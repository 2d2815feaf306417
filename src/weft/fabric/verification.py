"""What a changed switch must show before it counts as right: judged from what was read, not from what was sent.

That its underlay, MTU, gateways with their MAC address, VNIs and VRFs are there is part of its configuration as it was
read back. What else traffic needs comes from the other switches: sessions, tunnels to each VTEP of a network, routes.
"""

from collections.abc import Iterator

from weft.fabric.config import SwitchConfig
from weft.fabric.facts import Facts
from weft.fabric.reachability import Configs, neighbours, underlay_islands
from weft.model.ids import SwitchName

ESTABLISHED = "Established"
"""RFC 4271, section 8.2.2."""


def missing(switch: SwitchName, read: Configs, facts: Facts) -> list[str]:
    """Return what a switch should show and does not.

    `read` is what was last read from every switch: one that is configured otherwise has nothing to offer yet.
    """
    overlay = [*_tunnels(switch, read, facts), *_vrfs(read[switch], facts)] if facts.tells_overlay else []
    return [*_sessions(switch, read, facts), *overlay]


def _sessions(switch: SwitchName, read: Configs, facts: Facts) -> Iterator[str]:
    underlay = read[switch].underlay
    agreed = neighbours(read)[switch]
    for link in underlay.links if underlay is not None else ():
        if SwitchName(link.peer) not in agreed:
            continue
        states = {each.family: each.state for each in facts.sessions if each.peer_address == str(link.peer_address)}
        if not states:
            yield f"no session with {link.peer} ({link.peer_address})"
        for family, state in sorted(states.items()):
            if state != ESTABLISHED:
                yield f"session with {link.peer} ({link.peer_address}, {family}) is {state}"


def _tunnels(switch: SwitchName, read: Configs, facts: Facts) -> Iterator[str]:
    """Yield the VTEPs that carry a network of the switch and that it does not know for it (RFC 8365, section 5.1.3)."""
    shores = underlay_islands(read)
    for segment in read[switch].segments:
        shown = facts.vnis.get(segment.vni)
        if shown is None:
            yield f"vni {segment.vni} is not taken up by EVPN"
            continue
        for name, config in read.items():
            if name == switch or config.underlay is None or shores.of(name) != shores.of(switch):
                continue
            has = any(each.vni == segment.vni for each in config.segments)
            if has and str(config.underlay.loopback) not in shown.remote_vteps:
                yield f"vni {segment.vni} has no tunnel to {name} ({config.underlay.loopback})"


def _vrfs(config: SwitchConfig, facts: Facts) -> Iterator[str]:
    """Yield the VRFs that do not route."""
    routed = {segment.vrf for segment in config.segments if segment.gateways}
    for vrf in config.vrfs:
        shown = facts.vrfs.get(vrf.name)
        if shown is None or not shown.is_up:
            yield f"l3vni {vrf.l3vni} of vrf {vrf.name} is not up"
        elif vrf.name in routed and not shown.routes:
            yield f"vrf {vrf.name} has no routes"
