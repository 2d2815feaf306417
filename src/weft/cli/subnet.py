"""`weft subnet`."""

from collections.abc import Sequence

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.objects import Kind, add_common_commands, attributes, print_object
from weft.cli.output import Output
from weft.client import Client

SUBNET = Kind(
    "subnet",
    lambda client: client.subnets,
    {
        "NAME": "name",
        "CIDR": "cidr",
        "GATEWAY": "gateway_ip",
        "PROJECT": "project_id",
        "NETWORK": "network_id",
        "ID": "id",
    },
)


@click.group(
    cls=Group,
    examples=(
        ("weft subnet create web 10.0.1.0/24", "Gateway 10.0.1.1; the server picks addresses from the rest."),
        ("weft subnet create web 10.0.1.0/24 --pool 10.0.1.100-10.0.1.199", "The server picks from these only."),
    ),
)
def subnet() -> None:
    """Subnets: the addresses of a network, its gateway, and the pools that the server picks from."""


@subnet.command()
@click.argument("network")
@click.argument("cidr")
@click.option("--name", help="A name for people.")
@click.option("--gateway", help="The gateway's address; the first of the CIDR if left out, none if 'none'.")
@click.option("--pool", "pools", multiple=True, metavar="FIRST-LAST", help="Where addresses are picked; repeatable.")
@click.option("--project", help="The tenant that owns it; the network's if left out.")
@asks_server
def create(
    client: Client,
    output: Output,
    *,
    network: str,
    cidr: str,
    gateway: str | None,
    pools: Sequence[str],
    project: str | None,
    **given: object,
) -> None:
    """Give a network the addresses of a CIDR."""
    owner = client.networks.find(network)
    body = attributes(
        network_id=owner["id"],
        cidr=cidr,
        ip_version=6 if ":" in cidr else 4,
        gateway_ip=gateway,
        allocation_pools=[_pool(pool) for pool in pools] or None,
        project_id=project or owner.get("project_id"),
        **given,
    )
    if gateway == "none":
        body["gateway_ip"] = None
    print_object(output, client.subnets.create(body))


def _pool(text: str) -> dict[str, str]:
    first, dash, last = text.partition("-")
    if not (first and dash and last):
        raise click.BadParameter(f"'{text}' is no range of addresses: write FIRST-LAST", param_hint="--pool")
    return {"start": first, "end": last}


add_common_commands(subnet, SUBNET)
