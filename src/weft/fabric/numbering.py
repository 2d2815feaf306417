"""Numbering: the numbers that an inventory leaves out, computed once and kept.

`number` gives every switch an ASN and a loopback, every link between switches a /31 (RFC 3021), every leaf with nodes
a management prefix, and every node an address in it. What was given before stays: adding or removing a device never
renumbers another. What an engineer writes into the inventory wins over what weft had chosen for that device.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec

from weft.fabric.checks import LEAF_ROLES, MANAGEMENT_PREFIXLEN, Problem, management_leaves, management_prefix
from weft.fabric.vlan_topology import management_switches
from weft.fabric.vpc import exit_key
from weft.model.errors import Invalid
from weft.model.ids import NodeName, SiteName, SwitchName
from weft.model.inventory import VLAN_ROLES, FabricPools, Inventory, LinkEnd, SwitchRole

K = TypeVar("K")
V = TypeVar("V")


class SwitchNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """A switch's ASN and loopback; on a leaf with nodes also its address in their management prefix."""

    asn: int
    loopback: IPv4Address
    gateway: IPv4Interface | None = None


class LinkNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """The /31 of a link between two switches; `a` sorts before `b` and has the first address."""

    a: LinkEnd
    b: LinkEnd
    prefix: IPv4Network


class NodeNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """A node's in-band management address, and its leaf's address in the same prefix."""

    address: IPv4Interface
    gateway: IPv4Address


