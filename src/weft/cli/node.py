"""`weft node`."""

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
        ("weft node list", "Every node, where it hangs, and whether its agent is alive."),
        ("weft node token node7", "A new token for node7's agent; the old one is void."),
        ("weft node desired node1", "What node1 shall carry, as its agent sees it."),
    ),
)
def node() -> None:
    """Nodes: hosts that instances run on, and bare-metal servers. They are declared by the inventory."""


@node.command("list")
@asks_server
def list_(client: Client, output: Output) -> None:
    """List nodes with their agents' liveness."""
    found = client.nodes()
    if output.as_json:
        output.json(found)
        return
    output.table(
        ["NAME", "SITE", "DATAPLANE", "MANAGEMENT", "LEAVES", "AGENT", "LAST SEEN"],
        [
            [
                each["name"],
                each.get("site"),
                each.get("dataplane"),
                each.get("management_address"),
                each.get("leaves"),
                *agent_cells(each),
            ]
            for each in found
        ],
    )


def agent_cells(row: JsonObject) -> tuple[str | None, str | None]:
    """Return what is known of a node's agent: its state, and when it was last seen."""
    agent = row.get("agent") or {}
    seen = agent.get("last_seen")
    return agent.get("state"), f"{ago(time.time() - seen)} ago" if seen else None


@node.command()
@click.argument("node")
@asks_server
def show(client: Client, output: Output, node: str) -> None:
    """Show a node."""
    found = client.node(node)
    if output.as_json:
        output.json(found)
        return
    output.fields({key: value for key, value in found.items() if key != "agent"})
    state, seen = agent_cells(found)
    output.fields({"agent": state, "last seen": seen})


@node.command()
@click.argument("node")
@asks_server
def desired(client: Client, output: Output, node: str) -> None:
    """Show what a node shall carry: the present rows that its agent gets."""
    found = client.desired(node)
    if output.as_json:
        output.json(found)
        return
    output.line(f"{found.node} at revision {found.revision}")
    output.table(
        ["PORT", "NAME", "EPOCH", "VLAN", "MAC", "ADDRESSES", ""],
        [
            [
                each.port_id,
                each.name,
                each.epoch,
                each.vlan,
                each.mac,
                [f"{address.address}/{address.prefixlen}" for address in each.addresses],
                "draining" if each.draining else "",
            ]
            for each in found.ports
        ],
    )


@node.command()
@click.argument("node")
@asks_server
def bootstrap(client: Client, output: Output, node: str) -> None:
    """Show what an installer writes to a node before its agent first starts."""
    found = client.bootstrap(node)
    if output.as_json:
        output.json(found)
        return
    output.fields({field: getattr(found, field) for field in found.__struct_fields__ if field != "token"})


@node.command()
@click.argument("node")
@asks_server
def token(client: Client, output: Output, node: str) -> None:
    """Make a new token for a node's agent and print it, once; the old one is void."""
    found = client.new_token(node)
    if output.as_json:
        output.json(found)
        return
    output.line(found.token or "")


@node.command()
@click.argument("node")
@asks_server
def lost(client: Client, output: Output, node: str) -> None:
    """Say that a node is gone for good: the ports of its containers are released as their policies say.

    A node that is silent loses nothing by itself: it may be alive, and its containers, too. Be sure that it is off.
    """
    released = client.workloads_lost(node)
    if output.as_json:
        output.json({"released": released})
        return
    output.line(f"{released} workloads of {node} were released")
