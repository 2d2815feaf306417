"""`weft inventory`."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from weft.cli.connection import asks_server
from weft.cli.manual import Group
from weft.cli.output import Output
from weft.client import Client
from weft.model.errors import Invalid

inventory_file = click.argument("file", type=click.Path(path_type=Path))


@click.group(
    cls=Group,
    examples=(
        ("weft inventory check examples/small-dc.toml", "Every problem in it, without a server."),
        (
            "weft inventory apply examples/small-dc.toml",
            "Hand it to the server, which numbers and configures the fabric.",
        ),
    ),
)
def inventory() -> None:
    """The inventory: sites, switches, nodes and cables, as an engineer writes them. weft computes the numbers."""


@inventory.command()
@asks_server
def show(client: Client, output: Output) -> None:
    """Show the server's inventory."""
    found = client.inventory()
    if output.as_json:
        output.json(found)
        return
    output.table(
        ["DEVICE", "KIND", "SITE"],
        [
            *([each["name"], each.get("role"), each.get("site")] for each in found.get("switches", [])),
            *(
                [each["name"], f"node ({each.get('dataplane', 'ovs')})", each.get("site")]
                for each in found.get("nodes", [])
            ),
        ],
    )
    output.line()
    output.table(["LINK", ""], [[each["a"], each["b"]] for each in found.get("links", [])])


@inventory.command()
@inventory_file
def check(file: Path) -> None:
    """Check an inventory file, without a server; lists every problem."""
    from weft.fabric.checks import problems, problems_of_part  # noqa: PLC0415 - the other commands leave checking to the server
    from weft.protocol.inventory import decode  # noqa: PLC0415

    with said_with_lines(file):
        found = problems(decode(read(file), problems_of_part))
        if found:
            raise Invalid("\n".join([f"{file} has {len(found)} problems:", *(f"  {each}" for each in found)]))
    click.echo(f"{file} is in order")


@inventory.command()
@inventory_file
@asks_server
def apply(client: Client, output: Output, file: Path) -> None:
    """Make a file the server's inventory. What exists keeps its numbers."""
    with said_with_lines(file):
        answer = client.put_inventory(read(file))
    if output.as_json:
        output.json(answer)
        return
    output.line(f"{file} is the inventory, at revision {answer.get('revision')}")


@contextmanager
def said_with_lines(file: Path) -> Iterator[None]:
    """Have an Invalid name the file's lines, whoever raised it: what was decoded here, or the server that took it."""
    from weft.protocol.inventory_lines import InventoryLines  # noqa: PLC0415 - only needed where something is wrong

    try:
        yield
    except Invalid as error:
        text = file.read_text() if file.is_file() else ""
        raise Invalid(InventoryLines(text).in_message(str(file), error.message), kind=error.kind) from None


def read(file: Path) -> dict[str, Any]:
    """Return an inventory file's wire form, without what only a lab reads; raise Invalid if it is not TOML."""
    try:
        wire = tomllib.loads(file.read_text())
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} is not TOML: {error}") from None
    wire.pop("lab", None)
    return wire
