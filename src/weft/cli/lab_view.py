"""How a lab is shown to people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weft.cli.output import Output, ago

if TYPE_CHECKING:
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
