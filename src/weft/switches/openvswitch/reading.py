"""What the observing script prints, as a VlanSwitching."""

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from weft.fabric.vlan_config import VlanGateway, VlanPort, VlanSwitching
from weft.switches.openvswitch.scripts import BRIDGE, EDGE, MARK, NO_VLAN, PART, TRUNK

BROKEN_PRIORITY = -1
"""The priority of a bridge that does not run RSTP as weft set it: it equals nothing that is desired."""
OWN_SPACE = ""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from a switch."""

    switching: VlanSwitching | None
    ports: tuple[str, ...] = ()
    """All of weft's ports on the bridge, also those that are there only in part."""
    gateway_mac: str | None = None
    """The gateways' MAC address; empty if they have several, None if there are none."""
    drift: tuple[str, ...] = ()
    states: Mapping[str, str] = {}
    """RSTP's role and state of each port."""


def read(output: str) -> Reading | None:
    """Return what the observing script printed; None if it was cut off or Open vSwitch did not answer."""
    parts = _split(output)
    if "end" not in parts or not all(parts.get(name, "").strip() for name in ("bridges", "ports", "interfaces")):
        return None
    bridges = [row for row in _table(parts["bridges"]) if row["name"] == BRIDGE]
    if not bridges:
        return Reading(switching=None)
    bridge = bridges[0]
    broken = {row["name"] for row in _table(parts["interfaces"]) if row["error"] or not _has_number(row["ofport"])}
    rows = {row["name"]: row for row in _table(parts["ports"]) if row["_uuid"] in _set(bridge["ports"])}
    own = {name: row for name, row in rows.items() if MARK in row["external_ids"]}
    spaces = {
        name.removeprefix("space "): {link["ifname"]: link for link in json.loads(text or "[]")}
        for name, text in parts.items()
        if name.startswith("space ")
    }
    forwarding = {name.removeprefix("forwards ") for name, text in parts.items() if text.strip() == "1"}
    gateways, macs = _gateways(own, spaces, forwarding | {OWN_SPACE})
    ports = (_port(row) for name, row in own.items() if row["external_ids"][MARK] == "port" and name not in broken)
    foreign = sorted(rows.keys() - own.keys() - {BRIDGE})
    return Reading(
        switching=VlanSwitching(
            priority=_priority(bridge),
            ports=tuple(sorted(port for port in ports if port is not None)),
            gateways=tuple(sorted(gateways, key=lambda each: each.vlan)),
        ),
        ports=tuple(sorted(own)),
        gateway_mac=None if not macs else macs.pop() if len(macs) == 1 else "",
        drift=tuple(f"+ port {name}" for name in foreign),
        states={
            name: f"{row['rstp_status'].get('rstp_port_role')} {row['rstp_status'].get('rstp_port_state')}"
            for name, row in own.items()
            if row["rstp_status"]
        },
    )


def _split(output: str) -> dict[str, str]:
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.splitlines(keepends=True):
        if line.startswith(PART):
            lines = parts.setdefault(line.removeprefix(PART).rstrip("\n"), [])
        else:
            lines.append(line)
    return {name: "".join(some) for name, some in parts.items()}


def _table(text: str) -> list[dict[str, Any]]:
    """Return the rows of a table as ovs-vsctl prints it (RFC 7047, section 5.1)."""
    table = json.loads(text)
    return [{name: _value(value) for name, value in zip(table["headings"], row, strict=True)} for row in table["data"]]


def _value(value: Any) -> Any:
    match value:
        case ["map", pairs]:
            return dict(pairs)
        case ["set", members]:
            return [_value(member) for member in members]
        case ["uuid", uuid]:
            return uuid
        case _:
            return value


def _set(value: Any) -> list[Any]:
    """Return a column that may hold several values; a single one is printed as itself."""
    return value if isinstance(value, list) else [value]


def _has_number(ofport: Any) -> bool:
    """Tell whether Open vSwitch has really taken an interface up: the database alone says what it shall do."""
    return isinstance(ofport, int) and ofport > 0


def _priority(bridge: Mapping[str, Any]) -> int:
    written = bridge["other_config"].get("rstp-priority", "")
    return int(written) if bridge["rstp_enable"] is True and written.isdigit() else BROKEN_PRIORITY


def _port(row: Mapping[str, Any]) -> VlanPort | None:
    """Return a port; None for one whose RSTP is not as weft sets it, so that it counts as missing."""
    config = {key: value for key, value in row["other_config"].items() if key in TRUNK}
    if config not in (EDGE, TRUNK):
        return None
    tags = _set(row["tag"])
    untagged = tags[0] if tags and row["vlan_mode"] != "trunk" else 0
    trunks = set(_set(row["trunks"])) - {NO_VLAN, untagged}
    return VlanPort(interface=row["name"], untagged=untagged, tagged=tuple(sorted(trunks)), edge=config == EDGE)


def _is_open(row: Mapping[str, Any], spaces: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether the bridge's end of a gateway is a port as weft sets it, and up."""
    near = spaces.get(OWN_SPACE, {}).get(row["name"], {})
    return _port(row) is not None and "UP" in near.get("flags", ())


def _gateways(
    own: Mapping[str, Mapping[str, Any]], spaces: Mapping[str, Mapping[str, Any]], forwarding: set[str]
) -> tuple[list[VlanGateway], set[str]]:
    found, macs = [], set()
    for space, links in spaces.items():
        for name, link in links.items():
            vlan = name.removeprefix("svi")
            row = own.get(f"vlan{vlan}")
            if not name.startswith("svi") or not vlan.isdigit() or row is None or row["tag"] != int(vlan):
                continue
            if "UP" not in link["flags"] or space not in forwarding or not _is_open(row, spaces):
                continue
            macs.add(link["address"])
            addresses = (
                ipaddress.ip_interface(f"{each['local']}/{each['prefixlen']}")
                for each in link["addr_info"]
                if each["scope"] == "global"
            )
            found.append(
                VlanGateway(
                    vlan=int(vlan),
                    vrf=space or None,
                    addresses=tuple(sorted(addresses, key=lambda each: (each.version, int(each.ip)))),
                    mtu_bytes=link["mtu"],
                )
            )
    return found, macs
