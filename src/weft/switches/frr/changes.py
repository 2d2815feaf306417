"""What leads from the links that are there to those that are wanted, as lines for `ip -batch` and `bridge -batch`.

Links that are in the way (same name, VNI, VLAN or prefix) go first; what is new comes by dependency: bridges and VRFs
with their addresses, then what is plugged into them; the rest of what is marked and not wanted goes last. A line is
only there if something differs.
"""

import ipaddress
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache

import msgspec

from weft.model.errors import Permanent
from weft.switches.frr.kernel import OWN_SPACE, Link, Space, Table, Where

VXLAN_PORT = 4789  # RFC 7348
LAST_METRIC = 4278198272  # higher than any that FRR uses; from the kernel's documentation of VRF devices
DOOMED_GROUP = 2003133044
"""The number of the links' group (IFLA_GROUP) that is deleted; any that nobody else uses."""
MAX_PREFIXES_KEPT = 8192
"""Addresses whose prefixes are remembered: those of a full leaf, twice."""
REACHABLE_MS = 5000
"""How soon the kernel looks for a neighbour of a gateway again, and speaks of it: a zebra that was restarted may have
missed it until then, and without it no other leaf knows the way back to that host. (Linux: 30 s.)"""
_NEIGHBOURS = ("arp_cache", "ndisc_cache")
_DEFAULTS = ("default", "::/0")
_MASTERS = frozenset({"bridge", "vrf"})


Ordered = Sequence[tuple[Where, Link]]
"""A table's links in the order of their places."""


class Batch(msgspec.Struct, frozen=True):
    """Lines for one run of a tool in one space; `tool` is ``ip`` or ``bridge``."""

    tool: str
    space: Space
    lines: tuple[str, ...]


class LinkChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Batches in the order in which they are to be run. `made`: the links that are made, anew or for the first time."""

    first: tuple[Batch, ...] = ()
    masters: tuple[Batch, ...] = ()
    links: tuple[Batch, ...] = ()
    ports: tuple[Batch, ...] = ()
    last: tuple[Batch, ...] = ()
    made: frozenset[Where] = frozenset()

    def __bool__(self) -> bool:
        return any((self.first, self.masters, self.links, self.ports, self.last))


def link_changes(have: Table, want: Table, closed: Container[int] | None = None) -> LinkChanges:
    """Return what leads from one table to the other. Raise Permanent if a cable's interface is not on the switch.

    `closed`: the routing tables of VRFs that lead nowhere else; None: all that there are.
    """
    ends = {link.peer for link in want.values()}
    cables = (where for where, link in want.items() if where[0] == OWN_SPACE and not link.kind and where not in ends)
    absent = sorted(where[1] for where in cables if where not in have)
    if absent:
        there = ", ".join(sorted(name for space, name in have if space == OWN_SPACE and name != "lo"))
        raise Permanent(f"the switch has no interface {', '.join(absent)}; it has {there}")
    made = {where for where, link in want.items() if _must_be_made(where, link, have)}
    made |= {link.peer for where, link in want.items() if link.peer and where in made}
    doomed = {where for where, link in have.items() if link.is_marked and not link.is_veth_end and where not in want}
    ordered = sorted(want.items(), key=lambda item: item[0])
    taken = _Taken(want, made) if doomed else None
    early = {where for where in doomed if taken is not None and taken.collides(where, have[where])}
    early |= {where for where in made if where in have and want[where].kind}
    present = {where: link for where, link in have.items() if where not in made}
    orphaned = {link.name for (space, _), link in have.items() if (space, link.name) in made and link.kind in _MASTERS}
    return LinkChanges(
        first=_deletions(early),
        masters=_batches("ip", _of(ordered, made, present, orphaned, masters=True)),
        links=_batches(
            "ip", (((OWN_SPACE, where[1]), _create(where, want[where])) for where in _new_links(want, made))
        ),
        ports=(
            *_batches("ip", _of(ordered, made, present, orphaned, masters=False)),
            *_batches("ip", ((where, [f"link set {where[1]} nomaster"]) for where in _left_ports(have, want, doomed))),
            *_batches("bridge", _vlan_lines(ordered, present)),
            *_batches("ip", _late_ups(ordered, present)),
            *_batches("ip", _closings(ordered, made, closed)),
        ),
        last=_deletions(doomed - early),
        made=frozenset(made),
    )


def _closing(vrf: Link) -> list[str]:
    """What a VRF does not know must not be looked up in the switch's own table."""
    return [f"route replace unreachable {all_} table {vrf.table} metric {LAST_METRIC}" for all_ in _DEFAULTS]


