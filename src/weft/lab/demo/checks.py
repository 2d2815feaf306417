"""What the demo has seen: each check is a claim, whether it held, and the evidence for it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One claim that was put to the test."""

    claim: str
    held: bool
    evidence: str


class Checks:
    """The checks of a run, shown as they are made."""

    def __init__(self, show: Callable[[Check], None]) -> None:
        self._show = show
        self._made: list[Check] = []

    def record(self, claim: str, *, held: bool, evidence: str) -> None:
        """Keep and show the outcome of one check."""
        check = Check(claim, held, evidence)
        self._made.append(check)
        self._show(check)

    @property
    def all(self) -> tuple[Check, ...]:
        """Every check so far, in order."""
        return tuple(self._made)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks whose claim did not hold."""
        return tuple(check for check in self._made if not check.held)
