"""Links of a switch's kernel as values: what `ip -d -j addr` says, and what a layout wants.

A link stands in a space: a network namespace by name, "" for the switch's own. In a wanted link, None means that the
field is not weft's to say.
"""

import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

MARK = "weft"
"""The alias of every link that weft made begins with it; only such links are ever removed."""

VETH_END = f"{MARK}:end"
"""The alias of a veth pair's far end, which comes and goes with the near one."""

LEAK = f"{MARK}:leak"
"""The alias of the near end of a veth pair between two VRFs."""

LEAK_END = f"{VETH_END}:leak"
"""The alias of its far end."""

Space = str
Where = tuple[Space, str]
"""A link's space and name."""

OWN_SPACE: Space = ""


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A link. `kind` is the kernel's (bridge, vxlan, veth, vlan, vrf), "" for one that is there by itself."""

    name: str
    kind: str = ""
    up: bool = True
    alias: str | None = None
    mtu_bytes: int | None = None
    mac: str | None = None
    master: str | None = None
    """"" : it has none."""
    addresses: frozenset[str] | None = None
    vni: int | None = None
    local: ipaddress.IPv4Address | None = None
    learning: bool | None = None
    neigh_suppress: bool | None = None
    vlan_id: int | None = None
    lower: str | None = None
    """The link that a vlan link stands on."""
    table: int | None = None
    vlan_aware: bool | None = None
    vlans: frozenset[str] | None = None
    """Of a bridge's port: ``100``, or ``100 pvid untagged``."""
    peer: Where | None = None
    """The other end of a veth pair; only wanted, never observed."""
    ifindex: int = 0
    """Only observed."""

    @property
    def is_marked(self) -> bool:
        """Tell whether weft made it."""
        return (self.alias or "").partition(":")[0] == MARK

    @property
    def is_veth_end(self) -> bool:
        """Tell whether it is the far end of a pair."""
        return self.alias in {VETH_END, LEAK_END}

    @property
    def is_routed_link(self) -> bool:
        """Tell whether it is an end of a pair between two VRFs; such a link needs a link-local IPv6 address (RFC 4861)
        to ask for the other end's MAC."""
        return self.alias in {LEAK, LEAK_END}


Table = Mapping[Where, Link]


def vxlan_link(name: str, vni: int, bridge: str, loopback: ipaddress.IPv4Address, mtu_bytes: int | None) -> Link:
    """Return the VXLAN device of a VNI, a port of a bridge."""
    return Link(
        name=name,
        kind="vxlan",
        alias=MARK,
        mtu_bytes=mtu_bytes,
        master=bridge,
        vni=vni,
        local=loopback,
        learning=False,  # BGP tells who is where
        neigh_suppress=True,
    )


def read_links(
    space: Space, rows: Iterable[Mapping[str, Any]], vlans: Mapping[str, frozenset[str]]
) -> dict[Where, Link]:
    """Return the links of a space from the rows of `ip -d -j addr`; `vlans` are those of its bridges' ports."""
    return {(space, row["ifname"]): _link(row, vlans) for row in rows if "ifname" in row}


