"""Reading what ping (iputils) prints: how many were lost, over how many routers the answers came, who refused."""

import re
from dataclasses import dataclass

INITIAL_TTL = 64
"""What Linux sends with; an answer's missing rest is the number of routers on its way back."""

_ANSWER = re.compile(r"bytes from (?P<source>[0-9a-f.:]+): icmp_seq=(?P<seq>\d+) ttl=(?P<ttl>\d+)")
_EXCEEDED = re.compile(r"From (?P<source>[0-9a-f.:]+):? icmp_seq=\d+ Time to live exceeded")
_SUMMARY = re.compile(r"(?P<sent>\d+) packets transmitted, (?P<received>\d+) (packets )?received")


@dataclass(frozen=True, slots=True)
class PingResult:
    """What came of a series of pings."""

    sent: int
    received: int
    ttls: frozenset[int] = frozenset()
    exceeded_at: frozenset[str] = frozenset()
    """Routers at which a packet's time to live ended."""
    longest_gap: int = 0
    """The most pings lost in a row."""

    @property
    def lost(self) -> int:
        """Pings that were never answered."""
        return self.sent - self.received

    @property
    def routers(self) -> int | None:
        """Routers between, if all answers agree; None if they do not, or none came."""
        return INITIAL_TTL - min(self.ttls) if len(self.ttls) == 1 else None

    def __str__(self) -> str:
        return f"{self.received} of {self.sent} pings answered"


def parse_ping(text: str) -> PingResult:
    """Return what ping's output says; raise ValueError if it has no summary."""
    summary = _SUMMARY.search(text)
    if summary is None:
        raise ValueError(f"ping printed no summary: {text.strip()[-200:]!r}")
    answers = list(_ANSWER.finditer(text))
    sequence = {int(answer["seq"]) for answer in answers}
    return PingResult(
        sent=int(summary["sent"]),
        received=len(sequence),  # an answer that came twice is one answer
        ttls=frozenset(int(answer["ttl"]) for answer in answers),
        exceeded_at=frozenset(found["source"] for found in _EXCEEDED.finditer(text)),
        longest_gap=_longest_gap(sequence, int(summary["sent"])),
    )


def _longest_gap(answered: set[int], sent: int) -> int:
    longest = gap = 0
    for number in range(1, sent + 1):
        gap = 0 if number in answered else gap + 1
        longest = max(longest, gap)
    return longest


def marker(tenant: str) -> str:
    """Return the bytes that fill a tenant's pings, 16 as ping's -p takes them, in hexadecimal."""
    return f"tenant={tenant}".ljust(16, "!").encode()[:16].hex()
