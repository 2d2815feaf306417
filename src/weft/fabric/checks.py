"""What is wrong with an inventory as a whole: every problem, each with where it is and the values that clash.

Runs on any inventory that was decoded, however broken, so it relies on nothing: names may be twice there, links may
lead nowhere. What depends on numbers given before is checked by weft.fabric.numbering.number.
"""

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from weft.fabric.models import KNOWN_MODELS
from weft.fabric.vlan_checks import vlan_problems
from weft.fabric.vlan_topology import management_switches
from weft.model.inventory import (
    VLAN_ROLES,
    Dialect,
    Exit,
    FabricPools,
    Inventory,
    LinkEnd,
    Node,
    Site,
    Switch,
    SwitchModel,
    SwitchRole,
)

LEAF_ROLES = frozenset({SwitchRole.LEAF, SwitchRole.BORDER})
"""Switches that nodes hang on, and that carry VNIs."""

EDGE_ROLES = LEAF_ROLES | {SwitchRole.TOR}
"""Switches that nodes hang on."""

MANAGEMENT_PREFIXLEN = 24
"""In-band management: one prefix of this length per leaf, taken from the site's pool."""

VXLAN_OVERHEAD_BYTES = 50
"""Outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 (RFC 7348, section 5)."""

MIN_OVERLAY_MTU_BYTES = 1280
"""The smallest MTU that IPv6 runs on (RFC 8200, section 5)."""

MAX_MTU_BYTES = 65535
MAX_EOS_MTU_BYTES = 9214
MAX_ASN = 4294967294
RESERVED_ASNS = frozenset({0, 23456, 65535})
"""RFC 7607, RFC 6793, RFC 7300."""
MAX_VNI = (1 << 24) - 1
MAX_VLAN = 4094


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: the object it is about, and what is wrong, with the values."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def problems(inventory: Inventory) -> list[Problem]:
    """Return all problems of an inventory; an empty list means that Topology and number() can be trusted with it."""
    found: list[Problem] = []
    for check in _CHECKS:
        found.extend(check(inventory))
    return found


def problems_of_part(inventory: Inventory) -> list[Problem]:
    """Return the problems of an inventory of which rows are missing: not what those may be the reason of."""
    return [problem for check in _CHECKS if check not in _NEEDS_ALL for problem in check(inventory)]


