"""A table of what was measured, beside what is to be reached."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, of how many measurements, and the most or least that it may be (neither: it is only shown).

    `limit` is what the machine can do at all, measured in the same run.
    """

    name: str
    measured: float
    unit: str
    samples: int
    at_most: float | None = None
    at_least: float | None = None
    limit: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the target, if there is one, is reached."""
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least `share` of all samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def print_figures(figures: Sequence[Figure]) -> None:
    """Print the figures; those that miss their target stand out."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("FIGURE")
    for column in ("TARGET", "MEASURED", "OF LIMIT", "SAMPLES"):
        table.add_column(column, justify="right")
    table.add_column("")
    for figure in figures:
        target = "" if figure.at_most is None else f"≤ {figure.at_most:g} {figure.unit}"
        if figure.at_least is not None:
            target = f"≥ {figure.at_least:g} {figure.unit}"
        share = "" if figure.limit is None else f"{100 * figure.measured / figure.limit:.0f} %"
        mark = Text("reached", style="green") if figure.reached else Text("MISSED", style="bold red")
        verdict = mark if target else Text("")
        measured = f"{figure.measured:.4g} {figure.unit}"
        table.add_row(figure.name, target, measured, share, str(figure.samples), verdict)
    console.print(table)
