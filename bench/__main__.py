"""`python -m bench [fabric] [lab] [spawn] [binds] [cni] [faults] [service] [pods]`: all measurements if none is named.

`pods:600` has pods come and go for ten minutes.

Exits with 1 if a target is missed.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench import binds, cni, fabric, faults, lab, pods, service, spawn
from bench.report import Figure, print_figures

INVENTORY = Path(__file__).parent.parent / "examples" / "small-dc.toml"
MEASUREMENTS: Mapping[str, Callable[[Path], Awaitable[list[Figure]]]] = {
    "fabric": fabric.measure,
    "lab": lab.measure,
    "spawn": spawn.measure,
    "binds": binds.measure,
    "cni": cni.measure,
    "faults": faults.measure,
    "service": service.measure,
    "pods": pods.measure,
}


async def main(names: list[str]) -> int:
    """Make the named measurements and print their figures together."""
    wanted = [name.partition(":") for name in names] or [(name, "", "") for name in MEASUREMENTS]
    unknown = {name for name, _, _ in wanted} - set(MEASUREMENTS)
    if unknown:
        print(f"no measurement is named {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
        return 2
    figures: list[Figure] = []
    for name, _, seconds in wanted:
        print(f"{name}:")
        if seconds and name == "pods":
            figures += await pods.measure(INVENTORY, churn_s=float(seconds))
        else:
            figures += await MEASUREMENTS[name](INVENTORY)
    print()
    print_figures(figures)
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