def _repeated(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def _names(inventory: Inventory) -> Iterator[Problem]:
    for name in _repeated(site.name for site in inventory.sites):
        yield Problem(f"site {name}", f"the name '{name}' is used by more than one site")
    switches, nodes = {switch.name for switch in inventory.switches}, {node.name for node in inventory.nodes}
    for name in _repeated(switch.name for switch in inventory.switches):
        yield Problem(f"switch {name}", f"the name '{name}' is used by more than one switch")
    for name in _repeated(node.name for node in inventory.nodes):
        yield Problem(f"node {name}", f"the name '{name}' is used by more than one node")
    for name in sorted({*switches} & {*nodes}):
        yield Problem(f"node {name}", f"the name '{name}' is also that of a switch; devices need different names")


def _sites(inventory: Inventory) -> Iterator[Problem]:
    sites = {site.name: site for site in inventory.sites}
    known = ", ".join(sites) or "none"
    devices = [*((f"switch {s.name}", s.site) for s in inventory.switches)]
    for where, site in [*devices, *((f"node {n.name}", n.site) for n in inventory.nodes)]:
        if site not in sites:
            yield Problem(where, f"site '{site}' is not in the inventory; known: {known}")
    for where, site in devices:
        if site in sites and sites[site].fabric is None:
            yield Problem(where, f"site '{site}' has no fabric; give it a [sites.fabric] table to hold switches")


def _safety(inventory: Inventory) -> Iterator[Problem]:
    for site in inventory.sites:
        if site.safety is None:
            continue
        for name in ("max_share", "max_removed"):
            percent = getattr(site.safety, name)
            if not 1 <= percent <= 100:
                yield Problem(f"site {site.name}", f"safety.{name} is {percent}; it is a share in per cent, 1 to 100")
        for name in ("at_once", "verify_s"):
            if getattr(site.safety, name) < 1:
                yield Problem(f"site {site.name}", f"safety.{name} is {getattr(site.safety, name)}; 1 is the least")


def _pools(inventory: Inventory) -> Iterator[Problem]:
    for where, pools in _fabrics(inventory):
        if pools.vlans.first < 1 or pools.vlans.last > MAX_VLAN:
            yield Problem(where, f"vlans {pools.vlans} reaches outside 1-{MAX_VLAN}")
        for name, vnis in (("l2vnis", pools.l2vnis), ("l3vnis", pools.l3vnis), ("exit_vnis", pools.exit_vnis)):
            if vnis.first < 1 or vnis.last > MAX_VNI:
                yield Problem(where, f"{name} {vnis} reaches outside 1-{MAX_VNI} (a VNI has 24 bits)")
        if pools.l2vnis.first <= pools.l3vnis.last and pools.l3vnis.first <= pools.l2vnis.last:
            yield Problem(where, f"l2vnis {pools.l2vnis} and l3vnis {pools.l3vnis} overlap")
        for name, vnis in (("l2vnis", pools.l2vnis), ("l3vnis", pools.l3vnis)):
            if inventory.exits and vnis.first <= pools.exit_vnis.last and pools.exit_vnis.first <= vnis.last:
                yield Problem(where, f"{name} {vnis} and exit_vnis {pools.exit_vnis} overlap")
        if not _valid_asn(pools.spine_asn):
            yield Problem(where, f"spine_asn {pools.spine_asn} is no usable AS number")
        if pools.spine_asn in pools.leaf_asns:
            yield Problem(where, f"spine_asn {pools.spine_asn} lies in leaf_asns {pools.leaf_asns}")
        for asn in (pools.leaf_asns.first, pools.leaf_asns.last):
            if not _valid_asn(asn):
                yield Problem(where, f"leaf_asns {pools.leaf_asns} reaches {asn}, which is no usable AS number")
        if pools.management.prefixlen > MANAGEMENT_PREFIXLEN:
            yield Problem(where, f"management {pools.management} cannot hold a /{MANAGEMENT_PREFIXLEN} per leaf")


def _mtus(inventory: Inventory) -> Iterator[Problem]:
    for where, pools in _fabrics(inventory):
        if pools.overlay_mtu_bytes < MIN_OVERLAY_MTU_BYTES:
            yield Problem(where, f"overlay_mtu_bytes {pools.overlay_mtu_bytes} is below {MIN_OVERLAY_MTU_BYTES}")
        if pools.mtu_bytes > MAX_MTU_BYTES:
            yield Problem(where, f"mtu_bytes {pools.mtu_bytes} is above {MAX_MTU_BYTES}")
        if pools.overlay_mtu_bytes + VXLAN_OVERHEAD_BYTES > pools.mtu_bytes:
            yield Problem(
                where,
                f"overlay_mtu_bytes {pools.overlay_mtu_bytes} and {VXLAN_OVERHEAD_BYTES} bytes of VXLAN do not fit "
                f"into mtu_bytes {pools.mtu_bytes}",
            )


def _pool_overlaps(inventory: Inventory) -> Iterator[Problem]:
    """Address pools of all sites lie apart: what may ever be routed between sites must not overlap."""
    pools = [
        (where, name, getattr(fabric, name))
        for where, fabric in _fabrics(inventory)
        for name in ("loopbacks", "links", "management")
    ]
    for index, (where, name, prefix) in enumerate(pools):
        for other_where, other_name, other in pools[:index]:
            if prefix.overlaps(other):
                owner = "" if where == other_where else f" of {other_where}"
                yield Problem(where, f"{name} {prefix} overlaps {other_name} {other}{owner}")


def _switches(inventory: Inventory) -> Iterator[Problem]:
    fabrics = {site.name: site.fabric for site in inventory.sites if site.fabric}
    asns: dict[tuple[str, int], str] = {}
    loopbacks: dict[ipaddress.IPv4Address, str] = {}
    hosts: dict[str, str] = {}
    for switch in inventory.switches:
        where = f"switch {switch.name}"
        if switch.management is None:
            yield Problem(where, "has no management address; the controller needs one to reach it (host or host:port)")
        elif (other := hosts.setdefault(switch.management, switch.name)) != switch.name:
            yield Problem(where, f"management address {switch.management} is also that of {other}")
        if switch.loopback is not None:
            other = loopbacks.setdefault(switch.loopback, switch.name)
            if other != switch.name:
                yield Problem(where, f"loopback {switch.loopback} is also that of {other}")
            for site, pools in fabrics.items():
                for name, prefix in (("links", pools.links), ("management", pools.management)):
                    if switch.loopback in prefix:
                        yield Problem(where, f"loopback {switch.loopback} lies in {name} {prefix} of site '{site}'")
        if switch.site in fabrics and switch.asn is not None:
            yield from _asn(switch, fabrics[switch.site], asns)


def _dialects(inventory: Inventory) -> Iterator[Problem]:
    """EVPN routes of one dialect are imported by the same alone: FRR's targets carry each leaf's ASN, and EOS takes no
    wildcard."""
    fabrics = {site.name: site.fabric for site in inventory.sites if site.fabric}
    for site in inventory.sites:
        routing = [each for each in inventory.switches if each.site == site.name and each.role not in VLAN_ROLES]
        dialects = sorted({each.dialect.value for each in routing})
        if len(dialects) > 1:
            yield Problem(
                f"site {site.name}", f"mixes dialects {', '.join(dialects)}; a site's leaves and spines have one"
            )
        pools = fabrics.get(site.name)
        if pools is not None and Dialect.EOS.value in dialects and pools.mtu_bytes > MAX_EOS_MTU_BYTES:
            message = f"mtu_bytes {pools.mtu_bytes}: EOS takes {MAX_EOS_MTU_BYTES} at most"
            yield Problem(f"site {site.name}", message)


def _asn(switch: Switch, pools: FabricPools, taken: dict[tuple[str, int], str]) -> Iterator[Problem]:
    where, asn = f"switch {switch.name}", switch.asn
    assert asn is not None
    if not _valid_asn(asn):
        yield Problem(where, f"ASN {asn} is no usable AS number")
    elif switch.role is SwitchRole.SPINE:
        if asn != pools.spine_asn:
            yield Problem(where, f"ASN {asn}: all spines of site '{switch.site}' have its spine_asn {pools.spine_asn}")
    elif asn == pools.spine_asn:
        yield Problem(where, f"ASN {asn} is that of the spines of site '{switch.site}'")
    elif (other := taken.setdefault((switch.site, asn), switch.name)) != switch.name:
        yield Problem(where, f"ASN {asn} is also that of {other}; every leaf needs its own")


def _links(inventory: Inventory) -> Iterator[Problem]:
    devices = _devices(inventory)
    used: dict[LinkEnd, int] = {}
    for index, link in enumerate(inventory.links):
        where = f"link {link.a} - {link.b}"
        for end in dict.fromkeys((link.a, link.b)):
            if end.device not in devices:
                yield Problem(where, f"'{end.device}' is neither a switch nor a node of the inventory")
            first = used.setdefault(end, index)
            if first != index:
                other = inventory.links[first]
                yield Problem(where, f"interface {end} is already used by link {other.a} - {other.b}")
        if link.a.device == link.b.device:
            yield Problem(where, f"'{link.a.device}' is linked to itself")
        elif link.a.device in devices and link.b.device in devices:
            yield from _joined(where, devices[link.a.device], devices[link.b.device])


def _joined(where: str, a: Switch | Node, b: Switch | Node) -> Iterator[Problem]:
    """Refuse every pair but leaf-spine and leaf-node: two leaves, or two spines, make a loop past the other layer."""
    if isinstance(a, Node) and isinstance(b, Node):
        yield Problem(where, f"joins the nodes '{a.name}' and '{b.name}'; a node hangs on a leaf")
        return
    if isinstance(a, Node):
        a, b = b, a
    assert isinstance(a, Switch)
    if a.role in VLAN_ROLES or (isinstance(b, Switch) and b.role in VLAN_ROLES):
        return  # weft.fabric.vlan_checks
    if isinstance(b, Node):
        if a.role is SwitchRole.SPINE:
            yield Problem(where, f"hangs node '{b.name}' on the spine '{a.name}'; a node hangs on a leaf")
    elif a.role is SwitchRole.SPINE and b.role is SwitchRole.SPINE:
        yield Problem(where, f"joins the spines '{a.name}' and '{b.name}': a loop; spines meet only at leaves")
    elif a.role in LEAF_ROLES and b.role in LEAF_ROLES:
        yield Problem(where, f"joins the leaves '{a.name}' and '{b.name}': a loop; leaves meet only at spines")
    if a.site != b.site:
        yield Problem(where, f"joins site '{a.site}' ('{a.name}') and site '{b.site}' ('{b.name}')")


def _paths(inventory: Inventory) -> Iterator[Problem]:
    """Every leaf has a way to every other of its site; a leaf that is a site's only switch needs none."""
    switches: dict[str, Switch] = {each.name: each for each in inventory.switches if each.role not in VLAN_ROLES}
    neighbours: dict[str, set[str]] = defaultdict(set)
    for link in inventory.links:
        if link.a.device in switches and link.b.device in switches:
            neighbours[link.a.device].add(link.b.device)
            neighbours[link.b.device].add(link.a.device)
    for site in dict.fromkeys(switch.site for switch in inventory.switches):
        members = [switch for switch in switches.values() if switch.site == site]
        if len(members) <= 1:
            continue
        for switch in members:
            wanted = "leaf" if switch.role is SwitchRole.SPINE else "spine"
            roles = LEAF_ROLES if switch.role is SwitchRole.SPINE else {SwitchRole.SPINE}
            if not any(switches[peer].role in roles for peer in neighbours[switch.name]):
                yield Problem(f"switch {switch.name}", f"is isolated: no link joins it to a {wanted} of site '{site}'")
        islands = _islands([switch.name for switch in members if neighbours[switch.name]], neighbours)
        for island in islands[1:]:
            yield Problem(f"site {site}", f"no path leads from {', '.join(island)} to {', '.join(islands[0])}")


def _islands(members: list[str], neighbours: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the connected parts, largest first."""
    left, islands = dict.fromkeys(members), []
    while left:
        stack, island = [next(iter(left))], set()
        while stack:
            name = stack.pop()
            if name not in island:
                island.add(name)
                stack.extend(neighbours[name])
        islands.append([name for name in members if name in island])
        left = {name: None for name in left if name not in island}
    return sorted(islands, key=len, reverse=True)


def _management(inventory: Inventory) -> Iterator[Problem]:
    """In-band management addresses that were written by hand: inside the pool, one prefix per leaf, none twice."""
    fabrics = {site.name: site.fabric for site in inventory.sites if site.fabric}
    leaves = management_leaves(inventory)
    owner: dict[ipaddress.IPv4Address, str] = {}
    prefix_of: dict[str, tuple[ipaddress.IPv4Network, str]] = {}
    leaf_of: dict[ipaddress.IPv4Network, tuple[str, str]] = {}
    for node in inventory.nodes:
        where, address = f"node {node.name}", node.management_address
        on = sorted(leaves.get(node.name, ()))
        if len(on) > 1:
            yield Problem(
                where,
                f"has management links to {' and '.join(on)}; set management = false on those to all but one leaf",
            )
        if address is None:
            continue
        other = owner.setdefault(address, node.name)
        if other != node.name:
            yield Problem(where, f"management address {address} is also that of {other}")
        if node.site not in fabrics or not on:
            continue
        pool = fabrics[node.site].management
        if address not in pool:
            yield Problem(where, f"management address {address} is outside the pool {pool} of site '{node.site}'")
            continue
        prefix = management_prefix(address)
        if address in (prefix.network_address, prefix.network_address + 1, prefix.broadcast_address):
            yield Problem(where, f"management address {address} is the network, gateway or broadcast of {prefix}")
        first, first_node = prefix_of.setdefault(on[0], (prefix, node.name))
        if first != prefix:
            message = f"management address {address} is outside {first}, the prefix of its leaf {on[0]}"
            yield Problem(where, f"{message} (by {first_node})")
        leaf, leaf_node = leaf_of.setdefault(prefix, (on[0], node.name))
        if leaf != on[0]:
            yield Problem(where, f"management address {address} is in {prefix}, the prefix of {leaf} (by {leaf_node})")


def _capacity(inventory: Inventory) -> Iterator[Problem]:
    for site in inventory.sites:
        if site.fabric is not None:
            yield from _site_capacity(inventory, site, site.fabric)


def _site_capacity(inventory: Inventory, site: Site, pools: FabricPools) -> Iterator[Problem]:
    where = f"site {site.name}"
    switches = {
        switch.name: switch
        for switch in inventory.switches
        if switch.site == site.name and switch.role not in VLAN_ROLES
    }
    written = {switch.loopback for switch in switches.values() if switch.loopback is not None}
    free = usable(pools.loopbacks) - sum(loopback in pools.loopbacks for loopback in written)
    wanted = sum(switch.loopback is None for switch in switches.values())
    if wanted > free:
        yield Problem(where, f"loopbacks {pools.loopbacks} has {max(free, 0)} free for {wanted} switches")
    cables = sum(link.a.device in switches and link.b.device in switches for link in inventory.links)
    if cables > pools.links.num_addresses // 2:
        room = pools.links.num_addresses // 2
        yield Problem(where, f"links {pools.links} holds {room} point-to-point prefixes for {cables} links")
    leaves = [switch for switch in switches.values() if switch.role in LEAF_ROLES]
    wanted = sum(leaf.asn is None for leaf in leaves)
    explicit = {leaf.asn for leaf in leaves if leaf.asn is not None and leaf.asn in pools.leaf_asns}
    free = pools.leaf_asns.last - pools.leaf_asns.first + 1 - len(explicit)
    if wanted > free:
        yield Problem(where, f"leaf_asns {pools.leaf_asns} has {free} free for {wanted} leaves")
    nodes_of: dict[str, set[str]] = defaultdict(set)
    for node, on in management_leaves(inventory).items():
        for leaf in on:
            nodes_of[leaf].add(node)
    managed = [leaf.name for leaf in leaves if leaf.name in nodes_of]
    room = 1 << max(MANAGEMENT_PREFIXLEN - pools.management.prefixlen, 0)
    if pools.management.prefixlen <= MANAGEMENT_PREFIXLEN and len(managed) > room:
        yield Problem(
            where, f"management {pools.management} holds {room} /{MANAGEMENT_PREFIXLEN} for {len(managed)} leaves"
        )
    for leaf in managed:
        hosts = (1 << (32 - MANAGEMENT_PREFIXLEN)) - 3
        if len(nodes_of[leaf]) > hosts:
            yield Problem(f"switch {leaf}", f"its management prefix holds {hosts} nodes, not {len(nodes_of[leaf])}")


def _models(inventory: Inventory) -> Iterator[Problem]:
    for name in _repeated(model.name for model in inventory.models):
        yield Problem(f"model {name}", f"the name '{name}' is used by more than one model")
    for model in inventory.models:
        for resource in SwitchModel.__struct_fields__:
            limit = getattr(model, resource)
            if isinstance(limit, int) and limit < 1:
                yield Problem(f"model {model.name}", f"{resource} {limit} is no limit: a switch holds one at least")
    known = {*(model.name for model in inventory.models), *KNOWN_MODELS}
    for switch in inventory.switches:
        if switch.model is not None and switch.model not in known:
            message = f"model '{switch.model}' is not known; describe it in [[models]], or use one of"
            yield Problem(f"switch {switch.name}", f"{message} {', '.join(sorted(known))}")


def _exits(inventory: Inventory) -> Iterator[Problem]:
    switches = {switch.name: switch for switch in inventory.switches}
    fabrics = {site.name: site.fabric for site in inventory.sites if site.fabric}
    cabled = {end: link for link in inventory.links for end in (link.a, link.b)}
    used: dict[tuple[str, str, int], str] = {}
    for each in inventory.exits:
        where = f"exit {each.switch}:{each.interface}"
        switch = switches.get(each.switch)
        if switch is None or switch.role not in LEAF_ROLES:
            known = ", ".join(name for name, each in switches.items() if each.role in LEAF_ROLES) or "none"
            yield Problem(where, f"'{each.switch}' is no leaf or border leaf of the inventory; known: {known}")
            continue
        if (link := cabled.get(LinkEnd(each.switch, each.interface))) is not None:
            yield Problem(where, f"the interface is used by link {link.a} - {link.b}")
        other = used.setdefault((each.switch, each.interface, each.vlan), each.peer)
        if other != each.peer:
            yield Problem(where, f"vlan {each.vlan} leads to {each.peer} and to {other}")
        if each.peer_address not in each.address.network or each.peer_address == each.address.ip:
            yield Problem(where, f"peer_address {each.peer_address} is no other address of {each.address.network}")
        if not _valid_asn(each.peer_asn):
            yield Problem(where, f"peer_asn {each.peer_asn} is no usable AS number")
        if (pools := fabrics.get(switch.site)) is not None:
            yield from _exit_in(where, each, pools)


def _exit_in(where: str, way: Exit, pools: FabricPools) -> Iterator[Problem]:
    if way.peer_asn == pools.spine_asn or way.peer_asn in pools.leaf_asns:
        yield Problem(where, f"peer_asn {way.peer_asn} is one of the fabric's own")
    if way.vlan < 0 or way.vlan > MAX_VLAN or way.vlan in pools.vlans:
        yield Problem(where, f"vlan {way.vlan} is not 0 to {MAX_VLAN} outside vlans {pools.vlans}")
    for name in ("loopbacks", "links", "management"):
        if way.address.network.overlaps(getattr(pools, name)):
            yield Problem(where, f"address {way.address} lies in {name} {getattr(pools, name)}")


def management_prefix(address: ipaddress.IPv4Address) -> ipaddress.IPv4Network:
    """Return the management prefix that an address lies in."""
    return ipaddress.IPv4Network((address, MANAGEMENT_PREFIXLEN), strict=False)


def management_leaves(inventory: Inventory) -> dict[str, set[str]]:
    """Return, per node, the leaves to which it has a link that carries in-band management; behind a top-of-rack switch
    that is the switch that routes its VLAN part's management."""
    devices = _devices(inventory)
    above_tors = management_switches(inventory)
    leaves: dict[str, set[str]] = defaultdict(set)
    for link in inventory.links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            leaf, node = devices.get(near.device), devices.get(far.device)
            if not link.management or not isinstance(leaf, Switch) or not isinstance(node, Node):
                continue
            if leaf.role in LEAF_ROLES:
                leaves[node.name].add(leaf.name)
            elif leaf.role is SwitchRole.TOR and leaf.site in above_tors:
                leaves[node.name].add(above_tors[leaf.site])
    return leaves


def usable(pool: ipaddress.IPv4Network) -> int:
    """Return how many loopbacks a pool holds; network and broadcast address are left out where there are any."""
    return pool.num_addresses - 2 if pool.prefixlen < 31 else pool.num_addresses


def _devices(inventory: Inventory) -> dict[str, Switch | Node]:
    return {**{node.name: node for node in inventory.nodes}, **{switch.name: switch for switch in inventory.switches}}


def _fabrics(inventory: Inventory) -> Iterator[tuple[str, FabricPools]]:
    for site in inventory.sites:
        if site.fabric is not None:
            yield f"site {site.name}", site.fabric


def _valid_asn(asn: int) -> bool:
    return 0 < asn <= MAX_ASN and asn not in RESERVED_ASNS


def _vlan_parts(inventory: Inventory) -> Iterator[Problem]:
    return (Problem(where, message) for where, message in vlan_problems(inventory))


_CHECKS = (
    _names,
    _safety,
    _sites,
    _pools,
    _mtus,
    _pool_overlaps,
    _switches,
    _dialects,
    _links,
    _paths,
    _management,
    _capacity,
    _models,
    _exits,
    _vlan_parts,
)
_NEEDS_ALL = {_paths, _models, _exits, _vlan_parts}
