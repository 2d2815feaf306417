"""What VRFs hand over to each other: peered VPCs, and the way outside through border leaves.

A VPC is a router with its VRF. Peered VPCs reach each other at every leaf that has either: such a leaf has both VRFs,
and each hands the other's prefixes over to it. That goes no further: of two VPCs that are peered with a third, neither
sees the other. Outside is a VRF of its own, on border leaves, where routers that weft does not configure are met; a VPC
that is announced there has its VRF on the border leaves, and a default route from them. Nothing is translated, so all
that meet in one VRF have prefixes apart; weft.intent sees to that.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from weft.fabric.config import Attachment, ExitPeer, Leak, Segment, Vrf, sorted_prefixes
from weft.model.addresses import IPNetwork
from weft.model.ids import RouterId, SwitchName
from weft.model.inventory import Exit, FabricPools

OUTSIDE = "outside"
"""The VRF in which border leaves meet routers outside; no tenant's VRF has such a name."""

DEFAULT_ROUTE = ipaddress.IPv4Network("0.0.0.0/0")


class Vpc(msgspec.Struct, frozen=True, kw_only=True):
    """A router as its VRF, with the prefixes of what is attached to it."""

    vrf: str
    l3vni: int
    prefixes: tuple[IPNetwork, ...]


class Peerings:
    """Which routers are peered, by what says so."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[RouterId, RouterId]] = {}
        self._peers: dict[RouterId, dict[RouterId, None]] = defaultdict(dict)

    def put(self, id_: str, one: RouterId, other: RouterId) -> set[RouterId]:
        """Take a peering; return the routers that it concerns."""
        concerned = self.delete(id_)
        self._pairs[id_] = (one, other)
        self._peers[one][other] = self._peers[other][one] = None
        return concerned | {one, other}

    def delete(self, id_: str) -> set[RouterId]:
        """Forget a peering; return the routers that it concerned."""
        if (pair := self._pairs.pop(id_, None)) is None:
            return set()
        one, other = pair
        self._peers[one].pop(other, None)
        self._peers[other].pop(one, None)
        return {one, other}

    def of(self, router_id: RouterId) -> tuple[RouterId, ...]:
        """Return the routers that one is peered with."""
        return tuple(self._peers.get(router_id, ()))


def handing_over(
    carried: Iterable[Vrf], peered: Iterable[tuple[Vpc, Vpc]], outside: Vrf | None, announced: Iterable[Vpc]
) -> tuple[Vrf, ...]:
    """Return the VRFs of a switch with what each hands over to others.

    `carried` are those that its ports need; of each pair of `peered` VPCs one is carried. `outside` is its VRF outside,
    if it has exits, and `announced` are the VPCs that are announced there.
    """
    vrfs = {vrf.name: vrf for vrf in carried}
    leaks: dict[str, dict[int, tuple[IPNetwork, ...]]] = defaultdict(dict)

    def join(one: Vpc, other: Vpc, to_other: Iterable[IPNetwork], to_one: Iterable[IPNetwork]) -> None:
        for each in (one, other):
            vrfs.setdefault(each.vrf, Vrf(name=each.vrf, l3vni=each.l3vni))
        leaks[one.vrf][other.l3vni] = sorted_prefixes(to_other)
        leaks[other.vrf][one.l3vni] = sorted_prefixes(to_one)

    for one, other in peered:
        join(one, other, other.prefixes, one.prefixes)
    if outside is not None:
        vrfs[outside.name] = outside
        border = Vpc(vrf=outside.name, l3vni=outside.l3vni, prefixes=())
        for each in announced:
            reached = [prefix for prefix in each.prefixes if prefix.version == 4]
            join(each, border, [DEFAULT_ROUTE], reached)
    return tuple(sorted(_with_leaks(vrf, leaks.get(vrf.name, {})) for vrf in vrfs.values()))


def _with_leaks(vrf: Vrf, leaks: Mapping[int, tuple[IPNetwork, ...]]) -> Vrf:
    found = (Leak(l3vni=l3vni, prefixes=prefixes) for l3vni, prefixes in sorted(leaks.items()) if prefixes)
    return msgspec.structs.replace(vrf, leaks=tuple(found))


def outside_vrf(pools: FabricPools, exits: Iterable[Exit]) -> Vrf:
    """Return the VRF outside of a border leaf with these exits."""
    peers = (ExitPeer(address=each.peer_address, asn=each.peer_asn, name=each.peer) for each in exits)
    return Vrf(name=OUTSIDE, l3vni=pools.exit_vnis.first, peers=tuple(sorted(peers)))


def exit_parts(
    exits: Iterable[Exit], vnis: Mapping[str, int], mtu_bytes: int
) -> tuple[tuple[Segment, ...], tuple[Attachment, ...]]:
    """Return what the exits of a switch are made of: a segment with its address in the VRF outside, and its cable."""
    segments, attachments = [], []
    for each in exits:
        vni = vnis[exit_key(each)]
        segments.append(Segment(vni=vni, vrf=OUTSIDE, gateways=(each.address,), mtu_bytes=mtu_bytes))
        attachments.append(Attachment(interface=each.interface, vlan=each.vlan, vni=vni))
    return tuple(segments), tuple(attachments)


def exit_key(way: Exit) -> str:
    """Name an exit by where it is: ``border1:eth9.30``."""
    return f"{way.switch}:{way.interface}.{way.vlan}"


def exits_by_switch(exits: Iterable[Exit]) -> dict[SwitchName, tuple[Exit, ...]]:
    """Return the exits of each switch."""
    found: dict[SwitchName, list[Exit]] = defaultdict(list)
    for each in exits:
        found[each.switch].append(each)
    return {switch: tuple(ways) for switch, ways in found.items()}
