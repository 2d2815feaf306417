"""RunPodSandbox by a real containerd: with weft-cni, and with the reference plugins beside it, one after the other.

Both in one containerd, by two runtime handlers that differ in nothing but the folder of their conflist: `bridge` with
`host-local` makes a pair, an address and a route on the node and is done; weft-cni has the address from the server, and
returns when flows and leaf are in place. Pods have names that end in no ordinal, as a Deployment's: each is a new one.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path

from tests.runtimes.containerd import REFERENCE, Containerd
from tests.runtimes.images import write_image

from bench.report import Figure, percentile
from weft.client import AsyncClient, find_context
from weft.cni import plugin
from weft.lab import state
from weft.lab.down import down
from weft.lab.programs import cni_socket
from weft.lab.progress import Progress
from weft.lab.up import up

NODE = "node1"
NETWORK = "sandboxes"
WARM_UP = 5
ROUNDS = 60
MAX_RATIO = 1.1
MODES = ("", REFERENCE)
"""Runtime handlers; the first is weft's."""


async def measure(file: Path) -> list[Figure]:
    """Build a lab with a containerd on one node, run pods by turns, remove all; return the figures."""
    await up(file, Progress())
    try:
        context = find_context()
        async with AsyncClient(context.server, context.token) as client:
            network = await client.networks.create({"name": NETWORK})
            await client.subnets.create({"network_id": network["id"], "cidr": "10.98.0.0/16", "ip_version": 4})
        return await asyncio.to_thread(_measure)
    finally:
        await down(Progress())


def _measure() -> list[Figure]:
    mark = state.load().id
    node = Containerd(NODE, state.LAB_DIR / NODE / "containerd", mark)
    node.prepare()
    (node.bin_dir / "weft-cni").symlink_to(plugin())
    conf = {"type": "weft-cni", "network": NETWORK, "cluster": "bench", "socket": str(cni_socket(NODE))}
    document = {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [conf]}
    (node.conf_dir / "10-weft.conflist").write_text(json.dumps(document))
    node.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "busybox.tar"
            write_image(image, {state.MARK: mark})
            node.import_image(image)
        return _figures([_round(node, number) for number in range(WARM_UP + ROUNDS)][WARM_UP:])
    finally:
        node.close()


def _round(node: Containerd, number: int) -> dict[str, tuple[float, float]]:
    """Run and stop a pod of each kind; return how many seconds each took. Who is first changes with every round."""
    took = {}
    for mode in MODES if number % 2 else MODES[::-1]:
        began = time.perf_counter()
        sandbox = node.run_sandbox(f"pod-{number:04}x", handler=mode, uid=mode)
        ran = time.perf_counter()
        node.stop_sandbox(sandbox)
        took[mode] = ran - began, time.perf_counter() - ran
        node.remove_sandbox(sandbox)
    return took


def _figures(rounds: list[dict[str, tuple[float, float]]]) -> list[Figure]:
    found = []
    for at, call, target in ((0, "RunPodSandbox", MAX_RATIO), (1, "StopPodSandbox", None)):
        halves = []
        for mode, who in zip(MODES, ("weft-cni", "bridge + host-local"), strict=True):
            took = [each[mode][at] * 1000 for each in rounds]
            halves.append(percentile(took, 0.5))
            for share in (0.5, 0.99):
                found.append(Figure(f"{call} with {who}, p{share * 100:.0f}", percentile(took, share), "ms", len(took)))
        ratio = halves[0] / halves[1]
        found.append(Figure(f"{call} p50, weft-cni to bridge + host-local", ratio, "x", len(rounds), target))
    return found
