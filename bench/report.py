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
    """A measured value, how many measurements it is of, and the most that it may be (None: it is only shown)."""

    name: str
    measured: float
    unit: str
    samples: int
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the target, if there is one, is reached."""
        return self.at_most is None or self.measured <= self.at_most


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
    for column in ("TARGET", "MEASURED", "SAMPLES"):
        table.add_column(column, justify="right")
    table.add_column("")
    for figure in figures:
        target = "" if figure.at_most is None else f"≤ {figure.at_most:g} {figure.unit}"
        mark = Text("reached", style="green") if figure.reached else Text("MISSED", style="bold red")
        verdict = mark if figure.at_most is not None else Text("")
        measured = f"{figure.measured:.3g} {figure.unit}"
        table.add_row(figure.name, target, measured, str(figure.samples), verdict)
    console.print(table)
