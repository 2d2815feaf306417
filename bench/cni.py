"""What a container costs, through the real server, leaf and Open vSwitch, beside the plugins of the CNI project.

The plugin is called as a runtime calls it: a process, its environment, the configuration on standard input. `bridge`
and `ptp` with `host-local` run between weft's calls, in the machine's own namespace, so that whatever else the machine
does meets all alike. Namespaces of containers are made before the clock starts.
"""

import asyncio
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.report import Figure, percentile
from weft.client import Client
from weft.client.context import find_context
from weft.cni import plugin
from weft.lab.down import down
from weft.lab.programs import cni_socket
from weft.lab.progress import Progress
from weft.lab.up import up

REFERENCE = Path("/usr/lib/cni")
NODE, NEXT_NODE, OBSERVER_NODE = "node1", "node2", "node3"
ROUNDS = 60
STICKY_ROUNDS = 20
PARALLEL = 100
DRIFTS = 10
PAUSE_S = 0.05
"""Between two rounds, as between two pods of a busy node."""
SETTLE_S = 3.0
PING_INTERVAL_S = 0.01
AFTER_DRIFT_S = 1.5
MAX_PARALLEL_S = 3.0
MAX_DRIFT_MS = 300.0
MAX_ADD_RATIO = 1.0
MAX_DEL_RATIO = 0.7
BRIDGE = "weft-bench0"

_ANSWER = re.compile(r"^\[(\d+\.\d+)\] \d+ bytes from", re.MULTILINE)


class Plugin:
    """A plugin with its configuration."""

    def __init__(self, name: str, program: Path, configuration: dict[str, Any]) -> None:
        self.name = name
        self._program = str(program)
        self._stdin = json.dumps({"cniVersion": "1.0.0", "name": f"bench-{name}", **configuration}).encode()

    def call(self, command: str, container: str, netns: str, pod: str = "") -> float:
        """Call the plugin; return how many seconds it took. Raises RuntimeError with what it said if it failed."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{netns}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(REFERENCE),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={pod}" if pod else "",
            "PATH": os.environ["PATH"],
        }
        began = time.perf_counter()
        done = subprocess.run([self._program], input=self._stdin, env=environment, capture_output=True, check=False)
        took_s = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{self.name} {command} {container}: {done.stdout.decode()}{done.stderr.decode()}")
        return took_s


async def measure(file: Path) -> list[Figure]:
    """Build a lab, run containers in it, remove it; return the figures."""
    await up(file, Progress())
    try:
        return await asyncio.to_thread(_measure)
    finally:
        await down(Progress())


def _measure() -> list[Figure]:
    context = find_context()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = stack.enter_context(Client(context.server, context.token))
        network = client.networks.create({"name": "bench"})
        client.subnets.create({"network_id": network["id"], "cidr": "10.99.0.0/16", "ip_version": 4})
        stack.callback(subprocess.run, ["ip", "link", "del", BRIDGE], capture_output=True, check=False)
        own = _weft(NODE)
        bridge, ptp = _references(folder)
        return [
            *_one_by_one(own, bridge, ptp),
            *_sticky(own),
            *_parallel(own, bridge),
            *_drift(own),
        ]


def _weft(node: str) -> Plugin:
    own = {"type": "weft-cni", "socket": str(cni_socket(node)), "network": "bench", "cluster": "bench"}
    return Plugin("weft", plugin(), own)


def _references(folder: Path) -> tuple[Plugin, Plugin]:
    def ipam(name: str, prefix: str) -> dict[str, Any]:
        ranges = [[{"subnet": f"{prefix}.0.0/16"}]]
        return {"type": "host-local", "ranges": ranges, "dataDir": str(folder / name), "routes": [{"dst": "0.0.0.0/0"}]}

    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipam": ipam("bridge", "10.97")}
    ptp = {"type": "ptp", "ipam": ipam("ptp", "10.98")}
    return Plugin("bridge", REFERENCE / "bridge", bridge), Plugin("ptp", REFERENCE / "ptp", ptp)


@contextmanager
def _namespaces(count: int) -> Iterator[list[str]]:
    names = [f"weft-b-{number}" for number in range(count)]
    lines = "".join(f"netns add {name}\n" for name in names)
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    try:
        yield names
    finally:
        lines = "".join(f"netns del {name}\n" for name in names)
        subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)


def _one_by_one(own: Plugin, bridge: Plugin, ptp: Plugin) -> list[Figure]:
    """ADD and DEL of ephemeral containers, one after the other, each beside the reference plugins'."""
    plugins = (own, bridge, ptp)
    with _namespaces(3 * ROUNDS) as names:
        own.call("ADD", "first", names[0], "first-x")  # the network's first port on the leaf is another figure
        own.call("DEL", "first", names[0], "first-x")
        time.sleep(SETTLE_S)
        times: dict[tuple[str, str], list[float]] = {}
        for command in ("ADD", "DEL"):
            for number in range(ROUNDS):
                for place, each in enumerate(plugins):
                    took_s = each.call(command, f"c{number}", names[3 * number + place], f"pod-x{number}")
                    times.setdefault((command, each.name), []).append(took_s * 1000)
                time.sleep(PAUSE_S)
    figures = []
    for command, limit in (("ADD", MAX_ADD_RATIO), ("DEL", MAX_DEL_RATIO)):
        for name in ("weft", "bridge", "ptp"):
            samples = times[command, name]
            for share in (0.5, 0.99):
                label = f"{command}, {name}, p{share * 100:.0f}"
                figures.append(Figure(label, percentile(samples, share), "ms", len(samples)))
        ratio = percentile(times[command, "weft"], 0.5) / percentile(times[command, "bridge"], 0.5)
        figures.append(Figure(f"{command} p50, of bridge + host-local", ratio, "", ROUNDS, limit))
    return figures


