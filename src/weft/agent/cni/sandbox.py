"""A container's cable: a veth pair from its namespace to br-int, and the device's row in Open vSwitch's database.

The row carries the port's id, as any hypervisor's does, and the container that it is of; by that it is found again,
whatever the agent remembers. ``nsenter`` reaches a namespace by its path, wherever a runtime keeps it.
"""

import asyncio
import json
import os
from collections.abc import Iterator

import msgspec

from weft.agent.ovs.bridges import symbol
from weft.agent.ovs.observed import INTEGRATION
from weft.agent.ovs.tables import Operation, Tables, bridge, interfaces, mapping, ovs_map, ovs_set, ports
from weft.agent.processes import execute
from weft.model.errors import Transient
from weft.protocol.workload import Workload

DEVICE_PREFIX = "tap"
DEVICE_ID_LENGTH = 8
"""The end of the port's id: its beginning is a time, which ports that are made together share (RFC 9562, UUIDv7)."""
CONTAINER, IFNAME, NETWORK, NAME, PROJECT = (
    f"weft-{word}" for word in ("container", "ifname", "network", "workload", "project")
)
"""What a device's external_ids say besides the port's id."""


class Plugged(msgspec.Struct, frozen=True, kw_only=True):
    """A container's device as the database has it."""

    device: str
    port: str
    """Row id of its Port."""
    port_id: str
    container_id: str
    ifname: str
    network: str
    name: str
    project: str


def device_of(port_id: str) -> str:
    """Name the host's end of a port's pair."""
    return DEVICE_PREFIX + port_id[-DEVICE_ID_LENGTH:]


def plugged(tables: Tables) -> Iterator[Plugged]:
    """Yield the containers' devices that are in br-int."""
    found = bridge(tables, INTEGRATION)
    if found is None:
        return
    for port_row, row in ports(tables, found[1]):
        for _, interface in interfaces(tables, row):
            ids = mapping(interface["external_ids"])
            if CONTAINER in ids:
                yield Plugged(
                    device=interface["name"],
                    port=port_row,
                    port_id=ids.get("iface-id", ""),
                    container_id=ids[CONTAINER],
                    ifname=ids.get(IFNAME, ""),
                    network=ids.get(NETWORK, ""),
                    name=ids.get(NAME, ""),
                    project=ids.get(PROJECT, ""),
                )


def insertion(tables: Tables, workload: Workload, *, ifname: str, network: str, project: str | None) -> list[Operation]:
    """Return what puts a workload's device into br-int; br-int is there by then."""
    found = bridge(tables, INTEGRATION)
    assert found is not None
    device = device_of(workload.port_id)
    ids = {
        "iface-id": workload.port_id,
        "attached-mac": workload.mac,
        CONTAINER: workload.holder,
        IFNAME: ifname,
        NETWORK: network,
        NAME: workload.name,
        PROJECT: project or "",
    }
    interface, port = f"interface_{symbol(device)}", f"port_{symbol(device)}"
    row = {"name": device, "external_ids": ovs_map(ids)}
    reference = ovs_set([["named-uuid", interface]])
    return [
        {"op": "insert", "table": "Interface", "uuid-name": interface, "row": row},
        {"op": "insert", "table": "Port", "uuid-name": port, "row": {"name": device, "interfaces": reference}},
        _mutation(found[0], "insert", ["named-uuid", port]),
    ]


def removal(tables: Tables, port_row: str) -> list[Operation]:
    """Return what takes a device out of br-int."""
    found = bridge(tables, INTEGRATION)
    return [] if found is None else [_mutation(found[0], "delete", ["uuid", port_row])]


def _mutation(bridge_row: str, verb: str, reference: list[str]) -> Operation:
    where = [["_uuid", "==", ["uuid", bridge_row]]]
    return {"op": "mutate", "table": "Bridge", "where": where, "mutations": [["ports", verb, ovs_set([reference])]]}


def lines_of(ifname: str, workload: Workload, pid: int) -> list[str]:
    """Return what makes a pair from inside a container's namespace, as lines for ``ip -batch``; `pid` is of a process
    in the namespace that the other end goes to. Pure."""
    mtu = workload.mtu_bytes
    far = f"peer name {device_of(workload.port_id)} mtu {mtu} netns {pid}"
    lines = [f"link add {ifname} address {workload.mac} mtu {mtu} type veth {far}"]
    for address in workload.addresses:
        nodad = " nodad" if ":" in address.address else ""
        lines.append(f"address add {address.address}/{address.prefixlen} dev {ifname}{nodad}")
    lines += [f"link set {ifname} up", "link set lo up"]
    gateways = [address.gateway for address in reversed(workload.addresses) if address.gateway is not None]
    return [*lines, *(f"route replace default via {gateway} dev {ifname}" for gateway in gateways)]


async def make(netns: str, ifname: str, workload: Workload, *, writes_checksums: bool) -> None:
    """Make a pair between a container's namespace and the agent's, with the workload's MAC, addresses and routes.

    `writes_checksums`: the container has to write its packets' checksums itself, since nobody does so after it. Raise
    Transient with the kernel's words if that fails, as for a namespace that is gone or a name that is taken.
    """
    batch = "\n".join(lines_of(ifname, workload, os.getpid())) + "\n"
    await execute("nsenter", f"--net={netns}", "ip", "-batch", "-", stdin=batch)
    up = execute("ip", "link", "set", device_of(workload.port_id), "up")
    if writes_checksums:
        await asyncio.gather(up, execute("nsenter", f"--net={netns}", "ethtool", "-K", ifname, "tx", "off"))
    else:
        await up


async def remove(device: str) -> None:
    """Remove a pair by the host's end; one that is gone is as good."""
    try:
        await execute("ip", "link", "del", device)
    except Transient as error:
        if "Cannot find device" not in error.message:
            raise


async def seen(netns: str, ifname: str) -> tuple[str, frozenset[str]]:
    """Return MAC and addresses of a container's interface. Raise Transient if there is none."""
    rows = json.loads(await execute("nsenter", f"--net={netns}", "ip", "-j", "address", "show", "dev", ifname))
    addresses = (each for row in rows for each in row.get("addr_info", ()) if each.get("scope") == "global")
    return rows[0]["address"], frozenset(f"{each['local']}/{each['prefixlen']}" for each in addresses)
