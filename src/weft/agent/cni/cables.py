"""Cables: internal ports of br-int that are kept ready for containers, as rows of Open vSwitch's database. Pure.

Adding a port to Open vSwitch takes 7 to 200 ms, and deleting one stalls forwarding; so cables are made in bulk before
they are needed, go from container to container, and are deleted one by one when there are too many. A cable is *free*;
or *warm*: a port of the server waits on it, with its flows, for a container to come; or it is a container's. All that
is known of it stands in the external_ids of its Interface, which ovs-vswitchd does not look at.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from weft.agent.ovs.bridges import symbol
from weft.agent.ovs.observed import INTEGRATION
from weft.agent.ovs.tables import Operation, Row, Tables, bridge, mapping, optional, ovs_map, ovs_set
from weft.protocol.workload import Workload

LINK_PREFIX = "weft-"
_CABLE_PREFIX, _HOST_END_PREFIX, _JOINT_PREFIX = "weft-c", "weft-v", "weft-m"
MARK = "weft-cable"
PORT, POOL, CONTAINER, IFNAME, NETWORK, PROJECT, OWED, RELEASE = (
    f"weft-{word}" for word in ("port", "pool", "container", "ifname", "network", "project", "owed", "release")
)
IFACE_ID, ATTACHED_MAC = "iface-id", "attached-mac"
_KEYS = (IFACE_ID, ATTACHED_MAC, MARK, PORT, POOL, CONTAINER, IFNAME, NETWORK, PROJECT, OWED, RELEASE)

CLAIM, LET_GO, ANEW = "claim", "release", "anew"
"""What the server has still to be told of a container's cable: that it has come, that it is gone, that it needs a port
in place of the one that it runs on, which somebody had deleted by the time that the server heard of the container."""


class Cable(msgspec.Struct, frozen=True, kw_only=True):
    """A cable as the database has it."""

    name: str
    interface: str = ""
    """Row id of its Interface."""
    ofport: int | None = None
    workload: Workload | None = None
    """The port that it carries, as it was when the cable got it; its holder is the container."""
    pool: str = ""
    """What the port was ordered for, if it was ordered before it was needed."""
    container_id: str = ""
    ifname: str = ""
    network: str = ""
    """What the runtime calls the network."""
    project: str = ""
    """The project that the container asked for; empty: the server's own."""
    owed: str = ""
    release: str = ""
    is_device: bool = True
    """Whether it says so to the agent's plan; not once another cable has its port."""

    @property
    def is_free(self) -> bool:
        """Whether it carries no port."""
        return self.workload is None and not self.container_id

    @property
    def is_warm(self) -> bool:
        """Whether its port waits for a container."""
        return self.workload is not None and not self.container_id and not self.owed

    @property
    def is_plugged(self) -> bool:
        """Whether it is a container's, and shall be."""
        return bool(self.container_id) and self.owed != LET_GO

    @property
    def host_end(self) -> str:
        """The name of the host's end of its container's pair."""
        return _HOST_END_PREFIX + self.name.removeprefix(_CABLE_PREFIX)

    @property
    def joint(self) -> str:
        """The name of what is joined to the cable instead of the host's end, where that is left to chained plugins."""
        return _JOINT_PREFIX + self.name.removeprefix(_CABLE_PREFIX)


def cable_of(host_end: str) -> str:
    """Name the cable that a pair is joined to."""
    return _CABLE_PREFIX + host_end.removeprefix(_HOST_END_PREFIX)


def is_cable(link: str) -> bool:
    """Tell whether a link is a cable."""
    return link.startswith(_CABLE_PREFIX)


def is_host_end(link: str) -> bool:
    """Tell whether a link is the host's end of a container's pair."""
    return link.startswith(_HOST_END_PREFIX)


