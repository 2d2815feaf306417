"""Waiting for ports, and watching them live."""

import time
from collections.abc import Sequence

import click

from weft.cli.output import Output, clock
from weft.client import Client
from weft.client.timeline import timeline
from weft.model.errors import Conflict, Transient
from weft.protocol.port import HistoryStep, PortStatus, WatchEvent

WAIT_S = 30.0
POLL_S = 0.05
RECONNECT_S = 1.0


def wait_until_settled(client: Client, port_id: str, timeout_s: float) -> PortStatus:
    """Return a port when it is ACTIVE; raise Conflict if it becomes ERROR, Transient if neither happens in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        status = client.port_status(port_id)
        if status.state == "ACTIVE":
            return status
        if status.state == "ERROR":
            raise Conflict(f"port {status.name or port_id} became ERROR: {status.reason}")
        if time.monotonic() > deadline:
            raise Transient(
                f"port {status.name or port_id} is still {status.state} after {timeout_s:g} s; "
                f"`weft port show {status.name or port_id}` says who has not done what",
                retry_after_s=timeout_s,
            )
        time.sleep(POLL_S)


def watch_ports(client: Client, output: Output, port_ids: Sequence[str]) -> None:
    """Print the steps of ports as they happen, for ever; a server that goes away is waited for."""
    after = None
    names: dict[str, str] = {}
    histories: dict[str, list[HistoryStep]] = {}
    while True:
        try:
            for event in client.watch(["port"], after):
                after = event.revision
                if not port_ids or event.id in port_ids:
                    _print_event(output, event, names, histories)
        except Transient as error:
            click.echo(f"weft: {error.message}; trying again", err=True)
            after = None if error.kind == "RevisionCompacted" else after
            time.sleep(RECONNECT_S)


def _print_event(
    output: Output, event: WatchEvent, names: dict[str, str], histories: dict[str, list[HistoryStep]]
) -> None:
    if output.as_json:
        output.json(event)
        return
    if event.object is not None:
        names[event.id] = event.object.get("name") or event.id
    name = names.get(event.id, event.id)
    seen = histories.setdefault(event.id, [])
    new = [step for step in event.history if step not in seen]
    seen.extend(new)
    for timed in timeline(seen):
        if timed.step in new:
            line = f"{clock(timed.step.at)}  {timed.after_s:+8.3f} s  {name:<16}  {timed.step.actor:<14}  {timed.title}"
            output.line(f"{line}  {timed.step.detail}".rstrip())
    if event.op == "delete":
        histories.pop(event.id, None)
        output.line(f"{'':12}  {'':10}  {name:<16}  {'':14}  deleted")