def _sticky(own: Plugin) -> list[Figure]:
    """ADD of workloads that keep their ports: by the server, within the call."""
    times = []
    with _namespaces(STICKY_ROUNDS) as names:
        for number, name in enumerate(names):
            times.append(own.call("ADD", f"s{number}", name, f"db-{number}") * 1000)
            time.sleep(PAUSE_S)
        for number, name in enumerate(names):
            own.call("DEL", f"s{number}", name, f"db-{number}")
    return [
        Figure("ADD of a workload that keeps its port, p50", percentile(times, 0.5), "ms", len(times)),
        Figure("ADD of a workload that keeps its port, p99", percentile(times, 0.99), "ms", len(times)),
    ]


def _parallel(own: Plugin, bridge: Plugin) -> list[Figure]:
    """ADD of many at once, of which no port is there for most."""
    figures = []
    with _namespaces(2 * PARALLEL) as names, ThreadPoolExecutor(PARALLEL) as pool:
        for each, places in ((bridge, names[:PARALLEL]), (own, names[PARALLEL:])):
            time.sleep(SETTLE_S)
            for command, limit in (("ADD", MAX_PARALLEL_S), ("DEL", None)):

                def call(
                    number: int, each: Plugin = each, command: str = command, places: Sequence[str] = places
                ) -> float:
                    return each.call(command, f"p{number}", places[number], f"many-x{number}")

                began = time.perf_counter()
                list(pool.map(call, range(PARALLEL)))
                took_s = time.perf_counter() - began
                label = f"{PARALLEL} {command}s at once, {each.name}"
                figures.append(Figure(label, took_s, "s", 1, limit if each is own else None))
    return figures


def _drift(own: Plugin) -> list[Figure]:
    """How long a workload does not answer that is added on another node before it is deleted on the last."""
    other, observing = _weft(NEXT_NODE), _weft(OBSERVER_NODE)
    gaps = []
    with _namespaces(DRIFTS + 2) as names:
        observing.call("ADD", "observer", names[0], "observer-0")
        own.call("ADD", "d0", names[1], "drifter-0")
        target = _address(names[1])
        _until_answered(names[0], target)
        places = (own, other)
        for number in range(1, DRIFTS + 1):
            with _pings(names[0], target) as answers:
                time.sleep(0.5)
                called = time.time()
                places[number % 2].call("ADD", f"d{number}", names[number + 1], "drifter-0")
                time.sleep(AFTER_DRIFT_S)
            seen = [at for at in answers if at >= called - 2 * PING_INTERVAL_S]
            gaps.append(max(b - a for a, b in pairwise(seen)) * 1000)
            places[(number - 1) % 2].call("DEL", f"d{number - 1}", names[number], "drifter-0")
            print(f"  drift {number}: not answered for {gaps[-1]:.0f} ms", flush=True)
        places[DRIFTS % 2].call("DEL", f"d{DRIFTS}", names[DRIFTS + 1], "drifter-0")
        observing.call("DEL", "observer", names[0], "observer-0")
    return [
        Figure(
            "drift: last answer at the old place to first at the new, p50",
            percentile(gaps, 0.5),
            "ms",
            len(gaps),
            MAX_DRIFT_MS,
        ),
        Figure("drift, longest", max(gaps), "ms", len(gaps)),
    ]


def _address(namespace: str) -> str:
    words = ["ip", "-n", namespace, "-j", "address", "show", "dev", "eth0"]
    [link] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return next(str(each["local"]) for each in link["addr_info"] if each["family"] == "inet")


def _until_answered(namespace: str, target: str) -> None:
    words = ["ip", "netns", "exec", namespace, "ping", "-n", "-c", "1", "-W", "1", target]
    for _ in range(20):
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return
    raise RuntimeError(f"{target} does not answer")


@contextmanager
def _pings(namespace: str, target: str) -> Iterator[list[float]]:
    """Ping a target for as long as the context lasts; the list has the times of the answers when it has ended."""
    answers: list[float] = []
    words = ["ip", "netns", "exec", namespace, "ping", "-n", "-D", "-i", str(PING_INTERVAL_S), target]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield answers
    finally:
        process.terminate()
        said, _ = process.communicate()
        answers += map(float, _ANSWER.findall(said))
