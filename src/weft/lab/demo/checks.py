"""What the demo has seen: each check is a claim, whether it held, and the evidence for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One claim that was put to the test."""

    claim: str
    held: bool
    evidence: str


class Checks:
    """The checks of a run. A claim that was announced and never put to the test has not held."""

    def __init__(self) -> None:
        self._made: list[Check] = []

    def record(self, claim: str, *, held: bool, evidence: str) -> Check:
        """Keep the outcome of one check."""
        check = Check(claim, held, evidence)
        self._made.append(check)
        return check

    @property
    def all(self) -> tuple[Check, ...]:
        """Every check so far, in order."""
        return tuple(self._made)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks whose claim did not hold."""
        return tuple(check for check in self._made if not check.held)
