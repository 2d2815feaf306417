"""What makes br-int and br-bond: rows of the database that are missing or wrong, as operations. Pure.

Only what the settings ask for is compared; columns and ports that others added stay. A bridge that exists is changed in
place, never made anew: making it anew would take its address and its traffic away.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from weft.agent.ovs.observed import INTEGRATION, INTEGRATION_PATCH, UPLINK, UPLINK_PATCH
from weft.agent.ovs.plan import Dress
from weft.agent.ovs.tables import Operation, Row, Tables, bridge, interfaces, mapping, optional, ovs_map, ovs_set, ports
from weft.agent.settings import AgentSettings, BondMode
from weft.model.errors import Transient

OWNER_KEY = "weft-node"
"""The mark in the external_ids of a bridge: the node whose agent made or adopted it."""

BOND = "bond0"
RETRY_AFTER_S = 0.2

_TAGGED_VLANS = ovs_set(list(range(1, 4095)))


class _Bridge(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    scalars: Mapping[str, str]
    flood_vlans: list[Any]
    """As the column says it; ovsdb-server sorts sets."""
    other_config: Mapping[str, str]
    ports: tuple["_Port", ...]


class _Port(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    scalars: Mapping[str, Any] = {}
    other_config: Mapping[str, str] = {}
    interfaces: tuple["_Interface", ...]


class _Interface(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    type: str = ""
    options: Mapping[str, str] = {}
    mtu_request_bytes: int | None = None


def plan_bridges(
    settings: AgentSettings, datapath: str, hardware_address: str | None, tables: Tables
) -> list[Operation]:
    """Return what makes the bridges as the settings ask; nothing if they are.

    `datapath` is ``system`` or ``netdev``. `hardware_address` is what br-bond's internal port shall have: without it
    Open vSwitch chooses one, and may choose another one after a restart, while the leaf still remembers the first.
    """
    operations: list[Operation] = []
    for wanted in (_integration(datapath), _uplink(settings, datapath, hardware_address)):
        found = bridge(tables, wanted.name)
        if found is None:
            operations += _create(wanted, settings.node, tables)
        else:
            operations += _correct(wanted, settings.node, found, tables)
    return operations


def plan_notes(tables: Tables, notes: Mapping[str, str | None]) -> list[Operation]:
    """Return what gives keys of br-int's external_ids their values (None: removes them)."""
    if not notes:
        return []
    found = bridge(tables, INTEGRATION)
    if found is None:
        raise Transient(f"there is no bridge {INTEGRATION} to note things in", retry_after_s=RETRY_AFTER_S)
    values = {key: value for key, value in notes.items() if value is not None}
    # Inserting alone would keep the older value of a key that is there.
    mutations = [
        ["external_ids", "delete", ovs_set(sorted(notes))],
        ["external_ids", "insert", ovs_map(values)],
    ]
    return [_mutate("Bridge", found[0], mutations)]


def plan_dress(dress: Dress, tables: Tables) -> list[Operation]:
    """Return what makes the rows of a device say what the plan wants; nothing if the device has left."""
    device = dress.device
    if device.interface not in tables["Interface"] or device.port not in tables["Port"]:
        return []
    operations: list[Operation] = []
    if dress.tag is not None:
        operations.append(_update("Port", device.port, {"tag": dress.tag}))
    if dress.mtu_request_bytes is not None:
        operations.append(_update("Interface", device.interface, {"mtu_request": dress.mtu_request_bytes}))
    return operations


def _integration(datapath: str) -> _Bridge:
    return _Bridge(
        name=INTEGRATION,
        scalars={"datapath_type": datapath, "fail_mode": "secure"},
        flood_vlans=ovs_set([]),
        other_config={},
        ports=(_internal(INTEGRATION), _patch(INTEGRATION_PATCH, UPLINK_PATCH)),
    )


