"""From sightings to a path: every device that a packet passes, in order, and what counts as a hop. Pure.

How is counted: every device that the packet passes is one hop - the instance's interface, the host's end of it, a
bridge, a patch port, a bond, a NIC, a switch's port. A switch is what is between its ports: in a data centre that is a
chip, in the lab it is a kernel, whose own devices are shown and not counted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from weft.lab.path.sighting import Sighting


class Evidence(StrEnum):
    """How it is known that the packet passed a device."""

    SEEN = "seen"
    TRACED = "traced"
    """Open vSwitch says so of exactly this frame (ofproto/trace)."""
    LINKED = "linked"
    """The frame was seen at two ports of this bridge, which the kernel shows as its ports."""


class Kind(StrEnum):
    """What a device is."""

    INSTANCE = "instance's interface"
    DEVICE = "host's end of it"
    VETH = "veth"
    LINUX_BRIDGE = "Linux bridge"
    OVS_BRIDGE = "Open vSwitch bridge"
    PATCH = "patch port"
    BOND = "bond"
    NIC = "NIC"
    SWITCH_PORT = "switch port"
    SWITCH_INSIDE = "inside the switch"


@dataclass(frozen=True, slots=True)
class Hop:
    """A device that the packet passed; `at_ns` is when it was seen there, None if it is known another way."""

    place: str
    inside: str
    device: str
    kind: Kind
    evidence: Evidence
    at_ns: int | None = None
    vlan: int | None = None
    vni: int | None = None
    ttl: int | None = None

    @property
    def counts(self) -> bool:
        """Whether it is a hop; what a simulated switch has inside is not."""
        return self.kind is not Kind.SWITCH_INSIDE


@dataclass(frozen=True, slots=True)
class Ground:
    """What the live system says of the devices of the places that a path crosses.

    `masters`: the Linux bridge of a port, by (place, inside, port). `traces`: what Open vSwitch says lies between the
    arrival of the probe at a port of a node and its departure, by (node, port in, port out).
    """

    switches: frozenset[str]
    switch_ports: Mapping[str, frozenset[str]]
    instances: frozenset[str]
    nics: Mapping[str, frozenset[str]]
    devices: frozenset[tuple[str, str]]
    masters: Mapping[tuple[str, str, str], str]
    traces: Mapping[tuple[str, str, str], tuple[tuple[str, Kind], ...]]


@dataclass(frozen=True, slots=True)
class Path:
    """A packet's way; `arrived` tells whether its last hop is the instance it was sent to."""

    source: str
    target: str
    hops: tuple[Hop, ...]
    arrived: bool

    @property
    def counted(self) -> int:
        """How many hops it is."""
        return sum(hop.counts for hop in self.hops)

    @property
    def inside_switches(self) -> int:
        """How many devices of simulated switches were passed; not counted."""
        return len(self.hops) - self.counted

    @property
    def switches(self) -> tuple[str, ...]:
        """The switches that were passed, in order: a switch hop each."""
        passed = [hop.place for hop in self.hops if hop.kind in {Kind.SWITCH_PORT, Kind.SWITCH_INSIDE}]
        return tuple(name for at, name in enumerate(passed) if at == 0 or passed[at - 1] != name)

    @property
    def routers(self) -> int:
        """How many routers there are on the way, by its time to live."""
        lives = [hop.ttl for hop in self.hops if hop.ttl is not None]
        return lives[0] - lives[-1] if lives else 0


def in_order(sightings: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Return sightings in the order in which they happened.

    A namespace's sightings come in order; their times may stand still (a frame keeps the time of its arrival), and
    never go back. So within a namespace the order given is kept, and namespaces are merged by time.
    """
    latest: dict[tuple[str, str], int] = {}
    timed = []
    for at, each in enumerate(sightings):
        where = (each.place, each.inside)
        latest[where] = max(latest.get(where, 0), each.at_ns)
        timed.append((latest[where], at, each))
    return tuple(each for *_, each in sorted(timed, key=lambda item: item[:2]))


def assemble(source: str, target: str, sightings: Iterable[Sighting], ground: Ground) -> Path:
    """Return the path that ordered sightings of one packet show, completed by what lies between two of them."""
    ordered = in_order(sightings)
    hops: list[Hop] = []
    for before, here in pairwise((None, *ordered)):
        assert here is not None
        if before is not None:
            hops.extend(_between(before, here, ground))
        hops.append(_seen(here, ground))
    arrived = bool(ordered) and (ordered[-1].place, ordered[-1].outgoing) == (target, False)
    return Path(source, target, tuple(_once(hops)), arrived)


def traversals(sightings: Iterable[Sighting], nodes: Iterable[str]) -> tuple[tuple[Sighting, Sighting], ...]:
    """Return where the packet went into Open vSwitch on one of these nodes, and where it came out again.

    It goes in by a port that it arrives at, and comes out by the next device that it leaves by; Linux bridges pass it
    on the same way, so a port of one is named here too, and Open vSwitch is then asked about a port that it has not.
    """
    known = frozenset(nodes)
    return tuple(
        (before, here)
        for before, here in pairwise(in_order(sightings))
        if before.place == here.place in known and not before.outgoing and here.outgoing
    )


def _between(before: Sighting, here: Sighting, ground: Ground) -> Iterator[Hop]:
    """What the frame passed between two sightings without being seen there."""
    if (before.place, before.inside) != (here.place, here.inside) or before.outgoing or not here.outgoing:
        return
    if (bridge := _shared_bridge(before, here, ground)) is not None:
        kind = _kind(here.place, bridge, ground, otherwise=Kind.LINUX_BRIDGE)
        yield Hop(here.place, here.inside, bridge, kind, Evidence.LINKED)
        return
    for device, kind in ground.traces.get((here.place, before.interface, here.interface), ()):
        yield Hop(here.place, here.inside, device, kind, Evidence.TRACED)


def _shared_bridge(before: Sighting, here: Sighting, ground: Ground) -> str | None:
    ways = [ground.masters.get((each.place, each.inside, each.interface)) for each in (before, here)]
    return ways[0] if ways[0] == ways[1] else None


def _seen(sighting: Sighting, ground: Ground) -> Hop:
    return Hop(
        sighting.place,
        sighting.inside,
        sighting.interface,
        _kind(sighting.place, sighting.interface, ground, otherwise=Kind.VETH),
        Evidence.SEEN,
        at_ns=sighting.at_ns,
        vlan=sighting.vlan,
        vni=sighting.probe.vni,
        ttl=sighting.probe.ttl,
    )


def _kind(place: str, device: str, ground: Ground, *, otherwise: Kind) -> Kind:
    if place in ground.switches:
        return Kind.SWITCH_PORT if device in ground.switch_ports[place] else Kind.SWITCH_INSIDE
    if place in ground.instances:
        return Kind.INSTANCE
    if device in ground.nics.get(place, frozenset()):
        return Kind.NIC
    return Kind.DEVICE if (place, device) in ground.devices else otherwise


def _once(hops: Sequence[Hop]) -> Iterator[Hop]:
    """Drop a device that follows itself: it was seen coming in and going on."""
    for before, hop in pairwise((None, *hops)):
        assert hop is not None
        if before is None or (before.place, before.inside, before.device) != (hop.place, hop.inside, hop.device):
            yield hop
