"""What the audience sees: numbered acts, lines as things happen, tables; plain text where no terminal reads."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weft.client.timeline import TimedStep
from weft.lab.demo.checks import Check
from weft.model import steps

PLAIN_WIDTH = 180

WHAT_TO_TRY = (
    ("weft lab status", "what runs, and where"),
    ("weft port list", "the instances' ports"),
    ("weft port show red-web-1", "its life so far, step by step"),
    ("weft lab exec red-web-1 ping 10.1.1.3", "inside an instance"),
    ("weft lab exec leaf1 vtysh -c 'show evpn vni'", "on a switch"),
    ("weft lab exec node1 ovs-ofctl dump-flows br-int", "on a node"),
    ("weft lab instance move red-web-1 node3", "a live migration"),
    ("weft lab kill ctl1/server", "the data centre goes on; `weft lab restart ctl1/server`"),
    ("weft fabric plan", "what the controller would change now: nothing"),
    ("weft lab down", "removes every trace"),
)
"""After --keep: what to type, and what it shows."""


class Screen:
    """Prints to stdout, line by line as things happen."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        self._console = Console(highlight=False, markup=False, emoji=False, width=width)
        self._act = 0

    def act(self, title: str) -> None:
        """Begin the next act."""
        self._act += 1
        self._console.print()
        self._console.print(Text(f"{self._act}  {title}", style="bold"))

    def say(self, text: str, style: str = "") -> None:
        """Print a line within an act."""
        self._console.print(Text(f"   {text}", style=style), soft_wrap=True)

    def step(self, port: str, timed: TimedStep) -> None:
        """Print a step of a port as it happens."""
        is_state = timed.step.step == steps.STATE
        style = "green" if is_state and timed.step.after == "ACTIVE" else "dim" if is_state else ""
        line = Text(f"   {timed.after_s:+8.3f}  {port:<11} {timed.step.actor:<13} ")
        line.append(timed.title, style=style)
        line.append(f"  {timed.step.detail}".rstrip(), style="dim")
        self._console.print(line, soft_wrap=True)

    def check(self, check: Check) -> None:
        """Print the outcome of a check."""
        mark = Text("   ✓ ", style="bold green") if check.held else Text("   ✗ ", style="bold red")
        self._console.print(mark + Text(f"{check.claim}: ") + Text(check.evidence, style="dim"), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int | None = None) -> None:
        """Print a table; columns from `numbers_from` on hold numbers."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for index, column in enumerate(columns):
            right = numbers_from is not None and index >= numbers_from
            table.add_column(column, justify="right" if right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(each) for each in row))
        indented = Table.grid(padding=0)
        indented.add_column(width=3)
        indented.add_column()
        indented.add_row("", table)
        self._console.print(indented)

    def what_to_try(self) -> None:
        """Print what can be done with a lab that stays."""
        self._console.print()
        self._console.print(Text("The data centre is still there. Try:", style="bold"))
        for command, effect in WHAT_TO_TRY:
            self._console.print(Text(f"   {command:<52}") + Text(effect, style="dim"))

    def verdict(self, checks: Sequence[Check]) -> None:
        """Print every check with its evidence, and whether all of them held."""
        self.act("What was seen")
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for column in ("", "CLAIM", "EVIDENCE"):
            table.add_column(column, overflow="fold")
        for check in checks:
            mark = Text("✓", style="green") if check.held else Text("✗", style="bold red")
            table.add_row(mark, Text(check.claim), Text(check.evidence, style="dim"))
        self._console.print(table)
        failed = sum(not check.held for check in checks)
        self._console.print()
        if failed:
            self._console.print(Text(f"{failed} of {len(checks)} checks did not hold.", style="bold red"))
        else:
            self._console.print(Text(f"All {len(checks)} checks held.", style="bold green"))
