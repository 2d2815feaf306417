"""`weft network`."""

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.objects import Kind, add_common_commands, attributes, label_of, print_object
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
        (
            "weft network label pods weft.dev/release=10m",
            "Keep the ports of its containers for ten minutes after they are gone.",
        ),
        (
            "weft network migrate web joined",
            "Have web in both parts of its site, VLANs and spine-leaf, on its way over.",
        ),
    ),
)
def network() -> None:
    """Networks: one L2 segment each, on whatever leaf a port of it arrives."""


@network.command()
@click.argument("name")
@click.option("--project", help="The tenant that owns it.")
@click.option("--site", help="The site it is in; the only one with a fabric if left out.")
@click.option("--mtu", type=int, help="Largest packet, in bytes.")
@click.option("--type", "type_", type=click.Choice(["vxlan", "vlan"]), help="What carries it; what its site has.")
@click.option("--segment", type=int, help="Its VNI or VLAN; else one is picked.")
@click.option("--external", is_flag=True, default=None, help="What is outside: for `weft router gateway`.")
@click.option("--description")
@asks_server
def create(
    client: Client, output: Output, *, name: str, project: str | None, site: str | None, **given: object
) -> None:
    """Create a network."""
    wanted = attributes(
        name=name,
        project_id=project,
        availability_zone_hints=[site] if site else None,
        **{
            "provider:network_type": given.pop("type_"),
            "provider:segmentation_id": given.pop("segment"),
            "router:external": given.pop("external"),
        },
        **given,
    )
    found = client.networks.create(wanted)
    print_object(output, found)


@network.command()
@click.argument("network")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE...")
@asks_server
def label(client: Client, output: Output, network: str, labels: tuple[str, ...]) -> None:
    """Give a network labels; `KEY=` takes one away. Ports are made in networks by them (--network-label)."""
    found = client.networks.find(network)
    wanted = {**found.get("labels", {}), **dict(map(label_of, labels))}
    kept = {key: value for key, value in wanted.items() if value}
    print_object(output, client.networks.update(str(found["id"]), {"labels": kept}))


@network.command()
@click.argument("network")
@click.argument("stage", type=click.Choice(["vlan", "joined", "vxlan"]))
@asks_server
def migrate(client: Client, output: Output, network: str, stage: str) -> None:
    """Take a network from the VLAN part of its site to the spine-leaf part, or back, a stage at a time.

    `vlan`: VLAN switches alone carry it. `joined`: the border leaf bridges both parts, the fabric has its gateway, and
    its instances may move. `vxlan`: its VLAN is given back. Networks of one router join together.
    """
    found = client.networks.find(network)
    moved = client.migrate_network(str(found["id"]), stage)
    if output.as_json:
        output.json(moved)
    else:
        output.fields(moved)


add_common_commands(network, NETWORK)