class Numbering(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of an inventory; a node without a management link has none."""

    switches: Mapping[SwitchName, SwitchNumbers] = {}
    """Of the switches that route the fabric; those of a three-layer VLAN part have no such numbers."""
    vlan_gateways: Mapping[SwitchName, IPv4Interface] = {}
    """A core's address in the in-band management of its VLAN part's nodes."""
    links: tuple[LinkNumbers, ...] = ()
    nodes: Mapping[NodeName, NodeNumbers] = {}
    exits: Mapping[str, int] = {}
    """The VNI of each exit, by weft.fabric.vpc.exit_key: it stays on its switch."""


def number(inventory: Inventory, previous: Numbering | None = None) -> Numbering:
    """Return the numbers of an inventory that has no problems, keeping those of `previous`.

    Raises Invalid, listing every case, where the inventory asks for a number that `previous` gave to another device,
    or a pool is exhausted.
    """
    previous = previous or Numbering()
    found: list[Problem] = []
    asns = _asns(inventory, previous, found)
    loopbacks = _loopbacks(inventory, previous, found)
    gateways = _gateways(inventory, previous, found)
    links = _links(inventory, previous, found)
    nodes = _nodes(inventory, previous, gateways, found)
    exits = _exits(inventory, previous, found)
    if found:
        lines = "\n".join(f"  {problem}" for problem in found)
        raise Invalid(f"the inventory cannot be numbered:\n{lines}", kind="InventoryInvalid")
    return Numbering(
        switches={
            switch.name: SwitchNumbers(
                asn=asns[switch.name], loopback=loopbacks[switch.name], gateway=gateways.get(switch.name)
            )
            for switch in inventory.switches
            if switch.role not in VLAN_ROLES
        },
        vlan_gateways={
            switch.name: gateways[switch.name]
            for switch in inventory.switches
            if switch.role in VLAN_ROLES and switch.name in gateways
        },
        links=links,
        nodes=nodes,
        exits=exits,
    )


class _Giver(Generic[K, V]):
    """Gives each key a value of its own: the written one, else the one it had before, else the next of its pool."""

    def __init__(self, kind: str, noun: str, found: list[Problem]) -> None:
        self.given: dict[K, V] = {}
        self._owner: dict[V, K] = {}
        self._kind = kind
        self._noun = noun
        self._found = found

    def _refuse(self, key: K, message: str) -> None:
        self._found.append(Problem(f"{self._kind} {key}", f"{self._noun} {message}"))

    def write(self, key: K, value: V) -> None:
        """Take what the inventory says; no two keys may write the same (weft.fabric.checks)."""
        self.given[key] = value
        self._owner[value] = key

    def keep(self, key: K, value: V) -> None:
        """Take what the key had before, unless it writes another now."""
        if key in self.given:
            return
        if value in self._owner:
            self._refuse(self._owner[value], f"{value} was given to {key} before; write another")
        self.given[key] = value
        self._owner.setdefault(value, key)

    def choose(self, key: K, pool: Iterator[V]) -> None:
        """Take the next value of the pool that nobody has, if the key still has none."""
        if key in self.given:
            return
        value = next((value for value in pool if value not in self._owner), None)
        if value is None:
            self._refuse(key, "cannot be chosen: the pool is exhausted; enlarge it")
        else:
            self.write(key, value)


def _pools(inventory: Inventory) -> dict[SiteName, FabricPools]:
    return {site.name: site.fabric for site in inventory.sites if site.fabric is not None}


def _asns(inventory: Inventory, previous: Numbering, found: list[Problem]) -> dict[SwitchName, int]:
    given: dict[SwitchName, int] = {}
    for site, pools in _pools(inventory).items():
        giver: _Giver[SwitchName, int] = _Giver("switch", "ASN", found)
        members = [switch for switch in inventory.switches if switch.site == site]
        given |= {switch.name: pools.spine_asn for switch in members if switch.role is SwitchRole.SPINE}
        leaves = [switch for switch in members if switch.role in LEAF_ROLES]
        for leaf in leaves:
            if leaf.asn is not None:
                giver.write(leaf.name, leaf.asn)
        for leaf in leaves:
            before = previous.switches.get(leaf.name)
            if before is not None and before.asn != pools.spine_asn:
                giver.keep(leaf.name, before.asn)
        free = iter(range(pools.leaf_asns.first, pools.leaf_asns.last + 1))
        for leaf in leaves:
            giver.choose(leaf.name, free)
        given |= giver.given
    return given


def _loopbacks(inventory: Inventory, previous: Numbering, found: list[Problem]) -> dict[SwitchName, IPv4Address]:
    giver: _Giver[SwitchName, IPv4Address] = _Giver("switch", "loopback", found)
    pools = _pools(inventory)
    routing = [switch for switch in inventory.switches if switch.role not in VLAN_ROLES]
    for switch in routing:
        if switch.loopback is not None:
            giver.write(switch.name, switch.loopback)
    for switch in routing:
        if switch.name in previous.switches and switch.loopback is None:
            value = previous.switches[switch.name].loopback
            _check_kept(f"switch {switch.name}", "loopback", value, pools[switch.site].loopbacks, found)
            giver.keep(switch.name, value)
    free = {site: iter(fabric.loopbacks.hosts()) for site, fabric in pools.items()}
    for switch in routing:
        giver.choose(switch.name, free[switch.site])
    return giver.given


def _links(inventory: Inventory, previous: Numbering, found: list[Problem]) -> tuple[LinkNumbers, ...]:
    giver: _Giver[str, IPv4Network] = _Giver("link", "prefix", found)
    pools = _pools(inventory)
    site_of = {str(switch.name): switch.site for switch in inventory.switches if switch.role not in VLAN_ROLES}
    before = {(link.a, link.b): link.prefix for link in previous.links}
    ends: dict[str, tuple[LinkEnd, LinkEnd]] = {}
    for link in inventory.links:
        if link.a.device in site_of and link.b.device in site_of:
            a, b = sorted((link.a, link.b))
            ends[f"{a} - {b}"] = (a, b)
    for key, pair in ends.items():
        if pair in before:
            _check_kept(f"link {key}", "prefix", before[pair], pools[site_of[pair[0].device]].links, found)
            giver.keep(key, before[pair])
    free = {site: fabric.links.subnets(new_prefix=31) for site, fabric in pools.items() if fabric.links.prefixlen <= 31}
    for key, (a, _) in ends.items():
        giver.choose(key, free.get(site_of[a.device], iter(())))
    return tuple(LinkNumbers(a=a, b=b, prefix=giver.given[key]) for key, (a, b) in ends.items() if key in giver.given)


def _exits(inventory: Inventory, previous: Numbering, found: list[Problem]) -> dict[str, int]:
    giver: _Giver[str, int] = _Giver("exit", "VNI", found)
    site_of = {switch.name: switch.site for switch in inventory.switches}
    pools = {site: fabric.exit_vnis for site, fabric in _pools(inventory).items()}
    sites = {exit_key(each): site_of[each.switch] for each in inventory.exits}
    for key, site in sites.items():
        if (before := previous.exits.get(key)) is not None and before in pools[site]:
            giver.keep(key, before)
    free = {site: iter(range(vnis.first + 1, vnis.last + 1)) for site, vnis in pools.items()}
    for key, site in sites.items():
        giver.choose(key, free[site])
    return giver.given


def _gateways(inventory: Inventory, previous: Numbering, found: list[Problem]) -> dict[SwitchName, IPv4Interface]:
    """Return the management gateways: the first address of each leaf's prefix.

    A leaf without one takes the prefix that its nodes' written addresses lie in.
    """
    giver: _Giver[SwitchName, IPv4Network] = _Giver("switch", "management prefix", found)
    pools = _pools(inventory)
    needed = _leaf_of(inventory)
    cores = set(management_switches(inventory).values())
    leaves = {each.name: each for each in inventory.switches if each.role in LEAF_ROLES or each.name in cores}
    before = {name: n.gateway for name, n in previous.switches.items() if n.gateway} | {**previous.vlan_gateways}
    had = {name: gateway.network for name, gateway in before.items() if name in leaves}
    for node in inventory.nodes:
        leaf = needed.get(node.name)
        if leaf is not None and leaf not in had and node.management_address is not None:
            giver.write(leaf, management_prefix(node.management_address))
    for leaf, prefix in had.items():
        _check_kept(f"switch {leaf}", "management prefix", prefix, pools[leaves[leaf].site].management, found)
        giver.keep(leaf, prefix)
    free = {
        site: fabric.management.subnets(new_prefix=MANAGEMENT_PREFIXLEN)
        for site, fabric in pools.items()
        if fabric.management.prefixlen <= MANAGEMENT_PREFIXLEN
    }
    wanted = set(needed.values())
    for name, switch in leaves.items():
        if name in wanted:
            giver.choose(name, free.get(switch.site, iter(())))
    return {leaf: IPv4Interface((prefix[1], MANAGEMENT_PREFIXLEN)) for leaf, prefix in giver.given.items()}


def _nodes(
    inventory: Inventory,
    previous: Numbering,
    gateways: Mapping[SwitchName, IPv4Interface],
    found: list[Problem],
) -> dict[NodeName, NodeNumbers]:
    giver: _Giver[NodeName, IPv4Address] = _Giver("node", "management address", found)
    gateway = {node: gateways[leaf] for node, leaf in _leaf_of(inventory).items() if leaf in gateways}
    for node in inventory.nodes:
        if node.management_address is not None and node.name in gateway:
            prefix = gateway[node.name].network
            if node.management_address not in prefix:
                message = f"management address {node.management_address} is outside {prefix}, the prefix of its leaf"
                found.append(Problem(f"node {node.name}", message))
            giver.write(node.name, node.management_address)
    for node in inventory.nodes:
        before = previous.nodes.get(node.name)
        # A node that was recabled to another leaf needs an address of that leaf's prefix.
        if before is not None and node.name in gateway and before.address.ip in gateway[node.name].network:
            giver.keep(node.name, before.address.ip)
    free = {leaf: islice(interface.network.hosts(), 1, None) for leaf, interface in gateways.items()}
    for name, leaf in _leaf_of(inventory).items():
        if leaf in free:
            giver.choose(name, free[leaf])
    return {
        name: NodeNumbers(address=IPv4Interface((address, MANAGEMENT_PREFIXLEN)), gateway=gateway[name].ip)
        for name, address in giver.given.items()
    }


def _leaf_of(inventory: Inventory) -> dict[NodeName, SwitchName]:
    """Return, for each node with in-band management, the leaf that its management link goes to."""
    leaves = management_leaves(inventory)
    return {node.name: SwitchName(min(leaves[node.name])) for node in inventory.nodes if node.name in leaves}


def _check_kept(
    where: str, noun: str, value: IPv4Address | IPv4Network, pool: IPv4Network, found: list[Problem]
) -> None:
    """Refuse a pool that was changed under the numbers taken from it: keeping them would break its promises."""
    inside = value in pool if isinstance(value, IPv4Address) else value.subnet_of(pool)
    if not inside:
        way_out = "let the pool hold it" + (", or write another one into the inventory" if noun == "loopback" else "")
        found.append(Problem(where, f"{noun} {value} was given before and is outside the pool {pool}; {way_out}"))


def encode(numbering: Numbering) -> dict[str, Any]:
    """Return the numbering in built-in types, for JSON."""
    switches = {
        name: {"asn": n.asn, "loopback": str(n.loopback), "gateway": str(n.gateway) if n.gateway else None}
        for name, n in numbering.switches.items()
    }
    return {
        "switches": switches,
        "vlan_gateways": {name: str(gateway) for name, gateway in numbering.vlan_gateways.items()},
        "links": [{"a": str(link.a), "b": str(link.b), "prefix": str(link.prefix)} for link in numbering.links],
        "nodes": {name: {"address": str(n.address), "gateway": str(n.gateway)} for name, n in numbering.nodes.items()},
    }


def decode(wire: Mapping[str, Any]) -> Numbering:
    """Return the numbering that `encode` wrote."""
    return Numbering(
        switches={
            SwitchName(name): SwitchNumbers(
                asn=row["asn"],
                loopback=IPv4Address(row["loopback"]),
                gateway=IPv4Interface(row["gateway"]) if row["gateway"] else None,
            )
            for name, row in wire["switches"].items()
        },
        vlan_gateways={
            SwitchName(name): IPv4Interface(gateway) for name, gateway in wire.get("vlan_gateways", {}).items()
        },
        links=tuple(
            LinkNumbers(
                a=LinkEnd(*row["a"].split(":", 1)),
                b=LinkEnd(*row["b"].split(":", 1)),
                prefix=IPv4Network(row["prefix"]),
            )
            for row in wire["links"]
        ),
        nodes={
            NodeName(name): NodeNumbers(address=IPv4Interface(row["address"]), gateway=IPv4Address(row["gateway"]))
            for name, row in wire["nodes"].items()
        },
    )
