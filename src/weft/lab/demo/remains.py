"""What stands on nodes and switches, read from themselves: before anything was asked for, while it ran, and after.

The server is not believed here. Each thing found is a line of text under its kind, such as ``flows`` or ``VNIs``; what
was not there before and is there afterwards was left behind.
"""

import asyncio
from collections.abc import Mapping, Sequence

from weft.client import AsyncClient
from weft.lab import namespaces, state
from weft.lab.commands import run
from weft.lab.demo import reading
from weft.lab.demo.checks import Checks
from weft.lab.demo.live import until
from weft.lab.demo.reading import Found
from weft.lab.demo.screen import Screen
from weft.lab.reach import argv_in
from weft.lab.state import LabState
from weft.lab.topology import INSTANCE_PREFIX

GONE_TIMEOUT_S = 15.0
SHOWN_AT_MOST = 3

NODE_BRIDGES = ("br-int", "br-bond")
ALL_INTERFACES = "ip -j -d addr; for each in $(ls /run/netns 2>/dev/null); do ip -n $each -j -d addr; done"
"""A switch may keep a tenant's interfaces in a namespace of its own."""

Survey = Mapping[str, frozenset[str]]
"""What was found, by kind; each thing with the device that it was found on."""


async def survey() -> Survey:
    """Look at the machine, at every node and at every switch."""
    lab = state.load()
    looks = [
        *(_look_at_node(lab, node) for node in lab.ovs_nodes),
        *(_look_at_switch(lab, each) for each in lab.switches),
    ]
    found = set[Found]().union(*await asyncio.gather(*looks))
    found |= {("instance namespaces", name) for name in namespaces.existing() if name.startswith(INSTANCE_PREFIX)}
    return {kind: frozenset(thing for of, thing in found if of == kind) for kind in reading.KINDS}


async def prove_gone(client: AsyncClient, before: Survey, full: Survey, checks: Checks, screen: Screen) -> None:
    """Check that what the instances brought has gone again, kind by kind, and that the server knows of nothing more."""
    after = await until(survey, lambda found: not any(_left(before, found).values()), GONE_TIMEOUT_S)
    counts = [[kind, *(str(len(each[kind])) for each in (before, full, after))] for kind in reading.KINDS]
    screen.table(["READ FROM NODES AND SWITCHES", "BEFORE", "WITH INSTANCES", "AFTER"], counts, numbers_from=1)
    for kind, left in _left(before, after).items():
        brought = len(full[kind] - before[kind])
        evidence = f"{brought} came with the instances; left: {_some(sorted(left))}"
        checks.record(f"{kind} are gone", held=not left and brought > 0, evidence=evidence)
    known = {
        "networks": await client.networks.list(),
        "subnets": await client.subnets.list(),
        "routers": await client.routers.list(),
        "ports": await client.ports.list(),
    }
    evidence = ", ".join(f"{len(objects)} {name}" for name, objects in known.items())
    checks.record("the server knows of nothing more", held=not any(known.values()), evidence=evidence)


def _left(before: Survey, after: Survey) -> dict[str, frozenset[str]]:
    return {kind: after[kind] - before[kind] for kind in reading.KINDS}


def _some(things: Sequence[str]) -> str:
    more = f" and {len(things) - SHOWN_AT_MOST} more" if len(things) > SHOWN_AT_MOST else ""
    return (", ".join(things[:SHOWN_AT_MOST]) or "nothing") + more


async def _look_at_node(lab: LabState, node: str) -> set[Found]:
    found = set()
    for bridge in NODE_BRIDGES:
        flows = await run(*argv_in(lab, node, ["ovs-ofctl", "-O", "OpenFlow14", "--no-stats", "dump-flows", bridge]))
        found |= reading.flows(f"{node} {bridge}", flows)
    devices = await run(*argv_in(lab, node, ["ovs-vsctl", "list-ports", "br-int"]))
    return found | reading.devices(node, devices)


async def _look_at_switch(lab: LabState, switch: str) -> set[Found]:
    interfaces = await run(*argv_in(lab, switch, ["sh", "-c", ALL_INTERFACES]))
    config = await run(*argv_in(lab, switch, ["vtysh", "-c", "show running-config"]))
    routes = await run(*argv_in(lab, switch, ["vtysh", "-c", "show bgp l2vpn evpn route"]))
    vlans = await run(*argv_in(lab, switch, ["bridge", "-j", "vlan"]))
    return (
        reading.interfaces(switch, interfaces)
        | reading.bridge_vlans(switch, vlans)
        | reading.vrfs(switch, config)
        | reading.evpn_routes(switch, routes)
    )
