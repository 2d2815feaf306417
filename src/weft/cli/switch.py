"""`weft switch`."""

import time

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.output import Output, ago
from weft.client import Client
from weft.client.call import JsonObject


@click.group(
    cls=Group,
    examples=(
        ("weft switch list", "Every switch, and whether it is what it shall be."),
        ("weft switch show leaf1", "Its numbers, its state and why."),
    ),
)
def switch() -> None:
    """Switches: the devices that weft configures. They are declared by the inventory."""


@switch.command("list")
@asks_server
def list_(client: Client, output: Output) -> None:
    """List switches with their status."""
    found = client.switches()
    if output.as_json:
        output.json(found)
        return
    columns = {"NAME": "name", "ROLE": "role", "ASN": "asn", "LOOPBACK": "loopback", "MANAGEMENT": "management"}
    rows = [[*(each.get(key) for key in columns.values()), *status_cells(each.get("status"))] for each in found]
    output.table([*columns, "STATE", "SINCE", "REASON"], rows)


def status_cells(status: JsonObject | None) -> tuple[str | None, str | None, str | None]:
    """Return a switch's state, since when, and why."""
    if not status:
        return None, None, None
    since = status.get("since")
    return status.get("state"), f"{ago(time.time() - since)} ago" if since else None, status.get("reason")


@switch.command()
@click.argument("switch")
@asks_server
def show(client: Client, output: Output, switch: str) -> None:
    """Show a switch."""
    found = client.switch(switch)
    if output.as_json:
        output.json(found)
        return
    output.fields({key: value for key, value in found.items() if key != "status"})
    state, since, reason = status_cells(found.get("status"))
    output.fields({"state": state, "since": since, "reason": reason})
