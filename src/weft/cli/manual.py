"""Groups of commands whose help reads like a manual page: sections, short lines, examples at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import click

Examples = tuple[tuple[str, str], ...]


class Group(click.Group):
    """A group that keeps its commands in the order in which they were written, and shows examples last."""

    def __init__(self, *args: Any, examples: Examples = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of their definition."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self._examples)


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that is imported when it is called: ``module:attribute``, and its line in the help."""

    target: str
    summary: str


Sections = Mapping[str, Mapping[str, Entry]]


class LazyGroup(click.Group):
    """The top of the command tree: sections of commands, none of which is imported before it is called."""

    def __init__(self, *args: Any, sections: Sections, examples: Examples = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._entries = {name: entry for section in sections.values() for name, entry in section.items()}
        self._examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the sections."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command that is called."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        return cast("click.Command", getattr(import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; from the entries, so that nothing is imported."""
        width = max(map(len, self._entries))
        for title, section in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.summary) for name, entry in section.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self._examples)


def write_examples(formatter: click.HelpFormatter, examples: Examples) -> None:
    """Write lines of what to type and what it does."""
    if not examples:
        return
    with formatter.section("Examples"):
        for typed, effect in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{typed}\n")
            formatter.write(f"{'':>{formatter.current_indent}}    {effect}\n")