def _closings(
    ordered: Ordered, made: Container[Where], closed: Container[int] | None
) -> Iterator[tuple[Where, list[str]]]:
    for where, link in ordered:
        if closed is not None and link.kind == "vrf" and where not in made and (link.table or 0) not in closed:
            yield where, _closing(link)


def is_as_wanted(where: Where, link: Link, have: Table) -> bool:
    """Tell whether a link is there and needs no change."""
    if where not in have or _must_be_made(where, link, have):
        return False
    there = have[where]
    return not _settle(link, there) and not _up(link, there) and link.vlans in (None, there.vlans)


def _must_be_made(where: Where, link: Link, have: Table) -> bool:
    if not link.kind:
        return False
    present = have.get(where)
    if present is None or (link.peer and link.peer not in have):
        return True
    fixed = ("kind", "vni", "local", "vlan_id", "lower", "table")
    return any(getattr(link, field) not in (None, getattr(present, field)) for field in fixed)


class _Taken:
    """What links that are to be made, and addresses that are wanted, need free: an index, so that a switch of which
    all changes costs no more than what changes."""

    def __init__(self, want: Table, made: set[Where]) -> None:
        fresh = [want[where] for where in made if where in want]
        self._names = {link.name for link in fresh}
        self._vnis = {link.vni for link in fresh if link.vni is not None}
        self._vlans = {(link.vlan_id, link.lower) for link in fresh if link.vlan_id is not None}
        self._prefixes: dict[Space, list[str]] = {}
        for (space, _), link in want.items():
            self._prefixes.setdefault(space, []).extend(link.addresses or ())

    def collides(self, where: Where, link: Link) -> bool:
        """Tell whether a link that goes is in the way of what comes."""
        if link.name in self._names or link.vni in self._vnis or (link.vlan_id, link.lower) in self._vlans:
            return True
        wanted = self._prefixes.get(where[0], ())
        return any(_overlap(one, other) for one in link.addresses or () for other in wanted)


def _overlap(one: str, other: str) -> bool:
    a, b = _prefix(one), _prefix(other)
    return a.version == b.version and a.overlaps(b)


