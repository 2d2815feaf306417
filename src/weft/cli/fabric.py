"""`weft fabric`."""

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.output import Output
from weft.cli.switch import status_cells
from weft.client import Client


@click.group(
    cls=Group,
    examples=(
        ("weft fabric status", "Is every switch what it shall be, and if not, since when and why."),
        ("weft fabric plan leaf1", "What would change on leaf1, line by line, with the port or router that needs it."),
    ),
)
def fabric() -> None:
    """The fabric: all switches of a site together."""


@fabric.command()
@asks_server
def status(client: Client, output: Output) -> None:
    """Show the state of every switch: in-sync, pending, unreachable or failed."""
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
    """Show what the controller would change, from what it last read from each switch.

    A switch that is what it shall be has no plan.
    """
    found = [each for each in client.fabric_plan()["switches"] if not switches or each["switch"] in switches]
    if output.as_json:
        output.json(found)
        return
    for each in found:
        output.heading(each["switch"])
        output.line(each["text"] or "  nothing to change")
