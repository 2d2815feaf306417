"""How answers are printed: tables and fields for people, JSON for programs. Plain text where no terminal reads."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

STATE_STYLES = {
    "ACTIVE": "green",
    "in-sync": "green",
    "up": "green",
    "alive": "green",
    "BINDING": "yellow",
    "BUILD": "yellow",
    "MOVING": "yellow",
    "DEGRADED": "yellow",
    "pending": "yellow",
    "ERROR": "red",
    "failed": "red",
    "unreachable": "red",
    "dead": "red",
}

PIPE_WIDTH = 10_000
"""A table that no terminal reads is never wrapped: the line is the unit of grep."""


class Output:
    """Prints to stdout."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        self._console = Console(highlight=False, markup=False, emoji=False, width=width)

    def json(self, value: object) -> None:
        """Print a value as JSON."""
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

    def line(self, text: str = "") -> None:
        """Print a line."""
        self._console.print(text, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Print the heading of a part."""
        self._console.print(Text(text, style="bold"))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, indent: int = 0) -> None:
        """Print rows under column headings; states are coloured by what they mean."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(cell(value) for value in row))
        self._print(table, indent)

    def fields(self, values: Mapping[str, object], *, indent: int = 0) -> None:
        """Print one thing's attributes, a line each."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in values.items():
            table.add_row(name, cell(value))
        self._print(table, indent)

    def _print(self, table: Table, indent: int) -> None:
        self._console.print(Padding(table, (0, 0, 0, indent), expand=False))


def cell(value: object) -> Text:
    """Return a value as a table shows it."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, list | tuple):
        return Text(", ".join(str(each) for each in value) or "-")
    text = str(value)
    return Text(text, style=STATE_STYLES.get(text, ""))


def clock(at: float) -> str:
    """Return a Unix time as the local time of day, with milliseconds."""
    seconds, fraction = divmod(at, 1)
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(fraction * 1000):03d}"


def ago(seconds: float) -> str:
    """Return a duration in the largest unit that says something: ``42 s``, ``3 min``, ``5 h``, ``2 d``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"
