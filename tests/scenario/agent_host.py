"""A node in memory: an OVSDB that models its tables, flow tables that forward packets, links, and a clock.

ovs-vswitchd's part is played by `settle`: it gives interfaces their OpenFlow ports. A fault can be planted at each
point where the agent speaks to the outside.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from weft.agent.links import KernelLinks, Link, Route
from weft.agent.ovs.flow import (
    LOCAL,
    NORMAL,
    VLAN_PRESENT,
    Field,
    Flow,
    Key,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    mac_int,
)
from weft.agent.ovs.observed import INTEGRATION, INTEGRATION_PATCH, UPLINK, UPLINK_PATCH, Memory, memory_of
from weft.agent.ovs.pipeline import COOKIE_MARK, COOKIE_MARK_MASK
from weft.agent.ovs.plan import FlowChange
from weft.agent.ovs.tables import MONITORED, Operation, Tables, bridge, mapping, optional, ports, values
from weft.agent.reconciler import Host, Reconciler
from weft.agent.settings import AgentSettings, parse
from weft.agent.standing import Outbox
from weft.model.errors import Permanent, Transient, WeftError
from weft.model.intent import RealizationState
from weft.protocol.node import AddressDesired, NodeChange, NodeDesired, PortDesired, RealizationReport

SETTINGS = parse(
    {
        "node": "node1",
        "server": "http://server:9696",
        "nics": ["nic0", "nic1"],
        "management": "172.31.1.11/24",
        "gateway": "172.31.1.1",
    }
)
NIC_MAC = "02:00:00:00:00:10"

PASS_S = 0.1
"""At most so long is it until the next pass: something always happens on a node."""

Packet = dict[Field, int]


class Faults:
    """Plants an error at the n-th time that the agent speaks to the outside, and counts those times."""

    def __init__(self) -> None:
        self.calls = 0
        self.at: dict[int, WeftError] = {}

    def strike(self) -> None:
        """Count, and fail if a fault is planted here."""
        self.calls += 1
        if (error := self.at.pop(self.calls, None)) is not None:
            raise error


_DEFAULTS: dict[str, dict[str, Any]] = {
    "Bridge": {
        "ports": ["set", []],
        "external_ids": ["map", []],
        "other_config": ["map", []],
        "fail_mode": ["set", []],
        "datapath_type": "",
        "flood_vlans": ["set", []],
    },
    "Port": {
        "interfaces": ["set", []],
        "tag": ["set", []],
        "bond_mode": ["set", []],
        "lacp": ["set", []],
        "other_config": ["map", []],
    },
    "Interface": {
        "type": "",
        "options": ["map", []],
        "ofport": ["set", []],
        "external_ids": ["map", []],
        "mtu": 1500,
        "mtu_request": ["set", []],
        "error": ["set", []],
    },
}


class FakeRows:
    """ovsdb-server: inserts, updates and mutates rows, refuses doubled names, collects what nothing refers to."""

    def __init__(self, faults: Faults) -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in MONITORED}
        self.rows["Open_vSwitch"]["root"] = {"bridges": ["set", []]}
        self.transactions = 0
        self.refuse: Callable[[Operation], bool] = lambda operation: False
        self._faults = faults
        self._ids = itertools.count(1)

    @property
    def tables(self) -> Tables | None:
        return self.rows

    async def connect(self) -> None:
        self._faults.strike()

    async def transact(self, operations: Sequence[Operation]) -> None:
        self._faults.strike()
        for operation in operations:
            if self.refuse(operation):
                raise Permanent(f"ovsdb-server refused {operation}: constraint violation")
        self.execute(operations)
        self._faults.strike()  # committed, but the answer is lost

    def execute(self, operations: Sequence[Operation]) -> None:
        """Commit, as the agent or as somebody else. Raises Permanent, and commits nothing, for a doubled name."""
        self.transactions += 1
        before = {table: {id_: dict(row) for id_, row in rows.items()} for table, rows in self.rows.items()}
        names: dict[str, str] = {}
        for operation in operations:
            if operation["op"] == "insert":
                names[operation["uuid-name"]] = f"{operation['table']}-{next(self._ids)}"
        for operation in operations:
            table = self.rows[operation["table"]]
            if operation["op"] == "insert":
                columns = {column: _resolved(value, names) for column, value in operation["row"].items()}
                table[names[operation["uuid-name"]]] = {**_DEFAULTS[operation["table"]], **columns}
                continue
            row = table[operation["where"][0][2][1]]
            if operation["op"] == "update":
                row.update(operation["row"])
            else:
                for column, mutator, value in operation["mutations"]:
                    row[column] = _mutated(row[column], mutator, _resolved(value, names))
        self._collect()
        for table_name in ("Bridge", "Port", "Interface"):
            found = [row["name"] for row in self.rows[table_name].values()]
            if len(found) > len(set(found)):
                self.rows = before
                doubled = f'multiple rows in "{table_name}" table to have identical values for index on column "name"'
                text = f"ovsdb-server refused the transaction as a whole: constraint violation: {doubled}: {found}"
                raise Permanent(text)

    def _collect(self) -> None:
        for parent, column, child in (("Bridge", "ports", "Port"), ("Port", "interfaces", "Interface")):
            used = {id_ for row in self.rows[parent].values() for id_ in values(row[column])}
            self.rows[child] = {id_: row for id_, row in self.rows[child].items() if id_ in used}

    def row(self, table: str, name: str) -> dict[str, Any]:
        """Return the row with a name."""
        return next(row for row in self.rows[table].values() if row["name"] == name)

    def memory(self) -> Memory:
        """Return what the agent has noted on br-int."""
        return memory_of(mapping(self.row("Bridge", INTEGRATION)["external_ids"]))

    def plug(self, name: str, port_id: str) -> None:
        """Put a device on br-int as a hypervisor does."""
        found = bridge(self.rows, INTEGRATION)
        assert found is not None
        ids = ["map", [["iface-id", port_id]]]
        self.execute(
            [
                {
                    "op": "insert",
                    "table": "Interface",
                    "uuid-name": "i",
                    "row": {"name": name, "external_ids": ids},
                },
                {
                    "op": "insert",
                    "table": "Port",
                    "uuid-name": "p",
                    "row": {"name": name, "interfaces": ["named-uuid", "i"]},
                },
                {
                    "op": "mutate",
                    "table": "Bridge",
                    "where": [["_uuid", "==", ["uuid", found[0]]]],
                    "mutations": [["ports", "insert", ["set", [["named-uuid", "p"]]]]],
                },
            ]
        )

    def unplug(self, name: str) -> None:
        """Take a device off br-int."""
        found = bridge(self.rows, INTEGRATION)
        assert found is not None
        port_id = next(id_ for id_, row in self.rows["Port"].items() if row["name"] == name)
        removal = [["ports", "delete", ["set", [["uuid", port_id]]]]]
        where = [["_uuid", "==", ["uuid", found[0]]]]
        self.execute([{"op": "mutate", "table": "Bridge", "where": where, "mutations": removal}])

    def settle(self) -> None:
        """Give every interface its OpenFlow port, as ovs-vswitchd does; a bridge's own is LOCAL."""
        for bridge_row in self.rows["Bridge"].values():
            taken = set()
            rows = [
                self.rows["Interface"][id_]
                for _, port in ports(self.rows, bridge_row)
                for id_ in values(port["interfaces"])
            ]
            for row in rows:
                taken.add(optional(row["ofport"]))
            free = (number for number in itertools.count(1) if number not in taken)
            for row in rows:
                if optional(row["ofport"]) is None:
                    row["ofport"] = LOCAL if row["name"] == bridge_row["name"] else next(free)


