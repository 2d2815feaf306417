"""The routers outside a lab's sites, which weft does not configure: each runs FRR, as an operator has set it up.

One announces a default route over each of its sessions, takes what it is told, and has an address of its own that can
be pinged: all that the internet is, to a data centre.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from weft.model.inventory import Exit, Inventory

ADDRESS = "203.0.113.1"
"""What every router outside answers to: of a prefix that is for documentation (RFC 5737)."""


class Session(msgspec.Struct, frozen=True):
    """A router's interface to a border leaf, and the session over it."""

    interface: str
    way: Exit
    border_asn: int


def routers(inventory: Inventory) -> dict[str, tuple[tuple[str, Exit], ...]]:
    """Return the routers outside, each with its interfaces and the exits that lead to them."""
    found: dict[str, list[tuple[str, Exit]]] = defaultdict(list)
    for way in inventory.exits:
        found[way.peer].append((f"eth{len(found[way.peer]) + 1}", way))
    return {name: tuple(ways) for name, ways in found.items()}


def configuration(name: str, sessions: Iterable[Session]) -> str:
    """Return the configuration that a router starts with."""
    ends = list(sessions)
    prefix = ends[0].way.address.network.prefixlen
    lines = ["frr defaults traditional", f"hostname {name}", "log file /var/log/frr/frr.log", "!"]
    lines += ["interface lo", f" ip address {ADDRESS}/32", "exit"]
    for end in ends:
        lines += [f"interface {end.interface}", f" ip address {end.way.peer_address}/{prefix}", "exit"]
    lines += [f"router bgp {ends[0].way.peer_asn}", f" bgp router-id {ends[0].way.peer_address}"]
    lines += [" no bgp ebgp-requires-policy", " bgp bestpath as-path multipath-relax", " timers bgp 3 9"]
    for end in ends:
        lines += [
            f" neighbor {end.way.address.ip} remote-as {end.border_asn}",
            f" neighbor {end.way.address.ip} timers connect 1",
        ]
    lines += [" address-family ipv4 unicast"]
    lines += [f"  neighbor {end.way.address.ip} default-originate" for end in ends]
    return "\n".join([*lines, " exit-address-family", "exit", "!", ""])


def write_configurations(inventory: Inventory, asns: Mapping[str, int], lab_dir: Path) -> None:
    """Write what each router outside starts with; `asns` are the AS numbers of the border leaves."""
    for name, ways in routers(inventory).items():
        folder = lab_dir / name / "etc-frr"
        folder.mkdir(parents=True, exist_ok=True)
        sessions = [Session(interface, way, asns[way.switch]) for interface, way in ways]
        (folder / "frr.conf").write_text(configuration(name, sessions))
