"""`weft status`."""

import time

import click

from weft.cli.connection import asks_server
from weft.cli.node import agent_cells
from weft.cli.output import Output, ago
from weft.cli.switch import status_cells
from weft.client import Client


@click.command()
@asks_server
def status(client: Client, output: Output) -> None:
    """Show everything at a glance: ports per state, agents, switches, and which process leads which shard."""
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
    output.line()
    shards = [
        [
            each["shard"],
            each["leader"] or "nobody",
            f"{ago(time.time() - each['since'])} ago" if each["since"] else None,
            each["term"],
        ]
        for each in found.get("shards", [])
    ]
    output.table(["SHARD", "LEADER", "SINCE", "TERM"], shards)
