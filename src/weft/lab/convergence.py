"""Waiting until the lab is what its inventory says: switches in sync, BGP sessions established, agents connected.

The server is asked what it believes; the switches are asked themselves, so that a wrong belief shows.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import msgspec

from weft.client import AsyncClient
from weft.lab import state
from weft.lab.commands import run
from weft.lab.progress import Progress
from weft.lab.reach import argv_in
from weft.lab.state import LabState
from weft.model.errors import Permanent, Transient
from weft.model.inventory import VLAN_ROLES, Inventory

POLL_S = 0.1
SESSION_POLL_S = 0.3
"""Asking a switch costs it 40 ms of CPU, which it needs for the answer to become yes."""
BGP_SUMMARY = ("vtysh", "-c", "show bgp summary json")
TIMEOUT_S = 60.0
"""How long the whole of a lab may take to converge; it takes a few seconds."""
ESTABLISHED = "Established"
IN_SYNC = "in-sync"
ALIVE = "alive"


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not there yet; empty when all is."""

    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.reasons)


Look = Callable[[], Awaitable[Missing]]


async def until_converged(lab: LabState, inventory: Inventory, client: AsyncClient, progress: Progress) -> None:
    """Return when all has converged; raise Transient with what is missing if it has not after TIMEOUT_S."""
    deadline = time.monotonic() + TIMEOUT_S

    async def fabric() -> None:
        await _until(lambda: _switches(client, lab), POLL_S, deadline)
        progress.done(f"{len(lab.switches)} switches configured and in sync")
        expected = expected_sessions(inventory)
        await asyncio.gather(*(_until(_look_at(*each), SESSION_POLL_S, deadline) for each in expected.items()))
        progress.done(f"{sum(expected.values()) // 2} BGP sessions established, as both ends say")

    async def agents() -> None:
        await _until(lambda: _agents(client, lab), POLL_S, deadline)
        progress.done(f"{len(lab.ovs_nodes)} agents connected")

    await asyncio.gather(fabric(), agents())


def expected_sessions(inventory: Inventory) -> dict[str, int]:
    """Return how many BGP sessions each switch that routes has: one for each cable to another one."""
    switches = {str(switch.name) for switch in inventory.switches if switch.role not in VLAN_ROLES}
    counts = dict.fromkeys(sorted(switches), 0)
    for link in inventory.links:
        if {link.a.device, link.b.device} <= switches:
            counts[link.a.device] += 1
            counts[link.b.device] += 1
    return counts


class _Peer(msgspec.Struct):
    state: str


class _Family(msgspec.Struct):
    peers: dict[str, _Peer] = {}


def established(summary: str) -> int:
    """Return how many sessions are established for every address family, from ``show bgp summary json``."""
    families = {
        name: msgspec.convert(family, _Family)
        for name, family in json.loads(summary).items()
        if isinstance(family, dict) and "peers" in family
    }
    states: dict[str, set[str]] = {}
    for family in families.values():
        for peer, seen in family.peers.items():
            states.setdefault(peer, set()).add(seen.state)
    return sum(seen == {ESTABLISHED} for seen in states.values())


async def _until(look: Look, every_s: float, deadline: float) -> None:
    while (missing := await look()).reasons:
        if time.monotonic() > deadline:
            raise Transient(f"the lab has not converged after {TIMEOUT_S:g} s: {missing}", retry_after_s=TIMEOUT_S)
        await asyncio.sleep(every_s)


async def _switches(client: AsyncClient, lab: LabState) -> Missing:
    rows = {row["switch"]: row for row in (await client.fabric_status())["switches"]}
    return _missing(
        f"{name} is {rows[name]['state'] if name in rows else 'unknown'}" + _reason(rows.get(name, {}))
        for name in lab.switches
        if name not in rows or rows[name]["state"] != IN_SYNC
    )


def _reason(row: dict[str, object]) -> str:
    return f" ({row['reason']})" if row.get("reason") else ""


def _look_at(switch: str, expected: int) -> Look:
    async def look() -> Missing:
        found = await sessions_of(switch)
        return _missing([] if found == expected else [f"{switch} has {found} of {expected} BGP sessions"])

    return look


async def sessions_of(switch: str) -> int:
    """Ask a switch how many BGP sessions it has; 0 if its bgpd cannot be asked now."""
    try:
        return established(await run(*argv_in(state.load(), switch, BGP_SUMMARY)))
    except (Permanent, ValueError, msgspec.ValidationError):  # not configured yet, or starting again
        return 0


async def _agents(client: AsyncClient, lab: LabState) -> Missing:
    rows = {row["name"]: row.get("agent") or {} for row in await client.nodes()}
    return _missing(
        f"the agent of {node} is {rows.get(node, {}).get('state', 'unknown')}"
        for node in lab.ovs_nodes
        if rows.get(node, {}).get("state") != ALIVE
    )


def _missing(reasons: Iterable[str]) -> Missing:
    return Missing(tuple(reasons))