def _resolved(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list) and len(value) == 2 and value[0] == "named-uuid":
        return ["uuid", names[value[1]]]
    if isinstance(value, list) and len(value) == 2 and value[0] == "set":
        return ["set", [_resolved(element, names) for element in value[1]]]
    return value


def _mutated(column: Any, mutator: str, value: Any) -> Any:
    if isinstance(column, list) and column[0] == "map":
        pairs = dict(column[1])
        if mutator == "delete" and value[0] == "map":  # keys that have these values
            pairs = {key: element for key, element in pairs.items() if [key, element] not in value[1]}
        elif mutator == "delete":
            for key in value[1]:
                pairs.pop(key, None)
        else:
            for key, element in value[1]:
                pairs.setdefault(key, element)
        return ["map", [list(pair) for pair in pairs.items()]]
    elements = [["uuid", id_] for id_ in values(column)]
    changed = value[1] if value[0] == "set" else [value]
    if mutator == "delete":
        return ["set", [element for element in elements if element not in changed]]
    return ["set", [*elements, *changed]]


class FakeFlows:
    """The flow tables of one bridge. A flow with the key of `refuse` is not accepted, one with that of `swallow` is
    accepted and lost."""

    def __init__(self, faults: Faults) -> None:
        self.flows: dict[Key, Flow] = {}
        self.running = True
        self.commits: list[FlowChange] = []
        self.refuse: Flow | None = None
        self.swallow: Flow | None = None
        self._faults = faults
        self._connected = False

    @property
    def connected(self) -> bool:
        return self._connected and self.running

    def restart(self) -> None:
        """Lose everything, as ovs-vswitchd does."""
        self.flows.clear()
        self._connected = False
        self.running = True

    def stop(self) -> None:
        """Be away."""
        self._connected = self.running = False

    async def dump(self, cookies: Sequence[int] | None = None) -> list[Flow]:
        self._faults.strike()
        if not self.running or (cookies is not None and not self._connected):
            raise Transient("ovs-vswitchd does not answer", retry_after_s=0.05)
        self._connected = True
        own = [flow for flow in self.flows.values() if flow.cookie & COOKIE_MARK_MASK == COOKIE_MARK]
        return [flow for flow in own if cookies is None or flow.cookie in cookies]

    async def commit(self, change: FlowChange, *, wipe: bool = False) -> None:
        self._faults.strike()
        if not self.connected:
            raise Transient("ovs-vswitchd does not answer", retry_after_s=0.05)
        if self.refuse is not None and self.refuse.key in {flow.key for flow in change.add}:
            raise Permanent("ovs-vswitchd refused: OpenFlow error type 4 code 9")
        if wipe:
            self.flows = {
                key: flow for key, flow in self.flows.items() if flow.cookie & COOKIE_MARK_MASK != COOKIE_MARK
            }
        for flow in change.delete:
            self.flows.pop(flow.key, None)
        self.flows.update((flow.key, flow) for flow in change.add)
        if self.swallow is not None:
            self.flows.pop(self.swallow.key, None)
        self.commits.append(change)
        self._faults.strike()  # committed, but the answer is lost

    def process(self, packet: Packet) -> list[tuple[int, Packet]]:
        """Return what leaves the bridge, by OpenFlow port; NORMAL stands for itself."""
        out: list[tuple[int, Packet]] = []
        table: int | None = 0
        packet = dict(packet)
        while table is not None:
            matching = [flow for flow in self.flows.values() if flow.table == table and _matches(flow, packet)]
            if not matching:
                break
            flow = max(matching, key=lambda flow: flow.priority)
            rivals = [other for other in matching if other.priority == flow.priority]
            assert len(rivals) == 1, f"ambiguous: {[str(rival) for rival in rivals]}"
            for action in flow.actions:
                match action:
                    case Output(port) if port != packet[Field.IN_PORT]:
                        out.append((port, dict(packet)))
                    case PushVlan():
                        packet[Field.VLAN_VID] = VLAN_PRESENT
                    case PopVlan():
                        packet[Field.VLAN_VID] = 0
                    case SetField(field, value):
                        packet[field] = value
            table = flow.goto
        return out


