"""`weft port`."""

from collections.abc import Sequence

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.objects import attributes, label_of, names_of
from weft.cli.output import Output
from weft.cli.port_view import print_port, print_port_table
from weft.cli.port_wait import WAIT_S, wait_until_settled, watch_ports
from weft.client import Client
from weft.model.errors import Invalid
from weft.protocol.port import PortStatus

wait_option = click.option("--wait", is_flag=True, help="Return when the port is ACTIVE; fail if it becomes ERROR.")
timeout_option = click.option("--timeout", "timeout_s", default=WAIT_S, show_default=True, help="Longest --wait, in s.")


@click.group(
    cls=Group,
    examples=(
        ("weft port create web --name web-1", "An address that web-1 keeps, on no node yet."),
        ("weft port create --network-label tier=web", "In whichever network has the label, and most addresses free."),
        ("weft port bind web-1 node1 --wait", "Put it on a node, and wait until packets flow."),
        ("weft port bind web-1 node2 --wait", "Move it: the old place works until the new one does."),
        ("weft port bind web-1 node3 --supersede", "Its node is lost: drop the old binding at once."),
        ("weft port unbind web-1", "Off its node; name, MAC and addresses stay its own."),
        ("weft port watch", "Every step of every port as it happens."),
    ),
)
def port() -> None:
    """Ports: an instance's name, MAC and addresses. A port outlives its bindings to nodes.

    States: ALLOCATED (never bound), BINDING, ACTIVE, DEGRADED (was active), MOVING, HELD (unbound, addresses kept),
    ERROR.
    """


@port.command("list")
@click.option("--network", help="Only those of this network.")
@click.option("--node", help="Only those on this node.")
@click.option("--state", help="Only those in this state, such as ERROR.")
@click.option("--project", help="Only those of this tenant.")
@asks_server
def list_(
    client: Client, output: Output, *, network: str | None, node: str | None, state: str | None, project: str | None
) -> None:
    """List ports."""
    filters = {"node": node, "state": state.upper() if state else None}
    if network:
        filters["network_id"] = client.networks.find(network)["id"]
    found = client.port_statuses(**{key: value for key, value in filters.items() if value is not None})
    found = [each for each in found if project in (None, each.project_id)]
    if output.as_json:
        output.json(found)
        return
    print_port_table(output, found, names_of(client.networks.list()))


@port.command()
@click.argument("port")
@asks_server
def show(client: Client, output: Output, port: str) -> None:
    """Show a port: state, bindings, who has realized what, and its history with times."""
    status = client.port_status(client.ports.find(port)["id"])
    _print(client, output, status)


@port.command()
@click.argument("network", required=False)
@click.option(
    "--network-label", "labels", multiple=True, metavar="KEY=VALUE", help="In place of NETWORK: any that has it."
)
@click.option("--name", help="A name for people; commands take it in place of the id.")
@click.option(
    "--address", "addresses", multiple=True, metavar="IP", help="This address; repeatable. Else one is picked."
)
@click.option("--mac", "mac_address", help="This MAC. Else one is picked.")
@click.option("--device", "device_id", help="The instance it belongs to.")
@click.option("--owner", "device_owner", help="What kind of instance, such as compute:nova.")
@click.option("--node", help="Bind it at once.")
@click.option("--trunk", is_flag=True, help="On bare metal: by a tag, beside other networks.")
@click.option("--project", "project_id", help="The tenant that owns it; the network's if left out.")
@wait_option
@timeout_option
@asks_server
def create(
    client: Client,
    output: Output,
    *,
    network: str | None,
    labels: Sequence[str],
    addresses: Sequence[str],
    node: str | None,
    trunk: bool,
    project_id: str | None,
    wait: bool,
    timeout_s: float,
    **given: object,
) -> None:
    """Create a port on a network, or on the emptiest of those that have all labels: its history says why that one.

    A bare-metal server has one network untagged, and by --trunk any number of others by tags: `weft port show` tells
    the VLAN that its leaf has chosen.
    """
    if wait and not node:
        raise click.UsageError("--wait needs --node: a port that is on no node never becomes ACTIVE")
    if (network is None) == (not labels):
        raise click.UsageError("name a NETWORK, or what it is labelled by --network-label; not both")
    body = attributes(project_id=project_id, **given)
    if network is not None:
        owner = client.networks.find(network)
        body = attributes(network_id=owner["id"], project_id=owner.get("project_id")) | body
    else:
        body["network_labels"] = dict(map(label_of, labels))
    if addresses:
        body["fixed_ips"] = [{"ip_address": address} for address in addresses]
    if node:
        body["binding:host_id"] = node
    if trunk:
        body["binding:profile"] = {"trunk": True}
    port_id = client.ports.create(body)["id"]
    _print(client, output, _settled(client, port_id, wait=wait, timeout_s=timeout_s))


