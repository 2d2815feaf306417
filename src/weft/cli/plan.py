"""`weft plan`."""

from pathlib import Path
from time import localtime, strftime

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.objects import attributes, print_object
from weft.cli.output import Output
from weft.client import Client, ipam
from weft.client.call import JsonObject
from weft.model.errors import Conflict, Invalid, NotFound

domain_option = click.option("--domain", default="", help="An isolated routing domain; the routed one if left out.")
prefix_argument = click.argument("prefix", metavar="PREFIX|ID")


@click.group(
    cls=Group,
    examples=(
        ("weft plan delegate 10.0.0.0/8 global", "Space to be divided."),
        ("weft plan delegate 10.1.0.0/16 site:private", "A site's part of it."),
        ("weft plan delegate --under 10.1.0.0/16 --length 20 project:red", "Any free /20 of that, for tenant red."),
        ("weft plan show", "The tree, with how full each prefix is, and when a subnet will be."),
        ("weft plan import prefixes.csv --dry-run", "Every conflict, and nothing changed."),
    ),
)
def plan() -> None:
    """The address plan: prefixes, each delegated to one owner; overlap is refused when it is planned.

    An owner is global, site:NAME, project:ID, router:NAME, network:NAME (or their ids), or reserved. A subnet has to
    lie in what is delegated to its network, else to its project, else to its site, if anything is; and then it is in
    the plan.
    """


@plan.command()
@click.option("--domain", help="Only this routing domain; '' is the routed one.")
@asks_server
def show(client: Client, output: Output, domain: str | None) -> None:
    """Draw the tree, with use."""
    found = client.send(ipam.plan(domain))
    if output.as_json:
        output.json(found)
        return
    if not found:
        output.line("nothing is delegated: subnets are free to be anywhere; `weft plan delegate` begins a plan")
    for name in dict.fromkeys(each["domain"] for each in found):
        output.heading(f"isolated domain {name}" if name else "routed")
        rows = [each for each in found if each["domain"] == name]
        output.table(["PREFIX", "OWNER", "USE", "FULL", "NAME"], map(_row, rows))


@plan.command()
@click.argument("prefix_and_owner", metavar="[PREFIX] OWNER", nargs=-1, required=True)
@click.option("--under", metavar="PREFIX|ID", help="Cut it from free space of this one.")
@click.option("--length", type=int, help="Of the prefix that is cut, such as 24.")
@domain_option
@click.option("--name")
@click.option("--description", help="Also why space is reserved.")
@asks_server
def delegate(
    client: Client,
    output: Output,
    *,
    prefix_and_owner: tuple[str, ...],
    under: str | None,
    length: int | None,
    domain: str,
    **given: object,
) -> None:
    """Delegate a prefix, or a length of free space, to an owner, such as site:private, project:red or network:web."""
    cidr, owner = _prefix_and_owner(prefix_and_owner)
    owner = _owner(client, owner)
    above = None if under is None else _find(client, under, domain)
    order = attributes(
        owner=owner, cidr=cidr, under=above and above["id"], prefixlen=length, domain=domain or None, **given
    )
    _print(output, client.send(ipam.delegate(order)))


@plan.command()
@prefix_argument
@click.argument("new", metavar="NEW-PREFIX")
@domain_option
@asks_server
def resize(client: Client, output: Output, prefix: str, new: str, domain: str) -> None:
    """Grow or shrink a prefix around what lies in it."""
    id_ = _find(client, prefix, domain)["id"]
    _print(output, client.send(ipam.change_prefix(id_, "resize", {"cidr": new})))


@plan.command()
@prefix_argument
@click.option("--to", "owner", metavar="OWNER", help="Who shall have it.")
@click.option("--to-domain", help="Where it goes, with all that lies in it; '' is the routed domain.")
@domain_option
@asks_server
def move(client: Client, output: Output, *, prefix: str, owner: str | None, to_domain: str | None, domain: str) -> None:
    """Give a prefix to another owner, or take it to another routing domain."""
    if owner is None and to_domain is None:
        raise click.UsageError("say where it goes: --to OWNER, --to-domain DOMAIN, or both")
    id_ = _find(client, prefix, domain)["id"]
    order = attributes(owner=None if owner is None else _owner(client, owner), domain=to_domain)
    _print(output, client.send(ipam.change_prefix(id_, "move", order)))


