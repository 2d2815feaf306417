"""`python -m bench [fabric] [lab] [spawn] [binds] [faults] [service]`: all measurements if none is named.

Exits with 1 if a target is missed.
"""

import asyncio
import sys
from pathlib import Path

from bench import binds, fabric, faults, lab, service, spawn
from bench.report import Figure, print_figures

INVENTORY = Path(__file__).parent.parent / "examples" / "small-dc.toml"
MEASUREMENTS = {
    "fabric": fabric.measure,
    "lab": lab.measure,
    "spawn": spawn.measure,
    "binds": binds.measure,
    "faults": faults.measure,
    "service": service.measure,
}


async def main(names: list[str]) -> int:
    """Make the named measurements and print their figures together."""
    unknown = set(names) - set(MEASUREMENTS)
    if unknown:
        print(f"no measurement is named {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
        return 2
    figures: list[Figure] = []
    for name in names or MEASUREMENTS:
        print(f"{name}:")
        figures += await MEASUREMENTS[name](INVENTORY)
    print()
    print_figures(figures)
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
