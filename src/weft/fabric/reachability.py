"""Who reaches whom, computed from the configurations of all switches: the model check before a change.

Endpoints are attachments. Frames get from one to another on the same VNI, on any switches that reach each other by BGP;
packets, through the gateways of a VRF, on any switches whose VRFs share an L3VNI. What VRFs hand over to each other is
agreed between tenants; it must be mutual, and leave no prefix in two places. From the rest follow islands of endpoints
that reach each other. Two tenants in one island are a leak; endpoints of a tenant that were in one island before and
are not after are a loss. The model knows no timers and no packet filters: it says what the configuration means.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import pairwise

import msgspec

from weft.fabric.config import Attachment, Segment, SwitchConfig
from weft.model.addresses import IPNetwork
from weft.model.ids import SwitchName
from weft.model.intent import overlap

Configs = Mapping[SwitchName, SwitchConfig]
Endpoint = tuple[SwitchName, Attachment]

MAX_FOUND = 20
"""At most this many of each kind are told; the first is reason enough."""


class Breach(StrEnum):
    """What is wrong with who reaches whom."""

    LEAK = "leak"
    """Tenants reach each other."""
    LOSS = "loss"
    """Endpoints that reached each other do not any more."""
    CLASH = "clash"
    """Two networks of a tenant claim the same addresses, or a gateway is not the same everywhere."""


class Violation(msgspec.Struct, frozen=True, order=True):
    """Something that a configuration of the fabric does wrong."""

    breach: Breach
    text: str

    def __str__(self) -> str:
        return f"{self.breach.value}: {self.text}"


class Islands:
    """Sets of things that reach each other: union-find, with path halving."""

    def __init__(self) -> None:
        self._parent: dict[object, object] = {}

    def of(self, thing: object) -> object:
        """Return what stands for the island of a thing."""
        parent = self._parent.setdefault(thing, thing)
        while parent != thing:
            grandparent = self._parent[parent]
            self._parent[thing] = grandparent
            thing, parent = parent, grandparent
        return thing

    def join(self, one: object, other: object) -> None:
        """Make two islands one."""
        self._parent[self.of(one)] = self.of(other)


def neighbours(configs: Configs) -> dict[SwitchName, set[SwitchName]]:
    """Return which switches have a session: both ends agree on addresses and AS numbers (RFC 4271, section 6.2)."""
    ends = {
        (str(name), link.peer, link.address.ip, link.peer_address, config.underlay.asn, link.peer_asn)
        for name, config in configs.items()
        if config.underlay is not None
        for link in config.underlay.links
    }
    found: dict[SwitchName, set[SwitchName]] = defaultdict(set)
    for name, peer, own, others, own_asn, expected_asn in ends:
        if (peer, name, others, own, expected_asn, own_asn) in ends:
            found[SwitchName(name)].add(SwitchName(peer))
    return found


def underlay_islands(configs: Configs) -> Islands:
    """Return the sets of switches that reach each other's VTEPs."""
    islands = Islands()
    for name, peers in neighbours(configs).items():
        for peer in peers:
            islands.join(name, peer)
    return islands


def islands_of(configs: Configs) -> Islands:
    """Return who reaches whom. Things are endpoints ``(switch, attachment)``, segments ``(switch, vni)`` and VRFs
    ``(switch, vrf)``."""
    ground, islands = underlay_islands(configs), Islands()
    for name, config in configs.items():
        shore = ground.of(name)
        for vrf in config.vrfs:
            if vrf.l3vni:
                islands.join((name, vrf.name), ("l3vni", shore, vrf.l3vni))
        for segment in config.segments:
            islands.join((name, segment.vni), ("l2vni", shore, segment.vni))
            if segment.vrf is not None and segment.gateways:
                islands.join((name, segment.vni), (name, segment.vrf))
        for attachment in config.attachments:
            islands.join((name, attachment), (name, attachment.vni))
    return islands


def check(configs: Configs) -> list[Violation]:
    """Return what is wrong with who reaches whom in a fabric: leaks and clashes."""
    return [*_first(_leaks(configs)), *_first([*_clashes(configs), *_handed_over_twice(configs)])]


def check_change(before: Configs, after: Configs) -> list[Violation]:
    """Return what a change would do wrong: leaks and clashes that are new, and losses."""
    old = set(check(before))
    return [*(each for each in check(after) if each not in old), *_first(_losses(before, after))]


