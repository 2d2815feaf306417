"""What the observing script prints, as values."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from weft.fabric.facts import Session, VniFacts, VrfFacts
from weft.switches.frr.kernel import OWN_SPACE, Handoffs, Kernel, Link, Where, documents, read_links, read_vlans
from weft.switches.frr.scripts import PART

_DEFAULT_VRF = "default"
_LEARNT = frozenset({"ebgp", "ibgp"})
_PROGRAMS = ("from_cable", "from_segment")
_GONE = "(gone)"
"""The name of an interface that an entry of the hand-off leads to and that is no more."""
_SPACE = "space "
_CONFIGURATION = "Building configuration"
_CONFIGURATION_END = "\nend\n"


END_PART = "end"
"""The last part: an answer without it was cut off."""


def split(output: str) -> dict[str, str]:
    """Return the parts of what the observing script printed, by their names."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.splitlines(keepends=True):
        if line.startswith(PART):
            lines = parts.setdefault(line.removeprefix(PART).strip(), [])
        else:
            lines.append(line)
    return {name: "".join(some) for name, some in parts.items()}


class FrrSaid(msgspec.Struct, frozen=True, kw_only=True):
    """What FRR says: which daemons run, their configuration, and their state as the JSON documents it prints."""

    daemons: frozenset[str] = frozenset()
    configuration: str = ""
    state: tuple[Any, ...] = ()


def read_frr(text: str) -> FrrSaid:
    """Return what FRR said; without configuration if vtysh could not ask it."""
    daemons, found, rest = text.partition(_CONFIGURATION)
    if not found:
        return FrrSaid()
    configuration, _, state = rest.partition(_CONFIGURATION_END)
    return FrrSaid(daemons=frozenset(daemons.split()), configuration=configuration, state=tuple(documents(state)))


def read_kernel(parts: Mapping[str, str], said: FrrSaid) -> Kernel:
    """Return the kernel's state, with the VNIs that zebra has taken up."""
    own = read_links(OWN_SPACE, _rows(parts["links"]), read_vlans(_rows(parts.get("vlans", ""))))
    links: dict[Where, Link] = dict(own)
    spaces, forwarding = set(), set()
    for name, text in parts.items():
        if name.startswith(_SPACE):
            space = name.removeprefix(_SPACE)
            spaces.add(space)
            rows = _rows(text)
            links |= read_links(space, rows, {})
            if _forwards(rows):
                forwarding.add(space)
    return Kernel(
        links=links,
        spaces=frozenset(spaces),
        forwarding=frozenset(forwarding),
        sysctls=_sysctls(parts["sysctls"]),
        closed_tables=_closed_tables(_rows(parts.get("closed", ""))),
        handoffs=_handoffs(parts, {link.ifindex: link.name for link in own.values()}),
        known_vnis={int(vni): each.get("tenantVrf", "") for vni, each in _vnis(said).items()},
    )


def read_sessions(said: FrrSaid) -> tuple[Session, ...]:
    """Return the BGP sessions, one per peer and address family."""
    sessions = [
        Session(peer=peer.get("desc", ""), peer_address=address, family=family, state=peer.get("state", ""))
        for document in said.state
        if isinstance(document, dict)
        for family, table in document.items()
        if isinstance(table, dict) and "peers" in table
        for address, peer in table["peers"].items()
    ]
    return tuple(sorted(sessions))


def read_vnis(said: FrrSaid) -> dict[int, VniFacts]:
    """Return the L2VNIs with what is known in each."""
    return {
        int(vni): VniFacts(
            remote_vteps=tuple(sorted(each.get("remoteVteps", ()))),
            macs=each.get("numMacs", 0),
            neighbours=each.get("numArpNd", 0),
        )
        for vni, each in _vnis(said).items()
        if each.get("type") == "L2"
    }


def read_vrfs(said: FrrSaid) -> dict[str, VrfFacts]:
    """Return the VRFs that have an L3VNI, with their routes."""
    states: dict[str, str] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    for document in said.state:
        if isinstance(document, dict) and isinstance(document.get("vrfs"), list):
            states = {each["vrf"]: each.get("state", "") for each in document["vrfs"]}
        elif isinstance(document, dict) and "routesTotalFib" in document.get(_DEFAULT_VRF, {}):
            tables = document
    return {
        name: VrfFacts(
            is_up=state == "Up",
            routes=tables.get(name, {}).get("routesTotalFib", 0),
            learnt_routes=sum(
                each.get("fib", 0) for each in tables.get(name, {}).get("routes", ()) if each.get("type") in _LEARNT
            ),
        )
        for name, state in states.items()
    }


def _rows(text: str) -> list[Mapping[str, Any]]:
    """Return the rows of all JSON arrays in a text, a line each."""
    return [row for line in text.splitlines() if line.startswith("[") for row in json.loads(line)]


def _forwards(rows: list[Mapping[str, Any]]) -> bool:
    """Tell whether a space forwards both families, and does not check the way back."""
    settings = {row["family"]: row for row in rows if row.get("interface") == "all"}
    v4, v6 = settings.get("inet", {}), settings.get("inet6", {})
    return bool(v4.get("forwarding") and v6.get("forwarding")) and v4.get("rp_filter") in (None, "off")


def _closed_tables(routes: list[Mapping[str, Any]]) -> frozenset[int]:
    """Return the tables whose last default is "unreachable", in IPv4 and in IPv6."""
    numbers = [str(route.get("table", "")) for route in routes if route.get("dst") == "default"]
    return frozenset(int(number) for number, count in Counter(numbers).items() if count > 1 and number.isdigit())


def _sysctls(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _vnis(said: FrrSaid) -> dict[str, Mapping[str, Any]]:
    """Return the document of `show evpn vni json`: its keys are numbers."""
    for document in said.state:
        if isinstance(document, dict) and document and all(key.isdigit() for key in document):
            return document
    return {}


def _handoffs(parts: Mapping[str, str], names: Mapping[int, str]) -> Handoffs:
    answers = [row["output"] for row in _rows(parts.get("handoff", "")) if "output" in row]
    if len(answers) != len(_PROGRAMS) + 2:
        return Handoffs()
    dump, *programs, attached = answers
    program_of = {program["id"]: name for program, name in zip(programs, _PROGRAMS, strict=True)}
    entries: dict[tuple[str, int], tuple[str, int]] = {}
    raw_keys: dict[tuple[int, int], tuple[str, int] | None] = {}
    for row in dump:
        key, value = row["formatted"]["key"], row["formatted"]["value"]
        name = names.get(key["ifindex"])
        raw_keys[key["ifindex"], key["vlan"]] = (name, key["vlan"]) if name else None
        if name:
            to = names.get(value["ifindex"], _GONE) if value["ifindex"] else ""
            entries[name, key["vlan"]] = (to, value["vlan"])
    return Handoffs(
        entries=entries,
        programs={
            each["devname"]: program_of[each["id"]]
            for net in attached
            for each in net.get("tc", ())
            if each.get("kind") == "clsact/ingress" and each["id"] in program_of
        },
        raw_keys=raw_keys,
        loaded=True,
    )
