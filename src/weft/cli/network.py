"""`weft network`."""

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.objects import Kind, add_common_commands, attributes, print_object
from weft.cli.output import Output
from weft.client import Client

NETWORK = Kind(
    "network",
    lambda client: client.networks,
    {
        "NAME": "name",
        "TYPE": "provider:network_type",
        "VNI": "provider:segmentation_id",
        "MTU": "mtu",
        "PROJECT": "project_id",
        "ID": "id",
    },
)


@click.group(
    cls=Group,
    examples=(
        ("weft network create web --project red", "A network of tenant red; its VNI is chosen by the server."),
        ("weft network list --project red", "What red has."),
    ),
)
def network() -> None:
    """Networks: one L2 segment each, on whatever leaf a port of it arrives."""


@network.command()
@click.argument("name")
@click.option("--project", help="The tenant that owns it.")
@click.option("--site", help="The site it is in; the only one with a fabric if left out.")
@click.option("--mtu", type=int, help="Largest packet, in bytes.")
@click.option("--description")
@asks_server
def create(client: Client, output: Output, name: str, project: str | None, site: str | None, **given: object) -> None:
    """Create a network."""
    hints = [site] if site else None
    found = client.networks.create(attributes(name=name, project_id=project, availability_zone_hints=hints, **given))
    print_object(output, found)


add_common_commands(network, NETWORK)
