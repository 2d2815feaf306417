"""The commands that every kind of Neutron object has alike: list, show, delete; and how attributes are gathered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import click

from weft.cli.connection import asks_server
from weft.cli.output import Output
from weft.client import Client
from weft.client.call import JsonObject
from weft.client.sync import Collection


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its noun, where a client keeps it, and the attributes that a list shows, by heading."""

    noun: str
    collection: Callable[[Client], Collection]
    columns: Mapping[str, str]


def add_common_commands(group: click.Group, kind: Kind) -> None:
    """Give a noun's group ``list``, ``show`` and ``delete``."""
    group.add_command(_list(kind))
    group.add_command(_show(kind))
    group.add_command(_delete(kind))


def print_object(output: Output, found: JsonObject) -> None:
    """Print one object with all its attributes that say something."""
    if output.as_json:
        output.json(found)
        return
    said = {name: value for name, value in found.items() if value not in (None, "", [], {})}
    said.pop("tenant_id", None)  # what project_id was called before
    output.fields(said)


def attributes(**given: object) -> dict[str, object]:
    """Return the attributes that were given: an option that was left out leaves the choice to the server."""
    return {name: value for name, value in given.items() if value is not None and value != ()}


def label_of(text: str) -> tuple[str, str]:
    """Return the name and the value of a label."""
    key, divided, value = text.partition("=")
    if not key or not divided:
        raise click.BadParameter(f"'{text}' is no label: write KEY=VALUE")
    return key, value


def names_of(objects: Sequence[JsonObject]) -> dict[str, str]:
    """Return the names of objects by id; an object without one is shown by its id."""
    return {str(each["id"]): str(each.get("name") or each["id"]) for each in objects}


def _list(kind: Kind) -> click.Command:
    @click.command("list", help=f"List {kind.noun}s.")
    @click.option("--name", help="Only those with this name.")
    @click.option("--project", help="Only those of this tenant.")
    @asks_server
    def run(client: Client, output: Output, name: str | None, project: str | None) -> None:
        filters = {"name": name, "project_id": project}
        found = kind.collection(client).list(**{key: value for key, value in filters.items() if value is not None})
        if output.as_json:
            output.json(found)
            return
        output.table(list(kind.columns), [[each.get(key) for key in kind.columns.values()] for each in found])

    return run


def _show(kind: Kind) -> click.Command:
    @click.command("show", help=f"Show a {kind.noun}, by name or id.")
    @click.argument(kind.noun)
    @asks_server
    def run(client: Client, output: Output, **arguments: str) -> None:
        print_object(output, kind.collection(client).find(arguments[kind.noun]))

    return run


def _delete(kind: Kind) -> click.Command:
    @click.command("delete", help=f"Delete {kind.noun}s, by name or id.")
    @click.argument("names", metavar=f"{kind.noun.upper()}...", nargs=-1, required=True)
    @asks_server
    def run(client: Client, output: Output, names: Sequence[str]) -> None:
        collection = kind.collection(client)
        found = [collection.find(name) for name in names]  # all are looked up before the first is gone
        for each in found:
            collection.delete(each["id"])
        if output.as_json:
            output.json({"deleted": [each["id"] for each in found]})

    return run