def _matches(flow: Flow, packet: Packet) -> bool:
    return all(
        field in packet and packet[field] & (~0 if mask is None else mask) == value for field, value, mask in flow.match
    )


class FakeLinks:
    """The kernel's links; carries out the lines of ``ip -batch`` that the agent writes."""

    def __init__(self, faults: Faults) -> None:
        down = Link(up=False, mtu_bytes=1500, mac=NIC_MAC)
        self.kernel = KernelLinks(links={"nic0": down, "nic1": down})
        self.lines: list[str] = []
        self._faults = faults

    async def observe(self) -> KernelLinks:
        self._faults.strike()
        return self.kernel

    async def apply(self, lines: Sequence[str]) -> None:
        self._faults.strike()
        for line in lines:
            self.lines.append(line)
            self._do(line.split())

    def add(self, name: str) -> None:
        """Make a link appear."""
        links = {**self.kernel.links, name: Link(up=False, mtu_bytes=1500, mac="02:00:00:00:00:99")}
        self.kernel = msgspec.structs.replace(self.kernel, links=links)

    def remove(self, name: str) -> None:
        """Make a link vanish with its addresses and routes."""
        links = {key: link for key, link in self.kernel.links.items() if key != name}
        routes = tuple(route for route in self.kernel.routes if route.device != name)
        self.kernel = KernelLinks(links=links, routes=routes)

    def _do(self, words: list[str]) -> None:
        device = words[words.index("dev") + 1]
        link = self.kernel.links[device]
        match words:
            case ["link", "set", "dev", _, "up"]:
                link = msgspec.structs.replace(link, up=True)
            case ["link", "set", "dev", _, "mtu", mtu]:
                link = msgspec.structs.replace(link, mtu_bytes=int(mtu))
            case ["link", "set", "dev", _, "addrgenmode", "none"]:
                pass  # these links have no IPv6 to give themselves addresses
            case ["address", "add", address, *_]:
                link = msgspec.structs.replace(link, addresses=(*link.addresses, address))
            case ["address", "del", address, *_]:
                link = msgspec.structs.replace(link, addresses=tuple(a for a in link.addresses if a != address))
            case ["route", "replace", destination, "via", gateway, *_]:
                route = Route(destination=destination, gateway=gateway, device=device)
                others = [other for other in self.kernel.routes if other.destination != destination]
                self.kernel = msgspec.structs.replace(self.kernel, routes=(*others, route))
            case _:
                raise AssertionError(words)
        self.kernel = msgspec.structs.replace(self.kernel, links={**self.kernel.links, device: link})


