"""`weft status`."""

import click

from weft.cli.connection import asks_server
from weft.cli.node import agent_cells
from weft.cli.output import Output
from weft.cli.switch import status_cells
from weft.client import Client


@click.command()
@asks_server
def status(client: Client, output: Output) -> None:
    """Show the server at a glance: ports per state, agents, switches."""
    found = client.status()
    if output.as_json:
        output.json(found)
        return
    output.fields({"revision": found.get("revision")})
    output.line()
    output.table(["PORTS", ""], list(found.get("ports", {}).items()))
    output.line()
    output.table(["NODE", "AGENT", "LAST SEEN"], [[each["name"], *agent_cells(each)] for each in client.nodes()])
    output.line()
    switches = [[each["switch"], *status_cells(each)] for each in client.fabric_status()["switches"]]
    output.table(["SWITCH", "STATE", "SINCE", "REASON"], switches)
