"""`weft fabric capacity` and `weft fabric radius`: what a fabric holds, and what goes down with a part of it."""

import click

from weft.cli.connection import asks_server
from weft.cli.output import Output
from weft.client import Client
from weft.client.call import JsonObject
from weft.fabric.capacity import Design, Fleet, leaf_usage
from weft.fabric.limits import Resource
from weft.fabric.models import KNOWN_MODELS
from weft.fabric.radius import Radius, radii
from weft.fabric.topology import Topology
from weft.model.errors import Invalid
from weft.model.inventory import SwitchModel
from weft.protocol.inventory import decode


@click.command()
@click.argument("switches", metavar="[SWITCH]...", nargs=-1)
@click.option("--hosts", type=int, help="What if: so many hosts.")
@click.option("--instances", type=int, help="What if: so many instances on each.")
@click.option("--hosts-per-leaf", type=int, default=20, show_default=True)
@click.option("--networks", type=int, default=100, show_default=True)
@click.option(
    "--tenants", type=int, default=10, show_default=True, help="Routers, each with its share of the networks."
)
@click.option("--model", help="Compare with this switch model's tables.")
@asks_server
def capacity(
    client: Client, output: Output, switches: tuple[str, ...], hosts: int | None, instances: int | None, **fleet: object
) -> None:
    """Show how full switches are; or what a number of hosts and instances would do to a leaf.

    Without --hosts and --instances: per table, what is asked of each switch, what it says that it uses, and what it
    holds. With them: one leaf, with networks over all racks, within a rack, and announced as prefixes.
    """
    if hosts is None and instances is None:
        _show_use(output, [each for each in client.fabric_capacity() if not switches or each["switch"] in switches])
        return
    if hosts is None or instances is None:
        raise Invalid("a forecast needs both --hosts and --instances")
    name = fleet["model"]
    model = _model(client, str(name)) if name is not None else None
    counted = Fleet(
        nodes=hosts,
        instances_per_node=instances,
        nodes_per_leaf=int(str(fleet["hosts_per_leaf"])),
        networks=int(str(fleet["networks"])),
        tenants=int(str(fleet["tenants"])),
    )
    _show_forecast(output, counted, model)


@click.command()
@click.option("--all", "every", is_flag=True, help="Every switch and cable, not only the worst of each role.")
@asks_server
def radius(client: Client, output: Output, *, every: bool) -> None:
    """Show what goes down with each switch and each cable: nodes that are cut off, pairs that do not reach each other.

    Computed from the inventory. "bridged": within a network. "routed": from one network to another. "paths": what is
    left between those that are hit worst and still reach each other.
    """
    found = radii(Topology(decode(client.inventory())), every=every)
    if output.as_json:
        output.json(found)
        return
    rows = [_radius_cells(each) for each in found]
    output.table(["SITE", "DOWN", "ROLE", "ALIKE", "NODES", "BRIDGED", "ROUTED", "OF PAIRS", "PATHS"], rows)


def _radius_cells(each: Radius) -> list[object]:
    return [
        each.site, each.what, each.role, each.alike, each.nodes, each.bridged, each.routed, each.pairs,
        f"{each.paths} of {each.paths_before}",
    ]  # fmt: skip


def _show_use(output: Output, found: list[JsonObject]) -> None:
    if output.as_json:
        output.json(found)
        return
    rows = [
        [each["switch"], each["model"], str(Resource(table["resource"])), table["asked"], table["used"], table["limit"],
         _percent(max(table["asked"] or 0, table["used"] or 0), table["limit"])]
        for each in found
        for table in each["tables"]
    ]  # fmt: skip
    output.table(["SWITCH", "MODEL", "TABLE", "ASKED", "USED", "HOLDS", "FULL"], rows)


def _show_forecast(output: Output, fleet: Fleet, model: SwitchModel | None) -> None:
    usages = {design: leaf_usage(fleet, design) for design in Design}
    limits = {resource: getattr(model, resource.value, None) for resource in Resource}
    if output.as_json:
        output.json(
            {
                "designs": {design.value: {str(k.value): v for k, v in use.items()} for design, use in usages.items()},
                "limits": {resource.value: limit for resource, limit in limits.items()},
            }
        )
        return
    output.line(
        f"{fleet.nodes * fleet.instances_per_node} instances: what one leaf with {fleet.nodes_per_leaf} hosts holds"
    )
    rows = [
        [str(resource), *(_cell(usages[design][resource], limits[resource]) for design in Design), limits[resource]]
        for resource in usages[Design.STRETCHED]
    ]
    output.table(["TABLE", "NETWORKS OVER RACKS", "WITHIN A RACK", "AND AS PREFIXES", "HOLDS"], rows)


def _cell(count: int, limit: int | None) -> str:
    return f"{count}{'  does not fit' if limit is not None and count > limit else ''}"


def _percent(count: int, limit: int | None) -> str | None:
    return None if limit is None else f"{100 * count / limit:.0f} %"


def _model(client: Client, name: str) -> SwitchModel:
    own = {model.name: model for model in decode(client.inventory()).models}
    known = {**KNOWN_MODELS, **own}
    if name not in known:
        raise Invalid(f"no switch model '{name}'; there are {', '.join(sorted(known))}")
    return known[name]
