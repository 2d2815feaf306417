"""What is wrong with the ports of containers: nobody has them, and nothing lets go of them.

All of it is somebody's to look at: an agent that is heard lets go by itself, and a node that is not may be alive.
"""

from collections import Counter
from collections.abc import Iterator

from weft.intent.findings import LATE_S, Finding, Subject, Trouble
from weft.intent.workload_names import OWNER
from weft.intent.workload_presence import Missing
from weft.intent.workload_release import overdue
from weft.model.ids import NodeName
from weft.protocol.workload import MISSING_S
from weft.store import Kind, Snapshot

MAX_OVERDUE = 100
"""Held ports of one check whose time has long been over."""


def of_workloads(snapshot: Snapshot, now: float) -> Iterator[Finding]:
    """Yield ports that their nodes' agents lack, ports that are held for too long, and nodes that are silent."""
    for missing in snapshot.records(Kind.MISSING_WORKLOAD, Missing):
        if now - missing.since < MISSING_S + LATE_S:
            continue
        view = snapshot.port(missing.port_id)
        current = None if view is None else view.life.current
        if view is not None and current is not None and current.epoch == missing.epoch:
            text = f"port {missing.port_id} of workload '{view.port.name}' is on node '{missing.node}', whose agent"
            yield _finding(f"{text} has not had it for {now - missing.since:.0f} s", missing.port_id)
    for held in overdue(snapshot, now - LATE_S, MAX_OVERDUE):
        text = f"port {held.port_id} should have been let go of by workload '{held.name}'"
        yield _finding(f"{text} {now - (held.until or now):.0f} s ago: do controllers run?", held.port_id)
    silent = {node: at for node, at in snapshot.agents().items() if now - at > LATE_S}
    for node, count in sorted(_counts(snapshot, silent).items()):
        text = f"{count} workloads are on node '{node}', whose agent was last heard {now - silent[node]:.0f} s ago"
        yield _finding(f"{text}: if the node is gone for good, `weft node lost {node}` lets go of them", node)


def _counts(snapshot: Snapshot, nodes: dict[NodeName, float]) -> Counter[NodeName]:
    """Return how many workloads nodes have, those that have any."""
    found: Counter[NodeName] = Counter()
    for node in nodes:
        for view in snapshot.ports(node=node):
            current = view.life.current
            if view.port.device_owner == OWNER and current is not None and current.node == node:
                found[node] += 1
    return found


def _finding(text: str, id_: str) -> Finding:
    return Finding(about=Subject.WORKLOAD, trouble=Trouble.LEAK, text=text, id=id_)
