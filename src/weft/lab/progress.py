"""How far an operation is: a line for each thing that is done, with the seconds since the beginning."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Milestone:
    """Something that was done, `after_s` seconds after the operation began."""

    after_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.after_s:6.2f} s  {self.text}"


class Progress:
    """Keeps the milestones of one operation, and tells each when it is reached."""

    def __init__(self, tell: Callable[[Milestone], None] = lambda _: None) -> None:
        self._tell = tell
        self._began = time.monotonic()
        self.milestones: list[Milestone] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def done(self, text: str) -> None:
        """Tell what has just been done."""
        milestone = Milestone(self.elapsed_s, text)
        self.milestones.append(milestone)
        self._tell(milestone)