def _uplink(settings: AgentSettings, datapath: str, hardware_address: str | None) -> _Bridge:
    """br-bond learns no tagged address: with two ways only, a tagged frame that came by one goes by the other.

    So a moved instance's stale entry cannot swallow frames to it. Its internal port is in VLAN 0: it never gets tagged
    frames.
    """
    return _Bridge(
        name=UPLINK,
        scalars={"datapath_type": datapath, "fail_mode": "secure"},
        flood_vlans=_TAGGED_VLANS,
        other_config={"hwaddr": hardware_address} if hardware_address else {},
        ports=(
            _Port(name=UPLINK, scalars={"tag": 0}, interfaces=(_own_interface(settings.mtu_bytes),)),
            _patch(UPLINK_PATCH, INTEGRATION_PATCH),
            _nics(settings),
        ),
    )


def _internal(name: str) -> _Port:
    return _Port(name=name, interfaces=(_Interface(name=name, type="internal"),))


def _own_interface(mtu_bytes: int) -> _Interface:
    return _Interface(name=UPLINK, type="internal", mtu_request_bytes=mtu_bytes)


def _patch(name: str, peer: str) -> _Port:
    return _Port(name=name, interfaces=(_Interface(name=name, type="patch", options={"peer": peer}),))


def _nics(settings: AgentSettings) -> _Port:
    nics = tuple(_Interface(name=nic) for nic in settings.nics)
    if len(nics) == 1:
        return _Port(name=nics[0].name, interfaces=nics)
    if settings.ovs.bond_mode is BondMode.ACTIVE_BACKUP:
        return _Port(name=BOND, scalars={"bond_mode": "active-backup", "lacp": "off"}, interfaces=nics)
    # Until the leaf speaks LACP the bond falls back to one active member, so that a node can be installed over it.
    lacp = {"lacp-time": "fast", "lacp-fallback-ab": "true"}
    scalars = {"bond_mode": settings.ovs.bond_mode.value, "lacp": "active"}
    return _Port(name=BOND, scalars=scalars, other_config=lacp, interfaces=nics)


def _create(wanted: _Bridge, node: str, tables: Tables) -> list[Operation]:
    operations: list[Operation] = []
    names = [_insert_port(port, operations) for port in wanted.ports]
    row = {
        "name": wanted.name,
        **wanted.scalars,
        "flood_vlans": wanted.flood_vlans,
        "other_config": ovs_map(wanted.other_config),
        "external_ids": ovs_map({OWNER_KEY: node}),
        "ports": ovs_set(names),
    }
    name = f"bridge_{symbol(wanted.name)}"
    operations.append({"op": "insert", "table": "Bridge", "uuid-name": name, "row": row})
    root = next(iter(tables["Open_vSwitch"]), None)
    if root is None:
        raise Transient("the database has no Open_vSwitch row yet: run ovs-vsctl init", retry_after_s=RETRY_AFTER_S)
    operations.append(_mutate("Open_vSwitch", root, [["bridges", "insert", ovs_set([["named-uuid", name]])]]))
    return operations


def _insert_port(port: _Port, operations: list[Operation]) -> list[str]:
    """Add the operations that insert a port and its interfaces; return the reference to it."""
    references: list[list[str]] = []
    for interface in port.interfaces:
        name = f"interface_{symbol(interface.name)}"
        row: dict[str, Any] = {"name": interface.name, **_interface_columns(interface)}
        operations.append({"op": "insert", "table": "Interface", "uuid-name": name, "row": row})
        references.append(["named-uuid", name])
    name = f"port_{symbol(port.name)}"
    row = {"name": port.name, **port.scalars, "interfaces": ovs_set(references)}
    if port.other_config:
        row["other_config"] = ovs_map(port.other_config)
    operations.append({"op": "insert", "table": "Port", "uuid-name": name, "row": row})
    return ["named-uuid", name]