class FakeGuard:
    """Notes what is guarded."""

    def __init__(self, faults: Faults) -> None:
        self.guarded: set[str] = set()
        self._faults = faults

    async def keep(self, devices: Collection[str]) -> None:
        self._faults.strike()
        self.guarded = set(devices)

    def distrust(self) -> None:
        pass


class FakeNode:
    """A node with an agent whose passes a test makes one by one."""

    def __init__(self, settings: AgentSettings = SETTINGS) -> None:
        self.now = 1000.0
        self.faults = Faults()
        self.rows = FakeRows(self.faults)
        self.integration = FakeFlows(self.faults)
        self.uplink = FakeFlows(self.faults)
        self.links = FakeLinks(self.faults)
        self.guard = FakeGuard(self.faults)
        self.settings = settings
        self.told: list[RealizationReport] = []
        self.start_agent()

    def start_agent(self) -> None:
        """Start an agent that knows nothing; the former one is no more."""
        host = Host(
            rows=self.rows,
            integration=self.integration,
            uplink=self.uplink,
            links=self.links,
            guard=self.guard,
            datapath="netdev",
        )
        self.outbox = Outbox()
        wake, self.news = asyncio.Event(), asyncio.Event()
        self.agent = Reconciler(self.settings, host, self.outbox, clock=self.clock, wake=wake, news=self.news)

    def clock(self) -> float:
        """Return the time."""
        return self.now

    async def turn(self, times: int = 1) -> None:
        """Let the agent make passes; ovs-vswitchd follows each, and the server takes what is due."""
        for _ in range(times):
            delay_s = await self.agent.turn()
            self.vswitchd()
            self.server()
            self.now += min(max(delay_s, 0.001), PASS_S)

    def vswitchd(self) -> None:
        """Do ovs-vswitchd's part, if it runs."""
        if self.integration.running:
            self.rows.settle()
            if bridge(self.rows.rows, UPLINK) is not None and UPLINK not in self.links.kernel.links:
                self.links.add(UPLINK)

    def server(self) -> None:
        """Take the reports that are due."""
        reports = self.outbox.due(self.now)
        self.told += reports
        self.outbox.acknowledge(reports)

    def restart_vswitchd(self) -> None:
        """Kill ovs-vswitchd and start it: flows and br-bond's link are lost, rows stay."""
        self.integration.restart()
        self.uplink.restart()
        self.links.remove(UPLINK)

    def snapshot(self, *ports: PortDesired, revision: int = 1) -> None:
        """Let the server say everything."""
        self.agent.follow(NodeDesired(node="node1", revision=revision, ports=ports))

    def change(self, *ports: PortDesired, gone: tuple[str, ...] = (), revision: int) -> None:
        """Let the server say a change."""
        self.agent.follow(NodeChange(revision=revision, ports=ports, gone=gone))

    def states(self) -> dict[tuple[str, int], RealizationState]:
        """Return what the server was told last of each binding."""
        return {(report.port_id, report.epoch): report.state for report in self.told}

    def ofport(self, name: str) -> int:
        """Return a device's OpenFlow port."""
        number = optional(self.rows.row("Interface", name)["ofport"])
        assert isinstance(number, int)
        return number

    def send(self, device: str, packet: Packet) -> set[str]:
        """Send a frame from a device; return where it comes out: devices, or ``leaf:VLAN``."""
        out: set[str] = set()
        names = self._names()
        for number, leaving in self.integration.process({**packet, Field.IN_PORT: self.ofport(device)}):
            if names[number] == INTEGRATION_PATCH:
                out |= self._uplink({**_headers(leaving), Field.IN_PORT: self.ofport(UPLINK_PATCH)})
            else:
                assert leaving[Field.VLAN_VID] == 0, f"a tag reached {names[number]}"
                out.add(names[number])
        return out

    def receive(self, vlan: int, packet: Packet) -> set[str]:
        """Let a frame arrive from the leaf with a tag (0: without); return where it comes out."""
        tagged = {**packet, Field.VLAN_VID: VLAN_PRESENT | vlan if vlan else 0}
        return self._uplink({**tagged, Field.IN_PORT: self.ofport("nic0")}) - {f"leaf:{vlan}"}

    def _uplink(self, packet: Packet) -> set[str]:
        """Flood on br-bond as NORMAL does there: VLANs have no learning; the internal port is in none but 0."""
        out: set[str] = set()
        patch = self.ofport(UPLINK_PATCH)
        for number, leaving in self.uplink.process(packet):
            assert number == NORMAL
            vlan = leaving[Field.VLAN_VID] & ~VLAN_PRESENT
            if leaving[Field.IN_PORT] == patch or leaving[Field.IN_PORT] == LOCAL:
                out.add(f"leaf:{vlan}")
            if vlan == 0 and leaving[Field.IN_PORT] != LOCAL:
                out.add("host")
            if leaving[Field.IN_PORT] != patch:
                names = self._names()
                inward = {**_headers(leaving), Field.IN_PORT: self.ofport(INTEGRATION_PATCH)}
                for port_number, delivered in self.integration.process(inward):
                    assert delivered[Field.VLAN_VID] == 0, f"a tag reached {names[port_number]}"
                    out.add(names[port_number])
        return out

    def _names(self) -> dict[int, str]:
        found = bridge(self.rows.rows, INTEGRATION)
        assert found is not None
        return {
            number: row["name"]
            for _, port in ports(self.rows.rows, found[1])
            for id_ in values(port["interfaces"])
            if (number := optional((row := self.rows.rows["Interface"][id_])["ofport"])) is not None
        }


