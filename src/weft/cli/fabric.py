"""`weft fabric`."""

import time

import click

from weft.cli.connection import asks_server
from weft.cli.fabric_forecast import capacity, radius
from weft.cli.manual import Group
from weft.cli.output import Output, ago, clock
from weft.cli.switch import status_cells
from weft.client import Client
from weft.client.call import JsonObject
from weft.model.errors import Conflict, NotFound, Transient

POLL_S = 0.25


@click.group(
    cls=Group,
    examples=(
        ("weft fabric status", "Is every switch what it shall be, and if not, since when and why."),
        ("weft fabric plan leaf1", "What would change on leaf1, line by line, with the port or router that needs it."),
        ("weft fabric apply spine1", "Make what waits on spine1: the first switch of each change is verified alone."),
        ("weft fabric capacity --hosts 40 --instances 500", "What that does to the tables of a leaf."),
        ("weft fabric radius", "What goes down with a spine, a leaf, a core, a cable."),
        ("weft fabric rollouts", "What was applied, by whom, what was overridden, and how it ended."),
    ),
)
def fabric() -> None:
    """The fabric: all switches of a site together."""


@fabric.command()
@asks_server
def status(client: Client, output: Output) -> None:
    """Show the state of every switch: in-sync, pending, drifted, unreachable, failed or quarantined."""
    found = client.fabric_status()
    if output.as_json:
        output.json(found)
        return
    rows = [[each["switch"], *status_cells(each)] for each in found["switches"]]
    output.table(["SWITCH", "STATE", "SINCE", "REASON"], rows)


@fabric.command()
@click.argument("switches", metavar="[SWITCH]...", nargs=-1)
@asks_server
def plan(client: Client, output: Output, switches: tuple[str, ...]) -> None:
    """Show what is to be changed, from what was last read from each switch: why, at what risk, and what waits.

    A switch that is what it shall be has no plan. What is held waits for `weft fabric apply`. Of a switch that cannot
    be read nobody knows what is to be changed: the command says why, shows the others, and fails.
    """
    planned = {each["switch"]: each for each in client.fabric_plan()["switches"]}
    if unknown := [name for name in switches if name not in planned]:
        raise NotFound(f"'{unknown[0]}' is not a switch of the inventory; `weft switch list` shows them")
    found = [each for name, each in planned.items() if not switches or name in switches]
    if output.as_json:
        output.json(found)
    else:
        for each in found:
            output.diff(each["text"])
    if unread := [each["switch"] for each in found if each["trouble"]]:
        raise Transient(f"could not be read: {', '.join(unread)}", retry_after_s=POLL_S)


@fabric.command()
@click.argument("switches", metavar="[SWITCH]...", nargs=-1)
@click.option("--reason", default="", help="Why; it is kept with the roll-out.")
@click.option("--override", is_flag=True, help="Go beyond the bounds that refuse it. Who did so is kept.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it has ended, and show each step.")
@asks_server
def apply(
    client: Client, output: Output, switches: tuple[str, ...], *, reason: str, override: bool, wait: bool
) -> None:
    """Make what waits on these switches, or on all.

    The switch with the fewest ports goes first. When it is verified, the others follow, a few at a time. One that is
    not what it shall be in time is given back what it had, and no other is begun.
    """
    rollout = client.fabric_apply(switches, reason=reason, override=override)
    seen: set[tuple[str, str]] = set()
    while wait:
        if not output.as_json:
            _show_steps(output, rollout, seen)
        if rollout["state"] != "running":
            break
        time.sleep(POLL_S)
        rollout = client.fabric_rollout(rollout["id"])
    if output.as_json:
        output.json(rollout)
    elif not wait:
        output.line(f"roll-out {rollout['id']} is begun; `weft fabric rollouts` shows how far it is")
    if rollout["state"] == "failed":
        raise Conflict(f"roll-out {rollout['id']} failed; `weft fabric status` shows what was rolled back")


@fabric.command()
@click.argument("rollout", required=False)
@asks_server
def rollouts(client: Client, output: Output, rollout: str | None) -> None:
    """Show what was applied, the newest first; or one roll-out, switch by switch."""
    found: list[JsonObject] = client.fabric_rollouts() if rollout is None else [client.fabric_rollout(rollout)]
    if output.as_json:
        output.json(found if rollout is None else found[0])
    elif rollout is None:
        rows = [
            [each["id"], each["state"], f"{ago(time.time() - each['asked_at'])} ago", each["by"], each["reason"],
             [target["switch"] for target in each["switches"]], "; ".join(each["overridden"])]
            for each in found
        ]  # fmt: skip
        output.table(["ID", "STATE", "ASKED", "BY", "REASON", "SWITCHES", "OVERRIDDEN"], rows)
    else:
        rows = [[each["switch"], each["state"], clock(each["since"]), each["note"]] for each in found[0]["switches"]]
        output.table(["SWITCH", "STATE", "SINCE", "NOTE"], rows)


def _show_steps(output: Output, rollout: JsonObject, seen: set[tuple[str, str]]) -> None:
    """Print what was not printed yet."""
    for each in rollout["switches"]:
        step = (each["switch"], each["state"])
        if step not in seen and each["state"] != "waiting":
            seen.add(step)
            output.line(f"{clock(each['since'])}  {each['switch']}  {each['state']}  {each['note']}".rstrip())


fabric.add_command(capacity)
fabric.add_command(radius)
