"""How a lab is shown to people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weft.cli.output import Output, ago

if TYPE_CHECKING:
    from weft.lab.hops import Measured
    from weft.lab.state import Instance
    from weft.lab.status import LabStatus


def print_status(output: Output, status: "LabStatus") -> None:
    """Print what a lab is made of, and whether it still stands."""
    output.fields(
        {
            "lab": status.file,
            "phase": status.phase,
            "age": ago(status.age_s),
            "up after": f"{status.up_after_s:.1f} s" if status.up_after_s is not None else None,
            "missing": status.namespaces_missing,
            "server": status.server_error or "answers",
        }
    )
    output.line()
    switches = [[each.name, each.state, each.sessions, each.reason] for each in status.switches]
    output.table(["SWITCH", "STATE", "BGP SESSIONS", "REASON"], switches)
    output.line()
    output.table(["NODE", "DATAPLANE", "AGENT"], [[each.name, each.dataplane, each.agent] for each in status.nodes])
    output.line()
    processes = [[each.name, each.pid or "stopped", each.log] for each in status.processes]
    output.table(["PROCESS", "PID", "LOG"], processes)
    if status.instances:
        output.line()
        print_instances(output, status.instances)


def print_instances(output: Output, instances: "Sequence[Instance]") -> None:
    """Print the instances of a lab."""
    rows = [[each.name, each.node, each.addresses, each.mac, each.namespace] for each in instances]
    output.table(["INSTANCE", "NODE", "ADDRESSES", "MAC", "NAMESPACE"], rows)


def print_path(output: Output, measured: "Measured") -> None:
    """Print a path device by device, how each is known, and when the packet was there."""
    path = measured.path
    output.line(f"{measured.title}: {_summary(measured)}")
    first = next(hop.at_ns for hop in path.hops if hop.at_ns is not None)
    rows, number = [], 0
    for hop in path.hops:
        number += hop.counts
        place = f"{hop.place}/{hop.inside}" if hop.inside else hop.place
        tag = f"vni {hop.vni}" if hop.vni is not None else f"vlan {hop.vlan}" if hop.vlan is not None else ""
        after = f"{(hop.at_ns - first) / 1000:.0f}" if hop.at_ns is not None else ""
        rows.append([number if hop.counts else "", place, hop.device, hop.kind.value, tag, hop.evidence.value, after])
    output.table(["HOP", "WHERE", "DEVICE", "WHAT", "TAG", "KNOWN", "AFTER us"], rows)


def print_comparison(output: Output, compared: "Sequence[Measured]") -> None:
    """Print paths, and below them how they compare."""
    for measured in compared:
        print_path(output, measured)
        output.line()
    rows = [
        [each.title, each.path.counted, each.path.routers, f"{each.latency.p50_ms:.3f}", f"{each.latency.p99_ms:.3f}"]
        for each in compared
    ]
    output.table(["DESIGN", "HOPS", "ROUTERS", "PING p50 ms", "p99 ms"], rows)


def path_json(measured: "Measured") -> dict[str, object]:
    """Return a measured path for programs."""
    path = measured.path
    return {
        "title": measured.title,
        "hops": path.counted,
        "routers": path.routers,
        "switches": path.switches,
        "ping_ms": measured.latency,
        "devices": path.hops,
    }


def _summary(measured: "Measured") -> str:
    path = measured.path
    switches = f" over {', '.join(path.switches)}" if path.switches else ""
    inside = f" ({path.inside_switches} devices inside simulated switches, not counted)" if path.inside_switches else ""
    return f"{path.counted} hops{switches}{inside}"