@lru_cache(maxsize=MAX_PREFIXES_KEPT)
def _prefix(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_interface(address).network


def _new_links(want: Table, made: set[Where]) -> list[Where]:
    return sorted(where for where in made if where in want and want[where].kind not in {"", *_MASTERS})


def _of(
    ordered: Ordered, made: set[Where], present: Table, orphaned: set[str], *, masters: bool
) -> Iterator[tuple[Where, list[str]]]:
    for where, link in ordered:
        if (link.kind in _MASTERS) == masters:
            there = present.get(where)
            if there is not None and there.master in orphaned:
                there = msgspec.structs.replace(there, master="")
            create = _create(where, link) if masters and where in made else []
            lines = create + _settle(link, there)
            if lines:
                yield where, lines


def _create(where: Where, link: Link) -> list[str]:
    space = f" netns {where[0]}" if where[0] and link.kind not in _MASTERS else ""
    mtu = f" mtu {link.mtu_bytes}" if link.mtu_bytes else ""
    mac = f" address {link.mac}" if link.mac else ""
    head = f"link add {link.name}"
    match link.kind:
        case "vxlan":
            kind = f"vxlan id {link.vni} local {link.local} dstport {VXLAN_PORT} nolearning"
            return [f"{head}{space}{mtu}{mac} type {kind}"]
        case "veth":
            assert link.peer is not None
            inner = f" netns {link.peer[0]}" if link.peer[0] else ""
            return [f"{head}{space}{mtu} type veth peer name {link.peer[1]}{mtu}{inner}"]
        case "vlan":
            return [f"{head} link {link.lower}{mtu}{mac} type vlan id {link.vlan_id}"]
        case "vrf":
            return [f"{head} type vrf table {link.table}", *_closing(link)]
        case _:
            filtering = " vlan_filtering 1 vlan_default_pvid 0" if link.vlan_aware else ""
            return [f"{head}{mtu}{mac} type bridge mcast_snooping 0{filtering}"]


def _settle(link: Link, there: Link | None) -> list[str]:
    """Return what makes a link that exists as it shall be; `there` is None if it has just been made."""
    name = link.name
    lines: list[str] = []
    if there is None and (link.kind or link.is_veth_end) and not link.is_routed_link:
        lines.append(f"link set {name} addrgenmode none")
    if link.alias is not None and (there is None or there.alias != link.alias):
        lines.append(f"link set {name} alias {link.alias}")
    if there is not None and link.mtu_bytes not in (None, there.mtu_bytes):
        lines.append(f"link set {name} mtu {link.mtu_bytes}")
    if there is not None and link.mac not in (None, there.mac):
        lines.append(f"link set {name} address {link.mac}")
    lines += _master_lines(link, there)
    lines += _address_lines(link, there)
    if not _comes_up_late(link):
        lines += _up(link, there)
    if there is None and link.addresses:
        lines += [f"ntable change name {table} dev {name} base_reachable {REACHABLE_MS}" for table in _NEIGHBOURS]
    return lines


def _up(link: Link, there: Link | None) -> list[str]:
    return [f"link set {link.name} up"] if link.up and (there is None or not there.up) else []


def _comes_up_late(link: Link) -> bool:
    """Tell whether a link has to wait for the bridge's VLANs: zebra looks for a VNI's VRF when VXLAN device or SVI come
    up, by the VLAN that they have then."""
    return link.kind == "vlan" or (link.kind == "vxlan" and link.vlans is not None)


def _late_ups(ordered: Ordered, present: Table) -> Iterator[tuple[Where, list[str]]]:
    for where, link in ordered:
        if _comes_up_late(link) and (lines := _up(link, present.get(where))):
            yield where, lines


def _master_lines(link: Link, there: Link | None) -> list[str]:
    lines = []
    present = there.master if there else ""
    if link.master is not None and link.master != present:
        lines.append(f"link set {link.name} master {link.master}" if link.master else f"link set {link.name} nomaster")
    wanted = (link.learning, link.neigh_suppress)
    if link.learning is not None and (there is None or wanted != (there.learning, there.neigh_suppress) or lines):
        lines.append(
            f"link set {link.name} type bridge_slave learning {_switch(link.learning)} "
            f"neigh_suppress {_switch(bool(link.neigh_suppress))}"
        )
    return lines


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _address_lines(link: Link, there: Link | None) -> list[str]:
    if link.addresses is None:
        return []
    present = (there.addresses if there else None) or frozenset()
    gone = [f"addr del {address} dev {link.name}" for address in sorted(present - link.addresses)]
    fresh = [
        f"addr add {address} dev {link.name}{' nodad' if ':' in address else ''}"
        for address in sorted(link.addresses - present)
    ]
    return gone + fresh


def _left_ports(have: Table, want: Table, doomed: set[Where]) -> list[Where]:
    """Return the cables' interfaces that are still plugged into a bridge of weft's, and have no business there."""
    bridges = {where for where, link in have.items() if link.is_marked and link.kind == "bridge"} - doomed
    return sorted(
        (space, name)
        for (space, name), link in have.items()
        if not link.is_marked and (space, name) not in want and (space, link.master) in bridges
    )


def _vlan_lines(ordered: Ordered, present: Table) -> Iterator[tuple[Where, list[str]]]:
    for where, link in ordered:
        if link.vlans is not None:
            there = present[where].vlans or frozenset() if where in present else frozenset()
            own = " self" if link.kind == "bridge" else ""
            name = link.name
            lines = [f"vlan del dev {name} vid {vlan.split()[0]}{own}" for vlan in sorted(there - link.vlans)]
            lines += [f"vlan add dev {name} vid {' '.join(vlan.split())}{own}" for vlan in sorted(link.vlans - there)]
            if lines:
                yield where, lines


def _deletions(doomed: Iterable[Where]) -> tuple[Batch, ...]:
    """Delete links of a space together, as a group: one by one, each waits 16 ms for the kernel's readers (RCU)."""
    lines = _batches("ip", ((where, [f"link set {where[1]} group {DOOMED_GROUP}"]) for where in sorted(doomed)))
    return tuple(Batch("ip", each.space, (*each.lines, f"link del group {DOOMED_GROUP}")) for each in lines)


def _batches(tool: str, lines: Iterable[tuple[Where, list[str]]]) -> tuple[Batch, ...]:
    """Gather lines by space, in the order in which the spaces first come."""
    by_space: dict[Space, list[str]] = {}
    for (space, _), some in lines:
        by_space.setdefault(space, []).extend(some)
    return tuple(Batch(tool, space, tuple(some)) for space, some in by_space.items())