def _leaks(configs: Configs) -> Iterator[Violation]:
    """Yield the islands that hold segments of more than one tenant."""
    islands = islands_of(configs)
    tenants: dict[object, dict[str, tuple[SwitchName, Segment]]] = defaultdict(dict)
    for name, config in configs.items():
        for segment in config.segments:
            if segment.vrf is not None:
                tenants[islands.of((name, segment.vni))].setdefault(segment.vrf, (name, segment))
    for found in tenants.values():
        for (one, a), (other, b) in pairwise(sorted(found.items())):
            how = f"{one} by vni {a[1].vni} on {a[0]}, {other} by vni {b[1].vni} on {b[0]}"
            yield Violation(Breach.LEAK, f"vrf {one} and vrf {other} reach each other ({how})")
    yield from _one_sided(configs)


def _one_sided(configs: Configs) -> Iterator[Violation]:
    """Yield the VRFs that hand packets over to one which hands none back: tenants reach each other by agreement."""
    for name, config in configs.items():
        given = {(vrf.l3vni, leak.l3vni): vrf.name for vrf in config.vrfs for leak in vrf.leaks}
        for (own, other), vrf in given.items():
            if (other, own) not in given:
                yield Violation(Breach.LEAK, f"vrf {vrf} hands packets over to l3vni {other} on {name}, one-sidedly")


def _clashes(configs: Configs) -> Iterator[Violation]:
    segments: dict[str, dict[int, Segment]] = defaultdict(dict)
    macs: dict[str, SwitchName] = {}
    for name, config in configs.items():
        routed = [segment for segment in config.segments if segment.vrf is not None and segment.gateways]
        for segment in routed:
            known = segments[str(segment.vrf)].setdefault(segment.vni, segment)
            if known.gateways != segment.gateways:
                yield Violation(Breach.CLASH, f"vni {segment.vni} has other gateways on {name} than on other leaves")
        if routed:
            macs.setdefault(config.gateway_mac, name)
    if len(macs) > 1:
        named = ", ".join(f"{mac} on {name}" for mac, name in sorted(macs.items()))
        yield Violation(Breach.CLASH, f"the gateways' MAC address is not the same everywhere: {named}")
    for vrf, found in segments.items():
        prefixes = sorted(
            (gateway.version, int(gateway.network.network_address), gateway, vni)
            for vni, segment in found.items()
            for gateway in segment.gateways
        )
        for (*_, a, one), (*_, b, other) in pairwise(prefixes):
            if one != other and overlap(a.network, b.network):
                yield Violation(Breach.CLASH, f"vrf {vrf}: vni {one} and vni {other} both have {b.network}")


def _handed_over_twice(configs: Configs) -> Iterator[Violation]:
    """Yield the prefixes that a VRF has itself and hands over as well, or hands over to two others."""
    for name, config in configs.items():
        own: dict[str, list[tuple[str, IPNetwork]]] = defaultdict(list)
        for segment in config.segments:
            own[str(segment.vrf)] += [(f"vni {segment.vni}", gateway.network) for gateway in segment.gateways]
        for vrf in config.vrfs:
            handed = [(f"l3vni {leak.l3vni}", each) for leak in vrf.leaks for each in leak.prefixes if each.prefixlen]
            for at, (to, prefix) in enumerate(handed):
                for where, other in [*own[vrf.name], *handed[:at]]:
                    if overlap(prefix, other):
                        text = f"vrf {vrf.name} on {name}: {prefix} is in {to}, and {other} in {where}"
                        yield Violation(Breach.CLASH, text)


def _losses(before: Configs, after: Configs) -> Iterator[Violation]:
    """Yield pairs of endpoints of a tenant that are there before and after, and reached each other only before.

    Whom an endpoint shall reach is what the change makes it: a network that goes to another router loses nothing.
    """
    old, new = islands_of(before), islands_of(after)
    together: dict[object, list[Endpoint]] = defaultdict(list)
    there = {name: (set(config.attachments), _tenants(config)) for name, config in after.items()}
    for switch, attachment in _endpoints(before):
        attachments, tenants = there.get(switch, (set(), {}))
        if attachment in attachments:
            tenant = tenants.get(attachment.vni) or attachment.vni
            together[old.of((switch, attachment)), tenant].append((switch, attachment))
    for endpoints in together.values():
        first = endpoints[0]
        for other in endpoints[1:]:
            if new.of(other) != new.of(first):
                yield Violation(Breach.LOSS, f"{_named(first)} and {_named(other)} would not reach each other any more")


def _tenants(config: SwitchConfig) -> dict[int, str | None]:
    return {segment.vni: segment.vrf for segment in config.segments}


def _endpoints(configs: Configs) -> Iterator[Endpoint]:
    for name, config in configs.items():
        for attachment in config.attachments:
            yield name, attachment


def _named(endpoint: Endpoint) -> str:
    switch, attachment = endpoint
    vlan = f" vlan {attachment.vlan}" if attachment.vlan else ""
    return f"{switch}:{attachment.interface}{vlan} (vni {attachment.vni})"


def _first(found: Iterable[Violation]) -> list[Violation]:
    return sorted(set(found))[:MAX_FOUND]