def _headers(packet: Packet) -> Packet:
    """Return what of a packet crosses a patch: not the registers."""
    return {field: value for field, value in packet.items() if field is not Field.NET}


def port(number: int, network: str = "red", vlan: int = 101, **changes: Any) -> PortDesired:
    """Return a desired port whose MAC and addresses come from its number."""
    desired = PortDesired(
        port_id=f"p{number}",
        epoch=1,
        network_id=network,
        vlan=vlan,
        mac=mac(number),
        addresses=(
            AddressDesired(address=f"10.0.0.{number}", prefixlen=24),
            AddressDesired(address=f"fd00::{number:x}", prefixlen=64),
        ),
    )
    return msgspec.structs.replace(desired, **changes)


def mac(number: int) -> str:
    """Return the MAC of port `number`."""
    return f"fa:16:3e:00:00:{number:02x}"


def ipv4(source: int, to_mac: str, **changes: int) -> Packet:
    """Return a UDP packet of port `source` to a MAC."""
    packet = {
        Field.ETH_SRC: mac_int(mac(source)),
        Field.ETH_DST: mac_int(to_mac),
        Field.VLAN_VID: 0,
        Field.ETH_TYPE: 0x0800,
        Field.IP_PROTO: 17,
        Field.IPV4_SRC: 0x0A000000 | source,
        Field.IPV4_DST: 0x0A0000FE,
        Field.UDP_SRC: 40000,
        Field.UDP_DST: 53,
    }
    return {**packet, **{Field[name.upper()]: value for name, value in changes.items()}}


BROADCAST = "ff:ff:ff:ff:ff:ff"