@port.command()
@click.argument("port")
@click.argument("node")
@click.option("--supersede", is_flag=True, help="Drop older bindings at once, as when their node is lost.")
@click.option("--expect-epoch", type=int, metavar="N", help="Refuse if it was bound since epoch N by somebody else.")
@wait_option
@timeout_option
@asks_server
def bind(
    client: Client,
    output: Output,
    *,
    port: str,
    node: str,
    supersede: bool,
    expect_epoch: int | None,
    wait: bool,
    timeout_s: float,
) -> None:
    """Bind a port to a node; if it is on another, move it there.

    A move makes before it breaks: the old node carries the port until the new one does.
    """
    port_id = client.ports.find(port)["id"]
    client.bind(port_id, node, supersede=supersede, expected_epoch=expect_epoch)
    _print(client, output, _settled(client, port_id, wait=wait, timeout_s=timeout_s))


@port.command()
@click.argument("port")
@asks_server
def unbind(client: Client, output: Output, port: str) -> None:
    """Take a port off its node; it keeps its name, MAC and addresses."""
    _print(client, output, client.unbind(client.ports.find(port)["id"]))


@port.command("set")
@click.argument("port")
@click.option("--name")
@click.option("--description")
@click.option("--device", "device_id")
@click.option("--owner", "device_owner")
@click.option("--up/--down", "admin_state_up", default=None, help="Whether it shall forward.")
@asks_server
def set_(client: Client, output: Output, port: str, **given: object) -> None:
    """Change attributes of a port."""
    body = attributes(**given)
    if not body:
        raise Invalid("nothing to change: name an attribute, see `weft port set --help`")
    port_id = client.ports.find(port)["id"]
    client.ports.update(port_id, body)
    _print(client, output, client.port_status(port_id))


@port.command()
@click.argument("ports", metavar="PORT...", nargs=-1, required=True)
@asks_server
def delete(client: Client, output: Output, ports: Sequence[str]) -> None:
    """Delete ports. Their addresses rest for a while before others get them."""
    ids = [client.ports.find(each)["id"] for each in ports]
    for port_id in ids:
        client.ports.delete(port_id)
    if output.as_json:
        output.json({"deleted": ids})


@port.command()
@click.argument("ports", metavar="[PORT]...", nargs=-1)
@asks_server
def watch(client: Client, output: Output, ports: Sequence[str]) -> None:
    """Print every step of ports as it happens, timed from the request; all ports if none is named. Ctrl-C ends it."""
    watch_ports(client, output, [client.ports.find(each)["id"] for each in ports])


def _settled(client: Client, port_id: str, *, wait: bool, timeout_s: float) -> PortStatus:
    if wait:
        return wait_until_settled(client, port_id, timeout_s)
    return client.port_status(port_id)


def _print(client: Client, output: Output, status: PortStatus) -> None:
    if output.as_json:
        output.json({"port": status, "history": client.history(status.id)})
        return
    networks = client.networks.list(id=status.network_id)
    print_port(output, status, client.history(status.id), names_of(networks))
