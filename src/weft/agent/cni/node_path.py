"""A path between the node's own kernel and a container, for chained `portmap` and for a kubelet's probes: without it a
container is reached by its network alone, and, its gateway being a leaf, answers past the node that has translated.

The node has an address that no network has, LEG, at each such container's end, and a route to the container by it; the
container has one to LEG. What the node sends on from elsewhere leaves with LEG as its source, so that the answer comes
back to be translated back; the container does not see who asked. IPv4 only: `portmap` maps IPv6 in vain.
"""

import asyncio
import socket

from weft.agent.cni.cables import Cable
from weft.agent.cni.result import host_mac
from weft.agent.processes import execute
from weft.model.errors import Transient

LEG = "169.254.77.1"
"""Link-local (RFC 3927): routed nowhere, and the same on every node."""
PASS = 5
"""Preference of the filter that lets frames to LEG up to the node: before those of weft.agent.cni.rtnetlink."""
PAIRS = "weft-+"

_at_iptables = asyncio.Lock()


def node_lines(device: str, mac: str, addresses: list[str]) -> list[str]:
    """Return what leads the node to a container, as lines for ``ip -batch``. Pure."""
    lines = [f"address replace {LEG}/32 dev {device}"]  # what `portmap` masquerades gets the device's own
    for address in addresses:
        lines += [
            f"route replace {address}/32 dev {device} src {LEG}",
            f"neighbour replace {address} lladdr {mac} dev {device} nud permanent",
        ]
    return lines


def container_lines(ifname: str, mac: str) -> list[str]:
    """Return what leads a container to the node. Pure."""
    return [
        f"route replace {LEG}/32 dev {ifname} scope link",
        f"neighbour replace {LEG} lladdr {mac} dev {ifname} nud permanent",
    ]


async def lay(cable: Cable, netns: str) -> None:
    """Lay the path of a container; it goes with the container's pair. Raises Transient with the kernel's words."""
    workload = cable.workload
    assert workload is not None
    addresses = [each.address for each in workload.addresses if ":" not in each.address]
    device = _joined(cable)
    passing = f"filter replace dev {device} ingress pref {PASS} protocol ip u32 match ip dst {LEG}/32 flowid :1\n"
    await asyncio.gather(
        execute("ip", "-batch", "-", stdin="\n".join(node_lines(device, workload.mac, addresses)) + "\n"),
        execute("tc", "-batch", "-", stdin=passing),
        _in_container(netns, container_lines(cable.ifname, host_mac(workload.mac))),
        _translate(),
    )


def _joined(cable: Cable) -> str:
    """Return what of a container's is joined to its cable: frames for the node come out there."""
    try:
        socket.if_nametoindex(cable.joint)
    except OSError:
        return cable.host_end
    return cable.joint


async def _in_container(netns: str, lines: list[str]) -> None:
    await execute("nsenter", f"--net={netns}", "ip", "-batch", "-", stdin="\n".join(lines) + "\n")


async def _translate() -> None:
    """Give what the node sends on to containers LEG as its source; once on a node."""
    rule = ("POSTROUTING", "-o", PAIRS, "!", "-s", f"{LEG}/32", "-m", "comment", "--comment", "weft-cni")
    wanted = (*rule, "-j", "SNAT", "--to-source", LEG)
    async with _at_iptables:
        try:
            await execute("iptables", "-w", "-t", "nat", "-C", *wanted)
        except Transient:
            await execute("iptables", "-w", "-t", "nat", "-A", *wanted)
