"""What the fabric's part of the controller costs in fabrics of 10,000, 100,000 and 1,000,000 ports; nothing is real.

Each size is measured in a process of its own, so that its memory is its own. Leaves are alike in all of them: 40 nodes,
2,000 ports, 500 networks. From zero: inventory checked and numbered, all rows put into the index, the desired state of
every switch computed. After a bind: the rows of one bound port are put, and the states of the switches that it touches
are asked for; "first" is the first port of its network on the leaf, so that the leaf has to change.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from bench import fabric_rows as rows
from bench.fabric_rows import NETWORKS_PER_LEAF, NODES_PER_LEAF, Scale
from bench.report import Figure, percentile
from weft.controller.bulk_load import bulk_load
from weft.fabric.config import SwitchConfig
from weft.fabric.dialects import frr, frr_text
from weft.fabric.intent_index import FabricIntent
from weft.fabric.numbering import number
from weft.fabric.plan import SwitchPlan, plan
from weft.fabric.reasons import reasons
from weft.fabric.topology import problems
from weft.model.ids import SwitchName
from weft.switches.frr.changes import link_changes
from weft.switches.frr.kernel import OWN_SPACE, Kernel, Link
from weft.switches.frr.netns import NetnsLayout

PORTS = (10_000, 100_000, 1_000_000)
BINDS = 200
RENDERS = 20
MAX_BIND_S = 0.005
MAX_ZERO_S = 60.0
MAX_RENDER_S = 0.2
MAX_MEMORY_BYTES = 4 << 30


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What one size costs, in seconds and bytes."""

    ports: int
    zero_s: float
    peak_bytes: int
    first_binds_s: list[float]
    later_binds_s: list[float]
    plans_s: list[float]
    renders_s: list[float]


async def measure(_inventory: Path) -> list[Figure]:
    """Return the figures of all sizes."""
    figures: list[Figure] = []
    for ports in PORTS:
        done = subprocess.run(  # noqa: ASYNC221 - nothing else is to run beside it
            [sys.executable, "-m", "bench.fabric", str(ports)], capture_output=True, check=True
        )
        costs = msgspec.json.decode(done.stdout, type=Costs)
        figures += _figures(costs)
        print(f"  {ports:,} ports: from zero {costs.zero_s:.1f} s, {costs.peak_bytes / 1e9:.2f} GB", flush=True)
    return figures


def _figures(costs: Costs) -> list[Figure]:
    of = f"{costs.ports:,} ports"
    found = [
        Figure(f"{of}: whole fabric from zero", costs.zero_s, "s", 1, MAX_ZERO_S),
        Figure(f"{of}: memory", costs.peak_bytes / 1e9, "GB", 1, MAX_MEMORY_BYTES / 1e9),
    ]
    for name, values, most_s in (
        ("state after a bind, first on the leaf", costs.first_binds_s, MAX_BIND_S),
        ("state after a bind, later", costs.later_binds_s, MAX_BIND_S),
        (f"plan of an empty leaf, {NETWORKS_PER_LEAF} networks, and render", costs.renders_s, MAX_RENDER_S),
    ):
        found.append(Figure(f"{of}: {name}, p50", percentile(values, 0.5) * 1e3, "ms", len(values), most_s * 1e3))
        found.append(Figure(f"{of}: {name}, p99", percentile(values, 0.99) * 1e3, "ms", len(values), most_s * 1e3))
    found.append(Figure(f"{of}: plan after a bind, p50", percentile(costs.plans_s, 0.5) * 1e3, "ms", BINDS))
    return found


def costs_of(ports: int) -> Costs:
    """Measure one size in this process."""
    scale = Scale(ports)
    began = time.process_time()
    with bulk_load():
        intent = from_zero(scale)
    zero_s = time.process_time() - began
    later = [_bind(intent, scale, at, at % NETWORKS_PER_LEAF) for at in range(BINDS)]
    before = intent.desired(rows.leaf_name(0))
    first, plans = [], []
    for at in range(BINDS):
        first.append(_bind(intent, scale, BINDS + at, NETWORKS_PER_LEAF + at, node=0))
        after = intent.desired(rows.leaf_name(0))
        plans.append(_timed(partial(_plan, intent, before, after)))
        before = after
    leaf = intent.desired(rows.leaf_name((scale.leaves - 1) * NODES_PER_LEAF))
    return Costs(
        ports=ports,
        zero_s=zero_s,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        first_binds_s=first,
        later_binds_s=later,
        plans_s=plans,
        renders_s=[_timed(lambda: _plan_and_render(intent, leaf)) for _ in range(RENDERS)],
    )


def from_zero(scale: Scale) -> FabricIntent:
    """Return the index of a whole fabric, every switch's state computed."""
    inventory = rows.inventory(scale)
    assert not problems(inventory)
    intent = FabricIntent()
    intent.put_inventory(inventory, number(inventory))
    for router in rows.routers(scale):
        intent.put_router(router)
    for network, subnet, interface, gateway in rows.networks(scale):
        intent.put_network(network)
        intent.put_subnet(subnet)
        intent.put_port(gateway, ())
        intent.put_router_interface(interface)
    for vlan in rows.vlans(scale):
        intent.put_leaf_vlan(vlan)
    for port, binding in rows.ports(scale):
        intent.put_port(port, (binding,))
    for switch in intent.topology.switches:
        intent.desired(switch)
    return intent


def _bind(intent: FabricIntent, scale: Scale, at: int, slot: int, node: int | None = None) -> float:
    """Bind a new port; return how long it took until the states of the touched switches were there."""
    node = at * 7 % scale.nodes if node is None else node
    leaf = node // NODES_PER_LEAF
    vlan = rows.vlan(scale, leaf, slot)
    port, binding = rows.port(scale, scale.ports + at, node, slot)

    def bind() -> set[SwitchName]:
        touched = intent.put_leaf_vlan(vlan) if slot >= NETWORKS_PER_LEAF else set()
        touched |= intent.put_port(port, (binding,))
        for switch in touched:
            intent.desired(switch)
        return touched

    return _timed(bind)


def _plan_and_render(intent: FabricIntent, desired: SwitchConfig) -> None:
    """Plan a leaf that was replaced by an empty one, as a diff with reasons, and render what is pushed to it."""
    empty = SwitchConfig(name=desired.name, underlay=None)
    plan(empty, desired, reasons(intent, desired.name)).lines()
    frr_text.text(frr.render(desired))
    interfaces = [link.interface for link in intent.topology.node_links(desired.name)]
    interfaces += [link.interface for link in intent.topology.switch_links(desired.name)]
    kernel = Kernel(links={(OWN_SPACE, name): Link(name=name) for name in interfaces})
    link_changes(kernel.links, NetnsLayout().wanted(desired, kernel).links)


def _plan(intent: FabricIntent, before: SwitchConfig, after: SwitchConfig) -> SwitchPlan:
    return plan(before, after, reasons(intent, after.name))


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(costs_of(int(sys.argv[1]))))
