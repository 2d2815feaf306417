"""What the tenants ask the server for, through its public API: routers, networks, subnets; and taking it all back."""

from dataclasses import dataclass, field

from weft.client import AsyncClient
from weft.lab.demo.cast import NETWORKS, TENANTS, Instance


@dataclass(slots=True)
class Made:
    """The ids of what the demo has made; taken back in the opposite order."""

    routers: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    subnets: dict[str, str] = field(default_factory=dict)
    attached: list[tuple[str, str]] = field(default_factory=list)
    ports: dict[str, str] = field(default_factory=dict)


async def create_tenants(client: AsyncClient, made: Made) -> None:
    """Create a router for each tenant, and its networks, each with a subnet that is attached to the router."""
    for tenant in TENANTS:
        router = await client.routers.create({"name": tenant, "project_id": tenant})
        made.routers[tenant] = router["id"]
    for each in NETWORKS:
        network = await client.networks.create({"name": each.name, "project_id": each.tenant})
        made.networks[each.name] = network["id"]
        subnet = await client.subnets.create(
            {
                "name": each.name,
                "project_id": each.tenant,
                "network_id": network["id"],
                "cidr": each.cidr,
                "ip_version": 4,
            }
        )
        made.subnets[each.name] = subnet["id"]
        router_id = made.routers[each.tenant]
        await client.routers.add_interface(router_id, subnet_id=subnet["id"])
        made.attached.append((router_id, subnet["id"]))


async def create_port(client: AsyncClient, made: Made, instance: Instance) -> str:
    """Create an instance's port, bound to its node, in one request; the server picks the address. Return its id."""
    port = await client.ports.create(
        {
            "name": instance.name,
            "project_id": instance.tenant,
            "network_id": made.networks[instance.network.name],
            "device_id": instance.name,
            "device_owner": "compute:demo",
            "binding:host_id": instance.node,
        }
    )
    made.ports[instance.name] = port["id"]
    return made.ports[instance.name]


async def delete_ports(client: AsyncClient, made: Made) -> None:
    """Delete every port that was made."""
    for name, port_id in list(made.ports.items()):
        await client.ports.delete(port_id)
        del made.ports[name]


async def delete_tenants(client: AsyncClient, made: Made) -> None:
    """Take back what create_tenants made."""
    while made.attached:
        router_id, subnet_id = made.attached.pop()
        await client.routers.remove_interface(router_id, subnet_id=subnet_id)
    for collection, ids in ((client.subnets, made.subnets), (client.networks, made.networks)):
        for name, id_ in list(ids.items()):
            await collection.delete(id_)
            del ids[name]
    for name, router_id in list(made.routers.items()):
        await client.routers.delete(router_id)
        del made.routers[name]
