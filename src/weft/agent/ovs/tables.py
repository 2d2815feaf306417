"""OVSDB rows as values, and what the agent reads from them. Column types: RFC 7047, section 5.1. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from weft.agent.ovs.observed import (
    INTEGRATION,
    INTEGRATION_PATCH,
    UPLINK,
    UPLINK_PATCH,
    Device,
    Memory,
    Observed,
    memory_of,
)

Row = Mapping[str, Any]
Tables = Mapping[str, Mapping[str, Row]]
"""Rows by table and by row id, columns as they come in JSON."""

Operation = dict[str, Any]
"""One operation of a transaction (RFC 7047, section 5.2)."""

MONITORED = {
    "Open_vSwitch": ["bridges"],
    "Bridge": ["name", "ports", "external_ids", "other_config", "fail_mode", "datapath_type", "flood_vlans"],
    "Port": ["name", "interfaces", "tag", "bond_mode", "lacp", "other_config"],
    "Interface": ["name", "type", "options", "ofport", "external_ids", "mtu", "mtu_request", "error"],
}
"""All that the agent reads. Statistics are left out: they change every five seconds in every row."""


def values(column: Any) -> list[Any]:
    """Return the elements of a set column; a set of one is written as its element."""
    if isinstance(column, list) and column[0] == "set":
        return [_atom(element) for element in column[1]]
    return [_atom(column)]


def optional(column: Any) -> Any | None:
    """Return the value of a column that may be empty."""
    found = values(column)
    return found[0] if found else None


def mapping(column: Any) -> dict[str, str]:
    """Return a map column."""
    return dict(column[1])


def _atom(value: Any) -> Any:
    return value[1] if isinstance(value, list) and value[0] in {"uuid", "named-uuid"} else value


def ovs_set(elements: list[Any]) -> list[Any]:
    """Write a set column."""
    return ["set", elements]


def ovs_map(pairs: Mapping[str, str]) -> list[Any]:
    """Write a map column."""
    return ["map", [[key, value] for key, value in sorted(pairs.items())]]


def bridge(tables: Tables, name: str) -> tuple[str, Row] | None:
    """Return id and row of the bridge with this name."""
    return next(((id_, row) for id_, row in tables["Bridge"].items() if row["name"] == name), None)


def ports(tables: Tables, bridge_row: Row) -> Iterator[tuple[str, Row]]:
    """Yield id and row of each port of a bridge."""
    for id_ in values(bridge_row["ports"]):
        if (row := tables["Port"].get(id_)) is not None:
            yield id_, row


def interfaces(tables: Tables, port_row: Row) -> Iterator[tuple[str, Row]]:
    """Yield id and row of each interface of a port."""
    for id_ in values(port_row["interfaces"]):
        if (row := tables["Interface"].get(id_)) is not None:
            yield id_, row


def observe(tables: Tables) -> Observed:
    """Return what the rows say about the node's devices, the patch, and the agent's memory."""
    integration, uplink = bridge(tables, INTEGRATION), bridge(tables, UPLINK)
    if integration is None:
        return Observed()
    return Observed(
        devices=_devices(tables, integration[1]),
        uplink=_ofport_of(tables, integration[1], INTEGRATION_PATCH),
        patch=_ofport_of(tables, uplink[1], UPLINK_PATCH) if uplink else None,
        memory=memory_of(mapping(integration[1]["external_ids"])),
    )


def memory(tables: Tables) -> Memory:
    """Return only what the agent remembers."""
    integration = bridge(tables, INTEGRATION)
    return memory_of(mapping(integration[1]["external_ids"])) if integration else Memory()


def _devices(tables: Tables, bridge_row: Row) -> dict[str, Device]:
    """Find the devices by port id. Where two carry one id (a left-over of a restarted guest), the live one counts."""
    devices: dict[str, Device] = {}
    for port, port_row in ports(tables, bridge_row):
        for id_, row in interfaces(tables, port_row):
            port_id = mapping(row["external_ids"]).get("iface-id")
            if port_id is None:
                continue
            known = devices.get(port_id)
            if known is None or known.ofport is None:
                devices[port_id] = _device(port_id, (id_, row), (port, port_row))
    return devices


def _device(port_id: str, interface: tuple[str, Row], port: tuple[str, Row]) -> Device:
    row = interface[1]
    return Device(
        port_id=port_id,
        name=row["name"],
        interface=interface[0],
        port=port[0],
        ofport=_ofport(row),
        error=optional(row["error"]) or "",
        kind=row["type"],
        tag=optional(port[1]["tag"]),
        mtu_bytes=optional(row["mtu"]),
        mtu_request_bytes=optional(row["mtu_request"]),
    )


def _ofport(row: Row) -> int | None:
    """Return the OpenFlow port; -1 is how ovs-vswitchd says that it could not open the device."""
    ofport = optional(row["ofport"])
    return ofport if ofport is not None and ofport > 0 else None


def _ofport_of(tables: Tables, bridge_row: Row, name: str) -> int | None:
    for _, port_row in ports(tables, bridge_row):
        for _, row in interfaces(tables, port_row):
            if row["name"] == name:
                return _ofport(row)
    return None
