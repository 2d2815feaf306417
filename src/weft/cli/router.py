"""`weft router`."""

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.objects import Kind, add_common_commands, attributes, names_of, print_object
from weft.cli.output import Output
from weft.client import Client
from weft.client.lookup import is_id
from weft.model.errors import NotFound

ROUTER = Kind(
    "router",
    lambda client: client.routers,
    {"NAME": "name", "STATUS": "status", "PROJECT": "project_id", "ID": "id"},
)


@click.group(
    cls=Group,
    examples=(
        ("weft router create red --project red", "One VRF, on every leaf where it is needed."),
        ("weft router add red web", "The subnets of network web are routed in it, at the nearest leaf."),
        ("weft router peer red blue", "The networks of both reach each other."),
        ("weft router gateway red internet", "They are known outside, by their own addresses."),
    ),
)
def router() -> None:
    """Routers: a tenant's routing domain (VPC). Networks attached to one reach each other at every leaf."""


@router.command()
@click.argument("name")
@click.option("--project", help="The tenant that owns it.")
@click.option("--site", help="The site it is in; the only one with a fabric if left out.")
@click.option("--description")
@asks_server
def create(client: Client, output: Output, name: str, project: str | None, site: str | None, **given: object) -> None:
    """Create a router."""
    hints = [site] if site else None
    body = attributes(name=name, project_id=project, availability_zone_hints=hints, **given)
    print_object(output, client.routers.create(body))


@router.command()
@click.argument("router")
@click.argument("subnet")
@asks_server
def add(client: Client, output: Output, router: str, subnet: str) -> None:
    """Attach a subnet, or all subnets of a network, to a router."""
    found = client.routers.find(router)
    answers = [client.routers.add_interface(found["id"], subnet_id=each) for each in _subnet_ids(client, subnet)]
    _print_interfaces(client, output, answers)


@router.command()
@click.argument("router")
@click.argument("subnet")
@asks_server
def remove(client: Client, output: Output, router: str, subnet: str) -> None:
    """Detach a subnet, or all subnets of a network, from a router."""
    found = client.routers.find(router)
    answers = [client.routers.remove_interface(found["id"], subnet_id=each) for each in _subnet_ids(client, subnet)]
    if output.as_json:
        output.json(answers)


@router.command()
@click.argument("one")
@click.argument("other")
@asks_server
def peer(client: Client, output: Output, one: str, other: str) -> None:
    """Peer two routers: their networks reach each other, and nothing beyond. Their prefixes may not overlap."""
    made = client.create_peering(client.routers.find(one)["id"], client.routers.find(other)["id"])
    if output.as_json:
        output.json(made)
    else:
        output.line(f"{one} and {other} reach each other's networks")


@router.command()
@click.argument("one")
@click.argument("other")
@asks_server
def unpeer(client: Client, output: Output, one: str, other: str) -> None:
    """End the peering of two routers."""
    ends = {client.routers.find(name)["id"] for name in (one, other)}
    for each in client.peerings():
        if set(each["routers"]) == ends:
            client.delete_peering(each["id"])
            return
    raise NotFound(f"routers {one} and {other} are not peered; `weft router peerings` shows which are")


@router.command()
@asks_server
def peerings(client: Client, output: Output) -> None:
    """List which routers are peered."""
    found = client.peerings()
    if output.as_json:
        output.json(found)
        return
    names = names_of(client.routers.list())
    rows = [[*(names.get(each) or each for each in peering["routers"]), peering["id"]] for peering in found]
    output.table(["ROUTER", "PEER", "ID"], rows)


@router.command()
@click.argument("router")
@click.argument("network", required=False)
@click.option("--snat", is_flag=True, help="Store it as Neutron does by default; nothing is announced then.")
@asks_server
def gateway(client: Client, output: Output, router: str, network: str | None, snat: bool) -> None:
    """Give a router a way outside by external NETWORK, or take it away, if that is left out.

    Its networks are announced by the addresses that they have, from the site's border leaves.
    """
    found = client.routers.find(router)
    outer = {"network_id": client.networks.find(network)["id"], "enable_snat": snat} if network else None
    print_object(output, client.routers.update(found["id"], {"external_gateway_info": outer}))


def _subnet_ids(client: Client, name: str) -> list[str]:
    """A subnet is often nameless: its network's name then means all of the network's subnets."""
    if is_id(name) or client.subnets.list(name=name):
        return [client.subnets.find(name)["id"]]
    network = client.networks.find(name)
    subnets = client.subnets.list(network_id=network["id"])
    if not subnets:
        raise NotFound(f"network '{name}' has no subnet yet: `weft subnet create {name} CIDR` makes one")
    return [each["id"] for each in subnets]


def _print_interfaces(client: Client, output: Output, answers: list[dict[str, object]]) -> None:
    if output.as_json:
        output.json(answers)
        return
    names = names_of(client.networks.list())
    rows = [[names.get(str(each["network_id"])), each["subnet_id"], each["port_id"]] for each in answers]
    output.table(["NETWORK", "SUBNET", "PORT"], rows)


add_common_commands(router, ROUTER)