def read_vlans(rows: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Return each port's VLANs from the rows of `bridge -j vlan`."""
    return {row["ifname"]: frozenset(_vlan(each) for each in _ranges(row.get("vlans", ()))) for row in rows}


def documents(text: str) -> list[Any]:
    """Return the JSON documents that stand one after the other in a text; what is no JSON is passed over."""
    found: list[Any] = []
    decoder = json.JSONDecoder()
    at = 0
    while (at := _next_document(text, at)) >= 0:
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            at += 1
            continue
        found.append(document)
    return found


def _next_document(text: str, start: int) -> int:
    places = [place for place in (text.find("{", start), text.find("[", start)) if place >= 0]
    return min(places, default=-1)


def _link(row: Mapping[str, Any], vlans: Mapping[str, frozenset[str]]) -> Link:
    info = row.get("linkinfo", {})
    data = info.get("info_data", {})
    slave = info.get("info_slave_data", {})
    kind = info.get("info_kind", "")
    return Link(
        name=row["ifname"],
        kind=kind,
        up="UP" in row.get("flags", ()),
        alias=row.get("ifalias", ""),
        mtu_bytes=row.get("mtu"),
        mac=row.get("address"),
        master=row.get("master", ""),
        addresses=frozenset(
            f"{each['local']}/{each['prefixlen']}" for each in row.get("addr_info", ()) if each.get("scope") == "global"
        ),
        vni=data.get("id") if kind == "vxlan" else None,
        local=ipaddress.IPv4Address(data["local"]) if "local" in data and kind == "vxlan" else None,
        learning=slave.get("learning"),
        neigh_suppress=slave.get("neigh_suppress"),
        vlan_id=data.get("id") if kind == "vlan" else None,
        lower=row.get("link") if kind == "vlan" else None,
        table=data.get("table") if kind == "vrf" else None,
        vlan_aware=bool(data.get("vlan_filtering")) if kind == "bridge" else None,
        vlans=vlans.get(row["ifname"], frozenset()),
        ifindex=row.get("ifindex", 0),
    )


def _ranges(entries: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for entry in entries:
        for vid in range(entry["vlan"], entry.get("vlanEnd", entry["vlan"]) + 1):
            yield {**entry, "vlan": vid}


def _vlan(entry: Mapping[str, Any]) -> str:
    flags = {flag.lower() for flag in entry.get("flags", ())}
    pvid = " pvid" if "pvid" in flags else ""
    untagged = " untagged" if "egress untagged" in flags or "untagged" in flags else ""
    return f"{entry['vlan']}{pvid}{untagged}"


class Handoffs(msgspec.Struct, frozen=True, kw_only=True):
    """The VLAN hand-off in BPF (netns layout). An entry leads from (interface, VLAN) to another; to ("", 0): stays."""

    entries: Mapping[tuple[str, int], tuple[str, int]] = {}
    programs: Mapping[str, str] = {}
    """Interface to the program that takes what comes in by it."""
    raw_keys: Mapping[tuple[int, int], tuple[str, int] | None] = {}
    """Only observed: the map's keys by ifindex, with what they name; None: an interface that is gone."""
    loaded: bool = False
    """Only observed: the present program is on the switch."""


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """All that was read from a switch's kernel, and what zebra says of it."""

    links: Table
    spaces: frozenset[Space] = frozenset()
    """Tenants' namespaces that weft has made (netns layout)."""
    forwarding: frozenset[Space] = frozenset()
    """Those of them that forward IPv4 and IPv6."""
    sysctls: Mapping[str, str] = {}
    handoffs: Handoffs = Handoffs()
    closed_tables: frozenset[int] = frozenset()
    """Routing tables that end with "unreachable": what a VRF does not know is not looked up elsewhere."""
    known_vnis: Mapping[int, str] = {}
    """What zebra has taken up: VNIs, and the VRF that it has each in."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """All that a layout wants in a switch's kernel."""

    links: Table
    spaces: frozenset[Space] = frozenset()
    sysctls: Mapping[str, str] = {}
    handoffs: Handoffs = Handoffs()


def after_changes(kernel: Kernel, wanted: Wanted) -> Kernel:
    """Return what a kernel holds once it was made what is wanted, as far as that can be told beforehand: a link that is
    to be made has no ifindex yet, and what nothing is wanted of stays as it is."""
    links = {
        where: link
        for where, link in kernel.links.items()
        if where in wanted.links or not link.is_marked or link.is_veth_end
    }
    for where, link in wanted.links.items():
        said = {field: value for field in link.__struct_fields__ if (value := getattr(link, field)) is not None}
        links[where] = msgspec.structs.replace(links[where], **said) if where in links else link
    return msgspec.structs.replace(
        kernel,
        links=links,
        spaces=kernel.spaces | wanted.spaces,
        forwarding=kernel.forwarding | wanted.spaces,
        sysctls={**kernel.sysctls, **wanted.sysctls},
        handoffs=msgspec.structs.replace(wanted.handoffs, raw_keys={}, loaded=True),
    )
