"""Moving a running instance to another node while somebody pings it."""

from weft.client import AsyncClient
from weft.lab import instances, state
from weft.lab.demo.cast import MOVE_SEEN_FROM, MOVE_TO, MOVED
from weft.lab.demo.checks import Checks
from weft.lab.demo.inside import MOVE_PING_INTERVAL_S, pinging
from weft.lab.demo.live import until
from weft.lab.demo.proofs import Stage
from weft.lab.demo.tenants import Made
from weft.lab.migration import migrate
from weft.protocol.port import PortStatus

MAX_LOST = 20
OLD_GONE_TIMEOUT_S = 10.0


async def prove_move(client: AsyncClient, made: Made, stage: Stage, checks: Checks) -> None:
    """Move an instance as a live migration does; check what it keeps, what it loses, what it leaves."""
    port_id = made.ports[MOVED.name]
    before = await client.port_status(port_id)
    async with pinging(stage.place(MOVE_SEEN_FROM), stage.address(MOVED)) as series:
        await migrate(client, instances.find(state.load(), MOVED.name), MOVE_TO)
        after = await until(
            lambda: client.port_status(port_id), lambda port: len(port.bindings) == 1, OLD_GONE_TIMEOUT_S
        )
    _check_identity(before, after, checks)
    lost, sent = series.result.lost, series.result.sent
    gap_ms = series.result.longest_gap * MOVE_PING_INTERVAL_S * 1000
    evidence = f"{lost} of {sent} pings at 20 ms lost, longest gap {gap_ms:.0f} ms (at most {MAX_LOST} may be)"
    checks.record("the move is hardly felt", held=lost <= MAX_LOST, evidence=evidence)


def _check_identity(before: PortStatus, after: PortStatus, checks: Checks) -> None:
    same = (before.mac, before.fixed_ips) == (after.mac, after.fixed_ips)
    identity = f"{after.fixed_ips[0].address} and {after.mac} {'kept' if same else 'NOT KEPT'}"
    held = same and after.epoch == before.epoch + 1 and after.node == MOVE_TO and after.state == "ACTIVE"
    evidence = f"{before.node} -> {after.node}, {identity}, epoch {before.epoch} -> {after.epoch}, {after.state}"
    checks.record("a running instance moves to another node", held=held, evidence=evidence)
    old = ", ".join(f"{binding.node} (epoch {binding.epoch})" for binding in after.bindings)
    checks.record("the old node has given it up", held=len(after.bindings) == 1, evidence=f"bound to {old}")
