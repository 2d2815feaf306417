"""`python -m bench [NAME]...`: all measurements if none is named; a wrong name has them listed.

`pods:600` has pods come and go for ten minutes.

Exits with 1 if a target is missed.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import uvloop

from bench import binds, cni, fabric, faults, lab, pods, sandboxes, scale, service, spawn, watching
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
    "scale": scale.measure,
    "watching": watching.measure,
    "pods": pods.measure,
    "sandboxes": sandboxes.measure,
}


LOADING = frozenset({"service", "scale", "watching"})
"""Measurements whose load comes from this process; by an event loop that leaves more of the cores to the server."""


def main(names: list[str]) -> int:
    """Make the named measurements and print their figures together."""
    wanted = [name.partition(":") for name in names] or [(name, "", "") for name in MEASUREMENTS]
    unknown = {name for name, _, _ in wanted} - set(MEASUREMENTS)
    if unknown:
        print(f"no measurement is named {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
        return 2
    figures: list[Figure] = []
    for name, _, seconds in wanted:
        print(f"{name}:")
        measure = MEASUREMENTS[name]
        if seconds and name == "pods":
            measure = partial(pods.measure, churn_s=float(seconds))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if name in LOADING else None) as runner:
            figures += runner.run(_measured(measure))
    print()
    print_figures(figures)
    return 0 if all(figure.reached for figure in figures) else 1


async def _measured(measure: Callable[[Path], Awaitable[list[Figure]]]) -> list[Figure]:
    return await measure(INVENTORY)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
