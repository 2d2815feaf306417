"""The page docs/port-states.md, made from the table: ``python -m weft.ports.diagram > docs/port-states.md``."""

from collections import defaultdict

from weft.ports.machine import STUCK_AFTER_S, TABLE, Event, State

_HEAD = """\
# Port states

This page is made from the table in `src/weft/ports/machine.py`:
`.venv/bin/python -m weft.ports.diagram > docs/port-states.md`. A test compares the two.
"""


def mermaid() -> str:
    """Return the table as a Mermaid state diagram; events that lead from a state to itself are left out."""
    edges: dict[tuple[State, State], list[Event]] = defaultdict(list)
    for (state, event), after in TABLE.items():
        if after is not state:
            edges[state, after].append(event)
    lines = [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in edges.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> ALLOCATED", *lines, "    RELEASED --> [*]"])


def table() -> str:
    """Return the table with a row per state and a column per event; a dash is a pair that cannot happen."""
    head = f"| state | {' | '.join(Event)} | stuck after |"
    rule = "|---" * (len(Event) + 2) + "|"
    rows = []
    for state in State:
        cells = [str(TABLE.get((state, event), "-")) for event in Event]
        bound = f"{STUCK_AFTER_S[state]:g} s" if state in STUCK_AFTER_S else "never"
        rows.append(f"| {state} | {' | '.join(cells)} | {bound} |")
    return "\n".join([head, rule, *rows])


def page() -> str:
    """Return the whole page."""
    return f"{_HEAD}\n```mermaid\n{mermaid()}\n```\n\n{table()}\n"


if __name__ == "__main__":
    print(page(), end="")