class CableIndex:
    """The cables of the database; a row that has not changed is read once."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Row, Cable | None]] = {}

    def look(self, tables: Tables) -> list[Cable]:
        """Return the cables, by their numbers."""
        rows = tables["Interface"]
        known = self._read
        self._read = {
            id_: known[id_] if id_ in known and known[id_][0] is row else (row, _cable(id_, row))
            for id_, row in rows.items()
        }
        found = [cable for _, cable in self._read.values() if cable is not None]
        return sorted(found, key=lambda cable: (len(cable.name), cable.name))


def new_names(used: Collection[str], count: int) -> list[str]:
    """Return names for new cables: those with the lowest numbers that are not used."""
    names = (f"{_CABLE_PREFIX}{number}" for number in range(len(used) + count))
    return [name for name in names if name not in used][:count]


def free_labels() -> dict[str, str]:
    """Return what a free cable says."""
    return {MARK: "1"}


def warm_labels(workload: Workload, pool: str) -> dict[str, str]:
    """Return what a cable says whose port waits for a container."""
    port = msgspec.json.encode(workload).decode()
    return {MARK: "1", IFACE_ID: workload.port_id, ATTACHED_MAC: workload.mac, PORT: port, POOL: pool}


def labels_of(cable: Cable) -> dict[str, str]:
    """Return what a cable says that is as given."""
    labels = free_labels() if cable.workload is None else warm_labels(cable.workload, cable.pool)
    given = {
        CONTAINER: cable.container_id,
        IFNAME: cable.ifname,
        NETWORK: cable.network,
        PROJECT: cable.project,
        OWED: cable.owed,
        RELEASE: cable.release,
    }
    if not cable.is_device:
        labels.pop(IFACE_ID, None)
    return labels | {key: value for key, value in given.items() if value}


def relabel(interface: str, labels: Mapping[str, str]) -> Operation:
    """Return what lets a cable say this and nothing else of its own."""
    mutations = [["external_ids", "delete", ovs_set(sorted(_KEYS))], ["external_ids", "insert", ovs_map(labels)]]
    return _mutate("Interface", interface, mutations)


def without_port(interface: str) -> Operation:
    """Return what lets a cable carry no port any more, whatever else it says."""
    return _mutate("Interface", interface, [["external_ids", "delete", ovs_set([IFACE_ID, ATTACHED_MAC])]])


def owing(interface: str, owed: str) -> Operation:
    """Return what lets a cable owe the server a word, whatever else it says."""
    mutations = [["external_ids", "delete", ovs_set([OWED])], ["external_ids", "insert", ovs_map({OWED: owed})]]
    return _mutate("Interface", interface, mutations)


def owing_no_more(interface: str, owed: str) -> Operation:
    """Return what lets a cable owe a word no more; if it owes another one by then, it goes on owing that."""
    return _mutate("Interface", interface, [["external_ids", "delete", ovs_map({OWED: owed})]])


def insertion(tables: Tables, wanted: Mapping[str, Mapping[str, str]]) -> list[Operation]:
    """Return what puts new cables into br-int, with what each shall say."""
    found = bridge(tables, INTEGRATION)
    if found is None or not wanted:
        return []
    operations: list[Operation] = []
    references = []
    for name, labels in wanted.items():
        interface, port = f"interface_{symbol(name)}", f"port_{symbol(name)}"
        row = {"name": name, "type": "internal", "external_ids": ovs_map(labels)}
        operations.append({"op": "insert", "table": "Interface", "uuid-name": interface, "row": row})
        reference = ovs_set([["named-uuid", interface]])
        row = {"name": name, "interfaces": reference}
        operations.append({"op": "insert", "table": "Port", "uuid-name": port, "row": row})
        references.append(["named-uuid", port])
    return [*operations, _change(found[0], "insert", references)]


def removal(tables: Tables, names: Iterable[str]) -> list[Operation]:
    """Return what takes cables out of br-int."""
    found = bridge(tables, INTEGRATION)
    gone = set(names)
    rows = [["uuid", id_] for id_, row in tables["Port"].items() if row["name"] in gone]
    return [] if found is None or not rows else [_change(found[0], "delete", rows)]


def _change(bridge_row: str, verb: str, references: list[Any]) -> Operation:
    return _mutate("Bridge", bridge_row, [["ports", verb, ovs_set(references)]])


def _mutate(table: str, row: str, mutations: list[Any]) -> Operation:
    return {"op": "mutate", "table": table, "where": [["_uuid", "==", ["uuid", row]]], "mutations": mutations}


def _cable(interface: str, row: Row) -> Cable | None:
    ids = mapping(row["external_ids"])
    if MARK not in ids or not row["name"].startswith(_CABLE_PREFIX):
        return None
    ofport = optional(row["ofport"])
    return Cable(
        name=row["name"],
        interface=interface,
        ofport=ofport if ofport is not None and ofport > 0 else None,
        workload=_workload(ids.get(PORT)),
        pool=ids.get(POOL, ""),
        container_id=ids.get(CONTAINER, ""),
        ifname=ids.get(IFNAME, ""),
        network=ids.get(NETWORK, ""),
        project=ids.get(PROJECT, ""),
        owed=ids.get(OWED, ""),
        release=ids.get(RELEASE, ""),
        is_device=IFACE_ID in ids,
    )


def _workload(written: str | None) -> Workload | None:
    """Read a port back; what a later version wrote and this one cannot read is none."""
    if written is None:
        return None
    try:
        return msgspec.json.decode(written, type=Workload)
    except msgspec.MsgspecError:
        return None
