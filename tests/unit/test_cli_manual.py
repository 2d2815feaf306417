"""The help reads like a manual, and costs nothing to print."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from weft.cli.main import weft


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


ALL = commands(weft)


def test_the_top_has_sections_and_examples() -> None:
    shown = CliRunner().invoke(weft, ["--help"]).output
    for section in ("Run:", "Ask for:", "Look at:", "Examples:"):
        assert section in shown
    for name in ("server", "agent", "lab", "db", "network", "subnet", "router", "port", "node", "switch", "fabric"):
        assert f"\n  {name} " in shown


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_says_what_it_does(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(weft, [*path, "--help"])
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.output.splitlines()]
    assert len(lines[2]) > len("A word."), f"weft {' '.join(path)} has no description"


def test_help_imports_no_command() -> None:
    """Half a second before every help text is what heavy imports cost; so none may happen."""
    heavy = (
        "httpx",
        "rich",
        "starlette",
        "sqlalchemy",
        "asyncssh",
        "weft.client",
        "weft.api",
        "weft.lab",
        "weft.agent",
    )
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from weft.cli.main import weft\n"
        "assert CliRunner().invoke(weft, ['--help']).exit_code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
