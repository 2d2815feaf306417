"""`weft ipam`."""

import time

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.objects import attributes
from weft.cli.output import Output
from weft.client import Client, ipam
from weft.client.call import JsonObject
from weft.model.errors import Invalid

DAY_S = 86400.0
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S}


@click.group(
    "ipam",
    cls=Group,
    examples=(
        ("weft ipam check", "Leaks, doubles and orphans among all addresses; changes nothing."),
        ("weft ipam check --fix", "Free what the last check, 30 s ago or more, has found as well."),
        ("weft ipam forecast", "How full each subnet is, and when it will be."),
        ("weft ipam policy web 24h", "A deleted port's name keeps its address for a day."),
        ("weft ipam reserve web-subnet 10.0.0.10-10.0.0.19 --reason printers", "Nobody gets these."),
    ),
)
def ipam_group() -> None:
    """Addresses: checks, forecasts, release policies, reservations, and blocks of nodes."""


@ipam_group.command()
@click.option("--fix", is_flag=True, help="Put right what two checks, a quarantine apart, agree on.")
@asks_server
def check(client: Client, output: Output, fix: bool) -> None:
    """Hold plan, ports, addresses, rests, holds and blocks to each other.

    Ends with 1 if something is wrong and was not put right.
    """
    report = client.send(ipam.check(fix=fix))
    findings = report["findings"]
    if output.as_json:
        output.json(report)
    else:
        if findings:
            rows = [[each["trouble"], each["state"], each["text"], each["remedy"]] for each in findings]
            output.table(["TROUBLE", "STATE", "WHAT", "REMEDY"], rows)
            output.line()
        fixed = sum(each["state"] == "fixed" for each in findings)
        output.line(
            f"{report['ports']} ports, {report['addresses']} addresses: {len(findings)} findings, {fixed} fixed"
        )
    if any(each["state"] != "fixed" for each in findings):
        raise SystemExit(1)


@ipam_group.command()
@asks_server
def forecast(client: Client, output: Output) -> None:
    """Show how full subnets are, and when they will be full; the fullest first."""
    found = client.send(ipam.rows("subnets"))
    if output.as_json:
        output.json(found)
        return
    rows = [
        [
            each["name"] or each["id"],
            each["cidr"],
            each["used"],
            each["resting"],
            f"{each['size']:.0f}",
            f"{_use(each):.1f} %",
            None if each["per_day"] is None else f"{each['per_day']:+.1f}",
            _day(each["full_at"]),
        ]
        for each in sorted(found, key=_use, reverse=True)
    ]
    output.table(["SUBNET", "CIDR", "USED", "RESTING", "SIZE", "USE", "A DAY", "FULL"], rows)


@ipam_group.command()
@click.argument("network")
@click.argument("hold", metavar="at-once|never|TIME")
@asks_server
def policy(client: Client, output: Output, network: str, hold: str) -> None:
    """Say how long the name of a deleted port keeps its addresses: at-once (not at all), never, or such as 15m, 24h."""
    found = client.send(ipam.set_policy(client.networks.find(network)["id"], _hold_s(hold)))
    if output.as_json:
        output.json(found)


@ipam_group.command()
@asks_server
def holds(client: Client, output: Output) -> None:
    """List what names of deleted ports keep."""
    found = client.send(ipam.rows("holds"))
    if output.as_json:
        output.json(found)
        return
    rows = [
        [each["port_name"], each["project_id"], each["addresses"], _time(each["until"]), each["id"]] for each in found
    ]
    output.table(["NAME", "PROJECT", "ADDRESSES", "UNTIL", "ID"], rows)


@ipam_group.command()
@click.argument("hold", metavar="ID")
@asks_server
def release(client: Client, output: Output, hold: str) -> None:
    """Let go of what a name keeps; `weft ipam holds` has the ids."""
    client.send(ipam.release_hold(hold))
    if output.as_json:
        output.json({"released": hold})