@plan.command()
@prefix_argument
@domain_option
@asks_server
def free(client: Client, output: Output, prefix: str, domain: str) -> None:
    """Take back a prefix in which nothing lies."""
    id_ = _find(client, prefix, domain)["id"]
    client.send(ipam.free_prefix(id_))
    if output.as_json:
        output.json({"freed": id_})


@plan.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["csv", "netbox"]), help="By the file's name if left out.")
@click.option("--dry-run", is_flag=True, help="Only say what would be.")
@click.option("--skip-conflicts", is_flag=True, help="Take what fits; else all or nothing.")
@asks_server
def take_over(
    client: Client, output: Output, *, file: Path, kind: str | None, dry_run: bool, skip_conflicts: bool
) -> None:
    """Import a plan: CSV (prefix,owner,domain,name,description), or the JSON that NetBox exports.

    Ends with 1 if there are conflicts, and then has changed nothing, unless they were to be skipped.
    """
    order = {
        "text": _text_of(file),
        "format": kind or ("netbox" if file.suffix == ".json" else "csv"),
        "skip_conflicts": skip_conflicts,
    }
    report = client.send(ipam.import_plan({**order, "dry_run": True}))
    done = not dry_run and (skip_conflicts or not report["problems"])
    if done:
        report = client.send(ipam.import_plan(order))
    if output.as_json:
        output.json(report)
    else:
        if report["problems"]:
            output.table(["WHERE", "PREFIX", "CONFLICT"], [list(each.values()) for each in report["problems"]])
            output.line()
        would = "imported" if done else "would be imported"
        there = report["present"]
        output.line(
            f"{report['imported']} prefixes {would}, {there} there already, {len(report['problems'])} conflicts"
        )
    if report["problems"] and not skip_conflicts:
        raise Conflict("nothing was imported: put the conflicts right, or use --skip-conflicts")


def _row(each: JsonObject) -> list[object]:
    full = each["full_at"]
    return [
        "  " * each["depth"] + each["cidr"],
        each["owner"],
        f"{each['use_percent']:g} %",
        None if full is None else strftime("%Y-%m-%d", localtime(full)),
        each["name"] or each["description"],
    ]


def _print(output: Output, found: JsonObject) -> None:
    """Print one prefix; its numbers are floats on the wire, because JSON has no integers beyond 2^53."""
    if not output.as_json:
        found = found | {name: f"{found[name]:.0f}" for name in ("addresses", "used")}
    print_object(output, found)


def _owner(client: Client, owner: str) -> str:
    """Return an owner with the id of the network or router that it names; what is no name of one stays."""
    level, _, name = owner.partition(":")
    if level == "network" and name:
        return f"network:{client.networks.find(name)['id']}"
    if level == "router" and name:
        return f"router:{client.routers.find(name)['id']}"
    return owner


def _prefix_and_owner(words: tuple[str, ...]) -> tuple[str | None, str]:
    if len(words) > 2:
        raise click.UsageError("name one prefix and one owner")
    return (words[0] if len(words) == 2 else None), words[-1]


def _find(client: Client, prefix: str, domain: str) -> JsonObject:
    """Return the prefix with this id; or the outermost that may be changed of those with this CIDR."""
    found = client.send(ipam.plan())
    for each in found:
        if each["id"] == prefix:
            return each
    same = [each for each in found if each["cidr"] == prefix and each["domain"] == domain]
    if not same:
        raise NotFound(f"{prefix} is not in the plan; `weft plan show` lists what is")
    if len(same) > 1 and same[1]["level"] not in {"subnet", "block"}:
        ids = ", ".join(f"{each['id']} ({each['owner']})" for each in same)
        raise Conflict(f"{prefix} is delegated more than once; name the id: {ids}")
    return same[0]


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not UTF-8 text") from None