def _correct(wanted: _Bridge, node: str, found: tuple[str, Row], tables: Tables) -> list[Operation]:
    id_, row = found
    operations: list[Operation] = []
    columns: dict[str, Any] = {
        name: value for name, value in wanted.scalars.items() if (optional(row[name]) or "system") != value
    }  # an empty datapath_type means system
    if row["flood_vlans"] != wanted.flood_vlans:
        columns["flood_vlans"] = wanted.flood_vlans
    if columns:
        operations.append(_update("Bridge", id_, columns))
    operations += _complete_map("Bridge", id_, row, "other_config", wanted.other_config)
    operations += _complete_map("Bridge", id_, row, "external_ids", {OWNER_KEY: node})
    for port in wanted.ports:
        operations += _correct_port(port, found, tables)
    return operations


def _correct_port(wanted: _Port, bridge_found: tuple[str, Row], tables: Tables) -> list[Operation]:
    """Return what makes a port right. A port whose interfaces differ is replaced, and gives free what it held."""
    bridge_id, bridge_row = bridge_found
    names = {interface.name for interface in wanted.interfaces}
    in_the_way: list[str] = []
    for id_, row in ports(tables, bridge_row):
        held = {interface["name"] for _, interface in interfaces(tables, row)}
        if row["name"] == wanted.name and held == names:
            return _correct_columns(wanted, id_, row, tables)
        if row["name"] == wanted.name or held & names:
            in_the_way.append(id_)
    operations: list[Operation] = []
    if in_the_way:
        removal = ovs_set([["uuid", id_] for id_ in in_the_way])
        operations.append(_mutate("Bridge", bridge_id, [["ports", "delete", removal]]))
    reference = _insert_port(wanted, operations)
    operations.append(_mutate("Bridge", bridge_id, [["ports", "insert", ovs_set([reference])]]))
    return operations


def _correct_columns(wanted: _Port, id_: str, row: Row, tables: Tables) -> list[Operation]:
    operations: list[Operation] = []
    columns = {name: value for name, value in wanted.scalars.items() if optional(row[name]) != value}
    if columns:
        operations.append(_update("Port", id_, columns))
    operations += _complete_map("Port", id_, row, "other_config", wanted.other_config)
    by_name = {interface.name: interface for interface in wanted.interfaces}
    for interface_id, interface_row in interfaces(tables, row):
        interface = by_name[interface_row["name"]]
        differing = {
            name: value
            for name, value in _interface_columns(interface).items()
            if (
                mapping(interface_row[name]) != interface.options if name == "options" else interface_row[name] != value
            )
        }
        if differing:
            operations.append(_update("Interface", interface_id, differing))
    return operations


def _interface_columns(interface: _Interface) -> dict[str, Any]:
    columns: dict[str, Any] = {"type": interface.type}
    if interface.options:
        columns["options"] = ovs_map(interface.options)
    if interface.mtu_request_bytes is not None:
        columns["mtu_request"] = interface.mtu_request_bytes
    return columns


def _complete_map(table: str, id_: str, row: Row, column: str, wanted: Mapping[str, str]) -> list[Operation]:
    """Return what gives the wanted keys their values, and leaves the others alone."""
    present = mapping(row[column])
    differing = {key: value for key, value in wanted.items() if present.get(key) != value}
    if not differing:
        return []
    mutations = [[column, "delete", ovs_set(sorted(differing))], [column, "insert", ovs_map(differing)]]
    return [_mutate(table, id_, mutations)]


def _update(table: str, id_: str, row: Mapping[str, Any]) -> Operation:
    return {"op": "update", "table": table, "where": _is(id_), "row": dict(row)}


def _mutate(table: str, id_: str, mutations: list[list[Any]]) -> Operation:
    return {"op": "mutate", "table": table, "where": _is(id_), "mutations": mutations}


def _is(id_: str) -> list[Any]:
    return [["_uuid", "==", ["uuid", id_]]]


def symbol(name: str) -> str:
    """Return a name as RFC 7047 allows for a named-uuid: letters, digits, underscores."""
    return "".join(character if character.isalnum() else f"_{ord(character):x}_" for character in name)
