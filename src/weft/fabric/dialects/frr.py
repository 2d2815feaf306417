"""FRR (10.x): a SwitchConfig as configuration text, the text read back, and the lines that lead from one to the other.

FRR holds routing: sessions, loopback, VRFs with their L3VNIs. Bridges, VXLAN devices, VLANs and gateways are objects
of the switch's kernel, which FRR follows by itself; they are no part of its text.

weft owns the blocks that it writes, whole: ``router bgp``, ``vrf`` with a VNI, and /31 addresses of interfaces and
host addresses of ``lo``. A line that stands in them and should not is drift, like one that is missing. Everything else
(host name, logging, users, route maps) belongs to whoever wrote it.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping

import msgspec

from weft.fabric.config import ExitPeer, FabricLink, Leak, SwitchConfig, Underlay, Vrf, sorted_prefixes
from weft.fabric.dialects import frr_text
from weft.fabric.dialects.frr_text import Path, Tree
from weft.model.addresses import IPNetwork, parse_network
from weft.model.ids import SwitchName

KEEPALIVE_S = 3
HOLD_S = 9
EXIT_KEEPALIVE_S = 1
EXIT_HOLD_S = 3
"""A router outside is behind a segment of its own, whose interface does not see the cable: only silence tells."""
CONNECT_RETRY_S = 1
"""How long a session that was refused waits for its next attempt. FRR's own 120 s would outlast a switch's boot."""
COALESCE_MS = 0
"""How long routes for a peer are gathered before they are sent. FRR's own 1000 ms is most of the time that a new
network takes to reach the other leaves; see docs/switches.md."""

PEER_GROUP = "fabric"
"""What all neighbours are in. A neighbour starts its session when its first address family is activated, and starts it
anew, 4 s later, at the second. In the group both are activated, so joining it is the last thing a neighbour does."""

_BGP = re.compile(r"router bgp (\d+)(?: vrf (\S+))?")
_NEIGHBOR = re.compile(r"neighbor (\S+) ")
_VALUED = (  # a second value replaces the first; of all other lines there may be several
    re.compile(r"(bgp router-id) "),
    re.compile(r"(coalesce-time) "),
    re.compile(r"(timers bgp) "),
    re.compile(
        r"(neighbor \S+ (?:remote-as|peer-group|description|timers connect|timers \d|advertisement-interval)) ?"
    ),
)
INTERFACE_NAME_BYTES = 15  # IFNAMSIZ without its closing zero
_LEAK_IPV4 = ipaddress.IPv4Network("169.254.0.0/16")
_LEAK_IPV6 = ipaddress.IPv6Network("fd77:6566:7400::/96")
_LEAK = re.compile(
    r"ip(?:v6)? route (?P<prefix>\S+) \S+ (?:l\d+-(?P<decimal>\d+)|x[0-9a-f]+-(?P<hexadecimal>[0-9a-f]+)) onlink"
)
"""A static route of weft's: no other interface has such a name."""
_IPV4 = "address-family ipv4 unicast"
_IPV6 = "address-family ipv6 unicast"
_EVPN = "address-family l2vpn evpn"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a running configuration says. `underlay` has no MTU (0): that is the kernel's.

    A link or VRF of which a line is missing or too much is here with number 0 (peer_asn, l3vni), so that it equals
    nothing that is desired; `drift` names the lines: ``- missing`` or ``+ too much``.
    """

    underlay: Underlay | None
    management: ipaddress.IPv4Network | None = None
    """The in-band management prefix that is announced."""
    sound: bool = True
    """False: lines of the underlay that belong to no single link differ."""
    vrfs: tuple[Vrf, ...] = ()
    drift: tuple[str, ...] = ()


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be typed in configuration mode: `first`, then `lines`; `last` when the kernel's objects are gone.

    `first` and `last` are removals, in groups. FRR may refuse a group for a while, since it deletes an L3VNI in its own
    time: it is typed again until it is taken, and only then the next.
    """

    first: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()
    last: tuple[tuple[str, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.first or self.lines or self.last)


def render(config: SwitchConfig) -> Tree:
    """Return the blocks that weft writes for a switch, in FRR's own order."""
    if config.underlay is None:
        return {}
    underlay = config.underlay
    tree: Tree = {}
    for vrf in config.vrfs:
        for line in _leak_lines(vrf):
            frr_text.put(tree, (f"vrf {vrf.name}", line))
        frr_text.put(tree, (f"vrf {vrf.name}", f"vni {vrf.l3vni}"))
    addresses = [(link.interface, f"ip address {link.address}") for link in underlay.links]
    addresses.append(("lo", f"ip address {underlay.loopback}/32"))
    for interface, line in sorted(addresses):
        frr_text.put(tree, (f"interface {interface}", line))
    management = underlay.management.gateway.network if underlay.management else None
    tree[f"router bgp {underlay.asn}"] = _bgp(underlay, management)
    for vrf in config.vrfs:
        tree[f"router bgp {underlay.asn} vrf {vrf.name}"] = _bgp_vrf(underlay, vrf)
    return tree


def read(running: Tree) -> Reading:
    """Return what a running configuration says, and where it is not what weft would have written for that."""
    asn = _asn(running)
    claimed_vrfs = _vrfs(running)
    if asn is None:
        broken = tuple(Vrf(name=vrf.name, l3vni=0) for vrf in claimed_vrfs)
        return Reading(underlay=None, vrfs=broken, sound=not broken)
    block = running[f"router bgp {asn}"]
    loopback = ipaddress.IPv4Address(_value(block, "bgp router-id") or "0.0.0.0")
    links = _links(running, block)
    announced = [ipaddress.IPv4Network(line.split()[1]) for line in block.get(_IPV4, {}) if line.startswith("network ")]
    prefixes = sorted(prefix for prefix in announced if prefix.network_address != loopback)
    underlay = Underlay(asn=asn, loopback=loopback, links=links, mtu_bytes=0)
    management = prefixes[0] if len(prefixes) == 1 else None

    written = render(SwitchConfig(name=_NAMELESS, underlay=underlay, vrfs=claimed_vrfs))
    written[f"router bgp {asn}"] = _bgp(underlay, management)
    missing = [path for path in frr_text.paths(written) if not frr_text.holds(running, path)]
    extra = [path for path in frr_text.paths(_owned(running)) if not frr_text.holds(written, path)]
    damage = _Damage([*missing, *extra], underlay)
    return Reading(
        underlay=msgspec.structs.replace(
            underlay,
            links=tuple(
                msgspec.structs.replace(link, peer_asn=0) if link.interface in damage.interfaces else link
                for link in links
            ),
        ),
        management=management,
        sound=damage.sound,
        vrfs=tuple(damage.seen_in(vrf) for vrf in claimed_vrfs),
        drift=tuple([f"- {' / '.join(path)}" for path in missing] + [f"+ {' / '.join(path)}" for path in extra]),
    )


def patch(running: Tree, desired: Tree) -> Patch:
    """Return what leads from a running configuration to the desired blocks; empty if they are there and whole."""
    owned = _owned(running)
    first = _other_instances(owned, desired)
    gone_vrfs = [line for line in owned if line not in desired and line not in first and _vrf_of(line)]
    changes: Tree = {}
    for line, block in desired.items():
        present = {} if line in first else owned.get(line, {})
        if line not in owned or line in first or present != block:
            inner = _block_changes(present, block)
            if inner or line not in running:
                changes[line] = inner
    for line, block in owned.items():
        if line.startswith("interface ") and line not in desired:
            changes[line] = {f"no {each}": {} for each in block}
    return Patch(
        first=_removals(first, owned),
        lines=tuple(frr_text.commands(changes)),
        last=_removals(gone_vrfs, owned),
    )


_NAMELESS = SwitchName("")  # a reading does not know whose it is


def _bgp(underlay: Underlay, management: ipaddress.IPv4Network | None) -> Tree:
    links = sorted(underlay.links, key=lambda link: link.peer_address)
    lines = [
        f"bgp router-id {underlay.loopback}",
        "no bgp ebgp-requires-policy",
        "no bgp default ipv4-unicast",
        f"coalesce-time {COALESCE_MS}",
        "bgp bestpath as-path multipath-relax",
        f"timers bgp {KEEPALIVE_S} {HOLD_S}",
        f"neighbor {PEER_GROUP} peer-group",
        f"neighbor {PEER_GROUP} timers connect {CONNECT_RETRY_S}",
    ]
    for link in links:
        lines += [
            f"neighbor {link.peer_address} remote-as {link.peer_asn}",
            f"neighbor {link.peer_address} peer-group {PEER_GROUP}",
            f"neighbor {link.peer_address} description {link.peer}",
            *([f"neighbor {link.peer_address} passive"] if _is_passive(underlay, link) else []),
        ]
    prefixes = [ipaddress.IPv4Network(underlay.loopback), *([management] if management else [])]
    activated = f"neighbor {PEER_GROUP} activate"
    tree = _lines(lines)
    tree[_IPV4] = _lines([*(f"network {prefix}" for prefix in sorted(prefixes)), activated])
    tree[_EVPN] = _lines([activated, "advertise-all-vni"])
    return tree


def _is_passive(underlay: Underlay, link: FabricLink) -> bool:
    """Tell whether this end waits for the other to connect: that of the lower ASN does, which is the spine's.

    Where both connect at one moment, their connections collide (RFC 4271, 6.8), and FRR may drop both and wait 4 s. A
    bgpd that starts takes no connection for a second; the end that then connects by itself need not wait for its
    peer's next attempt, and a leaf that starts is missed more than a spine.
    """
    return underlay.asn < link.peer_asn


def _bgp_vrf(underlay: Underlay, vrf: Vrf) -> Tree:
    """The router id is given: left alone, FRR would take the anycast gateway's address, the same on all leaves.

    On a border leaf, what is handed over is announced as well: the default route to the other leaves, and tenants'
    prefixes to the routers outside. To those goes nothing else: links to such routers are nobody's concern.
    """
    lines = [f"bgp router-id {underlay.loopback}"]
    if vrf.peers:
        lines += ["no bgp ebgp-requires-policy", "no bgp default ipv4-unicast"]
    for peer in vrf.peers:
        lines += [
            f"neighbor {peer.address} remote-as {peer.asn}",
            f"neighbor {peer.address} description {peer.name}",
            f"neighbor {peer.address} timers {EXIT_KEEPALIVE_S} {EXIT_HOLD_S}",
            f"neighbor {peer.address} timers connect {CONNECT_RETRY_S}",
        ]
    redistributed = [
        *(["redistribute connected"] if not vrf.peers else []),
        *(["redistribute static"] if _leads_outside(vrf) else []),
    ]
    tree = _lines(lines)
    tree[_IPV4] = _lines([*redistributed, *(f"neighbor {peer.address} activate" for peer in vrf.peers)])
    tree[_IPV6] = _lines(redistributed)
    tree[_EVPN] = _lines(["advertise ipv4 unicast", "advertise ipv6 unicast"])
    return {line: block for line, block in tree.items() if block or line not in {_IPV4, _IPV6}}


def _leads_outside(vrf: Vrf) -> bool:
    return bool(vrf.peers) or any(prefix.prefixlen == 0 for leak in vrf.leaks for prefix in leak.prefixes)


def leak_interface(own: int, other: int) -> str:
    """Return the name of the interface by which the VRF of an L3VNI hands packets over to that of another.

    At most 15 bytes, as Linux wants it: in decimal, unless that is too long.
    """
    name = f"l{own}-{other}"
    return name if len(name) <= INTERFACE_NAME_BYTES else f"x{own:x}-{other:x}"


def leak_addresses(l3vni: int) -> tuple[ipaddress.IPv4Interface, ipaddress.IPv6Interface]:
    """Return the addresses that a VRF's ends of such interfaces have, the same on every switch.

    They are seen by the other end only: a link-local IPv4 address (RFC 3927) and a unique local one (RFC 4193).
    """
    return (
        ipaddress.IPv4Interface((int(_LEAK_IPV4.network_address) + (l3vni & 0xFFFF), 32)),
        ipaddress.IPv6Interface((int(_LEAK_IPV6.network_address) + l3vni, 128)),
    )


def _leak_lines(vrf: Vrf) -> list[str]:
    return [
        f"{'ip' if prefix.version == 4 else 'ipv6'} route {prefix} "
        f"{leak_addresses(leak.l3vni)[prefix.version == 6].ip} {leak_interface(vrf.l3vni, leak.l3vni)} onlink"
        for leak in vrf.leaks
        for prefix in leak.prefixes
    ]


def _leaks(block: Mapping[str, Tree]) -> tuple[Leak, ...]:
    """Return what a VRF's static routes hand over to others."""
    found: dict[int, list[IPNetwork]] = {}
    for line in block:
        if route := _LEAK.fullmatch(line):
            other = int(route["decimal"]) if route["decimal"] else int(route["hexadecimal"], 16)
            found.setdefault(other, []).append(parse_network(route["prefix"]))
    return tuple(Leak(l3vni=l3vni, prefixes=sorted_prefixes(prefixes)) for l3vni, prefixes in sorted(found.items()))


def _exit_peers(block: Mapping[str, Tree]) -> tuple[ExitPeer, ...]:
    """Return the routers outside that a VRF speaks to; a neighbour without a name is nobody that weft put there."""
    peers = (re.fullmatch(r"neighbor (\S+) remote-as (\d+)", line) for line in block)
    return tuple(
        sorted(
            ExitPeer(address=address, asn=int(peer[2]), name=name)
            for peer in peers
            if peer
            and (address := _address(peer[1])) is not None
            and (name := _value(block, f"neighbor {peer[1]} description"))
        )
    )


def _lines(lines: Iterable[str]) -> Tree:
    return {line: {} for line in lines}


def _asn(running: Tree) -> int | None:
    instances = (_BGP.fullmatch(line) for line in running)
    return next((int(found[1]) for found in instances if found and found[2] is None), None)


def _vrfs(running: Tree) -> tuple[Vrf, ...]:
    """Return the VRFs that have a VNI or a BGP instance; a VRF without either is the empty shell of one that was."""
    numbers: dict[str, int] = {}
    leaks: dict[str, tuple[Leak, ...]] = {}
    peers: dict[str, tuple[ExitPeer, ...]] = {}
    for line, block in running.items():
        bgp = _BGP.fullmatch(line)
        if bgp and bgp[2]:
            numbers.setdefault(bgp[2], 0)
            peers[bgp[2]] = _exit_peers(block)
        elif line.startswith("vrf "):
            name, vni = line.split()[1], _value(block, "vni")
            leaks[name] = _leaks(block)
            if vni:
                numbers[name] = int(vni.split()[0])
    return tuple(
        sorted(
            Vrf(name=name, l3vni=l3vni, leaks=leaks.get(name, ()), peers=peers.get(name, ()))
            for name, l3vni in numbers.items()
        )
    )


def _links(running: Tree, bgp: Tree) -> tuple[FabricLink, ...]:
    peers = [match[1] for line in bgp if (match := re.fullmatch(r"neighbor (\S+) remote-as \d+", line))]
    links = []
    for interface, address in _link_addresses(running):
        for peer in peers:
            peer_address = _address(peer)
            if peer_address is not None and peer_address in address.network and peer_address != address.ip:
                links.append(
                    FabricLink(
                        interface=interface,
                        address=address,
                        peer=_value(bgp, f"neighbor {peer} description") or "",
                        peer_address=peer_address,
                        peer_asn=int(_value(bgp, f"neighbor {peer} remote-as") or 0),
                    )
                )
    return tuple(sorted(links))


def _link_addresses(running: Tree) -> Iterable[tuple[str, ipaddress.IPv4Interface]]:
    for line, block in running.items():
        if line.startswith("interface "):
            for inner in block:
                if _is_owned_address(line, inner) and inner.endswith("/31"):
                    yield line.split()[1], ipaddress.IPv4Interface(inner.split()[2])


def _is_owned_address(interface: str, line: str) -> bool:
    """Tell whether an interface's line is a fabric address: a /31 (RFC 3021), or a host address of the loopback."""
    if not line.startswith("ip address "):
        return False
    return line.endswith("/31") or (interface == "interface lo" and line.endswith("/32"))


def _address(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def _value(block: Mapping[str, Tree], words: str) -> str | None:
    return next((line[len(words) + 1 :] for line in block if line.startswith(f"{words} ")), None)


def _owned(running: Tree) -> Tree:
    """Return the part of a running configuration that weft owns."""
    owned: Tree = {}
    for line, block in running.items():
        if _BGP.fullmatch(line):
            owned[line] = block
        elif line.startswith("vrf "):
            own = {inner: below for inner, below in block.items() if inner.startswith("vni ") or _LEAK.fullmatch(inner)}
            owned |= {line: own} if own else {}
        elif line.startswith("interface "):
            addresses = {inner: below for inner, below in block.items() if _is_owned_address(line, inner)}
            owned |= {line: addresses} if addresses else {}
    return owned


class _Damage:
    """Whose lines differ: which interfaces' links, which VRFs, or (not sound) the underlay as a whole."""

    def __init__(self, differing: Iterable[Path], underlay: Underlay) -> None:
        self.interfaces: set[str] = set()
        self.vrfs: set[str] = set()
        self.sound = True
        interface_of = {str(link.peer_address): link.interface for link in underlay.links}
        own = {link.interface for link in underlay.links}
        for path in differing:
            neighbor = _NEIGHBOR.match(f"{path[-1].removeprefix('no ')} ")
            if vrf := _vrf_of(path[0]):
                self.vrfs.add(vrf)
            elif path[0].startswith("interface ") and path[0].split()[1] in own:
                self.interfaces.add(path[0].split()[1])
            elif neighbor and neighbor[1] in interface_of:
                self.interfaces.add(interface_of[neighbor[1]])
            else:
                self.sound = False

    def seen_on(self, link: FabricLink) -> FabricLink:
        """Return the link, with number 0 if a line of it differs."""
        return msgspec.structs.replace(link, peer_asn=0) if link.interface in self.interfaces else link

    def seen_in(self, vrf: Vrf) -> Vrf:
        """Return the VRF, with number 0 if a line of it differs."""
        return Vrf(name=vrf.name, l3vni=0) if vrf.name in self.vrfs else vrf


def _vrf_of(line: str) -> str | None:
    """Return the VRF that a block is about, None if it is about none."""
    if line.startswith("vrf "):
        return line.split()[1]
    bgp = _BGP.fullmatch(line)
    return bgp[2] if bgp else None


def _other_instances(owned: Tree, desired: Tree) -> list[str]:
    """Return the BGP instances that stand in the way: a switch has one ASN, and cannot change it in place."""
    wanted = _asn(desired)
    instances = [(line, match) for line in owned if (match := _BGP.fullmatch(line))]
    if wanted is None or all(int(match[1]) == wanted for _, match in instances):
        return []
    names = [match[2] for _, match in instances if match[2]]
    vnis = [f"vrf {name}" for name in names if f"vrf {name}" in owned]
    return [
        *vnis,
        *(line for line, match in instances if match[2]),
        *(line for line, match in instances if not match[2]),
    ]


def _removals(lines: Iterable[str], owned: Tree) -> tuple[tuple[str, ...], ...]:
    """Return what takes whole blocks away: VNIs first, then the VRFs' BGP instances, then the switch's own."""
    ordered = sorted(lines, key=lambda line: (not line.startswith("vrf "), _vrf_of(line) is None))
    return tuple(_removal(line, owned[line]) for line in ordered)


def _removal(line: str, block: Tree) -> tuple[str, ...]:
    if line.startswith("vrf "):  # the empty block stays: FRR keeps it as long as the kernel has the VRF
        return (line, *(f" no {inner}" for inner in block), frr_text.closing(line))
    return (f"no {line}",)


def _block_changes(present: Tree, desired: Tree) -> Tree:
    """Return what is to be typed inside a block: removals, then what is missing, then who joins the peer group."""
    gone = [line for line in present if line not in desired and not _is_replaced(line, desired)]
    dropped = _dropped_neighbors(gone, desired)
    joining: Tree = {}
    changes: Tree = {f"no neighbor {neighbor}": {} for neighbor in dropped}
    for line in gone:
        neighbor = _NEIGHBOR.match(f"{line} ")
        if not (neighbor and neighbor[1] in dropped):
            changes[line.removeprefix("no ") if line.startswith("no ") else f"no {line}"] = {}
    for line, block in desired.items():
        if line not in present:
            (joining if line.endswith(f" peer-group {PEER_GROUP}") else changes)[line] = {inner: {} for inner in block}
        elif present[line] != block and (inner_changes := _without(_block_changes(present[line], block), dropped)):
            changes[line] = inner_changes
    return changes | joining


def _is_replaced(line: str, desired: Tree) -> bool:
    for pattern in _VALUED:
        if key := pattern.match(line):
            return any((other := pattern.match(each)) and other[1] == key[1] for each in desired)
    return False


def _dropped_neighbors(gone: list[str], desired: Tree) -> list[str]:
    """Return the neighbors that go as a whole: one ``no neighbor`` takes all their lines away, in every family."""
    named = [match[1] for line in gone if (match := re.fullmatch(r"neighbor (\S+) remote-as .*", line))]
    return [neighbor for neighbor in named if not any(line.startswith(f"neighbor {neighbor} ") for line in desired)]


def _without(changes: Tree, neighbors: list[str]) -> Tree:
    return {line: block for line, block in changes.items() if not _names_any(line, neighbors)}


def _names_any(line: str, neighbors: list[str]) -> bool:
    neighbor = _NEIGHBOR.match(f"{line.removeprefix('no ')} ")
    return neighbor is not None and neighbor[1] in neighbors
