"""Sending a probe from one instance to another of the running lab, and finding the path that it took."""

import asyncio
import ipaddress
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path as FilePath

from weft.lab import namespaces, ovs, processes, switches
from weft.lab.commands import run
from weft.lab.path.hop import Ground, Path, assemble, traversals
from weft.lab.path.ovs_trace import Layout, flow_of, passed, read_layout
from weft.lab.path.sighting import ICMP_ECHO_REQUEST, Sighting
from weft.lab.path.watch import Spot, watching
from weft.lab.state import LabState
from weft.lab.topology import namespace_of
from weft.model.errors import NotFound, Permanent

NONCE_BYTES = 16
PROBES = 3
"""A probe that is lost is sent again, this often at most; the first may wait for ARP and a route."""
ARRIVAL_S = 1.0
POLL_S = 0.02
RUN_NETNS = FilePath("run/netns")


class Finder:
    """Finds paths in a lab as it stands; make a new one when devices came or went."""

    def __init__(self, lab: LabState, spots: tuple[Spot, ...], masters: dict[tuple[str, str, str], str]) -> None:
        self._lab = lab
        self._spots = spots
        self._masters = masters
        self._layouts: dict[str, Layout] = {}

    @classmethod
    async def of(cls, lab: LabState) -> "Finder":
        """Look at the namespaces of a lab, and at the bridges in them."""
        spots = (*_spots(lab), *await asyncio.to_thread(lambda: tuple(_tenant_spots(lab))))
        found = await asyncio.gather(*(_masters(lab, spot) for spot in spots))
        masters = {key: bridge for each in found for key, bridge in each.items()}
        return cls(lab, spots, masters)

    async def find(self, source: str, namespace: str, target: str, address: str) -> Path:
        """Send a probe from a namespace of `source` to an address of `target`, and return the path that it took.

        Raise Permanent if no probe arrived; the text says how far the last one came.
        """
        path = None
        for _ in range(PROBES):
            sightings = await self._probe(namespace, target, address)
            if sightings:
                path = assemble(source, target, sightings, await self._ground(sightings))
                if path.arrived:
                    return path
        last = f"the last was seen at {path.hops[-1].place}, {path.hops[-1].device}" if path else "none was seen at all"
        raise Permanent(f"{PROBES} probes from {source} did not reach {target} ({address}); {last}")

    async def _probe(self, namespace: str, target: str, address: str) -> tuple[Sighting, ...]:
        nonce = os.urandom(NONCE_BYTES)
        with watching(self._spots, nonce) as watch:
            await asyncio.to_thread(namespaces.inside, namespace, lambda: _send(address, nonce))
            deadline = asyncio.get_running_loop().time() + ARRIVAL_S
            while asyncio.get_running_loop().time() < deadline:
                if any(each.place == target and not each.outgoing for each in list(watch.sightings)):
                    break
                await asyncio.sleep(POLL_S)
        return tuple(watch.sightings)

    async def _ground(self, sightings: Iterable[Sighting]) -> Ground:
        lab = self._lab
        traces = {}
        for before, here in traversals(sightings, lab.ovs_nodes):
            if (layout := await self._layout(before.place)) and {before.interface, here.interface} <= set(
                layout.bridge_of
            ):
                trace = await _trace(before, layout)
                traces[before.place, before.interface, here.interface] = passed(
                    trace, layout, before.interface, here.interface
                )
        return Ground(
            switches=frozenset(lab.switches),
            switch_ports={name: frozenset(ports) for name, ports in lab.switch_ports.items()},
            instances=frozenset(each.name for each in lab.instances.values() if each.device is not None),
            nics={name: frozenset(nics) for name, nics in lab.nics.items()},
            devices=frozenset((each.node, each.device) for each in lab.instances.values() if each.device is not None),
            masters=self._masters,
            traces=traces,
        )

    async def _layout(self, node: str) -> Layout:
        if node not in self._layouts:
            self._layouts[node] = read_layout(await run("ovs-vsctl", f"--db={ovs.database(node)}", "show"))
        return self._layouts[node]


async def _trace(sighting: Sighting, layout: Layout) -> str:
    bridge = layout.bridge_of[sighting.interface]
    argv = ("ovs-appctl", "-t", str(_control(sighting.place)), "ofproto/trace", bridge, flow_of(sighting))
    return await run(*argv, environment={**os.environ, **ovs.environment(sighting.place)})


def _control(node: str) -> FilePath:
    found = sorted(ovs.run_dir(node).glob(f"{ovs.SWITCH_PROGRAM}.*.ctl"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise NotFound(f"{ovs.SWITCH_PROGRAM} does not run on {node}: `weft lab start {node}/{ovs.SWITCH_PROGRAM}`")
    return found[-1]


def _spots(lab: LabState) -> tuple[Spot, ...]:
    devices = [Spot(name, "", namespace_of(name)) for name in (*lab.switches, *lab.nics)]
    return (
        *devices,
        *(Spot(each.name, "", each.namespace) for each in lab.instances.values() if each.device is not None),
    )


def _tenant_spots(lab: LabState) -> Iterable[Spot]:
    """The namespaces that stand for VRFs in switches whose kernel has no VRF devices; only their switch names them."""
    for name in lab.switches:
        process = lab.processes.get(switches.process_name(name))
        if process is None or process.pid is None or not (children := processes.children(process.pid)):
            continue
        folder = FilePath("/proc") / str(children[0]) / "root" / RUN_NETNS
        for link in sorted(folder.iterdir()) if folder.is_dir() else ():
            yield Spot(name, link.name, str(_inside_root(folder, link)))


def _inside_root(folder: FilePath, link: FilePath) -> FilePath:
    """Follow a symbolic link as the switch does, whose root is not the machine's."""
    if not link.is_symlink():
        return link
    aim = link.readlink()
    return folder.parents[1] / aim.relative_to("/") if aim.is_absolute() else folder / aim


async def _masters(lab: LabState, spot: Spot) -> dict[tuple[str, str, str], str]:
    if spot.place in lab.instances:
        return {}
    entered = await asyncio.to_thread(lambda: json.loads(namespaces.inside(spot.namespace, _links) or "[]"))
    return {(spot.place, spot.inside, each["ifname"]): each["master"] for each in entered if "master" in each}


def _links() -> str:
    return subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout


def _send(address: str, nonce: bytes) -> None:
    """Send an ICMP echo request (RFC 792) whose data begins with the nonce."""
    header = struct.pack("!BBHHH", ICMP_ECHO_REQUEST, 0, 0, os.getpid() & 0xFFFF, 1)
    checksum = _checksum(header + nonce)
    packet = struct.pack("!BBHHH", ICMP_ECHO_REQUEST, 0, checksum, os.getpid() & 0xFFFF, 1) + nonce
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as wire:
        wire.sendto(packet, (str(ipaddress.IPv4Address(address)), 0))


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
