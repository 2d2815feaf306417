"""Where in an inventory's TOML file a problem is: a problem says which object it is about, a file has lines.

TOML itself says where it is malformed; once it is read, lines are lost. So tables and keys are looked for in the text
again, as people write them: a ``[[table]]`` for each object, a line for each key. What is written otherwise has no
line, and its problems are told without one.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

_TABLE = re.compile(r"\s*\[\[\s*([A-Za-z_]+)\s*\]\]")
_SUBTABLE = re.compile(r"\s*\[\s*([A-Za-z_]+)\.([A-Za-z_.]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(.*)")
_TEXT = re.compile(r"[\"']([^\"']*)[\"']")
_BY_PATH = re.compile(r"([a-z]+)(?:\[(\d+)\])?(?:\([^)]*\))?((?:\.[A-Za-z_]+)*)")
_BY_NAME = re.compile(r"(site|switch|node|model) ([^\s:]+)")
_BY_ENDS = re.compile(r"link (\S+) - ([^\s:]+:[^\s:]+)")
_BY_EXIT = re.compile(r"exit ([^\s:]+):([^\s:]+)")
_TABLE_OF = {"site": "sites", "switch": "switches", "node": "nodes", "model": "models"}


class _Table(msgspec.Struct):
    """An object as it stands in the file: its line, the lines of its keys, and what they say if it is text."""

    kind: str
    line: int
    keys: dict[str, int] = {}
    values: dict[str, str] = {}


class InventoryLines:
    """The lines of one file."""

    def __init__(self, text: str) -> None:
        self._tables = list(_tables(text))

    def line_of(self, problem: str) -> int | None:
        """Return the line, from 1, that a problem is about; None if it cannot be told."""
        table = self._by_name(problem) or self._by_path(problem)
        if table is None:
            return None
        return table.keys.get(_named_key(problem, table), table.line)

    def located(self, file: str, problem: str) -> str:
        """Return a problem with file and line before it, as compilers write it; as it is if it has no line."""
        line = self.line_of(problem)
        return problem if line is None else f"{file}:{line}: {problem}"

    def in_message(self, file: str, message: str) -> str:
        """Return an error's text with file and line before each of its lines that is about something in the file."""
        lines = []
        for line in message.splitlines():
            bare = line.lstrip(" -")
            lines.append(line[: len(line) - len(bare)] + self.located(file, bare))
        return "\n".join(lines)

    def _by_name(self, problem: str) -> _Table | None:
        if (found := _BY_ENDS.match(problem)) is not None:
            ends = {found[1], found[2]}
            return self._last("links", lambda table: {table.values.get("a"), table.values.get("b")} == ends)
        if (found := _BY_EXIT.match(problem)) is not None:
            place = (found[1], found[2])
            return self._last(
                "exits", lambda table: (table.values.get("switch"), table.values.get("interface")) == place
            )
        if (found := _BY_NAME.match(problem)) is not None:
            kind, name = _TABLE_OF[found[1]], found[2]
            return self._last(kind, lambda table: table.values.get("name") == name)
        return None

    def _by_path(self, problem: str) -> _Table | None:
        found = _BY_PATH.match(problem)
        if found is None or found[2] is None:
            return None
        of_kind = [table for table in self._tables if table.kind == found[1]]
        return of_kind[int(found[2])] if int(found[2]) < len(of_kind) else None

    def _last(self, kind: str, fits: Callable[[_Table], bool]) -> _Table | None:
        """The last one: where something is there twice, the second is one too many."""
        return next((table for table in reversed(self._tables) if table.kind == kind and fits(table)), None)


def _tables(text: str) -> Iterator[_Table]:
    table: _Table | None = None
    prefix = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if (header := _TABLE.match(line)) is not None:
            if table is not None:
                yield table
            table, prefix = _Table(header[1], number), ""
        elif (header := _SUBTABLE.match(line)) is not None:
            prefix = header[2] + "."
            if table is not None:
                table.keys[header[2]] = number
        elif line.lstrip().startswith("["):
            if table is not None:
                yield table
            table = None
        elif table is not None and (key := _KEY.match(line)) is not None:
            table.keys[prefix + key[1]] = number
            if (value := _TEXT.match(key[2])) is not None and not prefix:
                table.values[key[1]] = value[1]
    if table is not None:
        yield table


def _named_key(problem: str, table: _Table) -> str:
    """Return which key of a table a problem names: by its path, or by the first word that is one."""
    path = _BY_PATH.match(problem)
    if path is not None and path[2] is not None:
        return path[3].lstrip(".")
    _, _, said = problem.partition(": ")
    words = [word.strip(".,;:'()").lower() for word in said.split()]
    for word in words:
        for key in table.keys:
            if word in {key.lower(), key.rpartition(".")[2].lower()}:
                return key
    return ""
