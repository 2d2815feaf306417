"""How long a lab takes to go up, until every BGP session is established and every agent connected, and to go down."""

import tempfile
import time
from pathlib import Path

from bench.report import Figure, percentile
from weft.lab.demo.machine import traces
from weft.lab.down import down
from weft.lab.generate import spine_leaf
from weft.lab.progress import Progress
from weft.lab.up import up

ROUNDS = 5
MAX_UP_S = 20.0
MAX_DOWN_S = 5.0
BIG_SPINES, BIG_LEAVES = 4, 16
MAX_BIG_UP_S = 60.0


async def measure(file: Path, rounds: int = ROUNDS) -> list[Figure]:
    """Build and remove a lab some times over; return how long each took, and what was left."""
    ups, downs, left = [], [], 0
    for number in range(rounds):
        before = traces()
        progress = Progress()
        try:
            await up(file, progress)
            ups.append(progress.elapsed_s)
        finally:
            began = time.monotonic()
            lab = await down(Progress())
            downs.append(time.monotonic() - began)
        left += len(traces(lab.id if lab else None) - before)
        print(f"  round {number + 1}: up {ups[-1]:.2f} s, down {downs[-1]:.2f} s", flush=True)
    return [
        Figure("lab up, p50", percentile(ups, 0.5), "s", len(ups), MAX_UP_S),
        Figure("lab up, slowest", max(ups), "s", len(ups), MAX_UP_S),
        Figure("lab down, slowest", max(downs), "s", len(downs), MAX_DOWN_S),
        Figure("things left on the machine", left, "", len(downs), 0),
        await _big(),
    ]


async def _big() -> Figure:
    """Build a bigger lab, once."""
    progress = Progress()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "big.toml"
        file.write_text(spine_leaf(BIG_SPINES, BIG_LEAVES))
        try:
            await up(file, progress)
            took_s = progress.elapsed_s
        finally:
            await down(Progress())
    print(f"  {BIG_SPINES} spines and {BIG_LEAVES} leaves: up {took_s:.2f} s", flush=True)
    return Figure(f"lab of {BIG_SPINES} spines and {BIG_LEAVES} leaves up", took_s, "s", 1, MAX_BIG_UP_S)