@ipam_group.command()
@click.argument("subnet")
@click.argument("addresses", metavar="ADDRESS[-ADDRESS]")
@click.option("--reason", help="Shown to whoever asks for one of them.")
@click.option("--port", "port_name", help="The only port, by name, that may have the address, and that gets it.")
@click.option("--project", "project_id", help="With --port: the tenant of that port.")
@asks_server
def reserve(client: Client, output: Output, subnet: str, addresses: str, **given: str | None) -> None:
    """Keep addresses of a subnet out of allocation."""
    found = client.subnets.find(subnet)
    start, _, end = addresses.partition("-")
    if given["port_name"] and not given["project_id"]:
        given["project_id"] = found["project_id"]
    answer = client.send(ipam.reserve(found["id"], attributes(start=start, end=end or None, **given)))
    if output.as_json:
        output.json(answer)


@ipam_group.command()
@click.argument("subnet")
@click.argument("start", metavar="ADDRESS")
@asks_server
def unreserve(client: Client, output: Output, subnet: str, start: str) -> None:
    """End the reservation that begins with an address."""
    client.send(ipam.unreserve(client.subnets.find(subnet)["id"], start))
    if output.as_json:
        output.json({"unreserved": start})


@ipam_group.command()
@asks_server
def blocks(client: Client, output: Output) -> None:
    """List pools of blocks, and the blocks that nodes hold."""
    pools, found = client.send(ipam.rows("block-pools", "block_pools")), client.send(ipam.rows("blocks"))
    if output.as_json:
        output.json({"block_pools": pools, "blocks": found})
        return
    shown = [[each["cidr"], each["subnet_id"], each["blocks"], f"{_leased(each):.1f} %", each["id"]] for each in pools]
    output.table(["POOL", "SUBNET", "BLOCKS", "LEASED", "ID"], shown)
    output.line()
    rows = [
        [each["cidr"], each["node"], each["state"], each["epoch"], each["used"], _time(each["until"])] for each in found
    ]
    output.table(["BLOCK", "NODE", "STATE", "EPOCH", "USED", "UNTIL"], rows)


@ipam_group.command("add-pool")
@click.argument("subnet")
@click.argument("cidr", metavar="PREFIX")
@click.option("--largest", type=int, required=True, help="Prefix length of the largest block, such as 24.")
@click.option("--smallest", type=int, required=True, help="Prefix length of the smallest block, such as 28.")
@click.option("--lease", "lease_s", type=float, help="Seconds that a node may be away for; 300 if left out.")
@asks_server
def add_pool(client: Client, output: Output, subnet: str, **given: object) -> None:
    """Make a part of a subnet a pool of blocks for nodes."""
    order = attributes(subnet_id=client.subnets.find(subnet)["id"], **given)
    answer = client.send(ipam.create_block_pool(order))
    if output.as_json:
        output.json(answer)
        return
    output.fields(answer)


@ipam_group.command("remove-pool")
@click.argument("pool", metavar="ID")
@asks_server
def remove_pool(client: Client, output: Output, pool: str) -> None:
    """End a pool that no node has a block of."""
    client.send(ipam.delete_block_pool(pool))
    if output.as_json:
        output.json({"deleted": pool})


def _hold_s(text: str) -> float | None:
    if text == "never":
        return None
    if text == "at-once":
        return 0.0
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS_S else (text, "s")
    try:
        return float(number) * UNITS_S[unit]
    except ValueError:
        raise Invalid(f"'{text}' is no time: write at-once, never, or such as 90s, 15m, 24h, 7d") from None


def _use(subnet: JsonObject) -> float:
    return float(100.0 * (subnet["used"] + subnet["resting"]) / max(subnet["size"], 1.0))


def _leased(pool: JsonObject) -> float:
    return float(100.0 * pool["leased"] / pool["addresses"])


def _day(at: float | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%d", time.localtime(at))


def _time(at: float | None) -> str:
    return "for ever" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
