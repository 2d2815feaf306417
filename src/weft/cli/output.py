"""How answers are printed: tables and fields for people, JSON for programs. Plain text where no terminal reads."""

import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from rich.console import Console
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
    "drifted": "yellow",
    "running": "yellow",
    "changing": "yellow",
    "done": "green",
    "verified": "green",
    "quarantined": "red",
    "rolled-back": "red",
    "ERROR": "red",
    "failed": "red",
    "unreachable": "red",
    "dead": "red",
}

COLUMN_GAP = 2


class Output:
    """Prints to stdout."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._console = Console(highlight=False, markup=False, emoji=False)

    def json(self, value: object) -> None:
        """Print a value as JSON."""
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

    def line(self, text: str = "") -> None:
        """Print a line."""
        self._console.print(text, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Print the heading of a part."""
        self._console.print(Text(text, style="bold"))

    def diff(self, text: str) -> None:
        """Print a diff: what goes is red, what comes is green, what waits is yellow."""
        for line in text.splitlines():
            sign = line.strip()[:2]
            style = {"- ": "red", "+ ": "green"}.get(sign, "yellow" if line.strip().startswith("held:") else "")
            self._console.print(Text(line, style=style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, indent: int = 0) -> None:
        """Print rows under column headings; states are coloured by what they mean."""
        heading = [Text(column, style="bold") for column in columns]
        self._columns([heading, *([cell(value) for value in row] for row in rows)], indent)

    def fields(self, values: Mapping[str, object], *, indent: int = 0) -> None:
        """Print one thing's attributes, a line each."""
        self._columns([[Text(name, style="dim"), cell(value)] for name, value in values.items()], indent)

    def _columns(self, rows: Sequence[Sequence[Text]], indent: int) -> None:
        """Print texts in columns. A line is never broken: it is the unit of grep."""
        widths = [max(text.cell_len for text in column) for column in zip(*rows, strict=True)]
        for row in rows:
            line = Text(" " * indent)
            for text, width in zip(row, widths, strict=True):
                line.append(text)
                line.append(" " * (width - text.cell_len + COLUMN_GAP))
            line.rstrip()
            self._console.print(line, soft_wrap=True)


def cell(value: object) -> Text:
    """Return a value as a table shows it."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, list | tuple):
        return Text(", ".join(_inline(each) for each in value) or "-")
    if isinstance(value, Mapping):
        return Text(", ".join(f"{name}={each}" for name, each in value.items()) or "-")
    text = str(value)
    return Text(text, style=STATE_STYLES.get(text, ""))


def _inline(value: object) -> str:
    """Return a member of a list: a range as ``first-last``, another object as its values."""
    if isinstance(value, dict):
        return ("-" if set(value) == {"start", "end"} else " ").join(str(each) for each in value.values())
    return str(value)


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
