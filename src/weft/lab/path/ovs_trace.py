"""What Open vSwitch says a frame passes: ``ofproto/trace`` and the database's patch ports and bonds, read. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from weft.lab.path.hop import Kind
from weft.lab.path.sighting import Sighting

_BRIDGE = re.compile(r'^bridge\("(?P<name>[^"]+)"\)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Layout:
    """A node's Open vSwitch as its database shows it: devices' bridges, patch ports' peers, bonds' members."""

    bridge_of: Mapping[str, str]
    peers: Mapping[str, str]
    bonds: Mapping[str, str]


def read_layout(vsctl_show: str) -> Layout:
    """Read ``ovs-vsctl show``."""
    bridge_of: dict[str, str] = {}
    peers: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    bridge = port = interface = ""
    for line in vsctl_show.splitlines():
        word, _, rest = line.strip().partition(" ")
        name = rest.strip().strip('"')
        if word == "Bridge":
            bridge = name
        elif word == "Port":
            port = name
        elif word == "Interface":
            interface = name
            bridge_of[interface] = bridge
            members.setdefault(port, []).append(interface)
        elif word == "options:" and (peer := re.search(r"peer=\"?([^\",}]+)", rest)):
            peers[interface] = peer[1]
    bonds = {each: port for port, interfaces in members.items() if len(interfaces) > 1 for each in interfaces}
    return Layout(bridge_of, peers, bonds)


def flow_of(sighting: Sighting) -> str:
    """Return a frame that was seen coming in, as ``ofproto/trace`` takes it."""
    probe = sighting.probe
    words = [
        f"in_port={sighting.interface}",
        *([f"dl_vlan={sighting.vlan}"] if sighting.vlan is not None else []),
        f"icmp,dl_src={probe.source_mac},dl_dst={probe.target_mac}",
        f"nw_src={probe.source},nw_dst={probe.target},nw_ttl={probe.ttl},icmp_type=8,icmp_code=0",
    ]
    return ",".join(words)


def passed(trace: str, layout: Layout, way_in: str, way_out: str) -> tuple[tuple[str, Kind], ...]:
    """Return what a traced frame passes between two interfaces: bridges, patch ports between them, bonds."""
    return tuple(_passed(_BRIDGE.findall(trace), layout, way_in, way_out))


def _passed(bridges: Sequence[str], layout: Layout, way_in: str, way_out: str) -> Iterator[tuple[str, Kind]]:
    if way_in in layout.bonds:
        yield layout.bonds[way_in], Kind.BOND
    if bridges:
        yield bridges[0], Kind.OVS_BRIDGE
    for one, other in pairwise(bridges):
        for port, peer in layout.peers.items():
            if (layout.bridge_of.get(port), layout.bridge_of.get(peer)) == (one, other):
                yield port, Kind.PATCH
                yield peer, Kind.PATCH
        yield other, Kind.OVS_BRIDGE
    if way_out in layout.bonds:
        yield layout.bonds[way_out], Kind.BOND
